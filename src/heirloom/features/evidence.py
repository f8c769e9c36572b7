"""Evidence: the mentions that a value is made of, found by the contract's window rule.

It reads facts mention by mention, with no ring and none of the kernel's code. See explain.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, SURFACE_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.features.algebra import ANYWHERE, Where
from heirloom.features.windows import WINDOWS

Key = tuple[str, ...]
Codes = NDArray[np.int64]

_ATTRIBUTES = ("seller", "brand", "category", "size", "colour", "condition")
_WRITES = np.array([KIND_CODE[k] for k in (Kind.LISTED, Kind.EDITED, Kind.PRICE_CHANGED)])
_KINDS = list(KIND_CODE)


@dataclass(frozen=True, slots=True)
class Mention:
    """One listing that an event names; `slot` is -1 where it names none that has a slot.

    Times in ms since 1970 UTC; `seq` is the event's offset, `place` the listing's among those it
    names; `price_minor` 0 for none.
    """

    seq: int
    place: int
    t: int
    kind: str
    slot: int
    price_minor: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which mentions a value rests on, and what is asked of them.

    Attributes:
        key: what the key is made of (algebra.SOURCES).
        kinds: which kinds of event count.
        window: its name.
        where: on which surfaces and positions.
        of: the attribute whose codes are wanted; "" for none.
        k: of how many of the latest, by the log's order, `Evidence.latest` is wanted.
    """

    key: Key
    kinds: tuple[str, ...]
    window: str
    where: Where = ANYWHERE
    of: str = ""
    k: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The mentions of one key, of some kinds, in one window.

    Attributes:
        wanted: what was asked for.
        codes: the key itself, one code a part; 0: unknown, and then there is no evidence.
        from_ms: the window's tail, snapped to its hop.
        to_ms: the end of the bucket that holds the request's time; not included.
        count: how many mentions.
        paid: (mentions with a price, sum of their prices in minor units).
        span: (earliest, latest) event time; (0, 0) for none.
        ends: codes of `wanted.of` at the span's ends; of ties the first and the last of the log.
        values: the different codes of `wanted.of`, without 0.
        latest: (event time, code of `wanted.of`) of the last k in the log's order.
        buckets: how many mentions in each hop, by floor(t / hop).
        newest: the latest of them by event time, newest first.
    """

    wanted: Wanted
    codes: tuple[int, ...]
    from_ms: int
    to_ms: int
    count: int = 0
    paid: tuple[int, int] = (0, 0)
    span: tuple[int, int] = (0, 0)
    ends: tuple[int, int] = (0, 0)
    values: frozenset[int] = frozenset()
    latest: tuple[tuple[int, int], ...] = ()
    buckets: dict[int, int] = field(default_factory=dict)
    newest: tuple[Mention, ...] = ()

    @property
    def known(self) -> bool:
        """Whether every part of the key is known."""
        return 0 not in self.codes


@dataclass(frozen=True, slots=True)
class Stock:
    """The listing in a slot as the facts tell it; `opening` is (seq, place) of its `listed`."""

    opening: tuple[int, int] | None = None
    opened_ms: int = 0
    price_minor: int = 0
    codes: dict[str, int] = field(default_factory=dict)


def stretch(window: str, t: int) -> tuple[int, int]:
    """A window as of t, as [from, to) in ms.

    floor(e / hop) in [floor((t - length) / hop), floor(t / hop)]: docs/adr/0003.
    """
    length, hop = WINDOWS[window].length_ms, WINDOWS[window].hop_ms
    return (t - length) // hop * hop, (t // hop + 1) * hop


def stock_of(parts: Iterable[Facts], slot: int) -> Stock:
    """What the facts tell of the listing in a slot, as of their end."""
    stock = Stock()
    for facts in parts:
        mentions = np.flatnonzero(facts.listings["slot"] == slot)
        events = np.searchsorted(facts.starts, mentions, side="right") - 1
        writes = np.isin(facts.events["kind"][events], _WRITES)
        for i, e in zip(mentions[writes].tolist(), events[writes].tolist(), strict=True):
            event, row = facts.events[e], facts.listings[i]
            opening, opened = stock.opening, stock.opened_ms
            if event["kind"] == KIND_CODE[Kind.LISTED]:
                opening, opened = (int(event["seq"]), i - int(facts.starts[e])), int(event["t"])
            if opening is not None:
                codes = {name: int(row[name]) for name in _ATTRIBUTES}
                stock = Stock(opening, opened, int(row["price_minor"]), codes)
    return stock


class _Part:
    """One part of the log, mention by mention; an event that names no listing is one of its own."""

    def __init__(self, facts: Facts, slot: int, stock: Stock) -> None:
        named = np.diff(facts.starts)
        self.event = np.repeat(np.arange(len(facts)), np.maximum(named, 1))
        nothing = np.repeat(named == 0, np.maximum(named, 1))
        self.row = np.where(nothing, -1, np.cumsum(~nothing) - 1)
        self.facts, self.slot, self.stock = facts, slot, stock
        self._at: dict[tuple[Key, tuple[int, ...]], Codes] = {}

    def column(self, part: str) -> Codes:
        """[mentions] codes of one part of a key; for the listing, whether it is this one."""
        events, listings = self.facts.events, self.facts.listings
        if part == "all":
            return np.ones(len(self.event), np.int64)
        if part in ("person", "query", "surface"):
            whole: Codes = events[part][self.event].astype(np.int64)
            return whole
        name, _, number = part.partition(".")
        if number:
            codes: Codes = events["declared"][self.event, int(number)].astype(np.int64)
            return codes if name == "declared" else (codes != 0).astype(np.int64)
        if part == "listing":
            return self._is_listing()
        values = np.zeros(len(self.event), np.int64)
        there = self.row >= 0
        values[there] = listings[part][self.row[there]]
        if part == "seller":
            values[~there] = events["seller"][self.event[~there]]
        return values

    def _is_listing(self) -> Codes:
        """1 from the opening of the listing on: what stood in its slot before is another's."""
        mine = np.zeros(len(self.event), np.int64)
        if self.stock.opening is not None and len(self.facts.listings):
            seq, place = self.stock.opening
            there = self.row >= 0
            here = there & (self.facts.listings["slot"][self.row] == self.slot)
            seqs = self.facts.events["seq"][self.event]
            places = self.row - self.facts.starts[self.event]
            mine[here & ((seqs > seq) | ((seqs == seq) & (places >= place)))] = 1
        return mine

    def of(self, evidence: Evidence) -> Codes:
        """Which mentions belong to a piece of evidence, in log order."""
        wanted = evidence.wanted
        asked = (wanted.key, evidence.codes)
        if asked not in self._at:
            mask = np.ones(len(self.event), np.bool_)
            for part, code in zip(*asked, strict=True):
                mask &= self.column(part) == code
            self._at[asked] = np.flatnonzero(mask)
        at = self._at[asked]
        events = self.facts.events[self.event[at]]
        keep = np.isin(events["kind"], [KIND_CODE[kind] for kind in wanted.kinds])
        keep &= (events["t"] >= evidence.from_ms) & (events["t"] < evidence.to_ms)
        if wanted.where.surfaces:
            surfaces = [SURFACE_CODE[surface] for surface in wanted.where.surfaces]
            keep &= np.isin(events["surface"], surfaces)
        if wanted.where.positions is not None:
            first, last = wanted.where.positions
            there = self.row[at] >= 0
            positions = np.full(len(at), -1)
            positions[there] = self.facts.listings["position"][self.row[at][there]]
            keep &= (positions >= first) & (positions <= last)
        return at[keep]

    def mention(self, at: int) -> Mention:
        event, row = self.facts.events[self.event[at]], int(self.row[at])
        kind, seq, t = _KINDS[event["kind"]], int(event["seq"]), int(event["t"])
        if row < 0:
            return Mention(seq, 0, t, kind, -1, 0)
        listing, place = self.facts.listings[row], row - int(self.facts.starts[self.event[at]])
        return Mention(seq, place, t, kind, int(listing["slot"]), int(listing["price_minor"]))


