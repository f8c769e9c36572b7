"""Contributions: what each group of features adds to a score, by leaving it out.

    contribution [listing, group] = score - score with the group's columns as is usual

Usual is what stands in the middle of the candidates of the same request, so a contribution says
how a listing fares by this group compared with the others that might have been shown. The method is
the occlusion of Covert, Lundberg & Lee, "Explaining by removing", JMLR 2021, section 3.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

SURE = (0.1, 0.2, 0.2)
"""Of the sum of all contributions, without their signs: so far above the fourth must the strongest,
the second and the third group stand to be told. Compared with other candidates than the usual one
they move by as much; the strongest would have to be passed by three. Set on one simulated
marketplace."""
Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""[rows, features] float32 -> [rows] float32, each row by itself."""


def usual(values: NDArray[np.float32], codes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[features] float32: the middle value of each column that some row has.

    The lower median of what is not missing; NaN where more than half is missing. Of a column of
    codes, the most frequent one, the smallest of several.

    Args:
        values: [candidates, features] float32, NaN = missing.
        codes: [features] bool, columns whose values have no order.

    >>> rows = np.array([[1, 7, 2], [5, 7, np.nan], [3, 9, np.nan]], np.float32)
    >>> usual(rows, np.array([False, True, False])).tolist()
    [3.0, 7.0, nan]
    """
    if not len(values):
        return np.full(values.shape[1], np.nan, np.float32)
    # Much is said of the person or the moment alone: there is nothing to put in order.
    middle: NDArray[np.float32] = values[0].copy()
    differs, ordered = _differing(np.ascontiguousarray(values).view(np.int32))
    of_column = ordered.view(np.float32)
    of_column.sort(axis=1)  # NaN comes last
    _middles(of_column, codes, differs, middle)
    return middle


@njit(cache=True)
def _differing(bits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The columns whose rows are not all of the same bits, and these columns, each in a row."""
    rows, columns = bits.shape
    differ = np.zeros(columns, np.int32)
    for row in range(1, rows):
        for column in range(columns):
            differ[column] |= bits[row, column] ^ bits[0, column]
    found = np.flatnonzero(differ)
    lying = np.empty((len(found), rows), np.int32)
    for row in range(rows):
        for place in range(len(found)):
            lying[place, row] = bits[row, found[place]]
    return found, lying


@njit(cache=True)
def _middles(
    ordered: NDArray[Any], codes: NDArray[Any], columns: NDArray[Any], middle: NDArray[Any]
) -> None:
    """Write what is usual of each of these columns, whose values are in order, NaN last."""
    rows = ordered.shape[1]
    for place in range(len(columns)):
        values, column = ordered[place], columns[place]
        known = rows
        while known > 0 and np.isnan(values[known - 1]):
            known -= 1
        if 2 * known < rows:
            middle[column] = np.nan
        elif not codes[column]:
            middle[column] = values[(known - 1) // 2]
        else:
            first = most = 0
            for at in range(known):
                if values[at] != values[first]:
                    first = at
                if at - first >= most:
                    most = at - first + 1
                    middle[column] = values[first]


def median(values: NDArray[np.float32]) -> float:
    """As np.median of at least one value, which takes five times as long for some hundreds.

    >>> median(np.array([3, 1, 2, 7], np.float32))
    2.5
    """
    ordered, half = np.sort(values), len(values) // 2
    if np.isnan(ordered[-1]) or len(values) % 2:
        return float(ordered[-1] if np.isnan(ordered[-1]) else ordered[half])
    return float((ordered[half - 1] + ordered[half]) / np.float32(2))


def contributions(
    score: Score,
    values: NDArray[np.float32],
    instead: NDArray[np.float32],
    group_of: NDArray[np.int64],
    groups: int,
) -> NDArray[np.float32]:
    """[listings, groups] float32: score - score without the group. One call of `score`.

    Exactly 0 where the group's values are the usual ones, and where a score is no finite number.
    A group that matters only together with another counts in both, so the sum over groups is not
    the score's distance from the usual listing's, unless the score is additive in groups.

    Args:
        score: see there.
        values: [listings, features] float32, NaN = missing.
        instead: [features] float32, what a column is without its group: `usual`.
        group_of: [features] int64, in 0..groups.
        groups: how many.

    >>> score = lambda rows: rows[:, 0] * 2 + rows[:, 1]
    >>> rows = np.array([[1, 5], [3, 4]], np.float32)
    >>> contributions(score, rows, np.array([1, 1], np.float32), np.array([0, 1]), 2).tolist()
    [[0.0, 4.0], [4.0, 3.0]]
    """
    found = np.zeros((len(values), groups), np.float32)
    differs = (values != instead) & ~(np.isnan(values) & np.isnan(instead))
    members = group_of == np.arange(groups)[:, None]
    rows, of = np.nonzero((differs[:, None] & members).any(axis=2))
    if not len(rows):
        return found
    changed = np.where(members[of], instead, values[rows])
    scores = score(np.concatenate([values, changed]))
    found[rows, of] = lost(scores[rows], scores[len(values) :])
    return found


def lost(scores: NDArray[np.float32], without: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is lost, score - score without, of one shape; 0 where that is no finite number.

    >>> lost(np.array([2, np.inf], np.float32), np.array([3, np.inf], np.float32)).tolist()
    [-1.0, 0.0]
    """
    with np.errstate(invalid="ignore"):
        less = scores - without
    return np.where(np.isfinite(less), less, np.float32(0))


def telling(
    contributions: NDArray[np.float32], *, sure: tuple[float, ...] = SURE
) -> NDArray[np.bool_]:
    """[listings, groups] bool: the groups that are surely among a listing's strongest.

    Each adds to the score, and by a margin more than the first that may not be told; so at most as
    many as there are margins, and none where many groups do a little each.

    Args:
        contributions: [listings, groups].
        sure: the margins of the strongest, the second and so on; see SURE.

    >>> telling(np.array([[3.0, 0.1, -1.0, 0.2, 0.0]], np.float32)).tolist()
    [[True, False, False, False, False]]
    """
    whole = np.abs(contributions).sum(axis=1)
    found: NDArray[np.bool_] = _telling(contributions, whole, np.array(sure, np.float32))
    return found


@njit(cache=True)
def _telling(contributions: NDArray[Any], whole: NDArray[Any], sure: NDArray[Any]) -> NDArray[Any]:
    """As `telling`, by the sum of each listing's contributions without signs."""
    listings, groups = contributions.shape
    found = np.zeros((listings, groups), np.bool_)
    first = np.empty(len(sure) + 1, np.int64)
    for i in range(listings):
        kept = 0
        for group in range(groups):  # the strongest in order, of equals the first
            place = kept
            while place > 0 and contributions[i, group] > contributions[i, first[place - 1]]:
                place -= 1
            if place == len(first):
                continue
            kept = min(kept + 1, len(first))
            for later in range(kept - 1, place, -1):
                first[later] = first[later - 1]
            first[place] = group
        rest = np.float32(0.0)
        if groups > len(sure):
            rest = max(contributions[i, first[len(sure)]], rest)
        for place in range(min(len(sure), groups)):
            above = contributions[i, first[place]] - rest
            found[i, first[place]] = above > 0 and above >= sure[place] * whole[i]
    return found
