"""The whole view for impressions sampled out of a log that is read in parts.

    python -m benchmarks.feature_view [--events 10000000] [--rows 1000000] [--rounds 2]

Prints one JSON line; run by itself, so that its peak memory is that of the replay. No peer does
this; the log is made as it is read, and the making is not timed.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks import record
from benchmarks.feature_data import Market, log
from benchmarks.record import Row
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import Facts
from heirloom.features.library import marketplace_view
from heirloom.features.replay import Rows, replay

SEED = 1


def asked(market: Market, rows: int) -> Rows:
    """About so many of the log's impressions, evenly drawn, as rows to be answered."""
    rng = np.random.default_rng(SEED)
    chance = rows / (0.82 * (market.events - market.listings))
    parts = []
    for part in log(market, SEED):
        shown = np.flatnonzero(part.events["kind"] == KIND_CODE["impression"])
        parts.append(Rows.of_mentions(part, shown[rng.random(len(shown)) < chance]))
    names = [name for name in Rows.__slots__ if name != "given"]
    return Rows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
        given={},
    )


class Timed:
    """A log, and how long the making of its parts took; it can be read again."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self.wall = self.cpu = 0.0

    def __iter__(self) -> Iterator[Facts]:
        parts = log(self._market, SEED)
        while True:
            wall, cpu = time.perf_counter(), time.process_time()
            part = next(parts, None)
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            if part is None:
                return
            yield part


def measure(events: int, rows: int, workers: int, rounds: int) -> dict[str, float | int]:
    """Seconds and bytes of one replay."""
    market = Market(events, listings=events // 25, people=events // 50)
    view = marketplace_view()
    some = next(log(Market(1_000, 100, 10), SEED))
    replay(view, some, Rows.of_mentions(some, np.arange(500)), workers=workers)  # compiles
    wanted = asked(market, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = Timed(market)
    wall, cpu = time.perf_counter(), time.process_time()
    answered = replay(view, parts, wanted, workers=workers, rounds=rounds)
    return {
        "seconds": time.perf_counter() - wall - parts.wall,
        "cpu_seconds": time.process_time() - cpu - parts.cpu,
        "rows": len(wanted),
        "columns": len(view.columns),
        "state_gb": answered.nbytes / 1e9,
        "before_gb": before * 1024 / 1e9,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "not_nan": float((~np.isnan(answered.values)).mean()),
    }


def rows(
    events: int = 10_000_000, rows: int = 1_000_000, workers: int = 2, rounds: int = 2
) -> list[Row]:
    """The rows of part `view60`."""
    command = [sys.executable, "-m", "benchmarks.feature_view", "--events", str(events),
               "--rows", str(rows), "--workers", str(workers), "--rounds", str(rounds)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=record.ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    what = (
        f"{found['columns']} columns for {found['rows']:,} impressions of {events:,} events, one "
        f"listing each, {events // 25:,} listings, {events // 50:,} people, 5 % late; "
        f"{workers} threads, {rounds} rounds; once"
    )
    return [
        Row(
            id="features.view60_s",
            value=round(found["seconds"], 1),
            unit="s",
            better="lower",
            target=60,
            note=f"wall time, CPU {found['cpu_seconds']:.1f} s; {what}",
        ),
        Row(
            id="features.view60_peak_gb",
            value=round(found["peak_gb"], 2),
            unit="GB",
            better="lower",
            target=4,
            note=f"whole process, {found['before_gb']:.2f} of it the rows asked and the log, "
            f"state {found['state_gb']:.2f}; {what}",
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    print(json.dumps(measure(given.events, given.rows, given.workers, given.rounds)))
