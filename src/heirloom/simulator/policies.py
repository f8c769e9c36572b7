"""Built-in policies over arrays: random, recent, popular in context, their mixture, the oracle.

Each of the first four is an order over the live listings and a walk down that order that takes
what the query's context lets through; if that does not fill the slate, it walks again with less
asked. They read what a log shows (`Observed`), the oracle alone the truth.
"""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.simulator.people import Taste
from heirloom.simulator.queries import Policy, QueryColumns
from heirloom.simulator.stock import Goods
from heirloom.simulator.truth import SEARCH, SIMILAR, best_slates

if TYPE_CHECKING:
    from heirloom.simulator.world import World

_TIERS = 4
"""What a listing agrees with. 0: all that is known; 1: all but the size; 2: the category or
department; 3: the filters alone."""


@njit(cache=True)
def _walk(
    goods: Goods,
    under: NDArray[np.bool_],
    order: NDArray[np.int64],
    begin: NDArray[np.int64],
    asked: NDArray[np.int32],
    fit: NDArray[np.float64],
    exclude: NDArray[np.int32],
    k: int,
) -> NDArray[np.int32]:
    """Slates [queries, k]: the first of `order`, from `begin` on, of the strictest tiers.

    `asked` [queries, 6]: path, brand, colour, filter path, filter size, anchor; -1 = not asked.
    `fit` [queries, groups] known body indices, NaN where unknown.
    """
    n = len(asked)
    slates = np.full((n, k), -1, np.int32)
    shown = np.full(len(goods.sub), -1, np.int32)
    found = np.zeros((_TIERS, k), np.int32)
    for q in range(n):
        for j in range(exclude.shape[1]):
            if exclude[q, j] >= 0:
                shown[exclude[q, j]] = q
        if asked[q, 5] >= 0:
            shown[asked[q, 5]] = q
        count = np.zeros(_TIERS, np.int64)
        for step in range(len(order)):
            x = order[(begin[q] + step) % len(order)]
            if shown[x] == q or not goods.live[x]:
                continue
            if asked[q, 3] >= 0 and not under[asked[q, 3], goods.sub[x]]:
                continue
            if asked[q, 4] >= 0 and goods.size[x] != asked[q, 4]:
                continue
            if asked[q, 0] >= 0 and not under[asked[q, 0], goods.sub[x]]:
                tier = 3
            elif (asked[q, 1] >= 0 and goods.brand[x] != asked[q, 1]) or (
                asked[q, 2] >= 0 and goods.colour[x] != asked[q, 2]
            ):
                tier = 2
            elif abs(goods.fit[x] - fit[q, goods.group[x]]) > 0.5:
                tier = 1
            else:
                tier = 0
            if count[tier] < k:
                found[tier, count[tier]] = x
                count[tier] += 1
                if count[0] == k:
                    break
        filled = 0
        for tier in range(_TIERS):
            for i in range(min(count[tier], k - filled)):
                slates[q, filled] = found[tier, i]
                filled += 1
    return slates


