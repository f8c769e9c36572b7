"""How fast the simulator is: impressions a second of CPU time on one core.

    python benchmarks/simulator_speed.py

Timed are ticks of a loaded world under built-in array policies: stock changes, sessions, slates,
behaviour, the observed counts. Making `Event` objects is a row of its own.
"""

import json
import statistics
import time
from typing import Any

from heirloom.simulator import Mixed, Popular, Random, Size, World

LOAD = Size(listings=20_000, people=50_000, days=1, sessions_per_day=1.0)


def _measure(name: str, ticks: int, with_events: bool) -> float:
    world = World(LOAD, seed=1, start_ms=1_735_689_600_000 + 8 * 3_600_000)
    policy = {"random": Random, "popular": Popular, "mixed": Mixed}[name](world)
    world.step(policy)  # compiles the walk, fills caches
    shown, begin = 0, time.process_time()
    for _ in range(ticks):
        batch = world.step(policy)
        shown += batch.impressions
        if with_events:
            batch.events()
    return shown / (time.process_time() - begin)


def rows(runs: int = 5, ticks: int = 3) -> list[dict[str, Any]]:
    """Rows in the form of benchmark_rows: medians of several runs."""
    found: list[dict[str, Any]] = []
    for name, with_events in (("mixed", False), ("random", False), ("popular", False),
                              ("mixed", True)):  # fmt: skip
        speeds = [_measure(name, ticks, with_events) for _ in range(runs)]
        row: dict[str, Any] = {
            "id": "spine.sim_impressions_per_s",
            "value": round(statistics.median(speeds)),
            "unit": "impressions/s",
            "better": "higher",
            "interval": [round(min(speeds)), round(max(speeds))],
            "note": f"median of {runs} runs of {ticks} ticks, CPU time, {name} policy, "
            f"{LOAD.people:,} people, {LOAD.listings:,} listings, without Event objects",
        }
        if with_events:
            row["id"] += "_with_events"
            row["note"] = row["note"].replace("without", "with")
        elif name == "mixed":
            row["target"] = 100_000
        else:
            row["id"] += f"_{name}"
        found.append(row)
    return found


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
