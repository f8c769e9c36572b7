"""Where: what a listing must be to be found, over columns that stand beside the vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.retrieval.vectors.lanes import given
from heirloom.retrieval.vectors.search_kernel import BYTES, MASK, RANGE, VALUES, Clauses

CODES = ("category", "brand", "size", "colour", "condition", "country", "seller")
NUMBERS = ("price_minor", "listed_at")
_FEW = 8
"""So few values are searched one by one; more become bytes, if they lie close enough."""
_SPAN = 1 << 20
_INT64 = np.iinfo(np.int64)

Codes = NDArray[Any] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns: codes are int32, numbers (money, times) int64.

    What is known to stay below 2^31 may stand among the codes: it is looked at in half the time.
    """

    codes: tuple[str, ...] = CODES
    numbers: tuple[str, ...] = NUMBERS

    def __contains__(self, name: str) -> bool:
        return name in self.codes or name in self.numbers

    def place(self, name: str) -> tuple[bool, int]:
        """Whether a column is of numbers, and which of them it is.

        Raises:
            InputError: there is no such column.
        """
        if name in self.codes:
            return False, self.codes.index(name)
        if name in self.numbers:
            return True, self.numbers.index(name)
        raise InputError(
            f"filter: no column {name!r}; wanted one of {', '.join(self.codes + self.numbers)}"
        )


@dataclass(frozen=True, slots=True)
class Where:
    """All of these must hold. A subtree of categories is the codes of its categories.

    Attributes:
        among: for a column, the values allowed.
        without: for a column, the values not allowed.
        between: for a column, the least and the greatest value allowed; None for no end.
        allowed: [slots] bool, True for slots that may be found; None for all.
    """

    among: Mapping[str, Codes] = field(default_factory=dict)
    without: Mapping[str, Codes] = field(default_factory=dict)
    between: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    allowed: NDArray[np.bool_] | None = None

    def passing(
        self, slots: NDArray[np.int32], columns: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.bool_]:
        """[slots] bool: which of columns [slots] pass. The definition; indices have it compiled.

        >>> Where(between={"price_minor": (None, 5)}, without={"seller": [7]}).passing(
        ...     np.arange(3, dtype=np.int32),
        ...     {"price_minor": np.array([3, 4, 6]), "seller": np.array([7, 1, 1])},
        ... )
        array([False,  True, False])
        """
        keep = np.ones(len(slots), np.bool_)
        for name, values in self.among.items():
            keep &= np.isin(columns[name], np.asarray(values))
        for name, values in self.without.items():
            keep &= ~np.isin(columns[name], np.asarray(values))
        for name, (least, most) in self.between.items():
            keep &= columns[name] >= (_INT64.min if least is None else least)
            keep &= columns[name] <= (_INT64.max if most is None else most)
        if self.allowed is not None:
            keep &= np.append(self.allowed, False)[np.minimum(slots, len(self.allowed))]
        return keep


EVERYTHING = Where()
NO_CLAUSES = Clauses(
    given(np.zeros((0, 8)), np.int64),
    *(given([], dtype) for dtype in (np.int64, np.uint8, np.uint8)),
)


def clauses(where: Where, columns: Columns) -> Clauses:
    """A filter for the kernel, what is cheapest first.

    Raises:
        InputError: a column that is not there, or values that are not whole numbers.
    """
    if not (where.among or where.without or where.between) and where.allowed is None:
        return NO_CLAUSES
    table: list[list[int]] = []
    values: list[NDArray[np.int64]] = []
    spreads: list[NDArray[np.uint8]] = []
    room = [0, 0]
    for name, (least, most) in where.between.items():
        wide, column = columns.place(name)
        low = _INT64.min if least is None else _whole_number(name, least)
        high = _INT64.max if most is None else _whole_number(name, most)
        table.append([RANGE, wide, column, low, high, 0, 0, 0])
    for negated, named in enumerate((where.among, where.without)):
        for name, codes in named.items():
            wide, column = columns.place(name)
            wanted = _whole(name, codes)
            if len(wanted) == 1:
                table.append([RANGE, wide, column, *wanted.tolist() * 2, 0, 0, negated])
            elif len(wanted) > _FEW and int(wanted[-1]) - int(wanted[0]) < _SPAN:
                low, high = int(wanted[0]), int(wanted[-1])
                spread = np.zeros(high - low + 1, np.uint8)
                spread[wanted - low] = 1
                table.append([BYTES, wide, column, low, high, room[1], 0, negated])
                spreads.append(spread)
                room[1] += len(spread)
            else:
                table.append([VALUES, wide, column, 0, 0, room[0], len(wanted), negated])
                values.append(wanted)
                room[0] += len(wanted)
    mask = np.zeros(0, np.uint8)
    if where.allowed is not None:
        table.append([MASK, 0, 0, 0, 0, 0, 0, 0])
        mask = np.ascontiguousarray(where.allowed, np.bool_).view(np.uint8)
    return Clauses(
        given(table, np.int64),
        given(np.concatenate([*values, np.zeros(0, np.int64)]), np.int64),
        given(np.concatenate([*spreads, np.zeros(0, np.uint8)]), np.uint8),
        given(mask, np.uint8),
    )


def _whole_number(name: str, end: int) -> int:
    """An end of a range, within int64: what lies beyond compares the same."""
    try:
        return min(max(index(end), int(_INT64.min)), int(_INT64.max))
    except TypeError:
        raise InputError(
            f"filter: {name!r} is given the end {end!r}; wanted a whole number, or None for no end"
        ) from None


def _whole(name: str, codes: Codes) -> NDArray[np.int64]:
    """The codes as int64, ascending, each once."""
    array = np.asarray(codes)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise InputError(
            f"filter: {name!r} is given {array.dtype} values of shape {list(array.shape)}; "
            "wanted a list of whole numbers: the codes"
        )
    return np.unique(array).astype(np.int64)
