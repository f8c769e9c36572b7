"""Arrays in PostgreSQL's binary form, as parameters and as COPY: no number goes through text.

Forms: PostgreSQL's source, array_recv in src/backend/utils/adt/arrayfuncs.c; its manual, COPY,
«Binary Format»; pgvector's vector_recv in src/vector.c. All of it is big-endian.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INT4, INT8 = 23, 20
"""Oids of the types, the same in every database."""
_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = b"\xff\xff"
_TYPES = {INT4: ">i4", INT8: ">i8"}


def integer(value: int) -> bytes:
    r"""An int8.

    >>> integer(258)
    b'\x00\x00\x00\x00\x00\x00\x01\x02'
    """
    return value.to_bytes(8, "big", signed=True)


def integers(values: NDArray[Any], oid: int) -> bytes:
    r"""An int4[] or int8[].

    >>> integers(np.array([7]), INT4)[-8:]
    b'\x00\x00\x00\x04\x00\x00\x00\x07'
    """
    width = np.dtype(_TYPES[oid]).itemsize
    elements = np.empty(len(values), [("length", ">i4"), ("value", _TYPES[oid])])
    elements["length"], elements["value"] = width, values
    return _array_header(len(values), oid) + elements.tobytes()


def vector(values: NDArray[np.float32]) -> bytes:
    r"""A pgvector vector of [dim] float32.

    >>> vector(np.ones(1, np.float32))
    b'\x00\x01\x00\x00?\x80\x00\x00'
    """
    return np.array([len(values), 0], ">i2").tobytes() + values.astype(">f4").tobytes()


def vectors(values: NDArray[np.float32], oid: int) -> bytes:
    """A vector[] of [slots, dim] float32; pgvector's oid is another in every database."""
    elements = np.empty(len(values), _vector_form(values.shape[1]))
    _fill_vectors(elements, values)
    return _array_header(len(values), oid) + elements.tobytes()


def copied(
    slots: NDArray[np.int32], rows: NDArray[np.float32], columns: Sequence[tuple[Any, int]]
) -> bytes:
    """Slots, vectors [slots, dim] and (column [slots], oid), as COPY (FORMAT binary) reads them.

    >>> stream = copied(np.array([3], np.int32), np.ones((1, 2), np.float32), [([9], INT8)])
    >>> len(stream) == 19 + 2 + (4 + 4) + (4 + 4 + 8) + (4 + 8) + 2
    True
    """
    form: list[Any] = [("fields", ">i2"), ("slot_length", ">i4"), ("slot", ">i4")]
    form += _vector_form(rows.shape[1])
    for number, (_, oid) in enumerate(columns):
        form += [(f"length_{number}", ">i4"), (f"column_{number}", _TYPES[oid])]
    lines = np.empty(len(slots), form)
    lines["fields"], lines["slot_length"], lines["slot"] = 2 + len(columns), 4, slots
    _fill_vectors(lines, rows)
    for number, (column, oid) in enumerate(columns):
        lines[f"length_{number}"] = np.dtype(_TYPES[oid]).itemsize
        lines[f"column_{number}"] = column
    return _COPY_HEADER + lines.tobytes() + _COPY_END


def _array_header(size: int, oid: int) -> bytes:
    """Dimensions, whether there is a null, the type; then size and first index of the dimension."""
    header = [1, 0, oid, size, 1] if size else [0, 0, oid]
    return np.array(header, ">i4").tobytes()


def _vector_form(dim: int) -> list[Any]:
    return [("length", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("vector", ">f4", (dim,))]


def _fill_vectors(elements: NDArray[Any], rows: NDArray[np.float32]) -> None:
    dim = rows.shape[1]
    elements["length"], elements["dim"], elements["unused"] = 4 + 4 * dim, dim, 0
    elements["vector"] = rows
