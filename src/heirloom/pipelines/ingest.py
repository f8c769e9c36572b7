"""Ingest: what came becomes the log, and nothing of it is lost or counted twice.

validate → deduplicate → hold what names an unknown listing → refuse what contradicts → convert
money → clamp time → stamp → append (durable) → announce availability → fold → release what was
held. Reads from top to bottom.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.event import (
    LISTING_KINDS,
    ORIGINAL_CURRENCY,
    ORIGINAL_PRICE,
    STOCK_KINDS,
    Event,
    Kind,
    named,
    problem,
)
from heirloom.core.facts import LISTING_ROW, MAX_DECLARED
from heirloom.core.log import Anteroom, Entry, EventLog, Rejected
from heirloom.core.money import Currencies
from heirloom.pipelines.clicks import COUNTED, ClickRules, Clicks, seller_ids, without_tokens
from heirloom.pipelines.stamp import numbered, stamped

MAX_RAW_BYTES = 64 << 10
_NO_SLOTS = np.zeros(0, np.int32)
_replace = msgspec.structs.replace
_LISTED = Kind.LISTED  # an enumeration's member is slow to reach, and events are many
_ROW_KINDS = (Kind.LISTED, Kind.EDITED, Kind.PRICE_CHANGED)
"""They change what is stamped of a listing; the other stock kinds change its status alone."""
_WAITING_KINDS = (STOCK_KINDS | LISTING_KINDS | {Kind.IMPRESSION}) - {Kind.LISTED}


@dataclass(slots=True)
class Report:
    """What became of the events of one call.

    What came has one fate each, and so has what left the anteroom:
    `received + released == taken + duplicate + held + quarantined`.
    """

    received: int = 0
    released: int = 0
    """Events held by an earlier call whose listing has come."""
    taken: int = 0
    """In the log now, durable and folded."""
    duplicate: int = 0
    """In the log, or held, before."""
    held: int = 0
    """Waiting in the anteroom for their listing."""
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, with ids and numbers left out, and how often."""
    examples: dict[str, str] = field(default_factory=dict)
    """For each of the reasons, the first case: its source and the full sentence."""

    def refuse(self, rejected: Rejected) -> None:
        """Count one that goes to the quarantine."""
        reason = _shape(rejected.reason)
        self.quarantined += 1
        self.reasons[reason] += 1
        self.examples.setdefault(reason, f"{rejected.source}: {rejected.reason}")

    def __str__(self) -> str:
        lines = [f"{self.received:>12,} received"]
        for name in ("released", "taken", "duplicate", "held", "quarantined"):
            if (count := getattr(self, name)) or name == "taken":
                lines += [f"{count:>12,} {name}"]
        for reason, count in self.reasons.most_common(10):
            lines.append(f"{count:>16,} {reason}")
            lines.append(f"{'':>17}e.g. {self.examples[reason][:200]}")
        if len(self.reasons) > 10:
            lines.append(f"{'':>17}and {len(self.reasons) - 10} reasons more")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """What one sender sent at once.

    Attributes:
        events: in order. A Rejected among them is what a reader could not read.
        source: where they come from, for the quarantine.
    """

    events: Sequence[Event | Rejected]
    source: str


