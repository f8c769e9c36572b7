"""What rankers share: checks of what they are given, and rows sorted out for listwise losses."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.ranker import Examples

_BY_ROW = ("groups", "gains", "positions", "t", "done", "drawn", "place_logits")


def checked(batch: FeatureBatch, columns: tuple[str, ...], where: str) -> NDArray[np.float32]:
    """The batch's values, if its columns are those trained on.

    Raises:
        ShapeError: naming the columns that are missing, strange or out of order.
    """
    if batch.columns != columns:
        raise ShapeError(f"{where}: {difference(batch.columns, columns)}")
    return batch.values


def difference(came: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """How columns differ from those wanted, as a sentence.

    >>> difference(("a", "c"), ("a", "b"))
    'columns missing: b; not trained on: c; load the bundle trained with this view, or train again'
    """
    missing = [name for name in wanted if name not in came]
    strange = [name for name in came if name not in wanted]
    parts = [f"columns missing: {', '.join(missing)}"] if missing else []
    parts += [f"not trained on: {', '.join(strange)}"] if strange else []
    if not parts and len(came) != len(wanted):
        parts = [f"{len(came)} columns came, {len(wanted)} wanted"]
    elif not parts:
        pairs = enumerate(zip(came, wanted, strict=True))
        at, (name, other) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
        parts = [f"columns out of order: column {at} is {name!r}, wanted {other!r}"]
    return "; ".join(parts) + "; load the bundle trained with this view, or train again"


def take(examples: Examples, rows: NDArray[Any]) -> Examples:
    """The examples at these rows (indices or a mask), in their order."""
    return replace(
        examples,
        values=examples.values[rows],
        groups=examples.groups[rows],
        gains=examples.gains[rows],
        positions=examples.positions[rows],
        t=examples.t[rows],
        done=None if examples.done is None else examples.done[rows],
        drawn=None if examples.drawn is None else examples.drawn[rows],
        place_logits=None if examples.place_logits is None else examples.place_logits[rows],
    )


def starts_of(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """[groups] int64, the first row of each run of equal values.

    >>> starts_of(np.array([5, 5, 3, 3, 3, 8])).tolist()
    [0, 2, 5]
    """
    if not len(groups):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1]).astype(np.int64)


def shuffled_within(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """[rows] intp, the rows of each group in a random order, the groups where they were.

    >>> rows = shuffled_within(np.array([7, 7, 7, 4, 4]), np.random.default_rng(0))
    >>> sorted(rows[:3].tolist()), sorted(rows[3:].tolist())
    ([0, 1, 2], [3, 4])
    """
    member = np.cumsum(np.diff(groups, prepend=groups[:1]) != 0)
    return np.lexsort((rng.random(len(groups)), member))


def with_gain(examples: Examples) -> Examples:
    """Only the groups in which something was gained: others say nothing to a listwise loss.

    Raises:
        ShapeError: if the arrays differ in length, or a group's rows are not adjacent.
    """
    return take(examples, gained(examples))


def gained(examples: Examples) -> NDArray[np.bool_]:
    """[rows] bool, the rows of groups in which something was gained.

    Raises:
        ShapeError: if the arrays differ in length, or a group's rows are not adjacent.
    """
    check(examples)
    if not len(examples.values):
        return np.zeros(0, np.bool_)
    starts = starts_of(examples.groups)
    best = np.maximum.reduceat(examples.gains, starts)
    return np.repeat(best > 0, np.diff(np.append(starts, len(examples.values))))


def check(examples: Examples) -> None:
    """Refuse examples that do not fit each other.

    Raises:
        ShapeError: if the arrays differ in length, or a group's rows are not adjacent.
    """
    n = len(examples.values)
    arrays = {name: getattr(examples, name) for name in _BY_ROW}
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if any(length != n for length in lengths.values()):
        raise ShapeError(f"Examples: values have {n} rows but {lengths}; wanted one row each")
    if examples.values.ndim != 2 or examples.values.shape[1] != len(examples.columns):
        raise ShapeError(
            f"Examples: values have shape {list(examples.values.shape)}; "
            f"wanted [rows, features={len(examples.columns)}]"
        )
    if examples.done is not None and examples.done.shape != (n, len(examples.actions)):
        raise ShapeError(
            f"Examples: done has shape {list(examples.done.shape)}; "
            f"wanted [rows={n}, actions={len(examples.actions)}]"
        )
    if len(np.unique(examples.groups)) != len(starts_of(examples.groups)):
        raise ShapeError("Examples: rows of a group are not adjacent; sort them by group first")
