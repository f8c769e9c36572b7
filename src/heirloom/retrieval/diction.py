"""Diction: which listings are described in like words, as far as words stand together.

Style has no field of its own: «archive», «retro», «80s» stand in titles, hashtags and
descriptions, seldom two of them on one listing. Words that stand beside the same words mean much
the same: the leading eigenvectors of how much oftener than by chance two words meet, over the
listings there are, give each word a place, and a listing stands at the mean of its words.
Source: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014;
here with (seen - expected) / sqrt(expected + 5) for the pointwise mutual information.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, alike, joined, of_texts, texts_of, within
from heirloom.core.listing import Listing
from heirloom.core.words import words
from heirloom.retrieval.top import fitted

DIM = 8
MAX_WORDS = 24
LEAST_LISTINGS = 30
"""A word has a place once so many listings have it; at most TRACKED words do."""
TRACKED = 1024
SAMPLE = 100_000
"""Words are placed by at most so many listings, evenly taken."""
_SURPRISE = 10.0
_GROWTH = 1.25
_UNIT = 63
_WAY_UNIT = 1 << 12
_DOUBT = 4
_KNOWN_FIELDS = ("brand", "category", "colour", "size", "material", "condition")


class Diction:
    """Each slot's words as codes, and its place among the others as int8 [slots, DIM].

    A place is a function of the listings at the last `refit` and of the listing itself, so the
    caller refits at moments that a replay meets again. No place (zeros) before the first.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._of = np.zeros((0, MAX_WORDS), np.int32)  # 0 where there are no more words
        self._places = np.zeros((0, DIM), np.int8)
        self._word_places = np.zeros((1, DIM))
        self._centre = np.zeros(DIM)
        self._fitted_to = 0

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {
            "of": self._of,
            "places": self._places,
            "word_places": self._word_places,
            "centre": self._centre,
            "fitted_to": np.array([self._fitted_to], np.int64),
            **joined({"words": of_texts(self._codes)}),
        }

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Diction", arrays, self.arrays())
        self._codes = {word: code for code, word in enumerate(texts_of(within(own, "words")), 1)}
        self._of, self._places = own["of"], own["places"]
        self._word_places, self._centre = own["word_places"], own["centre"]
        self._fitted_to = int(own["fitted_to"][0])

    def put(self, listings: Mapping[int, Listing]) -> None:
        """Give slots the words of their listings."""
        if not listings:
            return
        self._of = fitted(self._of, max(listings) + 1)
        self._places = fitted(self._places, max(listings) + 1)
        for slot, listing in listings.items():
            codes = [self._codes.setdefault(w, len(self._codes) + 1) for w in style_words(listing)]
            self._of[slot] = 0
            self._of[slot, : len(codes)] = codes
        slots = np.fromiter(listings, np.int32, len(listings))
        self._places[slots] = self._placed(self._of[slots])

    def refit(self) -> None:
        """Place words and listings anew, if a quarter more slots have words than the last time."""
        described = np.flatnonzero(self._of[:, 0])
        if len(described) < max(LEAST_LISTINGS, _GROWTH * self._fitted_to):
            return
        sample = self._of[described[:: -(-len(described) // SAMPLE)]]
        frequency = np.bincount(sample.ravel(), minlength=len(self._codes) + 1)
        texts = list(self._codes)
        # By text, not by code: in which order words came depends on how the log was cut.
        often = [code for code in range(1, len(frequency)) if frequency[code] >= LEAST_LISTINGS]
        often.sort(key=lambda code: (-frequency[code], texts[code - 1]))
        tracked = np.array(often[:TRACKED], np.int64)
        if len(tracked) <= DIM:
            return
        self._word_places = np.zeros((len(frequency), DIM))
        self._word_places[tracked] = _leading(_surprise(sample, tracked))
        self._centre = np.zeros(DIM)
        self._centre = self._unit(sample).mean(axis=0)
        for start in range(0, len(self._of), SAMPLE):
            rows = slice(start, start + SAMPLE)
            self._places[rows] = self._placed(self._of[rows])
        self._fitted_to = len(described)

    def match(self, recent: NDArray[np.int32], slots: NDArray[np.int32]) -> NDArray[np.float32]:
        """[slots] float32: how far each stands the way that the recent listings do, about -1 … 1.

        The dot product with the mean of their places, shrunk as if four more stood at the
        centre. Sums of integers, divided once: a value is the same whatever stands beside it.
        """
        profile = self._places[recent].astype(np.int64).sum(axis=0)
        over = float(_UNIT * _UNIT * (len(recent) + _DOUBT))
        match: NDArray[np.float32] = _match(self._places, slots, profile, over).astype(np.float32)
        return match

    def places(self, slots: NDArray[np.int32]) -> NDArray[np.float64]:
        """[listings, DIM] where slots stand, about -1 … 1; at the centre those without words."""
        places: NDArray[np.float64] = _places(self._places, slots)
        return places

    def places_of_brands(self, brands: Sequence[str]) -> NDArray[np.float64]:
        """[brands, DIM] where brands stand as words among words; at the centre unknown ones."""
        codes = [self._codes.get(f"brand:{brand.casefold()}", 0) for brand in brands]
        return self._placed(np.array(codes, np.int32).reshape(-1, 1)) / _UNIT

    def along(self, slots: NDArray[np.int32], way: NDArray[np.float64]) -> NDArray[np.float64]:
        """[slots] how far each stands along a way [DIM]: the dot product of the two.

        The way is rounded to whole numbers of 2^-12, so sums are exact and the same anywhere.
        """
        whole = np.rint(way * _WAY_UNIT).astype(np.int64)
        along: NDArray[np.float64] = _match(self._places, slots, whole, float(_WAY_UNIT * _UNIT))
        return along

    def _unit(self, codes: NDArray[np.int32]) -> NDArray[np.float64]:
        """[listings, DIM] of unit length, zeros for listings without a placed word."""
        total: NDArray[np.float64] = self._word_places.take(codes, axis=0, mode="clip").sum(axis=1)
        length = np.sqrt((total * total).sum(axis=1, keepdims=True))
        unit: NDArray[np.float64] = total / np.where(length > 0, length, 1.0)
        return unit

    def _placed(self, codes: NDArray[np.int32]) -> NDArray[np.int8]:
        known = np.where(codes < len(self._word_places), codes, 0)
        unit = self._unit(known)
        centred = np.where(unit.any(axis=1, keepdims=True), unit - self._centre, 0.0)
        places: NDArray[np.int8] = np.clip(np.rint(centred * _UNIT), -127, 127).astype(np.int8)
        return places


@njit(cache=True)
def _places(codes: NDArray[Any], slots: NDArray[Any]) -> NDArray[Any]:
    """As `Diction.places`; slots past the end have no words."""
    places = np.zeros((len(slots), codes.shape[1]))
    for i in range(len(slots)):
        if slots[i] < len(codes):
            for k in range(codes.shape[1]):
                places[i, k] = codes[slots[i], k] / _UNIT
    return places


@njit(cache=True)
def _match(
    places: NDArray[Any], slots: NDArray[Any], profile: NDArray[Any], over: float
) -> NDArray[Any]:
    """Each slot's dot product with a profile [DIM], over a number; 0 for slots past the end."""
    match = np.empty(len(slots))
    for i in range(len(slots)):
        product = 0
        if slots[i] < len(places):
            for k in range(len(profile)):
                product += places[slots[i], k] * profile[k]
        match[i] = product / over
    return match


def _surprise(of: NDArray[np.int32], tracked: NDArray[np.int64]) -> NDArray[np.float64]:
    """[tracked, tracked] how much oftener than by chance two words meet, in about deviations."""
    column = np.full(int(of.max()) + 1, len(tracked))
    column[tracked] = np.arange(len(tracked))
    has = np.zeros((len(of), len(tracked) + 1), np.float32)
    np.put_along_axis(has, column[of], 1.0, axis=1)
    has = has[:, :-1]
    together = (has.T @ has).astype(np.float64)  # whole numbers: exact in float32 up to 2^24
    alone = np.diag(together).copy()
    expected = np.outer(alone, alone) / len(of)
    surprise = np.clip((together - expected) / np.sqrt(expected + 5.0), -_SURPRISE, _SURPRISE)
    np.fill_diagonal(surprise, 0.0)
    return surprise


def _leading(symmetric: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows, DIM] eigenvectors of the greatest eigenvalues, times their square roots."""
    values, vectors = np.linalg.eigh(symmetric)
    leading: NDArray[np.float64] = vectors[:, -DIM:] * np.sqrt(np.maximum(values[-DIM:], 0.0))
    return leading


def style_words(listing: Listing) -> list[str]:
    """Words of title, hashtags and description that no field says, and brand and colour whole.

    >>> style_words(Listing(listing_id="1", seller="s", title="Retro Gucci bag", brand="Gucci"))
    ['brand:gucci', 'retro', 'bag']
    """
    known = {word for field in _KNOWN_FIELDS for word in words(getattr(listing, field))}
    text = f"{listing.title} {' '.join(listing.hashtags)} {listing.description[:500]}"
    whole = [f"{f}:{v.casefold()}" for f in ("brand", "colour") if (v := getattr(listing, f))]
    return [*whole, *(w for w in dict.fromkeys(words(text)) if w not in known)][:MAX_WORDS]
