"""Quotas learned: how many candidates each source may bring, so that few good ones are missed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError


def learned(ranks: NDArray[Any], pool: int) -> NDArray[np.int64]:
    """[sources] int64, quotas with sum at most `pool`, by greedy gain for each place spent.

    A query is answered when its listing stands within the quota of any source. In each round
    the source and the number of further places are taken that answer most queries a place:
    Khuller, Moss, Naor, "The budgeted maximum coverage problem", IPL 1999, the greedy part.
    Places are counted as if sources shared no listing; `fuse` fills what duplicates leave.

    Args:
        ranks: [queries, sources], where each source had the wanted listing, from 1; 0 where it
            had not.
        pool: how many candidates come out in all.

    Raises:
        InputError: if the pool is negative or no query came.

    >>> learned(np.array([[1, 0], [3, 1], [0, 2], [9, 9]]), 4).tolist()
    [1, 2]
    """
    if pool < 0 or not len(ranks):
        raise InputError(f"quotas: pool {pool}, {len(ranks)} queries; wanted 0 or more, and some")
    sources = ranks.shape[1]
    quotas = np.zeros(sources, np.int64)
    open_ = np.ones(len(ranks), np.bool_)
    left = pool
    while left:
        best, source, places = 0.0, 0, 0
        for i in range(sources):
            rank = ranks[open_, i]
            further = rank[(rank > quotas[i]) & (rank <= quotas[i] + left)] - quotas[i]
            answered = np.cumsum(np.bincount(further, minlength=left + 1))[1:]
            worth = answered / np.arange(1, left + 1)
            at = int(worth.argmax())
            if worth[at] > best:
                best, source, places = float(worth[at]), i, at + 1
        if not places:
            break
        quotas[source] += places
        left -= places
        open_ &= ~((ranks[:, source] > 0) & (ranks[:, source] <= quotas[source]))
    return quotas
