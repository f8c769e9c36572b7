"""A constraint on the order: an action keeps its share of what the best order for it would bring.

Scores are Σ weight · probability. With the weight of one action multiplied by m, what the first k
are expected to bring of it never falls as m grows: of two orders, each best for its own m, adding
what each is better by gives (m' - m) · (its share at m' - its share at m) >= 0. So the least m is
found by bisection. It is the Lagrange multiplier of "maximise the value, subject to the share".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError

MOST = 1e4
"""Multipliers beyond this are not tried: the order is by the guarded action alone."""
_PRECISION = 1e-3


@dataclass(frozen=True, slots=True)
class Guard:
    """An action that must not be lost to the others.

    Attributes:
        action: by name.
        keep: share of what the best order for it alone would bring, in (0, 1].
        k: among so many first places of a slate.
    """

    action: str
    keep: float
    k: int = 10


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a guard costs.

    Attributes:
        multiplier: of the action's weight, the least that keeps the share, to 1 in 1,000.
        kept: the share kept with it.
        before: the share kept without.
        price: share of the value given up, by the weights as they were.
        feasible: whether the share can be kept at all; else the multiplier is the last tried.
    """

    multiplier: float
    kept: float
    before: float
    price: float
    feasible: bool


def guarded(
    chances: NDArray[Any],
    weights: NDArray[Any],
    action: int,
    groups: NDArray[np.int64],
    *,
    keep: float,
    k: int = 10,
) -> Guarded:
    """The least multiplier of an action's weight that keeps its share among the first k.

    Args:
        chances: [rows, actions], calibrated probabilities; rows of a group adjacent.
        weights: [actions], the order is by chances @ weights.
        action: column of the guarded one.
        groups: [rows], one value for each slate.
        keep: least share of what the order by this action alone would bring.
        k: places that count.

    Raises:
        ShapeError: if the arrays do not fit each other.
        InputError: if the action's weight is not above 0, or `keep` or `k` cannot be.

    >>> chances = np.array([[0.9, 0.01], [0.2, 0.04]])  # clicks, purchases
    >>> found = guarded(chances, np.array([1.0, 10.0]), 1, np.zeros(2, np.int64), keep=1.0, k=1)
    >>> found.before, round(found.multiplier, 2), found.kept, round(found.price, 2)
    (0.25, 2.33, 1.0, 0.4)
    """
    p, w = np.asarray(chances, np.float64), np.asarray(weights, np.float64)
    if p.ndim != 2 or w.shape != p.shape[1:] or len(groups) != len(p) or not len(p):
        raise ShapeError(
            f"guarded: chances {list(p.shape)}, weights {list(w.shape)}, {len(groups)} groups; "
            "wanted [rows, actions], [actions] and [rows], and at least one row"
        )
    if not (0 < keep <= 1 and k >= 1 and w[action] > 0):
        raise InputError(
            f"guarded: keep is {keep}, k {k}, and the action's weight {w[action]}; wanted a share "
            "in (0, 1], at least one place and a weight above 0"
        )
    first = _first(groups, k)
    own, value = p[:, action], p @ w

    def reached(multiplier: float, of: NDArray[np.float64]) -> float:
        order = np.lexsort((-(value + (multiplier - 1) * w[action] * own), groups))
        return float(of[order[first]].sum())

    best = float(own[np.lexsort((-own, groups))[first]].sum())
    wanted = keep * best * (1 - 1e-12)
    multiplier = _least(lambda m: reached(m, own) >= wanted)
    before, kept = reached(1.0, own), reached(multiplier, own)
    whole = reached(1.0, value)
    return Guarded(
        multiplier=multiplier,
        kept=kept / best if best else 1.0,
        before=before / best if best else 1.0,
        price=(whole - reached(multiplier, value)) / abs(whole) if whole else 0.0,
        feasible=kept >= wanted,
    )


def _least(enough: Any) -> float:
    """The least multiplier >= 1 that is enough, within 1 in 1,000; MOST if none is."""
    if enough(1.0):
        return 1.0
    low, high = 1.0, 2.0
    while not enough(high):
        if high >= MOST:
            return MOST
        low, high = high, min(2 * high, MOST)
    while high / low > 1 + _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _first(groups: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    """Places, in an order by group, of the first k of each."""
    ordered = np.sort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    sizes = np.diff(np.append(starts, len(ordered)))
    rank = np.arange(len(ordered)) - np.repeat(starts, sizes)
    places: NDArray[np.intp] = np.flatnonzero(rank < k)
    return places
