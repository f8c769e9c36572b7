"""The models' rows on public data, part by part, written as one result.

    python -m benchmarks.models --data FOLDER [--part NAME | --kept] [--seeds 0 1 2]

FOLDER holds the public sets, each in a folder of its own. A part that was measured at this very
commit is not measured again, and encoders and SASRec go on from their checkpoints, so a run that
was broken off goes on where it stood; each part takes under 40 minutes on two cores. RecTools runs
where `var/rectools` holds its environment.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from benchmarks import encoders, marketplace, model_gowalla, model_hybrid, model_rtr, record
from benchmarks.encoder_cuda import cuda_rows
from benchmarks.encoders import SEEDS
from benchmarks.parts import KEPT, measured, standing
from benchmarks.record import Row

PEERS = record.ROOT / "var" / "rectools" / "bin" / "python"
"""The interpreter of the environment made of benchmarks/peers/rectools_requirements.in."""
PEER_SECONDS = 1_800
MARKETPLACE = record.ROOT / "systems" / "marketplace.toml"
BEAUTY, CLOTHING = (Path(f"amazon_{name}") / "sequences.parquet" for name in ("beauty", "clothing"))
NEEDED = {
    "beauty_encoder": BEAUTY,
    "beauty_content": BEAUTY,
    "beauty": BEAUTY,
    "clothing_encoder": CLOTHING,
    "clothing": CLOTHING,
    "gowalla": Path("gowalla") / "interactions.parquet",
    "rtr": model_rtr.TABLE,
    "throughput": BEAUTY,
    "sasrec": CLOTHING,
}
BARS: dict[str, dict[str, float | None]] = {
    "beauty_encoder": {"models.beauty_encoder_hr10": 0.09, "models.beauty_encoder_ndcg10": 0.052},
    "beauty_content": {"models.beauty_content_hr10": 0.05, "models.beauty_content_ndcg10": 0.025},
    "beauty": {"models.beauty_hybrid_hr10": 0.097, "models.beauty_hybrid_ndcg10": 0.059},
    "clothing_encoder": {
        "models.clothing_encoder_hr10": None, "models.clothing_encoder_ndcg10": None,
    },
    "clothing": {"models.clothing_hr10": 0.042, "models.clothing_ndcg10": 0.025},
    "gowalla": {"models.gowalla_r20": 0.1824, "models.gowalla_n20": 0.1547},
    "throughput": {"models.train_vs_rectools": 2.0},
    "sasrec": {"models.clothing_vs_sasrec": 1.1},
    "rtr": model_rtr.BARS,
    "captured": {"models.captured_value": 0.4},
    "cold": {"models.cold_vs_warm": 0.9},
}  # fmt: skip


def parts(
    data: Path, seeds: tuple[int, ...] = SEEDS, also: Sequence[str] = ()
) -> dict[str, Callable[[], list[Row]]]:
    """What there is to measure, by name, in an order in which encoders come before hybrids."""

    def hybrid(name: str) -> list[Row]:
        encoder = encoders.for_hybrid(name, data)
        return model_hybrid.rows(name, data, encoders=(encoder,), seeds=seeds)

    whole: dict[str, Callable[[], list[Row]]] = {
        "beauty_encoder": lambda: encoders.rows("beauty", data, seeds=seeds),
        "beauty_content": lambda: encoders.rows("beauty", data, ids=False, seeds=seeds),
        "beauty": lambda: hybrid("beauty"),
        "clothing_encoder": lambda: encoders.rows("clothing", data, seeds=seeds),
        "clothing": lambda: hybrid("clothing"),
        "gowalla": lambda: model_gowalla.rows(data),
        "throughput": lambda: [
            *encoders.throughput_rows(data),
            *encoders.serving_rows(),
            *cuda_rows(),
        ],
        "sasrec": lambda: sasrec_rows(data, seeds),
        "rtr": lambda: model_rtr.rows(data),
        "captured": lambda: marketplace.captured_rows(
            system=MARKETPLACE, id="models.captured_value", target=0.4, also=also
        ),
        "cold": lambda: marketplace.cold_rows(system=MARKETPLACE),
    }

    def given(name: str) -> list[Row]:
        if name not in NEEDED or (data / NEEDED[name]).exists():
            return whole[name]()
        return _missing(name, f"{NEEDED[name]} is not in the data folder")

    return {name: lambda name=name: given(name) for name in whole}  # type: ignore[misc]


def sasrec_rows(data: Path, seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """Our hybrid's NDCG@10 on Clothing over that of SASRec by RecTools, run until it stops rising.

    The hybrid's row is that of the part `clothing`. SASRec's state lies in `var/bench-models`:
    where it was cut, the next run goes on from it.
    """
    if not PEERS.exists():
        return _missing("sasrec", "RecTools is not installed in var/rectools")
    script = record.ROOT / "benchmarks" / "peers" / "rectools_converged.py"
    state = KEPT / "bench-models" / "sasrec.pt"
    state.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "sequences.csv"
        pl.read_parquet(data / NEEDED["sasrec"]).write_csv(table)
        command = [PEERS, script, table, str(PEER_SECONDS), state]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = json.loads(said.splitlines()[-1])
    if not theirs["converged"]:
        why = f"SASRec still rises after {theirs['epochs']} epochs; run it again to go on"
        return _missing("sasrec", why)
    ours = measured("models", _label("clothing", seeds), parts(data, seeds)["clothing"])
    (ndcg,) = (row for row in ours if row.id == "models.clothing_ndcg10")
    ratio = None if ndcg.value is None else round(ndcg.value / theirs["ndcg10"], 4)
    settings = ", ".join(f"{name} {value}" for name, value in theirs["settings"].items())
    return [
        Row(
            id="models.clothing_vs_sasrec",
            value=ratio,
            unit="x",
            better="higher",
            target=1.1,
            peer="RecTools 0.19.0 SASRecModel, NDCG@10",
            peer_value=round(theirs["ndcg10"], 5),
            note=(
                f"peer HR@10 {theirs['hr10']:.4f}, on validation {theirs['validation_ndcg10']:.4f} "
                f"NDCG@10, best of {theirs['epochs']} epochs, {theirs['patience']} without a rise, "
                f"{theirs['cpu_s']:.0f} s of CPU; {settings}; same split, same items left out"
            ),
        )
    ]


def _label(name: str, seeds: tuple[int, ...]) -> str:
    """Under which rows are kept: those of other seeds than usual are others."""
    return name if seeds == SEEDS else f"{name}-of-{'-'.join(map(str, seeds))}"


def _missing(name: str, why: str) -> list[Row]:
    return [
        Row(id=id_, value=None, unit="", better="higher", target=bar, note=why)
        for id_, bar in BARS[name].items()
    ]


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--part", choices=sorted(BARS), help="measure this one, and stop")
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options.add_argument(
        "--kept", action="store_true", help="measure nothing: write what was, beside what stands"
    )
    options.add_argument(
        "--also", nargs="+", default=[], metavar="COMMIT", help="whose kept rows stand too"
    )
    options.add_argument(
        "--without", choices=sorted(BARS), nargs="+", default=[], help="written as not measured"
    )
    chosen = options.parse_args()
    seeds = tuple(chosen.seeds)
    everything = parts(chosen.data, seeds, chosen.also)
    if chosen.kept:
        rows = standing("models", [_label(name, seeds) for name in everything], chosen.also)
        record.write("models", rows, command="make bench-models DATA=FOLDER")
        return
    names = [chosen.part] if chosen.part else list(everything)
    found = [
        _missing(name, "not measured in this run")
        if name in chosen.without
        else measured("models", _label(name, seeds), everything[name], chosen.also)
        for name in names
    ]
    if chosen.part:
        return
    rows = [row for part in found for row in part]
    record.write("models", rows, command="make bench-models DATA=FOLDER")


if __name__ == "__main__":
    main()
