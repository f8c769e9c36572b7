"""Point-in-time join from Parquet to an array: ours, DuckDB's, polars' and Feast's.

One row for each moment asked, the values of the listing's last row by then; no moment dropped.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.feature_data import table
from benchmarks.record import Row
from heirloom.features.asof import asof

FEAST = record.ROOT / "var" / "feast" / "bin" / "python"
"""The interpreter of Feast's own environment (`make feast`)."""
FEATURES, ASKED = "feature_rows.parquet", "entity_rows.parquet"


def write(folder: Path, rows: int, asked: int, listings: int, features: int = 10) -> None:
    """The feature rows and the moments asked, as Feast wants them too."""
    data = table(rows, asked, listings, features, seed=1)
    ms = pa.timestamp("ms", tz="UTC")
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"listing": data.listing, "event_timestamp": pa.array(data.t, ms),
               "created": pa.array(data.created, ms)}  # fmt: skip
    columns |= {f"f{i}": column for i, column in enumerate(data.values)}
    pq.write_table(pa.table(columns), folder / FEATURES)
    moments = {"listing": data.asked_listing, "event_timestamp": pa.array(data.asked_t, ms)}
    pq.write_table(pa.table(moments), folder / ASKED)


def ours(folder: Path, workers: int = 2) -> NDArray[np.float32]:
    """[asked, features]."""
    asked = pl.read_parquet(folder / ASKED)
    rows = pl.read_parquet(folder / FEATURES)
    names = [name for name in rows.columns if name.startswith("f")]

    def integers(frame: pl.DataFrame, name: str) -> NDArray[np.int64]:
        return frame[name].to_physical().to_numpy()

    return asof(
        [rows[name].to_numpy() for name in names],
        integers(rows, "listing"),
        integers(rows, "event_timestamp"),
        integers(asked, "listing"),
        integers(asked, "event_timestamp"),
        sequence=integers(rows, "created"),
        workers=workers,
    )


def duckdb_asof(folder: Path, threads: int = 2) -> NDArray[np.float32]:
    """The same by ASOF join; of two rows of one listing and time it takes either."""
    names = [n for n in pq.read_schema(folder / FEATURES).names if n.startswith("f")]
    with duckdb.connect(config={"threads": threads}) as engine:
        engine.execute("set enable_progress_bar = false")
        found = engine.execute(
            f"""select {", ".join(f"r.{name}" for name in names)}
                from (select *, row_number() over () as place from '{folder / ASKED}') a
                asof left join '{folder / FEATURES}' r
                  on a.listing = r.listing and a.event_timestamp >= r.event_timestamp
                order by a.place"""
        ).fetchnumpy()
    return np.stack([np.ma.filled(found[name], np.nan) for name in names], axis=1)


def polars_asof(folder: Path) -> NDArray[np.float32]:
    """The same by join_asof, which wants both sides sorted."""
    rows = pl.read_parquet(folder / FEATURES).sort("event_timestamp", "created")
    asked = pl.read_parquet(folder / ASKED).with_row_index("place").sort("event_timestamp")
    joined = asked.join_asof(rows, on="event_timestamp", by="listing", check_sortedness=False)
    names = [name for name in rows.columns if name.startswith("f")]
    return joined.sort("place").select(names).to_numpy()


def feast(folder: Path, runs: int = 1) -> dict[str, float | str]:
    """What `benchmarks/feast/pit.py` says of the same files, in its own environment."""
    script = record.ROOT / "benchmarks" / "feast" / "pit.py"
    command = [str(FEAST), str(script), str(folder), "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_gb(folder: Path) -> float:
    """Peak memory of our join alone, in a process of its own, GB."""
    code = (
        "import sys, resource; from pathlib import Path; from benchmarks.feature_join import ours; "
        "ours(Path(sys.argv[1])); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=record.ROOT)
    return int(done.stdout) * 1024 / 1e9


def rows(
    rows: int = 10_000_000, asked: int = 1_000_000, listings: int = 200_000, runs: int = 3
) -> list[Row]:
    """The rows of part `pit`.

    Raises:
        RuntimeError: if a method finds other values.
    """
    folder = record.ROOT / "var" / "bench-features" / "pit"
    write(folder, rows, asked, listings)
    work: dict[str, Callable[[Path], NDArray[np.float32]]] = {
        "ours": ours, "duckdb": duckdb_asof, "polars": polars_asof
    }  # fmt: skip
    ours(folder)  # compiles, and reads the files once
    wall: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(runs):
        found = {}
        for name, join in work.items():
            start = time.perf_counter()
            found[name] = join(folder)
            wall[name].append(time.perf_counter() - start)
    _same(found, ties=rows // 1_000)
    seconds = {name: statistics.median(times) for name, times in wall.items()}
    what = (
        f"{asked:,} moments x 10 float32 over {rows:,} rows of {listings:,} listings, Parquet to "
        f"array, wall time on two threads, median of {runs}: ours {seconds['ours']:.2f} s"
    )
    peers = {
        "pit_vs_duckdb": ("duckdb", f"DuckDB {version('duckdb')} ASOF, 2 threads"),
        "pit_vs_polars": ("polars", f"polars {version('polars')} join_asof"),
    }
    gb = peak_gb(folder)
    return [
        _against_feast(folder, found["ours"], wall["ours"], f"{what}, {gb:.1f} GB at most"),
        *(
            Row(
                id=f"features.{name}",
                value=round(seconds[key] / seconds["ours"], 2),
                unit="x",
                better="higher",
                peer=peer,
                peer_value=round(seconds[key], 2),
                note=what,
            )
            for name, (key, peer) in peers.items()
        ),
    ]


def _against_feast(folder: Path, values: NDArray[np.float32], wall: list[float], what: str) -> Row:
    if not FEAST.exists():
        return Row(
            id="features.pit_vs_feast", value=None, unit="x", better="higher", target=7,
            note=f"Feast is not installed: make feast. {what}",
        )  # fmt: skip
    theirs = feast(folder)
    if theirs["rows"] != len(values) or theirs["values"] != int((~np.isnan(values)).sum()):
        raise RuntimeError(f"features.pit: Feast has other rows: {theirs}")
    seconds = float(theirs["seconds"])
    return Row(
        id="features.pit_vs_feast",
        value=round(seconds / statistics.median(wall), 1),
        unit="x",
        better="higher",
        target=7,
        peer=str(theirs["peer"]),
        peer_value=round(seconds, 2),
        interval=(round(seconds / max(wall), 1), round(seconds / min(wall), 1)),
        note=f"{what}; Feast once, {theirs['peak_gb']:.1f} GB at most",
    )


def _same(found: dict[str, NDArray[np.float32]], ties: int) -> None:
    """All have the same rows missing; DuckDB may differ where two rows are of one time."""
    mine = found["ours"]
    for name, theirs in found.items():
        other = (mine != theirs) & ~(np.isnan(mine) & np.isnan(theirs))
        differing = int(other.any(axis=1).sum())
        missing = not np.array_equal(np.isnan(mine), np.isnan(theirs))
        if missing or differing > (ties if name == "duckdb" else 0):
            raise RuntimeError(f"features.pit: {name} differs from ours in {differing} rows")
