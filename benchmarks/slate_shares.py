"""Exposure of new sellers on the frozen simulator: held to its target, and at which cost.

    python -m benchmarks.slate_shares [--seed 1] [--out FILE]

A ranker is trained on the demo's world (`systems/laptop.toml`). Then the world goes on for a day
under slates whose rules hold new sellers to their share of the stock; the same ranker without
rules answers the same queries in the same state beside it.
"""

import argparse
import json
import tempfile
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
from heirloom.pipelines.serve import Policy, recommend
from heirloom.simulator import VERSION, Mixed, Size, World, by_query
from heirloom.slates.rules import GROUPS, Rules, Shares

SIZE = Size(
    listings=8_000, people=2_000, days=4, sessions_per_day=0.5, tick_ms=40 * 60_000
)  # fmt: skip
TICKS = 36
"""A simulated day of its ticks."""
SHARES = Shares(new_sellers=1.0)
"""As much exposure as there is stock, of sellers of at most 30 days."""
LOG_SCALE = 2.0
"""Of the ranker `expected`."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Day:
    """What a day showed.

    Attributes:
        value: true value of all slates, under the rules and without them.
        shown: [slates, 2] exposure of new sellers and of all, under the rules.
        plain: the same without them.
        counted: [slates, 2] listings of new sellers and all, under the rules.
        stock: [slates] share of new sellers in the live stock when each was asked for.
        tick: [slates].
        told: what the slates said of their own cost, as a share of what they were worth.
    """

    value: tuple[float, float]
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
        return 1.0 - self.value[0] / self.value[1]


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

    values = {name: 0.0 for name in policies}
    for _ in range(ticks):
        found = world.trial(policies, 1, driver="rules", listener=hear)
        for name in policies:
            values[name] += float(found.values[name].sum())
        held = system.live.exposure.held if system.live.exposure else ()
        say(f"tick {diary.now}: {held}")
    return Day(
        (values["rules"], values["plain"]),
        np.array(diary.rows["rules"]),
        np.array(diary.rows["plain"]),
        np.array(diary.counted),
        np.array(diary.stock),
        np.array(diary.tick),
        float(1 - diary.worth[1] / diary.worth[0]),
    )
