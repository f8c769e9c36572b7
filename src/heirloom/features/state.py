"""FeatureState: what a view knows after the first n entries of the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.query import Request
from heirloom.core.slate import FeatureBatch
from heirloom.features import kernel
from heirloom.features.kernel import Memory, Mentions, Scratch
from heirloom.features.plan import Plan

_PLACES, _WORDS, _SLOTS = 1 << 8, 1 << 10, 1 << 6


@dataclass(frozen=True, slots=True)
class Held:
    """What the state holds of one family: a key with one set of windows, shared by definitions.

    Attributes:
        key: what the key is made of (algebra.SOURCES).
        windows: their names; none for times of a first or last mention.
        keys: how many keys have a row.
        nbytes: of these rows and their places in the map, without the room kept for growth.
    """

    key: tuple[str, ...]
    windows: tuple[str, ...]
    keys: int
    nbytes: int


class FeatureState:
    """Integers by key, folded from the log; values are made of them on lookup.

    A pure function of the log's first n entries: however they were cut into calls of `apply`,
    the state is the same. One writer; lookups only read (they share room to work in: call them from
    one thread at a time, or under the GIL, which the kernel holds).

    Keys that can show in no value any more are evicted when room is wanted, which the log alone
    decides: see `kernel.mark`. No value changes by it, whatever time it is as of.

    Attributes:
        columns: names of the values, as `view@version.feature`.
        n: log offset applied: the last entry's seq + 1.
    """

    def __init__(self, columns: tuple[str, ...], plan: Plan) -> None:
        self.columns = columns
        self.n = 0
        self._plan = plan
        direct = int(plan.tables.sizes[2])
        self._memory = _memory(
            places=np.zeros((_PLACES, 2), np.int64),
            rows=np.zeros(max(_WORDS, 2 * plan.room), np.int64),
            slots=np.zeros((_SLOTS, kernel.S_ROWS + direct), np.int64),
            meta=np.zeros(kernel.META, np.int64),
        )
        self._memory.meta[kernel.M_CAPACITY] = len(self._memory.rows)
        self._scratch = _scratch(plan)

    @classmethod
    def restored(
        cls, columns: tuple[str, ...], plan: Plan, n: int, arrays: Mapping[str, NDArray[Any]]
    ) -> "FeatureState":
        """The state whose `arrays()` at log offset n these are; it keeps copies.

        Raises:
            InputError: if they are not the arrays of a state of this plan.
        """
        state = cls(columns, plan)
        _check(arrays, state._memory, n)
        meta = np.array(arrays["meta"], np.int64)
        rows = np.zeros(int(meta[kernel.M_CAPACITY]), np.int64)
        rows[: len(arrays["rows"])] = arrays["rows"]
        slots = _grown(np.array(arrays["slots"], np.int64), _SLOTS)
        state._memory = _memory(np.array(arrays["places"], np.int64), rows, slots, meta)
        state.n = n
        return state

    @property
    def keys(self) -> int:
        """How many keys have state."""
        by_slot = np.count_nonzero(self._memory.slots[:, kernel.S_ROWS :])
        return int(self._memory.meta[kernel.M_KEYS]) + int(by_slot)

    @property
    def late(self) -> int:
        """Counts that came so late that no later window could hold them, and were not kept."""
        return int(self._memory.meta[kernel.M_LATE])

    @property
    def saturated(self) -> int:
        """Counts and sums that met the end of their integer and stayed there."""
        return int(self._memory.meta[kernel.M_SATURATED])

    @property
    def evicted(self) -> int:
        """Rows that were let go because no later value could show them."""
        return int(self._memory.meta[kernel.M_EVICTED])

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        memory = self._memory
        return sum(a.nbytes for a in (memory.places, memory.rows, memory.slots, memory.meta))

    def held(self) -> tuple[Held, ...]:
        """What each family holds, in the order of the plan."""
        memory, table = self._memory, self._plan.tables.families
        packed, beside = memory.places[memory.places[:, 0] != 0].T
        families = (packed >> 56) - 1
        keys = np.bincount(families, minlength=len(table))
        here = table[families, kernel.F_IN_MAP]
        in_map = (here == kernel.TIME_HERE) | (
            (here == kernel.RING_HERE) & (beside & kernel.PACKED != 0)
        )
        rows = keys - np.bincount(families[in_map], minlength=len(table))
        by_slot = np.count_nonzero(memory.slots[:, kernel.S_ROWS :], axis=0)
        direct = table[:, kernel.F_DIRECT]
        keys[direct >= 0] = rows[direct >= 0] = by_slot[direct[direct >= 0]]
        place = np.where(direct >= 0, 8, memory.places[:1].nbytes)
        return tuple(
            Held(family.key, family.windows, count, 8 * family.words * own + each * count)
            for family, count, own, each in zip(
                self._plan.families, keys.tolist(), rows.tolist(), place.tolist(), strict=True
            )
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that the state is, by name (kernel.Memory), without the room kept for growth.

        Copies, for snapshots and laws: the same log prefix gives the same bytes.
        """
        memory = self._memory
        opened = int(np.flatnonzero(memory.slots32[:, 0]).max(initial=-1)) + 1
        return {
            "places": memory.places.copy(),
            "rows": memory.rows[: memory.meta[kernel.M_USED]].copy(),
            "slots": memory.slots[:opened].copy(),
            "meta": memory.meta.copy(),
        }

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
        mentions, slots = surveyed(facts)
        self._grow_slots(slots)
        plan, scratch = self._plan, self._scratch
        while kernel.fold(plan.tables, self._memory, mentions, scratch, plan.room) != kernel.DONE:
            self._make_room()
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
        asked = np.empty(4 + len(request.declared), np.int64)
        asked[:4] = request.query.t, request.person, request.surface, request.text
        asked[4:] = request.declared
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
        columns = []
        for name in names:
            column = given.get(name)
            if column is None:
                column = np.full(candidates, np.nan, np.float32)
            elif column.shape != (candidates,):
                raise ShapeError(
                    f"FeatureState.lookup: given {name!r} has shape {list(column.shape)}; "
                    f"wanted [candidates={candidates}]"
                )
            columns.append(column)
        rows = np.empty((len(names), candidates), np.float32)
        if columns:
            np.concatenate(columns, out=rows.reshape(-1), casting="same_kind")
        return rows

    def _grow_slots(self, size: int) -> None:
        memory = self._memory
        if size > len(memory.slots):
            slots = _grown(memory.slots, max(size, len(memory.slots) * 5 // 4))
            self._memory = _memory(memory.places, memory.rows, slots, memory.meta)

    def _make_room(self) -> None:
        """Evict what no value can show any more; grow what is still nearly full.

        It is called where the log, not the batch, fills the map or the arena, and evicts when a
        day of the log has passed since it last did, and a quarter was added to what stayed then.
        A ninth is free afterwards, so that many mentions share the cost, and few bytes wait for
        what may never come.
        """
        memory, meta = self._memory, self._memory.meta
        day_over = int(meta[kernel.M_NEWEST]) >= int(meta[kernel.M_SWEPT]) + kernel.SWEEP_EVERY_MS
        held = int(meta[kernel.M_USED]) + 2 * int(meta[kernel.M_KEYS])
        if day_over and 4 * held >= 5 * int(meta[kernel.M_KEPT]):
            self._sweep()
            return
        places, rows = memory.places, memory.rows
        capacity = self._places_for(int(meta[kernel.M_KEYS]))
        if capacity > len(places):
            places = np.zeros((capacity, 2), np.int64)
            kernel.rehash(self._plan.tables, memory.places, places)
        rows = _grown(rows, self._words_for(int(meta[kernel.M_USED])))
        meta[kernel.M_CAPACITY] = len(rows)
        self._memory = _memory(places, rows, memory.slots, meta)

    def _sweep(self) -> None:
        memory, meta, tables = self._memory, self._memory.meta, self._plan.tables
        totals = np.zeros(3, np.int64)
        kernel.mark(tables, memory, np.zeros(int(meta[kernel.M_LISTINGS]) + 1, np.uint8), totals)
        keys, words, gone = totals.tolist()
        places = np.zeros((self._places_for(keys), 2), np.int64)
        rows = np.zeros(self._words_for(words), np.int64)
        kernel.move(tables, memory, places, rows)
        meta[kernel.M_EVICTED] += gone
        meta[kernel.M_SWEPT] = meta[kernel.M_NEWEST]
        meta[kernel.M_KEPT] = words + 2 * keys
        meta[kernel.M_CAPACITY] = len(rows)
        self._memory = _memory(places, rows, memory.slots, meta)

    def _places_for(self, keys: int) -> int:
        """Length of the map: as it is while so many keys fit, else with room for an eighth more."""
        now, keys = len(self._memory.places), keys + len(self._plan.tables.families)
        return now if 4 * keys <= 3 * now else 3 * keys // 2 + 1

    def _words_for(self, used: int) -> int:
        """Length of the arena: as it is while so many words fit, else with an eighth more."""
        now, used = len(self._memory.rows), used + self._plan.room
        return now if used <= now else 9 * used // 8 + 1


def _memory(
    places: NDArray[np.int64],
    rows: NDArray[np.int64],
    slots: NDArray[np.int64],
    meta: NDArray[np.int64],
) -> Memory:
    return Memory(
        places, rows, rows.view(np.int32), rows.view(np.uint16), slots, slots.view(np.int32), meta
    )


def _scratch(plan: Plan) -> Scratch:
    tables = plan.tables
    families, windows = len(tables.families), len(tables.windows)
    integers = np.zeros((len(tables.terms), kernel.BLOCK), np.int64)
    return Scratch(
        codes=np.zeros(kernel.CODES, np.int64),
        spans=np.zeros((windows, 4), np.int64),
        asked=np.zeros((windows, 3), np.int64),
        events=np.zeros(kernel.CHUNK, np.int64),
        mentions=np.zeros(kernel.CHUNK, np.int64),
        rows=np.zeros((kernel.CHUNK, families), np.int64),
        hits=np.zeros((kernel.CHUNK, families), np.int64),
        places=np.zeros((4, kernel.BLOCK), np.int64),
        memo=np.zeros(kernel.MEMO, np.int64),
        candidates=np.zeros((kernel.CANDIDATE, kernel.BLOCK), np.int64),
        integers=integers,
        floats=integers.view(np.float64),
        values=np.zeros((int(tables.sizes[1]), kernel.BLOCK), np.float64),
    )


def _check(arrays: Mapping[str, NDArray[Any]], like: Memory, n: int) -> None:
    for name in ("places", "rows", "slots", "meta"):
        wanted = getattr(like, name)
        array = arrays.get(name)
        if array is None or array.dtype != wanted.dtype or array.shape[1:] != wanted.shape[1:]:
            came = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise InputError(
                f"FeatureState.restored: {name!r} is {came}; wanted {wanted.dtype} "
                f"[…, {', '.join(map(str, wanted.shape[1:]))}]: these are not the arrays of a "
                "state of this view; fold the log instead"
            )
    meta = arrays["meta"]
    used = int(meta[kernel.M_USED]) if len(meta) == kernel.META else -1
    if n < 0 or used != len(arrays["rows"]) or int(meta[kernel.M_CAPACITY]) < used:
        raise InputError(
            f"FeatureState.restored: n={n}, {len(arrays['rows'])} words where the state says "
            f"{used}: the arrays are not of one state; fold the log instead"
        )


def surveyed(facts: Facts) -> tuple[Mentions, int]:
    """A part of the log as the kernel reads it, and how many slots it reaches.

    Raises:
        InputError: if a code is beyond what a packed key holds.
    """
    mentions = Mentions(
        _bytes(facts.events, EVENT_ROW),
        _bytes(facts.listings, LISTING_ROW),
        _read_only(facts.starts),
    )
    bits, slot = kernel.survey(mentions)
    if bits >= kernel.CODE_LIMIT:
        name, code = _beyond(facts)
        raise InputError(
            f"FeatureState: the code of a {name} is {code}; packed keys hold codes from 0 to "
            f"{kernel.CODE_LIMIT - 1}; split the system by market"
        )
    return mentions, slot + 1


def _beyond(facts: Facts) -> tuple[str, int]:
    """The field and the code that no packed key can hold."""
    fields = [(facts.events, name) for name in ("person", "seller", "query", "declared")]
    attributes = tuple(LISTING_ROW.fields or ())[1 : kernel.LISTING_CODES]
    fields += [(facts.listings, name) for name in attributes]
    for rows, name in fields:
        for code in rows[name].ravel().tolist():
            if not 0 <= code < kernel.CODE_LIMIT:
                return name, code
    return "field", -1


def _bytes(rows: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    """Rows of the log as flat bytes, as they lie; a copy only where they do not lie together."""
    if rows.dtype is not dtype and rows.dtype != dtype:  # comparing field by field takes a while
        raise ShapeError(f"FeatureState.apply: rows of {rows.dtype}; wanted {dtype}")
    return _read_only(np.ascontiguousarray(rows).view(np.uint8).reshape(-1))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to: the log's bytes cannot, and the kernel is compiled once."""
    array = array[:]
    array.flags.writeable = False
    return array


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for `size` rows, zeros behind."""
    if size <= len(array):
        return array
    grown = np.zeros((size, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
