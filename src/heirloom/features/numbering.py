"""Keys of any size as small numbers, so that arrays can be indexed by them."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


def numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Each key's number, from 1 in the order of first appearance, and how many numbers there are.

    Keys of 0 or less are unknown: their number is 0.

    >>> numbers, count = numbered(np.array([70, -1, 9, 70]))
    >>> numbers.tolist(), count
    ([1, 0, 2, 1], 2)
    """
    numbers = np.empty(len(keys), np.int32)
    size = 1 << max(10, (2 * len(keys) - 1).bit_length())
    count = _number(keys, np.zeros(size, np.int64), np.zeros(size, np.int32), numbers)
    return numbers, int(count)


@njit(cache=True, nogil=True)
def _number(keys: Array, known: Array, number: Array, out: Array) -> int:
    mask = len(known) - 1
    count = 0
    for i in range(len(keys)):
        key = keys[i]
        if key <= 0:
            out[i] = 0
            continue
        mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
        at = np.int64((mixed ^ (mixed >> np.uint64(31))) & np.uint64(mask))
        while known[at] != 0 and known[at] != key:
            at = (at + 1) & mask
        if known[at] == 0:
            count += 1
            known[at] = key
            number[at] = count
        out[i] = number[at]
    return count
