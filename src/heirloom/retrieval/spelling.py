"""Spelling: which known words a slip of the fingers makes another of."""

from collections.abc import Iterable

import numpy as np

from heirloom.retrieval.lexical import ONE_EDIT_FROM, TWO_EDITS_FROM
from heirloom.retrieval.top import fitted

MAX_KEPT = 10_000
"""Words of which is kept what they are near to."""


class Spelling:
    """Words that are spelt rightly. It only grows."""

    def __init__(self) -> None:
        self._words: dict[str, None] = {}
        self._in_order: list[str] = []
        self._letters = np.zeros(0, np.uint32)
        self._lengths = np.zeros(0, np.int16)
        self._near: dict[str, tuple[str, ...]] = {}

    def __contains__(self, word: str) -> bool:
        return word in self._words

    def add(self, words: Iterable[str]) -> None:
        """Know these words too."""
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        if not new:
            return
        begin = len(self._in_order)
        self._words.update(dict.fromkeys(new))
        self._in_order += new
        self._letters = fitted(self._letters, len(self._in_order))
        self._lengths = fitted(self._lengths, len(self._in_order))
        for i, word in enumerate(new, begin):
            self._letters[i], self._lengths[i] = _letters(word), len(word)
        self._near.clear()

    def near(self, word: str) -> tuple[str, ...]:
        """The known words that fewest slips make it of, in alphabetical order.

        As many slips are forgiven as `lexical` does: none below ONE_EDIT_FROM letters, two from
        TWO_EDITS_FROM on. None for a number.
        """
        found = self._near.get(word)
        if found is None:
            if len(self._near) >= MAX_KEPT:
                self._near.clear()
            found = self._near[word] = tuple(sorted(self._nearest(word)))
        return found

    def _nearest(self, word: str) -> list[str]:
        if len(word) < ONE_EDIT_FROM or word.isdecimal():
            return []
        most = 2 if len(word) >= TWO_EDITS_FROM else 1
        size = len(self._in_order)
        # A slip changes at most two of the letters that a word is made of, and its length by one.
        others = np.bitwise_count(self._letters[:size] ^ np.uint32(_letters(word)))
        close = others <= 2 * most
        close &= np.abs(self._lengths[:size] - len(word)) <= most
        by_slips: dict[int, list[str]] = {}
        for i in np.flatnonzero(close).tolist():
            slips = edits(word, self._in_order[i], most)
            by_slips.setdefault(slips, []).append(self._in_order[i])
        return next((by_slips[slips] for slips in range(1, most + 1) if slips in by_slips), [])


def edits(a: str, b: str, most: int) -> int:
    """How many slips make one word of the other: a letter more, less, another, or two exchanged.

    Optimal string alignment: no letter is touched twice. Source: Damerau, "A technique for
    computer detection and correction of spelling errors", CACM 7 (1964); Boytsov, "Indexing
    methods for approximate dictionary searching", JEA 16 (2011), section 2.1.

    Args:
        a: one word.
        b: the other.
        most: where more are needed, `most` + 1 is given.

    >>> edits("zarra", "zara", 1), edits("cahnel", "chanel", 1), edits("prada", "zara", 1)
    (1, 1, 2)
    """
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i in range(1, len(a) + 1):
        earlier, before, row = before, row, [i]
        for j in range(1, len(b) + 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most and min(before) > most:
            return most + 1
    return min(row[-1], most + 1)


def _letters(word: str) -> int:
    """Which letters a word is made of, one bit for each of 32 sorts."""
    bits = 0
    for letter in word:
        bits |= 1 << (ord(letter) & 31)
    return bits
