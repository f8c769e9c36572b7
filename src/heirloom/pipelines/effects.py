"""Effects of a person, as features: from what they were shown and opened, as of the same offset."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Request
from heirloom.pipelines.appeal import Appeal
from heirloom.pipelines.prices import PriceLevels
from heirloom.pipelines.shown import Seen
from heirloom.ranking.choice import leaning
from heirloom.ranking.effects import PARTS, SIZES, Means, Things, Variances, effects, residuals
from heirloom.retrieval.diction import Diction

PLACES = 192
"""How many of the latest places shown are read: the time of it grows with their square."""
HISTORY = 2_048
"""How many are read for a person's style, which lasts: the time of it grows with their number."""
ASKED_STYLE = 0.2
"""How far each brand that was searched for draws to its style, in logits."""
_UNIT = 1 << 12
SAID = ("searched_category", "searched_brand", "brand_stated", "size_gap", "department_stated")
"""Columns that tell what a person said and searched for."""
COLUMNS = (*(f"effect_{part}" for part in (*PARTS, "style")), "effect_said", "appeal", "effect")
"""What `person_effects` gives."""


def person_effects(
    request: Request,
    slots: NDArray[np.int32],
    catalogue: Catalogue,
    seen: Seen,
    style: NDArray[np.float64],
    prices: PriceLevels,
    appeal: Appeal,
    said: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """How the person leans to candidates [candidates], in logits: `effect_…`, and their sum.

    `appeal` is how all lean, `effect_said` what the person said and searched for leads one to
    expect, `effect_style` their style; the other parts are what was opened and passed over beyond
    these.

    Args:
        request: who asks, and when.
        slots: of the candidates.
        catalogue: what they are like.
        seen: what the person saw and opened, of what still has its slot (`present`).
        style: of the candidates and then of what was seen, as `styles` gives it.
        prices: of categories.
        appeal: of listings.
        said: columns on what the person said (`SAID`), of the candidates and then of what was
            seen.
    """
    n = len(slots)
    both = np.concatenate([slots, seen.slot])  # what is asked of one is asked of the other
    told, drawn = foretold(said), appeal.of(both, prices)
    parts = np.zeros((n, len(PARTS)))
    if len(seen.slot):
        variances, alike = Variances(), _things(both, catalogue, prices)
        things = Things(*(column[n:] for column in alike))
        offset = seen.offset + drawn[n:] + told[n:] + style[n:]
        left = residuals(things, seen.t, seen.slate, offset, seen.opened, variances)
        candidates = Things(*(column[:n] for column in alike))
        parts = effects(things, seen.t, left, candidates, request.query.t, variances)
    # Rounded far above the noise of the last digits, so that any machine tells the same.
    whole = np.empty((len(COLUMNS), len(slots)))
    whole[: len(PARTS)] = parts.T
    whole[-4], whole[-3], whole[-2] = style[:n], told[:n], drawn[:n]
    np.rint(whole[:-1] * _UNIT, out=whole[:-1])
    whole[-1] = whole[:-1].sum(axis=0) + 0.0  # of whole numbers: exact in any order; no -0.0
    return dict(zip(COLUMNS, (whole / _UNIT).astype(np.float32), strict=True))


def styles(
    history: Seen, slots: NDArray[np.int32], diction: Diction, asked: Mapping[str, float]
) -> NDArray[np.float64]:
    """[listings] how the person leans to each slot's style, in logits.

    Who asked for a brand leans to what is described as its listings are, before any choice.

    Args:
        history: what they saw and opened, of what still has its slot (`present`).
        slots: of the listings.
        diction: where listings stand by how they are described.
        asked: brands that they searched for, and how much each counts, as `Wanted.brand`.
    """
    if not (asked or history.opened.any()):
        return np.zeros(len(slots))
    weights = np.minimum([*asked.values()], 1.0)
    mean = ASKED_STYLE * (weights[:, None] * diction.places_of_brands([*asked])).sum(axis=0)
    places = diction.places(history.slot)
    way = leaning(places, history.offset, history.slate, history.opened, mean)
    return diction.along(slots, way)


def latest(history: Seen) -> Seen:
    """The latest PLACES of a history."""
    return Seen(*(column[:PLACES] for column in history))


def present(seen: Seen, catalogue: Catalogue, size: int) -> Seen:
    """What was seen and still has its slot, one below `size`; the same where that is all."""
    there = _present(seen.slot, seen.t, catalogue.column("listed_at"), size)
    if there.all():
        return seen
    return Seen(*(column[there] for column in seen))


@njit(cache=True)
def _present(slots: Any, t: Any, listed_at: Any, size: int) -> NDArray[Any]:
    there = np.empty(len(slots), np.bool_)
    for i in range(len(slots)):
        there[i] = slots[i] < size and listed_at[slots[i]] <= t[i]
    return there


def foretold(said: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """[listings] the prior's mean, in logits, by what the person said and searched for.

    Args:
        said: `SAID`, columns [listings]; NaN where nothing was said.

    >>> nothing = dict.fromkeys(SAID, np.full(1, np.nan, np.float32))
    >>> foretold(nothing).tolist(), foretold(nothing | {"size_gap": np.array([2.0])}).tolist()
    ([0.0], [-0.7])
    """
    total: NDArray[np.float64] = _prior(tuple(said[name] for name in SAID), Means())
    return total


@njit(cache=True)
def _prior(said: Any, mean: Means) -> NDArray[Any]:
    """As `foretold`, of the columns of `SAID`."""
    category, brand, brand_stated, gap, department = said
    total = np.zeros(len(category))
    for i in range(len(category)):
        asked = mean.need * _known(category[i])
        asked += mean.brand_asked * min(_known(brand[i]), 1.0)
        stated = mean.brand_stated * _known(brand_stated[i])
        stated += mean.size * min(_known(gap[i]), SIZES)
        total[i] = asked + stated + mean.department * (1.0 if department[i] == 0 else 0.0)
    return total


@njit(cache=True)
def _known(value: float) -> float:
    return 0.0 if np.isnan(value) else np.float64(value)


def _things(slots: NDArray[Any], catalogue: Catalogue, prices: PriceLevels) -> Things:
    category = catalogue.column("category").take(slots)
    price = prices.over(category, catalogue.column("price_minor").take(slots))
    return Things(
        catalogue.stem(1).take(category),
        catalogue.stem(2).take(category),
        category,
        catalogue.column("brand").take(slots),
        catalogue.column("size").take(slots),
        np.where(np.isnan(price), 0.0, price),
    )
