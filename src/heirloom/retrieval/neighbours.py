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
    every, score = in_turn(np.concatenate(slots), np.array(counts, np.int64), shares, max(k, 0))
    return Candidates.of(name, every, score, complete=complete)


@njit(cache=True)
def in_turn(
    slots: NDArray[Any], counts: NDArray[Any], shares: NDArray[Any], k: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The best k of several lists by share / rank, each slot once, at its best; ties by lower slot.

    Each list falls, so the next is always the head of one of them.

    Args:
        slots: of all lists, one after another; none is twice in one list.
        counts: [lists] int64, how many each has.
        shares: [lists] float32, greater than 0.
        k: at most so many.

    Returns:
        Slots, and their scores in float32.

    >>> lists, shares = np.array([7, 8, 9, 8, 6], np.int32), np.array([0.5, 0.25], np.float32)
    >>> found, scores = in_turn(lists, np.array([3, 2]), shares, 4)
    >>> found.tolist(), scores[[0, 1, 3]].tolist()
    ([7, 8, 9, 6], [0.5, 0.25, 0.125])
    """
    most = min(len(slots), k)
    found, scores = np.empty(most, slots.dtype), np.empty(most, np.float32)
    size = 4
    while size < 2 * most:
        size *= 2
    table, ends = np.full(size, -1, np.int64), np.cumsum(counts)
    heads, number = ends - counts, 0
    while number < most:
        next_of, best = -1, np.float32(0)
        for of in range(len(counts)):
            if heads[of] < ends[of]:
                rank = heads[of] - (ends[of] - counts[of])
                score = np.float32(np.float64(shares[of]) / (rank + 1))
                ahead = score > best or (
                    score == best and next_of >= 0 and slots[heads[of]] < slots[heads[next_of]]
                )
                if next_of < 0 or ahead:
                    next_of, best = of, score
        if next_of < 0:
            break
        slot = slots[heads[next_of]]
        heads[next_of] += 1
        at = (slot * 0x9E3779B1 >> 7) & (size - 1)
        while table[at] >= 0 and found[table[at]] != slot:
            at = (at + 1) & (size - 1)
        if table[at] < 0:
            table[at] = number
            found[number], scores[number] = slot, best
            number += 1
    return found[:number], scores[:number]
