"""Words: an inverted index of listings' words, with idf and tolerance for misspelling."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, alike, joined, of_texts, texts_of, within
from heirloom.core.listing import Listing
from heirloom.core.words import words
from heirloom.retrieval.top import fitted
from heirloom.retrieval.words_of import WordsOf

FIELD_WEIGHT = {"brand": 1.0, "category": 1.0, "title": 1.0, "colour": 0.8, "material": 0.8}
HASHTAG_WEIGHT = 0.4
MAX_QUERY_WORDS = 16
SCANNED = 32_768
"""A word of more listings is looked for among the words of each listing asked about."""
_MAX_HASHTAGS = 30
_EXPANSIONS = 4
_LEAST_LIKE = 0.45
"""Dice similarity of trigrams below which an unknown word is not taken for a known one."""


class Words:
    """An inverted index: word → slots with weights. A slot's words are replaced as a whole.

    Postings are appended; those of a slot's former words are known by its older generation,
    and swept when they outnumber the rest.

    Attributes:
        changes: how often the words of a slot were changed.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._postings: dict[str, _Postings] = {}
        self._generation = np.zeros(0, np.int32)
        self._of = WordsOf()  # those of more than hashtags come first
        self._strong = np.zeros(0, np.int16)  # [slots], how many these are
        self._by_gram: dict[str, set[str]] = {}

    def put(self, slot: int, weighted: Mapping[str, float]) -> None:
        """Give a slot its words, in place of those it had."""
        self.changes += 1
        self._generation = fitted(self._generation, slot + 1)
        self._strong = fitted(self._strong, slot + 1)
        self._generation[slot] += 1
        for word in self._of.pop(slot):
            self._release(word)
        for word, weight in weighted.items():
            postings = self._postings.get(word)
            if postings is None:
                postings = self._postings[word] = _Postings()
                self._know(word)
            postings.append(slot, int(self._generation[slot]), weight)
        strong = [word for word, weight in weighted.items() if weight > HASHTAG_WEIGHT]
        self._of[slot] = dict.fromkeys((*strong, *weighted))
        self._strong[slot] = len(strong)

    def _know(self, word: str) -> None:
        for gram in _grams(word):
            self._by_gram.setdefault(gram, set()).add(word)

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        each = list(self._postings.values())
        return {
            "generation": self._generation,
            "strong": self._strong,
            "sizes": np.array([(one.size, one.alive) for one in each], np.int64).reshape(-1, 2),
            **_Postings.columns(each),
            **joined({"words": of_texts(self._postings), "of": self._of.arrays(self._postings)}),
        }

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Words", arrays, self.arrays())
        texts = texts_of(within(own, "words"))
        self._generation, self._strong = own["generation"], own["strong"]
        start = 0
        for word, (size, alive) in zip(texts, own["sizes"].tolist(), strict=True):
            self._postings[word] = _Postings.restored(own, slice(start, start + size), alive)
            self._know(word)
            start += size
        self._of.restore(within(own, "of"), texts)
        self.changes += 1

    def remove(self, slot: int) -> None:
        """Take a slot's words away; one that has none is left as it is."""
        if slot in self._of:
            self.put(slot, {})
            self._of.pop(slot)

    def __len__(self) -> int:
        return len(self._of)

    def alive(self, word: str) -> int:
        """How many slots have a word."""
        return self._postings[word].alive if word in self._postings else 0

    def having(
        self, word: str, most: int | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Slots that have a word, each once, and the word's weight there.

        Args:
            word: the word.
            most: so many of them at most, evenly taken; all by default.
        """
        if word not in self._postings:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        return self._postings[word].live(self._generation, most)

    def strongly(self, word: str, slots: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[slots] bool: whether each has a word, and not by its hashtags alone.

        Args:
            word: the word.
            slots: few, each once, of those that have words. Their number bounds the time.
        """
        postings = self._postings.get(word)
        if postings is None:
            return np.zeros(len(slots), np.bool_)
        if postings.size <= SCANNED:
            return postings.strongly(self._generation, slots)
        return self._of.among(word, slots, self._strong[slots])

    def beginning(self, start: str) -> list[str]:
        """Known words that begin with two letters or more."""
        return [word for word in self._by_gram.get(f"<{start[:2]}", ()) if word.startswith(start)]

    def match(self, text: str, size: int) -> NDArray[np.float64]:
        """[size] float64: idf-weighted share of a query's words that each slot has, 0 … 1.

        A word that no listing has stands for the known words that begin with it, or share most
        of its trigrams.
        """
        asked = list(dict.fromkeys(words(text)))[:MAX_QUERY_WORDS]
        total = np.zeros(size)
        whole = 0.0
        for word in asked:
            alternatives = [(word, 1.0)] if word in self._postings else self.like(word)
            idf = max((self._idf(other) for other, _ in alternatives), default=self._idf(word))
            whole += idf
            if len(alternatives) == 1 and alternatives[0][0] in self._postings:
                of = self._postings[alternatives[0][0]]
                of.add(total, self._generation, idf * alternatives[0][1])
                continue
            part = np.zeros(size)
            for other, likeness in alternatives:
                slots, weights = self.having(other)
                within = slots < size
                # A slot stands once among the live postings of a word: no `maximum.at` needed.
                slots, worth = slots[within], weights[within] * (idf * likeness)
                part[slots] = np.maximum(part[slots], worth)
            total += part
        total /= max(whole, 1e-12)
        return total

    def _idf(self, word: str) -> float:
        """log(1 + (N - n + 0.5) / (n + 0.5)): Robertson and Zaragoza 2009, BM25, kept positive."""
        n = self.alive(word)
        return math.log1p((len(self._of) - n + 0.5) / (n + 0.5))

    def like(self, word: str) -> list[tuple[str, float]]:
        """Known words that a word may stand for, with likeness 0 … 1; the likest first."""
        grams = _grams(word)
        shared: dict[str, int] = {}
        for gram in grams:
            for other in self._by_gram.get(gram, ()):
                shared[other] = shared.get(other, 0) + 1
        likeness = {
            other: 0.9
            if len(word) >= 3 and other.startswith(word)
            else 2 * count / (len(grams) + len(_grams(other)))
            for other, count in shared.items()
        }
        close = [(other, like) for other, like in likeness.items() if like >= _LEAST_LIKE]
        return sorted(close, key=lambda pair: (-pair[1], pair[0]))[:_EXPANSIONS]

    def _release(self, word: str) -> None:
        postings = self._postings[word]
        postings.alive -= 1
        if postings.alive == 0:
            del self._postings[word]
            for gram in _grams(word):
                self._by_gram[gram].discard(word)
        elif postings.size > 64 and postings.alive * 2 < postings.size:
            postings.sweep(self._generation)


class _Postings:
    """Slots of one word, with the slot's generation at the time and the weight."""

    def __init__(self) -> None:
        self.alive = 0
        self.size = 0
        self._slots = np.zeros(4, np.int32)
        self._generations = np.zeros(4, np.int32)
        self._weights = np.zeros(4, np.float32)

    @staticmethod
    def columns(each: "Sequence[_Postings]") -> Arrays:
        """Those of many, one after the other."""
        empty = _Postings()
        return {
            "slots": np.concatenate([empty._slots[:0], *(p._slots[: p.size] for p in each)]),
            "generations": np.concatenate(
                [empty._generations[:0], *(p._generations[: p.size] for p in each)]
            ),
            "weights": np.concatenate([empty._weights[:0], *(p._weights[: p.size] for p in each)]),
        }

    @classmethod
    def restored(cls, columns: Given, part: slice, alive: int) -> "_Postings":
        """One of those that `columns` gave."""
        postings = cls.__new__(cls)
        postings.alive, postings.size = alive, part.stop - part.start
        postings._slots, postings._weights = columns["slots"][part], columns["weights"][part]
        postings._generations = columns["generations"][part]
        return postings

    def append(self, slot: int, generation: int, weight: float) -> None:
        if self.size == len(self._slots):
            self._slots = fitted(self._slots, self.size + 1)
            self._generations = fitted(self._generations, self.size + 1)
            self._weights = fitted(self._weights, self.size + 1)
        self._slots[self.size] = slot
        self._generations[self.size] = generation
        self._weights[self.size] = weight
        self.size += 1
        self.alive += 1

    def live(
        self, generation: NDArray[np.int32], most: int | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Slots and weights of those whose slot still has the word; evenly taken, at most so many.

        Where these are fewer than `most` by what is no longer valid, they are not filled up.
        """
        taken = slice(0, self.size, max(-(-self.size // most), 1) if most else 1)
        slots = self._slots[taken]
        valid = generation[slots] == self._generations[taken]
        return slots[valid], self._weights[taken][valid]

    def strongly(
        self, generation: NDArray[np.int32], slots: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """See Words.strongly."""
        found: NDArray[np.bool_] = _strongly(
            self._slots[: self.size], self._generations, self._weights, generation, slots
        )
        return found

    def add(self, total: NDArray[np.float64], generation: NDArray[np.int32], factor: float) -> None:
        """To a sum [slots] the weight of each slot that still has the word, times a factor."""
        slots, generations = self._slots[: self.size], self._generations
        _add(total, slots, generations, self._weights, generation, factor)

    def sweep(self, generation: NDArray[np.int32]) -> None:
        """Drop what is no longer valid."""
        valid = generation[self._slots[: self.size]] == self._generations[: self.size]
        self._slots = self._slots[: self.size][valid]
        self._generations = self._generations[: self.size][valid]
        self._weights = self._weights[: self.size][valid]
        self.size = len(self._slots)


@njit(cache=True)
def _add(
    total: NDArray[Any],
    slots: NDArray[Any],
    generations: NDArray[Any],
    weights: NDArray[Any],
    generation: NDArray[Any],
    factor: float,
) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if slot < len(total) and generation[slot] == generations[i]:
            total[slot] += weights[i] * np.float32(factor)


@njit(cache=True)
def _strongly(
    posted: NDArray[Any],
    generations: NDArray[Any],
    weights: NDArray[Any],
    generation: NDArray[Any],
    slots: NDArray[Any],
) -> NDArray[Any]:
    """[slots] bool: which of these distinct slots stand in valid postings of some weight.

    One walk through the postings, beside an open-addressing table of the slots asked about.
    """
    size = 4
    while size < 2 * len(slots):
        size *= 2
    table, found = np.full(size, -1, np.int64), np.zeros(len(slots), np.bool_)
    for row in range(len(slots)):
        at = (slots[row] * 0x9E3779B1 >> 7) & (size - 1)
        while table[at] >= 0:
            at = (at + 1) & (size - 1)
        table[at] = row
    least = np.float32(HASHTAG_WEIGHT)
    for i in range(len(posted)):
        at = (posted[i] * 0x9E3779B1 >> 7) & (size - 1)
        while table[at] >= 0 and slots[table[at]] != posted[i]:
            at = (at + 1) & (size - 1)
        if table[at] >= 0 and weights[i] > least and generation[posted[i]] == generations[i]:
            found[table[at]] = True
    return found


def weighted_words(listing: Listing) -> dict[str, float]:
    """Each word of a listing with the weight of the best field it stands in.

    Descriptions are left out: that is where other brands' names are stuffed.
    """
    weighted: dict[str, float] = {}
    for tag in listing.hashtags[:_MAX_HASHTAGS]:
        weighted.update(dict.fromkeys(words(tag), HASHTAG_WEIGHT))
    for field, weight in sorted(FIELD_WEIGHT.items(), key=lambda pair: pair[1]):
        weighted.update(dict.fromkeys(words(getattr(listing, field)), weight))
    return weighted


def _grams(word: str) -> set[str]:
    padded = f"<{word}>"
    return {padded[i : i + 3] for i in range(len(padded) - 2)}
