"""A listing's features for one request, each with the events that made it, from a system's folder.

Values are computed twice: by the kernel, from the log replayed to the asked moment, and by the
plain path of features/explain.py. It reads only, and may stand beside a running server.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from heirloom.apps.parts import empty_live, open_log
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.core.errors import InputError, NotFoundError
from heirloom.core.event import SURFACE_CODE
from heirloom.core.facts import Facts
from heirloom.core.log import EventLog
from heirloom.core.query import Query, Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.features.algebra import First, Last, Static, unit_of
from heirloom.features.evidence import Evidence, Mention
from heirloom.features.explain import Explained, explain, when
from heirloom.features.view import FeatureView
from heirloom.pipelines.given import ORIGINS
from heirloom.pipelines.live import Live

PART = 50_000
"""Log entries whose facts are held at once."""
_SURFACES = {code: text for text, code in SURFACE_CODE.items()}


@dataclass(frozen=True, slots=True)
class Shown:
    """A mention with the event that it is part of, as the log tells it."""

    seq: int
    t: int
    kind: str
    user: str
    listing: str
    text: str
    price_minor: int


@dataclass(frozen=True, slots=True)
class Counted:
    """A piece of evidence in words: the key's parts by name, `?` where one is unknown."""

    key: dict[str, str]
    kinds: tuple[str, ...]
    window: str
    from_ms: int
    to_ms: int
    count: int
    newest: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """One column. `kernel` is what was or would be served, `plain` the second opinion on it.

    Both are None where missing (NaN). `agrees`: they are the same bits; a given column has no
    second opinion, and `how` says where it comes from.
    """

    column: str
    definition: str
    version: str
    unit: str
    about: str
    kernel: float | None
    plain: float | None
    agrees: bool
    how: str
    counted: tuple[Counted, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """All columns of a view for one listing and one request, as of (t, n).

    `saturated`: how many counts of the state stand at the end of their integer. The plain path
    knows no such end, so a difference may be one of these and no bug.
    """

    view: str
    version: str
    listing: str
    title: str
    person: str
    surface: str
    t: int
    n: int
    saturated: int
    values: tuple[Value, ...]

    @property
    def differing(self) -> tuple[str, ...]:
        """Columns on which the kernel and the plain path differ: each is a bug."""
        return tuple(value.column for value in self.values if not value.agrees)


def explanation(
    settings: Settings,
    listing: str,
    query: Query,
    *,
    now_ms: int,
    newest: int = 3,
    registry: Registry | None = None,
) -> Explanation:
    """Explain what a listing's features are worth to a query, as of its time.

    `n` is the offset of the first entry that came after the query's time.

    Raises:
        InputError: the time is in the future.
        NotFoundError: there is no log; or the listing, the person or the anchor was unknown then.
        StoreError: the log is damaged.
    """
    if query.t > now_ms:
        raise InputError(
            f"explain: {when(query.t)} is in the future, it is {when(now_ms)}; nothing is known "
            "then: give a time that has passed, or none for now"
        )
    registry = registry or Registry.installed()
    with open_log(settings.system.folder, read_only=True) as log:
        live = empty_live(settings, registry, log, retrievers=False)
        live.replay(itertools.takewhile(lambda entry: entry.ingested_at <= query.t, log.read()))
        slot = _slot(live, listing, query)
        request = _request(live, query, log)
        batch = live.look_up(request, np.array([slot], np.int32))
        kernel = dict(zip(live.view.columns, batch.values[0].tolist(), strict=True))
        made = explain(live.view, lambda: parts_of(log, live.n), request, slot, newest=newest)
        words = _Words(live.vocabulary, settings.system.declared, listing, log)
        by_column = {each.column: each for each in made}
        return Explanation(
            view=live.view.name,
            version=live.view.version,
            listing=listing,
            title=live.catalogue.listing(slot).title,
            person=query.user or "",
            surface=query.surface,
            t=query.t,
            n=live.n,
            saturated=live.features.saturated,
            values=tuple(_values(live.view, kernel, by_column, words)),
        )


def parts_of(log: EventLog, n: int) -> Iterator[Facts]:
    """The facts of the log's first n entries, some at a time."""
    for start in range(0, n, PART):
        yield log.facts(start, min(start + PART, n))


def _slot(live: Live, listing: str, query: Query) -> int:
    for what, wanted in (("listing", listing), ("anchor", query.anchor)):
        if wanted is not None and live.catalogue.slot_of(wanted) < 0:
            fate = "had ended long ago" if live.catalogue.knows(wanted) else "was not known"
            raise NotFoundError(
                f"explain: {what} {wanted!r} {fate} at {when(query.t)} (offset {live.n}); "
                "check its id, or give the time of a moment at which it was listed with --at"
            )
    return live.catalogue.slot_of(listing)


def _request(live: Live, query: Query, log: EventLog) -> Request:
    request = live.request(query)
    if query.user is not None and not _has_acted(request.person, parts_of(log, live.n)):
        raise NotFoundError(
            f"explain: person {query.user!r} had done nothing by {when(query.t)} "
            f"(offset {live.n}); check the name, or leave --person out for a newcomer"
        )
    return request


def _has_acted(person: int, parts: Iterable[Facts]) -> bool:
    return person > 0 and any((part.events["person"] == person).any() for part in parts)


class _Words:
    """Codes and offsets as people know them."""

    def __init__(
        self, vocabulary: Vocabulary, declared: tuple[str, ...], listing: str, log: EventLog
    ) -> None:
        self._vocabulary, self._declared = vocabulary, declared
        self._listing, self._log = listing, log
        self._shown: dict[Mention, Shown] = {}

    def counted(self, evidence: Evidence) -> Counted:
        """A piece of evidence in words."""
        key = {
            self._part(part): self._text(part, code)
            for part, code in zip(evidence.wanted.key, evidence.codes, strict=True)
        }
        return Counted(
            key,
            evidence.wanted.kinds,
            evidence.wanted.window,
            evidence.from_ms,
            evidence.to_ms,
            evidence.count,
            tuple(self._event(mention) for mention in evidence.newest),
        )

    def _part(self, part: str) -> str:
        name, _, number = part.partition(".")
        return f"{name} {self._name(int(number))}" if number else name

    def _name(self, number: int) -> str:
        return self._declared[number] if number < len(self._declared) else str(number)

    def _text(self, part: str, code: int) -> str:
        if not code:
            return "?"
        if part == "listing":
            return self._listing
        name, _, number = part.partition(".")
        if name in ("all", "stated"):
            return "any"
        if name == "surface":
            return _SURFACES[code]
        fields = f"declared.{self._name(int(number))}" if number else name
        return self._vocabulary.text(fields, code)

    def behind(self, of: str, code: int) -> str:
        """What a code stands for, as an ending; the hour stands for itself."""
        return "" if of == "hour" else f", {self._text(of, code)!r}"

    def _event(self, mention: Mention) -> Shown:
        if mention not in self._shown:
            (entry,) = self._log.read(mention.seq, mention.seq + 1)
            event = entry.event
            listing = event.listing or ""
            if event.listings and mention.place < len(event.listings):
                listing = event.listings[mention.place]
            user = event.user or (f"session:{event.session}" if event.session else "")
            self._shown[mention] = Shown(
                mention.seq,
                mention.t,
                mention.kind,
                user,
                listing,
                event.text or "",
                mention.price_minor,
            )
        return self._shown[mention]


def _values(
    view: FeatureView, kernel: dict[str, float], made: dict[str, Explained], words: _Words
) -> Iterator[Value]:
    by_name = {definition.name: definition for definition in view.features}
    for full, served in kernel.items():
        column = full.partition(".")[2]
        each = made.get(column)
        definition = each.definition if each else by_name[column]
        unknown = "handed over by a pipeline of its own"
        how = each.how if each else f"from {ORIGINS.get(column, unknown)}"
        if isinstance(definition, Static | Last | First) and not math.isnan(served):
            how += words.behind(definition.of, int(served))
        yield Value(
            column=column,
            definition=definition.name,
            version=view.versions[definition.name],
            unit=unit_of(definition),
            about=definition.about,
            kernel=_or_none(served),
            plain=_or_none(each.value) if each else None,
            agrees=each is None or _same(each.value, served),
            how=how,
            counted=tuple(words.counted(evidence) for evidence in each.evidence) if each else (),
        )


def _same(left: float, right: float) -> bool:
    """Whether two float32 are the same bits; any NaN is as good as another."""
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return np.float32(left).tobytes() == np.float32(right).tobytes()


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
