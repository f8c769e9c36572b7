"""The best k of an array, with ties broken by row, so that equal scores give one order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def best(scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Rows of the k highest scores, best first; ties by lower row. No NaN.

    >>> best(np.array([1.0, 3.0, 3.0, 2.0]), 3)
    array([1, 2, 3])
    """
    n = len(scores)
    k = min(max(k, 0), n)
    if k == 0:
        return np.zeros(0, np.intp)
    if k < n:
        threshold = np.partition(scores, n - k)[n - k]
        above = np.flatnonzero(scores > threshold)
        level = np.flatnonzero(scores == threshold)[: k - len(above)]
        rows = np.sort(np.concatenate([above, level]))
    else:
        rows = np.arange(n)
    return rows[np.argsort(-scores[rows], kind="stable")]


def at_rows(array: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """[rows] of an array [size]; 0 for rows past its end.

    >>> at_rows(np.array([7, 8]), np.array([1, 5])).tolist()
    [8, 0]
    """
    inside = rows < len(array)
    if inside.all():
        rowwise: NDArray[Any] = array[rows]
        return rowwise
    found = np.zeros(len(rows), array.dtype)
    found[inside] = array[rows[inside]]
    return found


def fitted(array: NDArray[Any], size: int, fill: object = 0) -> NDArray[Any]:
    """The array itself if its first axis is long enough, else a longer copy filled with `fill`.

    >>> fitted(np.array([7]), 1)
    array([7])
    """
    if size <= len(array):
        return array
    longer = np.full((max(size, 2 * len(array), 64), *array.shape[1:]), fill, array.dtype)
    longer[: len(array)] = array
    return longer
