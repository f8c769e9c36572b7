"""People: what each person did last, and whom and what they hide, block, follow and save."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import ENGAGEMENT_KINDS, KIND_CODE, Kind
from heirloom.core.facts import MAX_DECLARED, Facts

Array = NDArray[Any]

_LISTED, _HIDE, _SAVE, _UNSAVE, _BLOCK, _FOLLOW, _UNFOLLOW = (
    KIND_CODE[k]
    for k in (
        Kind.LISTED, Kind.HIDE, Kind.SAVE, Kind.UNSAVE, Kind.BLOCK, Kind.FOLLOW, Kind.UNFOLLOW
    )
)  # fmt: skip
_ACTION_KINDS = sum(1 << KIND_CODE[kind] for kind in ENGAGEMENT_KINDS)
"""What `recent` remembers."""
_CHOICE_KINDS = sum(1 << k for k in (_HIDE, _SAVE, _UNSAVE, _BLOCK, _FOLLOW, _UNFOLLOW))

_HIDDEN, _SAVED, _BLOCKED, _FOLLOWED = range(4)

_ACTION = np.dtype([("slot", "<i4"), ("opening", "<i4"), ("t_low", "<u4"), ("rest", "<u2")])
"""An action in 14 bytes. `rest` is the kind's code, 5 bits, above bits 32 to 42 of t in ms."""

_T_BITS = 43
_PER_CHUNK = 5
# Columns of _Memory.rows before its chunks, of _Memory.choices, and places in _Memory.meta.
_DONE, _FIRST, _CHUNKS = range(3)
_WHICH, _OF, _OPENING, _NEXT = range(4)
_OPENINGS, _ROWS, _USED, _CHOICES, _FREE = range(5)


class _Memory(NamedTuple):
    """What the compiled loop writes to. Where nothing was used, there are zeros.

    opening: [slots] int32 number of the slot's latest opening, 0 for none. row: [people] int32
    the person's row + 1, 0 for none. rows: [rows, 2 + chunks] int32 how many actions so far, the
    person's latest choice, the chunks (+ 1) that hold the ring of the last k actions: only as
    many as were needed. actions: [chunks, _PER_CHUNK] of _ACTION. choices: [choices, 4] int32
    what it is, slot or seller, opening, the choice before it; the one at 0 means none, and those
    that were taken back hang together from _FREE. meta: [5] int64, how many of each.
    """

    opening: Array
    row: Array
    rows: Array
    actions: Array
    choices: Array
    meta: Array


