"""SQLite: what waits outside the log. Refused events with their reason, held ones for a listing."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from heirloom.adapters.sqlite_database import open_database, store_errors
from heirloom.core.event import Event, named
from heirloom.core.log import Rejected

MAX_RAW = 65_536
"""Bytes kept of what was refused."""

_ANTEROOM_ID = 0x48_41_4E_54  # "HANT"
_TABLES = """
CREATE TABLE rejected (
    n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, raw BLOB NOT NULL, reason TEXT NOT NULL,
    source TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE held (n INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, payload BLOB NOT NULL);
CREATE TABLE awaits (listing TEXT, n INTEGER, PRIMARY KEY (listing, n)) WITHOUT ROWID;
CREATE INDEX awaits_of ON awaits (n);
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


class SqliteAnteroom:
    """Quarantine and held events in one SQLite file. Implements core.log.Anteroom.

    Several processes may write: each call is one transaction, durable when it returns.

    Raises:
        StoreError: the file is damaged, of something else, or locked for 30 s.
    """

    def __init__(self, path: str | Path) -> None:
        self._where = f"anteroom {path}"
        self._lock = threading.Lock()
        self._db = open_database(Path(path), _ANTEROOM_ID, _TABLES, read_only=False)

    def close(self) -> None:
        """Let go of the file; calling it twice does no harm."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """See Anteroom.quarantine."""
        rows = []
        for one in rejected:
            raw, reason, source = one.raw[:MAX_RAW], _writable(one.reason), _writable(one.source)
            digest = hashlib.blake2b(raw, digest_size=16, key=_short(reason)).digest()
            rows.append((digest, raw, reason, source, one.at))
        self._write_many(
            "INSERT OR IGNORE INTO rejected (id, raw, reason, source, at) VALUES (?, ?, ?, ?, ?)",
            rows,
        )

    def quarantined(self, limit: int = 1_000) -> list[Rejected]:
        """See Anteroom.quarantined."""
        rows = self._read(
            "SELECT raw, reason, source, at FROM rejected ORDER BY n DESC LIMIT ?", limit
        )
        return [
            Rejected(raw=raw, reason=reason, source=source, at=at)
            for raw, reason, source, at in rows
        ]

    def hold(self, events: Sequence[Event]) -> None:
        """See Anteroom.hold."""
        with self._transaction():
            for event in events:
                cursor = self._db.execute(
                    "INSERT OR IGNORE INTO held (event_id, payload) VALUES (?, ?)",
                    (event.event_id, _encode(event)),
                )
                if cursor.rowcount == 1:
                    self._db.executemany(
                        "INSERT OR IGNORE INTO awaits VALUES (?, ?)",
                        [(listing, cursor.lastrowid) for listing in named(event)],
                    )

    def held_for(self, listing_ids: Sequence[str]) -> list[Event]:
        """See Anteroom.held_for."""
        wanted = msgspec.json.encode(listing_ids).decode()
        rows = self._read(
            "SELECT payload FROM held WHERE n IN (SELECT n FROM awaits WHERE listing IN "
            "(SELECT value FROM json_each(?))) ORDER BY n",
            wanted,
        )
        return [_decode(row[0]) for row in rows]

    def release(self, event_ids: Sequence[str]) -> None:
        """See Anteroom.release."""
        ids = [(event_id,) for event_id in event_ids]
        with self._transaction():
            self._db.executemany(
                "DELETE FROM awaits WHERE n = (SELECT n FROM held WHERE event_id = ?)", ids
            )
            self._db.executemany("DELETE FROM held WHERE event_id = ?", ids)

    def counts(self) -> tuple[int, int]:
        """See Anteroom.counts."""
        query = "SELECT (SELECT count(*) FROM rejected), (SELECT count(*) FROM held)"
        ((quarantined, held),) = self._read(query)
        return quarantined, held

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._lock, store_errors(self._where):
            return self._db.execute(query, values).fetchall()

    def _write_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self._transaction():
            self._db.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, store_errors(self._where):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(Exception):
                    self._db.execute("ROLLBACK")
                raise


def _short(reason: str) -> bytes:
    return hashlib.blake2b(reason.encode(), digest_size=32).digest()


def _writable(text: str) -> str:
    """Lone surrogates (a file name, a broken line) as escapes, so that the reason is kept."""
    return text.encode(errors="backslashreplace").decode()
