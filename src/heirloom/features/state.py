"""FeatureState: what a view knows after the first n entries of the log."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.core.facts import Facts
from heirloom.core.query import Request
from heirloom.core.slate import FeatureBatch
from heirloom.features import kernel
from heirloom.features.kernel import Memory, Mentions, Scratch
from heirloom.features.plan import Plan

_EVENT_FIELDS = ("t", "kind", "person", "seller")
_LISTING_FIELDS = ("slot", "seller", "brand", "category", "size", "colour", "condition")


class FeatureState:
    """Integers by key, folded from the log; values are made of them on lookup.

    A pure function of the log's first n entries: however they were cut into calls of `apply`,
    the state is the same. One writer; lookups only read (they share room to work in: call them from
    one thread at a time, or under the GIL, which the kernel holds).

    Attributes:
        columns: names of the values, as `view@version.feature`.
        n: log offset applied: the last entry's seq + 1.
    """

    def __init__(self, columns: tuple[str, ...], plan: Plan) -> None:
        self.columns = columns
        self.n = 0
        self._plan = plan
        self._memory = Memory(
            places=np.zeros((1 << 12, 2), np.int64),
            counts=np.zeros(max(1 << 16, plan.room), np.int32),
            money=np.zeros(max(1 << 12, plan.room), np.int64),
            slots=np.zeros((1 << 10, kernel.LISTING_CODES), np.int64),
            prices=np.zeros(1 << 10, np.int64),
            opened=np.zeros(1 << 10, np.int64),
            meta=np.zeros(8, np.int64),
        )
        self._scratch = Scratch(
            codes=np.zeros(kernel.CODES, np.int64),
            spans=np.zeros((len(plan.tables.windows), 3), np.int64),
            rows=np.zeros(len(plan.tables.families), np.int64),
            keys=np.zeros(len(plan.tables.families), np.int64),
            integers=np.zeros(len(plan.tables.terms), np.int64),
            values=np.zeros(len(plan.tables.features), np.float64),
        )

    @classmethod
    def restored(
        cls, columns: tuple[str, ...], plan: Plan, n: int, arrays: Mapping[str, NDArray[Any]]
    ) -> "FeatureState":
        """The state whose `arrays()` at log offset n these are; it keeps copies.

        Raises:
            InputError: if they are not the arrays of a state.
        """
        state = cls(columns, plan)
        for name, like in state._memory._asdict().items():
            array = arrays.get(name)
            if array is None or array.dtype != like.dtype or array.shape[1:] != like.shape[1:]:
                raise InputError(
                    f"FeatureState.restored: {name!r} is not {like.dtype} [rows, "
                    f"{list(like.shape[1:])}]: these are not the arrays of a state of this view; "
                    "fold the log instead"
                )
        memory = {
            name: _grown(np.array(arrays[name]), len(like))
            if name not in ("places", "meta")
            else np.array(arrays[name])
            for name, like in state._memory._asdict().items()
        }
        state._memory = Memory(**memory)
        state.n = n
        return state

    @property
    def keys(self) -> int:
        """How many keys have state."""
        return int(self._memory.meta[kernel.M_KEYS])

    @property
    def late(self) -> int:
        """Counts that came so late that no later window could hold them, and were not kept."""
        return int(self._memory.meta[kernel.M_LATE])

    @property
    def saturated(self) -> int:
        """Counts and sums that met the end of their integer and stayed there."""
        return int(self._memory.meta[kernel.M_SATURATED])

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(array.nbytes for array in self._memory)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that the state is, by name (kernel.Memory), without the room kept for growth.

        Copies, for snapshots and laws: the same log prefix gives the same bytes.
        """
        memory = self._memory
        opened = int(np.flatnonzero(memory.opened).max(initial=-1)) + 1
        ends = {
            "counts": memory.meta[kernel.M_COUNTS],
            "money": memory.meta[kernel.M_MONEY],
            "slots": opened,
            "prices": opened,
            "opened": opened,
        }
        return {name: array[: ends.get(name)].copy() for name, array in memory._asdict().items()}

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log.

        Raises:
            InputError: if an entry was applied before, or a code is beyond 2^28. Then nothing
                of the part was folded.
        """
        if len(facts) == 0:
            return
        first = int(facts.events["seq"][0])
        if first < self.n:
            raise InputError(
                f"FeatureState.apply: entry {first} came again, {self.n} are applied; "
                f"hand over the log from offset {self.n}"
            )
        mentions = _mentions(facts)
        if len(mentions.listings):
            self._grow_slots(int(mentions.listings[:, 0].max()) + 1)
        plan, scratch = self._plan, self._scratch
        while kernel.fold(plan.tables, self._memory, mentions, scratch, plan.room) != kernel.DONE:
            self._grow()
        self.n = int(facts.events["seq"][-1]) + 1

    def lookup(
        self,
        request: Request,
        slots: NDArray[np.int32],
        given: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> FeatureBatch:
        """Values [candidates, features] float32 as of the request's t and the entries applied.

        Args:
            request: who asks, as of when.
            slots: [candidates] int32. A slot that holds no listing has NaN in all that is
                known of listings.
            given: columns [candidates] float32 that the pipeline computed, by the names of the
                view's `Given` features; one that is not handed over is NaN.

        Raises:
            ShapeError: if a given column is unknown to the view or has another length.
        """
        asked = np.empty(3 + len(request.declared), np.int64)
        asked[:3] = request.query.t, request.person, request.surface
        asked[3:] = request.declared
        out = np.empty((len(slots), self._plan.width), np.float32)
        kernel.read(
            self._plan.tables,
            self._memory,
            asked,
            np.ascontiguousarray(slots, np.int32),
            self._given(given or {}, len(slots)),
            self._scratch,
            out,
        )
        return FeatureBatch(out, self.columns, self.n)

    def _given(
        self, given: Mapping[str, NDArray[np.float32]], candidates: int
    ) -> NDArray[np.float32]:
        names = self._plan.given
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ShapeError(
                f"FeatureState.lookup: given columns {unknown} are not in the view; "
                f"it declares {list(names)}"
            )
        rows = np.full((len(names), candidates), np.nan, np.float32)
        for j, name in enumerate(names):
            if name in given:
                column = given[name]
                if column.shape != (candidates,):
                    raise ShapeError(
                        f"FeatureState.lookup: given {name!r} has shape {list(column.shape)}; "
                        f"wanted [candidates={candidates}]"
                    )
                rows[j] = column
        return rows

    def _grow_slots(self, size: int) -> None:
        memory = self._memory
        if size > len(memory.slots):
            self._memory = memory._replace(
                slots=_grown(memory.slots, size),
                prices=_grown(memory.prices, size),
                opened=_grown(memory.opened, size),
            )

    def _grow(self) -> None:
        """Make room for the next mention."""
        memory, room = self._memory, self._plan.room
        families = len(self._plan.tables.families)
        if 2 * (self.keys + families) > len(memory.places):
            places = np.zeros((2 * len(memory.places), 2), np.int64)
            kernel.rehash(memory.places, places)
            memory = memory._replace(places=places)
        self._memory = memory._replace(
            counts=_grown(memory.counts, int(memory.meta[kernel.M_COUNTS]) + room),
            money=_grown(memory.money, int(memory.meta[kernel.M_MONEY]) + room),
        )


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for `size` rows, zeros behind; at least doubled where it grows."""
    if size <= len(array):
        return array
    grown = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _mentions(facts: Facts) -> Mentions:
    """Facts as the plain arrays that the kernel reads.

    Raises:
        InputError: if a code is beyond what a packed key holds.
    """
    events = np.empty((len(facts.events), len(_EVENT_FIELDS)), np.int64)
    for j, name in enumerate(_EVENT_FIELDS):
        events[:, j] = facts.events[name]
    listings = np.empty((len(facts.listings), len(_LISTING_FIELDS)), np.int64)
    for j, name in enumerate(_LISTING_FIELDS):
        listings[:, j] = facts.listings[name]
    declared = facts.events["declared"].astype(np.int64)
    largest = max(events[:, 2:].max(), declared.max(), listings[:, 1:].max(initial=0))
    if largest >= kernel.CODE_LIMIT:
        raise InputError(
            f"FeatureState.apply: a vocabulary code is {largest}; packed keys hold codes below "
            f"{kernel.CODE_LIMIT}; split the system by market"
        )
    prices = facts.listings["price_minor"].astype(np.int64)
    return Mentions(events, declared, facts.starts, listings, prices)
