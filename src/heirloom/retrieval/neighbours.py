"""Neighbours: the retrievers that look for what is near in content, by the filter itself."""

from collections.abc import Mapping

import numpy as np
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
    slots = [np.zeros(0, np.int32)]
    scores = [np.zeros(0, np.float32)]
    complete = True
    for vector, share in zip(vectors, shares, strict=True):
        found = content.nearest(vector, where, k, without=without, out_of_time=out_of_time)
        slots.append(found.slots)
        scores.append((share / np.arange(1, len(found.slots) + 1)).astype(np.float32))
        complete &= found.complete
    every, score = np.concatenate(slots), np.concatenate(scores)
    order = np.lexsort((every, -score))
    _, first = np.unique(every[order], return_index=True)
    rows = order[np.sort(first)][:k]
    return Candidates.of(name, every[rows], score[rows], complete=complete)
