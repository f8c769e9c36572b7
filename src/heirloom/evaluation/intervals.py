"""Intervals: how sure a mean is, when values of one person hang together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval in which the true mean is believed to lie."""

    mean: float
    low: float
    high: float
    level: float
    groups: int


def bootstrap(
    values: NDArray[np.float64],
    groups: NDArray[Any],
    *,
    seed: int,
    level: float = 0.95,
    draws: int = 1_000,
) -> Interval:
    """Percentile interval of the mean, drawing whole groups (people) with replacement.

    Cluster bootstrap: Davison and Hinkley, "Bootstrap methods and their application", 1997,
    section 3.8; a draw's mean is its sum of values over its number of values.

    Args:
        values: [queries] float64, one metric value each.
        groups: [queries], who it is about.
        seed: same seed, same interval.
        level: of confidence, between 0 and 1.
        draws: how many.

    Raises:
        ShapeError: if there is no value, or not one group for each.

    >>> bootstrap(np.ones(4), np.array([1, 1, 2, 3]), seed=0).low
    1.0
    """
    if not len(values) or len(values) != len(groups):
        raise ShapeError(
            f"bootstrap: {len(values)} values and {len(groups)} groups; "
            "wanted one group for each value, and at least one"
        )
    _, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    sums = np.bincount(member, values)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(rng.integers(0, len(sizes), len(sizes)), minlength=len(sizes))
        means[draw] = (times @ sums) / (times @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), level, len(sizes))


def bootstrap_columns(
    values: NDArray[np.float64], *, seed: int, level: float = 0.95, draws: int = 1_000
) -> list[Interval]:
    """Percentile intervals of the mean of each column, by the same draws of rows for all.

    For many paired differences of the same slates: one product of matrices in place of a loop
    each (Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3).

    Args:
        values: [slates, columns] float64; each slate is drawn as a whole.
        seed: same seed, same intervals.
        level: of confidence, between 0 and 1.
        draws: how many.

    Raises:
        ShapeError: if there is no slate, or the values are no table.

    >>> [each.mean for each in bootstrap_columns(np.array([[1.0, 0.0], [1.0, 2.0]]), seed=0)]
    [1.0, 1.0]
    """
    if values.ndim != 2 or not len(values):
        raise ShapeError(
            f"bootstrap_columns: values have shape {list(values.shape)}; wanted [slates, columns] "
            "with at least one slate"
        )
    n = len(values)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
    low, high = np.quantile(times @ values / n, [(1 - level) / 2, (1 + level) / 2], axis=0)
    means = values.mean(axis=0)
    return [
        Interval(float(means[i]), float(low[i]), float(high[i]), level, n)
        for i in range(values.shape[1])
    ]
