"""Meanings: what texts mean by the listings there are, kept until these say otherwise."""

from collections.abc import Callable

from heirloom.core.catalogue import Catalogue
from heirloom.retrieval.intent import meant
from heirloom.retrieval.lexicon import FIELDS, Lexicon
from heirloom.retrieval.words import Words

MAX_KEPT = 10_000
"""Texts of which is kept what they mean."""


class Meanings:
    """Which categories and brands people's texts mean.

    People search for the same again and again, and seldom does a listing come in between. What is
    kept is what would be found anew: it is let go when a listing is written, words of a slot
    change, or a field of the vocabulary grows.

    Args:
        catalogue: of the listings.
        lexicon: what may be named.
        words: gives the listings' words, which may be changed for others.
    """

    def __init__(self, catalogue: Catalogue, lexicon: Lexicon, words: Callable[[], Words]) -> None:
        self._catalogue = catalogue
        self._lexicon = lexicon
        self._words = words
        self._as_of: tuple[Words, tuple[int, ...]] | None = None
        self._categories: dict[str, tuple[tuple[int, float], ...]] = {}
        self._brands: dict[str, tuple[int, ...]] = {}

    def catch_up(self) -> None:
        """Let go of what was found before the listings changed."""
        words, size = self._words(), self._catalogue.vocabulary.size
        counts = words.changes, self._catalogue.written, *map(size, FIELDS)
        full = max(len(self._categories), len(self._brands)) >= MAX_KEPT
        if full or self._as_of is None or self._as_of[0] is not words or self._as_of[1] != counts:
            self._categories, self._brands = {}, {}
            self._as_of = words, counts

    def categories(self, text: str) -> tuple[tuple[int, float], ...]:
        """Codes of the categories that a text means, ascending, and how sure each is (`meant`).

        As of the last `catch_up`, as are brands.
        """
        found = self._categories.get(text)
        if found is None:
            category, department = self._catalogue.column("category"), self._catalogue.stem(1)
            codes, shares = meant(text, self._lexicon, self._words(), category, department)
            found = tuple(zip(codes.tolist(), shares.tolist(), strict=True))
            self._categories[text] = found
        return found

    def brands(self, text: str) -> tuple[int, ...]:
        """Codes of the brands that a text names, ascending, its words in any order."""
        found = self._brands.get(text)
        if found is None:
            found = tuple(self._lexicon.read(text, ordered=False).codes("brand").tolist())
            self._brands[text] = found
        return found
