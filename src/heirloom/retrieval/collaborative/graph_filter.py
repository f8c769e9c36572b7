"""GraphFilter: signals on the graph of people and items, smoothed and sharpened again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from heirloom.core.errors import InputError
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.spectral import leading


@dataclass(frozen=True, slots=True)
class GraphFilter:
    """A person's items, spread over the graph: nothing is trained, order does not count.

    With R [people, items] of 0 and 1, degrees d_p and d_i, N = D_p^-people_power R D_i^-item_power
    and P = N'N, a history x gives

        score = x P + low_pass · x D_i^-1/2 V V' D_i^1/2,   then sharpened

    where V holds the leading right singular vectors of N. Shen et al., "How powerful is graph
    convolution for recommendation?", CIKM 2021 (GF-CF: powers 1/2, low_pass .3, no sharpening).
    Sharpening takes back some of the smoothing: one step of the fourth-order Runge-Kutta method
    for ds/dt = -s P over the time `sharpen`; Choi et al., "Blurring-sharpening process models
    for collaborative filtering", SIGIR 2023.

    Attributes:
        normal: [people, items] float32 in CSR, N.
        basis: [items, rank] float32, V.
        degree: [items] float64, people who took an item, at least 1.
        low_pass: weight of the leading singular vectors.
        sharpen: how long; 0 for none.
    """

    normal: sparse.csr_matrix
    basis: NDArray[np.float32]
    degree: NDArray[np.float64]
    low_pass: float
    sharpen: float

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        *,
        people_power: float = 0.5,
        item_power: float = 0.5,
        rank: int = 256,
        low_pass: float = 0.3,
        sharpen: float = 0.0,
        seed: int = 0,
    ) -> Self:
        """Normalise the graph and find its leading singular vectors.

        Raises:
            InputError: if the rank is not below the number of people and of items.
        """
        if not 0 < rank < min(len(sequences), sequences.number):
            raise InputError(
                f"GraphFilter: rank {rank} for {len(sequences)} people and {sequences.number} "
                "items; wanted 1 or more, and less than both"
            )
        taken = sequences.taken()
        people = np.maximum(taken.sum(axis=1).A1, 1.0)
        degree = np.maximum(taken.sum(axis=0).A1, 1.0)
        normal = sparse.diags(people**-people_power) @ taken @ sparse.diags(degree**-item_power)
        normal = normal.tocsr().astype(np.float32)
        return cls(normal, leading(normal, rank, seed), degree, low_pass, sharpen)

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32; negative where sharpening took more than there was."""
        # Items stand first, so that the sparse products run along contiguous rows.
        signal = np.ascontiguousarray(histories.taken().toarray().T)
        root = np.sqrt(self.degree).astype(np.float32)[:, None]
        ideal = self.basis @ (self.basis.T @ (signal / root)) * root
        found = self._spread(signal)
        found += np.float32(self.low_pass) * ideal
        if self.sharpen:
            found = self._sharpened(found)
        return np.ascontiguousarray(found.T)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        return {
            "normal": self.normal.data,
            "columns": self.normal.indices,
            "starts": self.normal.indptr,
            "basis": self.basis,
            "degree": self.degree,
            "weights": np.array([self.low_pass, self.sharpen]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays."""
        shape = (len(arrays["starts"]) - 1, len(arrays["degree"]))
        parts = (arrays["normal"], arrays["columns"], arrays["starts"])
        normal = sparse.csr_matrix(parts, shape=shape)
        return cls(normal, arrays["basis"], arrays["degree"], *arrays["weights"].tolist())

    def _spread(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """[items, people] float32: P times the signal."""
        spread: NDArray[np.float32] = self.normal.T @ (self.normal @ signal)
        return spread

    def _sharpened(self, signal: NDArray[np.float32]) -> NDArray[np.float32]:
        """One Runge-Kutta step: for a linear system, the exponential's series to the fourth."""
        term, total = signal, signal.copy()
        for order in range(1, 5):
            term = self._spread(term) * np.float32(-self.sharpen / order)
            total += term
        return total