class Ingest:
    """The one writer of a log.

    Args:
        log: where events go.
        anteroom: where refused events and those that wait go.
        catalogue: as of the log's end, with the log's vocabulary. Ingest applies stock events to
            it itself, before they are appended: its rows are stamped on them.
        currency: the system's currency. Events in the log, stamped rows and the catalogue are in
            it; a price that came in another stands beside it, in the attributes ORIGINAL_PRICE
            and ORIGINAL_CURRENCY of its event. An event that names no currency is in the system's.
        rates: what one unit of another currency is worth in the system's.
        declared: names of the attributes that are stamped on an event, in a fixed order.
        announce: told the slots [changed] whose availability may have changed and the log's end,
            once that is durable and before anything of it is acknowledged.
        apply: folds entries into live state, the catalogue excepted; called with consecutive
            parts of the log as soon as they are durable.
        batch: how many events share one durable write.
        rules: which clicks count.

    Raises:
        ConfigError: too many declared attributes, or a rate that is none.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        anteroom: Anteroom,
        catalogue: Catalogue,
        currency: str,
        rates: Mapping[str, Decimal | float | str],
        declared: tuple[str, ...] = (),
        announce: Callable[[NDArray[np.int32], int], None] = lambda *_: None,
        apply: Callable[[Sequence[Entry]], None],
        batch: int = 4_096,
        rules: ClickRules = ClickRules(),  # noqa: B008 - frozen
    ) -> None:
        if len(declared) > MAX_DECLARED:
            raise ConfigError("declared", [f"{len(declared)} attributes; at most {MAX_DECLARED}"])
        self._log = log
        self._anteroom = anteroom
        self._catalogue = catalogue
        self._currencies = Currencies(currency, rates)
        self._declared = declared
        self._announce = announce
        self._apply = apply
        self._batch = batch
        self._rules = rules
        self._clicks = Clicks(rules)
        self._failure: str | None = None
        self._end = log.end()  # what comes next is stamped with it; append decides

    @property
    def failure(self) -> str | None:
        """Why a call failed half-way, so that the state may be ahead of the log; else None."""
        return self._failure

    def ingest(
        self, events: Iterable[Event | Rejected], *, now_ms: int | None, source: str
    ) -> Report:
        """Take events over; what is taken is durable and folded when this returns.

        Args:
            events: what came, in order. A Rejected among them is what a reader could not read.
            now_ms: the moment of ingestion; None for an import of history, where each event
                counts as ingested when it happened.
            source: where they come from, for the quarantine.

        Raises:
            StoreError: an earlier call failed half-way, so that this state may be ahead of the
                log. Rebuild it from the log and send the events again.
        """
        report = Report()
        arrivals = iter(events)
        while part := list(itertools.islice(arrivals, self._batch)):
            self._take(_Part(now_ms), [_Sent(part, source, report)])
        return report

    def ingest_group(self, group: Sequence[Arrivals], *, now_ms: int | None) -> list[Report]:
        """Take over what several senders sent, in one durable write and one fold.

        As `ingest` of all of it in this order, and each sender hears of their own events alone. An
        event that was held before counts with the first whose listing lets it in. The whole is
        one transaction, so whoever calls says how large it may be.

        Raises:
            StoreError: as `ingest`. Where `failure` is None still, nothing was taken.
        """
        sent = [_Sent(each.events, each.source, Report()) for each in group]
        self._take(_Part(now_ms), sent)
        return [each.report for each in sent]

    def _take(self, part: "_Part", sent: "Sequence[_Sent]") -> None:
        if self._failure is not None:
            raise StoreError(
                f"ingest: stopped by an earlier failure ({self._failure}); its state may be "
                "ahead of the log. Start again from the log, then send the events again"
            )
        valid = [
            (event, of)
            for of in sent
            for came in of.events
            if (event := self._valid(came, of, part))
        ]
        fresh = self._deduplicated(valid, self._held_for(valid, part), part)
        try:
            for event in fresh:
                self._sequence(event, part)
            self._stamp(part)
            self._write(part)
        except BaseException as error:
            self._failure = f"{type(error).__name__}: {error}"
            raise
        for of in sent:
            of.report.received += len(of.events)
        for event in part.to_hold():
            part.sender[event.event_id].report.held += 1
        if part.released:
            self._anteroom.release(sorted(part.released))

    # ── before the order is fixed ──────────────────────────────────────────────────────────

    def _valid(self, event: Event | Rejected, of: "_Sent", part: "_Part") -> Event | None:
        if isinstance(event, Rejected):
            part.rejected.append((_replace(event, at=event.at or part.now_ms or 0), of))
            return None
        why = problem(event, event.t if part.now_ms is None else part.now_ms)
        if why is None and (event.currency is not None or event.data is not None):
            why = self._problem_of_currency(event)
        if why is not None:
            part.reject(event, why, of)
            return None
        return event

    def _problem_of_currency(self, event: Event) -> str | None:
        for code in (event.currency, event.data.currency if event.data else None):
            if code is not None and code not in self._currencies:
                return (
                    f"currency {code[:40]!r} has no rate; known are {self._currencies}. "
                    "Add it to [rates] and send this again"
                )
        return None

    def _held_for(
        self, valid: "list[tuple[Event, _Sent]]", part: "_Part"
    ) -> "list[tuple[Event, _Sent]]":
        """What the anteroom holds about listings that come now, or of which events must wait.

        With each who first sent something about its listing.
        """
        first: dict[str, _Sent] = {}
        for event, of in valid:
            must_wait = self._must_wait(event)
            if must_wait:
                part.unknown.add(event.event_id)
            if must_wait or event.kind == _LISTED:
                for listing in named(event):
                    first.setdefault(listing, of)
        if not first:
            return []
        held = self._anteroom.held_for(sorted(first))
        return [(event, next(first[i] for i in named(event) if i in first)) for event in held]

    def _deduplicated(
        self,
        valid: "list[tuple[Event, _Sent]]",
        held: "list[tuple[Event, _Sent]]",
        part: "_Part",
    ) -> list[Event]:
        """Events to be sequenced, in order; those held whose listing is unknown still wait."""
        in_log = self._log.seen([event.event_id for event, _ in itertools.chain(held, valid)])
        fresh = []
        for event, of in held:
            part.sender[event.event_id] = of
            part.held_before.add(event.event_id)
            if event.event_id in in_log:  # a crash came between append and release
                part.leaves(event)
                of.report.duplicate += 1
            elif self._must_wait(event):
                part.wait(event)
            else:
                fresh.append(event)
        known = in_log | part.held_before
        for event, of in valid:
            if event.event_id in known:
                of.report.duplicate += 1
            else:
                known.add(event.event_id)
                part.sender[event.event_id] = of
                fresh.append(event)
        return fresh

    # ── one after the other ────────────────────────────────────────────────────────────────

    def _must_wait(self, event: Event) -> bool:
        return event.kind in _WAITING_KINDS and not self._catalogue.knows_any(named(event))

    def _sequence(self, event: Event, part: "_Part") -> None:
        # A listing that was known stays known.
        if event.event_id in part.unknown and self._must_wait(event):
            part.wait(event)
            return
        if part.unknown or part.held_before:
            part.leaves(event)
        stock = event.kind in STOCK_KINDS
        if stock and (why := self._catalogue.refusal(event)) is not None:
            part.reject(event, why, part.sender[event.event_id])
            return
        ingested_at = event.t if part.now_ms is None else part.now_ms
        if event.kind in COUNTED:
            why = self._clicks.refusal(event, own=self._is_own(event), ingested_at=ingested_at)
            if why is not None:
                part.reject(without_tokens(event), why, part.sender[event.event_id])
                return
        event = without_tokens(event)
        if event.price_minor is not None or event.data is not None:
            event = self._in_system_currency(event)
        if event.t > ingested_at or event.data is not None:
            event = _clamped(event, ingested_at)
        if stock:
            if self._changes_rows(event, ingested_at, part):
                self._stamp(part)
            self._apply_to_catalogue(event, ingested_at)
        elif event.seller is not None:  # given a code in log order, however the log is cut
            self._catalogue.vocabulary.code("seller", event.seller)
        part.unstamped.append((event, ingested_at))
        part.unstamped_listings.update(named(event))
        if event.kind == _LISTED and event.listing is not None:
            of = part.sender[event.event_id]
            for waiting in part.waiting_for(event.listing):
                if waiting.event_id in part.held_before:
                    part.sender[waiting.event_id] = of
                self._sequence(waiting, part)

    def _is_own(self, event: Event) -> bool:
        """Whether a person acts on a listing that they sell."""
        names = seller_ids(event, self._rules) if event.kind in LISTING_KINDS else ()
        if not names:
            return False
        slot = self._catalogue.slot_of(event.listing or "")
        seller = int(self._catalogue.column("seller")[slot]) if slot >= 0 else 0
        find = self._catalogue.vocabulary.find
        return seller != 0 and any(find("seller", name) == seller for name in names)

    def _in_system_currency(self, event: Event) -> Event:
        """The event with its price in the system's currency, and beside it the price as it came."""
        system, convert, replace = self._currencies.system, self._currencies.convert, _replace
        came: tuple[int, str] | None = None
        if event.price_minor is not None and event.currency not in (None, system):
            came = event.price_minor, str(event.currency)
            event = replace(event, price_minor=convert(*came), currency=system)
        if (data := event.data) is not None and data.currency != system:
            came = data.price_minor, data.currency
            event = replace(event, data=replace(data, price_minor=convert(*came), currency=system))
        if came is None:
            return event
        original = {ORIGINAL_PRICE: came[0], ORIGINAL_CURRENCY: came[1]}
        return replace(event, attributes={**event.attributes, **original})

    def _apply_to_catalogue(self, event: Event, ingested_at: int) -> None:
        listing = event.listing or ""
        if event.kind == Kind.LISTED:
            slot = self._catalogue.allocate(listing, ingested_at)
        else:
            slot = self._catalogue.slot_of(listing)
        self._catalogue.apply(event, slot)

    def _changes_rows(self, event: Event, ingested_at: int, part: "_Part") -> bool:
        """Whether a stock event would change a row that is still to be stamped."""
        if event.kind not in _ROW_KINDS:
            return False
        if event.kind == Kind.LISTED and self._catalogue.retires_by(ingested_at):
            return True
        return event.listing in part.unstamped_listings

    def _stamp(self, part: "_Part") -> None:
        """Stamp what was sequenced since its rows last changed: many at once is fast."""
        if part.unstamped:
            events = [event for event, _ in part.unstamped]
            ingested_at = [at for _, at in part.unstamped]
            offset = self._end + len(part.entries)
            part.entries += stamped(events, ingested_at, self._catalogue, self._declared, offset)
            part.unstamped.clear()
            part.unstamped_listings.clear()

    # ── durable ────────────────────────────────────────────────────────────────────────────

    def _write(self, part: "_Part") -> None:
        """Anteroom, log, availability, live state: a crash between any two loses nothing."""
        if part.rejected:
            self._anteroom.quarantine([rejected for rejected, _ in part.rejected])
            for rejected, of in part.rejected:
                of.report.refuse(rejected)
        if waiting := part.to_hold():
            self._anteroom.hold(waiting)
        if not part.entries:
            return
        offsets = self._log.append(part.entries, self._catalogue.vocabulary)
        both = list(zip(part.entries, offsets, strict=True))
        taken = [numbered(entry, offset) for entry, offset in both if offset is not None]
        for of, count in part.senders(taken).items():
            of.report.taken += count
        if len(taken) < len(both):
            for of, count in part.senders(e for e, offset in both if offset is None).items():
                of.report.duplicate += count
        if taken:
            self._end = taken[-1].seq + 1
            self._announce(_stock_slots(taken), self._end)
        self._apply(taken)


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """What one sender sent, and what they will hear of it."""

    events: Sequence[Event | Rejected]
    source: str
    report: Report


