"""Spectral: items as vectors, from the leading singular vectors of what follows what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from heirloom.core.errors import InputError
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn, Weights

Vectors = NDArray[np.float32]
_OVERSAMPLED = 16
_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Spectral:
    """Score = cosine between a decayed history and an item: far kin that no person took together.

    Pairs are counted as by SessionKnn, K = followed + backward · followed', and normalised by
    their sums as a graph is for spectral clustering, N = D_r^-1/2 K D_c^-1/2 (Ng, Jordan, Weiss,
    "On spectral clustering", NIPS 2001, steps 2 to 4, for both sides of a directed graph). With V
    the leading right singular vectors of N, an item leads by its row of N V and is reached by its
    row of V, all brought to unit length. A shorter vector, its first columns, smooths more.

    Attributes:
        leads: [items, rank] float32 of unit length, or zeros for what was never taken.
        reached: [items, rank] float32, likewise.
        age_decay: what one more step back in a history leaves of an item's weight.
        history: the latest entries that are read.
    """

    leads: Vectors
    reached: Vectors
    age_decay: float
    history: int

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        *,
        rank: int = 128,
        backward: float = 0.7,
        age_decay: float = 0.7,
        history: int = 50,
        seed: int = 0,
    ) -> Self:
        """Count, normalise, decompose.

        Raises:
            InputError: if the rank is not from 1 to the number of items.
        """
        counted = SessionKnn.fit(sequences, Weights(age_decay=age_decay, history=history))
        return cls.of(counted, rank=rank, backward=backward, seed=seed)

    @classmethod
    def of(
        cls, counted: SessionKnn, *, rank: int = 128, backward: float = 0.7, seed: int = 0
    ) -> Self:
        """From pairs that were counted before, with their settings for reading histories."""
        if not 0 < rank <= len(counted.count):
            raise InputError(
                f"Spectral: rank {rank} for {len(counted.count)} items; wanted 1 to as many"
            )
        pairs = counted.followed + backward * counted.followed.T
        out, into = (np.maximum(pairs.sum(axis=axis).A1, 1e-12) for axis in (1, 0))
        normal = (sparse.diags(out**-0.5) @ pairs @ sparse.diags(into**-0.5)).tocsr()
        normal = normal.astype(np.float32)
        basis = leading(normal, rank, seed)
        settings = counted.settings
        return cls(normal @ basis, basis, settings.age_decay, settings.history)._unit()

    def shorter(self, rank: int) -> Self:
        """The model of fewer singular vectors, without another decomposition.

        Raises:
            InputError: if the rank is not from 1 to this model's.
        """
        if not 0 < rank <= self.leads.shape[1]:
            raise InputError(f"Spectral: rank {rank} of {self.leads.shape[1]}; wanted 1 to as many")
        cut = (self.leads[:, :rank], self.reached[:, :rank], self.age_decay, self.history)
        return type(self)(*cut)._unit()

    def people(self, histories: Sequences) -> Vectors:
        """[people, rank] float32 of unit length; zeros for a history that leads nowhere."""
        rows = histories.latest(self.history).matrix(self.age_decay)
        return _unit(np.asarray(rows @ self.leads, np.float32))

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32 from -1 to 1."""
        found: NDArray[np.float32] = self.people(histories) @ self.reached.T
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        reading = np.array([self.age_decay, self.history])
        return {"leads": self.leads, "reached": self.reached, "reading": reading}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays."""
        age_decay, history = arrays["reading"].tolist()
        return cls(arrays["leads"], arrays["reached"], age_decay, int(history))

    def _unit(self) -> Self:
        return type(self)(_unit(self.leads), _unit(self.reached), self.age_decay, self.history)


def leading(matrix: sparse.csr_matrix, rank: int, seed: int) -> Vectors:
    """[columns, rank] float32, leading right singular vectors.

    Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 2011, algorithm 4.4.
    """
    width = min(rank + _OVERSAMPLED, *matrix.shape)
    start = np.random.default_rng(seed).standard_normal((matrix.shape[1], width))
    space = np.linalg.qr(start)[0].astype(np.float32)
    for _ in range(_ROUNDS):
        space = np.linalg.qr(matrix.T @ (matrix @ space))[0]
    turned = np.linalg.svd(matrix @ space, full_matrices=False)[2]
    basis: Vectors = np.ascontiguousarray(space @ turned[:rank].T, np.float32)
    return basis


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # What is never reached has a row of rounding errors, which must not grow to unit length.
    known = lengths > 1e-6
    unit: Vectors = np.where(known, vectors / np.where(known, lengths, 1), 0).astype(np.float32)
    return unit
