"""Answer, and the interface of an index with filters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where

OutOfTime = Callable[[], bool]
"""Asked now and then during a search; True: answer with what was found so far."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        slots: [found] int32, best first, ties by slot, none twice.
        scores: [found] float32, dot products with the query.
        complete: False where time ran out before the search was done: the best found so far.
        exact: whether every listing that passes was compared, so that these are the nearest.
    """

    slots: NDArray[np.int32]
    scores: NDArray[np.float32]
    complete: bool = True
    exact: bool = True


class FilteredIndex(Protocol):
    """Vectors of one model by slot, with columns to filter by. One writer."""

    model_id: str
    dim: int
    columns: Columns

    def upsert(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """Set vectors [slots, dim] and columns [slots]; of a slot named twice the last counts.

        A column that is not named is 0: not stated.

        Raises:
            ShapeError: if the vectors have another dimension, or a column another length.
            InputError: if a vector holds NaN or infinity, a slot is negative, a column is
                unknown or of other than whole numbers, or the vectors are of another model.
                Then none is set.
        """

    def remove(self, slots: NDArray[np.int32]) -> None:
        """Forget slots; those unknown are left out. No search that starts later finds them."""

    def find(
        self,
        vector: NDArray[np.float32],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        model_id: str | None = None,
        out_of_time: OutOfTime | None = None,
    ) -> Answer:
        """The k nearest to a vector [dim] float32 by dot product, of those that pass the filter.

        Raises:
            ShapeError: if the vector has another dimension.
            InputError: if it holds NaN or infinity, is of another model, if the filter names an
                unknown column, or if k is negative.
        """


def checked_model(where: str, has: str, came: str | None) -> None:
    """Vectors of two models never mix.

    Raises:
        InputError: another model's, or one never heard of.
    """
    if came is not None and came != has:
        raise InputError(
            f"{where}: vectors of model {came!r}; this index holds those of {has!r}: encode with "
            "that model, or build an index for the other one"
        )


def checked_query(where: str, vector: NDArray[Any], dim: int, k: int) -> None:
    """Refuse a query that cannot be asked.

    Raises:
        ShapeError: another dimension.
        InputError: NaN or infinity, or a negative k.
    """
    if vector.shape != (dim,):
        raise ShapeError(f"{where}: the vector has shape {list(vector.shape)}; wanted [dim={dim}]")
    # A sum of squares is finite only if every number is: one pass, and no array made.
    if not np.isfinite(vector.dot(vector)) and not np.isfinite(vector).all():
        raise InputError(f"{where}: the vector holds NaN or infinity; wanted finite numbers")
    if k < 0:
        raise InputError(f"{where}: k is {k}; wanted 0 or more")


def checked_rows(
    where: str, slots: NDArray[np.int32], vectors: NDArray[np.float32], dim: int
) -> None:
    """Refuse vectors that cannot be indexed.

    Raises:
        ShapeError: another dimension, or as many slots as vectors.
        InputError: NaN, infinity, or a negative slot.
    """
    if vectors.shape != (len(slots), dim):
        raise ShapeError(
            f"{where}: vectors have shape {list(vectors.shape)}; "
            f"wanted [slots={len(slots)}, dim={dim}]"
        )
    finite = np.isfinite(vectors)
    if not finite.all():
        bad = slots[~finite.all(axis=1)][0]
        raise InputError(
            f"{where}: the vector of slot {bad} holds NaN or infinity; wanted finite numbers; "
            "none of this call was set"
        )
    if len(slots) and slots.min() < 0:
        raise InputError(f"{where}: slot {slots.min()} is negative; none of this call was set")


def checked_columns(
    where: str, named: Mapping[str, NDArray[Any]], columns: Columns, size: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The columns of a call as [size, codes] int32 and [size, numbers] int64.

    Raises:
        ShapeError: a column of another length.
        InputError: an unknown one, or one of other than whole numbers in range.
    """
    codes = np.zeros((size, len(columns.codes)), np.int32)
    numbers = np.zeros((size, len(columns.numbers)), np.int64)
    for name, column in named.items():
        wide, place = columns.place(name)
        values = np.asarray(column)
        if values.shape != (size,):
            raise ShapeError(
                f"{where}: column {name!r} has shape {list(values.shape)}; wanted [slots={size}]"
            )
        target: NDArray[Any] = numbers[:, place] if wide else codes[:, place]
        limits = np.iinfo(target.dtype)
        whole = values.dtype.kind in "iu"
        if not whole or (size and (values.min() < limits.min or values.max() > limits.max)):
            raise InputError(
                f"{where}: column {name!r} is {values.dtype}; wanted whole numbers from "
                f"{limits.min} to {limits.max}"
            )
        target[:] = values
    return codes, numbers
