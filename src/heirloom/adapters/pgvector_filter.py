"""Where as a condition of SQL: columns are quoted names, every value is a parameter."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from heirloom.adapters import postgres_binary as binary
from heirloom.retrieval.vectors.where import Columns, Where, clauses

_SPARSE = 32
"""A mask that lets at most one in so many pass is sent as their slots: fewer bytes than bits."""
_UNKNOWN = 0.5
"""The share that PostgreSQL supposes of a condition that it knows nothing about."""


class Condition(NamedTuple):
    """What follows WHERE, its parameters in binary form, and what the server cannot guess."""

    text: str
    parameters: list[bytes]
    correction: float = 1.0
    """What the server's guess of the rows that pass is to be multiplied by."""


def name(column: str) -> str:
    """A column's name, quoted.

    >>> name("price_minor")
    '"price_minor"'
    """
    return sql.Identifier(column).as_string(None)


def condition(where: Where, columns: Columns, first: int = 1) -> Condition:
    """A filter as SQL, its parameters numbered from `first`.

    >>> condition(Where(between={"price_minor": (None, 500)}), Columns(), first=2).text
    '"price_minor" <= $2::int8'

    Raises:
        InputError: a column that is not there, or values that are not whole numbers.
    """
    clauses(where, columns)  # refuses what means nothing
    parts: list[str] = []
    parameters: list[bytes] = []
    correction = 1.0

    def given(value: bytes) -> str:
        parameters.append(value)
        return f"${first + len(parameters) - 1}"

    for column, (least, most) in where.between.items():
        for comparison, end in ((">=", least), ("<=", most)):
            if end is not None:
                parts.append(f"{name(column)} {comparison} {given(_clamped(end))}::int8")
    for named, comparison in ((where.among, "= any"), (where.without, "<> all")):
        for column, codes in named.items():
            wide, _ = columns.place(column)
            kind, oid = ("int8", binary.INT8) if wide else ("int4", binary.INT4)
            values = given(binary.integers(_within(codes, kind), oid))
            parts.append(f"{name(column)} {comparison} ({values}::{kind}[])")
    if where.allowed is not None:
        passing = np.flatnonzero(where.allowed)
        if len(passing) * _SPARSE <= len(where.allowed):
            parts.append(f"slot = any ({given(binary.integers(passing, binary.INT4))}::int4[])")
        else:
            bits = np.packbits(np.asarray(where.allowed, np.bool_), bitorder="little").tobytes()
            # CASE: the bit is looked at only where there is one.
            parts.append(
                f"case when slot < {given(binary.integer(len(where.allowed)))}::int8 "
                f"then get_bit({given(bits)}::bytea, slot) = 1 else false end"
            )
            correction = len(passing) / len(where.allowed) / _UNKNOWN
    return Condition(" and ".join(parts) or "true", parameters, correction)


def _clamped(end: int) -> bytes:
    limits = np.iinfo(np.int64)
    return binary.integer(min(max(int(end), int(limits.min)), int(limits.max)))


def _within(codes: Any, kind: str) -> NDArray[np.int64]:
    """Each value once, without those that no column of this kind can hold."""
    values = np.unique(np.asarray(codes)).astype(np.int64)
    if kind == "int8":
        return values
    limits = np.iinfo(np.int32)
    return values[(values >= limits.min) & (values <= limits.max)]
