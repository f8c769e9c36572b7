"""Snapshots: named arrays as of a log offset, whole or not at all, in a folder each.

A snapshot saves folding: it covers what is handed over, and says at which offset the log goes on.
It is never the truth. One that is torn or of something else is refused with a sentence, and the
next older one is used, or the whole log.

    FOLDER/marketplace@1a2b3c4d/in-use                   locked by who reads or writes this state
    FOLDER/marketplace@1a2b3c4d/00000000000000500000/    a snapshot

A state that nobody holds and nobody has used for RETIRED_AFTER_MS, as that of a view's old
version, goes when another is written.
"""

import errno
import fcntl
import io
import logging
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.adapters.sqlite_database import sync_folder
from heirloom.adapters.xxhash import xxh64
from heirloom.core.errors import InputError, StoreError

FORMAT = 2
KEPT = 2
"""Of each state so many are kept, the latest: one more than is needed while all is well."""
RETIRED_AFTER_MS = 30 * 86_400_000
"""30 days: until then a release can be rolled back, and the old one starts as quickly as ever."""
_RETIRED = ".retired-"
_DISK_BLOCK = 4_096
_NAME = re.compile(r"[a-z0-9_.@-]{1,100}")
_BLOCK = 8 << 20
"""Bytes that are written at once and synced, so that nobody else who syncs waits for gigabytes."""


logger = logging.getLogger(__name__)


