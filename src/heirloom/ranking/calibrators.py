"""Calibrators: monotone maps from what a model believes to what comes about.

Beta calibration, logit(p') = a · log p - b · log(1 - p) + c with a, b >= 0 (Kull, Silva Filho and
Flach, "Beta calibration", AISTATS 2017, equation 6). a = b is Platt's scaling of the logit. For the
rare actions of a slate log(1 - p) is next to nothing and says little: a ridge towards the map that
changes nothing (a = b = 1, c = 0) keeps it, and the other two where labels are few.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError

RIDGE = 1.0
"""As much as some labels say: an action done a handful of times moves its map by little."""
_LEAST = 1e-12
IDENTITY = (1.0, 1.0, 0.0)

Beta = tuple[float, float, float]
"""a, b, c."""


def calibrated(chances: NDArray[Any], beta: Beta) -> NDArray[np.float64]:
    """[rows] float64, the probabilities as the map has them; their order stays.

    >>> calibrated(np.array([0.2, 0.5]), IDENTITY).round(3).tolist()
    [0.2, 0.5]
    >>> calibrated(np.array([0.5]), (1.0, 1.0, -1.0)).round(3).tolist()
    [0.269]
    """
    a, b, c = beta
    logs, others = _logs(chances)
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(b * others - a * logs - c))
    return result


def fitted(chances: NDArray[Any], done: NDArray[Any], *, ridge: float = RIDGE) -> Beta:
    """The map that makes `done` most likely, by Newton's method; it never turns the order round.

    Args:
        chances: [rows], what the model believes.
        done: [rows], 1 or 0; NaN is left out.
        ridge: weight of half the squared distance to the map that changes nothing.

    Raises:
        ShapeError: if the arrays differ in length.

    >>> half = fitted(np.full(1_000, 0.2), np.arange(1_000) % 10 == 0)  # one in ten
    >>> calibrated(np.array([0.2]), half).round(2).tolist()
    [0.1]
    >>> fitted(np.array([]), np.array([]))
    (1.0, 1.0, 0.0)
    """
    if np.shape(chances) != np.shape(done) or np.ndim(chances) != 1:
        raise ShapeError(
            f"calibrators.fitted: chances {list(np.shape(chances))} and done "
            f"{list(np.shape(done))}; wanted both [rows]"
        )
    known = ~np.isnan(np.asarray(done, np.float64))
    y = np.asarray(done, np.float64)[known]
    if not len(y):
        return IDENTITY
    logs, others = _logs(np.asarray(chances)[known])
    # About their means, so that a ridge on the slopes does not hold the level, nor one on the
    # level the slopes.
    about, beside = float(logs.mean()), float(others.mean())
    x = np.stack([logs - about, beside - others, np.ones(len(y))], axis=1)
    start = np.array([1.0, 1.0, about - beside])
    for free in ([0, 1, 2], [0, 2], [1, 2], [2]):
        beta = _newton(x, y, start, np.array(free), ridge)
        if beta[0] >= 0 and beta[1] >= 0 and beta[0] + beta[1] > 0:
            break
    a, b = float(beta[0]), float(beta[1])
    return a, b, float(beta[2]) - a * about + b * beside


def _newton(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    start: NDArray[np.float64],
    free: NDArray[np.intp],
    ridge: float,
) -> NDArray[np.float64]:
    """The best of the free weights; a slope that is not free is 0, or 1 where none is."""
    beta = start.copy()
    fixed = np.setdiff1d(np.arange(2), free)
    if len(fixed) == 1:
        beta[fixed] = 0.0

    def loss(at: NDArray[np.float64]) -> float:
        z = x @ at
        off = (at - start)[free]
        return float((np.logaddexp(0.0, z) - y * z).sum() + 0.5 * ridge * off @ off)

    value = loss(beta)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-(x @ beta)))
        gradient = (x.T @ (p - y))[free] + ridge * (beta - start)[free]
        some = x[:, free]
        curvature = some.T @ (some * (p * (1 - p))[:, None]) + ridge * np.eye(len(free))
        step, size = np.linalg.solve(curvature, gradient), 1.0
        moved = beta.copy()
        while size > 1e-8:
            moved[free] = beta[free] - size * step
            if (lower := loss(moved)) <= value:
                break
            size /= 2
        else:
            break
        done, beta, value = value - lower < 1e-10 * max(1.0, value), moved.copy(), lower
        if done:
            break
    return beta


def _logs(chances: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p = np.clip(np.asarray(chances, np.float64), _LEAST, 1 - _LEAST)
    return np.log(p), np.log1p(-p)
