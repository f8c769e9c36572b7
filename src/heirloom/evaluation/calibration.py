"""Calibration: whether what is foretold with a probability comes about so often.

Bins are of equal mass: rows by their probability, in as many parts of as many rows. The expected
calibration error is Σ over bins of rows in bin / rows · |observed - predicted|, both means of the
bin (Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
binning", AAAI 2015; equal mass as in Nixon et al., "Measuring calibration in deep learning",
CVPR workshops 2019). It is in the unit of the probability, so a rare action has a small one: read
it beside the ratio of observed to predicted. Chance alone gives more than 0; `noise` says how much.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like probability.

    Attributes:
        rows: how many.
        predicted, observed: mean probability, and share that came about.
        low, high: in which the true share is believed to lie.
    """

    rows: int
    predicted: float
    observed: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """Observed over predicted; NaN where nothing was predicted."""
        return self.observed / self.predicted if self.predicted > 0 else float("nan")

    def agrees(self, tolerance: float = 0.05) -> bool:
        """Whether the ratio is within the tolerance of 1, or the prediction in the interval."""
        return abs(self.ratio - 1) <= tolerance or self.low <= self.predicted <= self.high


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the probabilities of one action hold.

    Attributes:
        all: every row in one bin.
        bins: by probability, the least first.
        ece: expected calibration error.
        low, high: its interval, by a bootstrap over slates.
        noise: what it would be, on average, if every bin were right.
    """

    all: Bin
    bins: tuple[Bin, ...]
    ece: float
    low: float
    high: float
    noise: float


def calibration(
    chances: NDArray[Any],
    done: NDArray[Any],
    groups: NDArray[Any],
    *,
    bins: int = 10,
    seed: int = 0,
    level: float = 0.95,
    draws: int = 200,
) -> Calibration:
    """Compare probabilities with what came about.

    Args:
        chances: [rows] float, probabilities.
        done: [rows] float, 1 or 0; NaN where it is not known yet, which is left out.
        groups: [rows] int, slates: rows of one hang together.
        bins: how many; fewer where there are fewer rows.
        seed: of the bootstrap over groups.
        level: of confidence.
        draws: of the bootstrap.

    Raises:
        ShapeError: if the arrays differ in length.
        InputError: if no label is known, or a probability is none.

    >>> told = calibration(np.array([0.1, 0.1, 0.5, 0.5]), np.array([0, 0, 1, 1]), np.arange(4),
    ...     bins=2)
    >>> round(told.ece, 3), [round(part.ratio, 1) for part in told.bins]
    (0.3, [0.0, 2.0])
    """
    if not len(chances) == len(done) == len(groups):
        raise ShapeError(
            f"calibration: {len(chances)} chances, {len(done)} labels and {len(groups)} groups; "
            "wanted one each for every row"
        )
    known = np.flatnonzero(~np.isnan(np.asarray(done, np.float64)))
    p, y = np.asarray(chances, np.float64)[known], np.asarray(done, np.float64)[known]
    if not len(p) or bins < 1:
        raise InputError(
            f"calibration: {len(p)} labels are known, in {bins} bins; wanted at least one of both"
        )
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        raise InputError(
            f"calibration: chances lie in {np.min(p):.3g} … {np.max(p):.3g}; wanted 0 … 1"
        )
    _, member = np.unique(np.asarray(groups)[known], return_inverse=True)
    order = np.argsort(p, kind="stable")
    part = np.empty(len(p), np.intp)
    part[order] = np.arange(len(p)) * min(bins, len(p)) // len(p)
    z = NormalDist().inv_cdf((1 + level) / 2)
    found = tuple(
        _bin(p[rows], y[rows], member[rows], z)
        for rows in (np.flatnonzero(part == i) for i in range(part.max() + 1))
    )
    low, high = _interval(p, y, member, part, seed=seed, level=level, draws=draws)
    share = np.array([each.rows for each in found]) / len(p)
    error = [(each.high - each.low) / (2 * z) for each in found]
    return Calibration(
        all=_bin(p, y, member, z),
        bins=found,
        ece=float(share @ [abs(each.observed - each.predicted) for each in found]),
        low=low,
        high=high,
        noise=float(share @ error * np.sqrt(2 / np.pi)),  # mean of |normal|
    )


def _bin(p: NDArray[np.float64], y: NDArray[np.float64], member: NDArray[np.intp], z: float) -> Bin:
    """The variance is the larger of what slates show and what right probabilities would have.

    The first is of sums over whole slates; the second stands in where next to nothing was done.
    """
    off = np.bincount(member, y - p)
    error = float(np.sqrt(max(float(off @ off), float((p * (1 - p)).sum())))) / len(p)
    observed = float(y.mean())
    return Bin(len(p), float(p.mean()), observed, observed - z * error, observed + z * error)


def _interval(
    p: NDArray[np.float64],
    y: NDArray[np.float64],
    member: NDArray[np.intp],
    part: NDArray[np.intp],
    *,
    seed: int,
    level: float,
    draws: int,
) -> tuple[float, float]:
    """Percentiles of the error over draws of whole groups; the bins stay as they are."""
    groups, bins = int(member.max()) + 1, int(part.max()) + 1
    off = np.bincount(member * bins + part, y - p, groups * bins).reshape(groups, bins)
    rows = np.bincount(member, minlength=groups).astype(np.float64)
    rng = np.random.default_rng(seed)
    errors = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(rng.integers(0, groups, groups), minlength=groups).astype(np.float64)
        errors[draw] = np.abs(times @ off).sum() / (times @ rows)
    low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
