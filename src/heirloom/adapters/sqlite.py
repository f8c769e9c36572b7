"""SQLite: the event log of one machine. WAL, synchronous=FULL, group commit, one writer.

The log's old part may stand in a lake (`adapters/lake.py`); offsets below `compacted_to` are
read there, all others here. Why SQLite: docs/adr/0002-event-log-on-sqlite.md.
"""

import hashlib
import itertools
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.adapters.id_filter import IdFilter
from heirloom.adapters.sqlite_database import only_writer, open_database, store_errors
from heirloom.core.errors import InputError, ShapeError, StoreError
from heirloom.core.event import Event
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.log import Entry, Lake
from heirloom.core.vocabulary import Vocabulary

_LOG_ID = 0x48_4C_4F_47  # "HLOG": SQLite's application_id, so that no other database is taken
_TABLES = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, kind TEXT NOT NULL, t INTEGER NOT NULL,
    ingested_at INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE stamps (
    from_seq INTEGER PRIMARY KEY, to_seq INTEGER NOT NULL, event_rows BLOB NOT NULL,
    counts BLOB NOT NULL, listing_rows BLOB NOT NULL);
CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE vocabulary (
    field TEXT, code INTEGER, text TEXT NOT NULL, PRIMARY KEY (field, code)) WITHOUT ROWID;
CREATE TABLE state (compacted_to INTEGER NOT NULL);
INSERT INTO state VALUES (0);
"""
# `stamps` keeps EVENT_ROW and LISTING_ROW of a whole commit in one row, so that `facts` reads
# arrays and not rows; `counts` is the number of listings per event, int32.
# `ids` holds a 16-byte digest of every event id ever taken, compacted ones too: dedupe outlives
# compaction at about 20 bytes an event. Digests are random, so each new one changes a page of the
# tree of its own; those of the latest events, fewer than _RECENT, are kept in memory instead and
# read from `events` at a start, and go into the tree many at once.

_VERSIONS = (1, 2)
"""Of the tables. In version 1 every id stands in `ids`; a file is of 2 once some do not."""
_RECENT = 8_192
"""So many ids go into `ids` at once: few enough not to be felt by who waits for that commit."""

_PAGE = 16_384
"""Rows a reader takes at once: no read holds a snapshot for long, so the WAL can be reset."""
_PAGE_STAMPS = 512
_MERGE_STAMPS = 256
"""So many small rows of `stamps` in a run are made one: live traffic appends a few at a time."""
_PROBES = (1, 8, 64, 500)
"""Ids looked up in one statement: few lengths, so that few statements are prepared."""

_WORTH_FILTERING = 16
"""Fewer ids are looked for in the tree at once."""
_FILTERED_AT_ONCE = 2_048
"""A start reads none of the tree; each look for many ids goes on with so many of it."""

_PROBE = {n: f"SELECT id FROM ids WHERE id IN ({','.join('?' * n)})" for n in _PROBES}  # noqa: S608
_ROWS = 64
"""So many rows are inserted by one statement: it costs half of as many statements."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


