"""Choice: how a person leans in a space of listings, by what they chose of each slate they saw.

Each opening is a choice among what stood on the slate, more likely where more is opened by anybody:

    P(i | slate) ∝ odds_i · exp(u · x_i),    u ~ N(mean, variance · I)

What holds for a whole slate, how eager the person was or how well it was retrieved, cancels. One
step of Newton's from u = 0 gives u; more steps find no other order, and a step is sums over places,
so that a long history is read in the time of a short one's covariances. Source: McFadden,
"Conditional logit analysis of qualitative choice behavior", in Zarembka (ed.), "Frontiers in
econometrics", 1974, equation 12 and the derivatives below it; the prior makes it a ridge.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

VARIANCE = 0.1
"""How much people differ along each axis, in squared logits. With it the estimate is neither too
timid nor too bold: the truth of the simulator had a slope of .98 against it."""


def leaning(
    places: Array,
    logit: Array,
    slate: Array,
    opened: Array,
    mean: Array,
    variance: float = VARIANCE,
) -> NDArray[np.float64]:
    """Which way a person leans: u [dim], in logits for each unit of the space.

    Without a choice it is the mean.

    Args:
        places: [shown, dim] float64, where what was shown stands in the space.
        logit: [shown] of the chance that anybody opens what is shown there.
        slate: [shown] a number for each slate; what is of one stands together.
        opened: [shown] bool.
        mean: [dim] where people like this one lean before they chose.
        variance: of each axis.
    """
    leaning: NDArray[np.float64] = _step(places, logit, slate, opened, mean, variance)
    return leaning


@njit(cache=True)
def _step(
    x: Array, logit: Array, slate: Array, opened: Array, prior: Array, variance: float
) -> Array:
    n, dim = x.shape
    gradient, curvature = prior / variance, np.zeros((dim, dim))
    for j in range(dim):
        curvature[j, j] = 1.0 / variance
    mean, square = np.empty(dim), np.empty((dim, dim))
    first = 0
    while first < n:
        end, chosen, total = first, 0, 0.0
        while end < n and slate[end] == slate[first]:
            chosen += opened[end]
            total += np.exp(logit[end])
            end += 1
        if 0 < chosen < end - first:
            mean[:] = 0.0
            square[:] = 0.0
            for i in range(first, end):
                share = chosen * np.exp(logit[i]) / total
                for j in range(dim):
                    along = share * x[i, j]
                    mean[j] += along
                    gradient[j] += (x[i, j] if opened[i] else 0.0) - along
                    for k in range(j + 1):
                        square[j, k] += along * x[i, k]
            for j in range(dim):
                for k in range(j + 1):
                    curvature[j, k] += square[j, k] - mean[j] * mean[k] / chosen
        first = end
    return _solved(curvature, gradient)


@njit(cache=True)
def _solved(lower: Array, right: Array) -> Array:
    """The solution of a positive definite system by Cholesky, in place, in an order of its own.

    A library's order differs from machine to machine, and so do its last digits.
    """
    dim = len(right)
    for j in range(dim):
        for k in range(j):
            lower[j, j] -= lower[j, k] * lower[j, k]
        lower[j, j] = np.sqrt(lower[j, j])
        for i in range(j + 1, dim):
            for k in range(j):
                lower[i, j] -= lower[i, k] * lower[j, k]
            lower[i, j] /= lower[j, j]
    for j in range(dim):
        for k in range(j):
            right[j] -= lower[j, k] * right[k]
        right[j] /= lower[j, j]
    for j in range(dim - 1, -1, -1):
        for k in range(j + 1, dim):
            right[j] -= lower[k, j] * right[k]
        right[j] /= lower[j, j]
    return right
