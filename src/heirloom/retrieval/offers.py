"""Offers: each slot's listing as filters ask for it, and whether it is on offer."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.core.listing import Listing
from heirloom.retrieval.shelf import LISTED, mentions
from heirloom.retrieval.top import fitted
from heirloom.retrieval.vectors.where import CODES, NUMBERS

_STAMPED = ("category", "brand", "size", "colour", "condition", "seller", "price_minor")


def _kinds(*kinds: Kind) -> NDArray[np.bool_]:
    """[kinds] bool, to be asked by code."""
    among = np.zeros(len(Kind), np.bool_)
    among[[KIND_CODE[kind] for kind in kinds]] = True
    return among


_SHOWS = _kinds(Kind.LISTED, Kind.RELEASED)
_TURNS = _SHOWS | _kinds(Kind.RESERVED, Kind.SOLD, Kind.REMOVED)
_DESCRIBES = _kinds(Kind.LISTED, Kind.EDITED, Kind.PRICE_CHANGED)
_STOCK = _TURNS | _DESCRIBES
_STOCK_BITS = sum(1 << code for code in np.flatnonzero(_STOCK).tolist())
_NO_SLOTS = np.zeros(0, np.int32)


class Offers:
    """Columns by slot as an index filters by them, folded from stock events.

    Attributes:
        listed: how many listings were listed so far.
    """

    def __init__(self) -> None:
        self.listed = 0
        self._size = 0
        self._live = np.zeros(0, np.bool_)
        self._columns: dict[str, NDArray[Any]] = {
            **{name: np.zeros(0, np.int32) for name in CODES},
            **{name: np.zeros(0, np.int64) for name in NUMBERS},
        }

    @property
    def live(self) -> NDArray[np.bool_]:
        """[slots] bool, True where a listing may be shown now."""
        return self._live[: self._size]

    def column(self, name: str) -> NDArray[Any]:
        """A view [slots] of one of the columns CODES and NUMBERS; `listed_at` and prices int64.

        They are vocabulary codes as stamped on events; of countries, `country_code`.
        """
        return self._columns[name][: self._size]

    def columns(self, slots: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """All of them [slots], by name."""
        return {name: column[slots] for name, column in self._columns.items()}

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        sizes = np.array([self.listed, self._size], np.int64)
        return {"sizes": sizes, "live": self._live, **self._columns}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Offers", arrays, self.arrays())
        self.listed, self._size = own.pop("sizes").tolist()
        self._live, self._columns = own.pop("live"), own

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> NDArray[np.int32]:
        """Fold stock events; gives the slots that they are about, ascending, each once."""
        if not facts.kinds & _STOCK_BITS and not listings:
            return _NO_SLOTS
        events, rows = mentions(facts, _STOCK[facts.events["kind"]])
        slots, kinds = rows["slot"], facts.events["kind"][events]
        self._reach(1 + max([int(slots.max(initial=-1)), *listings]))
        told = _DESCRIBES[kinds]
        for name in _STAMPED:
            self._columns[name][slots[told]] = rows[name][told]
        opened = kinds == LISTED
        self._columns["listed_at"][slots[opened]] = facts.events["t"][events[opened]]
        for slot in set(slots[opened].tolist()):
            if slot in listings and listings[slot].listed_at:
                self._columns["listed_at"][slot] = listings[slot].listed_at
        for slot, listing in listings.items():
            self._columns["country"][slot] = country_code(listing.country)
        turned = _TURNS[kinds]
        self._live[slots[turned]] = _SHOWS[kinds[turned]]  # of one slot the last counts
        self.listed += int(opened.sum())
        return np.unique(slots)

    def _reach(self, size: int) -> None:
        for name, column in self._columns.items():
            self._columns[name] = fitted(column, size)
        self._live = fitted(self._live, size)
        self._size = max(self._size, size)


def country_code(text: str) -> int:
    """A country's name as a number that follows from the text alone; 0 for none.

    Events carry no code of it. Up to three bytes stand for themselves, so that codes of ISO 3166
    never meet.

    >>> country_code("FI"), country_code("")
    (17993, 0)
    """
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= 3:
        return int.from_bytes(raw)
    return 1 << 30 | int.from_bytes(blake2b(raw, digest_size=4).digest()) >> 2
