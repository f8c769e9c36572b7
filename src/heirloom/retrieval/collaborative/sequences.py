"""Sequences: what each person took, oldest first, as flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from heirloom.core.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Sequences:
    """One row of items for each person, rows after one another.

    Attributes:
        items: [entries] int32, item numbers from 0 to `number - 1`, oldest first in each row.
        starts: [people + 1] int64, where each row begins; the last is the number of entries.
        number: how many items there are, taken or not.

    Raises:
        ShapeError: if starts do not cut the items into rows, or an item lies outside.
    """

    items: NDArray[np.int32]
    starts: NDArray[np.int64]
    number: int

    def __post_init__(self) -> None:
        starts = self.starts
        if not len(starts) or starts[0] != 0 or starts[-1] != len(self.items):
            raise ShapeError(
                f"Sequences: starts {starts[:1].tolist()} … {starts[-1:].tolist()} for "
                f"{len(self.items)} items; wanted 0 first and the number of items last"
            )
        if (np.diff(starts) < 0).any():
            raise ShapeError("Sequences: starts go down; wanted each row to begin after the last")
        if len(self.items) and not 0 <= self.items.min() <= self.items.max() < self.number:
            raise ShapeError(
                f"Sequences: items from {self.items.min()} to {self.items.max()}; "
                f"wanted 0 to {self.number - 1}"
            )

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], number: int) -> "Sequences":
        """From lists.

        >>> Sequences.of([[4, 2], [], [0]], 5).starts.tolist()
        [0, 2, 2, 3]
        """
        flat = [item for row in rows for item in row]
        return cls(np.array(flat, np.int32), starts_of([len(row) for row in rows]), number)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[people] int64, entries in each row."""
        return np.diff(self.starts)

    @property
    def people(self) -> NDArray[np.int64]:
        """[entries] int64, the row that each entry stands in."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def ages(self) -> NDArray[np.int64]:
        """[entries] int64, how many entries of the row came later: 0 for the latest."""
        return np.repeat(self.starts[1:], self.lengths) - 1 - np.arange(len(self.items))

    def take(self, rows: NDArray[Any] | slice) -> "Sequences":
        """The rows at these numbers (or a mask, or a slice), in their order.

        >>> Sequences.of([[4, 2], [1], [0]], 5).take(np.array([2, 0])).items.tolist()
        [0, 4, 2]
        """
        chosen = np.arange(len(self))[rows]
        lengths = self.lengths[chosen]
        starts = starts_of(lengths)
        offsets = np.repeat(self.starts[chosen] - starts[:-1], lengths)
        return Sequences(self.items[offsets + np.arange(starts[-1])], starts, self.number)

    def before_last(self, n: int = 1) -> "Sequences":
        """Each row without its latest n entries.

        >>> Sequences.of([[4, 2], [1]], 5).before_last().lengths.tolist()
        [1, 0]
        """
        return self.where(self.ages >= n)

    def latest(self, n: int) -> "Sequences":
        """Each row's latest n entries, or all there are.

        >>> Sequences.of([[4, 2], [1]], 5).latest(1).items.tolist()
        [2, 1]
        """
        return self.where(self.ages < n)

    def at(self, age: int) -> NDArray[np.int32]:
        """[people] int32, the entry of that age in each row; -1 where the row is too short.

        >>> Sequences.of([[4, 2], [1]], 5).at(1).tolist()
        [4, -1]
        """
        found = np.full(len(self), -1, np.int32)
        long = self.lengths > age
        found[long] = self.items[self.starts[1:][long] - 1 - age]
        return found

    def where(self, kept: NDArray[np.bool_]) -> "Sequences":
        """The entries that are kept ([entries] bool); rows may become empty."""
        lengths = np.bincount(self.people[kept], minlength=len(self))
        return Sequences(self.items[kept], starts_of(lengths), self.number)

    def counts(self) -> NDArray[np.int64]:
        """[items] int64, how often each item was taken."""
        return np.bincount(self.items, minlength=self.number)

    def matrix(self, decay: float = 1.0) -> sparse.csr_matrix:
        """[people, items] float32: the sum over a person's entries of decay^age.

        >>> Sequences.of([[4, 2, 4]], 5).matrix(0.5).toarray().tolist()
        [[0.0, 0.0, 0.5, 0.0, 1.25]]
        """
        weights = np.power(decay, self.ages, dtype=np.float64).astype(np.float32)
        shape = (len(self), self.number)
        # Copied: summing duplicates sorts the indices in place.
        found = sparse.csr_matrix((weights, self.items, self.starts), shape=shape, copy=True)
        found.sum_duplicates()
        return found

    def taken(self) -> sparse.csr_matrix:
        """[people, items] float32: 1 where a person took an item, however often."""
        found = self.matrix()
        found.data[:] = 1
        return found


def starts_of(lengths: Any) -> NDArray[np.int64]:
    """[rows + 1] int64, where rows of these lengths begin.

    >>> starts_of([2, 0, 1]).tolist()
    [0, 2, 2, 3]
    """
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
