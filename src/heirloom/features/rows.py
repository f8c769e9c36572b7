"""Rows: the state of one listing, one person or one shared key as bytes, for a store of bytes.

A store that many readers share (Redis) holds state, never values: a value would stand still, while
the windows of a state move on with the time of the request. `Packing` makes rows of a whole state,
`Unpacking` makes of the rows that one request needs a small state, on which the same kernel reads.
What is looked up there is what the whole state would have given, bit for bit. (What the state has
evicted since shows in no value; a store keeps it until the row is next written.)

A row holds all families of its key: a person's row also those of the person with a brand, a
category, a listing; a listing's row also those of the listing with a declared attribute, and the
listing's own attributes. Any other key (a seller, a brand in a category, a query with a listing)
has a row of its own, which all who ask share. The newest event's time, which every lookup needs,
is a part of the store's mark.

A row is little-endian int32 words: format, version, n (2 words), how many records (2); in a
listing's row its attributes as in kernel.Memory.slots32; then the records. A record is the family
and the key's other codes (2), a bit for each word of the family's row that is not 0, these words;
of a row that stands in the map of kernel.Memory, the family and codes (2) and that word (2).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, StoreError
from heirloom.core.facts import Facts
from heirloom.core.query import Request
from heirloom.core.row_store import EMPTY, RowsRead, fingerprints
from heirloom.features import kernel, row_kernel
from heirloom.features.kernel import Memory
from heirloom.features.plan import Plan
from heirloom.features.row_kernel import LISTING_ROW, OWN, PERSON_ROW, Pairs
from heirloom.features.state import FeatureState, _memory
from heirloom.features.view import FeatureView

Keys = NDArray[np.int64]
"""[keys, 2] int64: names of rows, as `Packing` and `Unpacking` use them; none has 0 first."""

_EVENT_FIELDS = ("kind", "person", "seller", "surface", "query")
_LISTING_FIELDS = ("slot", "seller", "brand", "category", "size", "colour", "condition")
_PART: Final = 256
"""Events handled at a time; the set of their keys has room for all."""


def version_word(version: str) -> int:
    """A view's version as the word that its rows carry.

    >>> version_word("00000010")
    16
    """
    return int(version[:8], 16)


def _plan_of(view: FeatureView) -> Plan:
    return view._plan


def _groups(view: FeatureView) -> NDArray[np.int64]:
    """[families, 2]: the group of rows in which a family stands, and where its owner's code is.

    The second is 0, 1 or 2 for that part of the key; OWN where the whole key is the row's.
    """
    families = _plan_of(view).tables.families
    groups = np.zeros((len(families), 2), np.int64)
    others: dict[tuple[int, ...], int] = {}
    for f, family in enumerate(families.tolist()):
        parts = (family[kernel.F_A], family[kernel.F_B], family[kernel.F_C])
        if kernel.K_PERSON in parts:
            groups[f] = PERSON_ROW, parts.index(kernel.K_PERSON)
        elif kernel.K_LISTING in parts and kernel.K_QUERY not in parts:
            groups[f] = LISTING_ROW, parts.index(kernel.K_LISTING)
        else:
            groups[f] = others.setdefault(parts, LISTING_ROW + 1 + len(others)), OWN
    return groups


class Packing:
    """Rows of a whole state, for the one writer.

    Args:
        view: the state's view.
        state: at any offset.
    """

    def __init__(self, view: FeatureView, state: FeatureState) -> None:
        self._state = state
        self._tables = _plan_of(view).tables
        self._groups = _groups(view)
        self._version = version_word(view.version)
        self._pairs = Pairs(
            seen=row_kernel.key_set(0),
            keys=np.zeros((1, 2), np.int64),
            following=np.zeros(1, np.int32),
            persons=np.zeros(0, np.int32),
            listings=np.zeros(0, np.int32),
            meta=np.zeros(1, np.int64),
        )
        self._words = np.zeros(1 << 14, np.int32)
        places = self._memory.places
        self._make_room(state.keys, self._largest_person())
        row_kernel.link_all(self._tables, self._groups, places, self._pairs)

    @property
    def n(self) -> int:
        """Log offset applied to the state."""
        return self._state.n

    @property
    def newest_ms(self) -> int:
        """Time of the newest event applied to the state."""
        return int(self._memory.meta[kernel.M_NEWEST])

    def touched(self, facts: Facts) -> Keys:
        """Keys of the rows that facts changed, each once. Call it after the state has applied them.

        Raises:
            InputError: the state has not applied them.
        """
        if len(facts) == 0:
            return np.zeros((0, 2), np.int64)
        last = int(facts.events["seq"][-1])
        if last >= self.n:
            raise InputError(
                f"Packing.touched: entry {last} is not in the state, which stands at {self.n}; "
                "apply the facts first"
            )
        events = np.stack(
            [facts.events[name].astype(np.int64) for name in _EVENT_FIELDS]
            + list(facts.events["declared"].astype(np.int64).T),
            axis=1,
        )
        listings = np.stack(
            [facts.listings[name].astype(np.int64) for name in _LISTING_FIELDS], axis=1
        )
        starts = facts.starts.astype(np.int64)
        families = len(self._tables.families)
        codes = np.zeros(kernel.CODES, np.int64)
        found = []
        for start in range(0, len(facts), _PART):
            stop = min(start + _PART, len(facts))
            named = int(starts[stop] - starts[start]) + stop - start
            self._make_room(named * families, int(events[:, 1].max()))
            keys = row_kernel.key_set(named * (families + 1))
            row_kernel.touched(
                self._tables, self._groups, self._memory, events[start:stop], listings,
                starts[start : stop + 1], codes, self._pairs, keys,
            )  # fmt: skip
            found.append(keys[keys[:, 0] != 0])
        return np.unique(np.concatenate(found), axis=0)

    def keys(self) -> Keys:
        """Keys of all rows that hold anything."""
        memory = self._memory
        numbers = memory.slots32[:, 0]
        slot_of = np.full(int(memory.meta[kernel.M_LISTINGS]) + 1, -1, np.int64)
        slot_of[numbers] = np.arange(len(numbers))
        slot_of[0] = -1
        keys = np.zeros((self._state.keys + 1, 2), np.int64)
        count = row_kernel.keys_of_map(self._tables, self._groups, memory.places, slot_of, keys)
        opened = row_kernel.row_keys(LISTING_ROW, np.flatnonzero(numbers) + 1)
        return np.unique(np.concatenate([keys[:count], opened]), axis=0)

    def packed(self, keys: Keys) -> list[bytes]:
        """The rows [keys], as of the state's n; b"" for one that holds nothing."""
        rows: list[bytes] = []
        ends = np.zeros(len(keys), np.int64)
        while len(rows) < len(keys):
            count = row_kernel.pack(
                self._tables, self._groups, self._memory, self._pairs, keys[len(rows) :],
                self._version, self.n, self._words, ends,
            )  # fmt: skip
            if count == 0:
                self._words = np.zeros(2 * len(self._words), np.int32)
                continue
            edges = [0, *(4 * ends[:count]).tolist()]
            blob = self._words[: int(ends[count - 1])].tobytes()
            rows += [blob[start:end] for start, end in pairwise(edges)]
        return rows

    @property
    def _memory(self) -> Memory:
        return self._state._memory

    def _largest_person(self) -> int:
        """The largest code of a person that a key of the state holds; 0 for none."""
        places, largest = self._memory.places, 0
        parts = (
            places[:, 0] >> 28 & row_kernel.CODE_MASK,
            places[:, 0] & row_kernel.CODE_MASK,
            places[:, 1] >> kernel.ROW_BITS,
        )
        for f in np.flatnonzero(self._groups[:, 0] == PERSON_ROW).tolist():
            mine = places[:, 0] >> 56 == f + 1
            largest = max(largest, int(parts[self._groups[f, 1]][mine].max(initial=0)))
        return largest

    def _make_room(self, more: int, person: int) -> None:
        """For so many pairs more, and for each person and listing that may have one."""
        pairs, listings = self._pairs, int(self._memory.meta[kernel.M_LISTINGS])
        used = int(pairs.meta[0])
        pairs = pairs._replace(
            keys=_grown(pairs.keys, used + more + 1),
            following=_grown(pairs.following, used + more + 1),
            persons=_grown(pairs.persons, person + 1),
            listings=_grown(pairs.listings, listings + 1),
        )
        if 2 * (used + more) > len(pairs.seen):
            pairs = pairs._replace(seen=row_kernel.key_set(2 * (used + more)))
            row_kernel.rehash(pairs.keys[1 : used + 1], pairs.seen)
        self._pairs = pairs


