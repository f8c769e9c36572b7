"""SharedIndex: a server's index, searched as of what this process has folded of the log.

The writer's changes go to the server a moment later, in a thread of its own, each batch with the
log offset that it reaches. Until then they are compared here, beside what the server finds, so a
removal is seen by the next search. Everything that is found is looked at once more by the vectors
and columns of this process: a server that lags can miss a listing for a moment, and never show one
that is gone, or that the filter refuses.

While the server is away, or is being filled, all is compared here. That is dearer, and `trouble`
says so.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.adapters.write_behind import Told
from heirloom.core.errors import HeirloomError, StoreError
from heirloom.core.event import KIND_CODE, STOCK_KINDS
from heirloom.retrieval.offers import Offers
from heirloom.retrieval.shelf import mentions
from heirloom.retrieval.top import best
from heirloom.retrieval.vectors.answer import (
    Answer,
    FilteredIndex,
    OutOfTime,
    checked_model,
    checked_query,
)
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where, clauses

PART: Final = 65_536
"""Rows of one write, and rows compared here between two looks at the clock."""
MOST_ALONE: Final = 1_000_000
"""So many slots are compared here at most while the server is away; the highest, so the latest."""
GRAPH_FROM: Final = 40_000
"""From so many listings on offer a graph is built; fewer are compared one by one on the server."""
_MORE: Final = 1_000
"""So many more the server is asked for, at most, as some may have changed since."""
_OFFSET_EVERY: Final = 10_000
"""Log entries after which the offset is written though nothing changed."""
_RETRY_S: Final = 1.0
_CLOSE_S: Final = 10.0


class Rows(Protocol):
    """What is known here of each slot; retrieval.content.ContentIndex is one."""

    offers: Offers

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[slots, dim] float32."""


class Server(FilteredIndex, Protocol):
    """An index on a server; adapters.pgvector.PgVectorIndex is one."""

    def load(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: dict[str, NDArray[Any]] | None = None,
    ) -> None:
        """Fill an index that holds none of these slots."""

    def applied(self, n: int, mark: str, since: str) -> AbstractContextManager[None]:
        """What is written inside brings the index from mark `since` to log offset n, or fails."""

    def stands(self) -> tuple[int, str]:
        """Log offset and mark of the log that it has taken."""

    def clear(self) -> None:
        """Forget all."""

    def build(self) -> None:
        """Build the graph anew."""

    def built(self) -> bool:
        """Whether there is a graph."""

    def close(self) -> None:
        """Let its connections go."""


