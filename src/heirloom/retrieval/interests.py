"""Interests: the categories that a person's recent events weigh most in, and what is in them."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.retrieval.top import best_first


@njit(cache=True)
def heaviest(
    slots: NDArray[Any],
    weights: NDArray[Any],
    category: NDArray[Any],
    codes: NDArray[Any],
    most: int,
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """The heaviest categories, heaviest first, ties by code.

    Returns:
        Weighted sums of codes [categories, dim] and weights [categories], float64 of whole numbers:
        2^20 · 6 · 127 · events is far below 2^53; and the weight of all categories.
    """
    found, shares = np.empty(len(slots), np.int64), np.zeros(len(slots))
    member = np.empty(len(slots), np.int64)
    number = 0
    for event in range(len(slots)):
        code, at = category[slots[event]], 0
        while at < number and found[at] != code:
            at += 1
        if at == number:
            found[at] = code
            number += 1
        shares[at] += weights[event]
        member[event] = at
    top = best_first(shares[:number], found[:number], most)
    while shares[top[-1]] == 0:
        top = top[:-1]
    totals = np.zeros((len(top), codes.shape[1]))
    for event in range(len(slots)):
        for row in range(len(top)):
            if member[event] == top[row]:
                for dim in range(codes.shape[1]):
                    totals[row, dim] += weights[event] * codes[slots[event], dim]
    return totals, shares[top], shares[:number].sum()
