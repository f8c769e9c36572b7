"""SQLite's door: open a database of ours durably, hold the one writer's right, translate errors."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.core.errors import StoreError

VERSIONS = (1,)
"""Of the tables: those that can be read, the first of which is begun with. Another is refused,
never guessed at."""

_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 32_768
"""128 MiB of WAL before it is folded into the file: random pages of the id table fold better."""


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Turn SQLite's errors into a StoreError that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "not a database" in text or "malformed" in text:
            advice = (
                "the file is damaged or is no SQLite database; stop the writer, move the file "
                "(with its -wal and -shm) away, and restore a backup or start anew"
            )
        elif "full" in text:
            advice = "nothing of this call was kept; free some disk space and send it again"
        elif "locked" in text or "busy" in text:
            advice = "another process holds it; retry when that is done"
        else:
            advice = "nothing of this call was kept; see to the disk and retry"
        raise StoreError(f"{where}: {text}: {advice}") from error


def open_database(
    path: Path,
    application_id: int,
    tables: str,
    *,
    read_only: bool,
    versions: tuple[int, ...] = VERSIONS,
) -> sqlite3.Connection:
    """A connection to a database of ours, its tables made if the file is new.

    Args:
        path: the file.
        application_id: says whose it is.
        tables: as SQL; they are of the first of the versions.
        read_only: it must be there.
        versions: those that can be read.

    Raises:
        StoreError: there is no such file (read_only), it is damaged, of another program, or of
            another version.
    """
    if read_only and not path.exists():
        raise StoreError(f"{path}: no such file; a reader cannot start it, open it for writing")
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    with store_errors(str(path)):
        db = sqlite3.connect(
            uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if read_only or not empty:
                _check_identity(db, path, application_id, versions)
            if not read_only:
                _prepare(db)
            if empty and not read_only:
                _begin(db, path, application_id, tables, versions[0])
        except BaseException:
            db.close()
            raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # on macOS a plain fsync does not reach the disk
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")


def _begin(
    db: sqlite3.Connection, path: Path, application_id: int, tables: str, version: int
) -> None:
    stamp = f"PRAGMA application_id = {application_id}; PRAGMA user_version = {version};"
    db.executescript(f"BEGIN IMMEDIATE; {tables} {stamp} COMMIT;")
    sync_folder(path.parent)


def _check_identity(
    db: sqlite3.Connection, path: Path, application_id: int, versions: tuple[int, ...]
) -> None:
    found = db.execute("PRAGMA application_id").fetchone()[0]
    if found != application_id:
        raise StoreError(
            f"{path}: a SQLite database of something else (application_id {found:#x}, wanted "
            f"{application_id:#x}); nothing was changed in it, name another file"
        )
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in versions:
        raise StoreError(
            f"{path}: written as version {version}; this heirloom reads version "
            f"{' or '.join(map(str, versions))}: use the heirloom that wrote it"
        )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a new or renamed file outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def only_writer(path: Path) -> sqlite3.Connection:
    """Hold the right to write until the connection closes or the process dies, however."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = sqlite3.connect(
        f"{path}.writer", timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise StoreError(
            f"{path}: open for writing already, in this process or another; an event log has one "
            "writer: stop it first, or open with read_only=True"
        ) from error
    return lock
