"""pgvector: vectors and their columns in PostgreSQL, for indices that outgrow one machine.

One table an index, one row a slot (adapters/pgvector_table.py). Up to which log offset a table
stands is written in the transaction that writes the rows, so that after a crash the log is replayed
from there. A removal deletes the row: no search that starts after the commit sees it, whatever an
index of the table still holds.

A search asks PostgreSQL's planner first. Where the planner would not walk the graph (there is none,
or the filter is narrow), or where by its statistics few rows pass, every passing row is compared.
Else the graph (HNSW, Malkov and Yashunin, arXiv 1603.09320, algorithm 5) is walked until k rows
have passed the filter; where that ends with fewer, every passing row is compared after all. Set-up
and limits: docs/scaling.md; why it is like this: docs/adr/0012.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import pq, sql
from psycopg.adapt import Dumper

from heirloom.adapters import postgres_binary as binary
from heirloom.adapters.pgvector_filter import Condition, condition
from heirloom.adapters.pgvector_table import Stands, Table
from heirloom.adapters.postgres_link import Link, TimeIsUp
from heirloom.core.errors import InputError, ShapeError, StoreError
from heirloom.retrieval.index import Found
from heirloom.retrieval.vectors.answer import (
    Answer,
    OutOfTime,
    checked_columns,
    checked_model,
    checked_query,
    checked_rows,
)
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where

_STEP = 32
"""Rows of the graph between two looks at the clock."""
_MOST_EF = 1_000
"""pgvector's limit."""
_PART = 65_536
"""Rows of one statement."""
_LOCK = "heirloom_vectors "
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
    ef_search: int = 200
    max_scan_tuples: int = 20_000
    exact_rows: int = 10_000


class _Bytes(bytes):
    """A parameter that is in binary form already."""


class _BytesDumper(Dumper):
    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: _Bytes) -> bytes:
        return bytes(obj)


