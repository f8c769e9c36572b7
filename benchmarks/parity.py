"""Parity of a simulated marketplace: served values that a replay of the log gives otherwise.

python -m benchmarks.parity --rows 1000000

The log has 5 % late events (by up to three days), 2 % sent twice, slots used again, and two
restarts, one of them from a snapshot; people ask before and after they are known.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from benchmarks import record
from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.parity import check, report
from heirloom.apps.settings import Settings, load
from heirloom.core.event import Event, Kind
from heirloom.core.query import Query
from heirloom.pipelines.train import query_of
from heirloom.simulator.policies import Mixed
from heirloom.simulator.world import Size, World

LATE, TWICE, RESTARTS = 0.05, 0.02, 2
DAY_MS = 86_400_000
START_MS = 1_735_689_600_000
SYSTEM = Path(__file__).resolve().parents[1] / "systems" / "laptop.toml"


class _Traffic:
    """A world's events as they arrive: some late, some twice, in parts of any size."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.world = World(Size.SMALL, seed, start_ms=START_MS)
        self._waiting: list[tuple[int, Event]] = []

    def parts(self) -> Iterator[tuple[int, list[Event]]]:
        """(ms at arrival, events)."""
        yield self.world.now_ms, self.world.opening()
        policy = Mixed(self.world)
        while True:
            events = self.world.step(policy).events()
            now = self.world.now_ms
            late = {e.event_id for e in events if e.kind != Kind.LISTED and self._draw(LATE)}
            again = [e for e in events if self._draw(TWICE)]
            self._waiting += [
                (now + int(self.rng.integers(3 * DAY_MS)), event)
                for event in [*again, *(e for e in events if e.event_id in late)]
            ]
            due = [event for at, event in self._waiting if at <= now]
            self._waiting = [each for each in self._waiting if each[0] > now]
            arrived = due + [event for event in events if event.event_id not in late]
            cuts = np.sort(self.rng.integers(0, len(arrived) + 1, len(arrived) // 25 + 1)).tolist()
            for start, stop in zip([0, *cuts], [*cuts, len(arrived)], strict=True):
                yield now, arrived[start:stop]

    def _draw(self, share: float) -> bool:
        return bool(self.rng.random() < share)


def parity_rows(rows: int = 1_000_000) -> list[Row]:
    """The rows of part `parity`: `measure` in a folder under var/ that is gone afterwards."""
    scratch = record.ROOT / "var" / "bench-features"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="parity-", dir=scratch) as folder:
        return measure(rows, Path(folder))


def measure(rows: int, folder: Path, *, seed: int = 0) -> list[Row]:
    """Serve so many rows while a log comes in, then check them against the log.

    Args:
        rows: at least so many.
        folder: of the system; without a log as yet.
        seed: of the world and of what is late or comes twice.
    """
    settings = _settings(folder)
    began = time.process_time()
    served = _serve(settings, rows, seed)
    between = time.process_time()
    found = check(settings)
    checked = time.process_time() - between
    Console().print(report(found, folder))
    wrong = sum(each.mismatched + each.missing + each.extra for each in found.features.values())
    note = (
        f"{found.rows:,} rows of {found.slates:,} slates x {len(found.features)} features, "
        f"replayed to offset {found.to_n:,}; {100 * LATE:.0f} % late, {100 * TWICE:.0f} % twice, "
        f"{RESTARTS} restarts; {found.late:,} late counts dropped; {served:,} slates served in "
        f"{between - began:.0f} s of CPU, checked in {checked:.0f} s"
    )
    return [
        Row(
            id="features.parity_mismatches",
            value=wrong + sum(found.broken.values()),
            unit="values",
            better="equal",
            target=0,
            note=note,
        )
    ]


def _settings(folder: Path) -> Settings:
    return load(SYSTEM, folder=folder, retire_after_days=1, snapshot_every=4_000)


def _serve(settings: Settings, rows: int, seed: int) -> int:
    clock = [START_MS]
    system = System(settings, answering=False, clock=lambda: clock[0])
    left, slates, restarts = rows, 0, [rows * 2 // 3, rows // 3]
    asked: list[Query] = []
    try:
        for now, events in _Traffic(seed).parts():
            clock[0] = now
            asked += [query_of(event) for event in events if event.kind == Kind.IMPRESSION]
            # Before the state hears of them, and after.
            for query in asked[-6:]:
                left -= _ask(system, query, now)
                slates += 1
            system.ingest(events)
            for query, _ in zip(cycle(asked[-40:] or [Query(t=now)]), range(12), strict=False):
                left -= _ask(system, query, now)
                slates += 1
            if restarts and left < restarts[0]:
                restarts.pop(0)
                system.close()
                system = System(settings, answering=False, clock=lambda: clock[0])
            if left <= 0:
                return slates
    finally:
        system.close()
    return slates


def _ask(system: System, query: Query, now: int) -> int:
    """Rows recorded of one slate."""
    slate = system.recommend(msgspec.structs.replace(query, t=now, k=48))
    return len(slate.shown)


def main() -> None:
    """Measure and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    for row in measure(chosen.rows, chosen.folder) if chosen.folder else parity_rows(chosen.rows):
        print(row)


if __name__ == "__main__":
    main()
