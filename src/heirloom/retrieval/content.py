"""Content: listings as vectors by slot, and what is near to what.

Sold listings keep their vector until their slot is reused: the taste of those who bought them
rests on it. The index holds those on offer alone.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.core.event import KIND_CODE, STOCK_KINDS, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike, joined, within
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.retrieval.diction import Diction
from heirloom.retrieval.intent import likely
from heirloom.retrieval.interests import heaviest
from heirloom.retrieval.offers import Offers
from heirloom.retrieval.top import at_rows, fitted
from heirloom.retrieval.vectors.answer import Answer, FilteredIndex, OutOfTime
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.searcher import Settings
from heirloom.retrieval.vectors.where import EVERYTHING, Where
from heirloom.retrieval.words import Words, weighted_words

logger = logging.getLogger(__name__)

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
TRAINED_FROM = 50_000
"""From so many listings on offer the index learns a codebook; below it compares every row."""
_EVERY_ROW = Settings(exact_rows=np.inf)
NO_SLOTS = np.zeros(0, np.int32)
_STOCK = sum(1 << KIND_CODE[kind] for kind in STOCK_KINDS)
_WORDS_SHARE = 0.8
_WEIGHT_UNIT = 1 << 20
KIND_WEIGHT = np.zeros(len(Kind), np.int64)
for _kind, _weight in INTEREST.items():
    KIND_WEIGHT[KIND_CODE[_kind]] = _weight


class Encoder(Protocol):
    """What is asked of an encoder here; `heirloom.encoders` has the whole contract."""

    dim: int
    model_id: str

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        """[listings, dim] float32 of unit length."""

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of unit length; zeros for no words."""


class Matched(NamedTuple):
    """What a query's words match.

    Attributes:
        share: [slots] float64, 0 … 1, as Words.match; not to be written to.
        slots: [matched] int32, ascending: those that match at all.
    """

    share: NDArray[np.float64]
    slots: NDArray[np.int32]


