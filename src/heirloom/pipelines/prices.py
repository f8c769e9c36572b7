"""Prices: how a listing's lies to what such things cost, and to what the person usually pays."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.core.query import Request
from heirloom.retrieval.shelf import mentions
from heirloom.retrieval.top import fitted

LISTED = KIND_CODE[Kind.LISTED]
_UNIT = 1 << 16
_DOUBT = 4
"""A person's level is shrunk as if so many actions more were at the usual price."""


class PriceLevels:
    """The mean log price of the listings of each category, folded from `listed` events."""

    def __init__(self) -> None:
        self._sums = np.zeros(1, np.int64)  # [category codes], of whole parts of a log
        self._counts = np.zeros(1, np.int64)

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log; what is free or priceless is left out."""
        if not facts.kinds >> LISTED & 1:
            return
        _, rows = mentions(facts, facts.events["kind"] == LISTED)
        rows = rows[rows["price_minor"] > 0]
        size = max(int(rows["category"].max(initial=0)) + 1, len(self._sums))
        self._sums, self._counts = fitted(self._sums, size), fitted(self._counts, size)
        np.add.at(self._sums, rows["category"], _whole_log(rows["price_minor"]))
        np.add.at(self._counts, rows["category"], 1)

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"sums": self._sums, "counts": self._counts}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("PriceLevels", arrays, self.arrays())
        self._sums, self._counts = own["sums"], own["counts"]

    def over(
        self, category: NDArray[np.int32], price_minor: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """[listings] log of each price over its category's geometric mean; NaN if not known."""
        logs = _whole_log(np.maximum(price_minor, 1))
        over: NDArray[np.float64] = _over(self._sums, self._counts, category, price_minor, logs)
        return over


def price_match(
    request: Request, slots: NDArray[np.int32], catalogue: Catalogue, levels: PriceLevels
) -> dict[str, NDArray[np.float32]]:
    """How dear candidates [candidates] are for what they are, and for this person.

    `price_to_category`: log of the price over the category's geometric mean. `price_to_level`:
    that less the same of the listings that the person acted on lately, whatever their category;
    NaN for who did not act.
    """
    category, price = catalogue.column("category"), catalogue.column("price_minor")
    both = np.concatenate([slots, request.recent])
    over = levels.over(category.take(both), price.take(both))
    over, recent = over[: len(slots)], over[len(slots) :]
    recent = recent[~np.isnan(recent)]
    level = recent.sum() / (len(recent) + _DOUBT) if len(recent) else np.nan
    return {
        "price_to_category": over.astype(np.float32),
        "price_to_level": (over - level).astype(np.float32),
    }


def _whole_log(price_minor: NDArray[np.int64]) -> NDArray[np.int64]:
    """Logs as whole parts of 2^16: their sum is the same in any order."""
    logs: NDArray[np.int64] = np.rint(np.log(price_minor) * _UNIT).astype(np.int64)
    return logs


@njit(cache=True)
def _over(
    sums: NDArray[Any],
    counts: NDArray[Any],
    category: NDArray[Any],
    price_minor: NDArray[Any],
    logs: NDArray[Any],
) -> NDArray[Any]:
    """Each log less its category's mean; NaN where either is not known."""
    over = np.full(len(category), np.nan)
    for i in range(len(category)):
        code = category[i]
        if code < len(counts) and counts[code] > 0 and price_minor[i] > 0:
            over[i] = (logs[i] - sums[code] / counts[code]) / _UNIT
    return over
