"""Recent: the newest listings."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, joined, within
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.in_order import InOrder
from heirloom.retrieval.retriever import Passes
from heirloom.retrieval.shelf import Shelf
from heirloom.retrieval.top import best, best_first

_AT_HAND = 1_024
"""So many of the newest stand in order until the next comes."""


class Recent:
    """The newest allowed listings, whoever asks. Scores are minus the age in days."""

    def __init__(self, name: str = "recent") -> None:
        self.name = name
        self._shelf = Shelf()
        self._order = InOrder()
        self._newest: NDArray[np.int32] | None = None

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:  # noqa: ARG002
        """Fold stock events."""
        changed = self._shelf.apply(facts)
        if len(changed):
            self._newest = None
        self._order.put(changed, self._shelf.column("listed_at")[changed])

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return joined({"shelf": self._shelf.arrays(), "order": self._order.arrays()})

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._shelf.restore(within(arrays, "shelf"))
        self._order.restore(within(arrays, "order"))
        self._newest = None

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings, newest first; ties by slot."""
        return newest(
            self.name, self._shelf, request, np.flatnonzero(allowed[: self._shelf.size]), k
        )

    def sift(self, request: Request, passes: Passes, k: int) -> Candidates:
        """As `retrieve`; it begins with the newest, and looks no further than it must."""
        at_hand = self._at_hand()
        for piece in (at_hand[: 2 * k], at_hand):
            passing = piece[passes(piece)]
            if len(passing) >= k:
                return aged(self.name, self._shelf, request, passing[: max(k, 0)])
        slots = self._order.greatest(self._shelf.column("listed_at"), passes, k)
        return newest(self.name, self._shelf, request, slots, k)

    def _at_hand(self) -> NDArray[np.int32]:
        """[slots] the newest of all, allowed or not, newest first; ties by slot."""
        if self._newest is None:
            listed_at = self._shelf.column("listed_at")
            slots = self._order.greatest(listed_at, lambda some: some >= 0, _AT_HAND)
            self._newest = slots[best_first(listed_at[slots], slots, _AT_HAND)]
        return self._newest


def newest(
    name: str, shelf: Shelf, request: Request, slots: NDArray[np.integer], k: int
) -> Candidates:
    """The newest of some listings on a shelf: [slots] ascending."""
    rows = best(shelf.column("listed_at")[slots], k)
    return aged(name, shelf, request, slots[rows].astype(np.int32))


def aged(name: str, shelf: Shelf, request: Request, slots: NDArray[np.int32]) -> Candidates:
    """Listings in this order, scored by minus the age in days."""
    age_days = (request.query.t - shelf.column("listed_at")[slots]) / 86_400_000
    return Candidates.of(name, slots, (-age_days).astype(np.float32))