class ContentIndex:
    """Each listing's vector by slot, those on offer in an index that filters, and int8 codes.

    The same log gives the same vectors, columns and codebook, however it was cut into calls of
    `apply`, with `refit` at the same offsets. Up to `trained_from` listings on offer a search
    compares every row, so its answer follows from the log too; beyond, where it is not exact, it
    may differ at its far end with the order in which rows lie.

    Args:
        encoder: makes the vectors; an even number of dimensions up to 256.
        trained_from: with so many listings on offer, `refit` trains the index.

    Attributes:
        index: the present one; `refit` may put another in its place. One that was put here from
            outside, before anything is folded, stays: a server's, say.
        offers: columns and what is on offer, by slot.

    Raises:
        ShapeError: an index cannot hold vectors of the encoder's dimension.
    """

    def __init__(self, encoder: Encoder, *, trained_from: int = TRAINED_FROM) -> None:
        self.encoder = encoder
        self.index: FilteredIndex = _untrained(encoder)
        self.offers = Offers()
        self.words = Words()
        self.diction = Diction()
        self._size = 0
        self._vectors = np.zeros((0, encoder.dim), np.float32)
        self._codes = np.zeros((0, encoder.dim), np.int8)
        self._trained_from = trained_from
        self._train_at = 0  # when so many were listed, the index is trained anew
        # Of the latest request: a retriever asks, and then the columns given.
        self._interests: tuple[Request, tuple[NDArray[np.float32], NDArray[np.float32]]] | None
        self._interests = None
        self._matched: tuple[tuple[str, int, int], Matched] | None = None

    @property
    def model_id(self) -> str:
        """Which model made the vectors."""
        return self.encoder.model_id

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[slots, dim] float32 of unit length; zeros for a slot that holds nothing yet."""
        return self._vectors[: self._size]

    @property
    def codes(self) -> NDArray[np.int8]:
        """[slots, dim] int8, 127 for 1.0."""
        return self._codes[: self._size]

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Fold stock events; listings that are new or edited are encoded.

        A reused slot gets the newcomer's vector. What is sold, reserved or removed is in no later
        search; what is released is again.

        Args:
            facts: the next part of the log.
            listings: by slot, as the last `listed` or `edited` event in that part tells them.

        Raises:
            ShapeError: the encoder's vectors are not [listings, dim]; nothing was folded.
        """
        self._interests = None
        if not facts.kinds & _STOCK:
            return
        vectors = self._encoded(listings) if listings else None
        touched = self.offers.apply(facts, listings)
        if vectors is not None:
            slots = np.fromiter(listings, np.int32, len(listings))
            self._put(slots, vectors)
            touched = np.union1d(touched, slots)
        for slot, listing in listings.items():
            self.words.put(slot, weighted_words(listing))
        self.diction.put(listings)
        live = self.offers.live[touched]
        self.index.remove(touched[~live])
        self._enter(self.index, touched[live])

    def _encoded(self, listings: Mapping[int, Listing]) -> NDArray[np.float32]:
        """[listings, dim]; zeros, as for no content, where the encoder gives no numbers."""
        vectors = np.asarray(self.encoder.listings(list(listings.values())), np.float32)
        if vectors.shape != (len(listings), self.encoder.dim):
            raise ShapeError(
                f"encoder {self.model_id!r} gave vectors of shape {list(vectors.shape)}; wanted "
                f"[listings={len(listings)}, dim={self.encoder.dim}]"
            )
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            ids = [each.listing_id for each in listings.values()]
            logger.warning(
                "encoder %r gave NaN or infinity for %d listings, %r first: they are found by "
                "words and facts, not by likeness", self.model_id, len(broken), ids[broken[0]],
            )  # fmt: skip
            vectors = vectors.copy()
            vectors[broken] = 0
        return vectors

    def _put(self, slots: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        size = int(slots.max()) + 1
        self._vectors, self._codes = fitted(self._vectors, size), fitted(self._codes, size)
        self._vectors[slots], self._codes[slots] = vectors, quantised(vectors)
        self._size = max(self._size, size)

    def _enter(self, index: FilteredIndex, slots: NDArray[np.int32]) -> None:
        slots = slots[slots < self._size]
        index.upsert(slots, self._vectors[slots], self.offers.columns(slots))

    def refit(self) -> None:
        """Fit to the listings there are what is fitted to them: at log offsets fixed in advance.

        The index is trained when there are enough, and anew when as many were listed again: by
        then half of the stock or more is new to it.
        """
        self.diction.refit()
        if not isinstance(self.index, VectorIndex):
            return
        live = np.flatnonzero(self.offers.live[: self._size]).astype(np.int32)
        if len(live) < self._trained_from or self.offers.listed < self._train_at:
            self.index.repack()
            return
        self._train_at = self.offers.listed + len(live)
        index = VectorIndex(Codebook.trained(self._vectors[live], self.model_id))
        self._enter(index, live)
        self.index = index

    def take_over(self, other: "ContentIndex") -> None:
        """Be what another is, of another encoder perhaps; the other is not to be used again.

        Retrievers hold on to this object, so it is changed in place.
        """
        vars(self).update(vars(other))

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`; of an index that a server holds, nothing."""
        own = self.index if isinstance(self.index, VectorIndex) else None
        return {
            "vectors": self._vectors,
            "codes": self._codes,
            "sizes": np.array([self._size, self._train_at, self._trained_from], np.int64),
            **joined({
                "offers": self.offers.arrays(),
                "words": self.words.arrays(),
                "diction": self.diction.arrays(),
                "index": own.arrays(room=True) if own else {},
            }),
        }  # fmt: skip

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`. A server's index is given all that is on offer."""
        like: Given = {
            "vectors": self._vectors,
            "codes": self._codes,
            "sizes": np.zeros(0, np.int64),
        }
        own = alike("ContentIndex", arrays, like)
        size, train_at, trained_from = own["sizes"].tolist()
        if trained_from != self._trained_from:
            raise InputError(f"ContentIndex: trained from {trained_from} on offer: fold the log")
        self.offers.restore(within(arrays, "offers"))
        self.words.restore(within(arrays, "words"))
        self.diction.restore(within(arrays, "diction"))
        self._vectors, self._codes = own["vectors"], own["codes"]
        self._size, self._train_at = size, train_at
        if isinstance(self.index, VectorIndex):
            settings = None if train_at else _EVERY_ROW
            index = within(arrays, "index")
            self.index = VectorIndex.of(self.model_id, index, settings=settings)
        else:
            self._enter(self.index, np.flatnonzero(self.offers.live).astype(np.int32))

    def nearest(
        self,
        vector: NDArray[np.float32],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        without: NDArray[np.int32] = NO_SLOTS,
        out_of_time: OutOfTime | None = None,
    ) -> Answer:
        """The k nearest on offer that pass a filter, by dot product with a vector [dim].

        Args:
            vector: of this model.
            where: the filter.
            k: at most so many.
            without: [slots] int32, left out one by one; few.
            out_of_time: asked now and then; True: answer with what was found so far.

        Raises:
            ShapeError, InputError: as FilteredIndex.find.
        """
        more = k + len(without) if k > 0 else k
        answer = self.index.find(vector, where, more, out_of_time=out_of_time)
        if not len(without):
            return answer
        kept = np.flatnonzero(~np.isin(answer.slots, without))[: max(k, 0)]
        return replace(answer, slots=answer.slots[kept], scores=answer.scores[kept])

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of a query's words; zeros for none, and where the encoder gives NaN."""
        if not text:
            return np.zeros(self.encoder.dim, np.float32)
        vector = self.encoder.text(text)
        return vector if np.isfinite(vector).all() else np.zeros_like(vector)

    def given(self, request: Request, slots: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """How candidates [candidates] match the query's text, its anchor and the person's taste.

        `anchor_match`, `taste_match` and `person_match` are cosines, the second with the person's
        nearest interest, the last with the nearest of their vectors; `text_match` is the
        relevance, 0 … 1; `text_category` the share of the candidate's category among what matches
        the text best; `style_match` and `anchor_style` are those of Diction. Each value depends on
        its own candidate alone. NaN throughout where there is no text, anchor or taste.
        """
        given = dict.fromkeys(
            (
                "text_match",
                "taste_match",
                "person_match",
                "style_match",
                "anchor_match",
                "anchor_style",
                "text_category",
            ),
            np.full(len(slots), np.nan, np.float32),
        )
        if request.text_vector.any():
            everything = self.matched(request.query.text, len(self.vectors))
            matched = everything.share[slots]
            cosines = self._nearest(slots, request.text_vector[None])
            given["text_match"] = relevance(matched, cosines)
            given["text_category"] = self._meant(everything, slots)
        if len(request.recent):
            given["style_match"] = self.diction.match(request.recent, slots)
        interests, _ = self.interests(request)
        if len(interests):
            given["taste_match"] = self._nearest(slots, interests)
        if len(request.person_vectors):
            given["person_match"] = self._nearest(slots, request.person_vectors)
        if 0 <= request.anchor < len(self.vectors):
            anchor = self.vectors[request.anchor][None]
            given["anchor_match"] = self._nearest(slots, anchor)
            given["anchor_style"] = self.diction.match(np.array([request.anchor], np.int32), slots)
        return given

    def _meant(self, matched: Matched, slots: NDArray[np.int32]) -> NDArray[np.float32]:
        """[slots] float32: the share of each one's category in what matches best of all on offer.

        So a word that no category is called by says which it means.
        """
        category, offered = self.offers.column("category"), matched.slots
        offered = offered[self.offers.live[offered]]
        shares = likely(matched.share[offered], category[offered])
        return at_rows(shares, category[slots])

    def matched(self, text: str, size: int) -> Matched:
        """How well the first so many slots match a query's words. A request asks more than once."""
        asked = text, size, self.words.changes
        if self._matched is None or self._matched[0] != asked:
            share = self.words.match(text, size)
            share.flags.writeable = False
            self._matched = asked, Matched(share, np.flatnonzero(share > 0).astype(np.int32))
        return self._matched[1]

    def matching(
        self, text: str, allowed: NDArray[np.bool_], least: int = 100
    ) -> NDArray[np.bool_]:
        """[slots] bool: the allowed listings that match a query's words well; see `Matcher`.

        Those at least MATCHING times as well matched as the best, and never fewer than the
        `least` best of those that match at all.
        """
        keep = np.zeros(len(allowed), np.bool_)
        size = min(len(self.vectors), len(allowed))
        share, slots = self.matched(text, size)
        slots = slots[allowed[slots]]
        if not len(slots):
            return keep
        found = share[slots]
        enough = -np.partition(-found, least - 1)[least - 1] if len(found) > least else 0.0
        keep[slots[found >= min(MATCHING * found.max(), enough)]] = True
        return keep

    def _nearest(
        self, slots: NDArray[np.int32], vectors: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """[slots] float32, the greatest cosine with one of some vectors [vectors, dim].

        Dot products of int8 codes over 127². They are integers below 2^24, so they are exact in
        float32, in any order of summation: a value is the same whatever stands beside it.
        """
        cosines: NDArray[np.float32] = _greatest(
            self._codes, slots, quantised(vectors).astype(np.float32)
        )
        return cosines

    def interests(self, request: Request) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the person's recent events point to: one vector for each of their top categories.

        An event weighs by its action (INTEREST), halved every seven days. Weights are integers
        and codes are summed, so the result is exact.

        Returns:
            Vectors [interests, dim] float32 of unit length, the heaviest first, and their
            shares of the whole weight [interests] float32. None for a newcomer.
        """
        if self._interests is None or self._interests[0] is not request:
            self._interests = request, self._interests_of(request)
        return self._interests[1]

    def _interests_of(self, request: Request) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        none = np.zeros((0, self.encoder.dim), np.float32), np.zeros(0, np.float32)
        known = (request.recent >= 0) & (request.recent < len(self.codes))
        slots = request.recent[known]
        age = np.maximum(request.query.t - request.recent_t[known], 0) / HALF_LIFE_MS
        decay = np.rint(np.exp2(-age) * _WEIGHT_UNIT).astype(np.int64)
        weights = decay * KIND_WEIGHT[request.recent_kinds[known]]
        if not weights.any():
            return none
        category = self.offers.column("category")
        totals, shares, whole = heaviest(slots, weights, category, self._codes, MAX_INTERESTS)
        lengths = np.maximum(np.sqrt((totals**2).sum(axis=1)), 1e-12)
        vectors = (totals / lengths[:, None]).astype(np.float32)
        return vectors, (shares / whole).astype(np.float32)


@njit(cache=True, fastmath={"reassoc"})  # the sums are of whole numbers
def _greatest(codes: NDArray[Any], slots: NDArray[Any], vectors: NDArray[Any]) -> NDArray[Any]:
    """As `ContentIndex._nearest`, of vectors [vectors, dim] that are codes in float32."""
    greatest = np.empty(len(slots), np.float32)
    for i in range(len(slots)):
        code = codes[slots[i]]
        most = np.float32(-np.inf)
        for v in range(len(vectors)):
            product = np.float32(0.0)
            for k in range(len(code)):
                product += np.float32(code[k]) * vectors[v, k]
            most = max(most, product)
        greatest[i] = most / np.float32(127 * 127)
    return greatest


def _untrained(encoder: Encoder) -> VectorIndex:
    """An index that compares every row that passes."""
    return VectorIndex(Codebook.untrained(encoder.dim, encoder.model_id), settings=_EVERY_ROW)


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