@dataclass(slots=True)
class _Append:
    """One call of `append`, made ready in the caller's thread, waiting for its commit."""

    rows: list[tuple[str, str, int, int, bytes]]
    event_rows: NDArray[Any]
    listing_rows: list[bytes]
    vocabulary: Vocabulary
    offsets: list[int | None] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether a commit has decided it."""
        return self.offsets is not None or self.error is not None

    @classmethod
    def of(cls, entries: Sequence[Entry], vocabulary: Vocabulary) -> Self:
        for i, entry in enumerate(entries):
            size, rest = len(entry.event_row), len(entry.listing_rows) % LISTING_ROW.itemsize
            if size != EVENT_ROW.itemsize or rest:
                raise ShapeError(
                    f"event log: entry {i} has an event_row of {size} bytes and listing_rows of "
                    f"{len(entry.listing_rows)}; wanted one EVENT_ROW of {EVENT_ROW.itemsize} "
                    f"and a multiple of {LISTING_ROW.itemsize}"
                )
        try:
            rows = [
                (e.event.event_id, e.event.kind, e.event.t, e.ingested_at, _encode(e.event))
                for e in entries
            ]
        except (UnicodeEncodeError, OverflowError) as error:
            raise InputError(
                f"event log: an event cannot be written: {error}; nothing of this call was kept: "
                "quarantine what core.event.problem refuses before appending"
            ) from error
        stamps = np.frombuffer(b"".join([e.event_row for e in entries]), EVENT_ROW).copy()
        return cls(rows, stamps, [e.listing_rows for e in entries], vocabulary)


@dataclass(slots=True)
class _Tail:
    """What the writer knows of the file's end; read anew after a failed commit."""

    end: int
    version: int
    recent: dict[str, bytes]
    """Event ids that are durable and not in `ids` yet, with their digests. Another dict once they
    are there."""
    words: dict[str, int] = field(default_factory=dict)
    """Highest code persisted, by vocabulary field."""
    run_from: int = 0
    run: int = 0
    """How many small rows of `stamps` stand since offset `run_from`."""
    written: dict[str, bytes] = field(default_factory=dict)
    """Event ids of the commit under way, with their digests."""
    indexed: bool = False
    """Whether that commit puts them, and all recent ones, into `ids`."""

    def settle(self) -> None:
        """The commit under way is durable: not before does `seen` find its ids, here or there."""
        if self.indexed:
            self.recent = {}
        else:
            self.recent.update(self.written)
        self.written, self.indexed = {}, False


@dataclass(frozen=True, slots=True)
class _Absent:
    """Event ids that `seen` did not find, so that `append` need not look for them again.

    Attributes:
        recent: the `_Tail.recent` beside which they were looked for: while it is the same dict,
            nothing came into `ids`.
        digests: by event id.
    """

    recent: dict[str, bytes]
    digests: dict[str, bytes]


