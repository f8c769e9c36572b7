"""Floor: which listings have what a search asks for by name: as candidates, and how far."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.pipelines.live import Live
from heirloom.retrieval.intent import Asked
from heirloom.slates.floor import met

LEADING = 2
"""The first so many fields count by themselves, the others only beside all of these."""
NAMED = "named"
"""The source of what has the brand, and the category, that a search asks for."""
MOST_NAMED = 100


def met_by(
    request: Request, slots: NDArray[np.int32], live: Live, fields: Sequence[str]
) -> NDArray[np.int64]:
    """How far candidates meet what is asked for by name, [candidates] int64, by `slates.floor.met`.

    All 0 where nothing is. What is likely, and not asked for by name, is left to the ranker.

    Args:
        request: the search.
        slots: of the candidates.
        live: what is known.
        fields: what is held to, of `slates.rules.NAMED`, the one that counts most first.
    """
    nothing = np.zeros(len(slots), np.int64)
    if not fields or not request.query.text or not len(slots):
        return nothing
    intent = live.intent(request.query.text)
    has = []
    for place, field in enumerate(fields):
        asked = intent.of(field)
        if asked is not None and asked.exact:
            has.append(np.isin(live.catalogue.column(field)[slots], asked.codes))
        elif field == "price" and intent.price != (None, None):
            low, high = intent.price
            prices = live.catalogue.column("price_minor")[slots]
            within = np.ones(len(slots), np.bool_) if low is None else prices >= low
            has.append(within if high is None else within & (prices <= high))
        if place == LEADING - 1 and len(has) < LEADING:
            break
    return met(np.stack(has)) if has else nothing


def named(request: Request, allowed: NDArray[np.bool_], live: Live) -> Candidates:
    """The newest listings of the brand asked for by name, and of the category where one is.

    Words find these too, but among all that only speak of the brand. None where none is asked for.

    Args:
        request: the search.
        allowed: [slots] bool, what may be shown.
        live: what is known.
    """
    intent = live.intent(request.query.text)
    wanted = [each for each in map(intent.of, ("brand", "category")) if each and each.exact]
    if not wanted or wanted[0].field != "brand":
        return Candidates.none(NAMED)

    def among(each: Asked) -> NDArray[np.bool_]:
        codes = np.zeros(live.vocabulary.size(each.field), np.bool_)
        codes[each.codes] = True
        return codes

    column, (brand, *rest) = live.catalogue.column, wanted
    slots = np.flatnonzero(among(brand).take(column("brand")[: len(allowed)])).astype(np.int32)
    slots = slots[allowed[slots]]
    for each in rest:  # few have the brand
        slots = slots[among(each)[column(each.field)[slots]]]
    listed_at = column("listed_at")[slots]
    newest = slots[np.lexsort((slots, -listed_at))][:MOST_NAMED]
    return Candidates.of(NAMED, newest, -np.arange(len(newest), dtype=np.float32))