class SharedIndex:
    """A FilteredIndex: a ContentIndex's, held by a server.

    Args:
        opened: connects to the server; twice, once to search and once to write.
        rows: what the server is to hold; read under the lock.
        log: that the rows are folded from.
        n: log offset up to which they are.
        lock: what is held while entries are folded and while a search is made.
        model_id, dim: of the vectors.
        writes: whether this process writes the server's rows; readers search alone.
        seconds: from one write to the next.
        tell: hears when the server goes away, and when it is reached again.

    Attributes:
        trouble: why the server does not answer now; "" if it does.
        written: how many rows were written or removed.
    """

    def __init__(
        self,
        opened: Callable[[], Server],
        rows: Callable[[], Rows],
        log: Told,
        n: Callable[[], int],
        lock: "threading.Lock | threading.RLock",
        *,
        model_id: str,
        dim: int,
        writes: bool = True,
        seconds: float = 0.1,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model_id, self.dim, self.columns = model_id, dim, Columns()
        self.trouble = "it was not begun"
        self.written = 0
        self._complained = False
        self._opened, self._rows, self._log, self._n = opened, rows, log, n
        self._lock, self._writes, self._seconds, self._tell = lock, writes, seconds, tell
        self._searched: Server | None = None
        self._writer: Server | None = None
        self._begun = False
        self._look = True  # where the server stands is not known, or not any more
        self._stands, self._stood = 0, ""  # its offset and mark
        self._changed: set[int] = set()
        self._writing: set[int] = set()
        self._replaced = 0  # rows written since the graph was built
        self._graph = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shared-index", daemon=True)

    def begin(self) -> None:
        """Hear of changes from now on, and look at the server once.

        Raises:
            ConfigError, InputError: what is there is not what is wanted: another start is needed.
        """
        self._begun = True
        try:
            self._meet()
        except StoreError as error:
            self._away(str(error))

    def start(self) -> None:
        """Write, and look whether the server is there again, in a thread until `close`."""
        self._thread.start()

    def flush(self) -> None:
        """Write what waits; after the server was away, find out first where it stands.

        For the thread, or for one that did not start it.

        Raises:
            StoreError: the server cannot be reached; what waits goes on waiting.
        """
        self._meet()
        if self._writer is not None:
            self._write(self._writer)
            self._build(self._writer)

    def close(self) -> None:
        """Write what is waiting if the server is there, and let it go."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            if not self.trouble:
                self._try()
            self._drop()

    def upsert(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Any = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """The rows of these slots have changed; what they hold now is read where they are kept."""
        checked_model("SharedIndex.upsert", self.model_id, model_id)
        del vectors, columns
        self._mark(slots)

    def remove(self, slots: NDArray[np.int32]) -> None:
        """As `upsert`."""
        self._mark(slots)

    def find(
        self,
        vector: NDArray[np.float32],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        model_id: str | None = None,
        out_of_time: OutOfTime | None = None,
    ) -> Answer:
        """As FilteredIndex.find, of what is on offer; the lock is held."""
        checked_model("SharedIndex.find", self.model_id, model_id)
        checked_query("SharedIndex.find", vector, self.dim, k)
        clauses(where, self.columns)  # refuses what means nothing
        server = self._searched
        if self.trouble or server is None:
            return self._alone(vector, where, k, out_of_time)
        waiting = np.array([*self._changed, *self._writing], np.int32)
        more = min(len(waiting), _MORE) if k else 0
        try:
            found = server.find(vector, where, k + more, out_of_time=out_of_time)
        except StoreError as error:
            self._away(str(error))
            return self._alone(vector, where, k, out_of_time)
        if not (found.complete or len(found.slots) or (out_of_time is not None and out_of_time())):
            self._away(f"{server}: it gave nothing in the time that it has for an answer")
            return self._alone(vector, where, k, out_of_time)
        slots = np.union1d(found.slots, waiting).astype(np.int32)
        slots, scores = self._compared(vector, where, slots, k)
        return Answer(slots, scores, found.complete, found.exact)

    def _compared(
        self, vector: NDArray[np.float32], where: Where, slots: NDArray[np.int32], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k best of these slots that are on offer and pass, as they stand here."""
        rows = self._rows()
        vectors, live = rows.vectors, rows.offers.live
        slots = slots[slots < min(len(vectors), len(live))]
        slots = slots[live[slots]]
        slots = slots[where.passing(slots, rows.offers.columns(slots))]
        scores: NDArray[np.float32] = vectors[slots] @ vector
        top = best(scores, min(k, len(slots)))
        return slots[top], scores[top]

    def _alone(
        self, vector: NDArray[np.float32], where: Where, k: int, out_of_time: OutOfTime | None
    ) -> Answer:
        """The best of what is kept here, the highest slots first while there is time."""
        size = len(self._rows().vectors)
        least = max(size - MOST_ALONE, 0)
        slots = np.zeros(0, np.int32)
        end = size
        while end > least and not (out_of_time is not None and out_of_time()):
            begin = max(end - PART, least)
            part = np.concatenate([np.arange(begin, end, dtype=np.int32), slots])
            slots, _ = self._compared(vector, where, part, k)
            end = begin
        slots, scores = self._compared(vector, where, np.sort(slots), k)
        whole = end == 0
        return Answer(slots, scores, whole, whole)

    def _mark(self, slots: NDArray[np.int32]) -> None:
        if self._begun and self._writes:
            self._changed.update(slots.tolist())

    def _run(self) -> None:
        while not self._stop.wait(_RETRY_S if self.trouble else self._seconds):
            self._try()

    def _try(self) -> None:
        try:
            self.flush()
        except HeirloomError as error:  # a thread has nobody to raise to; requests are told
            self._away(str(error))

    def _meet(self) -> None:
        """Have connections, know where the server stands, and search it unless it is to be filled.

        Raises:
            StoreError: it cannot be reached; a reader finds another log there, or nothing yet.
        """
        if not self._look:
            return
        if self._searched is None:
            self._searched = self._opened()
        if self._writes and self._writer is None:
            self._writer = self._opened()
        with self._lock:
            known = self._n()
        n, mark = self._searched.stands()
        ours = 0 < n <= known and mark == self._log.mark(n)
        if not self._writes:
            if n == 0 or (n <= known and not ours):
                raise StoreError(
                    f"{self._searched}: it is being filled, or holds another log; see whether its "
                    "writer runs, and that no other system writes under this name"
                )
        elif ours:
            for slots in self._since(n, known):
                with self._lock:
                    self._mark(slots)
        else:
            n = 0
            self.trouble = f"{self._searched}: it is being filled"
        self._stands, self._stood = n, mark if n else ""
        self._look = False
        if n:
            self._answers()

    def _answers(self) -> None:
        """Search the server from now on."""
        self.trouble = ""
        if self._complained:
            self._complained = False
            self._tell(f"{self._searched}: it answers again")

    def _since(self, n: int, end: int) -> Iterator[NDArray[np.int32]]:
        """Slots of which stock events tell from a log offset on."""
        codes = [KIND_CODE[kind] for kind in STOCK_KINDS]
        for at in range(n, end, PART):
            facts = self._log.facts(at, min(at + PART, end))
            _, rows = mentions(facts, np.isin(facts.events["kind"], codes))
            yield np.unique(rows["slot"])

    def _write(self, server: Server) -> None:
        if self._stands == 0:
            with self._lock:
                empty = not self._n()
            if empty:
                self._answers()
                return
            self._fill(server)
        while True:
            with self._lock:
                n = self._n()
                if not self._changed and n - self._stands < _OFFSET_EVERY:
                    return
                slots = np.array(sorted(self._changed)[:PART], np.int32)
                self._writing = set(slots.tolist())
                self._changed -= self._writing
                batch, gone = self._batch(slots)
                last = not self._changed
            mark = self._log.mark(n)
            try:
                with server.applied(n, mark, self._stood) if last else nullcontext():
                    server.remove(gone)
                    server.upsert(*batch)
            except HeirloomError:
                with self._lock:
                    self._changed |= self._writing
                    self._writing = set()
                raise
            with self._lock:
                self._writing = set()
            self.written += len(slots)
            self._replaced += len(slots)
            if last:
                self._stands, self._stood = n, mark

    def _fill(self, server: Server) -> None:
        """Every listing on offer, into an index made empty; then the offset."""
        server.clear()
        with self._lock:
            n, slots = self._n(), np.flatnonzero(self._rows().offers.live).astype(np.int32)
            self._changed.clear()
        for at in range(0, len(slots), PART):
            with self._lock:
                batch, _ = self._batch(slots[at : at + PART])
            server.load(*batch)
            self.written += len(batch[0])
        mark = self._log.mark(n)
        with server.applied(n, mark, ""):
            pass
        self._stands, self._stood = n, mark
        self._replaced = len(slots)
        self._answers()

    def _batch(
        self, slots: NDArray[np.int32]
    ) -> tuple[
        tuple[NDArray[np.int32], NDArray[np.float32], dict[str, NDArray[Any]]], NDArray[np.int32]
    ]:
        """Copies of the rows of those on offer, and the slots that are not."""
        rows = self._rows()
        known = slots < min(len(rows.vectors), len(rows.offers.live))
        live = known.copy()
        live[known] = rows.offers.live[slots[known]]
        kept = slots[live]
        return (kept, rows.vectors[kept], rows.offers.columns(kept)), slots[~live]

    def _build(self, server: Server) -> None:
        """The graph, when it begins to pay, and anew when a third of the rows was replaced."""
        if not self._replaced or self._stop.is_set():
            return
        with self._lock:
            live = int(self._rows().offers.live.sum())
        if live < GRAPH_FROM:
            return
        self._graph = self._graph or server.built()
        if not self._graph or 3 * self._replaced >= live:
            server.build()
            self._graph, self._replaced = True, 0

    def _away(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            self._tell(f"{why}; listings are compared in this process until it answers")
        self.trouble = why
        self._look = True  # after trouble, so that no thread clears the one and leaves the other

    def _drop(self) -> None:
        for server in (self._searched, self._writer):
            if server is not None:
                server.close()
        self._searched = self._writer = None
