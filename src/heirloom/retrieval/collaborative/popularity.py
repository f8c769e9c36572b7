"""Popularity: what most people took. The floor for every other model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.collaborative.sequences import Sequences


@dataclass(frozen=True, slots=True)
class Popularity:
    """The same scores for everybody.

    Attributes:
        count: [items] float32, how often each item was taken.
    """

    count: NDArray[np.float32]

    @classmethod
    def fit(cls, sequences: Sequences) -> Self:
        """Count.

        >>> Popularity.fit(Sequences.of([[1, 1], [2]], 3)).count.tolist()
        [0.0, 2.0, 1.0]
        """
        return cls(sequences.counts().astype(np.float32))

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32."""
        return np.tile(self.count, (len(histories), 1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs."""
        return {"count": self.count}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays."""
        return cls(arrays["count"])
