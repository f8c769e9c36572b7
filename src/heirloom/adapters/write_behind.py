"""Write behind: what the writer's state changed goes to a row store a moment later."""

import secrets
import threading
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.facts import Facts
from heirloom.core.row_store import EMPTY, UNFINISHED, Mark, RowStore

MISSED: Final = 100_000
"""Where a store stands more log entries behind at the start, all rows are written anew."""
_MARKS = 1 << 20
"""So many marks wait before those of one row are made one."""


class Packer(Protocol):
    """The writer's state as rows; features.rows.Packing is one."""

    @property
    def n(self) -> int:
        """Log offset applied."""

    @property
    def newest_ms(self) -> int:
        """Time of the newest event applied."""

    def touched(self, facts: Facts) -> NDArray[np.int64]:
        """Keys of the rows that facts changed."""

    def keys(self) -> NDArray[np.int64]:
        """Keys of all rows that hold anything."""

    def packed(self, keys: NDArray[np.int64]) -> list[bytes]:
        """The rows as of n."""


class Told(Protocol):
    """The log that the writer folds."""

    def mark(self, n: int) -> str:
        """What tells its first n entries, 1 or more, from another log's."""

    def facts(self, from_offset: int, to_offset: int) -> Facts:
        """Entries of a range of offsets."""


class WriteBehind:
    """Keeps a store at most a moment behind a state, in a thread of its own.

    The store is filled anew whenever it does not stand where it was left: after it lost its data,
    after another writer; and at the start, unless it stands at an earlier offset of this very log:
    then what changed since is written. While it cannot be reached, what changed stays marked and
    is tried again; then `trouble` says why and `behind` how many rows wait.

    Args:
        store: written to by nobody else.
        packer: of the state; read under the lock. All that the state applies from now on is to be
            told to `applied`.
        lock: what the writer holds while it applies facts and calls `applied`.
        seconds: from one write to the next, 0.05 to 0.2: the age of what readers see.
        rows: at most so many in one write. Where more wait, the store is UNFINISHED for readers
            until all are written.
        log: whose entries the state folds; without, a store is taken for the state's own where it
            stands at the same offset.
        tell: hears when writing begins to fail, and when it goes on.

    Attributes:
        trouble: why the last write failed; "" if it did not.
        written: how many rows were written.
        filled: how often the store was filled anew.

    Raises:
        ConfigError: a number is out of its range.
    """

    def __init__(
        self,
        store: RowStore,
        packer: Packer,
        lock: "threading.Lock | threading.RLock",
        *,
        seconds: float = 0.1,
        rows: int = 20_000,
        log: Told | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        problems = [] if 0.05 <= seconds <= 0.2 else [f"seconds={seconds}; wanted 0.05 to 0.2"]
        problems += [] if rows >= 1 else [f"rows={rows}; wanted at least 1"]
        if problems:
            raise ConfigError("write behind", problems)
        self.trouble = ""
        self.written = 0
        self.filled = 0
        self._store, self._packer, self._lock = store, packer, lock
        self._seconds, self._rows, self._tell = seconds, rows, tell
        self._began, self._log = packer.n, log
        self._rest = np.zeros((0, 2), np.int64)
        self._marked: list[NDArray[np.int64]] = []
        self._marks = 0
        self._left: Mark | None = None
        self._tried: Mark | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)

    @property
    def behind(self) -> int:
        """How many rows wait to be written; one that changed during a filling counts twice."""
        with self._lock:
            return len(self._rest) + len(self._gathered())

    def start(self) -> None:
        """Begin to write, every `seconds`."""
        self._thread.start()

    def applied(self, facts: Facts) -> None:
        """Mark what facts changed; the state has applied them, and the lock is held."""
        self._mark(self._packer.touched(facts))

    def flush(self) -> None:
        """Write what is marked. For the thread, or for one that did not start it.

        Raises:
            StoreError: the store cannot be reached; what is marked stays so.
        """
        found = self._store.mark()
        with self._lock:
            if found == self._tried:
                self._left = found  # also where the last write came through, but its answer did not
            elif found != self._left:
                self._begin(found)
        while True:
            with self._lock:
                left = self._left or EMPTY
                keys = self._next()
                if not len(keys) and self._packer.n == left.n:
                    return
                n = UNFINISHED if len(self._rest) or self._marks else self._packer.n
                mark = Mark(n, self._packer.newest_ms, left.run, left.turn + 1)
                rows = self._packer.packed(keys)
            mark = self._tried = mark._replace(log=self._log_mark(n))
            try:
                self._store.put(keys, rows, mark)
            except StoreError:
                with self._lock:
                    self._rest = np.concatenate([keys, self._rest])
                raise
            self.written += len(keys)
            self._left = mark
            if n != UNFINISHED:
                return

    def _begin(self, found: Mark) -> None:
        """Go on where the store stands, if the state came by there; else write all rows."""
        if self._left is None and self._continues(found):
            if self._log and found.n < self._began:
                self._mark(self._packer.touched(self._log.facts(found.n, self._began)))
            self._left = found
            return
        self._rest = self._packer.keys()
        self._marked, self._marks = [], 0
        self._left = Mark(UNFINISHED, 0, 1 + secrets.randbits(48), 0)
        self.filled += 1

    def _continues(self, found: Mark) -> bool:
        """Whether a store stands where the state came by, and not long ago."""
        missed = self._began - found.n
        if found.n == UNFINISHED or not found.run or not 0 <= missed <= MISSED * bool(self._log):
            return False
        return found.log == self._log_mark(found.n)

    def _log_mark(self, n: int) -> str:
        return self._log.mark(n) if self._log and n > 0 else ""

    def _next(self) -> NDArray[np.int64]:
        """[rows, 2] what is to be written now: a filling's rows before what changed since."""
        if not len(self._rest):
            self._rest = self._gathered()
            self._marked, self._marks = [], 0
        keys, self._rest = self._rest[: self._rows], self._rest[self._rows :]
        return keys

    def _gathered(self) -> NDArray[np.int64]:
        """Keys of what is marked, each once."""
        if len(self._marked) > 1:
            self._marked = [_unique(np.concatenate(self._marked))]
            self._marks = len(self._marked[0])
        return self._marked[0] if self._marked else self._rest[:0]

    def close(self) -> None:
        """Write what is marked, and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._try()

    def _mark(self, keys: NDArray[np.int64]) -> None:
        self._marked.append(keys)
        self._marks += len(keys)
        if self._marks > _MARKS and len(self._marked) > 1:
            self._gathered()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._try()

    def _try(self) -> None:
        before, self.trouble = self.trouble, ""
        try:
            self.flush()
        except StoreError as error:  # readers see an old n; the next turn tries again
            self.trouble = str(error)
        if self.trouble and not before:
            self._tell(f"write behind: {self.trouble}")
        elif before and not self.trouble:
            self._tell("write behind: the store is reached again, and stands where the state does")


def _unique(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each key once, by value.

    >>> _unique(np.array([[2, 1], [1, 3], [2, 1]])).tolist()
    [[1, 3], [2, 1]]
    """
    keys = keys[np.lexsort((keys[:, 1], keys[:, 0]))]
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return keys[first]