class Unpacking:
    """The small state that one request needs, for the many readers. For one thread at a time.

    It keeps the shared rows that it has read, as of the mark of its last read, and with each read
    hears which of them were written since: those are read again. So a request reads its listings'
    rows and its person's, and of the shared rows those that are new here or that changed.

    Which shared rows a lookup reads depends on the listings' attributes (brand, seller, …), which
    stand in the listings' rows. So it remembers the attributes of each slot as it last read them:
    the first look at a slot, and one after an edit of what a key is made of, takes a second read.

    Call `ask`; then, as long as `lacking` has keys, read them and hand them to `take`; then look up
    in `state`.

    Args:
        view: the view that the rows are of.
        room: keep at most about so many bytes of shared rows; then begin anew.

    Attributes:
        state: candidate i has slot i. Good from the `take` after which nothing is lacking, until
            the next `ask`.
        mark: where all that is kept stands.
    """

    def __init__(self, view: FeatureView, room: int = 1 << 28) -> None:
        self.mark = EMPTY
        self.state = FeatureState(view.columns, _plan_of(view))
        self._plan = _plan_of(view)
        self._groups = _groups(view)
        own = np.flatnonzero(self._groups[:, 1] == OWN)
        self._shared = own[np.unique(self._groups[own, 0], return_index=True)[1]]
        self._version = version_word(view.version)
        self._where = f"{view.name}@{view.version}"
        self._room = room
        self._kept = row_kernel.held(1 << 10)
        self._undo = np.zeros(1 << 12, np.int64)
        self._used = 0
        self._known = np.zeros((1, kernel.LISTING_CODES), np.int32)
        self._slots = np.zeros(0, np.int32)
        self._asked = np.zeros(kernel.CODES, np.int64)
        self._own = np.zeros((0, 2), np.int64)
        self._rows: list[bytes | None] | None = None
        self._settled = self._dropped = False

    def ask(self, request: Request, slots: NDArray[np.int32]) -> None:
        """Begin with a request and its candidates [candidates]; a slot below 0 reads as none."""
        self._known = _grown(self._known, int(slots.max(initial=-1)) + 1)
        asked = self._asked
        asked[kernel.K_ALL] = 1
        asked[kernel.K_PERSON] = request.person
        asked[kernel.K_SURFACE] = request.surface
        asked[kernel.K_QUERY] = request.text
        declared = len(request.declared)
        asked[kernel.K_DECLARED : kernel.K_DECLARED + declared] = request.declared
        asked[kernel.K_STATED : kernel.K_STATED + declared] = request.declared != 0
        listings = row_kernel.row_keys(LISTING_ROW, slots + np.int64(1))
        listings[slots < 0] = 0
        person = row_kernel.row_keys(PERSON_ROW, np.array([request.person][: request.person]))
        self._own = np.concatenate([listings, person])
        self._slots, self._rows, self._settled = slots, None, False

    def lacking(self) -> Keys:
        """Keys of what must still be read: the candidates' and the person's rows, shared rows.

        A slot below 0 has key 0, which no row has.
        """
        if self._settled:
            return self._own[:0]
        known = self._known[self._slots] * (self._slots >= 0)[:, None]
        room = len(self._slots) * len(self._shared)
        out = np.empty((room, 2), np.int64)
        count = row_kernel.wanted(
            self._plan.tables, self._groups, self._shared, self._asked, known, self._kept,
            row_kernel.key_set(room), out,
        )  # fmt: skip
        return out[:count] if self._rows is not None else np.concatenate([self._own, out[:count]])

    def take(self, keys: Keys, read: RowsRead) -> None:
        """Take over what was read under the keys that were lacking.

        Raises:
            StoreError: a row is of another view, or damaged. Nothing of it shows later.
        """
        row_kernel.take_back(self.state._memory, self._undo, self._used)
        self._settled = self._dropped = False
        if read.changed is None:
            self._forget_all()
        else:
            row_kernel.forget(self._kept, read.changed)
        shared = read.rows
        if self._rows is None:
            own = len(self._own)
            self._rows, shared, keys = read.rows[:own], read.rows[own:], keys[own:]
        elif read.changed is None or self._changed(read.changed):
            self._rows = None
        self.mark = read.mark
        self._keep(keys, shared)
        if self._rows is not None:
            known = self._unpack(self._rows)
            same = read.changed is not None and not len(read.changed)
            self._settled = known and same and not self._dropped
        self.state.n = read.mark.n
        self.state._memory.meta[kernel.M_NEWEST] = read.mark.newest_ms

    def _keep(self, keys: Keys, rows: Sequence[bytes | None]) -> None:
        starts, words = self._words(keys, rows)
        trouble = np.zeros(2, np.int64)
        while True:
            status = row_kernel.keep(
                self._plan.tables, self._groups, keys, starts, words, self._version,
                self.state._memory, self._kept, trouble,
            )  # fmt: skip
            if status != row_kernel.NO_ROOM:
                break
            self._grow()
        self._used = int(self.state._memory.meta[kernel.M_USED])
        self._refuse(status, keys, trouble)

    def _unpack(self, rows: Sequence[bytes | None]) -> bool:
        """Take over the request's own rows; whether the listings' attributes were known."""
        starts, words = self._words(self._own, rows)
        trouble, slots = np.zeros(2, np.int64), self._slots
        while True:
            memory = self.state._memory
            if len(slots) > len(memory.slots):
                self.state._grow_slots(len(slots))
                memory = self.state._memory
            memory.slots[: len(slots)] = 0
            status = row_kernel.unpack(
                self._plan.tables, self._groups, self._own, starts, words, self._version, memory,
                self._undo, trouble,
            )  # fmt: skip
            if status != row_kernel.NO_ROOM:
                break
            row_kernel.take_back(memory, self._undo, self._used)
            self._undo = np.zeros(2 * len(self._undo), np.int64)
            self._grow()
        self._refuse(status, self._own, trouble)
        found = memory.slots32[: len(slots), : kernel.LISTING_CODES]
        if np.array_equal(self._known[slots] * (slots >= 0)[:, None], found):
            return True
        there = slots >= 0
        self._known[slots[there]] = found[there]
        return False

    def _words(
        self, keys: Keys, rows: Sequence[bytes | None]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """[rows + 1] where each begins, and all of them one after another."""
        there = [row or b"" for row in rows]
        sizes = np.fromiter(map(len, there), np.int64, len(rows))
        odd = np.flatnonzero(sizes & 3)
        if len(odd):
            self._refuse(row_kernel.DAMAGED, keys, odd)
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(sizes // 4, out=starts[1:])
        return starts, np.frombuffer(b"".join(there), np.int32)

    def _refuse(self, status: int, keys: Keys, trouble: NDArray[np.int64]) -> None:
        if status == row_kernel.GOOD:
            return
        self._rows = None
        row = f"row {int(keys[trouble[0], 0]):#x}"
        if status == row_kernel.OF_ANOTHER:
            raise StoreError(
                f"{row}: it is of version {int(trouble[1]):08x} or of another layout of rows; "
                f"wanted {self._where}; let its writer write it anew"
            )
        raise StoreError(f"{row} of {self._where} is damaged; let its writer write it anew")

    def _changed(self, changed: NDArray[np.uint32]) -> bool:
        """Whether a row of this very request was written since it was read."""
        seen = np.zeros(1 << int(2 * len(self._own)).bit_length(), np.int64)
        return bool(row_kernel.meets(changed, fingerprints(self._own), seen))

    def _forget_all(self) -> None:
        memory = self.state._memory
        memory.places[:] = 0
        memory.meta[:] = 0
        self._kept.keys[:] = 0
        self._kept.meta[:] = 0
        self._used = 0

    def _grow(self) -> None:
        """Twice the room; or none of the shared rows, where that would be too much."""
        memory, kept = self.state._memory, self._kept
        size = memory.places.nbytes + memory.rows.nbytes + kept.keys.nbytes
        if 2 * size > self._room and self._used:
            self._forget_all()
            self._dropped = True
            return
        places = np.zeros((2 * len(memory.places), 2), np.int64)
        kernel.rehash(self._plan.tables, memory.places, places)
        self.state._memory = _memory(
            places, _grown(memory.rows, 2 * len(memory.rows)), memory.slots, memory.meta
        )
        self._kept = row_kernel.held(2 * len(kept.keys))
        row_kernel.rehold(kept, self._kept)


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for `size` rows, zeros behind; at least doubled where it grows."""
    if size <= len(array):
        return array
    grown = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
