"""Diction: the words in which a person's recent listings are described, and who else uses them.

Style has no field of its own: «archive», «ruffles», «old money» stand in titles, hashtags and
descriptions. Brand, category, colour and the like are known elsewhere and are left out here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.listing import Listing
from heirloom.core.words import words
from heirloom.retrieval.top import fitted

MAX_WORDS = 24
_KNOWN_FIELDS = ("brand", "category", "colour", "size", "material", "condition")


class Diction:
    """Each slot's words as codes, and how many listings have each word."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._of = np.zeros((0, MAX_WORDS), np.int32)  # 0 where there are no more words
        self._listings = np.zeros(1, np.int64)  # by code, listings ever described so
        self._described = 0

    def put(self, listings: Mapping[int, Listing]) -> None:
        """Give slots the words of their listings."""
        if not listings:
            return
        self._of = fitted(self._of, max(listings) + 1)
        for slot, listing in listings.items():
            codes = [self._codes.setdefault(w, len(self._codes) + 1) for w in style_words(listing)]
            self._of[slot] = 0
            self._of[slot, : len(codes)] = codes
            self._listings = fitted(self._listings, len(self._codes) + 1)
            self._listings[codes] += 1
            self._described += 1

    def match(self, recent: NDArray[np.int32], slots: NDArray[np.int32]) -> NDArray[np.float32]:
        """[slots] float32: mean over a listing's words of log (c + 1) / (n p + 1).

        c of the n recent listings have the word, p of all listings do: 0 for a word that is as
        frequent as elsewhere. 0 too for a listing without words.
        """
        n = len(recent)
        seen = np.bincount(self._of[recent].ravel(), minlength=len(self._codes) + 1)
        usual = n * self._listings[: len(self._codes) + 1] / max(self._described, 1)
        lift = np.log((seen + 1) / (usual + 1))
        lift[0] = 0.0
        codes = self._of[slots]
        mean: NDArray[np.float64] = lift[codes].sum(axis=1) / np.maximum((codes > 0).sum(axis=1), 1)
        return mean.astype(np.float32)


def style_words(listing: Listing) -> list[str]:
    """Words of title, hashtags and description that no field of the listing says, once each.

    >>> style_words(Listing(listing_id="1", seller="s", title="Retro Gucci bag", brand="Gucci"))
    ['retro', 'bag']
    """
    known = {word for field in _KNOWN_FIELDS for word in words(getattr(listing, field))}
    text = f"{listing.title} {' '.join(listing.hashtags)} {listing.description[:500]}"
    return [word for word in dict.fromkeys(words(text)) if word not in known][:MAX_WORDS]