class People:
    """What the log's first n entries tell of each person. One writer; reads only read.

    However the log is cut into calls of `apply`, the answers are the same. A slot is remembered
    with the number of its opening, so that a listing in a reused slot is never taken for the one
    that was there before. Memory grows with what each person did, up to k actions.
    """

    def __init__(self, k: int = 50) -> None:
        if k < 1:
            raise InputError(f"People: k={k} actions to remember; wanted at least 1")
        self.k = k
        self.n = 0
        self._memory = _Memory(
            opening=np.zeros(0, np.int32),
            row=np.zeros(0, np.int32),
            rows=np.zeros((0, _CHUNKS - (-k // _PER_CHUNK)), np.int32),
            actions=np.zeros((0, _PER_CHUNK), _ACTION),
            choices=np.zeros((1, 4), np.int32),
            meta=np.array([0, 0, 0, 1, 0], np.int64),
        )
        self._declared = np.zeros((0, MAX_DECLARED), np.int32)  # [persons, declared]

    @classmethod
    def restored(cls, n: int, arrays: Mapping[str, NDArray[Any]]) -> "People":
        """The people whose `arrays()` at log offset n these are; it keeps copies.

        Raises:
            InputError: if they are not the arrays of people.
        """
        _check(arrays)
        people = cls(int(arrays["k"][0]))
        people.n = n
        people._memory = _Memory(*(arrays[name].copy() for name in _Memory._fields))
        people._declared = arrays["declared"].copy()
        people._reach(int(arrays["actions"]["slot"].max(initial=-1)), 0)
        of_slots = arrays["choices"][arrays["choices"][:, _WHICH] <= _SAVED, _OF]
        people._reach(int(of_slots.max(initial=-1)), 0)
        return people

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is known, by name, without the room kept for growth.

        Copies, for snapshots and laws: the same log prefix gives the same bytes.
        """
        memory, meta = self._memory, self._memory.meta
        return {
            "k": np.array([self.k], np.int64),
            "opening": _used(memory.opening),
            "row": _used(memory.row),
            "rows": memory.rows[: meta[_ROWS]].copy(),
            "actions": memory.actions[: meta[_USED]].copy(),
            "choices": memory.choices[: meta[_CHOICES]].copy(),
            "meta": meta.copy(),
            "declared": _used(self._declared),
        }

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(array.nbytes for array in (*self._memory, self._declared))

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log.

        Raises:
            InputError: if an entry was applied before, or has a time beyond 43 bits of ms. Then
                nothing of the part was folded.
        """
        if len(facts) == 0:
            return
        events = facts.events
        first, (t,) = int(events["seq"][0]), facts.of_events("t")
        if first < self.n:
            raise InputError(
                f"People.apply: entry {first} came again, {self.n} are applied; "
                f"hand over the log from offset {self.n}"
            )
        if t.min() < 0 or int(t.max()) >> _T_BITS:
            raise InputError(
                f"People.apply: times from {t.min()} to {t.max()} ms; wanted 0 to 2^{_T_BITS}: "
                "correct the log"
            )
        (slots,) = facts.of_listings("slot")
        self._reach(int(slots.max(initial=-1)), int(events["person"].max()))
        self._state(events["person"], events["declared"])
        kinds, persons, sellers = facts.of_events("kind", "person", "seller")
        columns = (facts.starts, kinds, persons, sellers, t, slots)
        done = 0
        while done < len(events):
            done = _fold(self._memory, self.k, done, *columns)
            if done < len(events):
                self._make_room(int(facts.starts[done + 1] - facts.starts[done]))
        self.n = int(events["seq"][-1]) + 1

    def recent(self, person: int) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]]:
        """The person's latest actions, newest first: slots, codes of kinds, times in ms.

        At most k of them, and only those whose slot still holds the listing it held then.
        """
        row = self._row_of(person)
        if row < 0:
            return np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64)
        slots, kinds, t = _recent(self._memory, row, self.k)
        return slots, kinds, t

    def declared(self, person: int) -> NDArray[np.int32]:
        """[MAX_DECLARED] int32, the code last stated of each declared attribute, 0 for none."""
        if not 0 < person < len(self._declared):
            return np.zeros(MAX_DECLARED, np.int32)
        declared: NDArray[np.int32] = self._declared[person].copy()
        return declared

    def hidden(self, person: int) -> set[int]:
        """Slots that the person hid."""
        return set(self._chosen(person, _HIDDEN))

    def saved(self, person: int) -> NDArray[np.int32]:
        """Slots that the person saved and did not unsave, in the order they were saved."""
        return np.array(self._chosen(person, _SAVED)[::-1], np.int32)

    def blocked(self, person: int) -> set[int]:
        """Codes of the sellers that the person blocked."""
        return set(self._chosen(person, _BLOCKED))

    def followed(self, person: int) -> set[int]:
        """Codes of the sellers that the person follows."""
        return set(self._chosen(person, _FOLLOWED))

    def _row_of(self, person: int) -> int:
        row = self._memory.row
        return int(row[person]) - 1 if 0 < person < len(row) else -1

    def _chosen(self, person: int, which: int) -> list[int]:
        """What the person chose of a kind, latest first; no slot that has another listing now."""
        memory, row = self._memory, self._row_of(person)
        at, found = int(memory.rows[row, _FIRST]) if row >= 0 else 0, []
        while at:
            what, of, opening, at = memory.choices[at].tolist()
            if what == which and (which > _SAVED or memory.opening[of] == opening):
                found.append(of)
        return found

    def _reach(self, slot: int, person: int) -> None:
        """Make room for all slots and persons up to these."""
        memory = self._memory
        self._memory = memory._replace(
            opening=_grown(memory.opening, slot + 1), row=_grown(memory.row, person + 1)
        )

    def _make_room(self, named: int) -> None:
        """For an event that names so many listings."""
        memory, meta = self._memory, self._memory.meta
        self._memory = memory._replace(
            rows=_grown(memory.rows, int(meta[_ROWS]) + 1),
            actions=_grown(memory.actions, int(meta[_USED]) + named),
            choices=_grown(memory.choices, int(meta[_CHOICES]) + named + 1),
        )

    def _state(self, persons: NDArray[np.int32], declared: NDArray[np.int32]) -> None:
        stated = np.flatnonzero((persons > 0) & declared.any(axis=1))
        if not len(stated):
            return
        self._declared = _grown(self._declared, int(persons[stated].max()) + 1)
        for j in range(MAX_DECLARED):
            rows = stated[declared[stated, j] != 0]
            self._declared[persons[rows], j] = declared[rows, j]  # of several, the last one stays


