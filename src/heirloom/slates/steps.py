"""Steps: all rules of a slate in their order, with what each moved and what it cost.

    score -> floor -> seen -> freshness -> share -> diversity -> places (caps, exploration)

Each step takes an order of all candidates and gives one; the last fills the places.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.core.slate import Moved
from heirloom.slates.diversity import diversified
from heirloom.slates.places import CAUSES, Caps, Draws, Placed, Tiers, placed
from heirloom.slates.relevance import by_score, fresh, grouped, price_bands, relevance, resorted
from heirloom.slates.rules import GROUPS, Rules

DAY_MS = 86_400_000
_APART = 1_000.0
SCORE, FLOOR, SEEN, FRESHNESS, SHARE, DIVERSITY, PLACES = (
    "score", "floor", "seen", "freshness", "share", "diversity", "places"
)  # fmt: skip
"""Steps, in order: keys of `Composed.worth`."""
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Pool:
    """What the rules read of candidates, in the order of retrieval.

    Attributes:
        scores: [candidates] float32; higher is better, NaN is last.
        names: [candidates] int32, what tells them apart: slots.
        sellers: [candidates] int32.
        categories: [candidates] int32, of as many steps as the rules say.
        prices: [candidates] int64, minor units.
        age_ms: [candidates] int64, since listed.
        codes: [candidates, dim] int8, of content.
        seen: [candidates] int32, how often the person was shown each without acting on it.
        members: [candidates, groups] bool, of GROUPS.
        lifts: [groups] float64, of the controllers.
        met: [candidates] int64, how far each meets what was asked for by name: `floor.met`. Who
            meets more comes before who meets less, whatever the other rules say. All 0 where
            nothing was.
    """

    scores: NDArray[np.float32]
    names: NDArray[np.int32]
    sellers: NDArray[np.int32]
    categories: NDArray[np.int32]
    prices: NDArray[np.int64]
    age_ms: NDArray[np.int64]
    codes: NDArray[np.int8]
    seen: NDArray[np.int32]
    members: NDArray[np.bool_]
    lifts: NDArray[np.float64]
    met: NDArray[np.int64]

    def __post_init__(self) -> None:
        columns = (self.names, self.sellers, self.categories, self.prices, self.age_ms,
                   self.codes, self.seen, self.members, self.met)  # fmt: skip
        lengths = [len(self.scores), *(len(column) for column in columns)]
        if len(set(lengths)) > 1 or self.members.shape[1:] != self.lifts.shape:
            raise ShapeError(
                f"Pool: columns of {lengths} candidates, {list(self.members.shape)} members of "
                f"groups with {len(self.lifts)} lifts; wanted one length, and a lift for each group"
            )


@dataclass(frozen=True, slots=True)
class Composed:
    """A slate.

    Attributes:
        rows: [places] intp, of the candidates in the order shown.
        propensities: [places] float64, as `places.placed` gives them.
        moved: for each place, the rules that acted on its listing.
        worth: by step, what the order is expected to gain after it (`worth`).
    """

    rows: NDArray[np.intp]
    propensities: NDArray[np.float64]
    moved: tuple[tuple[Moved, ...], ...]
    worth: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Step:
    """A step's name, the order after it, and upon which candidates it acted by itself."""

    name: str
    order: NDArray[np.intp]
    acted: NDArray[np.bool_]


def composed(pool: Pool, rules: Rules, *, k: int, seller_cap: int, key: int = 0) -> Composed:
    """The slate of a pool under rules.

    Candidates that the person was shown too often come behind all others that meet as much of what
    was asked for, and those whose score is no finite number behind or, at +∞, beside the best.

    Args:
        pool: the candidates.
        rules: see there.
        k: at most so many places.
        seller_cap: at most so many of a seller before another round; 0 for no cap.
        key: of the slate's draws, `luck.key_of` its id.
    """
    steps, lifted, tiers = _ordered(pool, rules, max(k, 0))
    order = steps[-1].order
    band = np.zeros(len(order), np.int8)
    if rules.price_cap:
        band = price_bands(pool.prices, steps[0].order[: rules.reach], rules.price_bands)
    draws = None
    if rules.explore:
        draws = Draws(rules.explore, rules.temperature, key, pool.names[order])
    found = placed(
        lifted[order], pool.sellers[order], pool.categories[order], band[order],
        k=max(k, 0), page=rules.page, reach=rules.reach, tiers=tiers,
        caps=Caps(seller_cap, rules.category_cap, rules.price_cap), draws=draws,
    )  # fmt: skip
    rows = order[found.rows]
    orders = np.stack([*(step.order[: len(rows)] for step in steps), rows])
    told = worth(expected(pool.scores, rules.log_scale)[orders]).tolist()
    names = (*(step.name for step in steps), PLACES)
    moved = _moved(steps, rows, found, pool)
    return Composed(rows, found.propensities, moved, dict(zip(names, told, strict=True)))


