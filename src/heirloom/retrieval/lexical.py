"""LexicalIndex: listings by the words they have, and all that its kinds agree on.

Which words a listing has, what a query's words may stand for, and the score:

    score = [all parts are matched] + Σ_p share_p · max_a (likeness_a · weight of the field)

where a part is a word of the query, share its idf among the parts', and a one of its alternatives.
That is BM25F with k1 = 0 (Robertson and Zaragoza 2009, section 3.6): how often a word stands in a
listing, and how long the listing is, say nothing here. Each term is a multiple of 1 / SCALE, so a
sum is exact in float32 in any order, and no score depends on how an index is laid out.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.listing import Listing
from heirloom.core.words import words
from heirloom.retrieval.index import Found

FIELD_WEIGHT = {
    "brand": 1.0,
    "title": 1.0,
    "category": 1.0,
    "attributes": 0.8,
    "hashtags": 0.4,
    "description": 0.2,
}
"""What a word counts in each field; of equals the first named holds a word that is in both."""
STUFFED = ("hashtags", "description")
"""Where other brands' names are stuffed. A brand's words, misspelt words and beginnings of words
are not looked for there: the listing's own brand stands in its own field."""
STRONG = tuple(field for field in FIELD_WEIGHT if field not in STUFFED)
SCALE = 4096
FEW = 5
"""A word that fewer listings have may be a slip of the fingers."""
ONE_EDIT_FROM, TWO_EDITS_FROM = 4, 8
"""Letters from which one edit, or two, are forgiven."""
SYNONYM, BEGINNING, ONE_EDIT, TWO_EDITS = 0.9, 0.7, 0.6, 0.4
"""Likeness of what is not the very word."""
MAX_TEXT, MAX_PARTS = 1_000, 16
_AT_FIRST = 1_024
_MAX_HASHTAGS, _MAX_DESCRIPTION, _MAX_PHRASE = 30, 4_000, 4
_OWNED = re.compile(r"['’]s\b", re.IGNORECASE)
_STOP_WORDS = frozenset(
    words(
        "a an and by for from in of on or the to with "
        "au aux avec de des du en et la le les pour un une "
        "das der die für im mit und von zu con del el los para por una y di e il per"
    )
)

Fields = Mapping[str, Sequence[str]]
"""A listing's words by field of FIELD_WEIGHT."""


class Alternative(NamedTuple):
    """What a word of a query may stand for.

    Attributes:
        words: all of these together.
        likeness: 1 for the word itself, less for what is like it.
        fields: where it is looked for; a word of a phrase anywhere in them.
        edits: words within so many edits (a letter more, less, another, or two exchanged).
        beginning: words that begin with it.
    """

    words: tuple[str, ...]
    likeness: float
    fields: tuple[str, ...]
    edits: int = 0
    beginning: bool = False

    def points(self, share: float, field: str) -> float:
        """What it adds to the score where it is found in a field: a multiple of 1 / SCALE."""
        return max(round(SCALE * share * self.likeness * FIELD_WEIGHT[field]), 1) / SCALE

    def phrase_points(self, share: float) -> float:
        """What it adds where its several words are found, each in any of the fields."""
        return min(self.points(share, field) for field in self.fields)


class Part(NamedTuple):
    """A word of a query: its share of the whole query's weight, and its alternatives."""

    share: float
    alternatives: tuple[Alternative, ...]


