"""Availability: whether a listing may be shown, as its authority announced it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Availability(Protocol):
    """What the log's writer announced before it acknowledged, read by every process that answers.

    A listing is named by its slot and the slot's generation, so that one who has not yet folded
    that a slot was given to another listing cannot take the other's answer for its own.
    """

    @property
    def n(self) -> int:
        """The log offset up to which stock events are announced."""

    @property
    def epoch(self) -> int:
        """How many announcements were made; what was acknowledged before is among them."""

    def stands(self, slot: int, generation: int) -> bool:
        """Whether a listing may be shown now."""

    def standing(
        self, slots: NDArray[np.int32], generations: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """[slots] bool: the same of many."""

    def gone(
        self, slots: NDArray[np.int32], generations: NDArray[np.int32], epoch: int
    ) -> NDArray[np.bool_]:
        """[slots] bool: those that could not be shown any more from this epoch on."""
