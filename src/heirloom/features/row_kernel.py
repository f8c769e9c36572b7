"""What is compiled for `rows.py`: which rows a part of the log touched, packing, unpacking.

Here alone stands how rows lie in `kernel.Memory`. The few lines of `kernel.py` that are needed
(`_place`, how codes of a mention are gathered) are written again rather than imported: the
compiler's cache of a file is renewed when that file changes, and only then.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.features import kernel
from heirloom.features.kernel import Array, Memory, Mentions, Tables, _compiled, _inner

ROW_FORMAT: Final = 0x48520001
"""First word of a row. Another layout of rows needs another."""

PERSON_ROW, LISTING_ROW = 1, 2
"""Groups of rows; those of shared keys are numbered on from there."""

HEADER = 5
LISTING_HEADER = HEADER + kernel.LISTING_CODES + 4
CODE_MASK = (1 << 28) - 1
# By (2^i x 0x077CB531 mod 2^32) >> 27: i. A de Bruijn sequence; Leiserson et al. 1998.
_BIT = np.zeros(32, np.int64)
for _i in range(32):
    _BIT[((1 << _i) * 0x077CB531 & 0xFFFFFFFF) >> 27] = _i
# What is wrong with a row.
GOOD, NO_ROOM, OF_ANOTHER, DAMAGED = range(4)


class Pairs(NamedTuple):
    """Which pairs a person and a listing are part of: linked lists, so that a row finds them all.

    seen: [capacity] int64 open-addressing set of packed keys. keys: [pairs + 1] int64 packed keys.
    following: [pairs + 1] int32, the next pair of the same owner, 0 for none. persons, listings:
    [codes] int32, the first pair of an owner. meta: [1] how many pairs.
    """

    seen: Array
    keys: Array
    following: Array
    persons: Array
    listings: Array
    meta: Array


def key_set(size: int) -> NDArray[np.int64]:
    """An empty set for so many keys."""
    return np.zeros(1 << max(4, int(2 * size - 1).bit_length()), np.int64)


@_inner
def _mixed(key: Any) -> Any:
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(31))


@_inner
def _insert(keys: Array, key: Any) -> Any:
    """Put a key into a set; whether it is new."""
    mask = np.uint64(len(keys) - 1)
    i = np.int64(_mixed(key) & mask)
    while keys[i] != 0 and keys[i] != key:
        i = (i + 1) & np.int64(mask)
    new = keys[i] == 0
    keys[i] = key
    return new


@_inner
def _place(places: Array, key: Any) -> Any:
    """As kernel._place."""
    mask = np.uint64(len(places) - 1)
    i = np.int64(_mixed(key) & mask)
    while places[i, 0] != 0 and places[i, 0] != key:
        i = (i + 1) & np.int64(mask)
    return i


@_inner
def _row_key(group: Any, a: Any, b: Any) -> Any:
    return (np.int64(group) << 56) | (np.int64(a) << 28) | np.int64(b)


def row_keys(group: int, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """[codes] int64, names of the rows of a group whose keys have one part."""
    keys: NDArray[np.int64] = (np.int64(group) << 56) | (codes.astype(np.int64) << 28)
    return keys


@_inner
def _link(key: Any, owner: Any, heads: Array, pairs: Pairs) -> None:
    """Remember a pair of an owner, once."""
    if _insert(pairs.seen, key):
        pairs.meta[0] += 1
        at = pairs.meta[0]
        pairs.keys[at] = key
        pairs.following[at] = heads[owner]
        heads[owner] = at


@_compiled
def rehash(keys: Array, seen: Array) -> None:
    """Put keys into an empty set."""
    for i in range(len(keys)):
        _insert(seen, keys[i])


@_compiled
def link_all(groups: Array, places: Array, pairs: Pairs) -> None:
    """Remember all pairs of a state."""
    for i in range(len(places)):
        key = places[i, 0]
        if key == 0:
            continue
        f, a, b = (key >> 56) - 1, (key >> 28) & CODE_MASK, key & CODE_MASK
        if groups[f, 0] == PERSON_ROW:
            _link(key, a if groups[f, 1] == 0 else b, pairs.persons, pairs)
        elif groups[f, 0] == LISTING_ROW:
            _link(key, a if groups[f, 1] == 0 else b, pairs.listings, pairs)


@_compiled
def keys_of_map(groups: Array, places: Array, slot_of: Array, out: Array) -> int:
    """Names of the rows that the keys of a state's map stand in, with repeats; how many.

    slot_of: [listing numbers] the slot, -1 where it has another listing by now.
    """
    count = 0
    for i in range(len(places)):
        key = places[i, 0]
        if key == 0:
            continue
        f, a, b = (key >> 56) - 1, (key >> 28) & CODE_MASK, key & CODE_MASK
        group, owner = groups[f, 0], a if groups[f, 1] == 0 else b
        if groups[f, 1] == 2:
            out[count] = _row_key(group, a, b)
        elif group == PERSON_ROW:
            out[count] = _row_key(group, owner, 0)
        elif slot_of[owner] >= 0:
            out[count] = _row_key(group, slot_of[owner] + 1, 0)
        else:
            continue
        count += 1
    return count


@_compiled
def touched(
    tables: Tables,
    groups: Array,
    memory: Memory,
    mentions: Mentions,
    start: int,
    stop: int,
    codes: Array,
    pairs: Pairs,
    out: Array,
) -> None:
    """Which rows the events start to stop changed, once they are folded; new pairs are remembered.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        memory: the state.
        mentions: the part of the log.
        start: of the events in it.
        stop: of the events in it.
        codes: [kernel.CODES] room to work in.
        pairs: written to.
        out: a set, written to.
    """
    families = tables.families
    codes[kernel.K_ALL] = 1
    for e in range(start, stop):
        kind = mentions.events[e, 1]
        codes[kernel.K_PERSON] = mentions.events[e, 2]
        for i in range(mentions.declared.shape[1]):
            codes[kernel.K_DECLARED + i] = mentions.declared[e, i]
            codes[kernel.K_STATED + i] = mentions.declared[e, i] != 0
        named = mentions.starts[e + 1] - mentions.starts[e]
        for m in range(max(named, 1)):
            i = mentions.starts[e] + m if named > 0 else -1
            for c in range(kernel.LISTING_CODES):
                codes[kernel.K_LISTING + c] = mentions.listings[i, c] if i >= 0 else 0
            slot = mentions.listings[i, 0] if i >= 0 else -1
            codes[kernel.K_LISTING] = memory.slots[slot, 0] if slot >= 0 else 0
            if i < 0:
                codes[kernel.K_SELLER] = mentions.events[e, 3]
            if kind <= kernel.PRICE_CHANGED and slot >= 0:
                _insert(out, _row_key(LISTING_ROW, slot + 1, 0))
            for j in range(tables.kind_starts[kind], tables.kind_starts[kind + 1]):
                f = tables.kind_families[j]
                a = codes[families[f, kernel.F_A]]
                b = codes[families[f, kernel.F_B]]
                if a <= 0 or b <= 0:
                    continue
                if groups[f, 1] == 2:
                    _insert(out, _row_key(groups[f, 0], a, b))
                    continue
                key = ((f + 1) << 56) | (a << 28) | b
                # A listing that was in the slot before is not looked up any more, nor packed.
                known = memory.places[_place(memory.places, key), 0] != 0
                owner = a if groups[f, 1] == 0 else b
                if groups[f, 0] == PERSON_ROW:
                    _insert(out, _row_key(PERSON_ROW, owner, 0))
                    if known:
                        _link(key, owner, pairs.persons, pairs)
                else:
                    _insert(out, _row_key(LISTING_ROW, slot + 1, 0))
                    if known:
                        _link(key, owner, pairs.listings, pairs)


@_inner
def _write_long(words: Array, at: Any, value: Any) -> None:
    words[at] = np.int32(value & 0xFFFFFFFF)
    words[at + 1] = np.int32(value >> 32)


@_inner
def _long(words: Array, at: Any) -> Any:
    return (np.int64(words[at]) & 0xFFFFFFFF) | (np.int64(words[at + 1]) << 32)


@_inner
def _pack_family(
    f: Any, key: Any, partner: Any, tables: Tables, memory: Memory, words: Array, at: Any
) -> Any:
    """Write a record; where it ends, or `at` where the key has no row, or -1 for want of room."""
    place = _place(memory.places, key)
    if memory.places[place, 0] == 0:
        return at
    row, width = memory.places[place, 1], tables.families[f, kernel.F_WIDTH]
    bits = (width + 31) >> 5
    if at + 2 + bits + 2 * width > len(words):
        return np.int64(-1)
    words[at] = f
    words[at + 1] = partner
    mask_at = at + 2
    at = mask_at + bits
    counted = tables.families[f, kernel.F_MODE] == kernel.COUNT
    for base in range(bits):
        mask = np.int64(0)
        for i in range(32 * base, min(32 * base + 32, width)):
            value = np.int64(memory.counts[row + i]) if counted else memory.money[row + i]
            if value != 0:
                mask |= np.int64(1) << (i & 31)
                if counted:
                    words[at] = value
                    at += 1
                else:
                    _write_long(words, at, value)
                    at += 2
        words[mask_at + base] = np.int32(mask)
    return at


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
    at = np.int64(0)
    for k in range(len(keys)):
        start = at
        group = keys[k] >> 56
        a, b = (keys[k] >> 28) & CODE_MASK, keys[k] & CODE_MASK
        if start + LISTING_HEADER > len(words):
            return k
        at += HEADER
        records = np.int64(0)
        if group == LISTING_ROW:
            slot = a - 1
            if slot >= len(memory.slots) or memory.slots[slot, 0] == 0:
                at = start
                ends[k] = at
                continue
            for c in range(kernel.LISTING_CODES):
                words[at + c] = memory.slots[slot, c]
            _write_long(words, at + kernel.LISTING_CODES, memory.prices[slot])
            _write_long(words, at + kernel.LISTING_CODES + 2, memory.opened[slot])
            at += kernel.LISTING_CODES + 4
        if group <= LISTING_ROW:
            if group == PERSON_ROW:
                pair = pairs.persons[a] if a < len(pairs.persons) else 0
            else:
                number = memory.slots[a - 1, 0]
                pair = pairs.listings[number] if number < len(pairs.listings) else 0
            while pair != 0:
                key = pairs.keys[pair]
                f = (key >> 56) - 1
                left, right = (key >> 28) & CODE_MASK, key & CODE_MASK
                partner = right if groups[f, 1] == 0 else left
                end = _pack_family(f, key, partner, tables, memory, words, at)
                if end < 0:
                    return k
                records += end > at
                at = end
                pair = pairs.following[pair]
        else:
            for f in range(len(groups)):
                if groups[f, 0] == group:
                    key = ((f + 1) << 56) | (a << 28) | b
                    end = _pack_family(f, key, 0, tables, memory, words, at)
                    if end < 0:
                        return k
                    records += end > at
                    at = end
        if records == 0 and group != LISTING_ROW:
            at = start
        else:
            words[start] = ROW_FORMAT
            words[start + 1] = np.int32(version)
            _write_long(words, start + 2, n)
            words[start + 4] = records
        ends[k] = at
    return len(keys)


@_compiled
def wanted(
    tables: Tables, groups: Array, asked: Array, known: Array, seen: Array, out: Array
) -> int:
    """Keys of the shared rows and the person's row that a lookup reads, each once; how many.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        asked: [kernel.CODES] codes of the request; those of listings mean nothing.
        known: [candidates, LISTING_CODES] codes of the listings.
        seen: an empty set, written to.
        out: [candidates * families + 1] written to.
    """
    families = tables.families
    count = 0
    if asked[kernel.K_PERSON] > 0:
        out[0] = _row_key(PERSON_ROW, asked[kernel.K_PERSON], 0)
        count = 1
    for i in range(len(known)):
        for c in range(kernel.LISTING_CODES):
            asked[kernel.K_LISTING + c] = known[i, c]
        before = np.int64(0)
        for f in range(len(families)):
            if groups[f, 1] != 2 or groups[f, 0] == before:
                continue
            before = groups[f, 0]
            a, b = asked[families[f, kernel.F_A]], asked[families[f, kernel.F_B]]
            if a > 0 and b > 0:
                key = _row_key(groups[f, 0], a, b)
                if _insert(seen, key):
                    out[count] = key
                    count += 1
    return count


@_inner
def _unpack_family(
    f: Any, key: Any, tables: Tables, memory: Memory, words: Array, at: Any, stop: Any
) -> Any:
    """Take over a record's cells; where they end, or -1 if they do not fit, or -2 for no room."""
    width = tables.families[f, kernel.F_WIDTH]
    counted = tables.families[f, kernel.F_MODE] == kernel.COUNT
    bits = (width + 31) >> 5
    meta = memory.meta
    arena = kernel.M_COUNTS if counted else kernel.M_MONEY
    room = len(memory.counts) if counted else len(memory.money)
    if 2 * (meta[kernel.M_KEYS] + 1) > len(memory.places) or meta[arena] + width > room:
        return np.int64(-2)
    place = _place(memory.places, key)
    if memory.places[place, 0] == 0:
        memory.places[place, 0] = key
        memory.places[place, 1] = meta[arena]
        meta[arena] += width
        meta[kernel.M_KEYS] += 1
    row = memory.places[place, 1]
    mask_at = at
    at += bits
    if at > stop:
        return np.int64(-1)
    if counted:
        for i in range(row, row + width):
            memory.counts[i] = 0
    else:
        for i in range(row, row + width):
            memory.money[i] = 0
    for base in range(bits):
        mask = np.int64(words[mask_at + base]) & 0xFFFFFFFF
        while mask != 0:
            lowest = mask & -mask
            mask ^= lowest
            i = 32 * base + _BIT[((lowest * 0x077CB531) & 0xFFFFFFFF) >> 27]
            if i >= width or at + 2 - counted > stop:
                return np.int64(-1)
            if counted:
                memory.counts[row + i] = words[at]
                at += 1
            else:
                memory.money[row + i] = _long(words, at)
                at += 2
    return at


