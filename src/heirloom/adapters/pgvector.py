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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import pq, sql
from psycopg.adapt import Dumper

from heirloom.adapters import postgres_binary as binary
from heirloom.adapters.pgvector_search import Graph, PgVectorSearch
from heirloom.adapters.pgvector_table import Stands, Table, connected, reaching
from heirloom.core.errors import InputError, StoreError
from heirloom.retrieval.vectors.answer import checked_columns, checked_model, checked_rows
from heirloom.retrieval.vectors.where import Columns

__all__ = ["Graph", "PgVectorIndex", "Stands"]

_PART = 65_536
"""Rows of one statement."""
_LOCK = "heirloom_vectors "


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
        self._writer: psycopg.Connection | None = None
        self._vector_oid = 0
        self._batch = False
        search = PgVectorSearch(url, self._table, self.graph, timeout_s)
        self.find, self.search, self.search_many = search.find, search.search, search.search_many
        self._search = search
        with reaching(self._table.name), connected(url) as connection:
            self._table.open(connection)

    def __repr__(self) -> str:
        return self._where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go; another process may write from now on."""
        self._search.close()
        if self._writer is not None:
            self._writer.close()

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
    def applied(self, n: int, mark: str, since: str | None = None) -> Iterator[None]:
        """What is written inside is one transaction, which ends with the index at log offset n.

        Args:
            n: the offset from which the log is to be read next.
            mark: of the log.
            since: the mark that it stands at now, where marks are of a log's first n entries; the
                same as `mark` if not said.

        Raises:
            InputError: the index stands further, or in another log.
            StoreError: it was not committed: go on from where `stands` says.
        """
        with self._writing() as connection:
            stands = self._table.stands(connection, lock=True)
            if stands.mark not in ("", mark if since is None else since) or n < stands.n:
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
        with reaching(self._table.name), connected(self._url) as connection:
            return self._table.stands(connection)

    def clear(self) -> None:
        """Forget every slot, and where it stood."""
        with self._writing() as connection:
            connection.execute(sql.SQL("truncate {}").format(self._table.rows))
            connection.execute(
                "update heirloom_vectors set n = 0, mark = '' where name = %s", [self._table.name]
            )

    def built(self) -> bool:
        """Whether there is a graph."""
        with reaching(self._table.name), connected(self._url) as connection:
            row = connection.execute("select to_regclass(%s) is not null", [self._table.graph])
            return row.fetchone() == (True,)

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

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection]:
        """A transaction of the writer; within `applied` a part of its transaction."""
        with reaching(self._table.name):
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
        writer = connected(self._url)
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


_KINDS = {binary.INT4: "int4[]", binary.INT8: "int8[]"}


def _last_of_each(slots: NDArray[np.int32]) -> NDArray[np.intp]:
    """Rows of the last mention of each slot.

    >>> _last_of_each(np.array([5, 3, 5], np.int32))
    array([1, 2])
    """
    _, first = np.unique(slots[::-1], return_index=True)
    return np.asarray(len(slots) - 1 - first)
