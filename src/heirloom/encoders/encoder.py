"""Encoder: listings and queries as vectors of one space."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.listing import Listing


class Encoder(Protocol):
    """Vectors of two models never mix: `model_id` stands with every vector that is kept."""

    dim: int
    model_id: str

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        """[listings, dim] float32 of unit length; each depends on its own listing alone."""

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of unit length, comparable with listings; zeros if no word is in it."""
