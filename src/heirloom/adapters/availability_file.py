"""Availability file: one word for each slot in a mapped file; one process writes, all read.

A word of 64 bits says of a slot, from its lowest bit: whether its listing may be shown (1 bit),
the slot's generation (23), and the announcement that last changed it (40). A word is stored and
loaded whole, so that no reader sees half of one. The file is no truth, the log is: its writer
makes it anew from the log before it takes anything in. docs/adr/0023-processes.md says why.
"""

import fcntl
import mmap
import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import StoreError

_MAGIC: Final = int.from_bytes(b"HLMLIVE1", "little")
_HEADER: Final = 8
"""Words before the first slot's: magic, boot, epoch, n; the rest are 0."""
_BOOT, _EPOCH, _N = 1, 2, 3
_GENERATIONS: Final = 1 << 23
_STATE_BITS: Final = 24
_STATE: Final = (1 << _STATE_BITS) - 1
_LEAST_SLOTS: Final = 8_192
_TRIES: Final = 50
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class AvailabilityFile:
    """A system's availability in a file. Implements core.availability.Availability.

    Readers go on with what is announced when the writer ends, however it ends: nothing is
    acknowledged without it.

    Args:
        path: of the file. A writer makes it; it only ever grows, in place.
        writes: this process writes the log. It announces all that stands with `restate` before
            anything else.

    Raises:
        StoreError: a reader finds none, one of another format, or one of before the machine
            started, which may lack the last sales; or the disk refuses.
    """

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        self.path = path
        self.writes = writes
        self._boot = _boot()
        self._file = self._lock = -1
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go; twice does no harm."""
        for held in (self._file, self._lock):
            if held >= 0:
                os.close(held)
        self._file = self._lock = -1

    # ── reading ────────────────────────────────────────────────────────────────────────────

    @property
    def n(self) -> int:
        """See Availability.n."""
        self._renew()
        return int(self._words[_N])

    @property
    def announced(self) -> int:
        """`n`, of the file as it was mapped last; may be asked from any thread."""
        return int(self._words[_N])

    @property
    def epoch(self) -> int:
        """See Availability.epoch."""
        return int(self._words[_EPOCH])

    def stands(self, slot: int, generation: int) -> bool:
        """See Availability.stands."""
        at = _HEADER + slot
        if slot < 0 or (at >= len(self._words) and not self._reaches(slot)):
            return False
        return bool(int(self._words[at]) & _STATE == (generation % _GENERATIONS) << 1 | 1)

    def standing(
        self, slots: NDArray[np.int32], generations: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """See Availability.standing."""
        standing: NDArray[np.bool_] = np.empty(len(slots), np.bool_)
        if not _standing(self._read, slots, generations, standing):
            states = self._at(slots) & _STATE
            np.equal(states, _states(generations, True), out=standing)
        return standing

    def gone(
        self, slots: NDArray[np.int32], generations: NDArray[np.int32], epoch: int
    ) -> NDArray[np.bool_]:
        """See Availability.gone. A slot that is not announced as far as asked is not gone."""
        found: NDArray[np.bool_] = np.empty(len(slots), np.bool_)
        if _gone(self._read, slots, generations, epoch, found):
            return found
        words = self._at(slots)
        mine = generations.astype(np.int64) % _GENERATIONS
        theirs, ended = (words & _STATE) >> 1, words & 1 == 0
        gone: NDArray[np.bool_] = (theirs > mine) | ((theirs == mine) & ended)
        return gone & (words >> _STATE_BITS <= epoch)

    def written(self) -> bool:
        """Whether a writer is alive."""
        self._renew()
        if self.writes:
            return True
        with self.path.open("rb") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _at(self, slots: NDArray[np.int32]) -> NDArray[np.int64]:
        """[slots] int64, the words; 0 where there is none yet."""
        if not len(slots):
            return np.zeros(0, np.int64)
        most = int(slots.max())
        if self._holds(most):
            return self._words[_HEADER + slots.astype(np.int64)]
        words = np.zeros(len(slots), np.int64)
        known = _HEADER + slots < len(self._words)
        words[known] = self._words[_HEADER + slots[known]]
        return words

    def _holds(self, slot: int) -> bool:
        """Whether the mapped file has a word for a slot."""
        return _HEADER + slot < len(self._words) or self._reaches(slot)

    def _reaches(self, slot: int) -> bool:
        """Whether the file has a word for a slot, mapped anew if it has grown."""
        self._renew()
        if os.fstat(self._file).st_size // 8 > len(self._words):
            self._map()
        return _HEADER + slot < len(self._words)

    def _renew(self) -> None:
        """Where somebody took the file away and its writer made another, read that one."""
        if not self.writes and os.fstat(self._file).st_nlink == 0 and self.path.exists():
            self.close()
            self._open()

    # ── writing ────────────────────────────────────────────────────────────────────────────

    def restate(self, generations: NDArray[np.int32], live: NDArray[np.bool_], n: int) -> None:
        """Announce all slots, as of log offset n; those not named hold nothing.

        Raises:
            StoreError: the disk is full or refuses.
        """
        self._fit(len(live))
        more = len(self._words) - _HEADER - len(live)
        self._announce(
            np.arange(len(self._words) - _HEADER),
            np.concatenate([_states(generations, live), np.zeros(more, np.int64)]),
            n,
        )
        self._words[_BOOT] = self._boot  # last: until then a reader refuses what is of before

    def announce(
        self,
        slots: NDArray[np.int32],
        generations: NDArray[np.int32],
        live: NDArray[np.bool_],
        n: int,
    ) -> None:
        """Announce what stands in some slots from now on, as of log offset n.

        When it returns, whoever begins to ask, in whatever process, is told so.

        Args:
            slots: [changed] each at most once.
            generations: [changed].
            live: [changed] whether their listings may be shown.
            n: the log's end.

        Raises:
            StoreError: the disk is full or refuses; nothing was announced.
        """
        if not len(slots):
            self._words[_EPOCH] += 1
            self._words[_N] = n
            return
        self._fit(int(slots.max()) + 1)
        self._announce(slots.astype(np.int64), _states(generations, live), n)

    def _announce(self, slots: NDArray[np.int64], states: NDArray[np.int64], n: int) -> None:
        at, epoch = _HEADER + slots, int(self._words[_EPOCH]) + 1
        # What stands as it was keeps the announcement that made it so: `gone` reads that.
        changed = self._words[at] & _STATE != states
        self._words[at[changed]] = epoch << _STATE_BITS | states[changed]
        self._words[_EPOCH] = epoch
        self._words[_N] = n

    def _fit(self, slots: int) -> None:
        """Room for so many slots; it is taken at once, so that a full disk is an error here."""
        room = len(self._words) - _HEADER
        if slots > room:
            try:
                size = 8 * (_HEADER + max(slots, 2 * room, _LEAST_SLOTS))
                os.posix_fallocate(self._file, 0, size)
                self._map()
            except OSError as error:
                raise StoreError(f"{self.path}: {error}; free some space, start again") from error

    # ── the file ───────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT if self.writes else os.O_RDONLY
            self._file = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
            if self.writes:
                self._own()
                self._make()
            self._check()
            self._map()
        except OSError as error:
            self.close()
            raise StoreError(
                f"{self.path}: {error.strerror}; start the system's writer, then its readers"
            ) from error
        except StoreError:
            self.close()
            raise

    def _own(self) -> None:
        """Say that a writer is alive, by a lock; the log's own lock says that there is but one."""
        # A map keeps its file open, so the lock has a descriptor of its own.
        self._lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:  # a reader that asks whether there is a writer, or a writer
                time.sleep(0.01)
        raise StoreError(f"{self.path}: another process writes it; stop that one first")

    def _make(self) -> None:
        """An empty file becomes one in which nothing stands."""
        if os.fstat(self._file).st_size < 8 * (_HEADER + _LEAST_SLOTS):
            os.posix_fallocate(self._file, 0, 8 * (_HEADER + _LEAST_SLOTS))
        if os.pread(self._file, 8, 0) == bytes(8):
            os.pwrite(self._file, _MAGIC.to_bytes(8, "little"), 0)

    def _check(self) -> None:
        head = os.pread(self._file, 8 * _HEADER, 0)
        magic, boot = np.frombuffer(head.ljust(16, b"\0")[:16], np.int64).tolist()
        if magic != _MAGIC:
            raise StoreError(
                f"{self.path}: this is no availability file of this version; move it away and "
                "start the system's writer"
            )
        if boot != self._boot and not self.writes:
            raise StoreError(
                f"{self.path}: it was written before this machine started, and may lack the last "
                "sales; start the system's writer, then its readers"
            )

    def _map(self) -> None:
        size = os.fstat(self._file).st_size // 8 * 8
        access = mmap.ACCESS_WRITE if self.writes else mmap.ACCESS_READ
        mapped = mmap.mmap(self._file, size, access=access)
        self._words: NDArray[np.int64] = np.frombuffer(mapped, np.int64)
        # A kernel is compiled for what may be written and once more for what may not.
        self._read = self._words.view()
        self._read.flags.writeable = False


