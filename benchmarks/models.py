"""The models' rows on public data, part by part, written as one result.

    python -m benchmarks.models --data FOLDER [--part beauty|clothing|gowalla|rtr|sasrec]

FOLDER holds the public sets, each in a folder of its own. A part that was measured at this very
commit is not measured again, so a run that was broken off goes on where it stood; each part takes
under 40 minutes on two cores. RecTools runs where `var/rectools` holds its environment.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks import model_gowalla, model_hybrid, model_rtr, record
from benchmarks.parts import measured
from benchmarks.record import Row

PEERS = record.ROOT / "var" / "rectools" / "bin" / "python"
"""The interpreter of the environment made of benchmarks/peers/rectools_requirements.in."""
PEER_SECONDS = 1_800
NEEDED = {
    "beauty": Path("amazon_beauty") / "sequences.parquet",
    "clothing": Path("amazon_clothing") / "sequences.parquet",
    "gowalla": Path("gowalla") / "interactions.parquet",
    "sasrec": Path("amazon_clothing") / "sequences.parquet",
    "rtr": model_rtr.TABLE,
}
BARS = {
    "beauty": {"models.beauty_hybrid_hr10": 0.097, "models.beauty_hybrid_ndcg10": 0.059},
    "clothing": {"models.clothing_hr10": 0.042},
    "gowalla": {"models.gowalla_r20": 0.1824, "models.gowalla_n20": 0.1547},
    "sasrec": {"models.clothing_vs_sasrec": 1.1},
    "rtr": model_rtr.BARS,
}


def parts(data: Path) -> dict[str, Callable[[], list[Row]]]:
    """What there is to measure, by name."""
    whole: dict[str, Callable[[], list[Row]]] = {
        "beauty": lambda: model_hybrid.rows("beauty", data),
        "clothing": lambda: model_hybrid.rows("clothing", data),
        "gowalla": lambda: model_gowalla.rows(data),
        "sasrec": lambda: sasrec_rows(data),
        "rtr": lambda: model_rtr.rows(data),
    }

    def given(name: str) -> list[Row]:
        if (data / NEEDED[name]).exists():
            return whole[name]()
        return _missing(name, f"{NEEDED[name]} is not in the data folder")

    return {name: lambda name=name: given(name) for name in whole}  # type: ignore[misc]


def sasrec_rows(data: Path) -> list[Row]:
    """Our hybrid's NDCG@10 on Clothing over that of SASRec by RecTools, run until it stops rising.

    The hybrid's row is that of the part `clothing`.
    """
    if not PEERS.exists():
        return _missing("sasrec", "RecTools is not installed in var/rectools")
    script = record.ROOT / "benchmarks" / "peers" / "rectools_converged.py"
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "sequences.csv"
        pl.read_parquet(data / NEEDED["sasrec"]).write_csv(table)
        command = [PEERS, script, table, str(PEER_SECONDS)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = json.loads(said.splitlines()[-1])
    ours = measured("models", "clothing", parts(data)["clothing"])
    (ndcg,) = (row for row in ours if row.id == "models.clothing_ndcg10")
    ratio = None if ndcg.value is None else round(ndcg.value / theirs["ndcg10"], 4)
    ended = "stopped rising" if theirs["converged"] else f"cut after {PEER_SECONDS} s"
    return [
        Row(
            id="models.clothing_vs_sasrec",
            value=ratio,
            unit="x",
            better="higher",
            target=1.1,
            peer="RecTools 0.19.0 SASRecModel, sampled softmax, NDCG@10",
            peer_value=round(theirs["ndcg10"], 5),
            note=(
                f"peer HR@10 {theirs['hr10']:.4f}, {theirs['epochs']} epochs, {ended}, "
                f"{theirs['cpu_s']:.0f} s of CPU; same split, same items left out"
            ),
        )
    ]


def _missing(name: str, why: str) -> list[Row]:
    return [
        Row(id=id_, value=None, unit="", better="higher", target=bar, note=why)
        for id_, bar in BARS[name].items()
    ]


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--part", choices=sorted(NEEDED), help="measure this one, and stop")
    chosen = options.parse_args()
    everything = parts(chosen.data)
    if chosen.part:
        measured("models", chosen.part, everything[chosen.part])
        return
    rows = [
        row for name, measure in everything.items() for row in measured("models", name, measure)
    ]
    record.write("models", rows, command="make bench-models DATA=FOLDER")


if __name__ == "__main__":
    main()
