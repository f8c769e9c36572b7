"""What is compiled for `rows.py`: which rows a part of the log touched, packing, unpacking.

Here alone stands how rows lie in `kernel.Memory`. The search in its map is written again rather
than imported: the compiler's cache of a file is renewed when that file changes, and only then.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.features import kernel
from heirloom.features.kernel import Array, Memory, Tables, _compiled, _inner

ROW_FORMAT: Final = 0x48520003
"""A row's first word. Another layout of rows needs another."""

PERSON_ROW, LISTING_ROW = 1, 2
"""Groups of rows; those of shared keys are numbered on from there."""
IN_MAP = 128
"""Added to a record's family where the record is what the map holds beside the key."""
OWN = 3
"""In the second column of `groups`: the row's key is the family's key."""

HEADER = 6
ATTRIBUTES = 2 * kernel.S_ROWS
"""Words of a listing's attributes: a row of Memory.slots32, without the rows reached by it."""
CODE_MASK = (1 << 28) - 1
WORD_MASK = 0xFFFFFFFF
_ONE = np.int64(1)
_MIX, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
# By (2^i x 0x077CB531 mod 2^32) >> 27: i. A de Bruijn sequence (Leiserson et al. 1998).
_BIT = np.zeros(32, np.int64)
for _i in range(32):
    _BIT[((1 << _i) * 0x077CB531 & WORD_MASK) >> 27] = _i
# What is wrong with a row.
GOOD, NO_ROOM, OF_ANOTHER, DAMAGED = range(4)


class Pairs(NamedTuple):
    """The keys that a person or a listing is a part of: linked lists, so that a row finds them all.

    seen: [capacity, 2] int64 open-addressing set of keys. keys: [pairs + 1, 2] int64 keys: family
    and two codes, third code. following: [pairs + 1] int32, the next of the same owner, 0 for none.
    persons, listings: int32 by code, the first of an owner. meta: [1] how many.
    """

    seen: Array
    keys: Array
    following: Array
    persons: Array
    listings: Array
    meta: Array


class Held(NamedTuple):
    """Which shared rows a reader keeps: an open-addressing map by fingerprint.

    keys: [capacity, 2] int64 the row's key (0: empty); its third code, and in the lowest bit
    whether the row still is what the store holds. meta: [1] int64 how many keys.
    """

    keys: Array
    meta: Array


def held(capacity: int) -> Held:
    """Nothing kept, with room for so many entries, empty ones included."""
    return Held(np.zeros((capacity, 2), np.int64), np.zeros(1, np.int64))


def key_set(size: int) -> NDArray[np.int64]:
    """An empty set for so many keys."""
    return np.zeros((1 << max(4, int(2 * size - 1).bit_length()), 2), np.int64)


@_inner
def _insert(keys: Array, key: Any, third: Any) -> Any:
    """Put a key into a set; whether it is new."""
    mixed = (np.uint64(key) ^ (np.uint64(third) << np.uint64(17))) * _MIX
    mixed ^= mixed >> np.uint64(31)
    mask = np.int64(len(keys) - 1)
    i: Any = np.int64(mixed >> np.uint64(1)) & mask
    while keys[i, 0] != 0 and (keys[i, 0] != key or keys[i, 1] != third):
        i = (i + 1) & mask
    new = keys[i, 0] == 0
    keys[i, 0] = key
    keys[i, 1] = third
    return new


@_inner
def _place(places: Array, key: Any, third: Any) -> Any:
    """As kernel._place and kernel._hash."""
    mixed = (np.uint64(key) ^ (np.uint64(third) << np.uint64(17))) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX_2
    i: Any = np.int64(((mixed >> np.uint64(32)) * np.uint64(len(places))) >> np.uint64(32))
    while places[i, 0] != 0 and (
        places[i, 0] != key or (third != 0 and places[i, 1] >> kernel.ROW_BITS != third)
    ):
        i += 1
        if i == len(places):
            i = 0
    return i


@_inner
def _third(f: Any, beside: Any, families: Array) -> Any:
    """As kernel._third."""
    return beside >> kernel.ROW_BITS if families[f, kernel.F_C] != kernel.K_ALL else np.int64(0)


