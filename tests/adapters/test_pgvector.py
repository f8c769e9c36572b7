"""pgvector in a real PostgreSQL: the laws, compared exactly and by the graph."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from heirloom.adapters.pgvector import Graph, PgVectorIndex
from heirloom.retrieval.index import Index
from heirloom.retrieval.vectors.answer import FilteredIndex
from heirloom.retrieval.vectors.scattered import Scattered
from heirloom.retrieval.vectors.where import Columns
from heirloom.testing.index import IndexLaws
from heirloom.testing.vectors import MODEL, FilteredIndexLaws

pytestmark = pytest.mark.engine("postgres")
_numbers = count()
BY_GRAPH = Graph(exact_rows=0, ef_search=100)
WALKING = "".join(
    f"%20-c%20enable_{way}%3Doff" for way in ("seqscan", "bitmapscan", "sort", "indexonlyscan")
)
"""Settings, in a URL, that leave the planner only the graph: these tables are too small for it."""


class Made:
    """Indices of their own, in the session's server."""

    graph: Graph | None = None
    options = ""

    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> Iterator[None]:
        self._url, self._made = postgres_url, list[PgVectorIndex]()
        yield
        for index in self._made:
            index.close()

    def index(self, dim: int, model_id: str, columns: Columns) -> PgVectorIndex:
        made = PgVectorIndex(
            self._url + self.options, model_id, dim, columns, name=f"law_{next(_numbers)}",
            graph=self.graph,
        )  # fmt: skip
        if self.graph is not None:
            made.build()
        self._made.append(made)
        return made


class TestPgVectorAsIndex(Made, IndexLaws):
    def make(self, dim: int) -> Index:
        return self.index(dim, MODEL, Columns())


class TestPgVector(Made, FilteredIndexLaws):
    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        return self.index(dim, model_id, columns)


class TestPgVectorByGraph(Made, FilteredIndexLaws):
    least_recall = 0.8
    graph = BY_GRAPH
    options = "&options=" + WALKING

    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        return self.index(dim, model_id, columns)


class TestPgVectorShardsAsIndex(Made, IndexLaws):
    @pytest.fixture(autouse=True)
    def _pool(self) -> Iterator[None]:
        with ThreadPoolExecutor(2) as self._executor:
            yield

    def make(self, dim: int) -> Index:
        shards = [self.index(dim, MODEL, Columns()) for _ in range(2)]
        return Scattered(shards, executor=self._executor)