class _Part:
    """What becomes of the events of one durable write."""

    def __init__(self, now_ms: int | None) -> None:
        self.now_ms = now_ms
        self.sender: dict[str, _Sent] = {}  # by event id: who hears of it
        self.unstamped: list[tuple[Event, int]] = []
        self.unstamped_listings: set[str] = set()
        self.entries: list[Entry] = []
        self.rejected: list[tuple[Rejected, _Sent]] = []
        self.unknown: set[str] = set()
        """Ids of events that came before a listing that they name: of some it comes meanwhile."""
        self.held_before: set[str] = set()
        self.released: set[str] = set()
        self._waiting: dict[str, Event] = {}
        self._by_listing: dict[str, list[Event]] = {}

    def reject(self, event: Event, reason: str, of: _Sent) -> None:
        at = event.t if self.now_ms is None else self.now_ms
        raw = _raw(event)[:MAX_RAW_BYTES]
        self.rejected.append((Rejected(raw=raw, reason=reason, source=of.source, at=at), of))

    def senders(self, entries: Iterable[Entry]) -> Counter[_Sent]:
        """Who sent them, and how many each."""
        return Counter([self.sender[entry.event.event_id] for entry in entries])

    def wait(self, event: Event) -> None:
        self._waiting[event.event_id] = event
        for listing in named(event):
            self._by_listing.setdefault(listing, []).append(event)

    def waiting_for(self, listing: str) -> list[Event]:
        """What waits for this listing; it comes in the order of its own times."""
        waiting = [e for e in self._by_listing.pop(listing, ()) if e.event_id in self._waiting]
        return sorted(waiting, key=lambda event: event.t)

    def leaves(self, event: Event) -> None:
        """It waits no longer; if it was held by an earlier call, it can be released."""
        self._waiting.pop(event.event_id, None)
        if event.event_id in self.held_before:
            self.released.add(event.event_id)
            self.sender[event.event_id].report.released += 1

    def to_hold(self) -> list[Event]:
        return [e for e in self._waiting.values() if e.event_id not in self.held_before]


