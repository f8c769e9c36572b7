"""Standby: what is popular in each context, kept, for when no slate can be made."""

from collections import OrderedDict

import msgspec
import numpy as np

from heirloom.apps.paging import Fit
from heirloom.apps.shop import Live
from heirloom.core.event import derived_id
from heirloom.core.query import Query
from heirloom.core.slate import Degraded, Shown, ShownList, Slate
from heirloom.pipelines.ladder import ABSENT

KEPT = 240
"""Listings of a context: filters, sales and what a person hid leave enough of them."""
POLICY = "standby"


class Standby:
    """Ids of popular listings by category. They are nobody's: made for no person.

    Args:
        capacity: so many categories, those asked for last.
        every: ns; older than that, a category is asked for again.
        again: ns; the same where nothing was found.
    """

    def __init__(
        self, *, capacity: int = 256, every: int = 30_000_000_000, again: int = 1_000_000_000
    ) -> None:
        self.capacity = capacity
        self.every = every
        self.again = again
        self._kept: OrderedDict[str, tuple[int, tuple[str, ...]]] = OrderedDict()
        self._next = 0

    def due(self, category: str, now: int) -> bool:
        """Whether a category is to be asked for; said once, and not twice within `again`."""
        at, found = self._kept.get(category, (None, ()))
        if now < self._next or (at is not None and now < at + (self.every if found else 0)):
            return False
        self._next = now + self.again
        return True

    def keep(self, category: str, listings: tuple[str, ...], now: int) -> None:
        """What was found, best first."""
        self._kept[category] = now, listings
        self._kept.move_to_end(category)
        if len(self._kept) > self.capacity:
            self._kept.popitem(last=False)

    def listings(self, category: str) -> tuple[str, ...]:
        """Of the category, or of the nearest above it of which any are kept.

        >>> standby = Standby()
        >>> standby.keep("women", ("a", "b"), now=0)
        >>> standby.listings("women/shoes"), standby.listings("men")
        (('a', 'b'), ())
        """
        while True:
            _, found = self._kept.get(category, (0, ()))
            if found or not category:
                return found
            category = category.rpartition("/")[0]


def category_of(query: Query, live: Live) -> str:
    """The context of a query: the category asked for, or the anchor's."""
    slot = live.catalogue.slot_of(query.anchor) if query.anchor else -1
    if query.filters.category or slot < 0:
        return query.filters.category.strip("/")
    return live.catalogue.listing(slot).category


def standby_slate(
    query: Query,
    live: Live,
    standby: Standby,
    fit: Fit,
    why: tuple[Degraded, ...],
) -> Slate:
    """A slate of what was kept: on sale now, as the filters ask, and fit for this person.

    Of a search it shows only what has every word in its title, brand or category; nothing else
    would be an answer to it.

    Args:
        query: who asks.
        live: read without a lock: only what a writer changes in one step.
        standby: what was kept.
        fit: whether listings may be shown to this person now.
        why: what happened.
    """
    catalogue = live.catalogue
    kept = standby.listings(category_of(query, live))
    slots = catalogue.slots_of(kept)
    words = query.text.casefold().split()
    own, out = query.user, {*query.exclude, query.anchor}
    passing = np.flatnonzero(slots >= 0)
    passing = passing[catalogue.mask(query.filters, slots[passing])]
    chosen: list[Shown] = []
    for row in passing.tolist():
        listing = catalogue.listing(int(slots[row]))
        shown = Shown(listing.listing_id, len(chosen), 0.0, ("popular",), ())
        said = f"{listing.title} {listing.brand} {listing.category}".casefold()
        unfit = listing.listing_id in out or (own is not None and listing.seller == own)
        if not unfit and all(word in said for word in words) and all(fit([shown])):
            chosen.append(shown)
        if len(chosen) == query.k:
            break
    if not chosen:
        reason = "nothing that may be shown was kept for this moment"
        why = (*why, Degraded("slate", reason, ABSENT, "empty"))
    return Slate(
        slate_id=derived_id(POLICY, msgspec.msgpack.encode(query)),
        policy=POLICY,
        shown=ShownList.of(chosen),
        slots=catalogue.slots_of([each.listing for each in chosen]),
        features=None,
        candidates_hash="",
        t=query.t,
        n=live.n,
        degraded=why,
    )
