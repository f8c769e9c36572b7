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
from heirloom.retrieval.top import best


class Recent:
    """The newest allowed listings, whoever asks. Scores are minus the age in days."""

    def __init__(self, name: str = "recent") -> None:
        self.name = name
        self._shelf = Shelf()
        self._order = InOrder()

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:  # noqa: ARG002
        """Fold stock events."""
        changed = self._shelf.apply(facts)
        self._order.put(changed, self._shelf.column("listed_at")[changed])

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return joined({"shelf": self._shelf.arrays(), "order": self._order.arrays()})

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._shelf.restore(within(arrays, "shelf"))
        self._order.restore(within(arrays, "order"))

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings, newest first; ties by slot."""
        return newest(
            self.name, self._shelf, request, np.flatnonzero(allowed[: self._shelf.size]), k
        )

    def sift(self, request: Request, passes: Passes, k: int) -> Candidates:
        """As `retrieve`; it begins with the newest, and looks no further than it must."""
        slots = self._order.greatest(self._shelf.column("listed_at"), passes, k)
        return newest(self.name, self._shelf, request, slots, k)


def newest(
    name: str, shelf: Shelf, request: Request, slots: NDArray[np.integer], k: int
) -> Candidates:
    """The newest of some listings on a shelf: [slots] ascending."""
    listed_at = shelf.column("listed_at")[slots]
    rows = best(listed_at, k)
    age_days = (request.query.t - listed_at[rows]) / 86_400_000
    return Candidates.of(name, slots[rows].astype(np.int32), (-age_days).astype(np.float32))
