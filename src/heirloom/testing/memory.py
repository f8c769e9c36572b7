"""MemoryLog and MemoryAnteroom: the log and its anteroom without a disk.

For tests and examples. They keep every law of their interface, but die with their process.
"""

import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Self

import msgspec

from heirloom.core.event import Event, named
from heirloom.core.facts import Facts
from heirloom.core.log import Entry, Rejected
from heirloom.core.vocabulary import Vocabulary

MAX_RAW_BYTES = 64 << 10


class MemoryLog:
    """An EventLog in a list."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._ids: set[str] = set()
        self._codes: list[tuple[str, int, str]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to let go of: what it holds can still be read."""

    def append(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> list[int | None]:
        """Append entries and the vocabulary's new codes; None for an id that is there already."""
        with self._lock:
            self._codes.extend(vocabulary.drain_new())
            return [self._append(entry) for entry in entries]

    def _append(self, entry: Entry) -> int | None:
        if entry.event.event_id in self._ids:
            return None
        seq = len(self._entries)
        row = struct.pack("<q", seq) + entry.event_row[8:]
        self._entries.append(msgspec.structs.replace(entry, seq=seq, event_row=row))
        self._ids.add(entry.event.event_id)
        return seq

    def seen(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are in the log already."""
        return self._ids.intersection(event_ids)

    def read(self, from_offset: int = 0, to_offset: int | None = None) -> Iterator[Entry]:
        """Entries with from_offset <= seq < to_offset, by seq."""
        yield from self._entries[from_offset:to_offset]

    def facts(self, from_offset: int = 0, to_offset: int | None = None) -> Facts:
        """The same range as arrays."""
        entries = self._entries[from_offset:to_offset]
        return Facts.unpack([e.event_row for e in entries], [e.listing_rows for e in entries])

    def vocabulary(self) -> Vocabulary:
        """All codes given so far, as a vocabulary of its own."""
        return Vocabulary(self._codes)

    def end(self) -> int:
        """The offset that the next entry will get."""
        return len(self._entries)


class MemoryAnteroom:
    """An Anteroom in two dicts."""

    def __init__(self) -> None:
        self._rejected: dict[tuple[bytes, str], Rejected] = {}
        self._held: dict[str, Event] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to let go of: what it holds can still be read."""

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep what was refused. The same `raw` with the same reason is kept once."""
        for one in rejected:
            kept = Rejected(
                raw=one.raw[:MAX_RAW_BYTES],
                reason=one.reason.encode(errors="backslashreplace").decode(),
                source=one.source.encode(errors="backslashreplace").decode(),
                at=one.at,
            )
            self._rejected.setdefault((kept.raw, kept.reason), kept)

    def quarantined(self, limit: int = 1_000) -> list[Rejected]:
        """The latest refused, newest first."""
        return list(self._rejected.values())[::-1][:limit]

    def hold(self, events: Sequence[Event]) -> None:
        """Keep events about listings that are not yet known. One event id is kept once."""
        for event in events:
            self._held.setdefault(event.event_id, event)

    def held_for(self, listing_ids: Sequence[str]) -> list[Event]:
        """Held events about any of these listings, in the order they came; they stay held."""
        wanted = set(listing_ids)
        return [event for event in self._held.values() if not wanted.isdisjoint(named(event))]

    def release(self, event_ids: Sequence[str]) -> None:
        """Forget held events, once they are in the log."""
        for event_id in event_ids:
            self._held.pop(event_id, None)

    def counts(self) -> tuple[int, int]:
        """(quarantined, held)."""
        return len(self._rejected), len(self._held)
