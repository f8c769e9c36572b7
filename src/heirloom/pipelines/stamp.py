"""Stamp: events as the numbers that features fold, with each listing as it stands now."""

import itertools
import struct
from collections.abc import Sequence

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import (
    KIND_CODE,
    SURFACE_CODE,
    Event,
    Kind,
    declared_text,
    named,
    person_key,
    slate_hash,
)
from heirloom.core.facts import LISTING_ROW, MAX_DECLARED
from heirloom.core.log import Entry
from heirloom.core.words import query_key

_EVENT_ROW = struct.Struct(f"<qqbbiiQ{MAX_DECLARED}ii")
"""core.facts.EVENT_ROW; a structured array of one row costs ten times as much."""
_SEQ = struct.Struct("<q")
_LETTERS = (Kind.MESSAGE, Kind.OFFER)
"""Kinds whose text is written to a person: never a query."""


def stamped(
    events: Sequence[Event],
    ingested_at: Sequence[int],
    catalogue: Catalogue,
    declared: tuple[str, ...],
) -> list[Entry]:
    """Entries of consecutive events between which the catalogue does not change.

    Strings that have no code yet are given one. `seq` is -1 in the entries and in their rows.
    """
    ids = [named(event) for event in events]
    rows = catalogue.rows_of(tuple(itertools.chain.from_iterable(ids)))
    rows["position"] = list(itertools.chain.from_iterable(map(_positions, events)))
    packed, size = rows.tobytes(), LISTING_ROW.itemsize
    entries, end = [], 0
    for event, at, listings in zip(events, ingested_at, ids, strict=True):
        start, end = end, end + len(listings) * size
        entries.append(
            Entry(
                event=event,
                ingested_at=at,
                event_row=_event_row(event, catalogue, declared),
                listing_rows=packed[start:end],
            )
        )
    return entries


def numbered(entry: Entry, offset: int) -> Entry:
    """The entry as the log keeps it at an offset."""
    return Entry(
        event=entry.event,
        ingested_at=entry.ingested_at,
        event_row=_SEQ.pack(offset) + entry.event_row[_SEQ.size :],
        listing_rows=entry.listing_rows,
        seq=offset,
    )


def _positions(event: Event) -> Sequence[int]:
    if event.kind == Kind.IMPRESSION:
        return event.positions or range(len(event.listings))
    if event.listing is None:
        return ()
    return (-1 if event.position is None else event.position,)


def _event_row(event: Event, catalogue: Catalogue, declared: tuple[str, ...]) -> bytes:
    code = catalogue.vocabulary.code
    codes = [0] * MAX_DECLARED
    if event.attributes:
        for i, name in enumerate(declared):
            codes[i] = code(f"declared.{name}", declared_text(event.attributes.get(name)))
    return _EVENT_ROW.pack(
        -1,
        event.t,
        KIND_CODE[event.kind],
        SURFACE_CODE[event.surface] if event.surface else 0,
        code("person", person_key(event.user, event.session)),
        code("seller", event.seller),
        slate_hash(event.slate),
        *codes,
        0 if event.kind in _LETTERS else code("query", query_key(event.text)),
    )
