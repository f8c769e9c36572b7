"""Split by time: what was known before a moment trains, what came after tests."""

from dataclasses import dataclass
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


def learn_stop_test(t: NDArray[np.int64], stop: float, test: float) -> tuple[Rows, Rows, Rows]:
    """Rows to learn from, to stop early by, and to test on: the latest shares, in time order.

    >>> parts = learn_stop_test(np.arange(10), 0.2, 0.3)
    >>> [part.tolist() for part in parts]
    [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]
    """
    until = moment(t, 1 - stop - test)
    learn, stopping, testing = by_time(t, until, max(moment(t, 1 - test), until))
    return learn, stopping, testing


@dataclass(frozen=True, slots=True)
class Fold:
    """One step of forward chaining: rows to learn from, then to stop by, then to judge by."""

    learn: Rows
    stop: Rows
    judge: Rows


def forward_folds(
    t: NDArray[np.int64], folds: int, *, until: int, judged: float = 0.4
) -> list[Fold]:
    """Folds that only look back: what is judged comes after all that was learned from.

    The latest share of the rows before `until` is cut into as many windows; the first half of each
    stops, the second judges, and all before it is learned from (rolling origin; Tashman,
    "Out-of-sample tests of forecasting accuracy", IJF 2000). Cuts are times: rows of one time, and
    so of one slate, stay together.

    Args:
        t: [rows] int64, ms.
        folds: how many windows.
        until: ms; later rows are in no fold.
        judged: share of the rows that the windows take.

    Raises:
        InputError: a fold has a part without rows.

    >>> fold = forward_folds(np.arange(20), 2, until=10)[-1]
    >>> [rows.tolist() for rows in (fold.learn, fold.stop, fold.judge)]
    [[0, 1, 2, 3, 4, 5, 6, 7], [8], [9]]
    """
    if folds < 1 or not 0 < judged < 1:
        raise InputError(f"forward_folds: {folds} folds of share {judged}; wanted 1 or more of 0…1")
    before = t[t < until]
    edges = [1 - judged + judged * i / (2 * folds) for i in range(2 * folds)]
    cuts = [moment(before, edge) for edge in edges] + [until]
    found = []
    for i in range(folds):
        learn, stop, judge, _ = by_time(t, *cuts[2 * i : 2 * i + 3])
        if not (len(learn) and len(stop) and len(judge)):
            raise InputError(
                f"forward_folds: fold {i + 1} of {folds} has {len(learn)} rows to learn from, "
                f"{len(stop)} to stop by, {len(judge)} to judge by; wanted some of each: ask for "
                "fewer folds, or collect more slates"
            )
        found.append(Fold(learn, stop, judge))
    return found


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
