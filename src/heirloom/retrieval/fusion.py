"""Fusion: candidates of several retrievers as one list, each with its sources."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.slate import Candidates
from heirloom.retrieval.top import firsts_alike, in_runs

RRF_K = 60
MAX_SOURCES = 32


def fuse(
    found: Sequence[Candidates],
    pool: int,
    *,
    weights: Mapping[str, float] | None = None,
    quotas: Mapping[str, int] | None = None,
) -> Candidates:
    """Reciprocal rank fusion: score = sum over sources of weight / (60 + rank), rank from 1.

    Source: Cormack, Clarke, Büttcher, "Reciprocal rank fusion outperforms Condorcet and
    individual rank learning methods", SIGIR 2009. The order of `found` does not matter: names
    come out sorted, and ties go to the lower slot.

    Args:
        found: one Candidates per retriever, each with one name of its own.
        pool: at most so many come out.
        weights: of each source by name; 1 where it is not named.
        quotas: at most so many from a source; no limit where it is not named.

    Raises:
        ConfigError: if two have one name, or there are more sources than bits.

    >>> a = Candidates.of("a", np.array([7, 8], np.int32), np.array([2, 1], np.float32))
    >>> b = Candidates.of("b", np.array([8], np.int32), np.array([5], np.float32))
    >>> both = fuse([a, b], 10)
    >>> both.slots.tolist(), both.sources_of(0), both.sources_of(1)
    ([8, 7], ('a', 'b'), ('a',))
    """
    ordered = sorted(found, key=lambda candidates: candidates.names)
    names = tuple(name for candidates in ordered for name in candidates.names)
    _check(names, ordered)
    cut = quotas or {}
    slots = [each.slots[: cut.get(each.names[0], len(each))] for each in ordered]
    counts = np.array([len(taken) for taken in slots], np.int64)
    weighed = np.array([(weights or {}).get(name, 1.0) for name in names], np.float64)
    every = np.concatenate([*slots, np.zeros(0, np.int32)])
    fused = _fused(every, counts, weighed, max(pool, 0))
    unfinished = tuple(name for candidates in ordered for name in candidates.unfinished)
    return Candidates(*fused, names, unfinished)


@njit(cache=True)
def _fused(
    slots: NDArray[Any], counts: NDArray[Any], weights: NDArray[Any], pool: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Slots [of all sources, one after another] fused: each slot once, its score and its bits."""
    first, place = firsts_alike(slots), np.empty(len(slots), np.int64)
    distinct, scores = np.empty(len(slots), np.int32), np.zeros(len(slots))
    sources = np.zeros(len(slots), np.uint32)
    number = row = 0
    for bit in range(len(counts)):
        for rank in range(counts[bit]):
            if first[row] == row:
                place[row] = number
                distinct[number] = slots[row]
                number += 1
            at = place[first[row]]
            scores[at] += weights[bit] / (RRF_K + 1.0 + rank)
            sources[at] |= np.uint32(1 << bit)
            row += 1
    rows = in_runs(scores[:number], distinct[:number])[:pool]
    return distinct[rows], scores[rows].astype(np.float32), sources[rows]


def _check(names: tuple[str, ...], found: Sequence[Candidates]) -> None:
    problems = []
    if any(len(candidates.names) != 1 for candidates in found):
        problems.append("candidates that were fused before came in; fuse all sources at once")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.append(f"two retrievers are named {', '.join(twice)}; give each its own name")
    if len(names) > MAX_SOURCES:
        problems.append(f"{len(names)} retrievers; at most {MAX_SOURCES}")
    if problems:
        raise ConfigError("fusion", problems)
