"""ExactVectors: every row that passes compared. The twin of VectorIndex, and enough for few."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.index import ExactIndex, Found
from heirloom.retrieval.top import fitted
from heirloom.retrieval.vectors.answer import (
    Answer,
    OutOfTime,
    checked_columns,
    checked_model,
    checked_query,
    checked_rows,
)
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where, clauses


class ExactVectors:
    """An ExactIndex, and columns by slot."""

    def __init__(
        self, dim: int, model_id: str = "untrained", columns: Columns | None = None
    ) -> None:
        self.dim = dim
        self.model_id = model_id
        self.columns = columns or Columns()
        self._index = ExactIndex(dim)
        self._codes = np.zeros((0, len(self.columns.codes)), np.int32)
        self._numbers = np.zeros((0, len(self.columns.numbers)), np.int64)

    def upsert(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """Set vectors [slots, dim] and columns [slots]; of a slot named twice the last counts."""
        where = "ExactVectors.upsert"
        checked_model(where, self.model_id, model_id)
        checked_rows(where, slots, vectors, self.dim)
        codes, numbers = checked_columns(where, columns or {}, self.columns, len(slots))
        self._index.upsert(slots, vectors)
        size = len(self._index.vectors)
        self._codes, self._numbers = fitted(self._codes, size), fitted(self._numbers, size)
        self._codes[slots], self._numbers[slots] = codes, numbers

    def remove(self, slots: NDArray[np.int32]) -> None:
        """Forget slots; those unknown are left out."""
        self._index.remove(slots)

    def find(
        self,
        vector: NDArray[np.float32],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        model_id: str | None = None,
        out_of_time: OutOfTime | None = None,
    ) -> Answer:
        """The k nearest that pass. If there is no time at all, nothing, and not complete."""
        checked_model("ExactVectors.find", self.model_id, model_id)
        checked_query("ExactVectors.find", vector, self.dim, k)
        clauses(where, self.columns)  # refuses what means nothing
        if out_of_time is not None and out_of_time():
            none = np.zeros(0, np.int32), np.zeros(0, np.float32)
            return Answer(*none, complete=False, exact=False)
        size = len(self._index.vectors)
        by_name = {
            name: column
            for names, table in (
                (self.columns.codes, self._codes), (self.columns.numbers, self._numbers)
            )
            for name, column in zip(names, table[:size].T, strict=True)
        }  # fmt: skip
        passing = where.passing(np.arange(size, dtype=np.int32), by_name)
        return Answer(*self._index.search(vector, passing, k))

    def search(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Found:
        """As `Index.search`."""
        return self._index.search(vector, allowed, k)

    def search_many(
        self, vectors: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
    ) -> list[Found]:
        """As `Index.search_many`."""
        return self._index.search_many(vectors, allowed, k)
