"""The reading half of a pgvector index: whether to walk the graph, and what was found in time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import pq

from heirloom.adapters import postgres_binary as binary
from heirloom.adapters.pgvector_filter import Condition, condition
from heirloom.adapters.pgvector_table import Table, reaching
from heirloom.adapters.postgres_link import Link, TimeIsUp
from heirloom.core.errors import ShapeError
from heirloom.retrieval.index import Found
from heirloom.retrieval.vectors.answer import Answer, OutOfTime, checked_model, checked_query
from heirloom.retrieval.vectors.where import EVERYTHING, Where

_STEP = 32
"""Rows of the graph between two looks at the clock."""
_MOST_EF = 1_000
"""pgvector's limit."""
_MOST_ROWS = 1 << 31
"""More slots there are not."""
_ROW = np.dtype([("slot", ">i4"), ("distance", ">f8")])


@dataclass(frozen=True, slots=True)
class Graph:
    """How the graph is built and walked, and when it is not. The defaults: docs/adr/0012.

    Attributes:
        m: edges of a row on each layer.
        ef_construction: how many neighbours are looked at for them.
        build_memory: PostgreSQL's maintenance_work_mem while the graph is built: it should fit.
        ef_search: how many rows a walk keeps in view; at least k, at most 1,000.
        max_scan_tuples: after so many rows a walk under a filter ends.
        exact_rows: where the planner guesses that no more rows pass, all of them are compared.
    """

    m: int = 16
    ef_construction: int = 64
    build_memory: str = "512MB"
    ef_search: int = 400
    max_scan_tuples: int = 20_000
    exact_rows: int = 40_000


class PgVectorSearch:
    """Searches the table of an index. For one thread at a time, and not across a fork.

    Args:
        url: of the server.
        table: what is searched.
        graph: how it is walked.
        timeout_s: how long one answer of the server may take.
    """

    def __init__(self, url: str, table: Table, graph: Graph, timeout_s: float) -> None:
        self._table, self._graph = table, graph
        self._rows = table.rows.as_string(None)
        self._link = Link(url, timeout_s, {
            "jit": "off",
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(graph.max_scan_tuples),
        })  # fmt: skip

    def close(self) -> None:
        """Let the connection go."""
        self._link.close()

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
        checked_model("find", self._table.model_id, model_id)
        checked_query("find", vector, self._table.dim, k)
        asked = condition(where, self._table.columns, first=3)
        if not k or (out_of_time is not None and out_of_time()):
            return _answer([], complete=not k, exact=not k)
        k = min(k, _MOST_ROWS)
        parameters = [binary.vector(vector), binary.integer(k), *asked.parameters]
        with reaching(self._table.name):
            try:
                return self._found(asked, parameters, k, out_of_time)
            except psycopg.OperationalError:
                # The connection may have gone stale while it waited: once more, anew.
                self._link.close()
                return self._found(asked, parameters, k, out_of_time)

    def search(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Found:
        """As Index.search."""
        answer = self.find(vector, Where(allowed=allowed), k)
        return answer.slots, answer.scores

    def search_many(
        self, vectors: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
    ) -> list[Found]:
        """As Index.search_many."""
        if vectors.ndim != 2 or vectors.shape[1] != self._table.dim:
            raise ShapeError(
                f"search_many: vectors have shape {list(vectors.shape)}; "
                f"wanted [queries, dim={self._table.dim}]"
            )
        return [self.search(vector, allowed, k) for vector in vectors]

    def _found(
        self, asked: Condition, parameters: list[bytes], k: int, out_of_time: OutOfTime | None
    ) -> Answer:
        found: list[NDArray[Any]] = []
        try:
            ef = min(max(self._graph.ef_search, k), _MOST_EF)
            self._link.configure("hnsw.ef_search", str(ef))
            statement = (
                f"select slot, vector <#> $1::vector from {self._rows} where {asked.text} "  # noqa: S608
                "order by vector <#> $1::vector limit $2::int8"
            )
            exact = not self._walkable(statement, asked, parameters, out_of_time)
            if not exact:
                # One by one: what came before time was up is kept.
                for part in self._walked(statement, parameters, k, out_of_time):
                    found += [part]
                exact = sum(map(len, found)) < k
            if exact:
                # The sum keeps the graph out: it is not the expression that it is built for.
                answer = self._link.ask(
                    f"select slot, (vector <#> $1::vector) + 0 as distance from {self._rows} "  # noqa: S608
                    f"where {asked.text} order by distance, slot limit $2::int8",
                    parameters, out_of_time,
                )  # fmt: skip
                found = [_rows(answer)]
        except TimeIsUp:
            return _answer(found, complete=False, exact=False)
        return _answer(found, complete=True, exact=exact)

    def _walkable(
        self,
        statement: str,
        asked: Condition,
        parameters: list[bytes],
        out_of_time: OutOfTime | None,
    ) -> bool:
        """Whether the planner would walk the graph, and guesses that many rows pass."""
        answer = self._link.ask("explain (format json) " + statement, parameters, out_of_time)
        node = json.loads(answer.get_value(0, 0) or b"")[0]["Plan"]
        while node.get("Index Name") != self._table.graph:
            if len(node.get("Plans", ())) != 1:
                return False
            (node,) = node["Plans"]
        return bool(node["Plan Rows"] * asked.correction > self._graph.exact_rows)

    def _walked(
        self, statement: str, parameters: list[bytes], k: int, out_of_time: OutOfTime | None
    ) -> Iterator[NDArray[Any]]:
        """What the graph gives, part by part where there may be no time for all."""
        if out_of_time is None:
            yield _rows(self._link.ask(statement, parameters))
            return
        ask = self._link.ask
        ask("begin", (), out_of_time)
        ask(f"declare found no scroll cursor for {statement}", parameters, out_of_time)
        left = k
        while left > 0:
            part = _rows(ask(f"fetch forward {min(left, _STEP)} from found", (), out_of_time))
            yield part
            left = left - len(part) if len(part) == _STEP else 0
            if left and out_of_time():
                self._link.ask("rollback")
                raise TimeIsUp
        ask("commit", (), out_of_time)


def _rows(answer: pq.abc.PGresult) -> NDArray[Any]:
    rows = np.empty(answer.ntuples, _ROW)
    for column, name in enumerate(("slot", "distance")):
        raw = b"".join(answer.get_value(row, column) or b"" for row in range(answer.ntuples))
        rows[name] = np.frombuffer(raw, _ROW[name])
    return rows


def _answer(parts: list[NDArray[Any]], *, complete: bool, exact: bool) -> Answer:
    rows = np.concatenate([np.empty(0, _ROW), *parts])
    slots, scores = rows["slot"].astype(np.int32), -rows["distance"].astype(np.float32)
    order = np.lexsort((slots, -scores))
    return Answer(slots[order], scores[order], complete, exact)