@_inner
def _in_map(f: Any, place: Any, tables: Tables, memory: Memory) -> Any:
    """Whether the row of a key stands in the map itself; the contrary of kernel._in_arena."""
    here = tables.families[f, kernel.F_IN_MAP]
    packed = memory.places[place, 1] & kernel.PACKED != 0
    return here == kernel.TIME_HERE or (here == kernel.RING_HERE and packed)


@_inner
def _row_key(group: Any, a: Any, b: Any) -> Any:
    return (np.int64(group) << 56) | (np.int64(a) << 28) | np.int64(b)


def row_keys(group: int, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """[keys, 2] int64, names of the rows of a group that have one code."""
    keys = np.zeros((len(codes), 2), np.int64)
    keys[:, 0] = (np.int64(group) << 56) | (codes.astype(np.int64) << 28)
    return keys


@_inner
def _part(key: Any, third: Any, place: Any) -> Any:
    """A part of a key: 0, 1 or 2."""
    if place == 2:
        return third
    return (key >> 28) & CODE_MASK if place == 0 else key & CODE_MASK


@_inner
def _link(key: Any, third: Any, owner: Any, heads: Array, pairs: Pairs) -> None:
    """Remember a key of an owner, once."""
    if _insert(pairs.seen, key, third):
        pairs.meta[0] += 1
        at = pairs.meta[0]
        pairs.keys[at, 0] = key
        pairs.keys[at, 1] = third
        pairs.following[at] = heads[owner]
        heads[owner] = at


@_compiled
def rehash(keys: Array, seen: Array) -> None:
    """Put keys into an empty set."""
    for i in range(len(keys)):
        _insert(seen, keys[i, 0], keys[i, 1])


@_compiled
def link_all(tables: Tables, groups: Array, places: Array, pairs: Pairs) -> None:
    """Remember all keys of a state that a person or a listing is a part of."""
    for i in range(len(places)):
        key = places[i, 0]
        if key != 0:
            f = (key >> 56) - 1
            third = _third(f, places[i, 1], tables.families)
            owner = _part(key, third, groups[f, 1])
            if groups[f, 0] == PERSON_ROW:
                _link(key, third, owner, pairs.persons, pairs)
            elif groups[f, 0] == LISTING_ROW:
                _link(key, third, owner, pairs.listings, pairs)


@_compiled
def keys_of_map(tables: Tables, groups: Array, places: Array, slot_of: Array, out: Array) -> int:
    """Names of the rows that the keys of a state's map stand in, with repeats; how many.

    slot_of: [listing numbers] the slot, -1 where it has another listing by now.
    """
    count = 0
    for i in range(len(places)):
        key = places[i, 0]
        if key == 0:
            continue
        f = (key >> 56) - 1
        third = _third(f, places[i, 1], tables.families)
        out[count, 1] = 0
        if groups[f, 1] == OWN:
            out[count, 0] = _row_key(groups[f, 0], (key >> 28) & CODE_MASK, key & CODE_MASK)
            out[count, 1] = third
        elif groups[f, 0] == PERSON_ROW:
            out[count, 0] = _row_key(PERSON_ROW, _part(key, third, groups[f, 1]), 0)
        else:
            slot = slot_of[_part(key, third, groups[f, 1])]
            if slot < 0:
                continue
            out[count, 0] = _row_key(LISTING_ROW, slot + 1, 0)
        count += 1
    return count


@_compiled
def touched(
    tables: Tables,
    groups: Array,
    memory: Memory,
    events: Array,
    listings: Array,
    starts: Array,
    codes: Array,
    pairs: Pairs,
    out: Array,
) -> None:
    """Which rows events changed, once they are folded; keys new to an owner are remembered.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        memory: the state.
        events: [events, 5 + declared] int64 kind, person, seller, surface, query, declared.
        listings: [mentions, LISTING_CODES] int64 slot, seller, brand, …
        starts: [events + 1].
        codes: as kernel.Scratch has them: room to work in.
        pairs: written to.
        out: a set, written to.
    """
    families = tables.families
    codes[kernel.K_ALL] = 1
    for e in range(len(events)):
        kind = events[e, 0]
        codes[kernel.K_PERSON] = events[e, 1]
        codes[kernel.K_SURFACE] = events[e, 3]
        codes[kernel.K_QUERY] = events[e, 4]
        for d in range(events.shape[1] - 5):
            codes[kernel.K_DECLARED + d] = events[e, 5 + d]
            codes[kernel.K_STATED + d] = events[e, 5 + d] != 0
        named = starts[e + 1] - starts[e]
        for m in range(max(named, 1)):
            i = starts[e] + m
            for c in range(kernel.LISTING_CODES):
                codes[kernel.K_LISTING + c] = listings[i, c] if named > 0 else 0
            slot = listings[i, 0] if named > 0 else -1
            codes[kernel.K_LISTING] = memory.slots32[slot, 0] if slot >= 0 else 0
            if named == 0:
                codes[kernel.K_SELLER] = events[e, 2]
            if kind <= kernel.PRICE_CHANGED and slot >= 0:
                _insert(out, _row_key(LISTING_ROW, slot + 1, 0), 0)
            for j in range(tables.kind_starts[kind], tables.kind_starts[kind + 1]):
                f = tables.kind_families[j]
                a, b = codes[families[f, kernel.F_A]], codes[families[f, kernel.F_B]]
                third = codes[families[f, kernel.F_C]]
                if a <= 0 or b <= 0 or third <= 0:
                    continue
                if families[f, kernel.F_C] == kernel.K_ALL:
                    third = np.int64(0)
                if groups[f, 1] == OWN:
                    _insert(out, _row_key(groups[f, 0], a, b), third)
                    continue
                key = ((f + 1) << 56) | (a << 28) | b
                if groups[f, 0] == PERSON_ROW:
                    _insert(out, _row_key(PERSON_ROW, codes[kernel.K_PERSON], 0), 0)
                else:
                    _insert(out, _row_key(LISTING_ROW, slot + 1, 0), 0)
                # A listing that was in the slot before is not looked up any more, nor packed.
                if (
                    families[f, kernel.F_DIRECT] < 0
                    and memory.places[_place(memory.places, key, third), 0] != 0
                ):
                    if groups[f, 0] == PERSON_ROW:
                        _link(key, third, codes[kernel.K_PERSON], pairs.persons, pairs)
                    else:
                        _link(key, third, codes[kernel.K_LISTING], pairs.listings, pairs)


@_inner
def _write_long(words: Array, at: Any, value: Any) -> None:
    words[at] = np.int32(value & WORD_MASK)
    words[at + 1] = np.int32(value >> 32)


@_inner
def _long(words: Array, at: Any) -> Any:
    return (np.int64(words[at]) & WORD_MASK) | (np.int64(words[at + 1]) << 32)


@_inner
def _pack_row(
    f: Any, row: Any, others: Any, tables: Tables, memory: Memory, words: Array, at: Any
) -> Any:
    """Write a record; where it ends, or -1 for want of room."""
    width = 2 * tables.families[f, kernel.F_WORDS]
    mask_at, end = at + 2, at + 2 + ((width + 31) >> 5)
    if end + width > len(words):
        return np.int64(-1)
    _write_long(words, at, others << 8 | f)
    at = end
    for base in range(0, width, 32):
        mask = np.int64(0)
        for i in range(base, min(base + 32, width)):
            value = memory.rows32[2 * row + i]
            if value != 0:
                mask |= _ONE << (i - base)
                words[at] = value
                at += 1
        words[mask_at + (base >> 5)] = np.int32(mask)
    return at


@_inner
def _pack_place(
    f: Any, place: Any, others: Any, tables: Tables, memory: Memory, words: Array, at: Any
) -> Any:
    """Write the record of a key of the map; where it ends, or -1 for want of room.

    A row that stands in the map itself is a record of its one word, and says so at its family.
    """
    beside = memory.places[place, 1]
    if not _in_map(f, place, tables, memory):
        return _pack_row(f, beside & kernel.ROW_MASK, others, tables, memory, words, at)
    if at + 4 > len(words):
        return np.int64(-1)
    _write_long(words, at, others << 8 | IN_MAP | f)
    _write_long(words, at + 2, beside)
    return at + 4


@_compiled
def pack(
    tables: Tables,
    groups: Array,
    memory: Memory,
    pairs: Pairs,
    keys: Array,
    version: int,
    n: int,
    words: Array,
    ends: Array,
) -> int:
    """Write rows, one after another, and in `ends` where each ends; how many there was room for."""
    families, places = tables.families, memory.places
    at = np.int64(0)
    for k in range(len(keys)):
        start = at
        group, third = keys[k, 0] >> 56, keys[k, 1]
        a, b = (keys[k, 0] >> 28) & CODE_MASK, keys[k, 0] & CODE_MASK
        if start + HEADER + ATTRIBUTES > len(words):
            return k
        at += HEADER
        records = np.int64(0)
        pair: Any = np.int64(0)
        if group == PERSON_ROW:
            pair = np.int64(pairs.persons[a]) if a < len(pairs.persons) else pair
        elif group == LISTING_ROW:
            slot = a - 1
            if slot >= len(memory.slots) or memory.slots32[slot, 0] == 0:
                at = start
                ends[k] = at
                continue
            for c in range(ATTRIBUTES):
                words[at + c] = memory.slots32[slot, c]
            at += ATTRIBUTES
            number = memory.slots32[slot, 0]
            pair = np.int64(pairs.listings[number]) if number < len(pairs.listings) else pair
        for f in range(len(groups)):
            if groups[f, 0] != group or group == PERSON_ROW:
                continue
            before = at
            if families[f, kernel.F_DIRECT] >= 0:
                row = memory.slots[a - 1, kernel.S_ROWS + families[f, kernel.F_DIRECT]] - 1
                if row >= 0:
                    at = _pack_row(f, row, 0, tables, memory, words, at)
            elif groups[f, 1] == OWN:
                place = _place(places, ((f + 1) << 56) | (a << 28) | b, third)
                if places[place, 0] != 0:
                    at = _pack_place(f, place, 0, tables, memory, words, at)
            if at < 0:
                return k
            records += at > before
        while pair != 0:
            key, c = pairs.keys[pair, 0], pairs.keys[pair, 1]
            place = _place(places, key, c)
            if places[place, 0] != 0:
                f = (key >> 56) - 1
                owner = groups[f, 1]
                # The two codes that are not the owner's, in their order.
                left = _part(key, c, 1 if owner == 0 else 0)
                right = _part(key, c, 1 if owner == 2 else 2)
                at = _pack_place(f, place, right << 28 | left, tables, memory, words, at)
                if at < 0:
                    return k
                records += 1
            pair = np.int64(pairs.following[pair])
        if records == 0 and group != LISTING_ROW:
            at = start
        else:
            words[start] = ROW_FORMAT
            words[start + 1] = np.int32(version)
            _write_long(words, start + 2, n)
            _write_long(words, start + 4, records)
        ends[k] = at
    return len(keys)


@_inner
def _fingerprint(key: Any, third: Any) -> Any:
    """As core.row_store.fingerprints."""
    mixed = (np.uint64(key) ^ (np.uint64(third) << np.uint64(17))) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX_2
    return np.int64(mixed >> np.uint64(32))


@_inner
def _held_place(keys: Array, key: Any, third: Any) -> Any:
    """Index of a row in Held.keys, or of the empty place where it belongs."""
    i: Any = (_fingerprint(key, third) * len(keys)) >> 32
    while keys[i, 0] != 0 and (keys[i, 0] != key or keys[i, 1] >> 1 != third):
        i += 1
        if i == len(keys):
            i = np.int64(0)
    return i


@_compiled
def forget(kept: Held, changed: Array) -> None:
    """Rows with these fingerprints are not what the store holds any more."""
    keys = kept.keys
    for c in range(len(changed)):
        fingerprint = np.int64(changed[c])
        i: Any = (fingerprint * len(keys)) >> 32
        while keys[i, 0] != 0:
            if keys[i, 1] & 1 and _fingerprint(keys[i, 0], keys[i, 1] >> 1) == fingerprint:
                keys[i, 1] ^= 1
            i += 1
            if i == len(keys):
                i = np.int64(0)


@_compiled
def rehold(old: Held, new: Held) -> None:
    """Put all rows kept into a larger, empty map."""
    for i in range(len(old.keys)):
        if old.keys[i, 0] != 0:
            j = _held_place(new.keys, old.keys[i, 0], old.keys[i, 1] >> 1)
            new.keys[j, 0] = old.keys[i, 0]
            new.keys[j, 1] = old.keys[i, 1]
    new.meta[0] = old.meta[0]


@_compiled
def meets(changed: Array, mine: Array, seen: Array) -> bool:
    """Whether two lists of fingerprints have one in common. seen: zeros [2^k], room to work in."""
    mask = np.int64(len(seen) - 1)
    for m in range(len(mine)):
        i: Any = np.int64(mine[m]) & mask
        while seen[i] != 0:
            i = (i + 1) & mask
        seen[i] = np.int64(mine[m]) + 1
    for c in range(len(changed)):
        fingerprint = np.int64(changed[c])
        i = fingerprint & mask
        while seen[i] != 0:
            if seen[i] == fingerprint + 1:
                return True
            i = (i + 1) & mask
    return False


@_compiled
def wanted(
    tables: Tables,
    groups: Array,
    shared: Array,
    asked: Array,
    known: Array,
    kept: Held,
    seen: Array,
    out: Array,
) -> int:
    """Keys of the shared rows that a lookup reads and that are not kept, each once; how many.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        shared: a family of each group of shared rows.
        asked: codes, as kernel.Scratch has them, of the request; those of listings mean nothing.
        known: [candidates, LISTING_CODES] codes of the listings.
        kept: rows that need not be read.
        seen: an empty set, written to.
        out: [candidates * shared groups, 2] written to; those asked for stand there first.
    """
    families, keys = tables.families, kept.keys
    asked_for, count = np.int64(0), 0
    for i in range(len(known)):
        for c in range(kernel.LISTING_CODES):
            asked[kernel.K_LISTING + c] = known[i, c]
        for f in shared:
            a, b = asked[families[f, kernel.F_A]], asked[families[f, kernel.F_B]]
            third = asked[families[f, kernel.F_C]]
            if a > 0 and b > 0 and third > 0:
                if families[f, kernel.F_C] == kernel.K_ALL:
                    third = np.int64(0)
                key = _row_key(groups[f, 0], a, b)
                out[asked_for, 0] = key
                out[asked_for, 1] = third
                kernel._fetch(keys, 2 * ((_fingerprint(key, third) * len(keys)) >> 32))
                asked_for += 1
    for i in range(asked_for):
        key, third = out[i, 0], out[i, 1]
        place = _held_place(keys, key, third)
        if (keys[place, 0] == 0 or not keys[place, 1] & 1) and _insert(seen, key, third):
            out[count, 0] = key
            out[count, 1] = third
            count += 1
    return count


@_inner
def _place_for(key: Any, third: Any, memory: Memory, undo: Array) -> Any:
    """Index of a key in the small state's map, put there if it is new; -1 if it has no room.

    undo: [1 + keys] how many keys were new to the map, and their places in it; or [0], for none.
    """
    meta, places = memory.meta, memory.places
    place = _place(places, key, third)
    if places[place, 0] == 0:
        if 10 * (meta[kernel.M_KEYS] + 1) > 7 * len(places):
            return np.int64(-1)
        if len(undo) > 0:
            if undo[0] + 2 > len(undo):
                return np.int64(-1)
            undo[0] += 1
            undo[undo[0]] = place
        meta[kernel.M_KEYS] += 1
        places[place, 0] = key
    return place


@_inner
def _room_for(
    f: Any, k: Any, key: Any, third: Any, tables: Tables, memory: Memory, undo: Array
) -> Any:
    """Offset of a row of the small state's arena, one it has or a new one; -1 for want of room."""
    meta, places, width = memory.meta, memory.places, tables.families[f, kernel.F_WORDS]
    row, keys, direct = (
        meta[kernel.M_USED],
        meta[kernel.M_KEYS],
        tables.families[f, kernel.F_DIRECT],
    )
    if row + width > len(memory.rows):
        return np.int64(-1)
    if direct >= 0:
        memory.slots[k, kernel.S_ROWS + direct] = row + 1
    else:
        place = _place_for(key, third, memory, undo)
        if place < 0:
            return place
        if meta[kernel.M_KEYS] == keys and not _in_map(f, place, tables, memory):
            return places[place, 1] & kernel.ROW_MASK
        places[place, 1] = third << kernel.ROW_BITS | row
    meta[kernel.M_USED] += width
    return row


@_compiled
def take_back(memory: Memory, undo: Array, used: int) -> None:
    """Take the keys of the last request out of the small state, the last first: as it was."""
    for i in range(undo[0], 0, -1):
        memory.places[undo[i], 0] = 0
        memory.places[undo[i], 1] = 0
    memory.meta[kernel.M_KEYS] -= undo[0]
    memory.meta[kernel.M_USED] = used
    undo[0] = 0


@_inner
def _unpack_row(row: Any, width: Any, memory: Memory, words: Array, at: Any, stop: Any) -> Any:
    """Take over a record's words; where they end, or -1 if they are not whole."""
    for i in range(row, row + width):
        memory.rows[i] = 0
    mask_at = at
    at += (2 * width + 31) >> 5
    if at > stop:
        return np.int64(-1)
    for base in range(0, 2 * width, 32):
        mask = np.int64(words[mask_at + (base >> 5)]) & WORD_MASK
        while mask != 0:
            lowest = mask & -mask
            mask ^= lowest
            i = base + _BIT[((lowest * 0x077CB531) & WORD_MASK) >> 27]
            if at >= stop or i >= 2 * width:
                return np.int64(-1)
            memory.rows32[2 * row + i] = words[at]
            at += 1
    return at


@_inner
def _take(
    f: Any,
    k: Any,
    key: Any,
    third: Any,
    tables: Tables,
    memory: Memory,
    words: Array,
    at: Any,
    stop: Any,
    undo: Array,
) -> Any:
    """Take over the record of a key; where it ends, or -NO_ROOM or -DAMAGED."""
    here = tables.families[f, kernel.F_IN_MAP]
    if words[at] & IN_MAP:
        if at + 4 > stop or here == kernel.ELSEWHERE:
            return np.int64(-DAMAGED)
        beside = _long(words, at + 2)
        if here == kernel.RING_HERE and beside & kernel.PACKED == 0:
            return np.int64(-DAMAGED)
        place = _place_for(key, third, memory, undo)
        if place < 0:
            return np.int64(-NO_ROOM)
        memory.places[place, 1] = beside
        return at + 4
    if here == kernel.TIME_HERE:
        return np.int64(-DAMAGED)
    row = _room_for(f, k, key, third, tables, memory, undo)
    if row < 0:
        return np.int64(-NO_ROOM)
    at = _unpack_row(row, tables.families[f, kernel.F_WORDS], memory, words, at + 2, stop)
    return at if at >= 0 else np.int64(-DAMAGED)


@_inner
def _clear(f: Any, place: Any, tables: Tables, memory: Memory) -> None:
    """Make a key of the small state's map read as one that is not there."""
    if _in_map(f, place, tables, memory):
        ring = tables.families[f, kernel.F_IN_MAP] == kernel.RING_HERE
        memory.places[place, 1] = kernel.PACKED if ring else 0
        return
    row = memory.places[place, 1] & kernel.ROW_MASK
    for i in range(row, row + tables.families[f, kernel.F_WORDS]):
        memory.rows[i] = 0


@_inner
def _header(key: Any, at: Any, stop: Any, words: Array, version: Any, trouble: Array) -> Any:
    """GOOD where a row begins as one of this version does."""
    if at + HEADER + (ATTRIBUTES if key >> 56 == LISTING_ROW else 0) > stop:
        return DAMAGED
    trouble[1] = np.int64(words[at + 1]) & WORD_MASK
    if words[at] != ROW_FORMAT or trouble[1] != version:
        return OF_ANOTHER
    return GOOD


@_compiled
def keep(
    tables: Tables,
    groups: Array,
    keys: Array,
    starts: Array,
    words: Array,
    version: int,
    memory: Memory,
    kept: Held,
    trouble: Array,
) -> int:
    """Take shared rows into a small state, in the place of what it held of them.

    What a row no longer holds is cleared.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        keys: [rows, 2] int64.
        starts: [rows + 1] where each row begins in `words`; one without words is not there.
        words: int32.
        version: what each row must carry.
        memory: the small state, written to.
        kept: written to.
        trouble: [2] written to: which row is wrong, and what its version is.

    Returns:
        GOOD; NO_ROOM where a larger state or map is wanted first; OF_ANOTHER format or version;
        DAMAGED.
    """
    no_undo = trouble[:0]
    for k in range(len(keys)):
        at, stop = starts[k], starts[k + 1]
        group, third = keys[k, 0] >> 56, keys[k, 1]
        codes = keys[k, 0] & ((_ONE << 56) - 1)
        trouble[0] = k
        place = _held_place(kept.keys, keys[k, 0], third)
        if kept.keys[place, 0] == 0:
            if 10 * (kept.meta[0] + 1) > 7 * len(kept.keys):
                return NO_ROOM
            kept.meta[0] += 1
        kept.keys[place, 0] = keys[k, 0]
        kept.keys[place, 1] = third << 1
        for f in range(len(groups)):
            if groups[f, 0] == group:
                there = _place(memory.places, ((f + 1) << 56) | codes, third)
                if memory.places[there, 0] != 0:
                    _clear(f, there, tables, memory)
        if at < stop:
            status: int = _header(keys[k, 0], at, stop, words, version, trouble)
            if status != GOOD:
                return status
            records = _long(words, at + 4)
            at += HEADER
            for _ in range(records):
                if at + 2 > stop:
                    return DAMAGED
                f = _long(words, at) & (IN_MAP - 1)
                if f >= len(groups) or groups[f, 0] != group or groups[f, 1] != OWN:
                    return DAMAGED
                key = ((f + 1) << 56) | codes
                at = _take(f, k, key, third, tables, memory, words, at, stop, no_undo)
                if at < 0:
                    return int(-at)
            if at != stop:
                return DAMAGED
        kept.keys[place, 1] |= 1
    return GOOD


@_compiled
def unpack(
    tables: Tables,
    groups: Array,
    keys: Array,
    starts: Array,
    words: Array,
    version: int,
    memory: Memory,
    undo: Array,
    trouble: Array,
) -> int:
    """Take rows of listings and of a person into a small state; the i-th listing is in slot i.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        keys: [rows, 2] int64.
        starts: [rows + 1] where each row begins in `words`; one without words is not there.
        words: int32.
        version: what each row must carry.
        memory: the small state, written to.
        undo: for `take_back`, written to.
        trouble: [2] written to: which row is wrong, and what its version is.

    Returns:
        GOOD; NO_ROOM where a larger state is wanted first; OF_ANOTHER format or version; DAMAGED.
    """
    for k in range(len(keys)):
        at, stop = starts[k], starts[k + 1]
        if at == stop:
            continue
        group = keys[k, 0] >> 56
        trouble[0] = k
        status: int = _header(keys[k, 0], at, stop, words, version, trouble)
        if status != GOOD:
            return status
        records = _long(words, at + 4)
        at += HEADER
        owner = (keys[k, 0] >> 28) & CODE_MASK
        if group == LISTING_ROW:
            for c in range(ATTRIBUTES):
                memory.slots32[k, c] = words[at + c]
            owner = np.int64(memory.slots32[k, 0])
            at += ATTRIBUTES
        for _ in range(records):
            if at + 2 > stop:
                return DAMAGED
            head = _long(words, at)
            f, others = head & (IN_MAP - 1), head >> 8
            if f >= len(groups) or groups[f, 0] != group or groups[f, 1] == OWN:
                return DAMAGED
            left, right = others & CODE_MASK, (others >> 28) & CODE_MASK
            place = groups[f, 1]
            if place == 0:
                key, c = ((f + 1) << 56) | (owner << 28) | left, right
            elif place == 1:
                key, c = ((f + 1) << 56) | (left << 28) | owner, right
            else:
                key, c = ((f + 1) << 56) | (left << 28) | right, owner
            at = _take(f, k, key, c, tables, memory, words, at, stop, undo)
            if at < 0:
                return int(-at)
        if at != stop:
            return DAMAGED
    return GOOD
