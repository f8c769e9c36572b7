"""Stamp: events as the numbers that features fold, with each listing as it stands now."""

import itertools
import struct
from collections.abc import Iterator, Sequence

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import (
    KIND_CODE,
    LETTER_KINDS,
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
from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import query_key

_EVENT_ROW = struct.Struct(f"<qqbbiiQ{MAX_DECLARED}ii")
"""core.facts.EVENT_ROW; a structured array of one row costs ten times as much."""
_SEQ = struct.Struct("<q")
_IMPRESSION = Kind.IMPRESSION  # an enumeration's member is slow to reach, and events are many


def stamped(
    events: Sequence[Event],
    ingested_at: Sequence[int],
    catalogue: Catalogue,
    declared: tuple[str, ...],
    offset: int = -1,
) -> list[Entry]:
    """Entries of consecutive events between which the catalogue does not change.

    Strings that have no code yet are given one, in the events' order.

    Args:
        events: in log order.
        ingested_at: [events] ms since 1970 UTC.
        catalogue: as the events find it.
        declared: names of the attributes that are stamped.
        offset: which the first of them is to have in the log; -1: none of them is known yet.
    """
    ids = [named(event) for event in events]
    rows = catalogue.rows_of(list(itertools.chain.from_iterable(ids)))
    rows["position"] = list(itertools.chain.from_iterable(map(_positions, events)))
    packed, size = rows.tobytes(), LISTING_ROW.itemsize
    seqs = [-1] * len(events) if offset < 0 else range(offset, offset + len(events))
    event_rows = _event_rows(events, seqs, catalogue.vocabulary, declared)
    entries, end = [], 0
    for event, at, seq, event_row, listings in zip(
        events, ingested_at, seqs, event_rows, ids, strict=True
    ):
        start, end = end, end + len(listings) * size
        entries.append(
            Entry(
                event=event,
                ingested_at=at,
                event_row=event_row,
                listing_rows=packed[start:end],
                seq=seq,
            )
        )
    return entries


def numbered(entry: Entry, offset: int) -> Entry:
    """The entry as the log keeps it at an offset."""
    if entry.seq == offset:
        return entry
    return Entry(
        event=entry.event,
        ingested_at=entry.ingested_at,
        event_row=_SEQ.pack(offset) + entry.event_row[_SEQ.size :],
        listing_rows=entry.listing_rows,
        seq=offset,
    )


def _positions(event: Event) -> Sequence[int]:
    if event.kind == _IMPRESSION:
        return event.positions or range(len(event.listings))
    if event.listing is None:
        return ()
    return (-1 if event.position is None else event.position,)


def _event_rows(
    events: Sequence[Event], seqs: Sequence[int], vocabulary: Vocabulary, declared: tuple[str, ...]
) -> Iterator[bytes]:
    """EVENT_ROW of each event: column by column, as each has a vocabulary of its own."""
    persons = [event.user or person_key(None, event.session) for event in events]
    asked = [query_key(e.text) if e.text and e.kind not in LETTER_KINDS else "" for e in events]
    return map(
        _EVENT_ROW.pack,
        seqs,
        [event.t for event in events],
        [KIND_CODE[event.kind] for event in events],
        [SURFACE_CODE[event.surface] if event.surface else 0 for event in events],
        vocabulary.codes("person", persons),
        vocabulary.codes("seller", [event.seller for event in events]),
        [slate_hash(event.slate) for event in events],
        *_declared_codes(events, vocabulary, declared),
        vocabulary.codes("query", asked),
    )


def _declared_codes(
    events: Sequence[Event], vocabulary: Vocabulary, declared: tuple[str, ...]
) -> list[list[int]]:
    """[MAX_DECLARED][events], the codes of what events declare; 0 for what they do not."""
    columns = [[0] * len(events) for _ in range(MAX_DECLARED)]
    stating = [i for i, event in enumerate(events) if event.attributes]
    for name, column in zip(declared, columns, strict=False):
        texts = [declared_text(events[i].attributes.get(name)) for i in stating]
        for i, code in zip(stating, vocabulary.codes(f"declared.{name}", texts), strict=True):
            column[i] = code
    return columns
