"""Model: histories → a score for every item. What all models of this room are."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.collaborative.sequences import Sequences


class Model(Protocol):
    """Fitted once, then frozen. Its classmethod `fit` takes Sequences and settings by name.

    Histories need not be those it was fitted on: a newcomer is scored by what they took.
    """

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32, higher is better; what was taken before is scored too.

        A row depends on its own history alone. The array is dense: hand over people in parts.
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs, by name: numbers only, so that a bundle can hold them."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays; its scores are the same bytes."""
