"""Searcher: the reading half of an index, over a memory that a writer may be changing."""

from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError, StoreError
from heirloom.retrieval.index import Found
from heirloom.retrieval.vectors import search_kernel as kernel
from heirloom.retrieval.vectors.answer import Answer, OutOfTime, checked_model, checked_query
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.lanes import FORM, given
from heirloom.retrieval.vectors.memory import H_LIVE, H_REPACKED, H_WRITTEN, RECENT, Memory
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where, clauses
from heirloom.retrieval.vectors.write_kernel import RESTING, assign

STEP_BLOCKS = 1_024
"""Between two looks at the clock: some 50 microseconds."""
_ALL = 1 << 60
_ATTEMPTS = 100
_REPEATS = 3
_KEPT_ROOM = 1 << 14
"""Room to work in is kept for the next search up to such a k."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How far a search looks. The defaults were measured (docs/adr/0007).

    Attributes:
        z: a list is left out when its centroid's score and so many standard deviations of the
            residuals' scores do not reach the threshold, and with it all lists after it. Under a
            filter the threshold lies lower, so the same rule looks into more lists.
        z_sparse: what is taken off z, times the logarithm of how many neighbours of a row that
            passes there are to one that passes too: nothing for a filter that takes whole lists.
        exact_rows: so many passing rows are compared exactly, whichever list they are in.
        rows_share: up to this share what passes is scored by its row, and no codes are looked at.
        filter_first: from this share of blocks on of which nothing passes, the filter is looked at
            before the codes.
        rerank: how many times k are scored by their float32 rows.
    """

    z: float = 2.75
    z_sparse: float = 0.3
    exact_rows: float = 4_096
    rows_share: float = 0.02
    filter_first: float = 0.4
    rerank: float = 2.0

    def kept(self, k: int) -> int:
        """How many are reranked for k."""
        return max(int(self.rerank * k), 64, k)


