"""VectorIndex: a mutable index of one model's vectors, with filters. One writer, many readers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.retrieval.vectors import write_kernel as kernel
from heirloom.retrieval.vectors.answer import checked_columns, checked_model, checked_rows
from heirloom.retrieval.vectors.codebook import Codebook, checked_dim
from heirloom.retrieval.vectors.lanes import CHUNK, FORM, given
from heirloom.retrieval.vectors.memory import (
    H_CHUNKS,
    H_LIVE,
    H_SLOTS,
    InProcess,
    Layout,
    Storage,
    refilled,
    taken,
    used,
)
from heirloom.retrieval.vectors.searcher import Searcher, Settings
from heirloom.retrieval.vectors.where import Columns

_SORTED = 64
"""So large a batch is written list by list, so that a list's places lie side by side."""
_UPSERT = "VectorIndex.upsert"


class VectorIndex:
    """Vectors by slot in lists of 4-bit codes; exact where few rows pass.

    Args:
        codebook: learned from a sample, or `Codebook.untrained`.
        columns: what can be filtered by.
        settings: how far a search looks.
        storage: where the arrays lie; in this process if not said.
        form: of the scan; another than this machine's is for tests.
    """

    def __init__(
        self,
        codebook: Codebook,
        columns: Columns | None = None,
        settings: Settings | None = None,
        storage: Storage | None = None,
        form: int | None = FORM,
    ) -> None:
        self.dim = checked_dim(codebook.dim)
        self.model_id = codebook.model_id
        self.codebook = codebook
        self.columns = columns or Columns()
        self.layout = Layout(
            codebook.dim, codebook.lists, len(self.columns.codes), len(self.columns.numbers)
        )
        self._storage = storage or InProcess()
        self._coarse, self._bounds = codebook.coarse, given(codebook.bounds, np.float32)
        self._memory = self._storage.fitted(self.layout, None, 1, 1)
        self._writing = self._recovered()
        self._next_list = 0
        searcher = Searcher(codebook, self.columns, lambda: self._memory, settings, form)
        self.find, self.search = searcher.find, searcher.search
        self.search_many = searcher.search_many

    def __len__(self) -> int:
        """How many slots have a vector."""
        return int(self._memory.header[H_LIVE])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (*self._memory, *self._writing)
        return sum(int(array.nbytes) for array in arrays)

    def upsert(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """As FilteredIndex.upsert."""
        checked_model(_UPSERT, self.model_id, model_id)
        checked_rows(_UPSERT, slots, vectors, self.dim)
        codes, numbers = checked_columns(_UPSERT, columns or {}, self.columns, len(slots))
        if not len(slots):
            return
        rows = given(vectors, np.float32)
        lists = np.zeros(len(slots), np.int32)
        kernel.assign(self._coarse, rows, lists)
        order = _last_of_each(slots)
        if len(order) >= _SORTED:
            order = order[np.argsort(lists[order], kind="stable")]
        if len(order) != len(slots) or len(order) >= _SORTED:
            slots, rows, lists = slots[order], rows[order], lists[order]
            codes, numbers = codes[order], numbers[order]
        self._reach(int(slots.max()) + 1)
        self._write(slots, rows, lists, codes, numbers)

    def _write(
        self,
        slots: NDArray[np.int32],
        rows: NDArray[np.float32],
        lists: NDArray[np.int32],
        codes: NDArray[np.int32],
        numbers: NDArray[np.int64],
    ) -> None:
        done = 0
        while done < len(slots):
            done += kernel.upsert(
                given(slots[done:], np.int32), given(rows[done:], np.float32),
                given(lists[done:], np.int32), given(codes[done:], np.int32),
                given(numbers[done:], np.int64), self._coarse, self._bounds, self._memory,
                self._writing,
            )  # fmt: skip
            if done < len(slots):
                self._grow((len(slots) - done) // CHUNK + 1)

    def remove(self, slots: NDArray[np.int32]) -> None:
        """As FilteredIndex.remove."""
        kernel.remove(given(slots, np.int32), self._memory, self._writing)

    def vectors(self, slots: NDArray[np.int32]) -> NDArray[np.float32]:
        """[slots, dim] float32; zeros for slots that are not there."""
        out = np.zeros((len(slots), self.dim), np.float32)
        kernel.read_rows(given(slots, np.int32), self._memory, out)
        return out

    def repack(self, lists: int | None = None, least: float = 0.75) -> int:
        """Write lists anew that hold too few live places, beside searches; gives chunks won.

        Args:
            lists: look at so many, from where the last call ended; at all if not said.
            least: share of live places below which a list is written anew.
        """
        won = 0
        for _ in range(self.layout.lists if lists is None else lists):
            owner = self._next_list % self.layout.lists
            while (one := kernel.repack(owner, least, self._memory, self._writing)) < 0:
                self._grow(1)
            won += one
            self._next_list = owner + 1
        return won

    def arrays(self, *, room: bool = False) -> dict[str, NDArray[Any]]:
        """Everything, for a snapshot: views, to be written before the next call that changes it.

        With `room`, what was grown in advance too, so that it need not be grown anew.
        """
        memory = self._memory._asdict() if room else used(self.layout, self._memory)
        return {**self.codebook.arrays(), **memory}

    @classmethod
    def of(
        cls,
        model_id: str,
        arrays: Mapping[str, NDArray[Any]],
        columns: Columns | None = None,
        settings: Settings | None = None,
        storage: Storage | None = None,
    ) -> "VectorIndex":
        """From what `arrays` gave; in this process the arrays are its own then.

        Raises:
            InputError: the arrays are not of such an index.
        """
        index = cls(Codebook.of(model_id, arrays), columns, settings, storage)
        shapes = index.layout.shapes(
            len(arrays.get("following", ())), len(arrays.get("places", ()))
        )
        wrong = [
            name
            for name, (shape, dtype) in shapes.items()
            if name not in arrays
            or (arrays[name].shape, arrays[name].dtype) != (shape, np.dtype(dtype))
        ]
        if wrong:
            raise InputError(
                f"VectorIndex.of: {', '.join(wrong)} do not fit the codebook and the columns: "
                "build the index anew from the log"
            )
        own = {name: arrays[name] for name in shapes}
        copied = storage is not None or not len(own["following"]) or not len(own["places"])
        index._memory = refilled(index.layout, own, index._storage) if copied else taken(own)
        index._writing = index._recovered()
        return index

    def rebuilt(self, codebook: Codebook, storage: Storage | None = None) -> "VectorIndex":
        """The same vectors and columns under another codebook of the same model."""
        checked_model("VectorIndex.rebuilt", self.model_id, codebook.model_id)
        memory = self._memory
        slots = np.flatnonzero(memory.places).astype(np.int32)
        places = memory.places[slots] - 1
        chunk, at = places // CHUNK, places % CHUNK
        named: dict[str, NDArray[Any]] = {
            **{name: memory.narrow[chunk, c, at] for c, name in enumerate(self.columns.codes)},
            **{name: memory.wide[chunk, c, at] for c, name in enumerate(self.columns.numbers)},
        }
        index = VectorIndex(codebook, self.columns, storage=storage)
        index.upsert(slots, memory.rows[places], named)
        return index

    def _reach(self, slots: int) -> None:
        room = int(self._memory.header[H_SLOTS])
        if slots > room:
            self._fit(int(self._memory.header[H_CHUNKS]), max(slots, room * 3 // 2))

    def _grow(self, chunks: int) -> None:
        room = int(self._memory.header[H_CHUNKS])
        self._fit(room + max(chunks, room // 2, 16), int(self._memory.header[H_SLOTS]))

    def _fit(self, chunks: int, slots: int) -> None:
        self._memory = self._storage.fitted(self.layout, self._memory, chunks, slots)
        self._writing = self._recovered()

    def _recovered(self) -> kernel.Writing:
        """What the writer alone keeps, made from what is shared."""
        chunks = int(self._memory.header[H_CHUNKS])
        writing = kernel.Writing(
            tails=np.zeros(self.layout.lists, np.int32),
            free=np.zeros(self.layout.lists, np.int32),
            next_free=np.zeros(CHUNK * chunks, np.int32),
            spare=np.zeros(chunks, np.int32),
            counts=np.zeros(2, np.int64),
        )
        kernel.recover(self._memory, writing)
        return writing


def _last_of_each(slots: NDArray[np.int32]) -> NDArray[np.intp]:
    """Rows of the last mention of each slot, in order.

    >>> _last_of_each(np.array([5, 3, 5], np.int32))
    array([1, 2])
    """
    _, first = np.unique(slots[::-1], return_index=True)
    if len(first) == len(slots):
        return np.arange(len(slots))
    return np.sort(len(slots) - 1 - first)