class _Array(msgspec.Struct, frozen=True):
    """An array's file: `size` bytes are written, and zeros follow of which the disk keeps none."""

    dtype: str
    shape: tuple[int, ...]
    size: int
    xxh64: str


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    of: str
    n: int
    mark: str
    arrays: dict[str, _Array]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was written.

    Attributes:
        of: which state: a view and its version.
        n: log offset applied.
        mark: what tells this log from another, as the writer of the snapshot made it.
        arrays: by name, mapped from the disk: pages are read when touched, writes stay private.
    """

    of: str
    n: int
    mark: str
    arrays: dict[str, NDArray[Any]]


class Snapshots:
    """The snapshots under one folder, by state and offset.

    A state that was read or written here is in use, and is kept, until this is closed.

    Args:
        folder: of them all; it is made when something is written.
        reached: called with the name of each step of `write` when it is done. For tests, which
            raise there.
        now_ms: the disk's time, ms since 1970 UTC.
    """

    def __init__(
        self,
        folder: Path,
        *,
        reached: Callable[[str], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.folder = folder
        self._reached = reached
        self._now_ms = now_ms
        self._held: dict[str, int] = {}
        self._begun: dict[Path, Future[Snapshot]] = {}
        self._letting_go = ExitStack()
        weakref.finalize(self, self._letting_go.close)

    def write(self, of: str, n: int, mark: str, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write a snapshot, durable when this returns, and let go of all but the latest KEPT.

        States that are retired by now go too.

        Everything is written and synced under another name, then renamed: there is no moment at
        which a reader finds half of it.

        Raises:
            InputError: a name that cannot be a file's.
            StoreError: the disk refuses; what was there before is untouched.
        """
        if bad := [name for name in (of, *arrays) if not _NAME.fullmatch(name)]:
            raise InputError(f"snapshot: names {bad}; wanted lower case letters, digits, . _ @ -")
        home, name = self.folder / of, f"{n:020d}"
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._hold(home)
            with (home / "lock").open("w") as lock:  # let go of however the writer ends
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._write(home, _Manifest(FORMAT, of, n, mark, {}), arrays)
            self._retire()
        except OSError as error:
            raise StoreError(
                f"snapshot {home / name}: {error}; nothing is lost, the log has it all: free some "
                "space, or delete the folder of snapshots"
            ) from error
        return home / name

    def newest(self, of: str) -> tuple[int, int]:
        """(offset, ms since 1970 UTC) of a state's latest snapshot, unread; 0 for none."""
        try:
            for latest in _newest_first(self.folder / of):
                return int(latest.name), latest.stat().st_mtime_ns // 1_000_000
        except OSError:  # none was written, or another process let go of it meanwhile
            pass
        return 0, 0

    def _write(self, home: Path, of: _Manifest, arrays: Mapping[str, NDArray[Any]]) -> None:
        for left in home.glob(".*"):  # of a writer that died
            shutil.rmtree(left)
        target = home / f"{of.n:020d}"
        draft = home / f".writing-{target.name}"
        draft.mkdir()
        self._reached("draft")
        listed = {}
        for key, array in arrays.items():
            listed[key] = _save(draft / f"{key}.npy", array)
            self._reached(f"array {key}")
        manifest = msgspec.structs.replace(of, arrays=listed)
        with (draft / "manifest.json").open("wb") as file:
            file.write(msgspec.json.encode(manifest))
            _sync(file.fileno(), file.flush)
        self._reached("manifest")
        sync_folder(draft)
        self._reached("synced")
        if target.exists():  # it may be damaged: the new one is whole
            self._remove(target)
        draft.rename(target)
        self._reached("renamed")
        sync_folder(home)
        sync_folder(self.folder)
        self._reached("durable")
        for old in _newest_first(home)[KEPT:]:
            self._remove(old)
        self._reached("pruned")

    @contextmanager
    def ahead(self, states: Iterable[str]) -> Iterator[None]:
        """Read the newest snapshot of each in a thread, one after the other, while others work.

        `latest` waits for what was begun here. When the block ends no thread is left.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="snapshots") as reader:
            try:
                for of in states:
                    home = self.folder / of
                    with suppress(OSError):
                        self._hold(home)
                        for folder in _newest_first(home)[:1]:
                            self._begun[folder] = reader.submit(_load, folder, of)
                yield
            finally:
                reader.shutdown(cancel_futures=True)
                self._begun.clear()

    def latest(self, of: str, refuse: Callable[[str], None]) -> Iterator[Snapshot]:
        """The whole snapshots of a state, newest first; `refuse` hears why another is not taken.

        Every byte is read once and compared with its checksum.
        """
        home = self.folder / of
        if not home.is_dir():
            return
        with suppress(OSError):  # on a disk that cannot be written to, nothing is retired either
            self._hold(home)
        for folder in _newest_first(home):
            begun = self._begun.pop(folder, None)
            try:
                snapshot = _load(folder, of) if begun is None else begun.result()
            except StoreError as error:
                refuse(str(error))
            else:
                yield snapshot

    def close(self) -> None:
        """Hold no state any longer."""
        self._letting_go.close()
        self._held.clear()

    def _hold(self, home: Path) -> None:
        """From now on this state is in use."""
        path = home / "in-use"
        while home.name not in self._held:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                self._held[home.name] = descriptor
                self._letting_go.callback(_let_go, descriptor, self._now_ms)
            else:  # it was retired while we waited
                os.close(descriptor)
                home.mkdir(parents=True, exist_ok=True)
        _touch(self._held[home.name], self._now_ms())

    def _retire(self) -> None:
        """Remove the states that nobody holds and nobody has used for long."""
        for left in self.folder.glob(f"{_RETIRED}*"):  # of a writer that died, or still removes it
            with suppress(FileNotFoundError):
                shutil.rmtree(left)
        until = self._now_ms() - RETIRED_AFTER_MS
        for home in self.folder.iterdir():
            if not home.is_dir() or _used_ms(home) > until:
                continue
            descriptor = os.open(home / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                gone = home.rename(home.with_name(f"{_RETIRED}{home.name}"))
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
            self._reached("retired")
            logger.info("snapshots of %s: not used for long, removed", home.name)
            with suppress(FileNotFoundError):
                shutil.rmtree(gone)
            self._reached("removed")

    def _remove(self, folder: Path) -> None:
        """Out of sight in one step, then away."""
        gone = folder.with_name(f".removing-{folder.name}")
        folder.rename(gone)
        self._reached("hidden")
        shutil.rmtree(gone)


def _let_go(descriptor: int, now_ms: Callable[[], int]) -> None:
    """Of a lock; its state was in use until now."""
    _touch(descriptor, now_ms())
    os.close(descriptor)


def _touch(descriptor: int, ms: int) -> None:
    os.utime(descriptor, ns=(ms * 1_000_000, ms * 1_000_000))


def _used_ms(home: Path) -> int:
    """When a state was read or written last; by its folder's time where nobody ever said so."""
    in_use = home / "in-use"
    return (in_use if in_use.exists() else home).stat().st_mtime_ns // 1_000_000


