"""Examination by experiment: two places of some slates change what they show, by a coin.

The truth against which cheaper estimates are held, for what it costs: a small share of slates has
two listings out of order. Neighbours cost least (Joachims, Swaminathan and Schnabel, "Unbiased
learning-to-rank with biased feedback", WSDM 2017, swap the first with another; Radlinski and
Joachims, "Minimally invasive randomization", AAAI 2006, neighbours). Coins come from the slate's
hash, so the experiment can be redone from the log alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, ShapeError
from heirloom.ranking.harvesting import FOLDS, Pairs


@dataclass(frozen=True, slots=True)
class SwapDesign:
    """Which slates take part and which of their places change.

    Attributes:
        share: of slates that take part, in [0, 1].
        depth: only the first so many places change.
        kind: "neighbours" swap a place with the next, "pivot" the first with another.
        seed: of the coins.
    """

    share: float = 0.01
    depth: int = 24
    kind: Literal["neighbours", "pivot"] = "neighbours"
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.share <= 1:
            problems.append(f"share is {self.share}; wanted 0 … 1")
        if self.depth < 2:
            problems.append(f"depth is {self.depth}; wanted at least 2 places")
        if self.kind not in ("neighbours", "pivot"):
            problems.append(f"kind is {self.kind!r}; wanted 'neighbours' or 'pivot'")
        if problems:
            raise ConfigError("SwapDesign", problems)


@dataclass(frozen=True, slots=True)
class Swaps:
    """What the coins say, as columns [slates].

    Attributes:
        first, second: the two places; -1 where the slate takes no part.
        swapped: whether they change what they show; each with chance 1/2.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    swapped: NDArray[np.bool_]


def drawn(slates: NDArray[np.uint64], lengths: NDArray[Any], design: SwapDesign) -> Swaps:
    """The coins of slates, from their hashes.

    Args:
        slates: [slates] hash of each slate's id (`core.event.slate_hash`).
        lengths: [slates] listings in each; a slate of one takes no part.
        design: of the experiment.

    >>> design = SwapDesign(share=1.0, depth=3)
    >>> coins = drawn(np.arange(1, 5, dtype=np.uint64), np.array([9, 9, 9, 1]), design)
    >>> (coins.second - coins.first).tolist()
    [1, 1, 1, 0]
    """
    if slates.shape != np.shape(lengths):
        raise ShapeError(f"drawn: slates {list(slates.shape)}, lengths {list(np.shape(lengths))}")
    u = np.stack([_uniform(slates, design.seed, coin) for coin in range(3)])
    pairs = np.minimum(lengths, design.depth).astype(np.int64) - 1
    takes_part = (u[0] < design.share) & (pairs > 0)
    which = np.floor(u[1] * np.maximum(pairs, 1)).astype(np.int64)
    first = which if design.kind == "neighbours" else np.zeros_like(which)
    return Swaps(
        np.where(takes_part, first, -1),
        np.where(takes_part, which + 1, -1),
        takes_part & (u[2] < 0.5),
    )


def exchanged(slates: NDArray[Any], swaps: Swaps) -> NDArray[Any]:
    """The slates [slates, k] with the places changed that the coins name.

    >>> coins = Swaps(np.array([0]), np.array([2]), np.array([True]))
    >>> exchanged(np.array([[7, 8, 9]]), coins).tolist()
    [[9, 8, 7]]
    """
    result = slates.copy()
    rows = np.flatnonzero(swaps.swapped)
    a, b = swaps.first[rows], swaps.second[rows]
    result[rows, a], result[rows, b] = slates[rows, b], slates[rows, a]
    return result


def pairs_of_swaps(
    swaps: Swaps,
    clicks: NDArray[Any],
    *,
    depth: int,
    columns: int = 1,
) -> Pairs:
    """Clicks at the places of the experiment, for `harvesting.examination_of_pairs`.

    Both listings of a pair stood at either place with chance 1/2, so each place showed the same
    listings on average, however worthy they are.

    Args:
        swaps: the coins [slates].
        clicks: [slates, k] 1 where the place, as it was shown, was clicked.
        depth: how many positions there are to know.
        columns: of the grid.

    >>> coins = Swaps(np.array([0, -1]), np.array([1, -1]), np.array([False, False]))
    >>> pairs_of_swaps(coins, np.array([[1, 0], [1, 1]]), depth=2).clicked.sum(axis=0).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    if clicks.ndim != 2 or len(clicks) != len(swaps.first):
        raise ShapeError(
            f"pairs_of_swaps: clicks have shape {list(clicks.shape)}; wanted "
            f"[slates={len(swaps.first)}, k]"
        )
    rows = np.flatnonzero((swaps.first >= 0) & (swaps.second < depth))
    shape = (FOLDS, depth, depth)
    clicked, shown = np.zeros(shape), np.zeros(shape)
    a, b = swaps.first[rows], swaps.second[rows]
    for at, other in ((a, b), (b, a)):
        np.add.at(shown, (rows % FOLDS, at, other), 1.0)
        np.add.at(clicked, (rows % FOLDS, at, other), clicks[rows, at])
    return Pairs(clicked, shown, columns)


def _uniform(slates: NDArray[np.uint64], seed: int, coin: int) -> NDArray[np.float64]:
    """[slates] in [0, 1), by splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        z = slates.astype(np.uint64) + np.uint64((seed * 8 + coin + 1) % 2**32) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    chance: NDArray[np.float64] = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return chance