class SqliteLog:
    """An event log in one SQLite file. Implements core.log.EventLog.

    Concurrent calls of `append` share commits: the first whose turn it is commits everything that
    queued up while the commit before was on its way to the disk.

    Args:
        path: the database file; made, with its folder, if it is not there.
        lake: where the log's old part stands; needed once `compact` has moved something.
        read_only: readers may stand beside the one writer, in any number of processes.

    Raises:
        StoreError: the file is damaged or of something else, a second writer, or a lake that
            does not hold what was moved there.
    """

    def __init__(
        self, path: str | Path, *, lake: Lake | None = None, read_only: bool = False
    ) -> None:
        self.path = Path(path)
        self.lake = lake
        self.read_only = read_only
        self._where = f"event log {self.path}"
        self._queue: list[_Append] = []
        self._turn = threading.Condition()
        self._committing = False
        self._commit_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._open: list[sqlite3.Connection] = []
        self._id_filter = IdFilter()
        try:
            if not read_only:
                self._open.append(only_writer(self.path))
                self._db = self._connected(read_only=False)
                self._open.append(self._db)
            self._reader = self._connected(read_only=True)
            self._open.append(self._reader)
            self._check_lake()
            if not read_only:
                self._tail = self._read_tail()
                self._absent = _Absent(self._tail.recent, {})
        except BaseException:
            self.close()
            raise

    def _connected(self, *, read_only: bool) -> sqlite3.Connection:
        return open_database(self.path, _LOG_ID, _TABLES, read_only=read_only, versions=_VERSIONS)

    def close(self) -> None:
        """Let go of the file; calling it twice does no harm."""
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def append(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> list[int | None]:
        """See EventLog.append. Safe to call from many threads.

        Raises:
            ShapeError, InputError: an entry cannot be written; nothing of this call was kept.
            StoreError: the disk or the vocabulary; nothing of this call was kept, and the
                vocabulary's new codes wait for the next call.
        """
        if self.read_only:
            raise StoreError(f"{self._where}: opened with read_only=True; only the writer appends")
        mine = _Append.of(entries, vocabulary)
        with self._turn:
            self._queue.append(mine)
            while self._committing and not mine.done:
                self._turn.wait()
            group: list[_Append] = []
            if not mine.done:
                self._committing = True
                group, self._queue = self._queue, []
        if group:
            try:
                self._commit(group)
            finally:
                with self._turn:
                    for append in group:
                        if not append.done:  # interrupted before the commit began
                            append.error = StoreError(f"{self._where}: interrupted; send it again")
                    self._committing = False
                    self._turn.notify_all()
        if mine.error is not None:
            raise StoreError(str(mine.error)) from mine.error
        return mine.offsets or []

    def _commit(self, group: list[_Append]) -> None:
        drained: list[tuple[Vocabulary, list[tuple[str, int, str]]]] = []
        try:
            with self._transaction():
                for vocabulary in {id(a.vocabulary): a.vocabulary for a in group}.values():
                    drained.append((vocabulary, vocabulary.drain_new()))
                    self._write_words(drained[-1][1])
                offsets = self._write_rows(group)
        except BaseException as error:
            for vocabulary, words in drained:
                vocabulary.give_back(words)
            for append in group:
                append.error = error
            if not isinstance(error, StoreError):
                raise
            return
        for append, given in zip(group, offsets, strict=True):
            append.offsets = given

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; after a failure the file is believed, not the memory."""
        with self._commit_lock, store_errors(self._where):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                self._tail = self._read_tail()
                raise
            self._tail.settle()

    def _read_tail(self) -> _Tail:
        with store_errors(self._where):
            end = _end(self._db)
            words = self._db.execute("SELECT field, max(code) FROM vocabulary GROUP BY field")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            recent = _recent(self._db, end)
            return _Tail(end, version, recent, dict(words.fetchall()), run_from=end)

    def _write_words(self, words: list[tuple[str, int, str]]) -> None:
        """Persist new codes; refuse a vocabulary that is not this log's own."""
        for name, code, text in words:
            highest = self._tail.words.get(name, 0)
            if code == highest + 1:
                self._tail.words[name] = code
                continue
            query = "SELECT text FROM vocabulary WHERE field = ? AND code = ?"
            known = self._db.execute(query, (name, code)).fetchone()
            if known != (text,):
                raise StoreError(
                    f"{self._where}: {name} code {code} came as {text!r}, but is "
                    f"{known[0] if known else None!r} here, {highest} codes in all; "
                    "write with the vocabulary that log.vocabulary() gives"
                )
        self._db.executemany("INSERT OR IGNORE INTO vocabulary VALUES (?, ?, ?)", words)

    def _write_rows(self, group: list[_Append]) -> list[list[int | None]]:
        """Insert what is new; the offsets of every call."""
        new_ids = self._new_ids([row[0] for append in group for row in append.rows])
        tail = self._tail
        end = tail.end
        offsets: list[list[int | None]] = []
        for append in group:
            given: list[int | None] = []
            values: list[tuple[Any, ...]] = []
            for row in append.rows:
                digest = new_ids.pop(row[0], None)
                if digest is None:  # in the log before this call, or earlier in it
                    given.append(None)
                else:
                    tail.written[row[0]] = digest
                    given.append(end)
                    values.append((end, *row))
                    end += 1
            offsets.append(given)
            _insert(self._db, "INSERT INTO events VALUES", values)
            new = [i for i, seq in enumerate(given) if seq is not None]
            stamps = append.event_rows[new]
            stamps["seq"] = np.arange(end - len(new), end)
            for i in range(0, len(new), _PAGE):
                self._write_stamps(
                    stamps[i : i + _PAGE], [append.listing_rows[j] for j in new[i : i + _PAGE]]
                )
        tail.end = end
        if len(tail.recent) + len(tail.written) >= _RECENT:
            self._write_ids()
        elif tail.written and tail.version < _VERSIONS[-1]:
            self._db.execute(f"PRAGMA user_version = {_VERSIONS[-1]}")
            tail.version = _VERSIONS[-1]
        return offsets

    def _new_ids(self, event_ids: list[str]) -> dict[str, bytes]:
        """Those of the ids that are not in the log, with their digests."""
        recent, absent = self._tail.recent, self._absent
        looked_for = absent.digests if absent.recent is recent else {}
        if looked_for.keys() >= set(event_ids) and recent.keys().isdisjoint(event_ids):
            return {event_id: looked_for[event_id] for event_id in event_ids}
        new: dict[str, bytes] = {}
        unsure: dict[bytes, str] = {}
        for event_id in event_ids:
            if event_id in recent:
                continue
            digest = looked_for.get(event_id)
            if digest is None:
                digest = _digest(event_id)
                unsure[digest] = event_id
            new[event_id] = digest
        for digest in _known(self._db, unsure):
            del new[unsure[digest]]
        return new

    def _write_ids(self) -> None:
        """Insert the ids that are not in the tree yet."""
        tail = self._tail
        # Sorted, so that neighbours in the tree are written one after the other.
        digests = sorted([*tail.recent.values(), *tail.written.values()])
        self._id_filter.add(digests)  # before they can be there
        _insert(self._db, "INSERT OR IGNORE INTO ids VALUES", [(digest,) for digest in digests])
        tail.indexed = True

    def _write_stamps(self, stamps: NDArray[Any], listing_rows: list[bytes]) -> None:
        sizes = np.array([len(rows) for rows in listing_rows], np.int32)
        first = int(stamps["seq"][0])
        insert = "INSERT INTO stamps VALUES (?, ?, ?, ?, ?)"
        self._db.execute(
            insert,
            (first, first + len(stamps), stamps.tobytes(),
             (sizes // LISTING_ROW.itemsize).tobytes(), b"".join(listing_rows)),
        )  # fmt: skip
        tail = self._tail
        tail.run += 1
        if first + len(stamps) - tail.run_from > _PAGE // 2:
            tail.run, tail.run_from = 0, first + len(stamps)
        elif tail.run == _MERGE_STAMPS:
            query = "SELECT * FROM stamps WHERE from_seq >= ? ORDER BY from_seq"
            rows = self._db.execute(query, (tail.run_from,)).fetchall()
            self._db.execute("DELETE FROM stamps WHERE from_seq >= ?", (tail.run_from,))
            merged = [b"".join(column) for column in list(zip(*rows, strict=True))[2:]]
            self._db.execute(insert, (rows[0][0], rows[-1][1], *merged))
            tail.run, tail.run_from = 0, rows[-1][1]

    def forget_before(self, offset: int) -> None:
        """Delete the rows that the lake holds; their ids stay, for dedupe. See lake.compact.

        Raises:
            StoreError: the lake does not hold them all.
        """
        if self.read_only or self.lake is None or self.lake.end() < offset:
            raise StoreError(
                f"{self._where}: rows below offset {offset} are not all in its lake; compact first"
            )
        done = self.compacted_to()
        if done < offset:
            with self._transaction():
                self._write_ids()  # from the rows that go they could not be read again
        while done < offset:
            done = min(done + _PAGE, offset)  # short transactions: appends go on in between
            with self._transaction():
                self._db.execute("DELETE FROM events WHERE seq < ?", (done,))
                self._db.execute("DELETE FROM stamps WHERE to_seq <= ?", (done,))
                self._db.execute("UPDATE state SET compacted_to = ?", (done,))

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def read(self, from_offset: int = 0, to_offset: int | None = None) -> Iterator[Entry]:
        """See EventLog.read. The end is that of the moment of the call."""
        start, stop = self._range(from_offset, to_offset)
        return self._read(start, stop)

    def _read(self, start: int, stop: int) -> Iterator[Entry]:
        query = "SELECT ingested_at, payload FROM events WHERE seq >= ? AND seq < ? ORDER BY seq"
        while start < stop:
            upto = min(stop, start + _PAGE)
            with self._snapshot() as (db, moved):
                if start >= moved:
                    facts = Facts.joined(list(self._stamped(db, start, upto)))
                    upto = start + len(facts)
                    rows = db.execute(query, (start, upto)).fetchall()
            if start < moved:
                upto = min(stop, moved)
                yield from self._moved().read(start, upto)
            else:
                if len(rows) != upto - start:
                    raise self._gap(start, upto)
                yield from _entries(rows, facts)
            start = upto

    def facts(self, from_offset: int = 0, to_offset: int | None = None) -> Facts:
        """See EventLog.facts."""
        start, stop = self._range(from_offset, to_offset)
        parts: list[Facts] = []
        while start < stop:
            with self._snapshot() as (db, moved):
                if start >= moved:
                    page = list(self._stamped(db, start, stop))
            if start < moved:
                page = [self._moved().facts(start, min(stop, moved))]
            parts += page
            start += sum(len(part) for part in page)
        return Facts.joined(parts)

    def _stamped(self, db: sqlite3.Connection, start: int, stop: int) -> Iterator[Facts]:
        """At most a page of consecutive Facts from `start` on."""
        rows = db.execute(
            "SELECT event_rows, counts, listing_rows FROM stamps WHERE from_seq < ? AND from_seq "
            ">= (SELECT max(from_seq) FROM stamps WHERE from_seq <= ?) ORDER BY from_seq LIMIT ?",
            (stop, start, _PAGE_STAMPS),
        )
        at = start
        for event_rows, counts, listing_rows in rows.fetchall():
            if len(event_rows) != len(counts) // 4 * EVENT_ROW.itemsize:
                raise StoreError(
                    f"{self._where}: its rows are of another version of heirloom; "
                    "ingest the events anew, into another folder"
                )
            events = np.frombuffer(event_rows, EVENT_ROW)
            starts = np.concatenate([[0], np.cumsum(np.frombuffer(counts, np.int32))])
            whole = Facts(events, np.frombuffer(listing_rows, LISTING_ROW), starts.astype(np.int64))
            first = int(events["seq"][0])
            part = whole[at - first : stop - first] if at >= first else whole[:0]
            if not len(part) or part.events["seq"][-1] != at + len(part) - 1:
                raise self._gap(at, stop)
            at += len(part)
            yield part
        if at == start:
            raise self._gap(start, stop)

    def seen(self, event_ids: Sequence[str]) -> set[str]:
        """See EventLog.seen."""
        # Recent ids first: what goes from there into the tree meanwhile is found there.
        recent = {} if self.read_only else self._tail.recent
        found = recent.keys() & event_ids
        digests = {i: _digest(i) for i in event_ids if i not in found}
        with self._snapshot() as (db, _):
            if self.read_only:
                found |= _recent(db, _end(db)).keys() & event_ids
            if known := _known(db, self._likely(db, digests.values())):
                found.update(i for i, digest in digests.items() if digest in known)
        if not self.read_only:
            for event_id in found & digests.keys():
                del digests[event_id]
            self._absent = _Absent(recent, digests)
        return found

    def _likely(self, db: sqlite3.Connection, digests: Collection[bytes]) -> Iterable[bytes]:
        """Those of the digests that may be in the tree. Until the filter knows it all: every one.

        The writer alone asks it, so nothing comes into the tree that it does not hear of.
        """
        if self.read_only or len(digests) < _WORTH_FILTERING:
            return digests
        ids = self._id_filter
        if ids.upto is not None:
            query = "SELECT id FROM ids WHERE id > ? ORDER BY id LIMIT ?"
            more = [row[0] for row in db.execute(query, (ids.upto, _FILTERED_AT_ONCE))]
            ids.add(more)
            ids.upto = more[-1] if len(more) == _FILTERED_AT_ONCE else None
            return digests
        return itertools.compress(digests, ids.may_hold(digests).tolist())

    def vocabulary(self) -> Vocabulary:
        """See EventLog.vocabulary."""
        with self._snapshot() as (db, _):
            return Vocabulary(db.execute("SELECT field, code, text FROM vocabulary ORDER BY 1, 2"))

    def words(self, next_code: Callable[[str], int]) -> list[tuple[str, int, str]]:
        """(field, code, text) of the vocabulary from a code on, 1 or more, for each field."""
        found: list[tuple[str, int, str]] = []
        with self._snapshot() as (db, _):
            field = ""
            while True:
                least = "SELECT min(field) FROM vocabulary WHERE field > ?"
                field = db.execute(least, (field,)).fetchone()[0]
                if field is None:
                    return found
                query = "SELECT * FROM vocabulary WHERE field = ? AND code >= ? ORDER BY code"
                found += db.execute(query, (field, next_code(field))).fetchall()

    def end(self) -> int:
        """See EventLog.end."""
        with self._snapshot() as (db, _):
            return _end(db)

    def compacted_to(self) -> int:
        """Offsets below it stand in the lake."""
        with self._snapshot() as (_, moved):
            return moved

    def first_at(self, ingested_ms: int) -> int:
        """The lowest offset here that was ingested at or after a moment; the end if none was."""
        with self._snapshot() as (db, _):
            query = "SELECT min(seq) FROM events WHERE ingested_at >= ?"
            found = db.execute(query, (ingested_ms,)).fetchone()[0]
            return _end(db) if found is None else int(found)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """The reader's connection at one moment of the file, and compacted_to at that moment."""
        with self._read_lock, store_errors(self._where):
            self._reader.execute("BEGIN")
            try:
                yield self._reader, _compacted_to(self._reader)
            finally:
                self._reader.execute("COMMIT")

    def _range(self, from_offset: int, to_offset: int | None) -> tuple[int, int]:
        if from_offset < 0:
            raise InputError(f"{self._where}: from_offset is {from_offset}; wanted 0 or more")
        end = self.end()
        return from_offset, end if to_offset is None else min(to_offset, end)

    def _moved(self) -> Lake:
        if self.lake is None:
            raise StoreError(
                f"{self._where}: its old part was moved to a lake meanwhile; open it with lake="
            )
        return self.lake

    def _gap(self, start: int, stop: int) -> StoreError:
        return StoreError(
            f"{self._where}: offsets {start} … {stop - 1} are not all there; the file was changed "
            "by hand or is damaged: restore a backup"
        )

    def _check_lake(self) -> None:
        moved, there = self.compacted_to(), self.lake.end() if self.lake else 0
        if there < moved:
            raise StoreError(
                f"{self._where}: offsets below {moved} were moved to a lake; the lake given "
                f"({self.lake}) ends at {there}: give the lake that holds them"
            )
        if there > self.end():
            raise StoreError(
                f"{self._where}: ends at {self.end()}, before its lake ({self.lake}, {there}): "
                "they are not of one log, or an old backup was restored; restore both together"
            )


def _entries(rows: list[tuple[int, bytes]], facts: Facts) -> Iterator[Entry]:
    """(ingested_at, payload) and their stamps, put together."""
    event_rows, listing_rows = facts.events.tobytes(), facts.listings.tobytes()
    size, bounds = EVENT_ROW.itemsize, (facts.starts * LISTING_ROW.itemsize).tolist()
    for i, (ingested_at, payload) in enumerate(rows):
        yield Entry(
            event=_decode(payload),
            ingested_at=ingested_at,
            event_row=event_rows[i * size : (i + 1) * size],
            listing_rows=listing_rows[bounds[i] : bounds[i + 1]],
            seq=int(facts.events["seq"][i]),
        )


def _digest(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=16).digest()


def _insert(db: sqlite3.Connection, insert: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows of one length each, many by a statement, and the rest one by one."""
    if not rows:
        return
    row = f"({','.join('?' * len(rows[0]))})"
    many = f"{insert} {','.join([row] * _ROWS)}"
    whole = len(rows) - len(rows) % _ROWS
    for i in range(0, whole, _ROWS):
        db.execute(many, tuple(itertools.chain.from_iterable(rows[i : i + _ROWS])))
    db.executemany(f"{insert} {row}", rows[whole:])


def _known(db: sqlite3.Connection, digests: Iterable[bytes]) -> set[bytes]:
    known: set[bytes] = set()
    probes = sorted(digests)  # neighbours in the tree are looked for one after the other
    for i in range(0, len(probes), _PROBES[-1]):
        part = probes[i : i + _PROBES[-1]]
        length = next(length for length in _PROBES if length >= len(part))
        part += part[-1:] * (length - len(part))
        known.update(row[0] for row in db.execute(_PROBE[length], part))
    return known


def _recent(db: sqlite3.Connection, end: int) -> dict[str, bytes]:
    """Ids of the latest events that are not in `ids`, with their digests: a run up to the end."""
    recent: dict[str, bytes] = {}
    query = "SELECT event_id FROM events WHERE seq >= ? AND seq < ?"
    for stop in range(end, max(end - _RECENT, 0), -_PROBES[-1]):
        rows = db.execute(query, (stop - _PROBES[-1], stop)).fetchall()
        digests = {event_id: _digest(event_id) for (event_id,) in rows}
        known = _known(db, digests.values())
        recent.update((i, digest) for i, digest in digests.items() if digest not in known)
        if known or not rows:
            break
    return recent


def _compacted_to(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT compacted_to FROM state").fetchone()[0])


def _end(db: sqlite3.Connection) -> int:
    last = db.execute("SELECT max(seq) FROM events").fetchone()[0]
    return _compacted_to(db) if last is None else int(last) + 1
