"""Recent: the newest listings."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.shelf import Shelf
from heirloom.retrieval.top import best


class Recent:
    """The newest allowed listings, whoever asks. Scores are minus the age in days."""

    def __init__(self, name: str = "recent") -> None:
        self.name = name
        self._shelf = Shelf()

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:  # noqa: ARG002
        """Fold stock events."""
        self._shelf.apply(facts)

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings, newest first; ties by slot."""
        return newest(self.name, self._shelf, request, allowed, k)


def newest(
    name: str, shelf: Shelf, request: Request, allowed: NDArray[np.bool_], k: int
) -> Candidates:
    """The newest of the allowed listings on a shelf."""
    slots = np.flatnonzero(allowed[: shelf.size])
    listed_at = shelf.column("listed_at")[slots]
    rows = best(listed_at, k)
    age_days = (request.query.t - listed_at[rows]) / 86_400_000
    return Candidates.of(name, slots[rows].astype(np.int32), (-age_days).astype(np.float32))
