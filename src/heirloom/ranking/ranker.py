"""Ranker: FeatureBatch → one score per action; and what it is fitted on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from heirloom.core.slate import FeatureBatch

POSITION = "position"
"""Name of the bias column: where the listing was shown. Constant at serving."""

Correction = Literal["ips", "baseline"]
"""How a ranker is told of the place: gains weighed by inverse propensity, or a baseline of logits
added while fitting (`Examples.place_logits`). A class says which it takes as `corrections`."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What a ranker learns from, in time order.

    Attributes:
        values: [rows, features] float32, NaN = missing.
        columns: the features' names, with view version.
        groups: [rows] int64, one value per slate; rows of a slate are adjacent.
        gains: [rows] float32, what the person did: 0 for nothing, more for more.
        positions: [rows] int16, where it was shown, from 0; 0 everywhere for logs without
            impressions.
        t: [rows] int64, ms.
        actions: names of what may be done, in the order of the columns of `done`.
        done: [rows, actions] float32, 1 done, 0 not, NaN not known yet; None for logs without
            impressions.
        drawn: [rows] bool, listings that the slate did not show, drawn as passed over; None: none.
        place_logits: [rows] float32, log of the chance that the place was looked at, relative to
            the first; added to the score while fitting, 0 at serving. None: not corrected so.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...]
    groups: NDArray[np.int64]
    gains: NDArray[np.float32]
    positions: NDArray[np.int16]
    t: NDArray[np.int64]
    actions: tuple[str, ...] = ()
    done: NDArray[np.float32] | None = None
    drawn: NDArray[np.bool_] | None = None
    place_logits: NDArray[np.float32] | None = None


class Ranker(Protocol):
    """Scores candidates, each independently of the others."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Features wanted, in order."""

    @property
    def actions(self) -> tuple[str, ...]:
        """What each score is about."""

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, actions] float32; higher is better.

        Raises:
            ShapeError: if the batch's columns are not those trained on.
        """

    def save(self, folder: Path) -> None:
        """Write the weights into an empty folder, without pickle."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""

    @classmethod
    def fit(cls, train: Examples, validation: Examples, *, seed: int) -> Self:
        """A ranker fitted on `train`, stopped early on `validation`. Same input, same weights."""


@runtime_checkable
class LeavesOut(Protocol):
    """A Ranker that tells for little what its scores would be without each group of features."""

    def without(
        self,
        batch: FeatureBatch,
        instead: NDArray[np.float32],
        group_of: NDArray[np.int64],
        groups: int,
    ) -> NDArray[np.float32]:
        """[candidates, groups, actions] float32: `score` with a group's columns as in `instead`.

        But for the last digits: sums may be made in another order. Where that changes no answer
        that a column gives, it is the score to the last digit.

        Args:
            batch: [candidates, features].
            instead: [features] float32.
            group_of: [features] int64, in 0..groups.
            groups: how many.
        """


@runtime_checkable
class Refits(Protocol):
    """A Ranker that can learn from all there is, once it is known how long to learn.

    What is held out for stopping and for the metrics is the latest in time, which tells most of
    what comes next.
    """

    def refit(self, examples: Examples, *, seed: int) -> Ranker:
        """A ranker fitted on `examples` for as long as this one was. Same input, same weights."""


@runtime_checkable
class Probabilities(Protocol):
    """A Ranker whose scores are probabilities of actions, learned from `Examples.done`.

    It learns from every slate, those on which nobody acted too, and is calibrated on rows shown.
    """

    def chances(self, examples: Examples) -> NDArray[np.float32]:
        """[rows, actions] float32, probability of each action given shown where it was shown."""