def _newest_first(home: Path) -> list[Path]:
    return sorted((p for p in home.iterdir() if p.name.isdigit()), reverse=True)


def _save(path: Path, array: NDArray[Any]) -> _Array:
    """An array as a .npy file; the zeros at its end, room to grow mostly, as a hole."""
    if array.dtype.hasobject:
        raise InputError(f"snapshot: {path.stem!r} holds objects; wanted numbers")
    array = np.ascontiguousarray(array)
    data = array.reshape(-1).view(np.uint8) if array.size else np.zeros(0, np.uint8)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    used = _used(data)
    with path.open("wb", buffering=0) as file:
        file.write(header.getvalue())
        for start in range(0, used, _BLOCK):
            block = data[start : min(start + _BLOCK, used)].data
            while block:
                block = block[file.write(block) :]
            os.fdatasync(file.fileno())
        os.ftruncate(file.fileno(), header.tell() + len(data))
        os.fsync(file.fileno())
    size = header.tell() + used
    return _Array(_dtype(array.dtype), array.shape, size, xxh64(_mapped(path, size)))


def _used(data: NDArray[np.uint8]) -> int:
    """Up to which byte there is anything but zeros, about: zeros of less than a block stay."""
    end = len(data)
    while end and not data[max(end - _BLOCK, 0) : end].any():
        end = max(end - _BLOCK, 0)
    return end


def _mapped(path: Path, size: int) -> NDArray[np.uint8]:
    return np.asarray(np.memmap(path, np.uint8, "r", shape=(size,)))


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _dtype(dtype: np.dtype[Any]) -> str:
    """A dtype as JSON keeps it, to compare by."""
    return repr(dtype.descr) if dtype.names else dtype.str


def _as_written(path: Path, wanted: _Array) -> bool:
    """Whether the bytes are those, and nothing but zeros follow."""
    whole = path.stat().st_size
    if not 0 < wanted.size <= whole or xxh64(_mapped(path, wanted.size)) != wanted.xxh64:
        return False
    return (
        wanted.size == whole
        or _is_hole(path, wanted.size)
        or not _mapped(path, whole)[wanted.size :].any()
    )


def _is_hole(path: Path, start: int) -> bool:
    """Whether the disk keeps nothing from there on but what fills the last block of the file."""
    with path.open("rb") as file:
        after = -(-start // _DISK_BLOCK) * _DISK_BLOCK
        file.seek(start)
        if any(file.read(after - start)):
            return False
        try:
            os.lseek(file.fileno(), after, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
    return False


def _load(folder: Path, of: str) -> Snapshot:
    def no(why: str) -> StoreError:
        return StoreError(f"snapshot {folder}: {why}; it is not used and may be deleted")

    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=_Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise no(f"no manifest that can be read ({error})") from None
    if (manifest.format, manifest.of, f"{manifest.n:020d}") != (FORMAT, of, folder.name):
        raise no(
            f"of {manifest.of!r} at {manifest.n}, format {manifest.format}; wanted {of!r} at "
            f"{int(folder.name)}, format {FORMAT}"
        )
    arrays = {}
    for name, wanted in manifest.arrays.items():
        path = folder / f"{name}.npy"
        try:
            if not _NAME.fullmatch(name) or not _as_written(path, wanted):
                raise no(f"{name!r} is not what was written")
            empty = 0 in wanted.shape  # nothing cannot be mapped
            array: NDArray[Any] = np.asarray(
                np.load(path, mmap_mode=None if empty else "c", allow_pickle=False)
            )
        except (OSError, ValueError) as error:
            raise no(f"{name!r} cannot be read ({error})") from None
        if (_dtype(array.dtype), array.shape) != (wanted.dtype, wanted.shape):
            raise no(f"{name!r} is {array.dtype} {array.shape}; the manifest says otherwise")
        arrays[name] = array
    return Snapshot(of, manifest.n, manifest.mark, arrays)
