"""WordsOf: which words each slot has, so that they can be taken from it again."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, alike


class WordsOf:
    """Words by slot. What was restored lies as numbers of words until its slot is written to."""

    def __init__(self) -> None:
        self._own: dict[int, tuple[str, ...]] = {}
        self._texts: Sequence[str] = ()
        self._starts = np.zeros(1, np.int64)  # [slots + 1] into the numbers
        self._numbers = np.zeros(0, np.int32)
        self._there = np.zeros(0, np.bool_)  # [slots], restored and not written to since
        self._restored = 0
        self._number_of: dict[str, int] = {}  # of words that were asked for

    def __len__(self) -> int:
        return len(self._own) + self._restored

    def __contains__(self, slot: int) -> bool:
        return slot in self._own or (slot < len(self._there) and bool(self._there[slot]))

    def __setitem__(self, slot: int, words: Iterable[str]) -> None:
        self.pop(slot)
        self._own[slot] = tuple(words)

    def get(self, slot: int) -> tuple[str, ...]:
        """The words of a slot, none if it is unknown."""
        if slot >= len(self._there) or not self._there[slot]:
            return self._own.get(slot, ())
        numbers = self._numbers[self._starts[slot] : self._starts[slot + 1]]
        return tuple(self._texts[number] for number in numbers.tolist())

    def among(
        self, word: str, slots: NDArray[np.int32], first: NDArray[np.int16]
    ) -> NDArray[np.bool_]:
        """[slots] bool: whether each has a word among its `first` so many [slots]."""
        found = np.zeros(len(slots), np.bool_)
        if (number := self._number(word)) >= 0:
            _among(self._starts, self._numbers, self._there, number, slots, first, found)
        if self._own:
            elsewhere = slots >= len(self._there)
            elsewhere[~elsewhere] = ~self._there[slots[~elsewhere]]
            for row in np.flatnonzero(elsewhere).tolist():
                found[row] = word in self._own.get(int(slots[row]), ())[: first[row]]
        return found

    def _number(self, word: str) -> int:
        """A word's place among the texts; -1 for none."""
        number = self._number_of.get(word)
        if number is None:
            number = next((at for at, text in enumerate(self._texts) if text == word), -1)
            self._number_of[word] = number
        return number

    def pop(self, slot: int) -> tuple[str, ...]:
        """Forget a slot; the words it had, none if it is unknown."""
        if slot not in self or slot in self._own:
            return self._own.pop(slot, ())
        had = self.get(slot)
        self._there[slot] = False
        self._restored -= 1
        return had

    def arrays(self, texts: Iterable[str]) -> Arrays:
        """All of it, for `restore` with the same texts; all words are among them."""
        number = {text: at for at, text in enumerate(texts)}
        kept = np.flatnonzero(self._there)
        own = np.fromiter(self._own, np.int64, len(self._own))
        there = np.zeros(max(int(own.max(initial=-1)) + 1, len(self._there)), np.bool_)
        there[kept] = there[own] = True
        lengths = np.zeros(len(there), np.int64)
        lengths[kept] = np.diff(self._starts)[kept]
        lengths[own] = np.fromiter(map(len, self._own.values()), np.int64, len(own))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        numbers = np.empty(int(starts[-1]), np.int32)
        renumbered = np.array([number.get(text, -1) for text in self._texts], np.int32)
        numbers[_places(starts[kept], lengths[kept])] = renumbered[
            self._numbers[_places(self._starts[kept], lengths[kept])]
        ]
        flat = (number[word] for words in self._own.values() for word in words)
        numbers[_places(starts[own], lengths[own])] = np.fromiter(flat, np.int32)
        return {"starts": starts, "numbers": numbers, "there": there}

    def restore(self, arrays: Given, texts: Sequence[str]) -> None:
        """Be what gave these, by the same texts."""
        own = alike("WordsOf", arrays, self.arrays(()))
        self._texts, self._starts, self._numbers = texts, own["starts"], own["numbers"]
        self._there, self._restored = own["there"], int(np.count_nonzero(own["there"]))
        self._number_of.clear()


@njit(cache=True)
def _among(
    starts: NDArray[Any],
    numbers: NDArray[Any],
    there: NDArray[Any],
    number: int,
    slots: NDArray[Any],
    first: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Write whether a word's number is among the first so many words of each slot."""
    for row in range(len(slots)):
        slot = slots[row]
        found[row] = False
        if slot < len(there) and there[slot]:
            start = starts[slot]
            for at in range(start, min(start + first[row], starts[slot + 1])):
                if numbers[at] == number:
                    found[row] = True
                    break


def _places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each start and the places after it, as many as its length, one after the other.

    >>> _places(np.array([5, 9]), np.array([2, 1])).tolist()
    [5, 6, 9]
    """
    ends = np.cumsum(lengths)
    steps = np.arange(int(ends[-1]) if len(ends) else 0)
    places: NDArray[np.int64] = steps + np.repeat(starts - (ends - lengths), lengths)
    return places
