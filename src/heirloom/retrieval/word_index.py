"""WordIndex: the embedded LexicalIndex, over the inverted index of `words`.

It forgives a misspelt word by shared trigrams where other indices count edits, so it finds most
of what one edit explains, not all.
"""

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.kept import Arrays, Given, alike, joined, of_texts, texts_of, within
from heirloom.retrieval.index import Found
from heirloom.retrieval.lexical import (
    FIELD_WEIGHT,
    NO_SYNONYMS,
    STRONG,
    Alternative,
    Fields,
    Part,
    Synonyms,
    ordered,
    parts_of,
)
from heirloom.retrieval.words import Words
from heirloom.retrieval.words_of import WordsOf

_WEAKEST_STRONG = min(FIELD_WEIGHT[field] for field in STRONG)


class WordIndex:
    """In memory. What is upserted is found by the next search."""

    def __init__(self, synonyms: Synonyms = NO_SYNONYMS) -> None:
        self.n = 0
        self._synonyms = synonyms
        self._words = Words()
        self._brands: dict[str, int] = {}
        self._brand_of = WordsOf()

    def upsert(self, slot: int, fields: Fields) -> None:
        """Give a slot its words, in place of those it had."""
        check(slot, fields)
        weighted: dict[str, float] = {}
        for field in sorted(fields, key=FIELD_WEIGHT.__getitem__):
            weighted.update(dict.fromkeys(fields[field], FIELD_WEIGHT[field]))
        self._set_brand(slot, tuple(fields.get("brand", ())))
        self._words.put(slot, weighted)

    def remove(self, slot: int) -> None:
        """Forget a slot; one that is unknown is left out."""
        self._set_brand(slot, ())
        self._words.remove(slot)

    def advance(self, n: int) -> None:
        """All of the log before offset n has been given."""
        self.n = n

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {
            "n": np.array([self.n], np.int64),
            "of_brand": np.array(list(self._brands.values()), np.int64),
            **joined({
                "words": self._words.arrays(),
                "brands": of_texts(self._brands),
                "brand_of": self._brand_of.arrays(self._brands),
            }),
        }  # fmt: skip

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._words.restore(within(arrays, "words"))
        brands = texts_of(within(arrays, "brands"))
        self._brand_of.restore(within(arrays, "brand_of"), brands)
        numbers = dict.fromkeys(("n", "of_brand"), np.zeros(0, np.int64))
        own = alike("WordIndex", arrays, numbers)
        self._brands = dict(zip(brands, own["of_brand"].tolist(), strict=True))
        self.n = int(own["n"][0])

    def match(self, text: str, allowed: NDArray[np.bool_], least: int) -> Found:
        """Slots int32 and scores float32 of what matches, best first, ties by slot."""
        parts = parts_of(
            text,
            self._synonyms,
            listings=len(self._words),
            having=self._words.alive,
            brands=lambda word: self._brands.get(word, 0),
        )
        points = np.zeros((len(parts), len(allowed)), np.float32)
        for row, part in zip(points, parts, strict=True):
            for alternative in part.alternatives:
                self._add(row, part, alternative)
        total = points.sum(axis=0)
        whole = np.flatnonzero((points > 0).all(axis=0) if len(parts) else total).astype(np.int32)

        def some(_: int) -> tuple[Found, bool]:
            slots = np.flatnonzero(total).astype(np.int32)
            return (slots, total[slots]), True

        return ordered((whole, total[whole]), some, allowed, least)

    def _add(self, row: NDArray[np.float32], part: Part, alternative: Alternative) -> None:
        """Raise a part's points [slots] to those of an alternative."""
        if len(alternative.words) > 1:
            having = [self._having(word, len(row), strong=True)[0] for word in alternative.words]
            together = having[0]
            for other in having[1:]:
                together = together[np.isin(together, other)]
            points = np.float32(alternative.phrase_points(part.share))
            row[together] = np.maximum(row[together], points)
            return
        (word,) = alternative.words
        strong = alternative.fields == STRONG
        known = [word]
        if alternative.beginning:
            known = self._words.beginning(word)
        elif alternative.edits:
            known = [other for other, _ in self._words.like(word)]
        by_weight = {
            FIELD_WEIGHT[field]: alternative.points(part.share, field)
            for field in alternative.fields
        }
        for like in known:
            slots, weights = self._having(like, len(row), strong=strong)
            for weight, worth in by_weight.items():
                of = slots[weights == np.float32(weight)]
                row[of] = np.maximum(row[of], np.float32(worth))

    def _having(
        self, word: str, size: int, *, strong: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        slots, weights = self._words.having(word)
        keep = slots < size
        if strong:
            keep &= weights >= np.float32(_WEAKEST_STRONG)
        return slots[keep], weights[keep]

    def _set_brand(self, slot: int, brand: tuple[str, ...]) -> None:
        for word in self._brand_of.pop(slot):
            self._brands[word] -= 1
        for word in brand:
            self._brands[word] = self._brands.get(word, 0) + 1
        if brand:
            self._brand_of[slot] = brand


def check(slot: int, fields: Fields) -> None:
    """Refuse what no index can hold.

    Raises:
        InputError: for a negative slot, or a field that is none of FIELD_WEIGHT.
    """
    if slot < 0:
        raise InputError(f"LexicalIndex.upsert: slot {slot} is negative")
    if unknown := sorted(set(fields) - set(FIELD_WEIGHT)):
        raise InputError(
            f"LexicalIndex.upsert: slot {slot} has fields {unknown}; "
            f"wanted some of {', '.join(FIELD_WEIGHT)}"
        )
