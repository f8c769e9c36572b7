"""Intent: what a query asks for by name, and how sure that is by the listings that have the words.

A brand's name may be a common word: «vintage», «next», «monsoon». It is asked for by name where
most listings that have its words are of the brand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.lexicon import FIELDS, Lexicon, Named
from heirloom.retrieval.words import HASHTAG_WEIGHT, Words

EXACT = 0.5
"""From so sure on, something is asked for by name."""
WELL = 0.9
"""As well matched as that, of the best, a listing tells what the words mean."""
LEAST = 0.1
"""A category with less of the listings that have the words is not meant by them."""
SAMPLE = 512
"""So many listings that have a word, evenly taken, tell what they are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a query asks for.

    Attributes:
        field: of `lexicon.FIELDS`.
        codes: [codes] int32, ascending: any of them is meant.
        words: as the lexicon spells them.
        confidence: share of the listings with these words that have one of the codes, and less
            where a slip may be of other words too; 0 … 1.
    """

    field: str
    codes: NDArray[np.int32]
    words: tuple[str, ...]
    confidence: float

    @property
    def exact(self) -> bool:
        """Whether it is asked for by name; else it is likely, and left to the ranker."""
        return self.confidence >= EXACT


@dataclass(frozen=True, slots=True)
class Intent:
    """What a query asks for.

    Attributes:
        asked: at most one of each field, in the order of FIELDS.
        rest: words that name nothing.
        price: the least and the greatest price, in minor units; None for none.
    """

    asked: tuple[Asked, ...]
    rest: tuple[str, ...]
    price: tuple[int | None, int | None]

    def of(self, field: str) -> Asked | None:
        """What is asked for of a field."""
        return next((each for each in self.asked if each.field == field), None)


NOTHING = Intent((), (), (None, None))


def intent_of(
    text: str,
    lexicon: Lexicon,
    words: Words,
    columns: Mapping[str, NDArray[np.int32]],
    minor_per_major: int = 100,
) -> Intent:
    """What a query's text asks for.

    Args:
        text: the query's.
        lexicon: what may be named.
        words: the listings' words.
        columns: codes [slots] by field, of those listings.
        minor_per_major: cents of a euro.
    """
    reading = lexicon.read(text)
    asked = []
    for field in FIELDS:
        named = [each for each in reading.named if each.field == field]
        if named:
            codes = reading.codes(field)
            sure = max(_sure(each, words, columns[field]) for each in named)
            said = tuple(word for each in named for word in each.phrase)
            asked.append(Asked(field, codes, said, sure))
    low, high = (None if each is None else each * minor_per_major for each in reading.price)
    return Intent(tuple(asked), reading.rest, (low, high))


def _sure(named: Named, words: Words, column: NDArray[np.int32]) -> float:
    """The share of the listings with a phrase that have what it names; 1 where none has it."""
    slots = _having(named.phrase, words)
    slots = slots[slots < len(column)]
    if not len(slots):
        return named.sure
    codes = set(named.codes)
    return named.sure * sum(map(codes.__contains__, column[slots].tolist())) / len(slots)


def _having(phrase: Sequence[str], words: Words) -> NDArray[np.int32]:
    """Some slots that have all words of a phrase, not by hashtags, where brands are stuffed."""
    rarest, *others = sorted(phrase, key=words.alive)
    slots, weights = words.having(rarest, SAMPLE)
    slots = slots[weights > HASHTAG_WEIGHT]
    for word in others:
        if len(slots):
            slots = slots[words.strongly(word, slots)]
    return slots


def meant(
    text: str,
    lexicon: Lexicon,
    words: Words,
    category: NDArray[np.int32],
    department: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Categories that a query means, and how sure each is: codes ascending, shares 0 … 1.

    The listings that have its words tell, within each department, for a query seldom names that:
    «jumper» is what most that say so are, «shoe» is so many things that it means none of them
    much, «boot» is at times an ankle boot. Words of a brand, a colour, a size tell no category.

    Args:
        text: the query's.
        lexicon: what may be named.
        words: the listings' words.
        category: [slots] codes of those listings.
        department: [category codes] a number of each one's department.
    """
    reading = lexicon.read(text, ordered=False)
    named = [word for each in reading.named if each.field == "category" for word in each.phrase]
    rest = [word for word in reading.rest if words.alive(word)]
    slots = np.zeros(0, np.int32)
    for said in ([*named, *rest], named):
        if said and not len(slots):
            slots = _having(said, words)
    counts = np.bincount(category[slots[slots < len(category)]])
    codes = np.flatnonzero((counts > 0) & (counts >= LEAST * counts.sum())).astype(np.int32)
    counts = counts[codes]
    of = department[codes]
    shares = counts / np.bincount(of, counts)[of] if len(codes) else counts.astype(np.float64)
    told = shares >= LEAST
    return codes[told], shares[told]


def likely(matched: NDArray[np.float64], codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Each code's share of the listings that match a query's words best; zeros where none does.

    Args:
        matched: [slots], 0 for what does not match or may not be shown.
        codes: [slots] int32.

    >>> likely(np.array([0.9, 0.9, 0.2, 0.0]), np.array([1, 2, 2, 3], np.int32)).tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    best = matched.max(initial=0.0)
    well = codes[matched >= WELL * best] if best else codes[:0]
    counts = np.bincount(well, minlength=int(codes.max(initial=0)) + 1)
    shares: NDArray[np.float32] = (counts / max(len(well), 1)).astype(np.float32)
    return shares
