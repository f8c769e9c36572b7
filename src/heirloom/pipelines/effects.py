"""Effects of a person, as features: from what they were shown and opened, as of the same offset."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.query import Request
from heirloom.pipelines.prices import PriceLevels
from heirloom.pipelines.shown import Shown
from heirloom.ranking.effects import PARTS, Things, Variances, effects, residuals

PLACES = 192
"""How many of the latest places shown are read: the time of it grows with their square."""
_UNIT = 1 << 12


def person_effects(
    request: Request,
    slots: NDArray[np.int32],
    catalogue: Catalogue,
    shown: Shown,
    codes: NDArray[np.int8],
    prices: PriceLevels,
) -> dict[str, NDArray[np.float32]]:
    """How the person leans to candidates [candidates], in logits: `effect_…`, and their sum.

    0 for who was shown nothing yet. What left its slot to another listing since is not read.

    Args:
        request: who asks, and when.
        slots: of the candidates.
        catalogue: what they are like.
        shown: what the person saw and opened.
        codes: [slots, dim] int8 vectors of listings, 127 for 1.0.
        prices: of categories.
    """
    seen = shown.of(request.person, PLACES)
    there = seen.slot < len(codes)
    there[there] = catalogue.column("listed_at")[seen.slot[there]] <= seen.t[there]
    parts = np.zeros((len(slots), len(PARTS)))
    if there.any():
        variances = Variances()
        things = _things(seen.slot[there], catalogue, codes, prices)
        t, slate = seen.t[there], seen.slate[there]
        left = residuals(things, t, slate, seen.offset[there], seen.opened[there], variances)
        candidates = _things(slots, catalogue, codes, prices)
        parts = effects(things, t, left, candidates, request.query.t, variances)
    # Rounded far above the noise of the last digits, so that any machine tells the same.
    whole = np.rint(parts * _UNIT)
    columns = {f"effect_{part}": whole[:, i] for i, part in enumerate(PARTS)}
    columns["effect"] = whole.sum(axis=1)
    return {name: (column / _UNIT).astype(np.float32) for name, column in columns.items()}


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
        np.nan_to_num(price),
    )
