"""Examination from one policy's log: what features foretell stands in for interventions.

Where every slate was ordered by one policy, a click at place 5 may be missing because of the
place or because of the listing. Regression-EM asks the listing's features which: it alternates
between guessing what was relevant and fitting, on these guesses, the chance of each place and a
regression of relevance on features (Wang, Golbandi, Bendersky, Metzler and Najork, "Position bias
estimation for unbiased learning to rank in personal search", WSDM 2018). It is no better than its
regression: what the policy knew and the features do not tell is taken for the place's doing.
Where interventions are logged, `harvesting` needs no such belief.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.examination import Examination

_LEAST = 1e-9
_NEWTON_STEPS = 2


@dataclass(frozen=True, slots=True)
class Regressed:
    """What regression-EM found.

    Attributes:
        examination: the chances, with `misled` if trust was asked for.
        weights: [features + 1] of the logistic regression of relevance; the last is constant.
        likelihood: mean log likelihood of a row, after each iteration; it does not fall.
        converged: whether the last iteration changed no chance by more than the tolerance.
    """

    examination: Examination
    weights: NDArray[np.float64]
    likelihood: tuple[float, ...]
    converged: bool


def regression_em(
    values: NDArray[Any],
    positions: NDArray[Any],
    clicks: NDArray[Any],
    *,
    depth: int,
    columns: int = 1,
    trust: bool = False,
    ridge: float = 1.0,
    iterations: int = 300,
    tolerance: float = 1e-4,
) -> Regressed:
    """Chances of places and a regression of relevance, by expectation maximisation.

    A click has chance a(k) on what is relevant and b(k) on what is not. Position bias alone:
    a(k) = P(looked at k), b(k) = 0. With `trust`, what stands high is clicked although it is not
    relevant: a(k) = θ(k) ε+(k), b(k) = θ(k) ε-(k), of which only the products can be known
    (Agarwal, Wang, Li, Bendersky and Najork, "Addressing trust bias for unbiased
    learning-to-rank", WWW 2019; the affine form is of Vardasbi, Oosterhuis and
    de Rijke, CIKM 2020). Looking is summed out of the E-step, which climbs the same likelihood in
    fewer steps. a(0) = 1 sets the unit.

    Args:
        values: [rows, features], finite; standardise or bin them first.
        positions: [rows] from 0.
        clicks: [rows] 1 for a click, else 0.
        depth: how many positions there are to know; rows beyond are left out.
        columns: of the grid.
        trust: whether to estimate b.
        ridge: on the regression's weights but the constant, in rows.
        iterations: at most so many.
        tolerance: least relative change of a chance to go on for.

    Raises:
        ShapeError: if the arrays do not fit each other.
        InputError: if values are not finite or there is a place without rows or no click at all.
    """
    _check(values, positions, clicks)
    rows = np.flatnonzero((positions >= 0) & (positions < depth))
    place, clicked = positions[rows].astype(np.intp), clicks[rows].astype(np.float64)
    x = np.column_stack([values[rows].astype(np.float64), np.ones(len(rows))])
    shown = np.bincount(place, minlength=depth)
    if not len(rows) or shown.min() == 0 or not clicked.any():
        raise InputError(
            f"regression_em: {len(rows)} rows with {int(clicked.sum())} clicks, and "
            f"{int((shown == 0).sum())} of {depth} places without rows; wanted clicks, and rows "
            "at every place"
        )
    on_relevant = 1.0 / np.sqrt(np.arange(1.0, depth + 1))
    misled = 0.02 * on_relevant if trust else np.zeros(depth)
    rate_of_place = _rate(place, np.ones(len(place)), clicked, depth)
    rate = np.clip(clicked.mean(), 1e-6, 0.5)
    weights = np.append(np.zeros(x.shape[1] - 1), np.log(rate / (1 - rate)))
    likely: list[float] = []
    for _ in range(iterations):
        chance = _sigmoid(x @ weights)
        relevant, value = _expected(chance, on_relevant[place], misled[place], clicked)
        likely.append(value)
        before = on_relevant
        on_relevant = _rate(place, relevant, clicked, depth)
        on_relevant[0] = 1.0
        if trust:
            misled = _rate(place, 1.0 - relevant, clicked, depth)
            # What is relevant is clicked no less. Where it would be, one rate is likeliest.
            one = misled > on_relevant
            misled = np.where(one, rate_of_place, misled)
            on_relevant = np.where(one, rate_of_place, on_relevant)
        weights = _regressed(x, relevant, weights, ridge)
        if float(np.abs(on_relevant / before - 1).max()) < tolerance:
            break
    found = Examination(on_relevant, columns, misled if trust else None)
    last = _expected(_sigmoid(x @ weights), on_relevant[place], misled[place], clicked)[1]
    return Regressed(found, weights, (*likely, last), len(likely) < iterations)


def _check(values: NDArray[Any], positions: NDArray[Any], clicks: NDArray[Any]) -> None:
    if values.ndim != 2 or not len(values) == len(positions) == len(clicks):
        raise ShapeError(
            f"regression_em: values {list(values.shape)}, positions {list(positions.shape)} and "
            f"clicks {list(clicks.shape)}; wanted [rows, features], [rows] and [rows]"
        )
    if not np.isfinite(values).all():
        raise InputError(
            "regression_em: values hold NaN or infinity; fill what is missing, with a column that "
            "says so"
        )
    if not np.isin(clicks, (0, 1)).all():
        raise InputError("regression_em: clicks must be 0 or 1")


def _expected(
    chance: NDArray[np.float64],
    on_relevant: NDArray[np.float64],
    misled: NDArray[np.float64],
    clicked: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """P(relevant | click or none) [rows], and the mean log likelihood of a row."""
    of_relevant = np.where(clicked > 0, on_relevant, 1.0 - on_relevant)
    of_other = np.where(clicked > 0, misled, 1.0 - misled)
    whole = np.maximum(chance * of_relevant + (1.0 - chance) * of_other, 1e-300)
    return chance * of_relevant / whole, float(np.log(whole).mean())


def _rate(
    place: NDArray[np.intp],
    weight: NDArray[np.float64],
    clicked: NDArray[np.float64],
    depth: int,
) -> NDArray[np.float64]:
    whole = np.maximum(np.bincount(place, weight, depth), _LEAST)
    rate = np.bincount(place, weight * clicked, depth) / whole
    return np.clip(rate, _LEAST, 1.0)


def _regressed(
    x: NDArray[np.float64],
    target: NDArray[np.float64],
    weights: NDArray[np.float64],
    ridge: float,
) -> NDArray[np.float64]:
    """A few Newton steps of the logistic regression of soft labels: a generalised M-step."""
    held = np.append(np.full(len(weights) - 1, ridge), 1e-9)
    for _ in range(_NEWTON_STEPS):
        chance = _sigmoid(x @ weights)
        curve = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(held)
        slope = x.T @ (target - chance) - held * weights
        weights = weights + np.linalg.solve(curve, slope)
    return weights


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    chance: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(z, -40.0, 40.0)))
    return chance
