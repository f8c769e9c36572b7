"""XXH64: a checksum of files, ten times as quick as a cryptographic one.

It tells accidents, a torn or flipped file, and not malice. Source: Yann Collet, "xxHash fast digest
algorithm", version 0.1.1, section "XXH64 Algorithm Description", with seed 0.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_STRIPE = 32
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)  # fmt: skip


def xxh64(data: NDArray[np.uint8]) -> str:
    """The checksum of bytes, as 16 hexadecimal digits.

    >>> xxh64(np.frombuffer(b"abc", np.uint8)), xxh64(np.zeros(0, np.uint8))
    ('44bc2cf5ad770999', 'ef46db3751d8e999')
    """
    whole = len(data) // _STRIPE * _STRIPE
    words = data[:whole].view(np.uint64)
    return f"{int(_digest(words, data[whole:], np.uint64(len(data)))):016x}"


@njit(cache=True, nogil=True, inline="always")
def _turned(value: Any, left: Any) -> Any:
    return (value << np.uint64(left)) | (value >> np.uint64(64 - left))


@njit(cache=True, nogil=True, inline="always")
def _round(lane: Any, word: Any) -> Any:
    return _turned(lane + word * _P2, 31) * _P1


@njit(cache=True, nogil=True, inline="always")
def _merged(value: Any, lane: Any) -> Any:
    return (value ^ _round(np.uint64(0), lane)) * _P1 + _P4


@njit(cache=True, nogil=True)
def _digest(words: Any, rest: Any, length: Any) -> Any:
    value = _P5
    if len(words):
        a, b, c, d = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        for at in range(0, len(words), 4):
            a = _round(a, words[at])
            b = _round(b, words[at + 1])
            c = _round(c, words[at + 2])
            d = _round(d, words[at + 3])
        value = _turned(a, 1) + _turned(b, 7) + _turned(c, 12) + _turned(d, 18)
        value = _merged(_merged(_merged(_merged(value, a), b), c), d)
    value += length
    at = 0
    while at + 8 <= len(rest):
        word = np.uint64(0)
        for i in range(8):
            word |= np.uint64(rest[at + i]) << np.uint64(8 * i)
        value = _turned(value ^ _round(np.uint64(0), word), 27) * _P1 + _P4
        at += 8
    if at + 4 <= len(rest):
        word = np.uint64(0)
        for i in range(4):
            word |= np.uint64(rest[at + i]) << np.uint64(8 * i)
        value = _turned(value ^ (word * _P1), 23) * _P2 + _P3
        at += 4
    while at < len(rest):
        value = _turned(value ^ (np.uint64(rest[at]) * _P5), 11) * _P1
        at += 1
    value = (value ^ (value >> np.uint64(33))) * _P2
    value = (value ^ (value >> np.uint64(29))) * _P3
    return value ^ (value >> np.uint64(32))
