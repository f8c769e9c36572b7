"""Fusion: candidates of several retrievers as one list, each with its sources."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.slate import Candidates
from heirloom.retrieval.top import best, firsts_alike

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
    slots: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    parts: list[NDArray[np.floating]] = [np.zeros(0)]
    bits: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    for bit, candidates in enumerate(ordered):
        name = candidates.names[0]
        taken = candidates.slots[: (quotas or {}).get(name, len(candidates))]
        slots.append(taken)
        parts.append((weights or {}).get(name, 1.0) / (RRF_K + 1.0 + np.arange(len(taken))))
        bits.append(np.full(len(taken), 1 << bit, np.uint32))
    every = np.concatenate(slots)
    distinct, scores, sources = _added(
        every, np.concatenate(parts), np.concatenate(bits), firsts_alike(every)
    )
    order = np.argsort(distinct)
    distinct, scores, sources = distinct[order], scores[order], sources[order]
    rows = best(scores, pool)
    unfinished = tuple(name for candidates in ordered for name in candidates.unfinished)
    fused = scores[rows].astype(np.float32)
    return Candidates(distinct[rows], fused, sources[rows], names, unfinished)


@njit(cache=True)
def _added(
    slots: NDArray[Any], parts: NDArray[Any], bits: NDArray[Any], first: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Each slot once, in the order in which it came: the sum of its parts, and all its bits."""
    place = np.empty(len(slots), np.int64)
    distinct, scores = np.empty(len(slots), np.int32), np.zeros(len(slots))
    sources = np.zeros(len(slots), np.uint32)
    count = 0
    for row in range(len(slots)):
        if first[row] == row:
            place[row] = count
            distinct[count] = slots[row]
            count += 1
        at = place[first[row]]
        scores[at] += parts[row]
        sources[at] |= bits[row]
    return distinct[:count], scores[:count], sources[:count]


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
