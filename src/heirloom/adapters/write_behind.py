"""Write behind: what the writer's state changed goes to a row store a moment later."""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.facts import Facts
from heirloom.core.row_store import UNFINISHED, RowStore


class Packer(Protocol):
    """The writer's state as rows; features.rows.Packing is one."""

    @property
    def n(self) -> int:
        """Log offset applied."""

    def touched(self, facts: Facts) -> NDArray[np.int64]:
        """Keys of the rows that facts changed."""

    def keys(self) -> NDArray[np.int64]:
        """Keys of all rows that hold anything."""

    def packed(self, keys: NDArray[np.int64]) -> Sequence[bytes]:
        """The rows as of n."""


class WriteBehind:
    """Keeps a store at most a moment behind a state, in a thread of its own.

    The store is filled anew whenever it does not stand where it was left: at the start, after it
    lost its data, after another writer. While it cannot be reached, what changed stays marked and
    is tried again; then `trouble` says why and `behind` how many rows wait.

    Args:
        store: written to by nobody else.
        packer: of the state; read under the lock.
        lock: what the writer holds while it applies facts and calls `applied`.
        seconds: from one write to the next, 0.05 to 0.2: the age of what readers see.
        rows: at most so many in one write.

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
    ) -> None:
        problems = [] if 0.05 <= seconds <= 0.2 else [f"seconds={seconds}; wanted 0.05 to 0.2"]
        problems += [] if rows >= 1 else [f"rows={rows}; wanted at least 1"]
        if problems:
            raise ConfigError("write behind", problems)
        self.trouble = ""
        self.written = 0
        self._store, self._packer, self._lock = store, packer, lock
        self._seconds, self._rows = seconds, rows
        self._dirty: set[tuple[int, int]] = set()
        self._left_at: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)

    @property
    def behind(self) -> int:
        """How many rows wait to be written."""
        return len(self._dirty)

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
        stands_at = self._store.offset()
        with self._lock:
            if stands_at != self._left_at:
                # At the start it may stand just where the state does: then it is this state's.
                if self._left_at is not None or stands_at != self._packer.n:
                    self._mark(self._packer.keys())
                self._left_at = stands_at
        while True:
            with self._lock:
                n = self._packer.n
                part = list(self._dirty) if len(self._dirty) <= self._rows else self._some()
                if not part and n == self._left_at:
                    return
                keys = np.array(part, np.int64).reshape(-1, 2)
                rows = self._packer.packed(keys)
                self._dirty.difference_update(part)
                whole = not self._dirty
            try:
                self._store.put(keys, rows, n if whole else UNFINISHED)
            except StoreError:
                with self._lock:
                    self._dirty.update(part)
                raise
            self._left_at = n if whole else UNFINISHED
            self.written += len(part)
            if whole:
                return

    def close(self) -> None:
        """Write what is marked, and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._try()

    def _mark(self, keys: NDArray[np.int64]) -> None:
        self._dirty.update(zip(keys[:, 0].tolist(), keys[:, 1].tolist(), strict=True))

    def _some(self) -> list[tuple[int, int]]:
        keys = iter(self._dirty)
        return [next(keys) for _ in range(self._rows)]

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._try()

    def _try(self) -> None:
        try:
            self.flush()
            self.trouble = ""
        except StoreError as error:  # readers see an old n; the next turn tries again
            self.trouble = str(error)
