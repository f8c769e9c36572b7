"""LexicalSearch: a LexicalIndex as a retriever, with the query's vector beside the words."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike, is_kept, joined, within
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.content import MATCHING, ContentIndex, relevance
from heirloom.retrieval.index import Found
from heirloom.retrieval.lexical import LexicalIndex, fields_of
from heirloom.retrieval.shelf import LISTED, mentions
from heirloom.retrieval.top import best, fitted
from heirloom.retrieval.vectors.where import Where

_ENDED = (KIND_CODE[Kind.SOLD], KIND_CODE[Kind.REMOVED])
_WHOLE = 2.0
"""The score of a listing that has every word in its strongest fields."""


class LexicalSearch:
    """Folds stock events into a LexicalIndex, and answers searches from it.

    What is sold or removed leaves the index; what is reserved stays, as it may be released.
    """

    def __init__(self, index: LexicalIndex, content: ContentIndex, name: str = "lexical") -> None:
        self.name = name
        self._index = index
        self._content = content
        self._open = np.zeros(0, np.bool_)

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Fold what the index does not hold yet; a part that it holds in part is given again."""
        if not len(facts):
            return
        kinds = facts.events["kind"]
        told = (kinds == LISTED) | np.isin(kinds, _ENDED)
        events, rows = mentions(facts, told)
        slots = rows["slot"]
        self._open = fitted(self._open, int(slots.max(initial=-1)) + 1)
        self._open[slots] = kinds[events] == LISTED  # of one slot the last counts
        n = int(facts.events["seq"][-1]) + 1
        if n <= self._index.n:
            return
        for slot in np.unique(slots[~self._open[slots]]).tolist():
            self._index.remove(slot)
        for slot, listing in listings.items():
            if slot < len(self._open) and self._open[slot]:
                self._index.upsert(slot, fields_of(listing))
        self._index.advance(n)

    @property
    def keeps(self) -> bool:
        """Whether its index can be kept."""
        return is_kept(self._index)

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        index = self._index.arrays() if is_kept(self._index) else {}
        return {"open": self._open, **joined({"index": index})}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._open = alike("LexicalSearch", arrays, {"open": self._open})["open"]
        if is_kept(self._index):
            self._index.restore(within(arrays, "index"))

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings by words and cosine, `content.relevance`; nothing without text.

        Where no word matches anything allowed, the nearest by vector are the answer.
        """
        content = self._content
        size = min(len(content.vectors), len(allowed))
        slots, matched = self._index.match(request.query.text, allowed[:size], k)
        if not len(slots):
            if not request.text_vector.any():
                return Candidates.none(self.name)
            near = content.nearest(request.text_vector, Where(allowed=allowed), k)
            return Candidates.of(self.name, near.slots, near.scores)
        cosines = content.vectors[slots] @ request.text_vector
        scores = relevance(matched.astype(np.float64) / _WHOLE, cosines)
        order = np.argsort(slots)
        rows = order[best(scores[order], k)]
        return Candidates.of(self.name, slots[rows], scores[rows])

    def matching(
        self, text: str, allowed: NDArray[np.bool_], least: int = 100
    ) -> NDArray[np.bool_]:
        """[slots] bool: the allowed listings that match the words well; see `Matcher`."""
        keep = np.zeros(len(allowed), np.bool_)
        keep[well_matched(self._index.match(text, allowed, least), least)] = True
        return keep


def well_matched(found: Found, least: int) -> NDArray[np.int32]:
    """Slots at least MATCHING times as well matched as the best, or among the `least` best.

    >>> scores = np.array([2.0, 1.6, 1.4, 0.3], np.float32)
    >>> well_matched((np.arange(4, dtype=np.int32), scores), 1).tolist()
    [0, 1]
    """
    slots, scores = found
    if not len(slots):
        return slots
    enough = scores[min(max(least, 1), len(scores)) - 1]
    well: NDArray[np.int32] = slots[scores >= min(np.float32(MATCHING) * scores[0], enough)]
    return well
