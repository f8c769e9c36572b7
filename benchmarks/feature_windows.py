"""Windowed counts as of each impression of an in-order log: ours, DuckDB's and polars'.

All by the contract's windows, all the same numbers, from arrays in memory to arrays in memory.
"""

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.feature_data import Clicks, clicks
from benchmarks.record import Row
from heirloom.core.event import KIND_CODE
from heirloom.features.algebra import Counter
from heirloom.features.inorder import counts_in_order
from heirloom.features.windows import WINDOWS

NAMES = ("1h", "24h", "7d")
CLICKED = Counter("clicked", ("listing",), ("click",), NAMES)


def ours(data: Clicks, workers: int) -> NDArray[np.float32]:
    """[impressions, windows]."""
    return counts_in_order([CLICKED], data.t, data.kind, {"listing": data.listing}, workers=workers)


def duckdb_asof(data: Clicks, threads: int) -> NDArray[np.float32]:
    """The same as differences of a cumulative count, found by four ASOF joins."""
    log = pl.DataFrame({"seq": np.arange(len(data.t)), "t": data.t, "kind": data.kind,
                        "listing": data.listing})  # fmt: skip
    cuts = ", ".join(
        f"floor((t - {WINDOWS[w].length_ms}) / {WINDOWS[w].hop_ms})::bigint * {WINDOWS[w].hop_ms}"
        f" as cut{j}"
        for j, w in enumerate(NAMES)
    )
    before = " ".join(
        f"asof left join counted b{j} on a.listing = b{j}.listing and a.cut{j} > b{j}.t"
        for j in range(len(NAMES))
    )
    columns = ", ".join(
        f"coalesce(now.n, 0) - coalesce(b{j}.n, 0) as n{j}" for j in range(len(NAMES))
    )
    with duckdb.connect(config={"threads": threads}) as engine:
        engine.register("log", log.to_arrow())
        engine.execute(
            f"""create temp table counted as select listing, t, seq,
                  row_number() over (partition by listing order by seq) as n
                from log where kind = {KIND_CODE["click"]}"""
        )
        table = engine.execute(
            f"""with asked as (select seq, listing, {cuts} from log
                               where kind = {KIND_CODE["impression"]})
                select a.seq, {columns} from asked a
                asof left join counted now on a.listing = now.listing and a.seq > now.seq
                {before} order by a.seq"""
        ).fetchnumpy()
    return np.stack([table[f"n{j}"] for j in range(len(NAMES))], axis=1).astype(np.float32)


def polars_asof(data: Clicks) -> NDArray[np.float32]:
    """The same by four join_asof, on the sequence and on the cuts."""
    log = pl.DataFrame({"seq": np.arange(len(data.t)), "t": data.t, "kind": data.kind,
                        "listing": data.listing})  # fmt: skip
    counted = log.filter(pl.col("kind") == KIND_CODE["click"]).with_columns(
        n=pl.int_range(1, pl.len() + 1).over("listing")
    )
    asked = log.filter(pl.col("kind") == KIND_CODE["impression"])

    def count(on: str, of: pl.DataFrame, right: str) -> pl.Series:
        joined = of.join_asof(
            counted.select("listing", right, "n"), left_on=on, right_on=right, by="listing",
            allow_exact_matches=False, check_sortedness=False,
        )  # fmt: skip
        return joined["n"].fill_null(0)

    now = count("seq", asked, "seq")
    columns = []
    for w in NAMES:
        length, hop = WINDOWS[w].length_ms, WINDOWS[w].hop_ms
        cut = asked.select("listing", cut=(pl.col("t") - length) // hop * hop)
        columns.append((now.cast(pl.Int64) - count("cut", cut, "t").cast(pl.Int64)).to_numpy())
    return np.stack(columns, axis=1).astype(np.float32)


def timed(work: Callable[[], NDArray[np.float32]]) -> tuple[float, float, NDArray[np.float32]]:
    """Wall and CPU seconds, and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def rows(events: int = 5_000_000, keys: int = 500_000, runs: int = 5) -> list[Row]:
    """The rows of part `windows`.

    Raises:
        RuntimeError: if a method counts something else than the others.
    """
    data = clicks(events, keys, seed=1)
    work: dict[str, Callable[[], NDArray[np.float32]]] = {
        "one": lambda: ours(data, 1),
        "two": lambda: ours(data, 2),
        "duckdb": lambda: duckdb_asof(data, 2),
        "polars": lambda: polars_asof(data),
    }
    ours(clicks(1_000, 10, seed=1), 2)  # compiles
    wall: dict[str, list[float]] = {name: [] for name in work}
    cpu: dict[str, list[float]] = {name: [] for name in work}
    for run in range(runs):
        results = []
        for name, do in work.items():
            if name == "polars" and run > 0:
                continue
            one_wall, one_cpu, result = timed(do)
            wall[name].append(one_wall)
            cpu[name].append(one_cpu)
            results.append((name, result))
        for (left, a), (right, b) in pairwise(results):
            if not np.array_equal(a, b):
                raise RuntimeError(f"features.windows: {left} and {right} count differently")
    asked = len(results[0][1])
    what = f"{events:,} events, {asked:,} of them impressions, {keys:,} listings, {NAMES}"
    peer = f"DuckDB {version('duckdb')} ASOF, 2 threads"
    speeds = {
        "1core": [asked / seconds for seconds in cpu["one"]],
        "2core": [asked / seconds for seconds in wall["two"]],
    }
    notes = {
        "1core": f"CPU time; {what}",
        "2core": f"wall time on two threads, CPU {statistics.median(cpu['two']):.2f} s; {what}",
    }
    ratios = [theirs / mine for theirs, mine in zip(wall["duckdb"], wall["one"], strict=True)]
    polars_speed = asked / wall["polars"][0]
    return [
        *(
            Row(
                id=f"features.window_rows_per_s_{name}",
                value=round(statistics.median(speeds[name])),
                unit="impressions/s",
                better="higher",
                target=target,
                peer=f"polars {version('polars')} join_asof, once",
                peer_value=round(polars_speed),
                interval=(round(min(speeds[name])), round(max(speeds[name]))),
                note=f"median and range of {runs}; {notes[name]}",
            )
            for name, target in (("1core", 3_000_000), ("2core", 6_000_000))
        ),
        Row(
            id="features.window_vs_duckdb",
            value=round(statistics.median(ratios), 2),
            unit="x",
            better="higher",
            target=2.5,
            peer=peer,
            peer_value=round(statistics.median(wall["duckdb"]), 2),
            interval=(round(min(ratios), 2), round(max(ratios), 2)),
            note=f"wall time, {runs} runs in turn; ours on one core "
            f"{statistics.median(wall['one']):.2f} s; {what}",
        ),
    ]
