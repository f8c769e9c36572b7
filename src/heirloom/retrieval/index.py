"""Index: vectors by slot, searched under a mask. ExactIndex looks at every allowed row."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.top import best, fitted

Found = tuple[NDArray[np.int32], NDArray[np.float32]]

_SELECTIVE = 0.2
"""Below this share of allowed rows, gathering them beats scanning all (retrieval benchmarks:
1 % 0.11 ms against 8.4 ms at 200,000 x 64; even at about 20 %)."""


class Index(Protocol):
    """Vectors under filters. One writer; a removed slot is in no later search."""

    dim: int

    def upsert(self, slots: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        """Set the vectors [slots, dim] of slots; of a slot named twice the last counts.

        Raises:
            ShapeError: if the vectors have another dimension.
            InputError: if a vector holds NaN or infinity; then none is set.
        """

    def remove(self, slots: NDArray[np.int32]) -> None:
        """Forget slots; those unknown are left out."""

    def search(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Found:
        """Slots int32 and dot products float32 of the k nearest, best first, ties by slot.

        Args:
            vector: [dim] float32.
            allowed: [slots] bool; slots beyond its end are not allowed.
            k: at most so many; fewer if fewer are allowed.
        """

    def search_many(
        self, vectors: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
    ) -> list[Found]:
        """`search` for each of the vectors [queries, dim]; the mask is read once."""


class ExactIndex:
    """A matrix by slot and one product: exact, and the twin of every faster index."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._vectors = np.zeros((0, dim), np.float32)
        self._present = np.zeros(0, np.bool_)
        self._size = 0

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[slots, dim] float32, zeros where nothing was upserted or it was removed."""
        return self._vectors[: self._size]

    def upsert(self, slots: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        """Set the vectors [slots, dim] of slots; of a slot named twice the last counts."""
        if vectors.shape != (len(slots), self.dim):
            raise ShapeError(
                f"ExactIndex.upsert: vectors have shape {list(vectors.shape)}; "
                f"wanted [slots={len(slots)}, dim={self.dim}]"
            )
        if not len(slots):
            return
        if not np.isfinite(vectors).all():
            bad = slots[~np.isfinite(vectors).all(axis=1)][0]
            raise InputError(
                f"ExactIndex.upsert: the vector of slot {bad} holds NaN or infinity; "
                "wanted finite numbers; none of this call was set"
            )
        if slots.min() < 0:
            raise InputError(f"ExactIndex.upsert: slot {slots.min()} is negative")
        size = int(slots.max()) + 1
        self._vectors = fitted(self._vectors, size)
        self._present = fitted(self._present, size)
        self._size = max(self._size, size)
        self._vectors[slots] = vectors
        self._present[slots] = True

    def remove(self, slots: NDArray[np.int32]) -> None:
        """Forget slots; those unknown are left out."""
        known = slots[(slots >= 0) & (slots < self._size)]
        self._present[known] = False
        self._vectors[known] = 0

    def search(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Found:
        """Slots int32 and dot products float32 of the k nearest, best first, ties by slot."""
        if vector.shape != (self.dim,):
            raise ShapeError(
                f"ExactIndex.search: the vector has shape {list(vector.shape)}; "
                f"wanted [dim={self.dim}]"
            )
        return self.search_many(vector[None], allowed, k)[0]

    def search_many(
        self, vectors: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
    ) -> list[Found]:
        """`search` for each of the vectors [queries, dim]; the mask is read once."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ShapeError(
                f"ExactIndex.search_many: vectors have shape {list(vectors.shape)}; "
                f"wanted [queries, dim={self.dim}]"
            )
        size = min(self._size, len(allowed))
        eligible = allowed[:size] & self._present[:size]
        number = int(np.count_nonzero(eligible))
        narrow = number < _SELECTIVE * size
        slots = np.flatnonzero(eligible) if narrow else np.arange(size)
        rows = self._vectors[slots] if narrow else self._vectors[:size]
        found = []
        # One product a vector: a product of a few vectors at once is slower than their sum.
        for vector in vectors:
            scores = rows @ vector
            if not narrow:
                scores = np.where(eligible, scores, np.float32(-np.inf))
            top = best(scores, min(k, number))
            found.append((slots[top].astype(np.int32), scores[top]))
        return found
