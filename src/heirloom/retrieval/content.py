"""Content: listings as vectors by slot, and the retrievers that look at their neighbours.

Sold listings keep their vector until their slot is reused: the taste of those who bought them
rests on it. What may be shown is the mask's business.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.diction import Diction
from heirloom.retrieval.index import ExactIndex
from heirloom.retrieval.shelf import Shelf
from heirloom.retrieval.top import best, fitted
from heirloom.retrieval.words import Words, weighted_words

DAY_MS = 86_400_000
INTEREST = {
    Kind.CLICK: 1,
    Kind.SAVE: 4,
    Kind.MESSAGE: 5,
    Kind.OFFER: 6,
    Kind.PURCHASE: 6,
}
"""How much each action says about taste; the others say nothing here."""
HALF_LIFE_MS = 7 * DAY_MS
MAX_INTERESTS = 3
MATCHING = 0.75
_WORDS_SHARE = 0.8
_WEIGHT_UNIT = 1 << 20
_KIND_WEIGHT = np.zeros(len(Kind), np.int64)
for _kind, _weight in INTEREST.items():
    _KIND_WEIGHT[KIND_CODE[_kind]] = _weight


class Encoder(Protocol):
    """What is asked of an encoder here; `heirloom.encoders` has the whole contract."""

    dim: int
    model_id: str

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        """[listings, dim] float32 of unit length."""

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of unit length; zeros for no words."""


