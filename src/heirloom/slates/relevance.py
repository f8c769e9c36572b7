"""Relevance: scores on a common scale, and what lifts a listing on it."""

import numpy as np
from numpy.typing import NDArray

from heirloom.slates.places import Tiers


def by_score(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Rows in order: best first, of equals the first, NaN last.

    >>> by_score(np.array([1, np.nan, 2, 1], np.float32)).tolist()
    [2, 0, 3, 1]
    """
    return np.argsort(-scores, kind="stable")


def relevance(
    scores: NDArray[np.float32], order: NDArray[np.intp], reach: int
) -> NDArray[np.float64]:
    """[candidates] float64: 1 for the best score, 0 for the `reach`-th, less behind it.

    All 0 where these are equal. Scores of no number, and those of -∞, are -∞; those of +∞ are as
    good as the best finite one.

    Args:
        scores: [candidates].
        order: of `by_score`.
        reach: so many make the scale.

    >>> scores = np.array([4, 2, 3, np.nan], np.float32)
    >>> relevance(scores, by_score(scores), 3).tolist()
    [1.0, 0.0, 0.5, -inf]
    """
    finite = np.isfinite(scores)
    values = scores.astype(np.float64)
    ordered = order[finite[order]]
    if not len(ordered):
        return np.where(values == np.inf, 0.0, -np.inf)
    best, worst = values[ordered[0]], values[ordered[min(reach, len(ordered)) - 1]]
    if not finite.all():
        values = np.where(values == np.inf, best, np.where(finite, values, -np.inf))
    spread = best - worst
    if spread > 0:
        scaled: NDArray[np.float64] = (values - worst) / spread
        return scaled
    return np.where(values == best, 0.0, np.minimum(values - best, 0.0))


def fresh(age_ms: NDArray[np.int64], half_life_ms: float) -> NDArray[np.float64]:
    """[listings] float64: 2^(-age / half-life), 1 for one of no age or listed in the future.

    >>> fresh(np.array([0, 10, 20, -5]), 10.0).tolist()
    [1.0, 0.5, 0.25, 1.0]
    """
    lift: NDArray[np.float64] = np.exp2(-np.maximum(age_ms, 0) / half_life_ms)
    return lift


def resorted(
    order: NDArray[np.intp], lifted: NDArray[np.float64], tiers: Tiers
) -> NDArray[np.intp]:
    """The rows of each tier that may be drawn by what they are lifted to, of equals as they were.

    >>> tiers = Tiers(np.array([1, 3]), np.array([True, True]))
    >>> resorted(np.array([2, 1, 0]), np.array([9.0, 5.0, 1.0]), tiers).tolist()
    [2, 0, 1]
    """
    found, begin = order.copy(), 0
    for end, drawn in zip(tiers.ends.tolist(), tiers.drawn.tolist(), strict=True):
        if drawn:
            part = order[begin:end]
            found[begin:end] = part[np.argsort(-lifted[part], kind="stable")]
        begin = end
    return found


def grouped(order: NDArray[np.intp], groups: NDArray[np.int64]) -> NDArray[np.intp]:
    """The same rows, group by group, each in its order.

    >>> grouped(np.array([2, 1, 0]), np.array([0, 1, 0])).tolist()
    [2, 0, 1]
    """
    return order[np.argsort(groups[order], kind="stable")]


def price_bands(prices: NDArray[np.int64], among: NDArray[np.intp], bands: int) -> NDArray[np.int8]:
    """[candidates] int8: which of so many bands, equal prices in one band.

    Args:
        prices: [candidates] int64, minor units.
        among: [rows], the candidates that bands hold equal numbers of.
        bands: at most 100.

    >>> price_bands(np.array([5, 100, 7, 5, 900]), np.array([0, 1, 2, 3]), 2).tolist()
    [0, 1, 1, 0, 1]
    """
    ordered = np.sort(prices[among])
    if not len(ordered):
        return np.zeros(len(prices), np.int8)
    edges = ordered[np.arange(1, bands) * len(ordered) // bands]
    return np.searchsorted(edges, prices, side="right").astype(np.int8)
