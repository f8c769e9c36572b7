"""Lexicon: which brands, categories, colours, sizes and materials a text names, slips forgiven."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.lexical import FEW, NO_SYNONYMS, Synonyms, terms
from heirloom.retrieval.spelling import Spelling

FIELDS = ("brand", "category", "colour", "size", "material")
MAX_PHRASE = 4
MAX_KEPT = 10_000
"""Texts of which is kept what they name."""
RARER = 50
"""A word that so many times fewer listings have than a brand's, or another's, one slip away is
taken for that slip."""
_AMOUNT = r"\s*[€$£]?\s*(\d{1,6})(?![\d%]|[.,]\d)\s*(?:€|\$|£|eur\b|euros?\b|usd\b|gbp\b)?"
_CHEAPER = re.compile(
    r"(?:\b(?:under|below|less than|up to|at most|unter|bis|moins de|jusqu'à)\b|<=?)" + _AMOUNT,
    re.IGNORECASE,
)
_DEARER = re.compile(
    r"(?:\b(?:over|above|more than|at least|über|ab|plus de)\b|>=?)" + _AMOUNT, re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Named:
    """A phrase of a text, and what of one field it names.

    Attributes:
        field: of FIELDS.
        phrase: the words, spelt rightly.
        codes: vocabulary codes. A step of a category's path means all below it: «bag» means all
            bags.
        sure: 1 for words as they stand, less where a slip may be of other words too.
    """

    field: str
    phrase: tuple[str, ...]
    codes: tuple[int, ...]
    sure: float = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says.

    Attributes:
        named: in the text's order.
        rest: words that name nothing.
        price: the least and the greatest price, in whole units of the currency; None for none.
    """

    named: tuple[Named, ...]
    rest: tuple[str, ...]
    price: tuple[int | None, int | None]

    def codes(self, field: str) -> NDArray[np.int32]:
        """Codes of a field that are meant, ascending.

        Of categories, several steps mean what lies below them all, if anything does: «women's
        boots» are both.
        """
        found: set[int] = set()
        for each in self.named:
            if each.field == field:
                both = found & set(each.codes) if field == "category" else None
                found = both or found | set(each.codes)
        return np.array(sorted(found), np.int32)


