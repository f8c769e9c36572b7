"""SharedPrefix: listings whose semantic ids begin as those of what the person looked at."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.pipelines.live import REFIT_EVERY, Live
from heirloom.retrieval.content import HALF_LIFE_MS, INTEREST, ContentIndex
from heirloom.retrieval.shelf import EDITED, LISTED, Shelf, mentions
from heirloom.retrieval.top import best, fitted
from semantic_ids.codebook import Codebook, prefixes

LEVELS = 3
CODES = 64
BEAM = 16
STEEP = 4.0
SAMPLE = 20_000
"""At most so many listings, evenly taken, fit the codebook."""
LEAST_LISTINGS = 4
"""So many for each code, before there are any."""
_GROWTH = 1.25
KIND_WEIGHT = np.zeros(len(KIND_CODE))
for _kind, _weight in INTEREST.items():
    KIND_WEIGHT[KIND_CODE[_kind]] = _weight


def shared(
    of: NDArray[np.int64],
    recent: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    beam: int = BEAM,
    steep: float = STEEP,
) -> NDArray[np.float64]:
    """[rows] how much of the weight begins as each row does, a longer beginning counting more.

    The sum over levels i of steep^i times the share of the weight whose prefix is the row's.

    Args:
        of: [rows, levels], prefixes of what might be shown.
        recent: [events, levels], of what was acted on.
        weights: [events], not all 0.
        beam: so many prefixes of each level are looked at, the heaviest first.
        steep: 1 or more.

    >>> rows = np.array([[1, 12], [1, 13], [2, 21]])
    >>> shared(rows, np.array([[1, 12], [2, 20]]), np.array([3.0, 1.0]), steep=2.0).tolist()
    [2.25, 0.75, 0.25]
    """
    scores = np.zeros(len(of))
    for level in range(of.shape[1]):
        names, member = np.unique(recent[:, level], return_inverse=True)
        shares = np.bincount(member, weights) / weights.sum()
        kept = np.sort(best(shares, beam))
        place = np.minimum(np.searchsorted(names[kept], of[:, level]), len(kept) - 1)
        hit = names[kept][place] == of[:, level]
        scores += np.where(hit, steep**level * shares[kept][place], 0.0)
    return scores


class SharedPrefix:
    """Candidates by the beginnings of their ids; those level with one another, the newest first.

    The codebook is fitted to the listings there are, at log offsets fixed in advance and when
    a quarter more have come: a replay meets the same ones. Before the first there are none.

    Args:
        content: the vectors of the listings, folded before this.
        name: of the source.
        codes: a level.
        refit_every: log entries between two moments at which the codebook may be fitted.
    """

    def __init__(
        self,
        content: ContentIndex,
        name: str = "semantic_ids",
        *,
        codes: int = CODES,
        refit_every: int = REFIT_EVERY,
    ) -> None:
        self.name = name
        self._content, self._codes, self._every = content, codes, refit_every
        self._shelf = Shelf()
        self._codebook: Codebook | None = None
        self._fitted_to = self._n = 0
        self._known = np.zeros(0, np.bool_)
        self._prefixes = np.zeros((0, LEVELS), np.int64)

    @classmethod
    def of(cls, live: Live) -> Self:
        """What the entry point names."""
        return cls(live.content)

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Code the listings that are new or edited."""
        self._shelf.apply(facts)
        kinds = facts.events["kind"]
        events, rows = mentions(facts, (kinds == LISTED) | (kinds == EDITED))
        begin = 0
        while begin < len(facts):
            end = min(len(facts), begin + self._every - self._n % self._every)
            inside = (begin <= events) & (events < end)
            self._put(np.unique(rows["slot"][inside]))
            self._n += end - begin
            if self._n % self._every == 0:
                self._refit()
            begin = end

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k that share at least a first code; beside an anchor, with the anchor alone."""
        recent, weights = self._recent(request)
        if self._codebook is None or not weights.sum():
            return Candidates.none(self.name)
        size = min(len(self._known), len(allowed))
        slots = np.flatnonzero(allowed[:size] & self._known[:size])
        slots = slots[slots != request.anchor]
        scores = shared(self._prefixes[slots], self._prefixes[recent], weights)
        slots, scores = slots[scores > 0], scores[scores > 0]
        listed_at = self._shelf.column("listed_at")[slots]
        first = np.lexsort((slots, -listed_at, -scores))[:k]
        return Candidates.of(
            self.name, slots[first].astype(np.int32), scores[first].astype(np.float32)
        )

    def _recent(self, request: Request) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Slots that speak for the request, and how much each says."""
        if request.anchor >= 0:
            slots, weights = np.array([request.anchor]), np.ones(1)
        else:
            age = np.maximum(request.query.t - request.recent_t, 0) / HALF_LIFE_MS
            slots, weights = request.recent, np.exp2(-age) * KIND_WEIGHT[request.recent_kinds]
        there = (slots >= 0) & (slots < len(self._known))
        there[there] = self._known[slots[there]]
        return slots[there], weights[there]

    def _put(self, slots: NDArray[np.int32]) -> None:
        if not len(slots):
            return
        size = int(slots.max()) + 1
        self._known = fitted(self._known, size)
        self._prefixes = fitted(self._prefixes, size)
        self._known[slots] = True
        if self._codebook is not None:
            codes = self._codebook.encode(self._content.vectors[slots])
            self._prefixes[slots] = prefixes(codes, self._codes)

    def _refit(self) -> None:
        slots = np.flatnonzero(self._known)
        if len(slots) < max(LEAST_LISTINGS * self._codes, _GROWTH * self._fitted_to):
            return
        sample = slots[:: -(-len(slots) // SAMPLE)]
        self._codebook = Codebook.fit(
            self._content.vectors[sample], levels=LEVELS, codes=self._codes
        )
        self._fitted_to = len(slots)
        self._put(slots)
