"""Quotas learned: how many candidates each source may bring, so that few good ones are missed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError


def learned(ranks: NDArray[Any], pool: int) -> NDArray[np.int64]:
    """[sources] int64, quotas with sum at most `pool`, by greedy gain for each place spent.

    A query is answered when its listing stands within the quota of any source. In each round
    the source and the number of further places are taken that answer most queries a place; the
    best of doing so from nothing and from each source alone, which answers at least .39 of what
    any quotas can: Khuller, Moss, Naor, "The budgeted maximum coverage problem", IPL 1999.
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
    alone = np.where(ranks <= pool, ranks, 0).max(axis=0)
    starts = [np.zeros_like(alone), *np.diag(alone)]
    found = [_greedy(ranks, start.astype(np.int64), pool) for start in starts]
    return max(found, key=lambda quotas: int(_answered(ranks, quotas).sum()))


def _answered(ranks: NDArray[Any], quotas: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[queries] bool."""
    return np.asarray(((ranks > 0) & (ranks <= quotas)).any(axis=1), np.bool_)


def _greedy(ranks: NDArray[Any], quotas: NDArray[np.int64], pool: int) -> NDArray[np.int64]:
    """Quotas [sources], with what is left of the pool spent where it answers most."""
    while left := pool - int(quotas.sum()):
        open_ = ~_answered(ranks, quotas)
        best, source, places = 0.0, 0, 0
        for i in range(len(quotas)):
            rank = ranks[open_, i]
            further = rank[(rank > quotas[i]) & (rank <= quotas[i] + left)] - quotas[i]
            gained = np.cumsum(np.bincount(further, minlength=left + 1))[1:]
            worth = gained / np.arange(1, left + 1)
            at = int(worth.argmax())
            if worth[at] > best:
                best, source, places = float(worth[at]), i, at + 1
        if not places:
            break
        quotas[source] += places
    return quotas
