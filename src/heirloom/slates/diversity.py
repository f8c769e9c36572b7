"""Diversity: which of the best candidates make a page that is not all alike.

Similarity is the cosine of two listings' int8 codes. Their products are whole numbers below 2²⁴,
exact in float32 in any order of summation, so that a page is the same on every machine.
"""

import math
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError

MAX_DIM = 1_000
"""127² · 1,000 is below 2²⁴."""
_GONE = 1e-9
"""Of a determinant's factor: what is left of a listing that the chosen ones span."""

Array = NDArray[Any]


def diversified(
    relevance: NDArray[np.float64],
    codes: NDArray[np.int8],
    *,
    k: int,
    page: int,
    reach: int,
    weight: float,
    by: Literal["mmr", "dpp"] = "mmr",
) -> NDArray[np.intp]:
    """All candidates in a new order, whose first k are pages of unlike listings.

    Each page is chosen from the `reach` first that no page before it shows; the rest keep their
    order behind.

    Args:
        relevance: [candidates] finite, 0 to 1 for those that matter; the candidates in order.
        codes: [candidates, dim] int8, zeros for a listing of which nothing is known: it is like no
            other.
        k: so many places are composed.
        page: each so many of them are unlike each other.
        reach: a page is chosen from so many.
        weight: of being unlike, beside relevance, 0 to 1.
        by: `mmr` or `dpp`.

    Raises:
        ShapeError: more than MAX_DIM dimensions, or codes of other candidates.

    >>> codes = np.array([[127, 0], [127, 0], [0, 127]], np.int8)
    >>> diversified(np.array([1, 0.9, 0.8]), codes, k=2, page=2, reach=3, weight=0.5).tolist()
    [0, 2, 1]
    """
    if codes.ndim != 2 or len(codes) != len(relevance) or codes.shape[1] > MAX_DIM:
        raise ShapeError(
            f"diversified: codes {list(codes.shape)} of {len(relevance)} candidates; wanted "
            f"[candidates, dim up to {MAX_DIM}]"
        )
    within = min(len(relevance), reach + k)  # no page reaches further
    head = _pages(relevance, *_columns(codes[:within]), min(k, within), page, reach, weight,
                  by == "mmr")  # fmt: skip
    return np.concatenate([head, np.arange(within, len(relevance))])


def mmr(
    relevance: NDArray[np.float64], codes: NDArray[np.int8], k: int, weight: float
) -> NDArray[np.intp]:
    """Rows chosen one by one: most relevant, and least like the nearest of those before.

    argmax (1 - weight) · relevance - weight · max cosine to those chosen, of equals the first.
    Source: Carbonell & Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998, with
    λ = 1 - weight; the maximum over none is 0.

    Args:
        relevance: [pool] float64, finite.
        codes: [pool, dim] int8.
        k: at most so many.
        weight: 0 to 1.

    >>> codes = np.array([[9, 0], [8, 0], [0, 5]], np.int8)
    >>> mmr(np.array([1, 0.9, 0.1]), codes, 3, 0.8).tolist()
    [0, 2, 1]
    """
    found: NDArray[np.intp] = _mmr(
        relevance, *_columns(codes), np.ones(len(codes), np.bool_), k, weight
    )
    return found


def dpp(
    relevance: NDArray[np.float64], codes: NDArray[np.int8], k: int, weight: float
) -> NDArray[np.intp]:
    """Rows chosen one by one, so that relevance and the volume they span grow most.

    Greedy MAP inference of a determinantal point process: each adds most to θ Σ relevance +
    (1 - θ) log det S, where θ = 1 - weight and S = (1 + cosine) / 2. The factor that a row adds to
    det S is kept up to date by a Cholesky decomposition that grows by a row at each choice.
    Source: Chen, Zhang & Zhou, "Fast greedy MAP inference for determinantal point process to
    improve recommendation diversity", NeurIPS 2018, Algorithm 1, and section 4 for the trade-off.
    Rows that the chosen ones span come last, in their order.

    Args:
        relevance: [pool] float64, finite.
        codes: [pool, dim] int8.
        k: at most so many.
        weight: 0 to 1.

    >>> codes = np.array([[9, 0], [8, 0], [0, 5]], np.int8)
    >>> dpp(np.array([1, 0.9, 0.1]), codes, 3, 0.5).tolist()
    [0, 2, 1]
    """
    found: NDArray[np.intp] = _dpp(
        relevance, *_columns(codes), np.ones(len(codes), np.bool_), k, weight
    )
    return found