@njit(cache=True)
def _fold(
    memory: _Memory,
    k: int,
    begin: int,
    starts: Array,
    kinds: Array,
    persons: Array,
    sellers: Array,
    times: Array,
    slots: Array,
) -> int:
    """Fold events from `begin` on; the first for which there is no room, or how many there are."""
    opening, rows, meta = memory.opening, memory.rows, memory.meta
    for e in range(begin, len(kinds)):
        kind, person, named = kinds[e], persons[e], starts[e + 1] - starts[e]
        if kind == _LISTED:
            for m in range(starts[e], starts[e + 1]):
                if slots[m] >= 0:
                    meta[_OPENINGS] += 1
                    opening[slots[m]] = meta[_OPENINGS]
        acts, chooses = _ACTION_KINDS >> kind & 1, _CHOICE_KINDS >> kind & 1
        if person <= 0 or not (acts or chooses):
            continue
        if (
            meta[_ROWS] >= len(rows)
            or meta[_USED] + named > len(memory.actions)
            or meta[_CHOICES] + named + 1 > len(memory.choices)
        ):
            return e
        if memory.row[person] == 0:
            meta[_ROWS] += 1
            memory.row[person] = meta[_ROWS]
        row = memory.row[person] - 1
        if chooses and (sellers[e] != 0 or kind == _UNFOLLOW):
            _choose_seller(memory, row, kind, sellers[e])
        for m in range(starts[e], starts[e + 1]):
            slot = slots[m]
            if slot >= 0 and acts:
                _remember(memory, row, k, slot, kind, times[e])
            if slot >= 0 and chooses:
                _choose_slot(memory, row, kind, slot)
    return len(kinds)


@njit(cache=True)
def _remember(memory: _Memory, row: int, k: int, slot: int, kind: int, t: int) -> None:
    """Put an action into the ring of a person's row."""
    rows, meta = memory.rows, memory.meta
    place = rows[row, _DONE] % k
    chunk = _CHUNKS + place // _PER_CHUNK
    if rows[row, chunk] == 0:
        meta[_USED] += 1
        rows[row, chunk] = meta[_USED]
    action = memory.actions[rows[row, chunk] - 1]
    at = place % _PER_CHUNK
    action[at].slot = slot
    action[at].opening = memory.opening[slot]
    action[at].t_low = t & 0xFFFFFFFF
    action[at].rest = kind << _T_BITS - 32 | t >> 32
    rows[row, _DONE] += 1