def _ordered(pool: Pool, rules: Rules, k: int) -> tuple[list[_Step], NDArray[np.float64], Tiers]:
    """The order after each step; what candidates are lifted to; and the tiers of every order.

    A tier that is not drawn holds those put back behind the one before it, by their scores.
    """
    everyone = np.ones(len(pool.scores), np.bool_)
    order = by_score(pool.scores)
    steps = [_Step(SCORE, order, ~everyone)]
    lifted = relevance(pool.scores, order, rules.reach)
    tired = lifted == -np.inf
    groups = 2 * (pool.met.max(initial=0) - pool.met)
    if (pool.met != pool.met[:1]).any():
        order = grouped(order, groups)
        steps.append(_Step(FLOOR, order, pool.met > pool.met.min()))
    if rules.seen_cap:
        often = pool.seen >= rules.seen_cap
        tired |= often
    if tired.any():
        groups = groups + tired
        order = grouped(order, groups)
    tiers = Tiers.of(groups[order], ~tired[order])
    if rules.seen_cap:
        steps.append(_Step(SEEN, order, often))
    if rules.freshness:
        lift = rules.freshness * fresh(pool.age_ms, rules.fresh_days * DAY_MS)
        lifted = lifted + lift
        order = resorted(order, lifted, tiers)
        steps.append(_Step(FRESHNESS, order, lift >= rules.freshness / 2))
    if rules.shares:
        lift = pool.members @ pool.lifts
        lifted = lifted + lift
        order = resorted(order, lifted, tiers)
        steps.append(_Step(SHARE, order, lift > 0))
    if rules.diversity:
        order = _diverse(order, lifted, groups, tiers, pool, rules, k)
        steps.append(_Step(DIVERSITY, order, everyone))
    return steps, lifted, tiers


def _diverse(
    order: NDArray[np.intp], lifted: NDArray[np.float64], groups: NDArray[np.int64], tiers: Tiers,
    pool: Pool, rules: Rules, k: int,
) -> NDArray[np.intp]:  # fmt: skip
    """Pages of unlike listings, as far as tiers allow."""
    head = order if tiers.drawn.all() else order[groups[order] % 2 == 0]
    worth_of = lifted[head]
    if (
        int(tiers.drawn.sum()) > 1
    ):  # so far apart that no likeness makes up for it, where relevance counts at all
        worth_of = worth_of - _APART * groups[head]
    found = head[diversified(
        worth_of, pool.codes[head], k=k, page=rules.page, reach=rules.reach,
        weight=rules.diversity, by=rules.by,
    )]  # fmt: skip
    if len(found) < len(order):
        found = np.concatenate([found, order[groups[order] % 2 == 1]])
    return grouped(found, groups) if len(tiers.ends) > 1 else found


def expected(scores: NDArray[np.float32], log_scale: float) -> NDArray[np.float64]:
    """[candidates] float64: what each is expected to gain, 0 where its score is no finite number.

    Args:
        scores: [candidates].
        log_scale: as in `Rules`.

    >>> expected(np.array([np.log(4), np.nan], np.float32), 2.0).round(3).tolist()
    [2.0, 0.0]
    """
    finite = np.isfinite(scores)
    values = np.where(finite, scores, np.float32(0)).astype(np.float64)
    if log_scale:
        values = np.where(finite, np.exp(np.minimum(values / log_scale, 500.0)), 0.0)
    return values


def worth(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """[orders] float64, Σ gain / log2(place + 2), places from 0: what each is expected to gain.

    The discount of Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques",
    TOIS 2002, with base 2.

    Args:
        gains: [orders, places].

    >>> worth(np.array([[1.0, 0.0, 4.0]])).tolist()
    [3.0]
    """
    sums: NDArray[np.float64] = gains @ _discounts(gains.shape[1])
    return sums


@lru_cache(maxsize=32)
def _discounts(places: int) -> NDArray[np.float64]:
    discounts: NDArray[np.float64] = 1.0 / np.log2(np.arange(places) + 2.0)
    return discounts


def _moved(
    steps: list[_Step], rows: NDArray[np.intp], found: Placed, pool: Pool
) -> tuple[tuple[Moved, ...], ...]:
    """For each place, the rules that acted on its listing, in their order."""
    names = [*CAUSES, *GROUPS, *(step.name for step in steps[1:])]
    codes = np.arange(len(CAUSES) + len(GROUPS), len(names))
    # A lift moves up; who went down made way.
    lifts = np.array([step.name in (FLOOR, FRESHNESS, SHARE) for step in steps[1:]], np.bool_)
    codes[[step.name == SHARE for step in steps[1:]]] = -len(CAUSES)
    acts = _acts(
        np.stack([step.order for step in steps]), np.stack([step.acted for step in steps]),
        codes, lifts, rows, found.causes, pool.members, pool.lifts,
    )  # fmt: skip
    moved: list[list[Moved]] = [[] for _ in range(len(rows))]
    for place, name, before, after in acts.tolist():
        moved[place].append(Moved(names[name], before, after))
    return tuple(map(tuple, moved))


@njit(cache=True, nogil=True)
def _acts(
    orders: Array, acted: Array, codes: Array, lifts: Array, rows: Array, causes: Array,
    members: Array, lifted: Array,
) -> Array:  # fmt: skip
    """[acts, 4] int64: place, code of the rule's name, place before, place after.

    A negative code stands for the group of the listing that is lifted most, the first group's
    name at its opposite.
    """
    found = np.empty((len(rows) * len(orders), 4), np.int64)
    count, (steps, n) = 0, orders.shape
    before, after = np.empty(n, np.int64), np.empty(n, np.int64)
    for place in range(n):
        before[orders[0, place]] = place
    for step in range(1, steps):
        for place in range(n):
            after[orders[step, place]] = place
        for place in range(len(rows)):
            row = rows[place]
            old, new = before[row], after[row]
            if not acted[step, row] or new == old or (lifts[step - 1] and new > old):
                continue
            code = codes[step - 1]
            if code < 0:
                most = 0
                for group in range(1, len(lifted)):
                    if members[row, group] and not (
                        members[row, most] and lifted[most] >= lifted[group]
                    ):
                        most = group
                code = most - code
            found[count] = place, code, old, new
            count += 1
        before[:] = after
    for place in range(len(rows)):
        if causes[place] > 0 and before[rows[place]] != place:
            found[count] = place, np.int64(causes[place]), before[rows[place]], place
            count += 1
    return found[:count]
