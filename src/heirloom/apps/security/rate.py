"""Rates: a token bucket for each caller, one for all processes of a machine.

A bucket is one number, the time at which it would be full again (GCRA, the virtual scheduling
algorithm of ITU-T I.371 annex A, equal to a leaky bucket): a request moves it on by the time that
one request takes to refill, and is refused where that is further ahead than a whole bucket.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from heirloom.apps.security.caller import Allowance

WAYS = 8
_ROW = struct.Struct("<Qq")
_SET = struct.Struct("<" + "Qq" * WAYS)
_SECOND = 1_000_000_000


def take(full_at: int, now: int, allowance: Allowance) -> tuple[int, int]:
    """Take one request from a bucket; times in ns of one clock.

    Returns:
        When the bucket is full again, and how long to wait before asking once more: 0 where the
        request was taken. A refused request changes nothing.

    >>> two_at_once = Allowance(per_second=1.0, burst=2)
    >>> full_at, wait = take(0, 10_000_000_000, two_at_once)
    >>> full_at, wait = take(full_at, 10_000_000_000, two_at_once)
    >>> take(full_at, 10_000_000_000, two_at_once)
    (12000000000, 1000000000)
    """
    each = round(_SECOND / allowance.per_second)
    # A bucket further ahead than it can be filled was written by a clock before a restart.
    full_at = full_at if now < full_at <= now + each * allowance.burst else now
    wait = full_at + each - (now + each * allowance.burst)
    return (full_at, wait) if wait > 0 else (full_at + each, 0)


class Buckets:
    """Buckets by name, in a file that all processes of this machine map.

    16 bytes a bucket, in sets of eight. In a full set the one that is fullest makes room: its
    owner finds a full bucket, which it was or nearly was.

    Args:
        path: of the file; it is made where there is none. What it holds outlives no reboot.
        sets: a power of two.
        clock: ns, one for all processes.
    """

    def __init__(
        self, path: Path, *, sets: int = 4_096, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        if sets < 1 or sets & (sets - 1):
            raise ValueError(f"{sets} sets; wanted a power of two")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = sets * _SET.size
        if os.fstat(self._file).st_size != size:
            os.ftruncate(self._file, size)
        self._rows = mmap.mmap(self._file, size)
        self._sets = sets
        self._clock = clock
        self._marks: dict[str, int] = {}

    def take(self, name: str, allowance: Allowance) -> int:
        """Take one request; 0, or how many ns to wait before asking again."""
        if not allowance.per_second:
            return 0
        mark = self._marks.get(name)
        if mark is None:
            if len(self._marks) >= 100_000:
                self._marks.clear()
            mark = self._marks[name] = _mark(name)
        at = (mark & (self._sets - 1)) * _SET.size
        fcntl.lockf(self._file, fcntl.LOCK_EX, _SET.size, at)
        try:
            row, full_at = self._row(mark, at)
            full_at, wait = take(full_at, self._clock(), allowance)
            if not wait:
                _ROW.pack_into(self._rows, row, mark, full_at)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _SET.size, at)
        return wait

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()
        os.close(self._file)

    def _row(self, mark: int, at: int) -> tuple[int, int]:
        """Where a bucket lies or may be put, and when it is full again."""
        rows = _SET.unpack_from(self._rows, at)
        oldest = 0
        for way in range(WAYS):
            if rows[2 * way] == mark:
                return at + way * _ROW.size, rows[2 * way + 1]
            if rows[2 * way + 1] < rows[2 * oldest + 1]:
                oldest = way
        return at + oldest * _ROW.size, 0


def _mark(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") or 1
