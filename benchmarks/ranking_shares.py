"""Exposure of new sellers on the frozen simulator: held to its target, and at which cost.

    python -m benchmarks.ranking_shares [--seeds 1 2] [--out FILE]

A ranker is trained on a world some days old (`systems/laptop.toml`). Then the world goes on for a
day under slates whose rules hold new sellers to their share of the stock; the same ranker without
rules answers the same queries in the same state beside it. Shares are of exposure, 1 / log2(place
+ 2) of a place; eligible stock is what `slates.exposure.Exposure.members` says of the live stock.

A second day, from the same state, asks for more than the ranker gives by itself, of listings whose
seller sold nothing yet: this is how the controller is seen to settle and to hold.
"""

import argparse
import json
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM
from heirloom.apps.settings import Settings, SharesPart, SlatePart, load
from heirloom.core.catalogue import DAY_MS
from heirloom.core.event import Event
from heirloom.core.query import Query
from heirloom.core.slate import Slate
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend
from heirloom.simulator import VERSION, Mixed, Size, World, by_query
from heirloom.slates.rules import GROUPS, Rules, Shares

SIZE = Size.SMALL
TICKS = 72
"""A simulated day of its ticks."""
SHARES = Shares(new_sellers=1.0)
"""As much exposure as there is stock, of sellers of at most 30 days or fewer than 5 sales."""
DEMANDING = Shares(new_sellers=1.25, new_seller_days=0.01, new_seller_sales=1)
"""A quarter more than there is stock, of sellers who sold nothing yet."""
WINDOW = 24
"""Ticks over which a share is judged: eight hours, some 360 slates."""
LOG_SCALE = 2.0
"""Of the ranker `expected`."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Day:
    """What a day showed.

    Attributes:
        value: [ticks, 2] true value of all slates, under the rules and without them.
        shown: [slates, 2] exposure of new sellers and of all, under the rules.
        plain: the same without them.
        counted: [slates, 2] listings of new sellers and all, under the rules.
        stock: [slates] share of new sellers in the live stock when each was asked for.
        tick: [slates].
        told: what the slates said of their own cost, as a share of what they were worth.
    """

    value: NDArray[np.float64]
    shown: NDArray[np.float64]
    plain: NDArray[np.float64]
    counted: NDArray[np.float64]
    stock: NDArray[np.float64]
    tick: NDArray[np.int64]
    told: float

    def share(self, part: slice | NDArray[np.bool_] = slice(None), *, plain: bool = False) -> float:
        """New sellers' part of exposure over their part of the stock."""
        exposure = (self.plain if plain else self.shown)[part].sum(axis=0)
        return float(exposure[0] / exposure[1] / self.stock[part].mean())

    @property
    def cost(self) -> float:
        """True value given up, as a share of what it would be without the rules."""
        return 1.0 - float(self.value[:, 0].sum() / self.value[:, 1].sum())

    def windows(self, target: float) -> list[tuple[float, float]]:
        """By window: how far, in points, the share is from its target; and the cost in it."""
        found = []
        for begin in range(0, int(self.tick.max()) + 1, WINDOW):
            part = (self.tick >= begin) & (self.tick < begin + WINDOW)
            exposure, value = self.shown[part].sum(axis=0), self.value[begin : begin + WINDOW]
            points = 100 * (exposure[0] / exposure[1] - target * self.stock[part].mean())
            found.append((float(points), 1.0 - float(value[:, 0].sum() / value[:, 1].sum())))
        return found


def trained(system: System, seed: int, size: Size = SIZE) -> World:
    """A world some days old, of which the system knows all and has learned a ranker."""
    ticks = round(size.days * DAY_MS / size.tick_ms)
    start = system.now_ms() - (ticks + TICKS + 1) * size.tick_ms
    world = World(size, seed, start_ms=start)
    system.ingest_history(world.opening(), source="simulator")
    logging = Mixed(world)
    for _ in range(ticks):
        system.ingest_history(world.step(logging).events(), source="simulator")
    system.train()
    return world


def system_settings(folder: str, shares: Shares = SHARES) -> Settings:
    """The laptop's system that holds shares."""
    settings = load(SYSTEM, folder=folder)
    part = SlatePart(
        log_scale=LOG_SCALE,
        shares=SharesPart(**{name: getattr(shares, name) for name in SharesPart.model_fields}),
    )
    policy = settings.policy.model_copy(update={"slate": part})
    return settings.model_copy(update={"policy": policy})


