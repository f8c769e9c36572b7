"""Board: what each process of a system says of itself, in memory that all of them map."""

import mmap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from heirloom.apps.shedding import ended, present

DOWN: Final = 0
STARTING: Final = 1
READY: Final = 2
DRAINING: Final = 3
STATES = ("down", "starting", "ready", "draining")
(
    _STATE, _PID, _STARTS, _SINCE, _N, _BUNDLE, _REFUSED, _READIES, _BEATS, _HUNG, _HELD, _SEEN,
    _GIVEN, _LINE,
) = range(14)  # fmt: skip
_COUNTS = 4
_FIELDS = _LINE + _COUNTS
_LIVELY_NS = 2_000_000_000
"""Who did not beat for so long may hang: nobody waits for it to take a connection."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a process says of itself.

    Attributes:
        name: `writer`, or `worker-` and its number.
        state: of STATES.
        pid: of the process that is it now, or was it last.
        starts: how often it was started.
        since_ms: when it came into its state, ms since 1970 UTC.
        n: log offset folded.
        bundle: the first 12 digits of the bundle that it answers with.
        refused: it refuses the bundle that was published last, and answers with the one before.
        hung: how often it was ended because it hung.
        held: connections at the public door that it answers on.
        given: how many it gave to others.
        answered: requests that came to their end in its line, since it was started.
    """

    name: str
    state: str
    pid: int
    starts: int
    since_ms: int
    n: int
    bundle: str
    refused: bool
    hung: int = 0
    held: int = 0
    given: int = 0
    answered: int = 0

    def __str__(self) -> str:
        hung = f", hung {self.hung} x" if self.hung else ""
        refused = ", refuses what was published last" if self.refused else ""
        return (
            f"{self.state}, pid {self.pid}, started {self.starts} x{hung}, "
            f"connections {self.held}, gave {self.given}, answered {self.answered}, n {self.n}, "
            f"bundle {self.bundle or 'none'}{refused}"
        )


class Board:
    """A row of words of 64 bits for each process. Made before the fork, it outlives each of them.

    A word is stored whole; each is written by the supervisor or by its own process, whose turn it
    is.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        mapped = mmap.mmap(-1, 8 * _FIELDS * len(names))
        self._rows: NDArray[np.int64] = np.frombuffer(mapped, np.int64).reshape(-1, _FIELDS)
        words = memoryview(mapped).cast("q")
        ends = range(_FIELDS, len(words) + 1, _FIELDS)
        self._lines = [words[end - _COUNTS : end] for end in ends]

    def started(self, at: int, pid: int) -> None:
        """The supervisor has started a process."""
        self._rows[at, _PID] = pid
        self._rows[at, _STARTS] += 1
        self._rows[at, _HELD] = 0
        self._rows[at, _LINE:] = 0

    def enter(self, at: int, state: int) -> None:
        """A process comes into a state."""
        self._rows[at, _STATE] = state
        self._rows[at, _SINCE] = time.time_ns() // 1_000_000
        self._rows[at, _READIES] += state == READY

    def beat(self, at: int) -> None:
        """A process says that it lives."""
        self._rows[at, _BEATS] += 1
        self._rows[at, _SEEN] = time.monotonic_ns()

    def beats(self, at: int) -> int:
        """How often it has, in all its lives."""
        return int(self._rows[at, _BEATS])

    def hold(self, at: int, change: int) -> None:
        """A process has taken connections, or lost them."""
        self._rows[at, _HELD] += change

    def has_fewest(self, at: int, among: Sequence[int]) -> bool:
        """Whether none of `among` that is ready, and lives, holds fewer connections."""
        rows = self._rows
        return all(
            rows[other, _HELD] >= rows[at, _HELD] for other in among if self._is_lively(other)
        )

    def _is_lively(self, at: int) -> bool:
        seen = self._rows[at, _SEEN]
        return bool(self._rows[at, _STATE] == READY and seen > time.monotonic_ns() - _LIVELY_NS)

    def gives(self, at: int) -> None:
        """A process has given one of its connections to another."""
        self._rows[at, _GIVEN] += 1

    def line(self, at: int) -> memoryview:
        """Where a process counts the line before the thread that answers."""
        return self._lines[at]

    def freer(self, at: int, among: Sequence[int], coming: int = 0) -> int | None:
        """Who of `among`, ready and alive, would answer sooner than a process that is busy.

        It idles, or has two fewer in its line: one fewer may be done before a connection has moved.
        `coming` are to stand in the line of `at` in a moment.
        """
        here = present(self._lines[at]) + coming
        if here <= 0:
            return None
        other, there = min(
            ((other, present(self._lines[other])) for other in among if self._is_lively(other)),
            key=lambda each: each[1],
            default=(at, here),
        )
        return other if there <= 0 or there + 2 <= here else None

    def hung(self, at: int) -> None:
        """The supervisor ends a process that hangs."""
        self._rows[at, _HUNG] += 1

    def answers(self, at: int, n: int, bundle: str, *, refused: bool) -> None:
        """A process tells what it answers from; `bundle` is an id of hexadecimal digits."""
        self._rows[at, _N] = n
        self._rows[at, _BUNDLE] = int(bundle[:12] or "0", 16)
        self._rows[at, _REFUSED] = refused

    def state(self, at: int) -> int:
        """The state that a process is in."""
        return int(self._rows[at, _STATE])

    def was_ready(self, at: int) -> bool:
        """Whether it was ready once, in whatever life."""
        return bool(self._rows[at, _READIES])

    def told(self) -> list[Told]:
        """What all say, in their order."""
        return [
            Told(
                name,
                STATES[row[_STATE]],
                row[_PID],
                row[_STARTS],
                row[_SINCE],
                row[_N],
                f"{row[_BUNDLE]:012x}" if row[_BUNDLE] else "",
                bool(row[_REFUSED]),
                row[_HUNG],
                row[_HELD],
                row[_GIVEN],
                ended(row[_LINE:]),
            )
            for name, row in zip(self.names, self._rows.tolist(), strict=True)
        ]