@njit(cache=True)
def _standing(
    words: NDArray[Any], slots: NDArray[Any], generations: NDArray[Any], standing: NDArray[Any]
) -> bool:
    """Write whether each word says that this generation may be shown; False where one lacks."""
    for i in range(len(slots)):
        if _HEADER + slots[i] >= len(words):
            return False
        wanted = (np.int64(generations[i]) % _GENERATIONS) << 1 | 1
        standing[i] = words[_HEADER + slots[i]] & _STATE == wanted
    return True


@njit(cache=True)
def _gone(
    words: NDArray[Any], slots: NDArray[Any], generations: NDArray[Any], epoch: int,
    gone: NDArray[Any],
) -> bool:  # fmt: skip
    """Write whether each word said by an epoch that this generation ended; False as `_standing`."""
    for i in range(len(slots)):
        if _HEADER + slots[i] >= len(words):
            return False
        word, mine = words[_HEADER + slots[i]], np.int64(generations[i]) % _GENERATIONS
        theirs = (word & _STATE) >> 1
        ended = theirs > mine or (theirs == mine and word & 1 == 0)
        gone[i] = ended and word >> _STATE_BITS <= epoch
    return True


def _states(generations: NDArray[np.int32], live: NDArray[np.bool_] | bool) -> NDArray[np.int64]:
    """A word's lower bits, without its announcement."""
    states: NDArray[np.int64] = (generations.astype(np.int64) % _GENERATIONS) << 1 | live
    return states


def _boot() -> int:
    """What tells this start of the machine from others; 0 where the system does not say."""
    try:
        said = _BOOT_ID.read_bytes()
    except OSError:
        return 0
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "little", signed=True)
