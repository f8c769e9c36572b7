"""Split by time: what was known before a moment trains, what came after tests."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError

Rows = NDArray[np.intp]


def by_time(t: NDArray[np.int64], *cuts: int) -> tuple[Rows, ...]:
    """Rows before the first cut, from it to before the second, …, from the last on.

    >>> [part.tolist() for part in by_time(np.array([1, 5, 3, 9]), 3, 9)]
    [[0], [1, 2], [3]]
    """
    if list(cuts) != sorted(cuts):
        raise InputError(f"by_time: cuts {cuts} are not in order of time")
    part = np.searchsorted(np.array(cuts, np.int64), t, side="right")
    return tuple(np.flatnonzero(part == i) for i in range(len(cuts) + 1))


def moment(t: NDArray[np.int64], share: float) -> int:
    """The time of the row whose rank is `share` of all: rows before it are less than the share.

    >>> moment(np.array([40, 10, 30, 20]), 0.5)
    30
    """
    if not len(t) or not 0 <= share < 1:
        raise InputError(f"moment: {len(t)} rows, share {share}; wanted rows, and 0 <= share < 1")
    rank = int(len(t) * share)
    return int(np.partition(t, rank)[rank])


def before_groups_end(t: NDArray[np.int64], groups: NDArray[Any], cut: int) -> tuple[Rows, Rows]:
    """Rows of groups that begin before the cut, and of the others: no group is torn apart.

    >>> parts = before_groups_end(np.array([1, 4, 5]), np.array([7, 7, 8]), 4)
    >>> [part.tolist() for part in parts]
    [[0, 1], [2]]
    """
    _, member = np.unique(groups, return_inverse=True)
    first = np.full(int(member.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, member, t)
    early = first[member] < cut
    return np.flatnonzero(early), np.flatnonzero(~early)
