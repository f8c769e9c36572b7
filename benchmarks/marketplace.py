"""The main job on the frozen simulator: captured value over seeds, and sold listings shown.

    python -m benchmarks.marketplace captured [--seeds 1 2 3] [--system FILE --id ROW]
    python -m benchmarks.marketplace leaks [--slates 100000]

Seed 0 is for development; no setting was chosen on the seeds measured here.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import sqrt
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.parts import measured
from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM, product_policy, simulate_into, trial
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.core.event import Event
from heirloom.simulator import VERSION, Mixed, Size, Trial, World
from heirloom.simulator.policies import Oracle, Popular
from heirloom.simulator.queries import Policy, QueryColumns
from heirloom.simulator.trial import captured_value

SEEDS = (1, 2, 3, 4, 5)
NOW_MS = 1_767_225_600_000
"""Simulated pasts end about now: by the clock on the wall each run of a seed is of another moment,
and one seed's value then differs by .01 from run to run."""
TICKS = 36
"""A simulated day of 40-minute ticks."""
SLATES = 100_000
HALVED = 0.2
"""Share of the queries that are asked about cold and warm listings apart."""
LEAST_COLD = 100
"""From so many on there is something to choose among."""
BUSY = Size(listings=4_000, people=4_000, days=2, sessions_per_day=1.5)
Say = Callable[[str], None]


def _now() -> int:
    return NOW_MS


def trial_of_seed(seed: int, file: Path = SYSTEM) -> Trial:
    """Simulate two weeks, train, and let the policy live a day."""
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(file, folder=folder), answering=False, clock=_now)
        try:
            world = simulate_into(system, "demo", seed, None, Silent())
            system.train()
            return trial(system, world, TICKS, Silent())
        finally:
            system.close()


def captured_rows(
    seeds: Sequence[int] = SEEDS,
    say: Say = print,
    *,
    system: Path = SYSTEM,
    id: str = "spine.captured_value",
    target: float = 0.25,
    also: Sequence[str] = (),
) -> list[Row]:
    """Captured value: mean over seeds with a Student interval, and each seed's own.

    A seed that was measured at this very commit is not measured again.

    Args:
        seeds: of worlds.
        say: hears of each.
        system: settings of what is trained and tried.
        id: of the row.
        target: of the row.
        also: as in `measured`.
    """
    found = [
        measured("captured", f"{system.stem}-{seed}", partial(_seed, seed, system, say), also)
        for seed in seeds
    ]
    values = [float(row.value or 0.0) for row, _ in found]
    mean = statistics.mean(values)
    half = 0.0
    if len(values) > 1:
        half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values)
        half /= sqrt(len(values))
    queries = sum(int(count.value or 0) for _, count in found)
    return [
        Row(
            id=id,
            value=round(mean, 4),
            unit="share",
            better="higher",
            target=target,
            peer="popular in context 0, oracle 1",
            interval=(round(mean - half, 4), round(mean + half, 4)),
            note=f"systems/{system.name}, simulator version {VERSION}, "
            f"seeds {', '.join(map(str, seeds))}, 95 % Student interval over seeds, "
            f"{queries:,} slates; " + "; ".join(f"{row.value:.3f} {row.note}" for row, _ in found),
        )
    ]


def _seed(seed: int, system: Path, say: Say) -> list[Row]:
    """The value of one seed, with its interval and surfaces in the note, and how many slates."""
    began = time.monotonic()
    found = trial_of_seed(seed, system)
    captured = found.captured("heirloom")
    say(f"seed {seed}: {captured} in {time.monotonic() - began:.0f} s")
    by_surface = (found.captured("heirloom", surface=i).value for i in range(3))
    said = ", ".join(f"{value:.3f}" for value in by_surface)
    note = f"[{captured.low:.3f}, {captured.high:.3f}] (home, similar, search {said})"
    return [
        Row(id="seed.captured", value=captured.value, unit="share", better="higher", note=note),
        Row(id="seed.slates", value=captured.queries, unit="slates", better="higher"),
    ]


def cold_rows(
    seeds: Sequence[int] = (1, 2),
    say: Say = print,
    *,
    system: Path = SYSTEM,
    id: str = "models.cold_vs_warm",
    target: float = 0.9,
) -> list[Row]:
    """Captured value among listings that came after training, over that among as many others.

    A seed that was measured at this very commit is not measured again.

    Args:
        seeds: of worlds.
        say: hears of each.
        system: settings of what is trained and tried.
        id: of the row.
        target: of the row.
    """
    found = [
        measured(id, f"{system.stem}-{seed}", partial(_cold_of_seed, seed, system, say))
        for seed in seeds
    ]
    pairs = [(float(cold.value or 0.0), float(warm.value or 0.0)) for cold, warm in found]
    ratio = sum(cold for cold, _ in pairs) / sum(warm for _, warm in pairs)
    said = "; ".join(
        f"{cold.value:.3f} {cold.note} cold, {warm.value:.3f} {warm.note} warm"
        for cold, warm in found
    )
    return [
        Row(
            id=id,
            value=round(ratio, 3),
            unit="x",
            better="higher",
            target=target,
            peer="as many listings known in training, drawn evenly for each query",
            note=f"systems/{system.name}, simulator version {VERSION}, seeds "
            f"{', '.join(map(str, seeds))}; policy, popular and oracle choose alike; {said}",
        )
    ]


