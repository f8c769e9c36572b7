"""Front: of each kind of listing those that stand best, so that few need be compared later."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, alike
from heirloom.retrieval.top import best

DEEP = 64
"""Listings of one category and size that are kept."""


class Front:
    """The best of each category and size by a rate, as they were when it was last laid.

    What lifts a rate for one person acts on category and size, so it changes the order of the kinds
    and not, or hardly, the order within one. To choose from the front takes time by the number of
    kinds, not of listings.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(0, np.int32)
        self._rates = np.zeros(0)
        self._kind = np.zeros(0, np.int32)  # [entries]
        self._category = np.zeros(0, np.int64)  # [kinds]
        self._size = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._slots)

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        names = ("slots", "rates", "kind", "category", "size")
        return {name: vars(self)[f"_{name}"] for name in names}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Front", arrays, self.arrays())
        vars(self).update({f"_{name}": array for name, array in own.items()})

    def lay(
        self,
        slots: NDArray[Any],
        rates: NDArray[np.float64],
        categories: NDArray[np.int32],
        sizes: NDArray[np.int32],
    ) -> None:
        """Begin anew with these listings: all [listings], slots ascending."""
        steps = 1 + int(sizes.max(initial=0))
        cell = categories.astype(np.int64) * steps + sizes
        there = np.zeros(int(cell.max(initial=0)) + 1, np.int32)
        there[cell] = 1
        cells = np.flatnonzero(there)
        place = np.cumsum(there) - 1
        rows, kept = _greatest(place[cell], rates, len(cells), DEEP)
        filled = np.arange(DEEP) < kept[:, None]
        rows = rows[filled]
        self._slots, self._rates = slots[rows].astype(np.int32), rates[rows]
        self._kind = np.repeat(np.arange(len(cells), dtype=np.int32), kept)
        self._category, self._size = cells // steps, cells % steps

    def best(
        self, by_category: NDArray[np.float64], by_size: NDArray[np.float64], k: int
    ) -> NDArray[np.int32]:
        """[slots] at most k, by the rate times the lifts of category and size [codes]."""
        lift = by_category[self._category] * by_size[self._size]
        return self._slots[best(self._rates * lift[self._kind], k)]


@njit(cache=True)
def _greatest(
    cell: NDArray[Any], rates: NDArray[Any], cells: int, most: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each cell the rows of the greatest rates, [cells, most], and how many [cells].

    Ties by row.
    """
    rows = np.zeros((cells, most), np.int64)
    kept = np.zeros(cells, np.int64)
    for row in range(len(cell)):
        c = cell[row]
        place = kept[c]
        if place == most:
            if rates[row] <= rates[rows[c, most - 1]]:
                continue
            place -= 1
        else:
            kept[c] += 1
        while place > 0 and rates[row] > rates[rows[c, place - 1]]:
            rows[c, place] = rows[c, place - 1]
            place -= 1
        rows[c, place] = row
    return rows, kept
