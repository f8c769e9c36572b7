"""Ease: items from items by one ridge regression in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from heirloom.core.errors import InputError
from heirloom.retrieval.collaborative.sequences import Sequences, starts_of


@dataclass(frozen=True, slots=True)
class Ease:
    """Weights between all items: score = decayed history @ weights.

    It keeps items² floats and inverts such a matrix: for up to some 30,000 items.

    Attributes:
        weights: [items, items] float32, from the row's item to the column's.
        age_decay: what one more step back in a history leaves of an item's weight.
        history: the latest entries that are read.
    """

    weights: NDArray[np.float32]
    age_decay: float = 1.0
    history: int = 1_000

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        *,
        ridge: float = 150.0,
        age_decay: float = 1.0,
        history: int = 1_000,
    ) -> Self:
        """Whether each item is in a row from the row's other items.

        Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019, section 3.1: with
        P = (X'X + ridge · I)^-1, weights[a, b] = -P[a, b] / P[b, b], and 0 for a = b.

        Raises:
            InputError: if the ridge is not above 0.
        """
        taken = sequences.taken()
        inverse = _inverse(_gram(taken, ridge))
        weights = inverse / -np.diag(inverse)[None, :]
        np.fill_diagonal(weights, 0.0)
        return cls(weights, age_decay, history)

    @classmethod
    def fit_next(
        cls,
        sequences: Sequences,
        *,
        ridge: float = 10.0,
        ahead: float = 0.5,
        age_decay: float = 0.8,
        into: float = 0.0,
        history: int = 50,
    ) -> Self:
        """What comes next from what came so far, decayed: the order counts.

        Choi et al., "Session-aware linear item-item models for session-based recommendation", WWW
        2021 (SLIT): weights = (S'S + ridge · I)^-1 S'T, with a row of S for each
        place in a sequence, decayed by age, and in T what follows, decayed by distance. Columns
        are then divided by (count + 1)^into.

        Args:
            sequences: what was taken.
            ridge: above 0.
            ahead: what one more step ahead leaves of a target's weight; 0 for the next alone.
            age_decay: what one more step back leaves of an item's weight.
            into: exponent by which popular items are held down.
            history: the latest entries that are read.

        Raises:
            InputError: if the ridge is not above 0.
        """
        past, following = _cuts(sequences, history)
        source = past.matrix(age_decay)
        target = _reversed(following).matrix(ahead)
        popular = sparse.diags((sequences.counts() + 1.0) ** -into)
        wanted = (source.T @ target @ popular).toarray().astype(np.float32)
        factor = linalg.cho_factor(_gram(source, ridge), lower=True, overwrite_a=True)
        weights = linalg.cho_solve(factor, wanted, overwrite_b=True)
        return cls(np.ascontiguousarray(weights, np.float32), age_decay, history)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32; may be negative."""
        rows = histories.latest(self.history).matrix(self.age_decay)
        found: NDArray[np.float32] = np.asarray(rows @ self.weights, np.float32)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        return {"weights": self.weights, "reading": np.array([self.age_decay, self.history])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays."""
        age_decay, history = arrays["reading"].tolist()
        return cls(arrays["weights"], age_decay, int(history))


def _gram(rows: sparse.csr_matrix, ridge: float) -> NDArray[np.float32]:
    if not ridge > 0:
        raise InputError(f"Ease: ridge is {ridge}; wanted more than 0")
    # In Fortran's order LAPACK works in place; the matrix is symmetric.
    gram = np.asfortranarray((rows.T @ rows).toarray().astype(np.float32))
    gram[np.diag_indices_from(gram)] += ridge
    return gram


def _inverse(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a positive definite matrix, which is overwritten."""
    factor, _ = linalg.lapack.spotrf(matrix, lower=1, overwrite_a=1, clean=1)
    lower, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    diagonal = np.diag(lower).copy()
    whole: NDArray[np.float32] = lower + lower.T
    whole[np.diag_indices_from(whole)] = diagonal
    return whole


def _cuts(sequences: Sequences, history: int) -> tuple[Sequences, Sequences]:
    """What came before and what comes from each place on, for every place but the first.

    >>> past, following = _cuts(Sequences.of([[4, 2, 1]], 5), 50)
    >>> past.items.tolist(), past.starts.tolist(), following.items.tolist()
    ([4, 4, 2], [0, 1, 3], [2, 1, 1])
    """
    at = np.flatnonzero(np.arange(len(sequences.items)) > sequences.starts[sequences.people])
    person = sequences.people[at]
    begin, end = sequences.starts[person], sequences.starts[person + 1]
    begin, end = np.maximum(begin, at - history), np.minimum(end, at + history)
    return _ranges(sequences, begin, at), _ranges(sequences, at, end)


def _ranges(sequences: Sequences, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Sequences:
    lengths = end - begin
    starts = starts_of(lengths)
    offsets = np.repeat(begin - starts[:-1], lengths)
    return Sequences(sequences.items[offsets + np.arange(starts[-1])], starts, sequences.number)


def _reversed(sequences: Sequences) -> Sequences:
    """Each row from its latest entry to its first."""
    start = sequences.starts[sequences.people]
    return Sequences(sequences.items[start + sequences.ages], sequences.starts, sequences.number)
