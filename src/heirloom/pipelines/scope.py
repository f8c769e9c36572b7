"""Scope: what may be shown to a request, as a filter for an index and as a mask for the rest."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from heirloom.core.query import Filters, Request
from heirloom.pipelines.live import Live
from heirloom.retrieval.content import NO_SLOTS
from heirloom.retrieval.offers import country_code
from heirloom.retrieval.vectors.where import Where
from heirloom.slates.filters import permitted

_CODED = (
    ("brand", "brands"), ("size", "sizes"), ("colour", "colours"), ("condition", "conditions"),
    ("seller", "sellers"),
)  # fmt: skip


class Scope:
    """Live, as the filters ask, not own, hidden, blocked or shown before.

    `where` and `without` say the same as `mask`, which looks at every listing and is made when it
    is asked for first; and so does `passes`, of some listings.
    """

    def __init__(self, request: Request, live: Live) -> None:
        self._request = request
        self._live = live

    @cached_property
    def where(self) -> Where:
        """For an index of what is on offer."""
        asked = self._request.query.filters
        ends = {
            "price_minor": (asked.price_min_minor, asked.price_max_minor),
            "listed_at": (asked.listed_since, None),
        }
        refused = [code for code in (self._own, *self._blocked) if code > 0]
        return Where(
            among=coded(asked, self._live),
            without={"seller": refused} if refused else {},
            between={name: pair for name, pair in ends.items() if pair != (None, None)},
        )

    @cached_property
    def without(self) -> NDArray[np.int32]:
        """[slots] int32, what is left out one by one."""
        slots = [*self._live.people.hidden(self._request.person), *self._excluded]
        return np.array([slot for slot in slots if slot >= 0], np.int32)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """[slots] bool."""
        catalogue = self._live.catalogue
        return permitted(
            catalogue.mask(self._filters),
            catalogue.column("seller"),
            own=self._own,
            blocked=self._blocked,
            hidden=self._live.people.hidden(self._request.person),
            excluded=self._excluded,
        )

    def passes(self, slots: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[slots] bool, the mask's values of these slots, each in the catalogue."""
        if "mask" in vars(self):
            told: NDArray[np.bool_] = self.mask[slots]
            return told
        catalogue = self._live.catalogue
        keep = catalogue.mask(self._filters, slots)
        if refused := [code for code in (self._own, *self._blocked) if code > 0]:
            keep &= ~np.isin(catalogue.column("seller")[slots], refused)
        if len(self.without):
            keep &= ~np.isin(slots, self.without)
        return keep

    def narrow(self, having: NDArray[np.bool_]) -> None:
        """To those of the mask that have something too; not where none has it."""
        if having.any():
            self.mask = having
            self.where, self.without = Where(allowed=having), NO_SLOTS

    @property
    def _filters(self) -> Filters:
        return self._request.query.filters

    @cached_property
    def _own(self) -> int:
        return self._live.vocabulary.find("seller", self._request.query.user)

    @cached_property
    def _blocked(self) -> list[int]:
        return list(self._live.people.blocked(self._request.person))

    @cached_property
    def _excluded(self) -> list[int]:
        shown = self._live.catalogue.slots_of(self._request.query.exclude)
        return [*shown.tolist(), self._request.anchor]


def coded(filters: Filters, live: Live) -> dict[str, NDArray[np.int64] | list[int]]:
    """For each column that the filters name, the codes that pass; a value never seen has none."""
    among: dict[str, NDArray[np.int64] | list[int]] = {}
    if filters.category:
        among["category"] = np.flatnonzero(live.catalogue.under(filters.category))
    for column, field in _CODED:
        if wanted := getattr(filters, field):
            codes = (live.vocabulary.find(column, text) for text in wanted)
            among[column] = [code for code in codes if code]
    if filters.countries:
        countries = (country_code(text) for text in filters.countries)
        among["country"] = [code for code in countries if code]
    return among
