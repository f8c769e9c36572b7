"""Effects of a person, as features: from what they were shown and opened, as of the same offset."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Request
from heirloom.pipelines.appeal import Appeal
from heirloom.pipelines.prices import PriceLevels
from heirloom.pipelines.shown import Seen
from heirloom.ranking.effects import PARTS, SIZES, Means, Things, Variances, effects, residuals

PLACES = 192
"""How many of the latest places shown are read: the time of it grows with their square."""
_UNIT = 1 << 12
SAID = ("searched_category", "searched_brand", "brand_stated", "size_gap", "department_stated")
"""Columns that tell what a person said and searched for."""
Said = Callable[[NDArray[np.int32]], Mapping[str, NDArray[np.float32]]]
"""From slots to the columns of `SAID`."""


def person_effects(
    request: Request,
    slots: NDArray[np.int32],
    catalogue: Catalogue,
    seen: Seen,
    codes: NDArray[np.int8],
    prices: PriceLevels,
    appeal: Appeal,
    said: Said,
) -> dict[str, NDArray[np.float32]]:
    """How the person leans to candidates [candidates], in logits: `effect_…`, and their sum.

    `appeal` is how all lean, `effect_said` what the person said and searched for leads one to
    expect; the other parts are what was opened and passed over beyond both. What left its slot to
    another listing since is not read.

    Args:
        request: who asks, and when.
        slots: of the candidates.
        catalogue: what they are like.
        seen: what the person saw and opened.
        codes: [slots, dim] int8 vectors of listings, 127 for 1.0.
        prices: of categories.
        appeal: of listings.
        said: columns on what the person said, of any slots (`SAID`).
    """
    seen = present(seen, catalogue, codes)
    parts = np.zeros((len(slots), len(PARTS)))
    if len(seen.slot):
        variances, at = Variances(), seen.slot
        things = _things(at, catalogue, codes, prices)
        offset = seen.offset + appeal.of(at, prices) + foretold(said(at))
        left = residuals(things, seen.t, seen.slate, offset, seen.opened, variances)
        candidates = _things(slots, catalogue, codes, prices)
        parts = effects(things, seen.t, left, candidates, request.query.t, variances)
    # Rounded far above the noise of the last digits, so that any machine tells the same.
    whole = np.rint(parts * _UNIT)
    columns = {f"effect_{part}": whole[:, i] for i, part in enumerate(PARTS)}
    columns["effect_said"] = np.rint(foretold(said(slots)) * _UNIT)
    columns["appeal"] = np.rint(appeal.of(slots, prices) * _UNIT)
    columns["effect"] = sum(columns.values(), np.zeros(len(slots)))
    return {name: (column / _UNIT).astype(np.float32) for name, column in columns.items()}


def present(seen: Seen, catalogue: Catalogue, codes: NDArray[np.int8]) -> Seen:
    """What was seen and still has its slot; the same where that is all."""
    there = seen.slot < len(codes)
    there[there] = catalogue.column("listed_at")[seen.slot[there]] <= seen.t[there]
    if there.all():
        return seen
    return Seen(*(column[there] for column in seen))


def foretold(said: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """[listings] the prior's mean, in logits, by what the person said and searched for.

    Args:
        said: `SAID`, columns [listings]; NaN where nothing was said.

    >>> nothing = dict.fromkeys(SAID, np.full(1, np.nan, np.float32))
    >>> foretold(nothing).tolist(), foretold(nothing | {"size_gap": np.array([2.0])}).tolist()
    ([0.0], [-0.7])
    """
    mean, columns = Means(), {name: _or_zero(said[name].astype(np.float64)) for name in SAID}
    asked = mean.need * columns["searched_category"]
    asked += mean.brand_asked * np.minimum(columns["searched_brand"], 1)
    stated = mean.brand_stated * columns["brand_stated"]
    stated += mean.size * np.minimum(columns["size_gap"], SIZES)
    other: NDArray[np.bool_] = said["department_stated"] == 0
    total: NDArray[np.float64] = asked + stated + mean.department * other
    return total


def _or_zero(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(column), 0.0, column)


def _things(
    slots: NDArray[Any], catalogue: Catalogue, codes: NDArray[np.int8], prices: PriceLevels
) -> Things:
    category = catalogue.column("category")[slots]
    price = prices.over(category, catalogue.column("price_minor")[slots])
    return Things(
        codes[slots],
        catalogue.stem(1)[category],
        catalogue.stem(2)[category],
        category,
        catalogue.column("brand")[slots],
        catalogue.column("size")[slots],
        _or_zero(price),
    )
