"""Live: everything that is known as of a log offset, kept by folding the log.

Serving folds entries as they are acknowledged; training and a restart fold them again from the
log. It is the same object in each case, so what was served can be replayed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.availability import Availability
from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import StoreError
from heirloom.core.event import (
    KIND_CODE,
    STOCK_KINDS,
    SURFACE_CODE,
    Kind,
    Scalar,
    declared_text,
    person_key,
)
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.kept import Arrays, Given, joined, within
from heirloom.core.listing import Listing, Status
from heirloom.core.log import Entry
from heirloom.core.query import Query, Request
from heirloom.core.slate import FeatureBatch
from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import query_key
from heirloom.encoders.history import Histories
from heirloom.encoders.pair import Encoders
from heirloom.encoders.person import PersonEncoder
from heirloom.encoders.question import Questions, wish_vector, wished
from heirloom.features.people import People
from heirloom.features.state import FeatureState
from heirloom.features.view import FeatureView
from heirloom.pipelines.appeal import Appeal, due
from heirloom.pipelines.effects import HISTORY, latest, person_effects, present, styles
from heirloom.pipelines.fit import SizeTable, size_gaps
from heirloom.pipelines.given import (
    anchor_match,
    declared_texts,
    recent_match,
    stated_match,
    stock_columns,
    text_asks,
)
from heirloom.pipelines.preferences import Preferences
from heirloom.pipelines.prices import PriceLevels, price_match
from heirloom.pipelines.searches import Searches, Wanted, brands_asked, searched_match, wanted
from heirloom.pipelines.shown import Shown
from heirloom.pipelines.stored import StoredFeatures
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.intent import NOTHING, Intent, intent_of
from heirloom.retrieval.lexical import NO_SYNONYMS, Synonyms
from heirloom.retrieval.lexicon import FIELDS, Lexicon
from heirloom.retrieval.meanings import Meanings
from heirloom.retrieval.retriever import Matcher, Retriever, is_matcher
from heirloom.retrieval.saved_search import SavedSearches
from heirloom.slates.exposure import Exposure
from heirloom.slates.frequency import Frequency

FOLD_BATCH = 2_000
REFIT_EVERY = 8_192
"""Log entries between two moments at which content may be fitted to the stock anew."""
WISHES = 10_000
"""Vectors of what people stated that are kept."""
_TRIES = 20
"""Lookups in a store that moves on, before its n is that of all else."""

_LIVE = int(Status.LIVE)  # asked for each listing of a page: an enum's member takes as long as all
_STATING = 1 << KIND_CODE[Kind.PREFER]
_FOLLOWING = 1 << KIND_CODE[Kind.FOLLOW] | 1 << KIND_CODE[Kind.UNFOLLOW]
_TELLING = 1 << KIND_CODE[Kind.LISTED] | 1 << KIND_CODE[Kind.EDITED]
"""Kinds as bits of `Facts.kinds`: where none of them came, no entry need be looked at."""
_STAMPED = tuple(name for name in ("person", "seller", "query") if name in (EVENT_ROW.names or ()))
"""Fields of EVENT_ROW that hold vocabulary codes of their own name."""


class Live:
    """The catalogue and all state folded from the log, as of offset `n`.

    Attributes:
        availability: what the log's writer announced, which may be later than `n`; None where
            nobody is to be shown anything: in a replay, `n` decides alone.
        applied: told of each part of the log that the features' state has folded.
        exposure, frequency: what a slate's rules ask of impressions; None where none asks.
        minor_per_major: cents of a euro.
        newest_ms: when the newest entry folded came into the log, ms since 1970 UTC; 0 for none.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        view: FeatureView,
        content: ContentIndex,
        person_encoder: PersonEncoder | None = None,
        declared: tuple[str, ...] = (),
        synonyms: Synonyms = NO_SYNONYMS,
        exposure: Exposure | None = None,
        frequency: Frequency | None = None,
        minor_per_major: int = 100,
    ) -> None:
        self.catalogue = catalogue
        self.view = view
        self.features = view.state()
        self.people = People()
        self.preferences = Preferences(catalogue.vocabulary)
        self.saved_searches = SavedSearches(catalogue.vocabulary)
        self.lexicon = Lexicon(catalogue.vocabulary, self._having, synonyms)
        self.meanings = Meanings(catalogue, self.lexicon, lambda: self.content.words)
        self.sizes = SizeTable(catalogue.vocabulary)
        self.searches = Searches()
        self.prices = PriceLevels()
        self.shown = Shown()
        self.appeal = Appeal()
        self.content = content
        self.person_encoder = person_encoder
        self._wishes: dict[tuple[Listing, ...], NDArray[np.float32]] = {}
        self.retrievers: dict[str, Retriever] = {}
        self.declared = declared
        self.availability: Availability | None = None
        self.applied: Callable[[Facts], None] = lambda _: None
        self.synonyms = synonyms
        self.exposure = exposure
        self.frequency = frequency
        self.minor_per_major = minor_per_major
        self.n = 0
        self._from: dict[str, int] = {}  # parts that were restored, and at which offset
        self.newest_ms = 0
        self._intent: tuple[str, int, Intent] = "", 0, NOTHING
        self._asked: tuple[Request | None, int, Wanted | None] = None, 0, None
        self._stored: StoredFeatures | None = None
        self._follow: Callable[[int], None] = lambda _: None

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
        return next((each for each in named if is_matcher(each)), self.content)

    def _having(self, word: str) -> int:
        """How many listings have a word; of the content's present words, which may be changed."""
        return self.content.words.alive(word)

    def intent(self, text: str) -> Intent:
        """What a query's text asks for, as of `n`."""
        if not text:
            return NOTHING
        if self._intent[:2] != (text, self.n):  # a request asks for it more than once
            columns = {field: self.catalogue.column(field) for field in FIELDS}
            words, minor = self.content.words, self.minor_per_major
            found = intent_of(text, self.lexicon, words, columns, minor)
            self._intent = text, self.n, found
        return self._intent[2]

    @property
    def parts(self) -> dict[str, object]:
        """What is folded from the log, by name, but the view's features and people."""
        rules = {"exposure": self.exposure, "frequency": self.frequency}
        return {
            "catalogue": self.catalogue,
            "preferences": self.preferences,
            "saved_searches": self.saved_searches,
            "searches": self.searches,
            "shown": _Tallied(self.shown, self.prices, self.appeal),
            "content": self.content,
            **{name: part for name, part in rules.items() if part is not None},
            **{f"retriever.{name}": part for name, part in self.retrievers.items()},
        }

    def restore(self, features: FeatureState, people: People) -> None:
        """Take over folded features and people, of an offset the log reaches; only before it.

        Until `n` has come to their offset, look nothing up.
        """
        if self.n:
            raise ValueError(f"Live: state is restored before the log is folded (n={self.n})")
        if features.columns != self.features.columns:
            raise ValueError(f"Live: the state restored is not of the view {self.view.name!r}")
        self.features, self.people = features, people

    def go_on(self, restored: Mapping[str, int]) -> None:
        """Fold each of the parts from its own offset on, and the log from the least of them on.

        Args:
            restored: by name, those of `parts` that hold the log's first so many entries; the
                others are folded from the beginning. Until `n` has come to the greatest, look
                nothing up.
        """
        if self.n:
            raise ValueError(f"Live: state is restored before the log is folded (n={self.n})")
        self._from = dict(restored)
        of_view = [self.people.n] if self._stored else [self.people.n, self.features.n]
        self.n = min([*of_view, *(self._from.get(name, 0) for name in self.parts)])

    def _takes(self, name: str, seq: int) -> bool:
        """Whether a part is to fold an entry; not what it was restored with."""
        return seq >= self._from.get(name, 0)

    def read_features_from(self, stored: StoredFeatures, follow: Callable[[int], None]) -> None:
        """Fold all but features, which another process folds and writes to a store of rows.

        Args:
            stored: of this view.
            follow: given the store's log offset, past `n`, it replays the log up to there.

        Raises:
            ValueError: something was folded before, or the features are of another view.
        """
        if self.n or stored.columns != self.features.columns:
            raise ValueError(f"Live: a store of {self.view.name!r} is named before the log is read")
        self._stored, self._follow = stored, follow

    def replay(self, entries: Iterable[Entry]) -> None:
        """Take over entries from the log: the catalogue first, then all state."""
        for batch in batched(entries, FOLD_BATCH):
            self._take(batch)

    def _take(self, entries: Sequence[Entry]) -> None:
        since = self._from.get("catalogue", 0)
        for entry in entries:
            if entry.seq >= since and entry.event.kind in STOCK_KINDS and entry.listing_rows:
                slot = int(np.frombuffer(entry.listing_rows, LISTING_ROW)["slot"][0])
                self.catalogue.apply(entry.event, slot)
        self.fold(entries)

    def fold(self, entries: Sequence[Entry]) -> None:
        """Fold consecutive entries that the catalogue has taken over already."""
        while entries:
            # The log's offset decides, not how it was cut into batches: a replay does the same.
            first = entries[0].seq
            ahead = REFIT_EVERY - first % REFIT_EVERY
            for n in self._from.values():
                ahead = min(ahead, n - first) if n > first else ahead
            self._fold(entries[:ahead])
            if self.n % REFIT_EVERY == 0:
                if self._takes("content", self.n - 1):
                    self.content.refit()
                if self._takes("shown", self.n - 1) and due(self.n, REFIT_EVERY):
                    self.appeal.refit(self.shown, self.prices)
            entries = entries[ahead:]

    def _fold(self, entries: Sequence[Entry]) -> None:
        facts = Facts.unpack(
            [entry.event_row for entry in entries], [entry.listing_rows for entry in entries]
        )
        self._know(facts)
        first = entries[0].seq
        if self._stored is None:
            new = facts[max(self.features.n - first, 0) :]
            self.features.apply(new)
            self.applied(new)
        self.people.apply(facts[max(self.people.n - first, 0) :])
        if facts.kinds & _STATING and self._takes("preferences", first):
            self.preferences.apply(entries)
        if facts.kinds & _FOLLOWING and self._takes("saved_searches", first):
            self.saved_searches.apply(entries)
        if self._takes("searches", first):
            self.searches.apply(facts)
        if self.exposure is not None and self._takes("exposure", first):
            self.exposure.apply(facts)
        if self.frequency is not None and self._takes("frequency", first):
            self.frequency.apply(facts)
        listings = _listings_by_slot(entries) if facts.kinds & _TELLING else {}
        if self._takes("shown", first):
            self.prices.apply(facts)
            self.shown.apply(facts)
            self.appeal.apply(facts, listings)
        if self._takes("content", first):
            self.content.apply(facts, listings)
        for name, retriever in self.retrievers.items():
            if self._takes(f"retriever.{name}", first):
                retriever.apply(facts, listings)
        self.n = entries[-1].seq + 1
        if self._from and self.n >= max(self._from.values()):
            self._from = {}
        self.newest_ms = entries[-1].ingested_at

    def change_encoders(self, encoders: Encoders, content: ContentIndex) -> None:
        """Know listings and people by other vectors from now on.

        Args:
            encoders: what makes them.
            content: of these encoders, folded up to `n` (`fold_content`); not to be used again.
        """
        self.content.take_over(content)
        self.person_encoder = encoders.people
        self._wishes.clear()

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
        request = Request(
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
        return replace(request, person_vectors=self._person_vectors(request))

    def _person_vectors(self, request: Request) -> NDArray[np.float32]:
        """[vectors, dim] float32, from what the person did last, stated, and asks now."""
        encoder, vectors = self.person_encoder, self.content.vectors
        if encoder is None:
            return request.person_vectors
        known = np.flatnonzero(request.recent < len(vectors))[::-1]  # oldest first
        slots = request.recent[known]
        history = Histories(
            starts=np.array([0, len(slots)], np.int64),
            items=slots.astype(np.int64) + 1,
            kinds=request.recent_kinds[known],
            surfaces=np.zeros(len(slots), np.int8),
            t=request.recent_t[known],
        )
        made: NDArray[np.float32] = encoder.encode(
            history, vectors[slots], self._question(request)
        )[0]
        return made[made.any(axis=1)]

    def _question(self, request: Request) -> Questions:
        """What the person asks now, as the person encoder reads it."""
        anchor = np.zeros(self.content.encoder.dim, np.float32)
        if 0 <= request.anchor < len(self.content.vectors):
            anchor = self.content.vectors[request.anchor]
        stated = {**self.preferences.stated(request.person), **request.query.attributes}
        asked = np.stack([request.text_vector, self._wish(wished(stated)), anchor])
        return Questions(np.array([request.surface], np.int8), asked[None])

    def _wish(self, wish: tuple[Listing, ...]) -> NDArray[np.float32]:
        """[dim] float32; people state the same again and again, so the latest are kept."""
        if wish not in self._wishes:
            if len(self._wishes) >= WISHES:
                self._wishes.clear()
            self._wishes[wish] = wish_vector(self.content.encoder, wish)
        return self._wishes[wish]

    def stands(self, slot: int) -> bool:
        """Whether the listing in a slot may be shown now: as of `n`, and as announced since."""
        if self.catalogue.column("status")[slot] != _LIVE:
            return False
        generation = int(self.catalogue.column("generation")[slot])
        return self.availability is None or self.availability.stands(slot, generation)

    def standing(self, slots: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[slots] bool: the same of many."""
        standing: NDArray[np.bool_] = self.catalogue.column("status").take(slots) == _LIVE
        if self.availability is not None:
            generations = self.catalogue.column("generation").take(slots)
            standing &= self.availability.standing(slots, generations)
        return standing

    def epoch(self) -> int:
        """How much was announced up to now, for `gone`; 0 without availability."""
        return 0 if self.availability is None else self.availability.epoch

    def gone(self, slots: NDArray[np.int32], epoch: int) -> int:
        """How many of these listings were announced, up to an epoch, as not to be shown."""
        if self.availability is None:
            return int((self.catalogue.column("status")[slots] != _LIVE).sum())
        generations = self.catalogue.column("generation").take(slots)
        return int(self.availability.gone(slots, generations, epoch).sum())

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
        """Features of candidates for a request, as of (request.query.t, n).

        Where they are read from a store, all else follows to the store's n first.

        Raises:
            StoreError: the store cannot be reached, is being filled, or stands before `n`.
        """
        if self._stored is None:
            return self.features.lookup(request, slots, self._given(request, slots))
        for _ in range(_TRIES):
            batch = self._stored.lookup(request, slots, self._given(request, slots))
            if batch.n == self.n:
                return batch
            if batch.n > self.n:
                self._follow(batch.n)
            if batch.n != self.n:
                break
            request = self.request(request.query)
        raise StoreError(
            f"Live.look_up: features stand at log offset {batch.n}, all else at {self.n}; where "
            "the store was emptied its writer fills it again in a moment: see whether it runs"
        )

    def _given(self, request: Request, slots: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """The columns that the view wants handed over."""
        names = self.view.given
        if not names:
            return {}
        shown = self.shown.of(request.person, HISTORY)
        history = present(shown, self.catalogue, len(self.content.codes))
        seen = latest(history)
        # Of candidates and of what was seen at once: most of it is reading what the person said.
        both = np.concatenate([slots, seen.slot])
        said = self._said(request, both)
        asked = brands_asked(self._wanted(request), self.vocabulary)
        given = {
            **self.content.given(request, slots),
            **stock_columns(slots, self.catalogue),
            **{name: column[: len(slots)] for name, column in said.items()},
            **text_asks(request, slots, self.catalogue, self.lexicon),
            **recent_match(request, slots, self.catalogue),
            **price_match(request, slots, self.catalogue, self.prices),
            **person_effects(
                request,
                slots,
                self.catalogue,
                seen,
                styles(history, both, self.content.diction, asked),
                self.prices,
                self.appeal,
                said,
            ),
            **anchor_match(request, slots, self.catalogue),
        }
        return {name: given[name] for name in names}

    def _said(self, request: Request, slots: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """How listings [listings] are to what the person said and searched for."""
        preference, stated = self.preferences.of(request.person), self._stated(request)
        return {
            **stated_match(request, slots, self.catalogue, self.declared, preference),
            **size_gaps(request, slots, self.catalogue, self.sizes, stated),
            **searched_match(self._wanted(request), slots, self.catalogue),
        }

    def _wanted(self, request: Request) -> Wanted | None:
        """What the person searched for, as of `n`; a request asks more than once."""
        asked, n, found = self._asked
        if asked is not request or n != self.n:
            self.meanings.catch_up()
            found = wanted(request, self.vocabulary, self.searches, self.meanings)
            self._asked = request, self.n, found
        return found

    def _stated(self, request: Request) -> dict[str, Scalar | list[str]]:
        """What the person stated by name; with the request what is said there."""
        return {
            **self.preferences.stated(request.person),
            **declared_texts(request, self.vocabulary, self.declared),
            **request.query.attributes,
        }


class _Tallied(NamedTuple):
    """What appeal is fitted to, and what was fitted: they are kept together or not at all."""

    shown: Shown
    prices: PriceLevels
    appeal: Appeal

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return joined({name: part.arrays() for name, part in self._asdict().items()})

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        for name, part in self._asdict().items():
            part.restore(within(arrays, name))


def fold_content(content: ContentIndex, entries: Iterable[Entry]) -> None:
    """What `Live.fold` does to its content, for one that stands alone: the same vectors."""
    for ahead in batched(entries, FOLD_BATCH):
        rest: Sequence[Entry] = ahead
        while rest:
            cut = REFIT_EVERY - rest[0].seq % REFIT_EVERY
            part, rest = rest[:cut], rest[cut:]
            facts = Facts.unpack([e.event_row for e in part], [e.listing_rows for e in part])
            content.apply(facts, _listings_by_slot(part))
            if (part[-1].seq + 1) % REFIT_EVERY == 0:
                content.refit()


def batched(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Consecutive entries in lists of at most `size`."""
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _listings_by_slot(entries: Sequence[Entry]) -> dict[int, Listing]:
    listings: dict[int, Listing] = {}
    for entry in entries:
        if entry.event.data is not None and entry.event.kind in (Kind.LISTED, Kind.EDITED):
            slot = int(np.frombuffer(entry.listing_rows, LISTING_ROW)["slot"][0])
            if slot < 0:  # an edit may come after the listing gave up its slot
                continue
            told, before = entry.event.data, listings.get(slot)
            if entry.event.kind == Kind.EDITED and before is not None:
                told = msgspec.structs.replace(told, listed_at=before.listed_at)
            listings[slot] = told
    return listings
