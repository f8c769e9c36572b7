"""Ials: people and items as factors, by alternating least squares over all pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.retrieval.collaborative.sequences import Sequences


@dataclass(frozen=True, slots=True)
class Ials:
    """Score = person's factors · item's factors; a person's are solved from the history.

    Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008,
    in the form of Rendle et al., "Revisiting the performance of iALS on item recommendation
    benchmarks", RecSys 2022: minimise

        sum over pairs taken (w·h - 1)² + unobserved · sum over all pairs (w·h)²
        + ridge · sum of (n + unobserved · N)^frequency · |factors|²

    where n counts a row's pairs and N the rows of the other side. A person need not have been
    in training.

    Attributes:
        items: [items, factors] float32.
        unobserved: weight of the pairs not taken.
        ridge: regularisation.
        frequency: exponent of the regularisation's scale.
    """

    items: NDArray[np.float32]
    unobserved: float
    ridge: float
    frequency: float

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        *,
        factors: int = 64,
        unobserved: float = 0.1,
        ridge: float = 0.003,
        frequency: float = 1.0,
        rounds: int = 16,
        seed: int = 0,
    ) -> Self:
        """Alternate between people and items; the factors start as normal draws of 0.1 / sqrt(d).

        Raises:
            InputError: if a setting is not above 0.
        """
        if min(factors, unobserved, ridge, rounds) <= 0:
            raise InputError(
                f"Ials: factors {factors}, unobserved {unobserved}, ridge {ridge}, rounds "
                f"{rounds}; wanted more than 0 for each"
            )
        taken = sequences.taken()
        turned = taken.T.tocsr()
        rng = np.random.default_rng(seed)
        items = rng.normal(0, 0.1 / np.sqrt(factors), (sequences.number, factors))
        for _ in range(rounds):
            people = _solved(taken, items, unobserved, ridge, frequency)
            items = _solved(turned, people, unobserved, ridge, frequency)
        return cls(items.astype(np.float32), unobserved, ridge, frequency)

    def people(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, factors] float32, the best factors for each history; zeros for an empty one."""
        items = self.items.astype(np.float64)
        solved = _solved(histories.taken(), items, self.unobserved, self.ridge, self.frequency)
        return solved.astype(np.float32)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32, near 1 for what is likely and 0 for what is not."""
        found: NDArray[np.float32] = self.people(histories) @ self.items.T
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        weights = np.array([self.unobserved, self.ridge, self.frequency])
        return {"items": self.items, "weights": weights}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays."""
        return cls(arrays["items"], *arrays["weights"].tolist())


def _solved(
    taken: Any, other: NDArray[np.float64], unobserved: float, ridge: float, frequency: float
) -> NDArray[np.float64]:
    """[rows, factors] float64: each row's least squares against the other side."""
    scale = ridge * (np.diff(taken.indptr) + unobserved * len(other)) ** frequency
    gram = unobserved * (other.T @ other)
    return _least_squares(taken.indptr, taken.indices, np.ascontiguousarray(other), gram, scale)


@njit(cache=True)
def _least_squares(
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    other: NDArray[np.float64],
    gram: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    rows, width = len(starts) - 1, other.shape[1]
    solved = np.zeros((rows, width))
    for row in range(rows):
        if starts[row] == starts[row + 1]:
            continue
        picked = other[columns[starts[row] : starts[row + 1]]]
        system = gram + picked.T @ picked
        for i in range(width):
            system[i, i] += scale[row]
        solved[row] = np.linalg.solve(system, picked.sum(axis=0))
    return solved
