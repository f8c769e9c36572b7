"""Compose: from scores to the order of a slate. Pure functions of arrays."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def compose(
    scores: NDArray[np.float32], sellers: NDArray[np.int32], *, k: int, seller_cap: int
) -> NDArray[np.intp]:
    """Rows of the slate in order: by score, at most `seller_cap` of a seller, as long as it lasts.

    Args:
        scores: [candidates]; higher is better. Ties keep the candidates' order; NaN comes last.
        sellers: [candidates] int32.
        k: at most so many.
        seller_cap: see `cap_sellers`; 0 for no cap.

    >>> scores = np.array([5, 4, 3, 2], np.float32)
    >>> compose(scores, np.array([1, 1, 2, 1], np.int32), k=3, seller_cap=1).tolist()
    [0, 2, 1]
    """
    order = np.argsort(-scores, kind="stable")
    return cap_sellers(order, sellers, seller_cap)[: max(k, 0)]


def cap_sellers(order: NDArray[np.intp], sellers: NDArray[np.int32], cap: int) -> NDArray[np.intp]:
    """The same rows, with those of a seller past the cap behind all others.

    A slate that would stay short is so filled: first by each seller's next `cap` rows, then by
    the next, and within these by the order given. Nothing is left out, so a slate is short only
    where candidates are.

    Args:
        order: [rows], candidates in order.
        sellers: [candidates] int32.
        cap: at most so many of a seller before the next round; 0 for no cap.

    >>> cap_sellers(np.array([0, 1, 2, 3]), np.array([7, 7, 7, 8]), 1).tolist()
    [0, 3, 1, 2]
    """
    if cap <= 0 or not len(order):
        return order
    return _capped(order, sellers, cap)


@njit(cache=True)
def _capped(order: NDArray[Any], sellers: NDArray[Any], cap: int) -> NDArray[Any]:
    """The rows by round, in a round as they came. Sellers are counted in a table by hash."""
    rows, size = len(order), 1
    while size < 2 * rows:
        size *= 2
    mask, last, count = size - 1, np.full(size, -1, np.int64), np.zeros(size, np.int64)
    rounds, ends = np.empty(rows, np.int64), np.zeros(rows + 1, np.int64)
    for i in range(rows):
        seller = sellers[order[i]]
        at = (np.int64(seller) * 0x9E3779B1 >> 8) & mask
        while last[at] >= 0 and sellers[order[last[at]]] != seller:
            at = (at + 1) & mask
        rounds[i] = count[at] // cap
        ends[rounds[i] + 1] += 1
        count[at] += 1
        last[at] = i
    for i in range(rows):
        ends[i + 1] += ends[i]
    found = np.empty_like(order)
    for i in range(rows):
        found[ends[rounds[i]]] = order[i]
        ends[rounds[i]] += 1
    return found
