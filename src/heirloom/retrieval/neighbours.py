"""Neighbours: the retrievers that look for what is near in content, by the filter itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.content import NO_SLOTS, ContentIndex
from heirloom.retrieval.top import firsts_alike, in_runs
from heirloom.retrieval.vectors.answer import OutOfTime
from heirloom.retrieval.vectors.where import Where


class Similar:
    """The nearest neighbours of the anchor; nothing without one."""

    def __init__(self, content: ContentIndex, name: str = "similar") -> None:
        self.name = name
        self._content = content

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Nothing to fold: the ContentIndex does."""

    def arrays(self) -> Arrays:
        """Nothing to keep either."""
        return {}

    def restore(self, arrays: Given) -> None:
        """Nothing to take back."""

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """As `select`, by a mask."""
        return self.select(request, Where(allowed=allowed), k)

    def select(
        self,
        request: Request,
        where: Where,
        k: int,
        *,
        without: NDArray[np.int32] = NO_SLOTS,
        out_of_time: OutOfTime | None = None,
    ) -> Candidates:
        """At most k neighbours by cosine, the anchor itself left out."""
        content, anchor = self._content, request.anchor
        if not 0 <= anchor < len(content.vectors):
            return Candidates.none(self.name)
        without = np.union1d(without, np.array([anchor], np.int32))
        found = content.nearest(
            content.vectors[anchor], where, k, without=without, out_of_time=out_of_time
        )
        return Candidates.of(self.name, found.slots, found.scores, complete=found.complete)


class Taste:
    """Neighbours of each of the person's interests, taken in turn by the interests' shares."""

    def __init__(self, content: ContentIndex, name: str = "taste") -> None:
        self.name = name
        self._content = content

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Nothing to fold: the ContentIndex does."""

    def arrays(self) -> Arrays:
        """Nothing to keep either."""
        return {}

    def restore(self, arrays: Given) -> None:
        """Nothing to take back."""

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """As `select`, by a mask."""
        return self.select(request, Where(allowed=allowed), k)

    def select(
        self,
        request: Request,
        where: Where,
        k: int,
        *,
        without: NDArray[np.int32] = NO_SLOTS,
        out_of_time: OutOfTime | None = None,
    ) -> Candidates:
        """At most k; the score is share of the interest / rank within it, so 1/rank for one."""
        vectors, shares = self._content.interests(request)
        return _nearest(self.name, self._content, vectors, shares, where, k, without, out_of_time)


class Personal:
    """Neighbours of the vectors that the person encoder gives a person, taken in turn."""

    def __init__(self, content: ContentIndex, name: str = "personal") -> None:
        self.name = name
        self._content = content

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Nothing to fold: the ContentIndex does."""

    def arrays(self) -> Arrays:
        """Nothing to keep either."""
        return {}

    def restore(self, arrays: Given) -> None:
        """Nothing to take back."""

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """As `select`, by a mask."""
        return self.select(request, Where(allowed=allowed), k)

    def select(
        self,
        request: Request,
        where: Where,
        k: int,
        *,
        without: NDArray[np.int32] = NO_SLOTS,
        out_of_time: OutOfTime | None = None,
    ) -> Candidates:
        """At most k; the score is 1 / rank by the nearest of the vectors. None without vectors."""
        vectors = request.person_vectors
        shares = np.ones(len(vectors), np.float32)
        return _nearest(self.name, self._content, vectors, shares, where, k, without, out_of_time)


def _nearest(
    name: str,
    content: ContentIndex,
    vectors: NDArray[np.float32],
    shares: NDArray[np.float32],
    where: Where,
    k: int,
    without: NDArray[np.int32],
    out_of_time: OutOfTime | None,
) -> Candidates:
    """Neighbours of several vectors, each once; the score is share / rank, the best of them."""
    slots, counts, complete = [np.zeros(0, np.int32)], [], True
    for vector in vectors:
        found = content.nearest(vector, where, k, without=without, out_of_time=out_of_time)
        slots.append(found.slots)
        counts.append(len(found.slots))
        complete &= found.complete
    every, score = _in_turn(np.concatenate(slots), np.array(counts, np.int64), shares)
    rows = slice(k)
    return Candidates.of(name, every[rows], score[rows], complete=complete)


@njit(cache=True)
def _in_turn(
    slots: NDArray[Any], counts: NDArray[Any], shares: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each slot of several lists [one after another] once, with its best share / rank."""
    scores, row = np.empty(len(slots), np.float32), 0
    for of in range(len(counts)):
        for rank in range(counts[of]):
            scores[row] = np.float64(shares[of]) / (rank + 1)
            row += 1
    if len(counts) < 2:  # of one vector each is there once and in order
        return slots, scores
    first = firsts_alike(slots)
    for row in range(len(slots)):
        scores[first[row]] = max(scores[first[row]], scores[row])
    rows = np.flatnonzero(first == np.arange(len(slots)))
    rows = rows[in_runs(scores[rows], slots[rows])]
    return slots[rows], scores[rows]
