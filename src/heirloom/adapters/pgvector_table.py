"""The table of a pgvector index, made once, and its line in the table of all indices.

`heirloom_vectors` has a row for each index: name, format, model_id, dim, codes, numbers, n, mark.

`vectors_NAME` has a row for each slot: slot, vector, a column for each of the codes (integer) and
the numbers (bigint), each with a b-tree, `vectors_NAME_0` and so on. `vectors_NAME_graph` is the
graph, where one was built.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from heirloom.core.errors import ConfigError, InputError, StoreError
from heirloom.retrieval.vectors.answer import checked_model
from heirloom.retrieval.vectors.where import Columns

FORMAT: Final = 1
LEAST_VERSION: Final = (0, 8)
"""Of pgvector: scans that go on under a filter came with it."""
MOST_DIM: Final = 2_000
"""Of a graph of float32."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CONNECT_S = 5
_MIGRATING = 7_316_553
"""Key of the lock under which tables are made: two processes may start at once."""


def connected(url: str) -> psycopg.Connection:
    """A connection on which each statement is a transaction of its own."""
    return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_S)


def checked_url(url: str) -> str:
    """The same, if libpq can read it.

    Raises:
        ConfigError: it cannot. What it says of that may quote a password, and is not repeated.
    """
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigError(
            "pgvector index",
            [
                "its address cannot be read; wanted postgresql://user:password@host:port/database, "
                "with %40 for @, %2F for / and the like in the password"
            ],
        ) from None
    return url


class Stands(NamedTuple):
    """Up to where an index has taken a log: the next offset, and what tells the log."""

    n: int
    mark: str


@dataclass(frozen=True, slots=True)
class Table:
    """What an index is called and holds."""

    name: str
    model_id: str
    dim: int
    columns: Columns

    @property
    def rows(self) -> sql.Identifier:
        """The table."""
        return sql.Identifier(f"vectors_{self.name}")

    @property
    def graph(self) -> str:
        """The name of its graph."""
        return f"vectors_{self.name}_graph"

    @property
    def fields(self) -> tuple[str, ...]:
        """All its columns, in order."""
        return ("slot", "vector", *self.columns.codes, *self.columns.numbers)

    def checked(self) -> "Table":
        """The same.

        Raises:
            ConfigError: PostgreSQL or pgvector could not hold it.
        """
        named = self.fields
        problems = []
        if not _NAME.fullmatch(self.name):
            problems.append(
                f"name {self.name!r}; wanted at most 40 of a-z, 0-9 and _, a letter first"
            )
        if not 1 <= self.dim <= MOST_DIM:
            problems.append(f"dim {self.dim}; wanted 1 to {MOST_DIM}")
        problems += [
            f"column {column!r}; wanted another name than slot and vector, each once, of at most "
            "63 bytes"
            for column in named[2:]
            if named.count(column) > 1 or not 0 < len(column.encode()) < 64 or "\0" in column
        ]
        if problems:
            raise ConfigError("pgvector index", problems)
        return self

    def open(self, connection: psycopg.Connection) -> None:
        """Make the table where it is not there; what is there stays as it is.

        Raises:
            InputError: a table of this name is of another model, dimension or other columns.
            StoreError: it is of another format, or pgvector is too old.
        """
        if not self._described(connection):
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(%s)", [_MIGRATING])
                if not self._described(connection):
                    self._created(connection)

    def _created(self, connection: psycopg.Connection) -> None:
        connection.execute("create extension if not exists vector")
        (version,) = connection.execute(
            "select extversion from pg_extension where extname = 'vector'"
        ).fetchone() or ("none",)
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LEAST_VERSION:
            raise StoreError(
                f"pgvector index {self.name!r}: the server has pgvector {version}; wanted 0.8 or "
                "later: install it and run ALTER EXTENSION vector UPDATE"
            )
        connection.execute(
            "create table if not exists heirloom_vectors (name text primary key, "
            "format integer not null, model_id text not null, dim integer not null, "
            "codes text[] not null, numbers text[] not null, "
            "n bigint not null default 0, mark text not null default '')"
        )
        kinds = ["integer"] * len(self.columns.codes) + ["bigint"] * len(self.columns.numbers)
        columns = [
            sql.SQL(", {} {} not null default 0").format(sql.Identifier(column), sql.SQL(kind))
            for column, kind in zip(self.fields[2:], kinds, strict=True)
        ]
        connection.execute(
            sql.SQL(
                "create table {} (slot integer primary key, vector vector({}) not null{}) with "
                "(autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
            ).format(self.rows, sql.Literal(self.dim), sql.SQL("").join(columns))
        )
        for number, column in enumerate(self.fields[2:]):
            index = sql.Identifier(f"vectors_{self.name}_{number}")
            connection.execute(
                sql.SQL("create index {} on {} ({})").format(
                    index, self.rows, sql.Identifier(column)
                )
            )
        connection.execute(
            "insert into heirloom_vectors (name, format, model_id, dim, codes, numbers) "
            "values (%s, %s, %s, %s, %s, %s)",
            [self.name, FORMAT, self.model_id, self.dim,
             list(self.columns.codes), list(self.columns.numbers)],
        )  # fmt: skip

    def _described(self, connection: psycopg.Connection) -> bool:
        """Whether the table is there, and as it is wanted."""
        there = connection.execute("select to_regclass('heirloom_vectors') is not null").fetchone()
        row = None
        if there == (True,):
            row = connection.execute(
                "select format, model_id, dim, codes, numbers from heirloom_vectors "
                "where name = %s",
                [self.name],
            ).fetchone()
        if row is None:
            return False
        where = f"pgvector index {self.name!r}"
        if row[0] != FORMAT:
            raise StoreError(
                f"{where}: format {row[0]}; wanted {FORMAT}: start its writer and its readers with "
                "one version of heirloom"
            )
        checked_model(where, row[1], self.model_id)
        has: Any = (row[2], tuple(row[3]), tuple(row[4]))
        if has != (self.dim, self.columns.codes, self.columns.numbers):
            raise InputError(
                f"{where}: it has dim {row[2]} and the columns {', '.join((*row[3], *row[4]))}; "
                f"wanted {self.dim} and {', '.join(self.fields[2:])}: build another index beside "
                "it, under another name"
            )
        return True

    def stands(self, connection: psycopg.Connection, *, lock: bool = False) -> Stands:
        """Up to where it has taken which log, and nobody else changes that until the commit."""
        row = connection.execute(
            sql.SQL("select n, mark from heirloom_vectors where name = %s{}").format(
                sql.SQL(" for update" if lock else "")
            ),
            [self.name],
        ).fetchone()
        if row is None:
            raise StoreError(f"pgvector index {self.name!r}: it was dropped: make it anew")
        return Stands(*row)

    def drop(self, connection: psycopg.Connection) -> None:
        """Take the table and what is said of it away, if they are there."""
        with connection.transaction():
            connection.execute(sql.SQL("drop table if exists {}").format(self.rows))
            if connection.execute("select to_regclass('heirloom_vectors')").fetchone() != (None,):
                connection.execute("delete from heirloom_vectors where name = %s", [self.name])


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """What PostgreSQL says becomes a StoreError of an index."""
    try:
        yield
    except psycopg.Error as error:
        raise StoreError(
            f"pgvector index {name!r}: {type(error).__name__}: {str(error).strip()}; see whether "
            "the server runs and has room, then send the call again: to repeat it changes nothing"
        ) from error
