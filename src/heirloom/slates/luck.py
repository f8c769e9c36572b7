"""Luck: numbers that look drawn and follow from a key, so that a slate can be made again."""

import hashlib
import math
from typing import Any

import numpy as np
from numba import njit

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def key_of(text: str) -> int:
    """64 bits of a text, such as a slate's id.

    >>> key_of("s1") == key_of("s1") != key_of("s2")
    True
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@njit(cache=True, nogil=True)
def mixed(bits: Any) -> Any:
    """64 bits mixed well, uint64 to uint64, by SplitMix64.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    z = np.uint64(bits) + _STEP
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def gumbel(key: Any, name: int, place: int) -> float:
    """A draw of Gumbel(0, 1), -log(-log u), that follows from a key, a candidate and a place."""
    bits = mixed(mixed(np.uint64(key) ^ mixed(np.uint64(name))) ^ np.uint64(place))
    u = (np.float64(bits >> np.uint64(11)) + 0.5) * 2.0**-53
    return -math.log(-math.log(u))
