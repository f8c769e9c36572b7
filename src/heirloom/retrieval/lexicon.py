"""Lexicon: which brands, categories, colours and sizes a query names, in words spelt rightly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import words

FIELDS = ("brand", "category", "colour", "size")
MAX_PHRASE = 4
MAX_KEPT = 10_000
"""Texts of which is kept what they name."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a text names.

    Attributes:
        codes: for each of FIELDS that the text names, a bool per vocabulary code: True for those
            meant. A step of a category's path means all below it: «bag» means all bags; several
            steps mean what lies below them all, if anything does.
    """

    codes: dict[str, NDArray[np.bool_]]


class Lexicon:
    """Phrases of a vocabulary's texts. It grows with the vocabulary; nothing else is kept."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._read = dict.fromkeys(FIELDS, 1)  # codes read so far; 0 is none
        self._phrases: dict[str, dict[tuple[str, ...], list[int]]] = {f: {} for f in FIELDS}
        self._codes: dict[str, dict[str, NDArray[np.int32]]] = {f: {} for f in FIELDS}

    def named(self, text: str) -> Named:
        """What a query's text names; a longer phrase is preferred to a shorter one in it."""
        asked = words(text)
        codes = {}
        for field in FIELDS:
            self._catch_up(field)
            if found := self._found(field, asked):
                mask = np.zeros(self._vocabulary.size(field), np.bool_)
                mask[found] = True
                codes[field] = mask
        return Named(codes)

    def codes(self, field: str, text: str) -> NDArray[np.int32]:
        """The codes of one field that a text names, as `named`; kept until the field grows."""
        self._catch_up(field)
        kept = self._codes[field]
        if text not in kept:
            if len(kept) >= MAX_KEPT:
                kept.clear()
            kept[text] = np.unique(self._found(field, words(text))).astype(np.int32)
        return kept[text]

    def _found(self, field: str, asked: list[str]) -> list[int]:
        """Codes of all phrases; of categories «women's boots» means those that are both."""
        phrases, found = self._phrases[field], list[int]()
        start = 0
        while start < len(asked):
            for length in range(min(MAX_PHRASE, len(asked) - start), 0, -1):
                codes = phrases.get(tuple(asked[start : start + length]))
                if codes:
                    both = set(found).intersection(codes) if field == "category" else None
                    found = sorted(both) if both else [*found, *codes]
                    start += length - 1
                    break
            start += 1
        return found

    def _catch_up(self, field: str) -> None:
        texts = self._vocabulary.texts(field)
        if self._read[field] < len(texts):
            self._codes[field].clear()
        phrases = self._phrases[field]
        for code in range(self._read[field], len(texts)):
            steps = texts[code].split("/") if field == "category" else [texts[code]]
            for step in steps:
                if phrase := tuple(words(step)):
                    phrases.setdefault(phrase, []).append(code)
        self._read[field] = max(len(texts), 1)