def gather(
    parts: Iterable[Facts], wanted: Sequence[Evidence], slot: int, stock: Stock, newest: int
) -> list[Evidence]:
    """Each piece of evidence with its mentions counted."""
    found = list(wanted)
    for facts in parts:
        part = _Part(facts, slot, stock)
        for i, evidence in enumerate(found):
            if evidence.known and len(at := part.of(evidence)):
                found[i] = _with(evidence, part, at, newest)
    return found


def _with(evidence: Evidence, part: _Part, at: Codes, newest: int) -> Evidence:
    times = part.facts.events["t"][part.event[at]]
    rows = part.row[at]
    prices = part.facts.listings["price_minor"][rows[rows >= 0]]
    priced, paid = evidence.paid
    wanted = evidence.wanted
    codes = part.column(wanted.of)[at] if wanted.of else np.zeros(len(at), np.int64)
    first, last = int(times.argmin()), len(times) - 1 - int(times[::-1].argmax())
    span, ends = evidence.span, evidence.ends
    if not evidence.count or times[first] < span[0]:
        span, ends = (int(times[first]), span[1]), (int(codes[first]), ends[1])
    if not evidence.count or times[last] >= span[1]:
        span, ends = (span[0], int(times[last])), (ends[0], int(codes[last]))
    tail = len(at) - min(wanted.k, len(at))
    recent = [*evidence.latest, *zip(times[tail:].tolist(), codes[tail:].tolist(), strict=True)]
    buckets = dict(evidence.buckets)
    hops, counts = np.unique(times // WINDOWS[wanted.window].hop_ms, return_counts=True)
    for bucket, count in zip(hops.tolist(), counts.tolist(), strict=True):
        buckets[bucket] = buckets.get(bucket, 0) + count
    latest_at = at[np.argsort(times, kind="stable")[len(at) - newest if len(at) > newest else 0 :]]
    shown = [*evidence.newest, *(part.mention(each) for each in latest_at.tolist())]
    shown.sort(key=lambda mention: (mention.t, mention.seq), reverse=True)
    return replace(
        evidence,
        count=evidence.count + len(at),
        paid=(priced + int((prices > 0).sum()), paid + sum(prices.tolist())),
        span=span,
        ends=ends,
        values=evidence.values | set(codes[codes > 0].tolist()),
        latest=tuple(recent[len(recent) - min(wanted.k, len(recent)) :]),
        buckets=buckets,
        newest=tuple(shown[:newest]),
    )