class Searcher:
    """Searches an index.

    Args:
        codebook: what the codes mean.
        columns: what can be filtered by.
        memory: gives the arrays as large as they are now; asked again when the index grew.
        settings: how far to look.
        form: of the scan; another than this machine's is for tests.
    """

    def __init__(
        self,
        codebook: Codebook,
        columns: Columns,
        memory: Callable[[], Memory],
        settings: Settings | None = None,
        form: int | None = FORM,
    ) -> None:
        self.columns = columns
        self._settings = settings or Settings()
        self._model_id, self.dim = codebook.model_id, codebook.dim
        self._learned, self._lists = codebook.learned, codebook.lists
        self._coarse = codebook.coarse
        self._memory = memory
        self._seen: tuple[Memory, Memory] | None = None
        self._parameters = np.array(astuple(self._settings)[:5], np.float64)
        self._form = form
        self._rooms: dict[int, list[kernel.Scratch]] = {}

    def find(
        self,
        vector: NDArray[np.float32],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        model_id: str | None = None,
        out_of_time: OutOfTime | None = None,
    ) -> Answer:
        """As FilteredIndex.find."""
        checked_model("find", self._model_id, model_id)
        checked_query("find", vector, self.dim, k)
        return self._found(vector, clauses(where, self.columns), k, out_of_time)

    def search(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Found:
        """As Index.search."""
        answer = self.find(vector, Where(allowed=allowed), k)
        return answer.slots, answer.scores

    def search_many(
        self, vectors: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
    ) -> list[Found]:
        """As Index.search_many."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ShapeError(
                f"search_many: vectors have shape {list(vectors.shape)}; "
                f"wanted [queries, dim={self.dim}]"
            )
        return [self.search(vector, allowed, k) for vector in vectors]

    def _found(
        self,
        vector: NDArray[np.float32],
        asked: kernel.Clauses,
        k: int,
        out_of_time: OutOfTime | None,
    ) -> Answer:
        for attempt in range(_ATTEMPTS):
            own = self._memory()
            memory = self._shown(own)
            wanted = min(k, int(memory.header[H_LIVE]))
            if wanted <= 0:
                return Answer(np.zeros(0, np.int32), np.zeros(0, np.float32))
            size = 1 << (wanted - 1).bit_length()
            rooms = self._rooms.setdefault(size, [])
            scratch = rooms.pop() if rooms else self._scratch(size)
            scratch.query[0] = vector
            assign(self._coarse, given(scratch.query, np.float32), scratch.order)
            scratch.state[kernel.S_OWN] = scratch.order[0]
            complete = self._searched(asked, wanted, memory, scratch, out_of_time)
            # A memory that grew by copying is not the index any more: search the new one.
            if (
                complete is not None
                and self._memory() is own
                and not self._overtaken(memory, scratch, attempt)
            ):
                found = int(scratch.state[kernel.S_FOUND])
                exact = complete and scratch.state[kernel.S_MODE] == kernel.EXACT
                slots, scores = scratch.slots[:found].copy(), scratch.scores[:found].copy()
                if size <= _KEPT_ROOM:
                    rooms.append(scratch)
                return Answer(slots, scores, complete, bool(exact))
        raise StoreError("find: the index grew faster than it could be read; ask again")

    def _overtaken(self, memory: Memory, scratch: kernel.Scratch, attempt: int) -> bool:
        """Whether so much was written meanwhile that something may have been missed."""
        written = memory.header[H_WRITTEN] - scratch.state[kernel.S_WRITTEN]
        given_back = memory.header[H_REPACKED] - scratch.state[kernel.S_REPACKED]
        return attempt < _REPEATS and bool(written > RECENT or given_back > RESTING)

    def _shown(self, memory: Memory) -> Memory:
        """The arrays as read-only ones, whoever maps them: one form to compile for."""
        seen = self._seen
        if seen is None or seen[0] is not memory:
            self._seen = seen = memory, Memory(*(given(array, array.dtype) for array in memory))
        return seen[1]

    def _searched(
        self,
        asked: kernel.Clauses,
        k: int,
        memory: Memory,
        scratch: kernel.Scratch,
        out_of_time: OutOfTime | None,
    ) -> bool | None:
        """Whether the search was completed; None if the memory was too small for it."""
        kept = self._settings.kept(k)

        def step(what: int, blocks: int = _ALL) -> int:
            status: int = kernel.search(
                what, blocks, k, kept, self._parameters, self._learned, asked, memory, scratch,
                self._form,
            )  # fmt: skip
            return status

        if out_of_time is None:
            whole = step(kernel.BEGIN + kernel.GO_ON + kernel.FINISH)
            return None if whole == kernel.GROWN else True
        status = step(kernel.BEGIN + kernel.GO_ON, STEP_BLOCKS)
        while status == kernel.MORE and not out_of_time():
            status = step(kernel.GO_ON, STEP_BLOCKS)
        if status == kernel.GROWN or step(kernel.FINISH) == kernel.GROWN:
            return None
        return status == kernel.DONE

    def _scratch(self, size: int) -> kernel.Scratch:
        """Room for any k up to `size`."""
        kept = self._settings.kept(size)
        return kernel.Scratch(
            state=np.zeros(12, np.int64),
            reals=np.zeros(7, np.float64),
            query=np.zeros((1, self.dim), np.float32),
            tables=np.zeros(32 * self.dim, np.uint8),
            dots=np.zeros(self._lists, np.float32),
            reach=np.zeros(self._lists, np.float32),
            order=np.zeros(self._lists, np.int32),
            buckets=np.zeros(kernel.BUCKETS + 1, np.int64),
            sums=np.zeros(32, np.uint16),
            pending=np.zeros(kernel.PENDING, np.int64),
            kept=np.zeros(2 * kept, np.int64),
            keys=np.zeros(2 * kept + RECENT, np.int64),
            seen=np.zeros(4 * size, np.int32),
            slots=np.zeros(size, np.int32),
            scores=np.zeros(size, np.float32),
        )