class ContentIndex:
    """Each listing's vector by slot, in an exact index, and as int8 codes for features."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.index = ExactIndex(encoder.dim)
        self.shelf = Shelf()
        self.words = Words()
        self.diction = Diction()
        self._codes = np.zeros((0, encoder.dim), np.int8)

    @property
    def model_id(self) -> str:
        """Which model made the vectors."""
        return self.encoder.model_id

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[slots, dim] float32 of unit length; zeros for a slot that holds nothing yet."""
        return self.index.vectors

    @property
    def codes(self) -> NDArray[np.int8]:
        """[slots, dim] int8, 127 for 1.0."""
        return self._codes[: len(self.vectors)]

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Encode the listings that are new or edited; a reused slot gets the newcomer's vector."""
        self.shelf.apply(facts)
        if not listings:
            return
        slots = np.fromiter(listings, np.int32, len(listings))
        vectors = self.encoder.listings(list(listings.values()))
        self.index.upsert(slots, vectors)
        self._codes = fitted(self._codes, int(slots.max()) + 1)
        self._codes[slots] = quantised(vectors)
        for slot, listing in listings.items():
            self.words.put(slot, weighted_words(listing))
        self.diction.put(listings)

    def refit(self) -> None:
        """Fit to the listings there are what is fitted to them: at log offsets fixed in advance."""
        self.diction.refit()

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of a query's words; zeros for none."""
        return self.encoder.text(text)

    def given(self, request: Request, slots: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """How candidates [candidates] match the query's text, its anchor and the person's taste.

        `anchor_match` and `taste_match` are cosines, the latter with the person's nearest
        interest; `text_match` is the relevance, 0 … 1; `style_match` and `anchor_style` are those
        of Diction. Each value depends on its own candidate alone. NaN throughout where there is
        no text, anchor or taste.
        """
        given = dict.fromkeys(
            ("text_match", "taste_match", "style_match", "anchor_match", "anchor_style"),
            np.full(len(slots), np.nan, np.float32),
        )
        if request.text_vector.any():
            matched = self.words.match(request.query.text, len(self.vectors))[slots]
            cosines = self._cosines(slots, request.text_vector[None])[:, 0]
            given["text_match"] = relevance(matched, cosines)
        if len(request.recent):
            given["style_match"] = self.diction.match(request.recent, slots)
        interests, _ = self.interests(request)
        if len(interests):
            given["taste_match"] = self._cosines(slots, interests).max(axis=1)
        if 0 <= request.anchor < len(self.vectors):
            anchor = self.vectors[request.anchor][None]
            given["anchor_match"] = self._cosines(slots, anchor)[:, 0]
            given["anchor_style"] = self.diction.match(np.array([request.anchor], np.int32), slots)
        return given

    def matching(
        self, text: str, allowed: NDArray[np.bool_], least: int = 100
    ) -> NDArray[np.bool_]:
        """[slots] bool: the allowed listings that match a query's words well; see `Matcher`.

        Those at least MATCHING times as well matched as the best, and never fewer than the
        `least` best of those that match at all.
        """
        keep = np.zeros(len(allowed), np.bool_)
        size = min(len(self.vectors), len(allowed))
        matched = np.where(allowed[:size], self.words.match(text, size), 0.0)
        found = matched[matched > 0]
        if not len(found):
            return keep
        enough = -np.partition(-found, least - 1)[least - 1] if len(found) > least else 0.0
        keep[:size] = (matched > 0) & (matched >= min(MATCHING * found.max(), enough))
        return keep

    def _cosines(
        self, slots: NDArray[np.int32], vectors: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """[slots, vectors] float32, dot products of int8 codes over 127².

        The products are integers below 2^24, so they are exact in float32, in any order of
        summation: a value is the same whatever stands beside it.
        """
        codes = self._codes[slots].astype(np.float32)
        cosines: NDArray[np.float32] = codes @ quantised(vectors).T.astype(np.float32)
        return cosines / np.float32(127 * 127)

    def interests(self, request: Request) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the person's recent events point to: one vector for each of their top categories.

        An event weighs by its action (INTEREST), halved every seven days. Weights are integers
        and codes are summed, so the result is exact.

        Returns:
            Vectors [interests, dim] float32 of unit length, the heaviest first, and their
            shares of the whole weight [interests] float32. None for a newcomer.
        """
        none = np.zeros((0, self.encoder.dim), np.float32), np.zeros(0, np.float32)
        known = (request.recent >= 0) & (request.recent < len(self.codes))
        slots = request.recent[known]
        age = np.maximum(request.query.t - request.recent_t[known], 0) / HALF_LIFE_MS
        decay = np.rint(np.exp2(-age) * _WEIGHT_UNIT).astype(np.int64)
        weights = decay * _KIND_WEIGHT[request.recent_kinds[known]]
        if not weights.sum():
            return none
        categories, member = np.unique(self.shelf.column("category")[slots], return_inverse=True)
        # int64 sums in float64 hold: 2^20 · 6 · 127 · events is far below 2^53.
        totals = np.zeros((len(categories), self.encoder.dim))
        np.add.at(totals, member, weights[:, None] * self.codes[slots].astype(np.int64))
        shares = np.bincount(member, weights, minlength=len(categories))
        top = best(shares, MAX_INTERESTS)
        top = top[shares[top] > 0]
        lengths = np.maximum(np.sqrt((totals[top] ** 2).sum(axis=1)), 1e-12)
        vectors = (totals[top] / lengths[:, None]).astype(np.float32)
        return vectors, (shares[top] / shares.sum()).astype(np.float32)


class Similar:
    """The nearest neighbours of the anchor; nothing without one."""

    def __init__(self, content: ContentIndex, name: str = "similar") -> None:
        self.name = name
        self._content = content

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Nothing to fold: the ContentIndex does."""

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k neighbours by cosine, the anchor itself left out."""
        if not 0 <= request.anchor < len(self._content.vectors):
            return Candidates.none(self.name)
        vector = self._content.vectors[request.anchor]
        slots, scores = self._content.index.search(vector, allowed, k + 1)
        other = slots != request.anchor
        return Candidates.of(self.name, slots[other][:k], scores[other][:k])


class Taste:
    """Neighbours of each of the person's interests, taken in turn by the interests' shares."""

    def __init__(self, content: ContentIndex, name: str = "taste") -> None:
        self.name = name
        self._content = content

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Nothing to fold: the ContentIndex does."""

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k; the score is share of the interest / rank within it, so 1/rank for one."""
        vectors, shares = self._content.interests(request)
        slots = [np.zeros(0, np.int32)]
        scores = [np.zeros(0, np.float32)]
        interests = self._content.index.search_many(vectors, allowed, k)
        for (found, _), share in zip(interests, shares, strict=True):
            slots.append(found)
            scores.append((share / np.arange(1, len(found) + 1)).astype(np.float32))
        every, score = np.concatenate(slots), np.concatenate(scores)
        order = np.lexsort((every, -score))
        _, first = np.unique(every[order], return_index=True)
        rows = order[np.sort(first)][:k]
        return Candidates.of(self.name, every[rows], score[rows])


def relevance(matched: NDArray[np.float64], cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """[slots] float32, -0.2 … 1: words matched (0 … 1), and the cosine with the text's vector.

    Words weigh 0.8: a hashed vector of few dimensions is a weak witness.

    >>> relevance(np.array([1.0]), np.array([0.5], np.float32))
    array([0.9], dtype=float32)
    """
    both: NDArray[np.float64] = _WORDS_SHARE * matched + (1 - _WORDS_SHARE) * cosines
    return both.astype(np.float32)


def quantised(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Unit vectors as int8, 127 for 1.0.

    >>> quantised(np.array([[0.5, -1.0]], np.float32))
    array([[  64, -127]], dtype=int8)
    """
    codes: NDArray[np.int8] = np.clip(np.rint(vectors * 127), -127, 127).astype(np.int8)
    return codes
