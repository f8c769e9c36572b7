"""Shelf: what a retriever keeps of each slot's listing, folded from stock events."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.retrieval.top import fitted

LISTED = KIND_CODE[Kind.LISTED]
EDITED = KIND_CODE[Kind.EDITED]
_TOLD = 1 << LISTED | 1 << EDITED
_CODES = ("seller", "brand", "category", "size")


class Shelf:
    """Columns by slot: listed_at (ms, 0 where nothing was listed), and codes of attributes."""

    def __init__(self) -> None:
        self.size = 0
        self._columns: dict[str, NDArray[Any]] = {
            "listed_at": np.zeros(0, np.int64),
            **{name: np.zeros(0, np.int32) for name in _CODES},
        }

    def column(self, name: str) -> NDArray[Any]:
        """A view [slots] of listed_at, seller, brand, category or size."""
        return self._columns[name][: self.size]

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"slots": np.array([self.size], np.int64), **self._columns}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Shelf", arrays, self.arrays())
        self.size, self._columns = int(own.pop("slots")[0]), own

    def apply(self, facts: Facts) -> NDArray[np.int32]:
        """Fold listed and edited events; a reused slot is written anew. Gives the slots written."""
        if not facts.kinds & _TOLD:
            return np.zeros(0, np.int32)
        kinds = facts.events["kind"]
        events, rows = mentions(facts, (kinds == LISTED) | (kinds == EDITED))
        if not len(rows):
            return np.zeros(0, np.int32)
        self.reach(int(rows["slot"].max()) + 1)
        for name in _CODES:
            self._columns[name][rows["slot"]] = rows[name]
        opened = facts.events["kind"][events] == LISTED
        self._columns["listed_at"][rows["slot"][opened]] = facts.events["t"][events[opened]]
        return np.unique(rows["slot"])

    def reach(self, size: int) -> None:
        """Have at least so many slots."""
        for name, column in self._columns.items():
            self._columns[name] = fitted(column, size)
        self.size = max(self.size, size)


def mentions(facts: Facts, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """The events among `wanted` [events] that name a listing with a slot, and its row.

    For kinds that name one listing each. Gives (events [rows], rows of LISTING_ROW), in order.
    """
    events = np.flatnonzero(wanted & (np.diff(facts.starts) > 0))
    rows = facts.listings[facts.starts[events]]
    placed = rows["slot"] >= 0
    return events[placed], rows[placed]