class _Halves:
    """Answers as `policy`, and asks it, popular and the oracle about cold and warm listings."""

    def __init__(self, world: World, policy: Policy, seed: int) -> None:
        self.world, self.policy = world, policy
        self.trained_to = len(world.stock)
        self.people: list[int] = []
        self.values: dict[str, list[tuple[float, float, float]]] = {"cold": [], "warm": []}
        self._rng = np.random.default_rng([seed, 91])
        self._asked = (policy, Popular(world), Oracle(world))

    def __call__(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k] of the policy over everything."""
        slates = self.policy(queries)
        real = ~self.world.people.taste.bot[queries.asks.person]
        for row in np.flatnonzero(real & (self._rng.random(len(queries)) < HALVED)):
            self._compare(queries.take(np.array([row])))
        return slates

    def _compare(self, query: QueryColumns) -> None:
        live = np.flatnonzero(self.world.stock.live).astype(np.int32)
        cold, warm = live[live >= self.trained_to], live[live < self.trained_to]
        if len(cold) < LEAST_COLD:
            return
        self.people.append(int(query.asks.person[0]))
        sample = self._rng.choice(warm, len(cold), replace=False)
        for name, among in (("cold", cold), ("warm", sample)):
            others = np.setdiff1d(live, among)
            exclude = np.concatenate([query.exclude, others[None]], axis=1).astype(np.int32)
            asked = replace(query, exclude=exclude)
            policy, popular, oracle = (
                float(self.world.value(asked, each(asked))[0]) for each in self._asked
            )
            self.values[name].append((policy, popular, oracle))


def _cold_of_seed(seed: int, file: Path, say: Say) -> list[Row]:
    """Captured value among cold listings, and among as many warm ones."""
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(file, folder=folder), answering=False, clock=_now)
        try:
            world = simulate_into(system, "demo", seed, None, Silent())
            system.train()
            halves = _Halves(world, product_policy(system), seed)

            def hear(events: list[Event]) -> None:
                system.ingest_history(events, source="simulator")

            for _ in range(TICKS):
                world.step(halves, hear)
        finally:
            system.close()
    rows = []
    for name, values in halves.values.items():
        policy, popular, oracle = np.array(values).T
        found = captured_value(policy, popular, oracle, np.array(halves.people))
        say(f"seed {seed}, {name}: {found}")
        note = f"[{found.low:.3f}, {found.high:.3f}] of {found.queries} slates"
        rows.append(
            Row(id=f"seed.{name}", value=found.value, unit="share", better="higher", note=note)
        )
    return rows


def leak_rows(slates: int = SLATES, say: Say = print) -> list[Row]:
    """`spine.sold_leaks`: the trained policy drives a busy world until so many slates."""
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(SYSTEM, folder=folder), answering=False, clock=_now)
        world = World(BUSY, seed=1, start_ms=system.now_ms() - 90 * 86_400_000)
        system.ingest_history(world.opening(), source="simulator")
        logging = Mixed(world)
        while world.day < 1:
            system.ingest_history(world.step(logging).events(), source="simulator")
        system.train()
        policy = product_policy(system)

        def hear(events: list[Event]) -> None:
            system.ingest_history(events, source="simulator")

        shown = leaks = sold = 0
        while shown < slates:
            batch = world.step(policy, hear)
            shown, leaks = shown + batch.queries, leaks + batch.sold_shown
            sold += sum(event.kind == "sold" for event in batch.events())
            if world.tick % 10 == 0:
                say(f"{shown:,} slates, {sold:,} sales, {leaks} sold listings shown")
        system.close()
    return [
        Row(
            id="spine.sold_leaks",
            value=leaks,
            unit="listings",
            better="equal",
            target=0,
            note=f"{shown:,} slates of {BUSY.k} by the trained policy, {sold:,} listings sold "
            f"meanwhile; {BUSY.listings:,} listings, {BUSY.people:,} people",
        )
    ]


def main() -> None:
    """Measure one part and print its rows."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("part", choices=("captured", "leaks"))
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options.add_argument("--system", type=Path, default=SYSTEM, help="settings of what is tried")
    options.add_argument("--id", default="spine.captured_value", help="of the row")
    options.add_argument("--slates", type=int, default=SLATES)
    options.add_argument("--out", type=Path, help="write the rows here as JSON too")
    chosen = options.parse_args()
    if chosen.part == "captured":
        found = captured_rows(chosen.seeds, system=chosen.system, id=chosen.id)
    else:
        found = leak_rows(chosen.slates)
    text = json.dumps([msgspec.to_builtins(row) for row in found], indent=1)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
