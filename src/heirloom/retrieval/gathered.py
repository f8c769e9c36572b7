"""Gathered: columns of a few slots side by side, so that to read them is to read on."""

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.top import at_rows, fitted


class Gathered:
    """Columns of some slots, each taken from the whole stock's once, and again where it is written.

    In a column of a whole stock neighbours in a list of slots lie far apart, and to read each is to
    wait for the memory.
    """

    def __init__(self, slots: NDArray[np.int32]) -> None:
        self._slots, self._size = slots, len(slots)
        self._written, self._writes = np.arange(len(slots), dtype=np.int32), len(slots)
        self._columns: dict[Hashable, tuple[NDArray[Any], int]] = {}  # and up to which write

    def __len__(self) -> int:
        return self._size

    @property
    def slots(self) -> NDArray[np.int32]:
        """[slots] int32."""
        return self._slots[: self._size]

    def add(self, slots: NDArray[np.int32]) -> None:
        """More slots, behind those there are."""
        size = self._size + len(slots)
        self._slots = fitted(self._slots, size)
        self._slots[self._size : size] = slots
        self._size = size

    def write(self, rows: NDArray[np.integer]) -> None:
        """What stands in the whole stock's columns of these slots changed: by their rows here."""
        if self._writes + len(rows) > 2 * self._size + 1_024:
            self.forget()
        writes = self._writes + len(rows)
        self._written = fitted(self._written, writes)
        self._written[self._writes : writes] = rows
        self._writes = writes

    def forget(self) -> None:
        """All that was gathered: the whole stock's columns changed throughout."""
        self._written, self._writes = np.arange(self._size, dtype=np.int32), self._size
        self._columns = {}

    def column(self, name: Hashable, whole: NDArray[Any]) -> NDArray[Any]:
        """[slots] what a column of the whole stock holds at these slots; 0 past its end.

        >>> gathered = Gathered(np.array([3, 0], np.int32))
        >>> gathered.column("size", np.array([7, 8, 9, 5])).tolist()
        [5, 7]
        """
        held, since = self._columns.get(name, (whole[:0], 0))
        if since < self._writes:
            rows = self._written[since : self._writes]
            held = fitted(held if since else whole[:0].copy(), self._size)
            held[rows] = at_rows(whole, self._slots[rows])
            self._columns[name] = held, self._writes
        return held[: self._size]