class Synonyms:
    """Words that stand for others, both ways or one way. Immutable.

    Args:
        both: groups in which each stands for every other.
        one_way: a listing with one of the values is found by the key, not the reverse.

    Raises:
        ConfigError: listing each entry that holds no words, or too many.

    >>> Synonyms(both=[["trainers", "sneakers"]], one_way={"bag": ["tote"]}).of(("sneaker",))
    (('trainer',),)
    """

    def __init__(
        self,
        both: Sequence[Sequence[str]] = (),
        one_way: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        pairs = [(a, b) for group in both for a in group for b in group if a != b]
        pairs += [(a, b) for a, others in (one_way or {}).items() for b in others]
        problems = [
            f"{text!r} has {len(terms(text))} words; wanted 1 … {_MAX_PHRASE}"
            for text in dict.fromkeys(text for pair in pairs for text in pair)
            if not 1 <= len(terms(text)) <= _MAX_PHRASE
        ]
        if problems:
            raise ConfigError("synonyms", problems)
        self._of: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {}
        for a, b in pairs:
            key, other = tuple(terms(a)), tuple(terms(b))
            if key != other and other not in self.of(key):
                self._of[key] = (*self.of(key), other)

    def of(self, phrase: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """What a phrase, as `terms` cuts it, may stand for besides itself."""
        return self._of.get(phrase, ())


NO_SYNONYMS = Synonyms()


class LexicalIndex(Protocol):
    """Listings by their words. One writer.

    What is removed is in no later search. What is upserted is found by the next search, or, where
    an index says so, a stated time later at most; meanwhile the slot's former words find nothing.
    """

    n: int
    """Log offset up to which it is folded, in a form on disk also after a restart: what comes
    again from there on may be given again."""

    def upsert(self, slot: int, fields: Fields) -> None:
        """Give a slot its words, in place of those it had.

        Raises:
            InputError: for a negative slot, or a field that is none of FIELD_WEIGHT.
        """

    def remove(self, slot: int) -> None:
        """Forget a slot; one that is unknown is left out."""

    def advance(self, n: int) -> None:
        """All of the log before offset n has been given."""

    def match(self, text: str, allowed: NDArray[np.bool_], least: int) -> Found:
        """Slots int32 and scores float32 of what matches, best first, ties by slot.

        All that match every part of the text; where these are fewer than `least`, also the best
        of those that match some: as many as are wanting, and all that are level with the last
        of them. Nothing for a text without words.

        Args:
            text: a query's; its first MAX_TEXT characters and MAX_PARTS words count.
            allowed: [slots] bool; slots beyond its end are not allowed.
            least: how many would be enough.
        """


def search(index: LexicalIndex, text: str, allowed: NDArray[np.bool_], k: int) -> Found:
    """The k that match best, at most: those that have all the words before those that do not."""
    slots, scores = index.match(text, allowed, k)
    return slots[: max(k, 0)], scores[: max(k, 0)]


def terms(text: str) -> list[str]:
    """Words as `core.words` cuts them, without the «'s» of an owner.

    >>> terms("Women's Dresses")
    ['women', 'dress']
    """
    return words(_OWNED.sub("", text[:MAX_TEXT]))


def fields_of(listing: Listing) -> dict[str, list[str]]:
    """A listing's words, each once, in the weightiest field that it stands in.

    >>> fields_of(Listing(listing_id="1", seller="s", title="Red Prada dress", brand="Prada",
    ...                   colour="red", description="a red dress, like Gucci"))
    {'brand': ['prada'], 'title': ['red', 'dress'], 'description': ['a', 'like', 'gucci']}
    """
    tags = " ".join(listing.hashtags[:_MAX_HASHTAGS])
    texts = {
        "brand": listing.brand,
        "title": listing.title,
        "category": listing.category,
        "attributes": f"{listing.colour} {listing.material} {listing.size}",
        "hashtags": tags,
        "description": listing.description[:_MAX_DESCRIPTION],
    }
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for field in FIELD_WEIGHT:
        new = [
            word for word in dict.fromkeys(words(_OWNED.sub("", texts[field]))) if word not in seen
        ]
        if new:
            found[field] = new
            seen.update(new)
    return found


def parts_of(
    text: str,
    synonyms: Synonyms,
    *,
    listings: int,
    having: Callable[[str], int],
    brands: Callable[[str], int],
) -> tuple[Part, ...]:
    """The parts of a query's text; none for a text without words.

    Args:
        text: the query's. Its last word may be the beginning of one, unless a space follows it.
        synonyms: what may stand for what.
        listings: how many listings there are.
        having: how many listings have a word.
        brands: how many listings have a word in their brand.
    """
    said = terms(text)
    counted = [i for i, word in enumerate(said) if word not in _STOP_WORDS] or list(
        range(len(said))
    )
    places = list({said[i]: i for i in reversed(counted)}.values())[::-1][:MAX_PARTS]
    unfinished = len(said) - 1 if said and not text[-1:].isspace() else -1
    weights, alternatives = [], []
    for i in places:
        word = said[i]
        others = _synonyms_at(said, i, synonyms)
        known = max([having(word), *(having(o[0]) for o in others if len(o) == 1)])
        fields = STRONG if brands(word) else tuple(FIELD_WEIGHT)
        found = [Alternative((word,), 1.0, fields)]
        for other in others:
            strong = len(other) > 1 or brands(other[0])
            found.append(Alternative(other, SYNONYM, STRONG if strong else tuple(FIELD_WEIGHT)))
        if i == unfinished and len(word) >= 2:
            found.append(Alternative((word,), BEGINNING, STRONG, beginning=True))
        if known < FEW and not word.isdecimal():
            if len(word) >= ONE_EDIT_FROM:
                found.append(Alternative((word,), ONE_EDIT, STRONG, edits=1))
            if len(word) >= TWO_EDITS_FROM:
                found.append(Alternative((word,), TWO_EDITS, STRONG, edits=2))
        weights.append(idf(listings, known))
        alternatives.append(tuple(found))
    total = sum(weights)
    return tuple(Part(w / total, a) for w, a in zip(weights, alternatives, strict=True))


def idf(listings: int, having: int) -> float:
    """log(1 + (N - n + 0.5) / (n + 0.5)): Robertson and Zaragoza 2009, BM25, kept positive.

    >>> round(idf(100, 9), 2)
    2.36
    """
    return math.log1p((max(listings - having, 0) + 0.5) / (having + 0.5))


def ordered(
    whole: Found,
    some: Callable[[int], tuple[Found, bool]],
    allowed: NDArray[np.bool_],
    least: int,
) -> Found:
    """What `LexicalIndex.match` gives, of what matches every part and of what matches some.

    Args:
        whole: slots and sums of points of what matches every part, in any order, allowed or not.
        some: gives the same of so many that match some part, the best of them, and whether these
            are all. Asked only where it is needed, and for more where it was not enough.
        allowed: as for `match`.
        least: as for `match`.
    """
    slots, scores = _allowed(*whole, allowed)
    scores = scores + np.float32(1)
    wanting = least - len(slots)
    if wanting > 0:
        others, less = _best_of(some, slots, allowed, wanting)
        slots, scores = np.concatenate([slots, others]), np.concatenate([scores, less])
    order = np.lexsort((slots, -scores))
    return slots[order], scores[order]


def _best_of(
    some: Callable[[int], tuple[Found, bool]],
    had: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    wanting: int,
) -> Found:
    """The best so many of what matches some part, and all that are level with the last of them."""
    limit, complete = max(_AT_FIRST, 4 * wanting), False
    while True:
        (slots, scores), complete = some(limit)
        if not complete:  # of those level with the last there may be more
            sure = scores > scores.min(initial=np.inf)
            slots, scores = slots[sure], scores[sure]
        slots, scores = _allowed(slots, scores, allowed)
        new = ~np.isin(slots, had)
        slots, scores = slots[new], scores[new]
        if complete or len(slots) >= wanting:
            break
        limit *= 8
    if len(slots) > wanting:
        level = scores >= np.partition(scores, len(scores) - wanting)[len(scores) - wanting]
        slots, scores = slots[level], scores[level]
    return slots, scores


def _allowed(
    slots: NDArray[np.int32], scores: NDArray[np.float32], allowed: NDArray[np.bool_]
) -> Found:
    inside = slots < len(allowed)
    keep = np.zeros(len(slots), np.bool_)
    keep[inside] = allowed[slots[inside]]
    return slots[keep], scores[keep]


def _synonyms_at(said: list[str], i: int, synonyms: Synonyms) -> list[tuple[str, ...]]:
    """Synonyms of every phrase of the text that holds its word i."""
    found: list[tuple[str, ...]] = []
    for start in range(max(i - _MAX_PHRASE + 1, 0), i + 1):
        for stop in range(i + 1, min(start + _MAX_PHRASE, len(said)) + 1):
            found += synonyms.of(tuple(said[start:stop]))
    return list(dict.fromkeys(found))
