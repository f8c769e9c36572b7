"""Trial: what policies are worth on the same queries in the same state, and captured value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError


@dataclass(frozen=True)
class Trial:
    """True values of several policies' slates, for the same queries (bots left out).

    Attributes:
        person: [queries] person numbers.
        surface: [queries] 0 home, 1 similar, 2 search.
        values: policy name to [queries] true expected value of its slates, in clicks.
        sold_shown: policy name to the number of listings shown that were sold or removed.
    """

    person: NDArray[np.int32]
    surface: NDArray[np.int8]
    values: dict[str, NDArray[np.float64]]
    sold_shown: dict[str, int]

    def captured(self, policy: str, *, surface: int | None = None, seed: int = 0) -> "Captured":
        """Captured value of one of the policies, on all surfaces or one."""
        rows = slice(None) if surface is None else self.surface == surface
        return captured_value(
            self.values[policy][rows],
            self.values["popular"][rows],
            self.values["oracle"][rows],
            self.person[rows],
            seed=seed,
        )


@dataclass(frozen=True)
class Captured:
    """(policy - popular) / (oracle - popular), with a 95 % bootstrap interval over people."""

    value: float
    low: float
    high: float
    people: int
    queries: int


def captured_value(
    policy: NDArray[np.float64],
    popular: NDArray[np.float64],
    oracle: NDArray[np.float64],
    people: NDArray[np.integer],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Captured:
    """Share of the way from popular in context to the oracle, a ratio of sums over queries.

    All [queries], paired. The interval resamples people, with all their queries (percentiles 2.5
    and 97.5 of `draws`).

    >>> one = np.ones(4)
    >>> captured_value(2 * one, one, 5 * one, np.array([0, 0, 1, 2])).value
    0.25
    """
    if not policy.shape == popular.shape == oracle.shape == people.shape:
        raise ShapeError(
            f"captured_value: policy {policy.shape}, popular {popular.shape}, oracle "
            f"{oracle.shape} and people {people.shape} must all be [queries]"
        )
    _, code = np.unique(people, return_inverse=True)
    gained = np.bincount(code, policy - popular)
    gap = np.bincount(code, oracle - popular)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(gap), (draws, len(gap)))
    ratios = gained[drawn].sum(axis=1) / gap[drawn].sum(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    value = float(gained.sum() / gap.sum())
    return Captured(value, float(low), float(high), len(gap), len(policy))
