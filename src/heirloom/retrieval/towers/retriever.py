"""ByTakers: the listings whose takers are like the one who asks."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Given
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.rate import DAY_MS
from heirloom.retrieval.top import best
from heirloom.retrieval.towers.fit import Recipe, fit, lately, own
from heirloom.retrieval.towers.model import Asked, Encoded, Towers
from heirloom.retrieval.towers.takers import Takers

RECIPE = Recipe()
FRESH_DAYS = 60
_HOUR_MS = 3_600_000


class ByTakers:
    """Two towers over who took what: a listing is placed by its takers, a request by its context.

    It counts from the first event on, and answers once it was given towers (`learn`, `use`);
    before, it gives nothing, and the retrievers beside it answer alone. Listings are encoded anew
    when the log has moved on or an hour has passed, all at once: some thousand listings take
    milliseconds. For a stock of millions they would be encoded as they change, and searched by an
    index.

    The score of what is fresh is raised a little. Where the likelihood is at its best, a small step
    costs next to nothing over all that is taken, and finds more of what is new.

    Args:
        name: of the source.
        kinds: the kinds of event by which a listing is taken.
        recipe: how towers are fitted.
        fresh: nats that a listing gains which has been on offer for less than FRESH_DAYS.
    """

    def __init__(
        self,
        name: str = "takers",
        *,
        kinds: Collection[str] = (Kind.PURCHASE.value,),
        recipe: Recipe = RECIPE,
        fresh: float = 0.15,
    ) -> None:
        self.name = name
        self._kinds = tuple(kinds)
        self._recipe = recipe
        self._fresh = np.float32(fresh)
        self._takers = Takers(kinds)
        self._towers: Towers | None = None
        self._encoded: tuple[int, Encoded] | None = None

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:  # noqa: ARG002
        """Fold stock events and what was taken."""
        self._takers.apply(facts)
        self._encoded = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As `core.kept.Kept`."""
        return self._takers.arrays()

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._takers.restore(arrays)
        self._encoded = None

    def learn(self, facts: Facts, *, seed: int) -> dict[str, NDArray[Any]]:
        """Arrays of towers fitted on a log from its first entry; nothing changes here.

        Raises:
            InputError: if nothing was taken that had been on offer before.
        """
        return fit(facts, Takers(self._kinds), self._recipe, seed=seed).arrays()

    def use(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Answer by these from now on; none: give nothing.

        Raises:
            BundleError: if they are not what `learn` gave.
        """
        self._towers = Towers.from_arrays(arrays) if arrays else None
        self._encoded = None

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k, best first; the score is the log of a chance, up to a constant."""
        size = self._takers.shelf.size
        slots = np.flatnonzero(allowed[:size])
        if self._towers is None or not len(slots) or k <= 0:
            return Candidates.none(self.name)
        encoded = self._listings(request.query.t, self._towers)
        scores = self._towers.scores(encoded, self._asked(request, self._towers))[0, slots]
        since = request.query.t - self._takers.shelf.column("listed_at")[slots]
        scores[since < FRESH_DAYS * DAY_MS] += self._fresh
        rows = best(scores, k)
        return Candidates.of(self.name, slots[rows].astype(np.int32), scores[rows])

    def _asked(self, request: Request, towers: Towers) -> Asked:
        alphabet = towers.alphabet
        known = (request.recent >= 0) & (request.recent < self._takers.shelf.size)
        known &= self._takers.taken_by[request.recent_kinds]
        categories = alphabet.of_categories(self._takers.shelf.column("category"))
        recent = request.recent[known].astype(np.intp)
        slots = recent.tolist()
        days = (request.query.t - request.recent_t[known]) / DAY_MS
        there = self._takers.on_offer[recent]  # of others training knows no vector
        return Asked(
            alphabet.of_declared(request.declared[None]),
            lately([slots], categories, len(alphabet.categories) + 1),
            np.array([len(slots)], np.int64),
            own(
                np.zeros(int(there.sum()), np.intp),
                recent[there],
                days[there],
                (1, self._takers.shelf.size),
            ),
        )

    def _listings(self, t: int, towers: Towers) -> Encoded:
        """All slots as of the hour of t; the same until the log moves on."""
        hour = t // _HOUR_MS
        if self._encoded is None or self._encoded[0] != hour:
            slots = np.arange(self._takers.shelf.size)
            known = self._takers.listings(slots, hour * _HOUR_MS, towers.alphabet)
            self._encoded = hour, towers.encoded(known)
        return self._encoded[1]
