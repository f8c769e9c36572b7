"""Keys of any size as small numbers, so that arrays can be indexed by them."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

ANY = np.iinfo(np.int64).min
_CLOSE = 1 << 20


class Numbering(NamedTuple):
    """Numbers from 1 to `largest`, one a key; 0 stands for a key that has none.

    Where keys lie close together, key - low + 1 is the number, and the map is empty. Else it is
    an open-addressing one: `numbers` (0: an empty place), and the `keys` they belong to.
    """

    low: int
    largest: int
    numbers: NDArray[np.int32]
    keys: NDArray[np.int64]


def numbering_of(keys: NDArray[np.int64], *, least: int = ANY) -> Numbering:
    """A numbering of these keys.

    Args:
        keys: [rows] int64.
        least: keys below it get no number.
    """
    keys = np.ascontiguousarray(keys, np.int64)
    wanted = keys if least == ANY else keys[keys >= least]
    nothing = np.zeros(0, np.int32), np.zeros(0, np.int64)
    if len(wanted) == 0:
        return Numbering(0, 0, *nothing)
    low, high = int(wanted.min()), int(wanted.max())
    if high - low < max(4 * len(wanted), _CLOSE):
        return Numbering(low, high - low + 1, *nothing)
    numbers, known, count = _map(wanted)
    return Numbering(0, int(count), numbers, known)


def numbers_of(numbering: Numbering, keys: NDArray[np.int64]) -> NDArray[np.int32]:
    """[rows] int32 the number of each key, 0 where it has none.

    >>> numbers_of(numbering_of(np.array([70, -1, 72]), least=1), np.array([70, 72, -1])).tolist()
    [1, 3, 0]
    """
    out = np.empty(len(keys), np.int32)
    _look_up(numbering, np.ascontiguousarray(keys, np.int64), out)
    return out


@njit(nogil=True)
def _place(numbers: Array, known: Array, key: Any) -> Any:
    """Where a key stands in the map, or would."""
    mask = len(numbers) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    at = np.int64((mixed ^ (mixed >> np.uint64(31))) & np.uint64(mask))
    while numbers[at] != 0 and known[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True)
def _look_up(numbering: Numbering, keys: Array, out: Array) -> None:
    if len(numbering.keys) > 0:
        for i in range(len(keys)):
            out[i] = numbering.numbers[_place(numbering.numbers, numbering.keys, keys[i])]
        return
    low, largest = np.uint64(numbering.low), np.uint64(numbering.largest)
    for i in range(len(keys)):
        offset = np.uint64(keys[i]) - low
        out[i] = np.int64(offset) + 1 if offset < largest else 0


@njit(cache=True, nogil=True)
def _map(keys: Array) -> tuple[Array, Array, int]:
    numbers, known = np.zeros(1 << 10, np.int32), np.zeros(1 << 10, np.int64)
    count = 0
    for i in range(len(keys)):
        at = _place(numbers, known, keys[i])
        if numbers[at] == 0:
            count += 1
            numbers[at], known[at] = count, keys[i]
        if 2 * count > len(numbers):
            wider, wider_known = (
                np.zeros(2 * len(numbers), np.int32),
                np.zeros(2 * len(numbers), np.int64),
            )
            for j in range(len(numbers)):
                if numbers[j] != 0:
                    at = _place(wider, wider_known, known[j])
                    wider[at], wider_known[at] = numbers[j], known[j]
            numbers, known = wider, wider_known
    return numbers, known, count
