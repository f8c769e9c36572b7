"""Front: of each kind of listing those that stand best, so that few need be compared later."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, alike
from heirloom.retrieval.gathered import Gathered
from heirloom.retrieval.top import fitted

DEEP = 64
"""Listings of one category and size that are kept."""


class Front:
    """The best of each category and size by a rate, as they were when it was last laid.

    What lifts a rate for one person acts on category and size, so it changes the order of the kinds
    and not, or hardly, the order within one. To choose from the front takes time by the number of
    kinds, not of listings. What changed since it was laid lies behind it, each slot once.

    Attributes:
        listings: [laid, then changed], with columns of theirs side by side.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(0, np.int32)
        self._rates = np.zeros(0)
        self._starts = np.zeros(1, np.int64)  # [kinds + 1], those of one kind by falling rate
        self._category = np.zeros(0, np.int64)  # [kinds]
        self._size = np.zeros(0, np.int64)
        self.listings = Gathered(self._slots)
        self._row = np.zeros(0, np.int32)  # [stock] each slot's row of `listings`; -1 for none
        self._changed = np.zeros(0, np.bool_)  # [laid]

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def changed(self) -> NDArray[np.int32]:
        """[changed] the slots that changed since it was laid, in the order in which they did."""
        return self.listings.slots[len(self) :]

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`; without what changed."""
        names = ("slots", "rates", "starts", "category", "size")
        return {name: vars(self)[f"_{name}"] for name in names}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`; what changed is to be noted then."""
        own = alike("Front", arrays, self.arrays())
        vars(self).update({f"_{name}": array for name, array in own.items()})
        self._spread()

    def _spread(self) -> None:
        """Nothing has changed."""
        self.listings = Gathered(self._slots)
        self._row = np.full(max(len(self._row), 1 + int(self._slots.max(initial=-1))), -1, np.int32)
        self._row[self._slots] = np.arange(len(self), dtype=np.int32)
        self._changed = np.zeros(len(self), np.bool_)

    def note(self, slots: NDArray[np.int32]) -> None:
        """These changed, or changed once more: [slots], each once."""
        if not len(slots):
            return
        self._row = fitted(self._row, int(slots.max()) + 1, -1)
        row = self._row[slots]
        self._changed[row[(row >= 0) & (row < len(self))]] = True
        new = slots[row < len(self)]
        held = len(self.listings)
        self._row[new] = np.arange(held, held + len(new), dtype=np.int32)
        self.listings.add(new)
        self.listings.write(self._row[slots])

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
        self._starts = np.concatenate([[0], np.cumsum(kept)])
        self._category, self._size = cells // steps, cells % steps
        self._spread()

    def best(
        self, by_category: NDArray[np.float64], by_size: NDArray[np.float64], k: int
    ) -> NDArray[np.int64]:
        """Rows of `listings`: at most k by the rate times the lifts of category and size."""
        lift = by_category[self._category] * by_size[self._size]
        rows: NDArray[np.int64] = _merged(
            self._rates, self._starts, lift, min(max(k, 0), len(self))
        )
        return rows

    def near(
        self, by_category: NDArray[np.float64], by_size: NDArray[np.float64], k: int
    ) -> NDArray[np.int64]:
        """Rows of `listings`: of the best k those that are as they were, and all that changed."""
        rows = self.best(by_category, by_size, k)
        changed = np.arange(len(self), len(self.listings))
        return np.concatenate([rows[~self._changed[rows]], changed])


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


@njit(cache=True)
def _merged(rates: NDArray[Any], starts: NDArray[Any], lift: NDArray[Any], k: int) -> NDArray[Any]:
    """Rows of the k greatest rates times lifts, best first; ties by row.

    A heap of the kinds by the best row of each that was not taken yet: most kinds are looked at
    once.
    """
    heap, value, at = np.empty(len(lift), np.int64), np.empty(len(lift)), starts[:-1].copy()
    for kind in range(len(lift)):
        value[kind] = rates[at[kind]] * lift[kind]
        heap[kind] = kind
    size = len(lift)
    for place in range(size // 2 - 1, -1, -1):
        _sink(heap, size, place, value, at)
    rows = np.empty(k, np.int64)
    for i in range(k):
        kind = heap[0]
        rows[i] = at[kind]
        at[kind] += 1
        if at[kind] < starts[kind + 1]:
            value[kind] = rates[at[kind]] * lift[kind]
        else:
            size -= 1
            heap[0] = heap[size]
        _sink(heap, size, 0, value, at)
    return rows


@njit(cache=True)
def _sink(heap: NDArray[Any], size: int, place: int, value: NDArray[Any], at: NDArray[Any]) -> None:
    """Put the kind at a place of the heap where it belongs below."""
    kind = heap[place]
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and _before(heap[below + 1], heap[below], value, at):
            below += 1
        if not _before(heap[below], kind, value, at):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = kind


@njit(cache=True)
def _before(one: int, other: int, value: NDArray[Any], at: NDArray[Any]) -> bool:
    return bool(value[one] > value[other] or (value[one] == value[other] and at[one] < at[other]))