class Lexicon:
    """Phrases of a vocabulary's texts. It grows with the vocabulary; nothing else is kept.

    Args:
        vocabulary: of the listings.
        having: how many listings have a word: what many have is no slip. By default none.
        synonyms: of the system.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        having: Callable[[str], int] = lambda _: 0,
        synonyms: Synonyms = NO_SYNONYMS,
    ) -> None:
        self._vocabulary = vocabulary
        self._having = having
        self._synonyms = synonyms
        self._spelling = Spelling()
        self._read = dict.fromkeys(FIELDS, 1)  # codes read so far; 0 is none
        self._phrases: dict[str, dict[tuple[str, ...], list[int]]] = {f: {} for f in FIELDS}
        self._joined: dict[str, dict[str, list[int]]] = {f: {} for f in FIELDS}
        self._sorted: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        self._cut: dict[str, tuple[tuple[str, ...], tuple[int | None, int | None]]] = {}
        self._kept: dict[
            tuple[bool, tuple[str, ...]], tuple[tuple[Named, ...], tuple[str, ...]]
        ] = {}

    def read(self, text: str, *, ordered: bool = True) -> Reading:
        """What a text says; a longer phrase is preferred to a shorter one in it, of any field.

        Args:
            text: somebody's.
            ordered: whether a phrase's words stand in it side by side. Not so in
                `core.words.query_key`, which sorts them and has each but once.
        """
        for field in FIELDS:
            self._catch_up(field)
        asked, price = self._words(text)
        spelt, sure = asked, {}
        for word in asked:
            if word not in self._spelling and (found := self._slip_of(word)):
                spelt = tuple(found[0] if each == word else each for each in spelt)
                sure[found[0]] = found[1]
        named, rest = self._names(spelt) if ordered else self._names_of_key(spelt)
        if sure:
            named = tuple(
                Named(each.field, each.phrase, each.codes,
                      min((sure.get(word, 1.0) for word in each.phrase), default=1.0))
                for each in named
            )  # fmt: skip
        return Reading(named, rest, price)

    def codes(self, field: str, text: str) -> NDArray[np.int32]:
        """The codes of one field that a text names, ascending."""
        return self.read(text).codes(field)

    def _words(self, text: str) -> tuple[tuple[str, ...], tuple[int | None, int | None]]:
        if text not in self._cut:
            if len(self._cut) >= MAX_KEPT:
                self._cut.clear()
            rest, price = without_price(text)
            self._cut[text] = tuple(terms(rest)), price
        return self._cut[text]

    def _slip_of(self, word: str) -> tuple[str, float] | None:
        """The word meant, and how sure that is: its share of the listings of all that are near."""
        near = self._spelling.near(word)
        if not near:
            return None
        counts = [self._having(other) for other in near]
        most = max(counts)
        if self._having(word) >= max(FEW, most / RARER):
            return None
        return near[counts.index(most)], (most + 1) / (sum(counts) + len(counts))

    def _names(self, asked: tuple[str, ...]) -> tuple[tuple[Named, ...], tuple[str, ...]]:
        if (True, asked) in self._kept:
            return self._kept[True, asked]
        named, rest, start = list[Named](), list[str](), 0
        while start < len(asked):
            for length in range(min(MAX_PHRASE, len(asked) - start), 0, -1):
                phrase = asked[start : start + length]
                if found := self._all_of(phrase):
                    named += found
                    start += length
                    break
            else:
                rest.append(asked[start])
                start += 1
        return self._keep(True, asked, named, rest)

    def _names_of_key(self, asked: tuple[str, ...]) -> tuple[tuple[Named, ...], tuple[str, ...]]:
        if (False, asked) in self._kept:
            return self._kept[False, asked]
        named, rest = list[Named](), list(asked)
        for length in range(min(MAX_PHRASE, len(asked)), 0, -1):
            for some in combinations(sorted(set(asked)), length):
                found = [
                    each
                    for phrase in (self._sorted.get(some) or ([some] if length == 1 else []))
                    if all(word in rest for word in some)
                    for each in self._all_of(phrase)
                ]
                if found:
                    named += found
                    rest = [word for word in rest if word not in some]
        return self._keep(False, asked, named, rest)

    def _keep(
        self, ordered: bool, asked: tuple[str, ...], named: list[Named], rest: list[str]
    ) -> tuple[tuple[Named, ...], tuple[str, ...]]:
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[ordered, asked] = tuple(named), tuple(rest)
        return self._kept[ordered, asked]

    def _all_of(self, phrase: tuple[str, ...]) -> list[Named]:
        return [
            Named(field, phrase, tuple(codes))
            for field in FIELDS
            if (codes := self._codes_of(field, phrase))
        ]

    def _codes_of(self, field: str, phrase: tuple[str, ...]) -> list[int]:
        """Of the phrase, of what it may stand for, or of a name whose words it writes as one."""
        phrases = self._phrases[field]
        found = list(phrases.get(phrase, ()))
        for other in self._synonyms.of(phrase):
            found += phrases.get(other, ())
        if not found and len(phrase) == 1:
            found = self._joined[field].get(phrase[0], [])
        return sorted(set(found))

    def _catch_up(self, field: str) -> None:
        texts = self._vocabulary.texts(field)
        if self._read[field] >= len(texts):
            return
        self._kept.clear()
        for code in range(self._read[field], len(texts)):
            steps = texts[code].split("/") if field == "category" else [texts[code]]
            for step in steps:
                phrase = tuple(terms(step))
                if not phrase:
                    continue
                self._phrases[field].setdefault(phrase, []).append(code)
                same = self._sorted.setdefault(tuple(sorted(set(phrase))), [])
                if phrase not in same:
                    same.append(phrase)
                self._spelling.add(phrase)
                if len(phrase) > 1:
                    self._joined[field].setdefault("".join(phrase), []).append(code)
                    self._spelling.add(["".join(phrase)])
        self._read[field] = len(texts)


def without_price(text: str) -> tuple[str, tuple[int | None, int | None]]:
    """A text without the words that say a price, and the prices, in whole units; None for none.

    >>> without_price("dress under 50 €"), without_price("coat over 20")
    (('dress  ', (None, 50)), ('coat  ', (20, None)))
    """
    low = high = None
    if found := _CHEAPER.search(text):
        high, text = int(found[1]), f"{text[: found.start()]} {text[found.end() :]}"
    if found := _DEARER.search(text):
        low, text = int(found[1]), f"{text[: found.start()]} {text[found.end() :]}"
    return text, (low, high)