class PgVectorIndex:
    """A FilteredIndex in a PostgreSQL server. For one thread at a time, and not across a fork.

    Any number of processes search; the first one that writes is the writer until it closes.

    Args:
        url: postgresql://user@host:port/database. No pooler that gives each statement another
            connection: settings and the writer's lock belong to the session.
        model_id: of the vectors.
        dim: of the vectors.
        columns: what can be filtered by.
        name: of the index; each model has its own.
        graph: how the graph is built and walked.
        timeout_s: how long a search waits for one answer of the server. What was found until then
            is the answer, and it says that it is not complete.

    Raises:
        ConfigError: the name, the dimension or a column is none that PostgreSQL could hold.
        InputError: the index is there, of another model or with other columns.
        StoreError: the server cannot be reached, or lacks pgvector 0.8.
    """

    def __init__(
        self,
        url: str,
        model_id: str,
        dim: int,
        columns: Columns | None = None,
        *,
        name: str = "listings",
        graph: Graph | None = None,
        timeout_s: float = 1.0,
    ) -> None:
        self.model_id, self.dim, self.columns = model_id, dim, columns or Columns()
        self.graph = graph or Graph()
        self._url = url
        self._table = Table(name, model_id, dim, self.columns).checked()
        self._where = f"pgvector index {name!r}"
        self._rows = self._table.rows.as_string(None)
        self._writer: psycopg.Connection | None = None
        self._vector_oid = 0
        self._batch = False
        self._reader = Link(url, timeout_s, {
            "jit": "off",
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(self.graph.max_scan_tuples),
        })  # fmt: skip
        with self._reaching(), psycopg.connect(url, autocommit=True) as connection:
            self._table.open(connection)

    def __repr__(self) -> str:
        return self._where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go; another process may write from now on."""
        self._reader.close()
        if self._writer is not None:
            self._writer.close()

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
        checked_model("find", self.model_id, model_id)
        checked_query("find", vector, self.dim, k)
        asked = condition(where, self.columns, first=3)
        if not k or (out_of_time is not None and out_of_time()):
            return _answer([], complete=not k, exact=not k)
        parameters = [binary.vector(vector), binary.integer(k), *asked.parameters]
        with self._reaching():
            try:
                return self._found(asked, parameters, k, out_of_time)
            except psycopg.OperationalError:
                # The connection may have gone stale while it waited: once more, anew.
                self._reader.close()
                return self._found(asked, parameters, k, out_of_time)

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

    def upsert(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """As FilteredIndex.upsert. It is one transaction, or a part of `applied`'s."""
        given = self._checked("PgVectorIndex.upsert", slots, vectors, columns, model_id)
        kinds = ["int4[]", "vector[]", *(_KINDS[oid] for _, oid in given)]
        fields = [sql.Identifier(field) for field in self._table.fields]
        statement = sql.SQL(
            "insert into {} ({}) select * from unnest({}) on conflict (slot) do update set {}"
        ).format(
            self._table.rows,
            sql.SQL(", ").join(fields),
            sql.SQL(", ").join(sql.SQL(f"${i + 1}::{kind}") for i, kind in enumerate(kinds)),
            sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(field) for field in fields[1:]),
        )
        last = _last_of_each(slots)
        with self._writing() as connection:
            cursor = psycopg.RawCursor(connection)
            for start in range(0, len(last), _PART):
                part = last[start : start + _PART]
                values = [binary.integers(slots[part], binary.INT4)]
                values.append(binary.vectors(vectors[part], self._vector_oid))
                values += [binary.integers(column[part], oid) for column, oid in given]
                cursor.execute(statement, [_Bytes(value) for value in values])

    def load(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """Fill an index that holds none of these slots, by COPY: `upsert`'s faster half.

        Raises:
            ShapeError, InputError: as `upsert`; also where a slot is there already, or named twice.
        """
        given = self._checked("PgVectorIndex.load", slots, vectors, columns, model_id)
        statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
            self._table.rows, sql.SQL(", ").join(map(sql.Identifier, self._table.fields))
        )
        try:
            with self._writing() as connection:
                for start in range(0, len(slots), _PART):
                    part = slice(start, start + _PART)
                    cut = [(column[part], oid) for column, oid in given]
                    with connection.cursor().copy(statement) as copy:
                        copy.write(binary.copied(slots[part], vectors[part], cut))
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                raise InputError(
                    "PgVectorIndex.load: a slot is named twice or is there already; none of this "
                    "call was set: use upsert"
                ) from error
            raise

    def remove(self, slots: NDArray[np.int32]) -> None:
        """As FilteredIndex.remove."""
        with self._writing() as connection:
            psycopg.RawCursor(connection).execute(
                sql.SQL("delete from {} where slot = any ($1::int4[])").format(self._table.rows),
                [_Bytes(binary.integers(slots, binary.INT4))],
            )

    @contextmanager
    def applied(self, n: int, mark: str) -> Iterator[None]:
        """What is written inside is one transaction, which ends with the index at log offset n.

        Args:
            n: the offset from which the log is to be read next.
            mark: of the log.

        Raises:
            InputError: the index stands further, or in another log.
            StoreError: it was not committed: go on from where `stands` says.
        """
        with self._writing() as connection:
            stands = _stands(connection, self._table.name, " for update")
            if stands.mark not in ("", mark) or n < stands.n:
                raise InputError(
                    f"{self._where}: it stands at {stands.n} of log {stands.mark!r}; it cannot be "
                    f"brought to {n} of log {mark!r}: call clear() and replay that log from its "
                    "beginning"
                )
            self._batch = True
            try:
                yield
            finally:
                self._batch = False
            connection.execute(
                "update heirloom_vectors set n = %s, mark = %s where name = %s",
                [n, mark, self._table.name],
            )

    def stands(self) -> Stands:
        """Up to where it has taken which log; 0 and "" where `applied` was never used."""
        with self._reaching(), psycopg.connect(self._url, autocommit=True) as connection:
            return _stands(connection, self._table.name)

    def clear(self) -> None:
        """Forget every slot, and where it stood."""
        with self._writing() as connection:
            connection.execute(sql.SQL("truncate {}").format(self._table.rows))
            connection.execute(
                "update heirloom_vectors set n = 0, mark = '' where name = %s", [self._table.name]
            )

    def build(self) -> None:
        """Build the graph, or build it anew and put it in the old one's place; searches go on.

        Until it is built every search compares all rows that pass. Rows written later join it.
        """
        graph, draft = self._table.graph, f"{self._table.graph}_new"
        with self._writing() as connection:
            connection.execute(sql.SQL("drop index if exists {}").format(sql.Identifier(draft)))
            memory = self.graph.build_memory
            connection.execute("select set_config('maintenance_work_mem', %s, true)", [memory])
            connection.execute(
                sql.SQL(
                    "create index {} on {} using hnsw (vector vector_ip_ops) "
                    "with (m = {}, ef_construction = {})"
                ).format(
                    sql.Identifier(draft), self._table.rows,
                    sql.Literal(self.graph.m), sql.Literal(self.graph.ef_construction),
                )
            )  # fmt: skip
        # Of its own: to drop an index keeps readers out until the transaction ends.
        with self._writing() as connection:
            connection.execute(sql.SQL("drop index if exists {}").format(sql.Identifier(graph)))
            connection.execute(
                sql.SQL("alter index {} rename to {}").format(
                    sql.Identifier(draft), sql.Identifier(graph)
                )
            )
            connection.execute(sql.SQL("analyze {}").format(self._table.rows))

    def _checked(
        self,
        where: str,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None,
        model_id: str | None,
    ) -> list[tuple[NDArray[Any], int]]:
        """The columns in the table's order, each with its oid."""
        checked_model(where, self.model_id, model_id)
        checked_rows(where, slots, vectors, self.dim)
        codes, numbers = checked_columns(where, columns or {}, self.columns, len(slots))
        given: list[tuple[NDArray[Any], int]] = [(column, binary.INT4) for column in codes.T]
        return given + [(column, binary.INT8) for column in numbers.T]

    def _found(
        self, asked: Condition, parameters: list[bytes], k: int, out_of_time: OutOfTime | None
    ) -> Answer:
        found: list[NDArray[Any]] = []
        try:
            ef = min(max(self.graph.ef_search, k), _MOST_EF)
            self._reader.configure("hnsw.ef_search", str(ef))
            statement = (
                f"select slot, vector <#> $1::vector from {self._rows} where {asked.text} "  # noqa: S608
                "order by vector <#> $1::vector limit $2::int8"
            )
            exact = not self._walkable(statement, asked, parameters, out_of_time)
            if not exact:
                for part in self._walked(statement, parameters, k, out_of_time):
                    found.append(part)
                exact = sum(map(len, found)) < k
            if exact:
                # The sum keeps the graph out: it is not the expression that it is built for.
                answer = self._reader.ask(
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
        answer = self._reader.ask("explain (format json) " + statement, parameters, out_of_time)
        node = json.loads(answer.get_value(0, 0) or b"")[0]["Plan"]
        while node.get("Index Name") != self._table.graph:
            if len(node.get("Plans", ())) != 1:
                return False
            (node,) = node["Plans"]
        return bool(node["Plan Rows"] * asked.correction > self.graph.exact_rows)

    def _walked(
        self, statement: str, parameters: list[bytes], k: int, out_of_time: OutOfTime | None
    ) -> Iterator[NDArray[Any]]:
        """What the graph gives, part by part where there may be no time for all."""
        if out_of_time is None:
            yield _rows(self._reader.ask(statement, parameters))
            return
        ask = self._reader.ask
        ask("begin", (), out_of_time)
        ask(f"declare found no scroll cursor for {statement}", parameters, out_of_time)
        left = k
        while left > 0:
            part = _rows(ask(f"fetch forward {min(left, _STEP)} from found", (), out_of_time))
            yield part
            left = left - len(part) if len(part) == _STEP else 0
            if left and out_of_time():
                self._reader.ask("rollback")
                raise TimeIsUp
        ask("commit", (), out_of_time)

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection]:
        """A transaction of the writer; within `applied` a part of its transaction."""
        with self._reaching():
            connection = self._owner()
            with connection.transaction():
                yield connection

    def _owner(self) -> psycopg.Connection:
        """The connection that holds the writer's lock."""
        if self._writer is not None and not self._writer.closed:
            return self._writer
        if self._batch:
            raise StoreError(
                f"{self._where}: the server went away within a batch; none of it is set: begin it "
                "again from where the index stands"
            )
        writer = psycopg.connect(self._url, autocommit=True)
        writer.adapters.register_dumper(_Bytes, _BytesDumper)
        row = writer.execute(
            "select pg_try_advisory_lock(hashtextextended(%s || current_schema(), 0)), "
            "'vector'::regtype::oid::int8",
            [_LOCK + self._table.name + " in "],
        ).fetchone()
        if row is None or not row[0]:
            writer.close()
            raise StoreError(f"{self._where}: another process writes it; stop that one first")
        self._writer, self._vector_oid = writer, int(row[1])
        return writer

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise StoreError(
                f"{self._where}: {type(error).__name__}: {str(error).strip()}; see whether the "
                "server runs and has room, then send the call again: none of it was set"
            ) from error


_KINDS = {binary.INT4: "int4[]", binary.INT8: "int8[]"}


def _stands(connection: psycopg.Connection, name: str, lock: str = "") -> Stands:
    row = connection.execute(
        sql.SQL("select n, mark from heirloom_vectors where name = %s" + lock), [name]
    ).fetchone()
    if row is None:
        raise StoreError(f"pgvector index {name!r}: it was dropped: make it anew")
    return Stands(*row)


def _last_of_each(slots: NDArray[np.int32]) -> NDArray[np.intp]:
    """Rows of the last mention of each slot.

    >>> _last_of_each(np.array([5, 3, 5], np.int32))
    array([1, 2])
    """
    _, first = np.unique(slots[::-1], return_index=True)
    return np.asarray(len(slots) - 1 - first)


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
