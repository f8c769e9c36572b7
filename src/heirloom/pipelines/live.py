"""Live: everything that is known as of a log offset, kept by folding the log.

Serving folds entries as they are acknowledged; training and a restart fold them again from the
log. It is the same object in each case, so what was served can be replayed.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import (
    STOCK_KINDS,
    SURFACE_CODE,
    Kind,
    Scalar,
    declared_text,
    person_key,
)
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.core.query import Query, Request
from heirloom.core.slate import FeatureBatch
from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import query_key
from heirloom.features.people import People
from heirloom.features.state import FeatureState
from heirloom.features.view import FeatureView
from heirloom.pipelines.given import (
    anchor_match,
    recent_match,
    stated_match,
    stock_columns,
    text_asks,
)
from heirloom.pipelines.preferences import Preferences
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.lexical import NO_SYNONYMS, Synonyms
from heirloom.retrieval.lexicon import Lexicon
from heirloom.retrieval.retriever import Matcher, Retriever

FOLD_BATCH = 2_000
REFIT_EVERY = 8_192
"""Log entries between two moments at which content may be fitted to the stock anew."""

_STAMPED = tuple(name for name in ("person", "seller", "query") if name in (EVENT_ROW.names or ()))
"""Fields of EVENT_ROW that hold vocabulary codes of their own name."""


class Live:
    """The catalogue and all state folded from the log, as of offset `n`."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        view: FeatureView,
        content: ContentIndex,
        declared: tuple[str, ...] = (),
        synonyms: Synonyms = NO_SYNONYMS,
    ) -> None:
        self.catalogue = catalogue
        self.view = view
        self.features = view.state()
        self.people = People()
        self.preferences = Preferences(catalogue.vocabulary)
        self.lexicon = Lexicon(catalogue.vocabulary)
        self.content = content
        self.retrievers: dict[str, Retriever] = {}
        self.declared = declared
        self.synonyms = synonyms
        self.n = 0

    @property
    def vocabulary(self) -> Vocabulary:
        """The codes of all strings."""
        return self.catalogue.vocabulary

    def add(self, retrievers: Mapping[str, Retriever]) -> None:
        """Let retrievers fold the log too; only before the first entry."""
        if self.n:
            raise ValueError(
                f"Live: retrievers must be added before the log is folded (n={self.n})"
            )
        self.retrievers.update(retrievers)

    def matcher(self, names: Iterable[str]) -> Matcher:
        """What says which listings a search means: the first of these retrievers that can."""
        named = (self.retrievers[name] for name in names)
        return next((each for each in named if isinstance(each, Matcher)), self.content)

    def restore(self, features: FeatureState, people: People) -> None:
        """Take over folded features and people, of an offset the log reaches; only before it.

        All else is folded from the log's beginning still: the catalogue, content, retrievers,
        preferences. Until `n` has come to their offset, look nothing up.
        """
        if self.n:
            raise ValueError(f"Live: state is restored before the log is folded (n={self.n})")
        if features.columns != self.features.columns:
            raise ValueError(f"Live: the state restored is not of the view {self.view.name!r}")
        self.features, self.people = features, people

    def replay(self, entries: Iterable[Entry]) -> None:
        """Take over entries from the log: the catalogue first, then all state."""
        batch: list[Entry] = []
        for entry in entries:
            batch.append(entry)
            if len(batch) == FOLD_BATCH:
                self._take(batch)
                batch = []
        self._take(batch)

    def _take(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.event.kind in STOCK_KINDS and entry.listing_rows:
                slot = int(np.frombuffer(entry.listing_rows, LISTING_ROW)["slot"][0])
                self.catalogue.apply(entry.event, slot)
        self.fold(entries)

    def fold(self, entries: Sequence[Entry]) -> None:
        """Fold consecutive entries that the catalogue has taken over already."""
        while entries:
            # The log's offset decides, not how it was cut into batches: a replay does the same.
            ahead = REFIT_EVERY - entries[0].seq % REFIT_EVERY
            self._fold(entries[:ahead])
            if self.n % REFIT_EVERY == 0:
                self.content.refit()
            entries = entries[ahead:]

    def _fold(self, entries: Sequence[Entry]) -> None:
        facts = Facts.unpack(
            [entry.event_row for entry in entries], [entry.listing_rows for entry in entries]
        )
        self._know(facts)
        first = entries[0].seq
        self.features.apply(facts[max(self.features.n - first, 0) :])
        self.people.apply(facts[max(self.people.n - first, 0) :])
        self.preferences.apply(entries)
        listings = _listings_by_slot(entries)
        self.content.apply(facts, listings)
        for retriever in self.retrievers.values():
            retriever.apply(facts, listings)
        self.n = entries[-1].seq + 1

    def _know(self, facts: Facts) -> None:
        """In a replay, know the codes stamped on events; listings' come with the catalogue."""
        if not self.vocabulary.rewinding or not len(facts):
            return
        for field in _STAMPED:
            self.vocabulary.know(field, int(facts.events[field].max()))
        for i, name in enumerate(self.declared):
            self.vocabulary.know(f"declared.{name}", int(facts.events["declared"][:, i].max()))

    def request(self, query: Query) -> Request:
        """The query with its strings as codes and the person's recent events beside it."""
        find = self.vocabulary.find
        person = find("person", person_key(query.user, query.session))
        slots, kinds, times = self.people.recent(person)
        return Request(
            query=query,
            person=person,
            surface=SURFACE_CODE.get(query.surface, 0),
            declared=self._declared(person, query.attributes),
            anchor=self.catalogue.slot_of(query.anchor) if query.anchor else -1,
            recent=slots,
            recent_kinds=kinds,
            recent_t=times,
            text_vector=self.content.text(query.text),
            text=find("query", query_key(query.text)),
        )

    def _declared(
        self, person: int, attributes: Mapping[str, Scalar | list[str]]
    ) -> NDArray[np.int32]:
        """[MAX_DECLARED] int32, codes of what is declared with the request, else was before."""
        codes = self.people.declared(person)
        for i, name in enumerate(self.declared):
            if stated := declared_text(attributes.get(name)):
                codes[i] = self.vocabulary.find(f"declared.{name}", stated)
        return codes

    def look_up(self, request: Request, slots: NDArray[np.int32]) -> FeatureBatch:
        """Features of candidates for a request, as of (request.query.t, n)."""
        wanted = self.view.given
        given: dict[str, NDArray[np.float32]] = {}
        if wanted:
            given = {
                **self.content.given(request, slots),
                **stock_columns(slots, self.catalogue),
                **stated_match(
                    request,
                    slots,
                    self.catalogue,
                    self.declared,
                    self.preferences.of(request.person),
                ),
                **text_asks(request, slots, self.catalogue, self.lexicon),
                **recent_match(request, slots, self.catalogue),
                **anchor_match(request, slots, self.catalogue),
            }
        return self.features.lookup(request, slots, {name: given[name] for name in wanted})


def _listings_by_slot(entries: Sequence[Entry]) -> dict[int, Listing]:
    listings = {}
    for entry in entries:
        if entry.event.kind in (Kind.LISTED, Kind.EDITED) and entry.event.data is not None:
            slot = int(np.frombuffer(entry.listing_rows, LISTING_ROW)["slot"][0])
            if slot >= 0:  # an edit may come after the listing gave up its slot
                listings[slot] = entry.event.data
    return listings
