"""Inputs: from features of any scale to what a network learns well from. No torch here."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float32]

_NARROWEST = 1e-30
"""Two knots closer than this are one: what rises between them would have an infinite slope."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A line bent at `knots` for each feature, from its values to their normal scores.

    A feature enters as the standard normal quantile of its rank among the training rows (van der
    Waerden, 1952), linear between knots, level beyond the outermost; a missing one is 0, the
    middle, and raises an input of its own if it was ever missing in training. What a tree is by
    nature, blind to the scale of a feature, a network is by this.

    Attributes:
        low, high: [features, segments] float32, where each segment begins and ends.
        slope: [features, segments] float32.
        base: [features] float32, the value at the lowest knot.
        flagged: [flags] int64, the features missing now and then in training.
    """

    low: Floats
    high: Floats
    slope: Floats
    base: Floats
    flagged: NDArray[np.int64]

    @property
    def width(self) -> int:
        """How many inputs a network gets."""
        return len(self.base) + len(self.flagged)

    @classmethod
    def of(cls, values: Floats, knots: int) -> Self:
        """Of training rows [rows, features], with at most so many knots a feature."""
        lines = [_line(column[~np.isnan(column)], knots) for column in values.T]
        at = np.stack([line[0] for line in lines])
        rise = np.stack([line[1] for line in lines])
        width = np.diff(at, axis=1)
        slope = np.divide(np.diff(rise, axis=1), width, out=np.zeros_like(width), where=width > 0)
        return cls(
            low=at[:, :-1].astype(np.float32),
            high=at[:, 1:].astype(np.float32),
            slope=slope.astype(np.float32),
            base=rise[:, 0].astype(np.float32),
            flagged=np.flatnonzero(np.isnan(values).any(axis=0)),
        )

    def __call__(self, values: Floats) -> Floats:
        """[rows, inputs] float32 of [rows, features]; the served graph does the same."""
        whole = np.zeros((len(values), self.width), np.float32)
        features = len(self.base)
        for i, column in enumerate(values.T):  # one by one: all at once would be several GB
            passed = np.minimum(np.maximum(column[:, None], self.low[i]), self.high[i])
            risen = ((passed - self.low[i]) * self.slope[i]).sum(axis=1) + self.base[i]
            whole[:, i] = np.where(np.isnan(column), 0, risen)
        whole[:, features:] = np.isnan(values[:, self.flagged])
        return whole


def _line(known: Floats, knots: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the line bends, and how high it is there: [knots] each, the last one repeated.

    Knots stand at quantiles of the values, and where many are alike, at quantiles of those that
    differ: a column that is 0 nine times out of ten is told apart in the tenth.
    """
    if not len(known):
        return np.zeros(knots), np.zeros(knots)
    ordered = np.sort(known.astype(np.float64))
    levels = np.linspace(0, 1, knots)
    at = np.unique(np.quantile(ordered, levels, method="nearest"))
    if len(at) < knots:
        distinct = np.unique(ordered)
        more = np.quantile(distinct, np.linspace(0, 1, knots - len(at) + 2), method="nearest")
        at = np.unique(np.concatenate([at, more]))[:knots]
    at = at[np.concatenate([[True], np.diff(at) > _NARROWEST])]
    below, up_to = (np.searchsorted(ordered, at, side) for side in ("left", "right"))
    rise = ndtri((below + up_to) / (2 * len(ordered)))
    spare = knots - len(at)
    return np.pad(at, (0, spare), "edge"), np.pad(rise, (0, spare), "edge")
