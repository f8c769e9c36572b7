"""EventLog: the one source of truth, and Entry: a line of it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from heirloom.core.event import Event
from heirloom.core.facts import Facts
from heirloom.core.vocabulary import Vocabulary


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as the log keeps it: with what ingestion added."""

    event: Event
    ingested_at: int
    """ms since 1970 UTC. `event.t` is never later."""
    event_row: bytes
    """One core.facts.EVENT_ROW; its `seq` is filled in by the log."""
    listing_rows: bytes
    """core.facts.LISTING_ROW of each listing named."""
    seq: int = -1
    """Offset in the log; before it is appended, the one that is expected, or -1."""


class EventLog(Protocol):
    """Durable, ordered, deduplicated. One writer; many readers."""

    def append(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> list[int | None]:
        """Append entries and the vocabulary's new codes in one transaction.

        Returns when durable. Gives each entry's offset, or None where its event id was
        already there (also twice in one call): nothing is counted twice.
        """

    def seen(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are in the log already."""

    def read(self, from_offset: int = 0, to_offset: int | None = None) -> Iterator[Entry]:
        """Entries with from_offset <= seq < to_offset, by seq."""

    def facts(self, from_offset: int = 0, to_offset: int | None = None) -> Facts:
        """The same range as arrays."""

    def vocabulary(self) -> Vocabulary:
        """All codes given so far."""

    def end(self) -> int:
        """The offset that the next entry will get."""


class Lake(Protocol):
    """Where the log's old part stands once it is compacted: the offsets 0 … end() - 1."""

    def read(self, from_offset: int, to_offset: int) -> Iterator[Entry]:
        """Entries with from_offset <= seq < to_offset, by seq."""

    def facts(self, from_offset: int, to_offset: int) -> Facts:
        """The same range as arrays."""

    def end(self) -> int:
        """One more than the last offset that is whole and durable in the lake."""


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """What came and could not enter the log, with the reason. Nothing is dropped silently."""

    raw: bytes
    """What came, as it came; cut at 64 KiB."""
    reason: str
    source: str
    """Where it came from: a file and row, or an API key."""
    at: int
    """ms since 1970 UTC."""


class Anteroom(Protocol):
    """What waits outside the log: refused events with their reason, held ones for a listing.

    Every write is durable when the call returns.
    """

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep what was refused. The same `raw` with the same reason is kept once."""

    def quarantined(self, limit: int = 1_000) -> list[Rejected]:
        """The latest refused, newest first."""

    def hold(self, events: Sequence[Event]) -> None:
        """Keep events about listings that are not yet known. One event id is kept once."""

    def held_for(self, listing_ids: Sequence[str]) -> list[Event]:
        """Held events about these listings, in the order they came; they stay held."""

    def release(self, event_ids: Sequence[str]) -> None:
        """Forget held events, once they are in the log."""

    def counts(self) -> tuple[int, int]:
        """(quarantined, held)."""