class _Diary:
    """Writes down what each slate shows."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.rows: dict[str, list[Any]] = {"rules": [], "plain": []}
        self.counted: list[tuple[float, float]] = []
        self.stock: list[float] = []
        self.tick: list[int] = []
        self.worth = np.zeros(2)
        self.now = 0
        self._stock = (-1, 0.0)

    def answer(self, policy: Policy, name: str) -> Callable[[Query], Sequence[str]]:
        def answered(query: Query) -> list[str]:
            slate = recommend(query, policy, self.system.live)
            self._note(slate, query, name)
            return [shown.listing for shown in slate.shown]

        return answered

    def _note(self, slate: Slate, query: Query, name: str) -> None:
        exposure = self.system.live.exposure
        assert exposure is not None
        new = exposure.members(slate.slots, query.t)[:, GROUPS.index("new_sellers")]
        weights = 1 / np.log2(np.arange(len(new)) + 2)
        self.rows[name].append((weights[new].sum(), weights.sum()))
        if name == "rules":
            self.counted.append((new.sum(), len(new)))
            self.tick.append(self.now)
            self.stock.append(self._share_of_stock(query.t))
            if slate.worth:
                self.worth += (slate.worth["score"], slate.worth["share"])

    def _share_of_stock(self, t: int) -> float:
        if self._stock[0] != self.system.live.n:
            exposure, live = self.system.live.exposure, self.system.live.catalogue.live
            assert exposure is not None
            slots = np.flatnonzero(live).astype(np.int32)
            self._stock = (self.system.live.n, float(exposure.members(slots, t)[:, 0].mean()))
        return self._stock[1]


def day(system: System, world: Any, ticks: int = TICKS, say: Say = print) -> Day:
    """Let the world go on under the system's rules, beside the same ranker without them."""
    diary = _Diary(system)
    plain = replace(system.policy, name="plain", rules=Rules())
    policies = {
        "rules": by_query(diary.answer(system.policy, "rules")),
        "plain": by_query(diary.answer(plain, "plain")),
    }
    began = world.tick

    def hear(events: list[Event]) -> None:
        system.ingest_history(events, source="simulator")
        diary.now = world.tick - began

    values = []
    for _ in range(ticks):
        found = world.trial(policies, 1, driver="rules", listener=hear)
        values.append([float(found.values[name].sum()) for name in policies])
        held = system.live.exposure.held if system.live.exposure else ()
        say(f"tick {diary.now}: {held}")
    return Day(
        np.array(values),
        np.array(diary.rows["rules"]),
        np.array(diary.rows["plain"]),
        np.array(diary.counted),
        np.array(diary.stock),
        np.array(diary.tick),
        float(1 - diary.worth[1] / diary.worth[0]),
    )


def days_of_seed(seed: int, say: Say = print) -> tuple[Day, Day]:
    """The day that holds SHARES and the day that holds DEMANDING, of one world."""
    with tempfile.TemporaryDirectory() as folder:
        before, now = Path(folder) / "before", time.time_ns() // 1_000_000
        system = System(system_settings(str(before)), answering=False, clock=lambda: now)
        world = pickle.dumps(trained(system, seed))
        system.close()
        found = []
        for name, shares in (("shares", SHARES), ("demanding", DEMANDING)):
            shutil.copytree(before, Path(folder) / name)
            settings = system_settings(str(Path(folder) / name), shares)
            system = System(settings, clock=lambda: now)
            found.append(day(system, pickle.loads(world), say=say))
            system.close()
    return found[0], found[1]


def share_rows(seeds: Sequence[int] = (1, 2), say: Say = print) -> list[Row]:
    """`ranking.new_seller_share`, `ranking.exposure_cost`, and how the controller holds."""
    days = [days_of_seed(seed, say) for seed in seeds]
    held, hard = [first for first, _ in days], [second for _, second in days]
    windows = [each.windows(DEMANDING.new_sellers) for each in hard]
    settled = [
        next((i for i in range(len(w)) if all(abs(p) <= 2 for p, _ in w[i:])), len(w))
        for w in windows
    ]
    said = (
        f"simulator version {VERSION}, {SIZE.listings:,} listings, {SIZE.people:,} people, seeds "
        f"{', '.join(map(str, seeds))}, {sum(len(each.tick) for each in held):,} slates; "
        "systems/laptop.toml"
    )
    eligible = statistics.mean(float(each.stock.mean()) for each in held)
    wanted = statistics.mean(float(each.stock.mean()) for each in hard) * DEMANDING.new_sellers
    costs = [statistics.mean(cost for _, cost in w[-2:]) for w in windows]
    return [
        Row(
            id="ranking.new_seller_share", unit="of eligible stock share", better="higher",
            value=round(statistics.mean(each.share() for each in held), 4), target=0.8,
            peer="the same ranker without rules",
            peer_value=round(statistics.mean(each.share(plain=True) for each in held), 4),
            note=f"exposure share of listings whose seller began at most 30 days ago or sold fewer "
            f"than 5, over their share of the live stock ({eligible:.3f}); held to 1.0; {said}",
        ),
        Row(
            id="ranking.exposure_cost", unit="share of value", better="lower", target=0.02,
            value=round(statistics.mean(each.cost for each in held), 5),
            note="true value of slates given up beside the same ranker without rules, same queries "
            f"in the same state; the slates' own account said {held[0].told:.5f}; {said}",
        ),
        Row(
            id="ranking.share_held_points", unit="points", better="lower", target=2,
            value=round(max(abs(points) for w, i in zip(windows, settled, strict=True)
                            for points, _ in w[min(i, len(w) - 1):]), 2),
            note="worst distance of a group's share of exposure to its target over eight hours, "
            "once settled; target 1.25 times the stock share of sellers without a sale "
            f"({wanted:.3f}), of which the ranker gives by itself "
            f"{statistics.mean(d.share(plain=True) for d in hard):.2f} times the stock share; by "
            f"window {[[round(p, 1) for p, _ in w] for w in windows]}",
        ),
        Row(
            id="ranking.share_settled_hours", unit="h", better="lower", target=24,
            value=max(settled) * WINDOW * SIZE.tick_ms / 3_600_000,
            note="simulated hours until each later window of eight hours is within two points; the "
            "history before was another policy's, which leaves the lift anywhere",
        ),
        Row(
            id="ranking.share_demanding_cost", unit="share of value", better="lower",
            value=round(statistics.mean(costs), 4),
            note="of the demanding target, over the last sixteen hours",
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure and print the rows."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options.add_argument("--out", type=Path, help="write the rows here as JSON too")
    chosen = options.parse_args()
    text = json.dumps([msgspec.to_builtins(row) for row in share_rows(chosen.seeds)], indent=1)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
