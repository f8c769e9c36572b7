"""Examination: the chance that a place of a slate is looked at, and position logits of it.

A place is a row and a column of a grid, in reading order: position = row · columns + column. A
list has one column. What was never in view was not looked at by anyone: such rows are left out
before any of this, and the chance is that of a place in view.

The model is P(click | listing, position) = chance[position] · P(click | looked at) (Richardson,
Dominowska and Ragno, "Predicting clicks", WWW 2007; "position-based model" of Craswell et al.,
WSDM 2008). Only ratios can be known from clicks, so the first place has chance 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError


@dataclass(frozen=True, slots=True)
class Examination:
    """Chance of each place, relative to the first, and trust in the order where it is known.

    Attributes:
        chance: [positions] float64 > 0, of a click on what is relevant; the first is 1.
        columns: of the grid; 1 for a list.
        misled: [positions] float64 >= 0, chance of a click on what is not relevant, in the same
            unit; None where the order is not taken to mislead (`trust bias`).
        error: [positions] float64, relative standard error of `chance`; None where not estimated.
    """

    chance: NDArray[np.float64]
    columns: int = 1
    misled: NDArray[np.float64] | None = None
    error: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.chance.ndim != 1 or not len(self.chance):
            problems.append(f"chance has shape {list(self.chance.shape)}; wanted [positions]")
        elif not (np.isfinite(self.chance).all() and (self.chance > 0).all()):
            problems.append(f"chance lies in {_range(self.chance)}; wanted finite numbers > 0")
        if self.columns < 1:
            problems.append(f"columns is {self.columns}; wanted at least 1")
        for name, of in (("misled", self.misled), ("error", self.error)):
            if of is not None and (of.shape != self.chance.shape or not (of >= 0).all()):
                problems.append(
                    f"{name} has shape {list(of.shape)} and lies in {_range(of)}; wanted "
                    f"[positions={self.chance.size}] numbers >= 0"
                )
        if problems:
            raise ShapeError("Examination: " + "; ".join(problems))

    def of(self, positions: NDArray[Any]) -> NDArray[np.float64]:
        """Chance [rows] at these positions; beyond the last row, that of the last row.

        Raises:
            InputError: if a position is negative.

        >>> grid = Examination(np.array([1.0, 0.8, 0.5, 0.4]), columns=2)
        >>> grid.of(np.array([0, 3, 4, 7])).tolist()
        [1.0, 0.4, 0.5, 0.4]
        """
        return self.chance[self.place(positions)]

    def place(self, positions: NDArray[Any]) -> NDArray[np.intp]:
        """Index [rows] into `chance` of each position."""
        where = np.asarray(positions).astype(np.intp)
        if len(where) and where.min() < 0:
            raise InputError(
                f"Examination: a position is {where.min()}; wanted 0 for the first place and up"
            )
        known = len(self.chance)
        columns = min(self.columns, known)
        last = (known - 1 - where % columns) // columns * columns + where % columns
        place: NDArray[np.intp] = np.minimum(where, last)
        return place

    def grid(self) -> NDArray[np.float64]:
        """Chance by row and column [rows, columns]; NaN where the last row is not full."""
        rows = -(-len(self.chance) // self.columns)
        cells = np.full(rows * self.columns, np.nan)
        cells[: len(self.chance)] = self.chance
        return cells.reshape(rows, self.columns)


def position_logits(
    examination: Examination, positions: NDArray[Any], *, base_rate: float = 0.0
) -> NDArray[np.float32]:
    """What the place adds to the logit of a click, [rows] float32; 0 at the first place.

    A network's position tower (Guo et al., "PAL: a position-bias aware learning framework for CTR
    prediction", RecSys 2019) multiplies P(seen | position) into the click's chance. Written as an
    additive logit this is logit(chance · p) - logit(p) at click rate p of a listing looked at;
    for rare clicks, p -> 0, it is log chance. Start the tower from these, or add them as they are
    and learn the rest; leave them out, that is 0, at serving.

    Args:
        examination: the chances.
        positions: [rows], where each was shown.
        base_rate: p, in [0, 1).

    Raises:
        InputError: if a position is negative or the rate is none.

    >>> halves = Examination(np.array([1.0, 0.5, 0.25]))
    >>> position_logits(halves, np.array([0, 1, 2])).round(3).tolist()
    [0.0, -0.6930000185966492, -1.3860000371932983]
    """
    if not 0 <= base_rate < 1:
        raise InputError(f"position_logits: base_rate is {base_rate}; wanted 0 <= rate < 1")
    chance = examination.of(positions)
    if (chance * base_rate >= 1).any():
        raise InputError(
            f"position_logits: chance {chance.max():.3g} times base_rate {base_rate} is no chance; "
            "wanted a lower base_rate"
        )
    logits = np.log(chance) + np.log1p(-base_rate) - np.log1p(-chance * base_rate)
    result: NDArray[np.float32] = logits.astype(np.float32)
    return result


def examination_of_logits(
    logits: NDArray[Any], *, columns: int = 1, base_rate: float = 0.0
) -> Examination:
    """The chances that a learned position tower amounts to: the inverse of `position_logits`.

    Args:
        logits: [positions], what the tower adds at each position; only differences count.
        columns: of the grid.
        base_rate: mean click rate of a listing looked at.

    >>> learned = examination_of_logits(np.array([1.0, 1.0 - np.log(2)]))
    >>> learned.chance.tolist()
    [1.0, 0.5]
    """
    odds = np.exp(np.asarray(logits, np.float64) - float(np.asarray(logits)[0]))
    # logit(chance·p) = logit(p) + log(odds)  =>  chance = odds / (1 - p + p·odds)
    return Examination(odds / (1.0 - base_rate + base_rate * odds), columns)


def _range(values: NDArray[Any]) -> str:
    return f"{np.min(values):.3g} … {np.max(values):.3g}" if values.size else "nothing"