class _Ordered:
    """A policy that walks down one order of the stock, made anew each tick."""

    def __init__(self, world: "World", name: str, seed: int = 0) -> None:
        self._world, self._name = world, name
        self._rng = np.random.default_rng([world.seed, seed, 77])
        self._tick, self._order = -1, np.zeros(0, np.int64)

    def __call__(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k]."""
        stock = self._world.stock
        if self._tick != self._world.tick:
            self._tick, self._order = self._world.tick, self._ordered()
        begin = np.zeros(len(queries), np.int64)
        if self._name == "random":
            begin = self._rng.integers(0, max(len(self._order), 1), len(queries))
        slates: NDArray[np.int32] = _walk(
            stock.goods(),
            stock.under,
            self._order,
            begin,
            context(self._world, queries),
            _known_fit(queries),
            queries.exclude,
            queries.k,
        )
        return slates

    def _ordered(self) -> NDArray[np.int64]:
        """Live listings, the first to be shown first."""
        stock = self._world.stock
        live = np.flatnonzero(stock.live)
        if self._name == "random":
            return self._rng.permutation(live)
        if self._name == "recent":
            return live[np.argsort(-stock.column("listed_at")[live], kind="stable")]
        popularity = self._world.observed.popularity()[live]
        return live[np.argsort(-popularity, kind="stable")]


def Random(world: "World", seed: int = 0) -> Policy:  # noqa: N802 - reads as a name of a policy
    """Live listings of the context, by chance."""
    return _Ordered(world, "random", seed)


def Recent(world: "World") -> Policy:  # noqa: N802
    """The newest listings of the context."""
    return _Ordered(world, "recent")


def Popular(world: "World") -> Policy:  # noqa: N802
    """Popular in context: the yardstick of captured value.

    The order is `Observed.popularity`: decayed, position-corrected engagement per impression,
    smoothed to the brand's. The context is: on the home page the person's department (declared,
    or clear from clicks) and declared sizes; beside an item its category and the sizes; in search
    the category, brand and colour named in words spelt rightly, the sizes, and the filters.
    """
    return _Ordered(world, "popular")


class Mixed:
    """A logging policy of variety: popular, recent or random by query, and random places in it."""

    def __init__(
        self,
        world: "World",
        *,
        shares: tuple[float, float, float] = (0.4, 0.2, 0.4),
        random_places: float = 0.3,
        seed: int = 0,
    ) -> None:
        self._parts = (Popular(world), Recent(world), Random(world, seed))
        self._shares, self._random_places = shares, random_places
        self._rng = np.random.default_rng([world.seed, seed, 78])

    def __call__(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k]."""
        which = self._rng.choice(3, len(queries), p=self._shares)
        other = self._parts[2](queries)
        slates = other.copy()
        for i in range(2):
            rows = np.flatnonzero(which == i)
            if len(rows):
                slates[rows] = self._parts[i](queries.take(rows))
        twice = (other[:, :, None] == slates[:, None, :]).any(axis=2)
        swap = (self._rng.random(slates.shape) < self._random_places) & ~twice & (slates >= 0)
        mixed: NDArray[np.int32] = np.where(swap & (other >= 0), other, slates)
        return mixed


class Oracle:
    """The greedy slate on the truth over live listings and the query's filters."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def __call__(self, queries: QueryColumns) -> NDArray[np.int32]:
        """Slates [queries, k]."""
        stock, taste = self._world.stock, self._world.people.taste
        slates: NDArray[np.int32] = best_slates(
            Taste(*taste), stock.goods(), queries.asks, stock.under, queries.exclude, queries.k
        )
        return slates


def context(world: "World", queries: QueryColumns) -> NDArray[np.int32]:
    """What the query's context asks of listings, from what a log shows [queries, 6].

    Columns: path, brand, colour, filter path, filter size, anchor; -1 = not asked.
    """
    asks, stock = queries.asks, world.stock
    department = world.observed.known_department(asks.person)
    anchor_path = stock.of_sub["path"][stock.column("sub")[asks.anchor]]
    path = np.where(asks.surface == SIMILAR, anchor_path, queries.said_path)
    unnamed = (asks.surface != SEARCH) & (path < 0)
    path = np.where(unnamed | ((asks.surface == SEARCH) & (path < 0)), department, path)
    return np.stack(
        [path, queries.said_brand, queries.said_colour, asks.filter_path, asks.filter_size,
         asks.anchor], axis=1,
    ).astype(np.int32)  # fmt: skip


def _known_fit(queries: QueryColumns) -> NDArray[np.float64]:
    """Body indices [queries, groups] of those who declared their sizes; NaN for others."""
    people, person = queries.people, queries.asks.person
    known: NDArray[np.float64] = np.where(
        people.declared[person][:, None], people.taste.fit[person], np.nan
    )
    return known