@njit(cache=True)
def _recent(memory: _Memory, row: int, k: int) -> tuple[Array, Array, Array]:
    """What `People.recent` gives, of a row."""
    rows, done, found = memory.rows, memory.rows[row, _DONE], 0
    slots, kinds = np.empty(min(done, k), np.int32), np.empty(min(done, k), np.int8)
    t = np.empty(min(done, k), np.int64)
    for back in range(1, min(done, k) + 1):
        place = (done - back) % k
        action = memory.actions[rows[row, _CHUNKS + place // _PER_CHUNK] - 1][place % _PER_CHUNK]
        if memory.opening[action.slot] == action.opening:
            rest = np.int64(action.rest)
            slots[found], kinds[found] = action.slot, rest >> _T_BITS - 32
            t[found] = (rest & (1 << _T_BITS - 32) - 1) << 32 | np.int64(action.t_low)
            found += 1
    return slots[:found], kinds[:found], t[:found]


@njit(cache=True)
def _choose_seller(memory: _Memory, row: int, kind: int, seller: int) -> None:
    if kind == _BLOCK:
        _take_back(memory, row, _BLOCKED, seller)
        _add(memory, row, _BLOCKED, seller, 0)
    elif kind in (_FOLLOW, _UNFOLLOW):
        _take_back(memory, row, _FOLLOWED, seller)
        if kind == _FOLLOW:
            _add(memory, row, _FOLLOWED, seller, 0)


@njit(cache=True)
def _choose_slot(memory: _Memory, row: int, kind: int, slot: int) -> None:
    if kind == _HIDE:
        _take_back(memory, row, _HIDDEN, slot)
        _add(memory, row, _HIDDEN, slot, memory.opening[slot])
    elif kind in (_SAVE, _UNSAVE):
        _take_back(memory, row, _SAVED, slot)
        if kind == _SAVE:
            _add(memory, row, _SAVED, slot, memory.opening[slot])


@njit(cache=True)
def _add(memory: _Memory, row: int, which: int, of: int, opening: int) -> None:
    """Put a choice before all others of a person's row; there is room."""
    choices, rows, meta = memory.choices, memory.rows, memory.meta
    at = meta[_FREE]
    if at:
        meta[_FREE] = choices[at, _NEXT]
    else:
        at = meta[_CHOICES]
        meta[_CHOICES] += 1
    choices[at, _WHICH], choices[at, _OF] = which, of
    choices[at, _OPENING], choices[at, _NEXT] = opening, rows[row, _FIRST]
    rows[row, _FIRST] = at


@njit(cache=True)
def _take_back(memory: _Memory, row: int, which: int, of: int) -> None:
    """Take a choice out of a person's row, if it is there."""
    choices, rows, meta = memory.choices, memory.rows, memory.meta
    before, at = 0, rows[row, _FIRST]
    while at and (choices[at, _WHICH] != which or choices[at, _OF] != of):
        before, at = at, choices[at, _NEXT]
    if at == 0:
        return
    if before:
        choices[before, _NEXT] = choices[at, _NEXT]
    else:
        rows[row, _FIRST] = choices[at, _NEXT]
    choices[at] = 0
    choices[at, _NEXT] = meta[_FREE]
    meta[_FREE] = at


def _used(array: NDArray[Any]) -> NDArray[Any]:
    """A copy without the zero rows at the end."""
    rows = array.any(axis=1) if array.ndim > 1 else array != 0
    return array[: int(np.flatnonzero(rows).max(initial=-1)) + 1].copy()


def _check(arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, like in People().arrays().items():
        array = arrays.get(name)
        if array is None or array.dtype != like.dtype or array.ndim != like.ndim:
            came = "nothing" if array is None else f"{array.dtype} of {array.ndim} dimensions"
            raise InputError(
                f"People.restored: {name!r} is {came}; wanted {like.dtype} of {like.ndim}: these "
                "are not the arrays of people; fold the log instead"
            )
    rows, actions, choices = arrays["rows"], arrays["actions"], arrays["choices"]
    shapes = [arrays[name].shape[1:] for name in ("rows", "actions", "choices", "declared")]
    k = int(arrays["k"].max(initial=0))
    wanted = [(_CHUNKS - (-k // _PER_CHUNK),), (_PER_CHUNK,), (4,), (MAX_DECLARED,)]
    if (
        k < 1
        or shapes != wanted
        or arrays["meta"].shape != (5,)
        or arrays["meta"][1:4].tolist() != [len(rows), len(actions), len(choices)]
        or arrays["row"].max(initial=0) > len(rows)
        or rows[:, _CHUNKS:].max(initial=0) > len(actions)
        or max(rows[:, _FIRST].max(initial=0), choices[:, _NEXT].max()) >= len(choices)
    ):
        raise InputError("People.restored: the arrays are not of one state; fold the log instead")


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for `size` rows, zeros behind; at least an eighth more when it grows."""
    if size <= len(array):
        return array
    grown = np.zeros((max(size, len(array) * 9 // 8, 64), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
