"""A simulated log of three policies with known examination, for `ranking_bias`."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.ranking.harvesting import Pairs, harvested, harvested_again
from heirloom.ranking.ranker import Examples
from heirloom.ranking.swaps import SwapDesign, Swaps, drawn, exchanged, pairs_of_swaps
from heirloom.simulator import Popular, Size, World
from heirloom.simulator.batch import Round
from heirloom.simulator.queries import QueryColumns
from heirloom.simulator.truth import (
    HOUR_MS,
    SEARCH,
    SIMILAR,
    Examined,
    action_chances,
    allowed,
    scores,
)

SIZE = Size(listings=6_000, people=40_000, days=9, sessions_per_day=1.0)
PLACES = SIZE.k
POLICIES = 3
SWAPS = SwapDesign(share=0.05, depth=8)
LEARNED = 0.1
"""Share of slates, drawn evenly, whose rows are kept."""
CLICKED = 0.4
"""Share of slates of which, beyond these, those that were clicked are kept."""
UNSEEN = 12
"""Live, allowed listings drawn to each of these slates, which it did not show."""


class Policies:
    """Popular, personal and recent orders of popular listings, one at random for each query."""

    def __init__(self, world: World) -> None:
        self._world, self._retrieval = world, Popular(world)
        self._rng = np.random.default_rng([world.seed, 5])
        self.under = np.zeros((0, PLACES, POLICIES), np.int64)
        """[queries, places, policies] where each would have put what was shown last."""
        self.swaps = Swaps(*(np.zeros(0, np.int64),) * 2, np.zeros(0, np.bool_))

    def __call__(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k]."""
        pool = self._retrieval(queries)
        n, k = pool.shape
        empty = pool < 0
        popular = np.broadcast_to(-np.arange(k, dtype=float), pool.shape)
        every = np.arange(n)[:, None]
        personal, _ = self._appeal(queries, every, np.maximum(pool, 0))
        personal = personal + self._rng.normal(size=pool.shape)
        recent = self._world.stock.column("listed_at")[pool].astype(float)
        by = np.stack([popular, personal, recent])
        orders = np.argsort(np.where(empty, np.inf, -by), axis=2, kind="stable")
        places = np.argsort(orders, axis=2)
        chosen = orders[self._rng.integers(0, POLICIES, n), np.arange(n)]
        self.under = np.stack([np.take_along_axis(each, chosen, 1) for each in places], axis=2)
        slates = np.take_along_axis(pool, chosen, axis=1)
        keys = np.array(self._rng.integers(0, 2**63 - 1, n), np.uint64)
        self.swaps = drawn(keys, (slates >= 0).sum(axis=1), SWAPS)
        return exchanged(slates, self.swaps)

    def _appeal(
        self, queries: QueryColumns, q: NDArray[Any], x: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        stock, taste = self._world.stock, self._world.people.taste
        return scores(taste, stock.goods(), queries.asks, stock.under, q, x)


@dataclass(frozen=True, slots=True)
class Log:
    """What a simulated log tells of examination, and rows to learn from.

    Attributes:
        harvest: pairs of listings whose places under all policies were logged.
        swaps: pairs of the swap experiment.
        again: pairs of listings that were shown again to a person on the home page, within a day.
        rates: [places] click rate.
        examples: rows of a share of the slates; gains are clicks. Position -1: not shown, drawn
            from the stock that was live and allowed.
        looked: [rows] float32, clicks as if every place had been looked at.
        chance: [rows] float32, of a click on what is looked at; 0 for bots.
        even: [rows] bool, whether their slate is of the even draw.
        slates, clicks: how many the log holds.
        cpu_s: what it took to simulate.
    """

    harvest: Pairs
    swaps: Pairs
    again: Pairs
    rates: NDArray[np.float64]
    examples: Examples
    looked: NDArray[np.float32]
    chance: NDArray[np.float32]
    even: NDArray[np.bool_]
    slates: int
    clicks: int
    cpu_s: float


def simulated(examined: Examined, sessions: int, seed: int, columns: int = 1) -> Log:
    """A log of so many sessions, on a grid of so many columns."""
    began = time.process_time()
    world = World(SIZE, seed, examined=examined)
    recorder = _Recorder(world, columns)
    while recorder.sessions < sessions:
        batch = world.step(recorder.answer)
        recorder.take(batch.rounds)
    return recorder.log(time.process_time() - began)


class _Recorder:
    """Answers queries, and keeps of each slate what the estimators and rankers may know."""

    def __init__(self, world: World, columns: int) -> None:
        self.sessions = 0
        self._world, self._columns = world, columns
        self._policies = Policies(world)
        self._rng = np.random.default_rng([world.seed, 6])
        self._pending: list[tuple[NDArray[np.int64], Swaps, _Sample]] = []
        self._samples: list[_Sample] = []
        self._harvest: list[Pairs] = []
        self._swapped: list[Pairs] = []
        self._again: list[NDArray[np.int64]] = []
        self._rates = np.zeros((2, PLACES))
        self._slates = 0

    def answer(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k], by one of the policies."""
        slates = self._policies(queries)
        sample = _sample(self._world, queries, slates, self._rng)
        self._pending.append((self._policies.under, self._policies.swaps, sample))
        self.sessions = int(queries.session.max()) + 1
        return slates

    def take(self, rounds: list[Round]) -> None:
        """Keep what was done on the slates of a tick."""
        harvest: Pairs | None = None
        for part, (under, swaps, sample) in zip(rounds, self._pending, strict=True):
            clicks = np.zeros(part.slates.shape)
            of = part.actions.action == 0
            clicks[part.actions.row[of], part.actions.position[of]] = 1
            q, i = np.nonzero((part.slates >= 0) & (swaps.first < 0)[:, None])
            pairs = harvested(
                i, clicks[q, i], under[q, i], np.ones(POLICIES), depth=PLACES,
                folds=q, columns=self._columns,
            )  # fmt: skip
            harvest = pairs if harvest is None else harvest + pairs
            self._swapped = _added(
                self._swapped,
                pairs_of_swaps(swaps, clicks, depth=SWAPS.depth, columns=self._columns),
            )
            self._rates += (clicks.sum(axis=0), (part.slates >= 0).sum(axis=0))
            self._again.append(_home(part, clicks, self._world))
            self._samples.append(sample.acted_on(clicks))
            self._slates += len(clicks)
        self._pending.clear()
        if harvest is not None:
            self._harvest = _added(self._harvest, harvest)

    def log(self, cpu_s: float) -> Log:
        """All that was kept."""
        keys, places, clicks = np.concatenate(self._again, axis=1)
        again = harvested_again(keys, places, clicks, depth=PLACES, columns=self._columns)
        sizes = np.concatenate([sample.sizes for sample in self._samples])
        groups = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        columns = zip(*(sample.rows for sample in self._samples), strict=True)
        values, positions, clicked, looked, chance, even = map(np.concatenate, columns)
        examples = Examples(values, COLUMNS, groups, clicked, positions, groups)
        return Log(
            self._harvest[0], self._swapped[0], again, self._rates[0] / self._rates[1], examples,
            looked, chance, even, self._slates, int(self._rates[0].sum()), cpu_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows of slates of `sizes`: values, positions, clicked, looked, chance, even."""

    sizes: NDArray[np.int64]
    more: NDArray[np.bool_]
    """[slates] whether it is kept if it is clicked."""
    rows: tuple[NDArray[Any], ...]

    def acted_on(self, clicks: NDArray[np.float64]) -> "_Sample":
        """With the clicks [queries, k]; slates of the even draw and those clicked are kept."""
        values, positions, _, looked, chance, even = self.rows
        slate = np.repeat(np.arange(len(self.sizes)), self.sizes)
        clicked = clicks[slate, positions].astype(np.float32)
        clicked[positions < 0] = 0
        rows = even | (self.more & (clicks.sum(axis=1) > 0))[slate]
        columns = (values, positions, clicked, looked, chance, even)
        sizes = np.bincount(slate[rows], minlength=len(self.sizes))
        kept = sizes > 0
        return _Sample(sizes[kept], self.more[kept], tuple(column[rows] for column in columns))


def _sample(
    world: World, asked: QueryColumns, shown: NDArray[np.int32], rng: np.random.Generator
) -> _Sample:
    """Rows of slates, and for those of the even draw listings that they did not show."""
    stock, taste = world.stock, world.people.taste
    goods, every = stock.goods(), np.arange(len(shown))[:, None]
    even = rng.random(len(shown)) < LEARNED
    drawn = rng.choice(np.flatnonzero(stock.live), (len(shown), UNSEEN)).astype(np.int32)
    twice = (drawn[:, :, None] == shown[:, None, :]).any(axis=2)
    fit = allowed(goods, asked.asks, stock.under, every, drawn) & ~twice & even[:, None]
    whole = np.concatenate([shown, np.where(fit, drawn, -1)], axis=1)
    q, i = np.nonzero(whole >= 0)
    chance = action_chances(taste, goods, asked.asks, stock.under, whole)[q, i, 0]
    looked = (rng.random(len(q)) < chance).astype(np.float32)
    judged = np.where(taste.bot[asked.asks.person[q]], 0, chance).astype(np.float32)
    values = features(world, asked, q, whole[q, i])
    positions = np.where(i < shown.shape[1], i, -1).astype(np.int16)
    sizes = np.bincount(q, minlength=len(shown))
    rows = (values, positions, np.zeros_like(looked), looked, judged, even[q])
    return _Sample(sizes, rng.random(len(shown)) < CLICKED, rows)


def _home(part: Round, clicks: NDArray[np.float64], world: World) -> NDArray[np.int64]:
    """[3, rows] key, place and click of what the home page showed."""
    asks = part.queries.asks
    q, i = np.nonzero((part.slates >= 0) & (asks.surface == 0)[:, None])
    day = int(world.day)
    key = (asks.person[q].astype(np.int64) * 512 + day) << 24 | part.slates[q, i]
    return np.stack([key, i, clicks[q, i].astype(np.int64)])


def _added(parts: list[Pairs], more: Pairs) -> list[Pairs]:
    return [parts[0] + more] if parts else [more]


COLUMNS = (
    "department", "category", "need", "fondness", "misfit", "over", "deal", "age", "style",
    "popularity", "search", "similar", "other_path", "other_brand", "other_colour", "like_style",
    "like_price", "same_sub", "same_brand",
)  # fmt: skip
"""What the ranker is told: what the truth asks of a person and a listing, but for a listing's
own quality, of which popularity is all that shows."""


def features(world: World, queries: QueryColumns, q: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """[rows, features] float32 of listings x for the queries q."""
    asks, goods, taste = queries.asks, world.stock.goods(), world.people.taste
    p, sub, brand = asks.person[q], goods.sub[x], goods.brand[x]
    a, surface = np.maximum(asks.anchor[q], 0), asks.surface[q]
    path, named, colour = asks.want_path[q], asks.want_brand[q], asks.want_colour[q]
    beside = surface == SIMILAR
    columns = [
        taste.department[p, goods.department[x]],
        taste.category[p, sub],
        (taste.need[p] == sub[:, None]).any(axis=1),
        np.where(taste.favourite[p] == brand[:, None], taste.fondness[p], 0).sum(axis=1),
        np.abs(goods.fit[x] - taste.fit[p, goods.group[x]]),
        goods.log_price[x] - goods.base_log_price[x] - taste.price_level[p],
        goods.usual_log_price[x] - goods.log_price[x],
        (asks.t[q] - goods.listed_at[x]) / HOUR_MS,
        (taste.taste[p] * goods.style[x]).sum(axis=1),
        world.observed.popularity()[x],
        surface == SEARCH,
        beside,
        (path >= 0) & ~world.stock.under[path, sub],
        (named >= 0) & (named != brand),
        (colour >= 0) & (colour != goods.colour[x]),
        np.where(beside, (goods.style[a] * goods.style[x]).sum(axis=1), 0),
        np.where(beside, np.abs(goods.log_price[x] - goods.log_price[a]), 0),
        beside & (sub == goods.sub[a]),
        beside & (brand == goods.brand[a]),
    ]
    return np.stack(columns, axis=1).astype(np.float32)
