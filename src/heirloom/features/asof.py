"""Point-in-time join: for each moment asked, the last row of its key that was there by then.

The rows are never sorted. The moments are (they are fewer), and each row is led to the first
moment of its key that it is not too late for; then each key hands the best row on to its later
moments. One pass over the rows' keys and times, whatever their order.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.features.numbering import Numbering, numbering_of, numbers_of

Array = NDArray[Any]

NONE = -1
"""No row: the key has none, or only later ones."""


def last_rows(
    keys: NDArray[np.int64],
    t: NDArray[np.int64],
    asked_keys: NDArray[np.int64],
    asked_t: NDArray[np.int64],
    *,
    sequence: NDArray[np.int64] | None = None,
    workers: int = 1,
) -> NDArray[np.int64]:
    """For each moment asked, which row is the last of its key with a time at or before it.

    Args:
        keys: [rows] int64, any values, in any order.
        t: [rows] ms.
        asked_keys: [asked] int64.
        asked_t: [asked] ms.
        sequence: [rows] which of two rows of one key and time is the later one: the one with the
            greater number, and of those the one further down. None: the one further down.
        workers: threads, each of which takes a stretch of the rows.

    Returns:
        [asked] int64, places in `keys`, in the order asked; NONE where there is no such row. No
        moment is dropped: a key without rows, or with later rows only, is a cold start.

    Raises:
        ShapeError: if columns differ in length.

    >>> row = last_rows(np.array([7, 7, 8]), np.array([10, 20, 30]),
    ...                 np.array([7, 7, 7, 8]), np.array([9, 19, 20, 29]))
    >>> row.tolist()
    [-1, 0, 1, -1]
    """
    _check(keys, t, sequence, asked_keys, asked_t)
    numbering = numbering_of(np.ascontiguousarray(asked_keys, np.int64))
    moments = _moments(numbering, asked_keys, asked_t)
    keys, t = np.ascontiguousarray(keys, np.int64), np.ascontiguousarray(t, np.int64)
    created = (
        np.zeros(0, np.int64) if sequence is None else np.ascontiguousarray(sequence, np.int64)
    )
    edges = np.linspace(0, len(keys), max(workers, 1) + 1).astype(np.int64).tolist()

    def landed(stretch: tuple[int, int]) -> tuple[Array, Array]:
        best = np.full(len(asked_t), NONE, np.int64)
        best_t = np.full(len(asked_t), _NEVER, np.int64)
        numbers = numbers_of(numbering, keys[slice(*stretch)])
        _land(numbers, t, created, stretch[0], moments.begins, moments.t, best, best_t)
        return best, best_t

    with ThreadPoolExecutor(len(edges) - 1) as pool:
        bests = list(pool.map(landed, pairwise(edges)))
    rows = np.empty(len(asked_t), np.int64)
    (best, best_t), *others = bests
    for other, other_t in others:
        _later(created, best, best_t, other, other_t)
    _hand_on(best, moments.begins, moments.places, rows)
    return rows


def asof(
    columns: Sequence[NDArray[np.float32]],
    keys: NDArray[np.int64],
    t: NDArray[np.int64],
    asked_keys: NDArray[np.int64],
    asked_t: NDArray[np.int64],
    *,
    sequence: NDArray[np.int64] | None = None,
    workers: int = 1,
) -> NDArray[np.float32]:
    """[asked, features] float32: the values of the last row at each moment (`last_rows`).

    NaN: there is no such row, or it holds NaN.

    Args:
        columns: features columns [rows] float32.
        keys: as in `last_rows`, and so are the others.
        t: [rows] ms.
        asked_keys: [asked].
        asked_t: [asked] ms.
        sequence: [rows] or None.
        workers: threads.

    Raises:
        ShapeError: if columns differ in length.
    """
    wrong = [list(column.shape) for column in columns if column.shape != keys.shape]
    if wrong:
        raise ShapeError(f"asof: columns of shape {wrong}; wanted [rows={len(keys)}]")
    rows = last_rows(keys, t, asked_keys, asked_t, sequence=sequence, workers=workers)
    return taken(columns, rows, workers=workers)


def taken(
    columns: Sequence[NDArray[np.float32]], rows: NDArray[np.int64], *, workers: int = 1
) -> NDArray[np.float32]:
    """[asked, features] float32: the values in these rows; NaN where the row is NONE.

    Args:
        columns: features columns [rows] float32.
        rows: [asked] int64, as `last_rows` gives them.
        workers: threads, each of which takes a stretch of the rows asked.
    """
    out = np.empty((len(rows), len(columns)), np.float32)
    edges = np.linspace(0, len(rows), max(workers, 1) + 1).astype(np.int64).tolist()

    def take(stretch: tuple[int, int]) -> None:
        for j, column in enumerate(columns):
            _take(column, rows, *stretch, out[:, j])

    with ThreadPoolExecutor(len(edges) - 1) as pool:
        list(pool.map(take, pairwise(edges)))
    return out


def _check(
    keys: Array, t: Array, sequence: Array | None, asked_keys: Array, asked_t: Array
) -> None:
    wanted = {
        "t": (t.shape, keys.shape),
        "sequence": (keys.shape if sequence is None else sequence.shape, keys.shape),
        "asked_t": (asked_t.shape, asked_keys.shape),
    }
    wrong = [
        f"{name} has shape {list(got)}, its keys {list(of_keys)}"
        for name, (got, of_keys) in wanted.items()
        if got != of_keys
    ]
    if wrong:
        raise ShapeError(f"last_rows: {'; '.join(wrong)}; wanted one length")


_NEVER = np.iinfo(np.int64).min


class _Moments(NamedTuple):
    """What is asked, by key and time.

    begins: [keys + 2] where each key's moments begin, by its number. t: [asked]. places: [asked]
    where each stood as it was asked.
    """

    begins: Array
    t: Array
    places: Array


def _moments(numbering: Numbering, asked_keys: Array, asked_t: Array) -> _Moments:
    numbers = numbers_of(numbering, asked_keys)
    by_time = np.argsort(asked_t, kind="stable")
    begins = np.zeros(numbering.largest + 2, np.int32)  # small: it is read for each row
    np.cumsum(np.bincount(numbers, minlength=numbering.largest + 1), out=begins[1:])
    places = np.empty(len(asked_t), np.int64)
    _counting_sort(numbers, by_time, begins.copy(), places)
    return _Moments(begins, asked_t[places], places)


@njit(cache=True, nogil=True)
def _counting_sort(numbers: Array, order: Array, ends: Array, places: Array) -> None:
    for i in range(len(order)):
        number = numbers[order[i]]
        places[ends[number]] = order[i]
        ends[number] += 1


@njit(nogil=True)
def _is_later(sequence: Array, row: Any, t: Any, best: Any, best_t: Any) -> Any:
    """Whether a row comes after the best so far, all of whose rows stand before it."""
    if t != best_t or best < 0 or len(sequence) == 0:
        return t >= best_t
    return sequence[row] >= sequence[best]


@njit(cache=True, nogil=True)
def _land(
    numbers: Array,
    t: Array,
    sequence: Array,
    begin: int,
    begins: Array,
    moments: Array,
    best: Array,
    best_t: Array,
) -> None:
    """Lead each row of a stretch to the first moment of its key that is not before it.

    numbers: [rows of the stretch], which begins at row `begin`. best, best_t: [asked] the last
    row that came to each moment, and its time.
    """
    for i in range(begin, begin + len(numbers)):
        number = numbers[i - begin]
        at, behind, now = np.int64(begins[number]), np.int64(begins[number + 1]), t[i]
        left = behind - at
        while left > 0:
            half = left >> 1
            if moments[at + half] < now:
                at += half + 1
                left -= half + 1
            else:
                left = half
        if at < behind and _is_later(sequence, i, now, best[at], best_t[at]):
            best[at] = i
            best_t[at] = now


@njit(cache=True, nogil=True)
def _later(sequence: Array, best: Array, best_t: Array, other: Array, other_t: Array) -> None:
    """Of what two stretches of rows left at each moment, the later; `other` came second."""
    for j in range(len(best)):
        if other[j] >= 0 and _is_later(sequence, other[j], other_t[j], best[j], best_t[j]):
            best[j] = other[j]
            best_t[j] = other_t[j]


@njit(cache=True, nogil=True)
def _hand_on(best: Array, begins: Array, places: Array, rows: Array) -> None:
    """To each moment the best row that came to it or to an earlier moment of its key."""
    for number in range(len(begins) - 1):
        last = np.int64(NONE)
        for j in range(begins[number], begins[number + 1]):
            if best[j] >= 0:  # later than all that came to earlier moments
                last = best[j]
            rows[places[j]] = last


@njit(cache=True, nogil=True)
def _take(column: Array, rows: Array, begin: int, end: int, out: Array) -> None:
    for i in range(begin, end):
        out[i] = column[rows[i]] if rows[i] >= 0 else np.nan
