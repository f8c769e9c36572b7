"""Search: listings by a query's words, misspelt or not, with the query's vector beside them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.content import ContentIndex, relevance
from heirloom.retrieval.top import best
from heirloom.retrieval.vectors.where import Where


class Search:
    """Listings that have some of the query's words, by `content.relevance`.

    Where no word matches anything allowed, the nearest by vector are the answer.
    """

    def __init__(self, content: ContentIndex, name: str = "search") -> None:
        self.name = name
        self._content = content

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Nothing to fold: the ContentIndex does."""

    def arrays(self) -> Arrays:
        """Nothing to keep either."""
        return {}

    def restore(self, arrays: Given) -> None:
        """Nothing to take back."""

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings that match the query's text; nothing without text."""
        if not request.text_vector.any():
            return Candidates.none(self.name)
        content = self._content
        size = min(len(content.vectors), len(allowed))
        matched, slots = content.matched(request.query.text, size)
        slots = slots[allowed[slots]]
        if not len(slots):
            near = content.nearest(request.text_vector, Where(allowed=allowed), k)
            return Candidates.of(self.name, near.slots, near.scores)
        cosines = content.vectors[slots] @ request.text_vector
        scores = relevance(matched[slots], cosines)
        rows = best(scores, k)
        return Candidates.of(self.name, slots[rows], scores[rows])