def _columns(codes: NDArray[np.int8]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """[dim, pool] codes as float32, and [pool] one over their lengths, 0 for zeros."""
    columns = np.ascontiguousarray(codes.T, np.float32)
    return columns, _inverse(columns)


@njit(cache=True, nogil=True)
def _inverse(columns: Array) -> Array:
    squares = np.zeros(columns.shape[1], np.float32)
    for d in range(columns.shape[0]):
        for i in range(len(squares)):
            squares[i] += columns[d, i] * columns[d, i]
    inverse = np.zeros(len(squares))
    for i in range(len(squares)):
        if squares[i] > 0:
            inverse[i] = 1.0 / math.sqrt(np.float64(squares[i]))
    return inverse


@njit(cache=True, nogil=True)
def _products(columns: Array, row: int, out: Array) -> None:
    """Products of all rows' codes with those of one."""
    dim, rows = columns.shape
    out[:] = 0
    whole = dim - dim % 4
    for d in range(0, whole, 4):  # four at a time: a sum is fetched and stored a quarter as often
        a, b, c, e = columns[d], columns[d + 1], columns[d + 2], columns[d + 3]
        of_a, of_b, of_c, of_e = a[row], b[row], c[row], e[row]
        for i in range(rows):
            out[i] += (of_a * a[i] + of_b * b[i]) + (of_c * c[i] + of_e * e[i])
    for d in range(whole, dim):
        factor = columns[d, row]
        for i in range(rows):
            out[i] += factor * columns[d, i]


@njit(cache=True, nogil=True)
def _pages(
    relevance: Array, columns: Array, inverse: Array, k: int, page: int, reach: int, weight: float,
    by_mmr: bool,
) -> Array:  # fmt: skip
    """All rows of `columns`: k of them page by page, then the rest in their order."""
    n = columns.shape[1]
    order = np.empty(n, np.intp)
    left, pool = np.ones(n, np.bool_), np.empty(n, np.bool_)
    for start in range(0, k, page):
        within = 0
        for i in range(n):
            pool[i] = left[i] and within < max(reach, page)
            within += pool[i]
        wanted = min(page, k - start, within)
        if by_mmr:
            chosen = _mmr(relevance, columns, inverse, pool, wanted, weight)
        else:
            chosen = _dpp(relevance, columns, inverse, pool, wanted, weight)
        order[start : start + wanted] = chosen
        left[chosen] = False
    place = k
    for i in range(n):
        if left[i]:
            order[place] = i
            place += 1
    return order


@njit(cache=True, nogil=True)
def _mmr(
    relevance: Array, columns: Array, inverse: Array, pool: Array, k: int, weight: float
) -> Array:
    """At most k rows of a pool, a mask."""
    n = columns.shape[1]
    chosen = np.empty(min(k, n), np.intp)
    worth = np.empty(n)  # -∞ for who is not in the pool, or chosen
    for i in range(n):
        worth[i] = (1.0 - weight) * relevance[i] if pool[i] else -np.inf
    nearest, cosines = np.zeros(n), np.empty(n)
    products = np.empty(n, np.float32)
    for step in range(len(chosen)):
        best, most = -1, -np.inf
        for i in range(n):
            value = worth[i] - weight * nearest[i]
            if value > most:
                best, most = i, value
        chosen[step] = best
        worth[best] = -np.inf
        _products(columns, best, products)
        scale = inverse[best]
        for i in range(n):
            cosines[i] = products[i] * inverse[i] * scale
        if step == 0:
            nearest[:] = cosines
        else:
            for i in range(n):
                nearest[i] = max(nearest[i], cosines[i])
    return chosen


@njit(cache=True, nogil=True)
def _dpp(
    relevance: Array, columns: Array, inverse: Array, pool: Array, k: int, weight: float
) -> Array:
    """At most k rows of a pool, a mask."""
    n = columns.shape[1]
    chosen = np.empty(min(k, n), np.intp)
    factors = np.ones(n)
    cholesky = np.zeros((len(chosen), n))
    left = pool.copy()
    products = np.empty(n, np.float32)
    added = np.empty(n)
    for step in range(len(chosen)):
        best, most = -1, -np.inf
        for i in range(n):
            if left[i] and factors[i] > _GONE:
                value = (1.0 - weight) * relevance[i] + weight * math.log(factors[i])
                if value > most:
                    best, most = i, value
        if best < 0:
            best = int(np.argmax(left))  # the first of those that the chosen ones span
        chosen[step] = best
        left[best] = False
        if factors[best] <= _GONE:
            continue
        _products(columns, best, products)
        added[:] = 0.0
        for row in range(step):
            factor = cholesky[row, best]
            for i in range(n):
                added[i] += factor * cholesky[row, i]
        root = math.sqrt(factors[best])
        for i in range(n):
            like = (1.0 + products[i] * inverse[i] * inverse[best]) / 2.0
            e = (like - added[i]) / root
            cholesky[step, i] = e
            factors[i] -= e * e
    return chosen
