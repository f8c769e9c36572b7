"""Scattered: one index made of several. A query goes to the shards, the best k of theirs come back.

Each slot stands in one shard. Of the shards' listings that pass, the best k by (score, slot) of all
are among the best k of each: a listing with k better ones in its own shard has them in the whole.
So the merge of exact and complete answers is exact and complete.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, ShapeError, StoreError
from heirloom.retrieval.index import Found
from heirloom.retrieval.top import fitted
from heirloom.retrieval.vectors.answer import (
    Answer,
    FilteredIndex,
    OutOfTime,
    checked_columns,
    checked_model,
    checked_query,
    checked_rows,
)
from heirloom.retrieval.vectors.where import EVERYTHING, Columns, Where, clauses

_LOOK_S = 0.001
"""So often the caller is asked whether there is time left."""
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Gathered(Answer):
    """What several shards found.

    Attributes:
        missing: shards that did not answer, by number, and why. Then it is not complete.
    """

    missing: Mapping[int, str] = field(default_factory=dict)


class Placement(Protocol):
    """Which shard holds a listing, and which ones may hold what passes a filter."""

    shards: int

    def of(
        self, slots: NDArray[np.int32], columns: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.int64]:
        """[slots] the shard of each, 0 … shards - 1."""

    def asked(self, where: Where) -> Sequence[int]:
        """The shards in which something may pass."""


class BySlot:
    """Spread evenly, whatever a listing is: every query goes to every shard."""

    def __init__(self, shards: int) -> None:
        self.shards = _checked_count("shards", shards)

    def of(
        self,
        slots: NDArray[np.int32],
        columns: Mapping[str, NDArray[Any]],  # noqa: ARG002
    ) -> NDArray[np.int64]:
        """As Placement.of.

        >>> BySlot(4).of(np.arange(6, dtype=np.int32), {}).tolist()
        [0, 1, 2, 3, 0, 1]
        """
        return slots.astype(np.int64) % self.shards

    def asked(self, where: Where) -> Sequence[int]:  # noqa: ARG002
        """As Placement.asked: all."""
        return range(self.shards)


class ByColumn:
    """By a column, countries say, and evenly among the shards of a group of its values.

    Args:
        column: which one.
        groups: the group of each value, 0 and up; of values that are not named the last group.
        within: shards of each group.
    """

    def __init__(self, column: str, groups: Mapping[int, int], within: int = 1) -> None:
        if min(groups.values(), default=0) < 0:
            raise ConfigError("placement", [f"groups are {sorted(set(groups.values()))}; from 0"])
        self.column, self.groups = column, dict(groups)
        self._rest = max(self.groups.values(), default=-1) + 1
        self._within = _checked_count("within", within)
        self.shards = (self._rest + 1) * within

    def of(
        self, slots: NDArray[np.int32], columns: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.int64]:
        """As Placement.of.

        >>> ByColumn("country", {1: 0, 2: 0, 3: 1}, within=2).of(
        ...     np.array([8, 9, 8, 8], np.int32), {"country": np.array([1, 2, 3, 77])}
        ... ).tolist()
        [0, 1, 2, 4]
        """
        values = np.asarray(columns.get(self.column, np.zeros(len(slots), np.int64)))
        each, place = np.unique(values, return_inverse=True)
        groups = np.array([self.groups.get(int(value), self._rest) for value in each], np.int64)
        return groups[place] * self._within + slots % self._within

    def asked(self, where: Where) -> Sequence[int]:
        """As Placement.asked: those of the values that the filter names.

        >>> ByColumn("country", {1: 0, 2: 0, 3: 1}, within=2).asked(Where(among={"country": [3]}))
        [2, 3]
        """
        if self.column not in where.among:
            return range(self.shards)
        named = {self.groups.get(int(value), self._rest) for value in where.among[self.column]}
        return [group * self._within + i for group in sorted(named) for i in range(self._within)]


def _checked_count(name: str, count: int) -> int:
    if count < 1:
        raise ConfigError("placement", [f"{name} is {count}; wanted 1 or more"])
    return count


class Scattered:
    """A FilteredIndex over shards, which hold vectors of one model. For one thread at a time.

    Args:
        shards: at least one, of one model, dimension and columns.
        placement: of so many shards; evenly by slot if not said.
        executor: searches the shards side by side; without one they are searched one by one.
            A shard whose last search still runs is not asked again until that has ended.

    Raises:
        ConfigError: the shards do not fit each other or the placement.
    """

    def __init__(
        self,
        shards: Sequence[FilteredIndex],
        placement: Placement | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.placement = placement or BySlot(len(shards))
        problems = []
        if self.placement.shards != len(shards):
            problems.append(f"{len(shards)} shards; the placement wants {self.placement.shards}")
        problems += [
            f"shards differ in {name}: {', '.join(sorted(several))}"
            for name in ("model_id", "dim", "columns")
            if len(several := {repr(getattr(shard, name)) for shard in shards}) > 1
        ]
        if problems:
            raise ConfigError("Scattered", problems)
        self.shards = tuple(shards)
        self.model_id, self.dim = shards[0].model_id, shards[0].dim
        self.columns: Columns = shards[0].columns
        self._executor = executor
        self._running: dict[int, Future[Answer]] = {}
        self._home = np.zeros(0, np.int32)

    def upsert(
        self,
        slots: NDArray[np.int32],
        vectors: NDArray[np.float32],
        columns: Mapping[str, NDArray[Any]] | None = None,
        *,
        model_id: str | None = None,
    ) -> None:
        """As FilteredIndex.upsert. A listing that moves leaves its old shard first.

        So it is found nowhere for a moment, and never as it was before.
        """
        where, named = "Scattered.upsert", dict(columns or {})
        checked_model(where, self.model_id, model_id)
        checked_rows(where, slots, vectors, self.dim)
        checked_columns(where, named, self.columns, len(slots))
        if not len(slots):
            return
        _, first = np.unique(slots[::-1], return_index=True)
        last = np.sort(len(slots) - 1 - first)  # a slot named twice goes where its last row goes
        slots, vectors = slots[last], vectors[last]
        named = {name: np.asarray(column)[last] for name, column in named.items()}
        homes = self.placement.of(slots, named)
        self._left(slots, homes)
        for shard in np.unique(homes).tolist():
            mine = homes == shard
            part = {name: column[mine] for name, column in named.items()}
            self.shards[shard].upsert(slots[mine], vectors[mine], part)

    def _left(self, slots: NDArray[np.int32], homes: NDArray[np.int64]) -> None:
        """Take slots out of the shards that are not their home (any more)."""
        self._home = fitted(self._home, int(slots.max()) + 1, _UNKNOWN)
        before = self._home[slots]
        for number, shard in enumerate(self.shards):
            strangers = (homes != number) & ((before == number) | (before == _UNKNOWN))
            if strangers.any():
                shard.remove(slots[strangers])
        self._home[slots] = homes

    def remove(self, slots: NDArray[np.int32]) -> None:
        """As FilteredIndex.remove: from every shard, wherever they are."""
        for shard in self.shards:
            shard.remove(slots)

    def find(
        self,
        vector: NDArray[np.float32],
        where: Where = EVERYTHING,
        k: int = 100,
        *,
        model_id: str | None = None,
        out_of_time: OutOfTime | None = None,
    ) -> Gathered:
        """As FilteredIndex.find. A shard that fails or is late is named in the answer.

        The shards are told how much time there is, and answer with their best so far. One that
        does not even do that is not waited for.
        """
        checked_model("find", self.model_id, model_id)
        checked_query("find", vector, self.dim, k)
        clauses(where, self.columns)  # refuses what means nothing, also where no shard is asked

        def search(shard: FilteredIndex) -> Answer:
            return shard.find(vector, where, k, out_of_time=out_of_time)

        numbers = self.placement.asked(where)
        if self._executor is None:
            answers, missing = self._one_by_one(numbers, search, out_of_time)
        else:
            answers, missing = self._side_by_side(numbers, search, out_of_time)
        return merged(answers, k, missing)

    def search(self, vector: NDArray[np.float32], allowed: NDArray[np.bool_], k: int) -> Found:
        """As Index.search.

        Raises:
            StoreError: a shard did not answer, which this form could not say.
        """
        answer = self.find(vector, Where(allowed=allowed), k)
        if answer.missing:
            raise StoreError(f"search: {_told(answer.missing)}; use find, which says so")
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

    def _one_by_one(
        self,
        numbers: Sequence[int],
        search: Callable[[FilteredIndex], Answer],
        out_of_time: OutOfTime | None,
    ) -> tuple[list[Answer], dict[int, str]]:
        answers, missing = [], {}
        for number in numbers:
            if out_of_time is not None and out_of_time():
                missing[number] = _LATE
                continue
            try:
                answers.append(search(self.shards[number]))
            except StoreError as error:
                missing[number] = str(error)
        return answers, missing

    def _side_by_side(
        self,
        numbers: Sequence[int],
        search: Callable[[FilteredIndex], Answer],
        out_of_time: OutOfTime | None,
    ) -> tuple[list[Answer], dict[int, str]]:
        self._running = {n: future for n, future in self._running.items() if not future.done()}
        missing = {n: _BUSY for n in numbers if n in self._running}
        asked = {n: self._executor.submit(search, self.shards[n])  # type: ignore[union-attr]
                 for n in numbers if n not in missing}  # fmt: skip
        pending = set(asked.values())
        late = False
        while pending and not late:
            late = out_of_time is not None and out_of_time()
            # Once more after the end: a shard that keeps time answers just then.
            pending = wait(pending, None if out_of_time is None else _LOOK_S).not_done
        answers = []
        for number, future in asked.items():
            if future in pending and (future.cancel() or not future.done()):
                missing[number] = _LATE
                if not future.cancelled():
                    self._running[number] = future
                continue
            try:
                answers.append(future.result())
            except StoreError as error:
                missing[number] = str(error)
        return answers, missing


_LATE = "it did not answer in time"
_BUSY = "an earlier search still runs in it"


def merged(answers: Sequence[Answer], k: int, missing: Mapping[int, str]) -> Gathered:
    """The best k of all answers, ties by slot; of a slot that comes twice the better score.

    >>> one = Answer(np.array([4, 2], np.int32), np.array([0.9, 0.1], np.float32))
    >>> two = Answer(np.array([3], np.int32), np.array([0.5], np.float32))
    >>> merged([one, two], 2, {}).slots.tolist()
    [4, 3]
    """
    slots = np.concatenate([np.zeros(0, np.int32), *(answer.slots for answer in answers)])
    scores = np.concatenate([np.zeros(0, np.float32), *(answer.scores for answer in answers)])
    order = np.lexsort((slots, -scores))
    _, first = np.unique(slots[order], return_index=True)
    top = order[np.sort(first)[:k]]
    complete = not missing and all(answer.complete for answer in answers)
    exact = complete and all(answer.exact for answer in answers)
    return Gathered(slots[top], scores[top], complete, exact, dict(missing))


def _told(missing: Mapping[int, str]) -> str:
    return "; ".join(f"shard {number}: {why}" for number, why in missing.items())
