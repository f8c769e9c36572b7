"""SavedSearch: what is new in the searches that a person follows."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event, Kind, person_key
from heirloom.core.facts import Facts
from heirloom.core.filters import Filters, filters_of
from heirloom.core.kept import Arrays, Given, alike, joined, object_of, of_object, within
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import words
from heirloom.retrieval.in_order import InOrder
from heirloom.retrieval.recent import newest
from heirloom.retrieval.retriever import Matcher, Passes
from heirloom.retrieval.shelf import Shelf
from heirloom.retrieval.top import ascending

MOST = 20
"""Searches of one person that are kept."""
_NAMES = Filters.__struct_fields__


class Saved(NamedTuple):
    """A search that somebody follows. `text` may be empty, `filters` may ask for nothing."""

    text: str
    filters: Filters
    since: int
    """ms since 1970 UTC: when it was saved."""


class SavedSearches:
    """The searches that each person follows, folded from `follow` and `unfollow` without a seller.

    Two searches with the same words in any order, and the same filters, are one: following it
    again begins anew. One more than MOST takes the place of the one saved longest ago.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._of: dict[int, dict[tuple[frozenset[str], Filters], Saved]] = {}

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold consecutive entries of the log."""
        kinds = (Kind.FOLLOW, Kind.UNFOLLOW)
        for entry in entries:
            event = entry.event
            if event.kind in kinds and event.seller is None:
                self._take(event)

    def _take(self, event: Event) -> None:
        person = self._vocabulary.find("person", person_key(event.user, event.session))
        asked = words(event.text or "")
        text = (event.text or "").strip() if asked else ""
        stated = {name: event.attributes[name] for name in _NAMES if name in event.attributes}
        key = (frozenset(asked), filters_of(stated))
        searches = self._of.setdefault(person, {})
        searches.pop(key, None)
        if event.kind == Kind.FOLLOW:
            searches[key] = Saved(text, key[1], event.t)
            if len(searches) > MOST:
                del searches[next(iter(searches))]
        elif not searches:
            del self._of[person]

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        saved = {person: list(searches.values()) for person, searches in self._of.items()}
        return {"of": of_object(saved)}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("SavedSearches", arrays, self.arrays())
        saved = object_of(own["of"], dict[int, list[Saved]])
        self._of = {
            person: {(frozenset(words(each.text)), each.filters): each for each in searches}
            for person, searches in saved.items()
        }

    def of(self, person: int) -> tuple[Saved, ...]:
        """A person's searches, the latest saved first; none for 0."""
        return tuple(reversed(self._of.get(person, {}).values())) if person else ()


class SavedSearch:
    """The newest listings that came into a followed search since it was saved; nothing for others.

    A listing is in it where the search itself, asked now, would count it: it passes the filters
    and has the words well.

    Args:
        searches: folded by whoever folds the log's entries.
        catalogue: for the filters.
        matcher: what says which listings words mean, asked at each request.
    """

    def __init__(
        self,
        searches: SavedSearches,
        catalogue: Catalogue,
        matcher: Callable[[], Matcher],
        name: str = "saved_search",
    ) -> None:
        self.name = name
        self._searches, self._catalogue, self._matcher = searches, catalogue, matcher
        self._shelf = Shelf()
        self._order = InOrder()

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:  # noqa: ARG002
        """Fold stock events."""
        changed = self._shelf.apply(facts)
        self._order.put(changed, self._shelf.column("listed_at")[changed])

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return joined({"shelf": self._shelf.arrays(), "order": self._order.arrays()})

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._shelf.restore(within(arrays, "shelf"))
        self._order.restore(within(arrays, "order"))

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings of those searches, newest first."""
        searches = self._searches.of(request.person)
        listed_at = self._shelf.column("listed_at")
        size = min(len(allowed), len(listed_at), len(self._catalogue))
        found = np.zeros(size, np.bool_)
        for search in searches:
            mask = self._catalogue.mask(search.filters)
            new = allowed[:size] & mask[:size] & (listed_at[:size] >= search.since) & ~found
            if search.text and new.any():
                new &= self._matcher().matching(search.text, mask, least=1)[:size]
            found |= new
        if not found.any():
            return Candidates.none(self.name)
        return newest(self.name, self._shelf, request, np.flatnonzero(found), k)

    def sift(self, request: Request, passes: Passes, k: int) -> Candidates:
        """As `retrieve`; it looks at what came since. Words are matched with the whole stock's."""
        listed_at = self._shelf.column("listed_at")
        found = [np.zeros(0, np.int32)]
        for search in self._searches.of(request.person):
            new = self._order.since(search.since, listed_at)
            new = new[self._catalogue.mask(search.filters, new)]
            new = new[passes(new)]
            if search.text and len(new):
                mask = self._catalogue.mask(search.filters)
                new = new[self._matcher().matching(search.text, mask, least=1)[new]]
            found.append(new)
        slots = ascending(np.concatenate(found))
        if not len(slots):
            return Candidates.none(self.name)
        return newest(self.name, self._shelf, request, slots, k)