def _stock_slots(entries: Sequence[Entry]) -> NDArray[np.int32]:
    """[slots] int32, those that stock events name, each once."""
    named_rows = b"".join([e.listing_rows for e in entries if e.event.kind in STOCK_KINDS])
    if not named_rows:
        return _NO_SLOTS
    slots: NDArray[np.int32] = np.unique(np.frombuffer(named_rows, LISTING_ROW)["slot"])
    return slots[slots >= 0]


def _clamped(event: Event, ingested_at: int) -> Event:
    """No time later than the moment of ingestion, and no listing from after its event."""
    if event.t > ingested_at:
        event = _replace(event, t=ingested_at)
    if event.data is not None and event.data.listed_at > event.t:
        data = _replace(event.data, listed_at=event.t)
        event = _replace(event, data=data)
    return event


def _raw(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:  # json.dumps writes lone surrogates as \ud800
        return json.dumps(msgspec.to_builtins(event)).encode("ascii")


def _shape(reason: str) -> str:
    """A reason without its ids and numbers, so that equal mistakes are counted together.

    >>> _shape("listing 'a1' was sold before; a listing sells once")
    'listing … was sold before; a listing sells once'
    """
    return re.sub(r"""'[^']*'|"[^"]*"|\b\d[\d.,]*""", "…", reason)