@_compiled
def unpack(
    tables: Tables,
    groups: Array,
    keys: Array,
    starts: Array,
    words: Array,
    version: int,
    memory: Memory,
    trouble: Array,
) -> int:
    """Make a small state of rows; the i-th key, where it is a listing's, becomes slot i.

    Args:
        tables: the view's plan.
        groups: [families, 2], rows._groups.
        keys: [rows] int64.
        starts: [rows + 1] where each row begins in `words`; one without words is not there.
        words: int32.
        version: what each row must carry.
        memory: an empty state, written to.
        trouble: [2] written to: which row is wrong, and what its version is.

    Returns:
        GOOD; NO_ROOM where the state must be made anew and larger; OF_ANOTHER format or version;
        DAMAGED.
    """
    for k in range(len(keys)):
        at, stop = starts[k], starts[k + 1]
        if at == stop:
            continue
        group = keys[k] >> 56
        a, b = (keys[k] >> 28) & CODE_MASK, keys[k] & CODE_MASK
        trouble[0] = k
        if at + (LISTING_HEADER if group == LISTING_ROW else HEADER) > stop:
            return DAMAGED
        trouble[1] = np.int64(words[at + 1]) & 0xFFFFFFFF
        if words[at] != ROW_FORMAT or trouble[1] != version:
            return OF_ANOTHER
        records = words[at + 4]
        at += HEADER
        owner = a
        if group == LISTING_ROW:
            for c in range(kernel.LISTING_CODES):
                memory.slots[k, c] = words[at + c]
            memory.prices[k] = _long(words, at + kernel.LISTING_CODES)
            memory.opened[k] = _long(words, at + kernel.LISTING_CODES + 2)
            owner = memory.slots[k, 0]
            at += kernel.LISTING_CODES + 4
        for _ in range(records):
            if at + 2 > stop:
                return DAMAGED
            f, partner = np.int64(words[at]), np.int64(words[at + 1])
            if f < 0 or f >= len(groups) or groups[f, 0] != group or partner < 0:
                return DAMAGED
            left, right = a, b
            if groups[f, 1] == 0:
                left, right = owner, partner
            elif groups[f, 1] == 1:
                left, right = partner, owner
            key = ((f + 1) << 56) | (left << 28) | right
            at = _unpack_family(f, key, tables, memory, words, at + 2, stop)
            if at == -2:
                return NO_ROOM
            if at < 0:
                return DAMAGED
        if at != stop:
            return DAMAGED
    return GOOD
