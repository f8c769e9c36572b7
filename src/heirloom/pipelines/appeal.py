"""Appeal of listings, folded from the log: their fields, how often each was opened, multipliers.

It is fitted anew as the log grows, at offsets that the log alone decides, so that a replay finds
what was served.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.core.listing import Listing
from heirloom.pipelines.prices import PriceLevels
from heirloom.pipelines.shown import Shown
from heirloom.ranking.appeal import multipliers
from heirloom.retrieval.top import fitted

Array = NDArray[Any]

FIELDS = ("category", "brand", "condition", "seller", "photos", "price", "deal")
"""What multiplies. `price` is the price over the category's in bands, `deal` what is left of it
once brand and condition are known."""
MAX_PHOTOS = 20
_STAMPED = ("category", "brand", "condition", "seller")
_BANDS, _WIDTH = 8, 0.25
"""So many bands of such a width, in logs of the price, to either side of the usual one."""
_DOUBT = 5
"""Listings by which the mean price of a brand or a condition is shrunk."""
_UNIT = 1 << 12


class Appeal:
    """What of listings draws everybody. One writer; reads only read."""

    def __init__(self) -> None:
        self._row = np.zeros(0, [(name, "<i4") for name in (*_STAMPED, "photos")])  # [slots]
        self._price = np.zeros(0, np.int64)
        self._logs: list[Array] = [np.zeros(0) for _ in FIELDS]
        self._dear: dict[str, Array] = {"brand": np.zeros(0), "condition": np.zeros(0)}

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Fold the next part of the log.

        Args:
            facts: what is stamped on events.
            listings: by slot, those that were listed or edited in this part.
        """
        slots, prices, *codes = facts.of_listings("slot", "price_minor", *_STAMPED)
        size = int(slots.max(initial=-1)) + 1
        self._row, self._price = fitted(self._row, size), fitted(self._price, size)
        columns = tuple(self._row[name] for name in _STAMPED)
        _put(slots, (*codes, prices), (*columns, self._price))
        for slot, listing in listings.items():
            self._row["photos"][slot] = min(listing.photos, MAX_PHOTOS)

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {
            "row": self._row,
            "price": self._price,
            **{f"log.{field}": log for field, log in zip(FIELDS, self._logs, strict=True)},
            **{f"dear.{field}": dear for field, dear in self._dear.items()},
        }

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Appeal", arrays, self.arrays())
        self._row, self._price = own["row"], own["price"]
        self._logs = [own[f"log.{field}"] for field in FIELDS]
        self._dear = {field: own[f"dear.{field}"] for field in self._dear}

    def refit(self, shown: Shown, prices: PriceLevels) -> None:
        """Fit the multipliers to all listings there are."""
        expected, opened = shown.tally
        known = np.flatnonzero(expected[: len(self._row)] > 0)
        if not len(known):
            return
        over = self._over(known, prices)
        left = np.nan_to_num(over)
        for name in self._dear:
            field = self._row[name][known]
            self._dear[name] = np.bincount(field, left) / (np.bincount(field) + _DOUBT)
            left = left - self._dear[name][field]
        codes = self._codes(known, prices)
        self._logs = multipliers(codes, expected[known], opened[known].astype(np.float64))

    def of(self, slots: Array, prices: PriceLevels) -> NDArray[np.float64]:
        """[listings] log of how much more often each is opened than what stands in its places."""
        if not len(self._row):
            return np.zeros(len(slots))
        over = prices.over(*_stood(slots, self._row["category"], self._price))
        columns = tuple(self._row[name] for name in (*_STAMPED, "photos"))
        means = self._dear["brand"], self._dear["condition"]
        logs: NDArray[np.float64] = _multiplied(slots, columns, over, means, tuple(self._logs))
        return logs

    def _over(self, slots: Array, prices: PriceLevels) -> Array:
        return prices.over(self._row["category"][slots], self._price[slots])

    def _codes(self, slots: Array, prices: PriceLevels) -> list[Array]:
        row = self._row[slots]
        over = self._over(slots, prices)
        deal = over - sum(_at(means, row[name]) for name, means in self._dear.items())
        return [*(row[name] for name in _STAMPED), row["photos"], _band(over), _band(deal)]


def due(n: int, every: int) -> bool:
    """Whether to fit at this offset, a multiple of `every`: always at first, then in eighths.

    >>> [k for k in range(1, 50) if due(k * 10, 10)][14:]
    [15, 16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 48]
    """
    part = n // every
    return part % (1 << max(part.bit_length() - 4, 0)) == 0


def _band(over: Array) -> Array:
    """Bands of log prices, from 1; 0 for NaN."""
    bands: Array = np.clip(np.rint(over / _WIDTH), -_BANDS, _BANDS) + _BANDS + 1
    return np.nan_to_num(bands).astype(np.int64)


def _at(by_code: Array, codes: Array) -> Array:
    """By code; 0 for one that was not there when it was fitted."""
    found = np.zeros(len(codes))
    there = codes < len(by_code)
    found[there] = by_code[codes[there]]
    return found


@njit(cache=True)
def _put(slots: Array, rows: Any, columns: Any) -> None:
    """Write what mentions say of slots; of several of a slot, the last."""
    category, brand, condition, seller, price = columns
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= 0:
            category[slot], brand[slot], condition[slot] = rows[0][i], rows[1][i], rows[2][i]
            seller[slot], price[slot] = rows[3][i], rows[4][i]


@njit(cache=True)
def _of_code(by_code: Array, code: int) -> float:
    """As `_at`, of one."""
    return by_code[code] if code < len(by_code) else 0.0


@njit(cache=True)
def _stood(slots: Array, category: Array, price: Array) -> tuple[Array, Array]:
    """The category and the price of each slot; of the last for one past the columns' end."""
    categories, prices = np.empty(len(slots), np.int32), np.empty(len(slots), np.int64)
    for i in range(len(slots)):
        at = min(slots[i], len(category) - 1)
        categories[i], prices[i] = category[at], price[at]
    return categories, prices


@njit(cache=True)
def _multiplied(
    slots: Array, columns: Any, over: Array, means: tuple[Array, Array], logs: Any
) -> Array:
    """The sum of the logs by `Appeal._codes`, field by field; 0 for slots past the columns' end.

    Args:
        slots: [listings].
        columns: [slots] codes of the fields that are stamped, and photos.
        over: [listings] log of the price over its category's.
        means: by brand and by condition, [codes].
        logs: by code, of each of FIELDS.
    """
    category, brand, condition, seller, photos = columns
    total = np.zeros(len(slots))
    for i in range(len(slots)):
        slot = slots[i]
        if slot >= len(category):
            continue
        usual = _of_code(means[0], brand[slot]) + _of_code(means[1], condition[slot])
        sum_of = _of_code(logs[0], category[slot])
        sum_of += _of_code(logs[1], brand[slot])
        sum_of += _of_code(logs[2], condition[slot])
        sum_of += _of_code(logs[3], seller[slot])
        sum_of += _of_code(logs[4], photos[slot])
        sum_of += _of_code(logs[5], _band_of(over[i]))
        sum_of += _of_code(logs[6], _band_of(over[i] - usual))
        # Rounded far above the noise of the last digits, so that any machine tells the same.
        total[i] = np.rint(sum_of * _UNIT) / _UNIT
    return total


@njit(cache=True)
def _band_of(over: float) -> int:
    """As `_band`, of one."""
    if np.isnan(over):
        return 0
    return int(min(max(np.rint(over / _WIDTH), -_BANDS), _BANDS)) + _BANDS + 1
