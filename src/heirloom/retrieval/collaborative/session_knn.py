"""SessionKnn: what is taken soon after what, by counting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from heirloom.core.errors import ShapeError
from heirloom.retrieval.collaborative.sequences import Sequences


@dataclass(frozen=True, slots=True)
class SessionKnn:
    """Directed co-occurrence in sequences, with what is popular held down.

    Of a pair of items, a taken g places before b, `followed[a, b]` counts gap_decay^(g-1). Then

        near[a, b] = (followed[a, b] + backward · followed[b, a]) / ((c_a + 1)^out · (c_b + 1)^into)
        score(b)   = sum over a history's items a of age_decay^age · near[a, b]

    with c how often an item was taken. An item-based form of the nearest neighbours of Ludewig and
    Jannach, "Evaluation of session-based recommendation algorithms", UMUAI 2018 (SR: sequential
    rules weighted by gap); the exponents in place of cosine's 1/2 as in Fu et al., "Revisiting
    neighborhood-based link prediction for collaborative filtering", WWW 2022. It only counts, so
    new entries are added to it.

    Attributes:
        followed: [items, items] float64 in CSR.
        count: [items] int64.
        settings: see `Weights`.
    """

    followed: sparse.csr_matrix
    count: NDArray[np.int64]
    settings: "Weights"
    _near: sparse.csr_matrix

    @classmethod
    def fit(cls, sequences: Sequences, settings: "Weights | None" = None) -> Self:
        """Count all pairs."""
        settings = settings or Weights()
        nothing = sparse.csr_matrix((sequences.number, sequences.number))
        empty = cls._of(nothing, np.zeros(sequences.number, np.int64), settings)
        return empty.updated(sequences, np.zeros(len(sequences), np.int64))

    def updated(self, sequences: Sequences, known: NDArray[np.int64]) -> Self:
        """With the entries that came since: `known` [people] of each row were counted before.

        Raises:
            ShapeError: if there are fewer items than before.
        """
        number = sequences.number
        if number < len(self.count):
            raise ShapeError(f"SessionKnn: {number} items came, {len(self.count)} are counted")
        first, second, weights = _pairs(
            sequences.items, sequences.starts, known, self.settings.gaps, self.settings.gap_decay
        )
        new = sparse.coo_matrix((weights, (first, second)), shape=(number, number)).tocsr()
        place = np.arange(len(sequences.items)) - sequences.starts[sequences.people]
        fresh = sequences.items[place >= known[sequences.people]]
        count = np.bincount(fresh, minlength=number)
        count[: len(self.count)] += self.count
        followed = self.followed.copy()
        followed.resize(number, number)
        return self._of((followed + new).tocsr(), count, self.settings)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32, 0 or more; 0 where nothing in the history leads there."""
        rows = histories.latest(self.settings.history).matrix(self.settings.age_decay)
        found: NDArray[np.float32] = (rows @ self._near).toarray().astype(np.float32, copy=False)
        return found

    def near(self) -> sparse.csr_matrix:
        """[items, items] float32 in CSR: from the row's item to the column's."""
        return self._near

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        return {
            "followed": self.followed.data,
            "columns": self.followed.indices,
            "starts": self.followed.indptr,
            "count": self.count,
            "weights": np.array(self.settings.numbers()),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays."""
        count = arrays["count"]
        parts = (arrays["followed"], arrays["columns"], arrays["starts"])
        followed = sparse.csr_matrix(parts, shape=(len(count), len(count)))
        return cls._of(followed, count, Weights.of(arrays["weights"]))

    @classmethod
    def _of(
        cls, followed: sparse.csr_matrix, count: NDArray[np.int64], settings: "Weights"
    ) -> Self:
        popular = count + 1.0
        both = followed + settings.backward * followed.T
        out, into = (sparse.diags(popular**-power) for power in (settings.out, settings.into))
        return cls(followed, count, settings, (out @ both @ into).tocsr().astype(np.float32))


@dataclass(frozen=True, slots=True)
class Weights:
    """How SessionKnn weighs.

    Attributes:
        gap_decay: what one more step between two items leaves of a pair's weight.
        gaps: pairs further apart than this are not counted.
        backward: share of the opposite direction.
        out, into: exponents of the popularity of the item left, and of the one reached.
        age_decay: what one more step back in the history leaves of an item's weight.
        history: the latest entries that are read.
    """

    gap_decay: float = 0.8
    gaps: int = 50
    backward: float = 0.5
    out: float = 0.3
    into: float = 0.3
    age_decay: float = 0.8
    history: int = 50

    def numbers(self) -> list[float]:
        """The settings in order of declaration."""
        return [
            self.gap_decay, self.gaps, self.backward, self.out, self.into, self.age_decay,
            self.history,
        ]  # fmt: skip

    @classmethod
    def of(cls, numbers: NDArray[Any]) -> Self:
        """From what `numbers` gave."""
        gap_decay, gaps, backward, out, into, age_decay, history = numbers.tolist()
        return cls(gap_decay, int(gaps), backward, out, into, age_decay, int(history))


@njit(cache=True)
def _pairs(
    items: NDArray[np.int32],
    starts: NDArray[np.int64],
    known: NDArray[np.int64],
    gaps: int,
    decay: float,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Pairs of different items whose later one is new, with weight decay^(gap - 1)."""
    total = 0
    for row in range(len(starts) - 1):
        for at in range(starts[row] + known[row], starts[row + 1]):
            total += min(gaps, at - starts[row])
    first = np.empty(total, np.int32)
    second = np.empty(total, np.int32)
    weights = np.empty(total)
    n = 0
    for row in range(len(starts) - 1):
        for at in range(starts[row] + known[row], starts[row + 1]):
            weight = 1.0
            for gap in range(1, min(gaps, at - starts[row]) + 1):
                if items[at - gap] != items[at]:
                    first[n] = items[at - gap]
                    second[n] = items[at]
                    weights[n] = weight
                    n += 1
                weight *= decay
    return first[:n], second[:n], weights[:n]
