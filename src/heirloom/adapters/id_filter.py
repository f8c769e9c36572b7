"""A filter before the tree of ids: most of what is looked for was never there.

A blocked Bloom filter (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters",
2007): the bits of a digest lie in one word, so that asking costs one look into memory, and the tree
one for each of its levels. What it does not know is not in the tree; what it knows may be.
"""

import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_WORDS = 1 << 21
"""16 MiB, the most that is held: of 8 million ids one in a hundred is looked for in vain, and of
many more most are, as without a filter. Memory is touched as ids come."""
_BITS = 4
"""Bits of an id, six of the digest's each."""


class IdFilter:
    """Which digests may be in the tree. Bits are set and never cleared; safe in many threads."""

    def __init__(self, words: int = _WORDS) -> None:
        self._words = np.zeros(words, np.uint64)
        self._lock = threading.Lock()
        self.upto: bytes | None = b""
        """Digests of the tree up to this one were added; None: all were."""

    def add(self, digests: Iterable[bytes]) -> None:
        """Know digests of 16 bytes."""
        at, bits = self._bits(digests)
        with self._lock:  # two that set bits of one word at once would lose one's
            np.bitwise_or.at(self._words, at, bits)

    def may_hold(self, digests: Iterable[bytes]) -> NDArray[np.bool_]:
        """[digests] bool: False where a digest was never added."""
        at, bits = self._bits(digests)
        held: NDArray[np.bool_] = (self._words[at] & bits) == bits
        return held

    def _bits(self, digests: Iterable[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """[digests] each: the word, and its bits."""
        place, spread = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2).T
        bits = np.zeros(len(spread), np.uint64)
        for shift in range(0, 6 * _BITS, 6):
            bits |= np.uint64(1) << (spread >> np.uint64(shift) & np.uint64(63))
        return place % np.uint64(len(self._words)), bits
