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
    choose = _mmr if by == "mmr" else _dpp
    rest = np.arange(len(relevance))
    within = codes[: reach + k]  # no page reaches further
    columns, inverse = _columns(within)
    pages = []
    for start in range(0, min(k, len(relevance)), page):
        pool = rest[:reach]
        at = (relevance, columns, inverse) if start == 0 and len(pool) == len(within) else (
            relevance[pool], np.ascontiguousarray(columns[:, pool]), inverse[pool]
        )  # fmt: skip
        chosen = choose(*at, min(page, k - start), weight)
        pages.append(pool[chosen])
        kept = np.ones(len(rest), np.bool_)
        kept[chosen] = False
        rest = rest[kept]
    return np.concatenate([*pages, rest])


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
    found: NDArray[np.intp] = _mmr(relevance, *_columns(codes), k, weight)
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
    found: NDArray[np.intp] = _dpp(relevance, *_columns(codes), k, weight)
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
    out[:] = 0
    for d in range(columns.shape[0]):
        factor = columns[d, row]
        for i in range(columns.shape[1]):
            out[i] += factor * columns[d, i]


@njit(cache=True, nogil=True)
def _mmr(relevance: Array, columns: Array, inverse: Array, k: int, weight: float) -> Array:
    n = len(relevance)
    chosen = np.empty(min(k, n), np.intp)
    nearest = np.full(n, -np.inf)
    left = np.ones(n, np.bool_)
    products = np.empty(n, np.float32)
    for step in range(len(chosen)):
        best, most = -1, 0.0
        for i in range(n):
            if left[i]:
                like = nearest[i] if step else 0.0
                value = (1.0 - weight) * relevance[i] - weight * like
                if best < 0 or value > most:
                    best, most = i, value
        chosen[step] = best
        left[best] = False
        _products(columns, best, products)
        for i in range(n):
            cosine = products[i] * inverse[i] * inverse[best]
            nearest[i] = max(nearest[i], cosine)
    return chosen


@njit(cache=True, nogil=True)
def _dpp(relevance: Array, columns: Array, inverse: Array, k: int, weight: float) -> Array:
    n = len(relevance)
    chosen = np.empty(min(k, n), np.intp)
    factors = np.ones(n)
    cholesky = np.zeros((len(chosen), n))
    left = np.ones(n, np.bool_)
    products = np.empty(n, np.float32)
    added = np.empty(n)
    for step in range(len(chosen)):
        best, most = -1, 0.0
        for i in range(n):
            if left[i] and factors[i] > _GONE:
                value = (1.0 - weight) * relevance[i] + weight * math.log(factors[i])
                if best < 0 or value > most:
                    best, most = i, value
        if best < 0:
            for i in range(n):
                if left[i]:
                    best = i
                    break
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
