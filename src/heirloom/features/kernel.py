"""The one kernel: `fold` puts mentions into integer state, `read` makes floats of it, once.

Live serving, replay and tests call these same functions, which is why a served value can be
replayed bit for bit. State is integers only. Every float is made in `_finalise` and `_decayed`, in
float64, and cast once to float32; no fastmath, no other logarithm than `math.log`.

All rows lie in one arena of 8-byte words. A ring row holds for each window the epoch of its newest
bucket and the totals of its cells, then the buckets [buckets, cells] of each window: a row whose
window has not moved is read from its first words alone. What a row holds in the other modes is
said at `_touch_time`, `_touch_last` and `_touch_set`. A row of one word stands in the map itself,
beside its key, and so does a small ring while its counts are small: see `_touch_packed`.

The code is plain loops over scalars, in passes: a pass asks the memory for what the next one will
want, so that waiting overlaps. It is one file, long as it is, because the compiler's cache is
renewed when this file changes, and only then.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

KERNEL_VERSION: Final = 3
"""Part of every view's version. A change that alters any bit of any value needs a new one."""

Array = NDArray[Any]

# Modes of a family: what its rows hold. Rings of int64 (money), int32 and uint16; the latest and
# earliest time and code; the last k codes; a set of codes.
MONEY, WIDE, NARROW, LATEST, EARLIEST, LAST_K, DISTINCT = range(7)
# Positions in the code vector: algebra.STATICS.
K_ALL, K_LISTING, K_SELLER, K_CONDITION, K_PERSON, K_QUERY, K_SURFACE, K_DECLARED = (
    0, 1, 2, 7, 8, 9, 10, 11
)  # fmt: skip
K_STATED, K_HOUR, CODES = 19, 27, 28
# Rows of Scratch.candidates after the codes.
R_PRICE, R_OPENED, R_SLOT, CANDIDATE = 28, 29, 30, 31
DECLARED = 8
# Columns of Tables.families.
(
    F_MODE, F_A, F_B, F_C, F_CELLS, F_WORDS, F_LEVEL, F_LEVELS, F_CELL, F_TERM, F_TERMS, F_DIRECT,
    F_FIXED, F_WHERE, F_ROOM, F_SPAN, F_IN_MAP,
) = range(17)  # fmt: skip
# Columns of Tables.cells and of Tables.terms.
C_KINDS, C_SURFACES, C_FROM, C_TO, C_WHAT = range(5)
T_CELL, T_LEVEL, T_WEIGHTS, T_WHAT = range(4)
# Operations of the finaliser.
(
    OP_COUNT, OP_RATIO, OP_TREND, OP_SINCE, OP_AGE, OP_PRICE, OP_GAP, OP_LIFT, OP_GIVEN, OP_STATIC,
    OP_CODE, OP_DECAY,
) = range(12)  # fmt: skip
# Places in Memory.meta.
(
    M_EVENT, M_MENTION, M_KEYS, M_USED, M_LISTINGS, M_LATE, M_SATURATED, M_NEWEST, M_CAPACITY,
    M_EVICTED, M_SWEPT, M_KEPT,
) = range(12)  # fmt: skip
META = 12
# Columns of Memory.slots, and of its halves in Memory.slots32.
S_PRICE, S_OPENED, S_ROWS = 4, 5, 6
LISTING_CODES = 7
# Offsets in core.facts.EVENT_ROW and LISTING_ROW (plan.py checks).
E_T, E_KIND, E_SURFACE, E_PERSON, E_SELLER, E_DECLARED, E_QUERY, EVENT_BYTES = (
    8, 16, 17, 18, 22, 34, 66, 70
)  # fmt: skip
L_SLOT, L_POSITION, L_PRICE, LISTING_BYTES = 0, 28, 30, 38
# Kinds that write a listing's attributes: core.event.KIND_CODE (plan.py checks).
LISTED, PRICE_CHANGED = 0, 2

CODE_LIMIT = 1 << 28
MAX_FAMILIES = 126
MAX_CELLS = 62
INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1
UINT16_MAX = (1 << 16) - 1
HOUR_MS = 3_600_000
SWEEP_EVERY_MS = 24 * HOUR_MS
ROW_BITS = 35
ROW_MASK = (1 << ROW_BITS) - 1

# What the map holds beside a key: where its row is; the row, a time; the row, a packed ring.
ELSEWHERE, TIME_HERE, RING_HERE = range(3)
PACKED_COUNT_BITS, PACKED_EPOCH_BITS, PACKED_COUNTS_BITS = 9, 17, 45
PACKED = 1 << PACKED_COUNTS_BITS + PACKED_EPOCH_BITS
"""A packed ring: this bit, 17 bits of epoch, 9 bits of count for each of at most 5 buckets."""
_PACKED_COUNT = (1 << PACKED_COUNT_BITS) - 1
_PACKED_COUNTS = (1 << PACKED_COUNTS_BITS) - 1
_PACKED_EPOCH = (1 << PACKED_EPOCH_BITS) - 1
_PACKED_FULL = sum(256 << PACKED_COUNT_BITS * bucket for bucket in range(5))
"""A count of 256 and more: there is room for all that one CHUNK may still add."""

CHUNK = 16
"""Mentions folded in one go."""
BLOCK = 512
"""Candidates read in one go."""
TILE = 64
MEMO = 1024

DONE, FULL = range(2)
NO_ROW, NO_KEY = -1, -2


class Tables(NamedTuple):
    """A view's plan, int64 unless said otherwise; plan.py makes it and says what a family is.

    families: [families, 17] as the F_ names say. cells: [cells, 5] bit masks of the kinds and
    surfaces counted, first and last position counted (-1 to 32767: any), and what is kept: 1 if
    priced mentions are counted rather than their prices summed; or the attribute whose code is
    kept. windows: [windows, 3] hop and length in ms, buckets. levels: [levels, 3] window, offset
    of its epoch, offset of its buckets, both in the row and in the units of the family's mode.
    kind_starts, kind_families, kind_cells: those that count kind k are
    kind_families[kind_starts[k]:kind_starts[k + 1]], in the cells whose bits are set in
    kind_cells. terms: [terms, 4] cell and level, both within the family; where the weights of a
    decayed count begin, else -1; which word of the cell is wanted. weights: float64.
    features: [features, 9] operation, six arguments, column (-1: none), row among the operands
    (-1: none); an operand stands before what needs it. parameters: [features, 2] float64.
    sizes: [4] declared attributes used, operands, families reached by slot, families that keep
    codes.
    """

    families: Array
    cells: Array
    windows: Array
    levels: Array
    kind_starts: Array
    kind_families: Array
    kind_cells: Array
    terms: Array
    weights: Array
    features: Array
    parameters: Array
    sizes: Array


class Memory(NamedTuple):
    """The state, int64 unless said otherwise.

    places: [capacity, 2] open-addressing map: family and two codes of the key (0: empty); third
    code (0: the key has none) and offset of its row in the arena, or, of a family with F_IN_MAP,
    the row. rows: the arena; rows32, rows16: the same bytes.
    slots: [slots, 6 + families reached by slot] in the first four the listing's number (0: never
    listed), seller, brand, category, size, colour, condition as slots32 shows them; price in minor
    units, time listed, offset + 1 of its row in each family whose key is the listing (0: none).
    meta: [12] as the M_ names say.
    """

    places: Array
    rows: Array
    rows32: Array
    rows16: Array
    slots: Array
    slots32: Array
    meta: Array


class Scratch(NamedTuple):
    """Room to work in, int64 unless said otherwise; what stands in it means nothing.

    codes: [CODES]. spans: [windows, 4]. asked: [windows, 3]. events, mentions: [CHUNK]. rows,
    hits: [CHUNK, families]. places: [4, BLOCK]. memo: [MEMO]. candidates: [CANDIDATE, BLOCK] the
    codes of each, then as the R_ names say. integers: [terms, BLOCK]; floats: the same bytes as
    float64. values: [operands, BLOCK] float64.
    """

    codes: Array
    spans: Array
    asked: Array
    events: Array
    mentions: Array
    rows: Array
    hits: Array
    places: Array
    memo: Array
    candidates: Array
    integers: Array
    floats: Array
    values: Array


class Mentions(NamedTuple):
    """A part of the log as it is kept: bytes of EVENT_ROW and LISTING_ROW, [events + 1] starts."""

    events: Array
    listings: Array
    starts: Array


_Function = TypeVar("_Function", bound=Callable[..., Any])

# Without reference counting (`_nrt`: nothing may be allocated here, hence Scratch), inlined, and
# without exceptions for a division by zero: four times as fast, and half the time to compile.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
_INLINED: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True}


def _compiled(function: _Function) -> _Function:
    return cast(_Function, njit(cache=True, **_OPTIONS)(function))


def _inner(function: _Function) -> _Function:
    return cast(_Function, njit(**_OPTIONS, **_INLINED)(function))


def _loading(bits: int) -> Any:
    """A function (bytes, offset) -> int64: the signed integer that stands there, unaligned."""

    def load(_: Any, array: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            at = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(bits).as_pointer())
            value = builder.load(at, align=1)
            return builder.sext(value, ir.IntType(64)) if bits < 64 else value

        return types.int64(array, offset), generate

    return intrinsic(load)


_load8, _load16, _load32, _load64 = (_loading(bits) for bits in (8, 16, 32, 64))


def _fetching(_: Any, array: Any, item: Any) -> Any:
    """A function (array, flat index): asks the memory for that item, and waits for nothing."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        at = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [at.type, number, number, number])
        module: Any = builder.module
        function = module.globals.get(_PREFETCH) or ir.Function(module, kind, _PREFETCH)
        builder.call(function, [at, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, item), generate


_PREFETCH = "llvm.prefetch.p0"
_fetch: Any = intrinsic(_fetching)


@_inner
def _hash(places: Array, key: Any, third: Any) -> Any:
    """Index in the map at which the search for a key begins."""
    mixed = (np.uint64(key) ^ (np.uint64(third) << np.uint64(17))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(len(places))) >> np.uint64(32))


@_inner
def _place(places: Array, key: Any, third: Any, begin: Any) -> Any:
    """Index of a key in the map, or of the empty place where it belongs."""
    i = begin
    while places[i, 0] != 0 and (
        places[i, 0] != key or (third != 0 and places[i, 1] >> ROW_BITS != third)
    ):
        i += 1
        if i == len(places):
            i = 0
    return i


@_inner
def _third(f: Any, beside: Any, families: Array) -> Any:
    """Third code of a family's key, from what the map holds beside it; 0 for a key without."""
    return beside >> ROW_BITS if families[f, F_C] != K_ALL else np.int64(0)


@_compiled
def rehash(tables: Tables, old: Array, new: Array) -> None:
    """Put all keys of a map into a larger one."""
    for i in range(len(old)):
        if old[i, 0] != 0:
            third = _third((old[i, 0] >> 56) - 1, old[i, 1], tables.families)
            j = _place(new, old[i, 0], third, _hash(new, old[i, 0], third))
            new[j, 0] = old[i, 0]
            new[j, 1] = old[i, 1]


# --- fold ---------------------------------------------------------------------------------------


@_inner
def _advance(
    heads: Any, head: Any, cells: Any, base: Any, width: Any, buckets: Any, epoch: Any, spot: Any
) -> None:
    """Move a ring on to an epoch: what leaves it is cleared, and taken off the totals."""
    passed = epoch - heads[head]
    heads[head] = epoch
    left = np.int64(0)
    for c in range(width):
        left |= np.int64(heads[head + 1 + c])
    if left == 0:  # all totals are 0, so are the buckets
        return
    if passed >= buckets:
        for c in range(width):
            heads[head + 1 + c] = 0
        for i in range(base, base + buckets * width):
            cells[i] = 0
        return
    at = spot
    for _ in range(passed):
        for c in range(width):
            i = base + at * width + c
            if cells[i] != 0:
                heads[head + 1 + c] -= cells[i]
                cells[i] = 0
        at = at - 1 if at > 0 else buckets - 1


@_inner
def _touch_ring(
    heads: Any,
    head: Any,
    cells: Any,
    base: Any,
    bucket_limit: Any,
    total_limit: Any,
    f: Any,
    hit: Any,
    price: Any,
    spans: Array,
    tables: Tables,
    meta: Array,
) -> None:
    """Add one mention to each window and hit cell of a key's ring row."""
    families, levels, windows = tables.families, tables.levels, tables.windows
    width, mode = families[f, F_CELLS], families[f, F_MODE]
    first = families[f, F_LEVEL]
    for level in range(first, first + families[f, F_LEVELS]):
        w = levels[level, 0]
        epoch, spot, buckets = spans[w, 0], spans[w, 1], windows[w, 2]
        at, ring = head + levels[level, 1], base + levels[level, 2]
        if epoch > heads[at]:
            _advance(heads, at, cells, ring, width, buckets, epoch, spot)
        elif epoch <= heads[at] - buckets:
            meta[M_LATE] += 1
            continue
        for c in range(width):
            if (hit >> c) & 1:
                amount = np.int64(1)
                if mode == MONEY and tables.cells[families[f, F_CELL] + c, C_WHAT] == 0:
                    amount = price
                i = ring + spot * width + c
                room = min(bucket_limit - np.int64(cells[i]), total_limit - heads[at + 1 + c])
                if room < amount:
                    meta[M_SATURATED] += 1
                    amount = room
                cells[i] += amount
                heads[at + 1 + c] += amount


@_inner
def _touch_time(
    rows: Array, row: Any, t: Any, f: Any, hit: Any, codes: Array, tables: Tables
) -> None:
    """Keep the latest or earliest time of a key's mentions, and a code of that mention.

    A cell is the time in ms (0: none yet) and, where two words wide, the code. Of equal times the
    log's later one counts as the later, the earlier as the earlier.
    """
    families, cells = tables.families, tables.cells
    room = families[f, F_ROOM]
    for c in range(families[f, F_CELLS]):
        if (hit >> c) & 1:
            at = row + room * c
            known = rows[at]
            latest = families[f, F_MODE] == LATEST
            if known == 0 or (t >= known if latest else t < known):
                rows[at] = t
                if room == 2:
                    rows[at + 1] = codes[cells[families[f, F_CELL] + c, C_WHAT]]


@_inner
def _touch_last(
    rows32: Array, row: Any, t: Any, f: Any, hit: Any, codes: Array, tables: Tables
) -> None:
    """Keep the codes of a key's last k mentions, in the log's order.

    A row is int32: how many so far, then rings of k: of their minutes, then of each cell's codes.
    All cells of such a family count the same mentions.
    """
    families, cells = tables.families, tables.cells
    k = families[f, F_ROOM]
    if hit != 0:
        at = row + 1 + rows32[row] % k
        rows32[at] = t // 60_000
        for c in range(families[f, F_CELLS]):
            rows32[at + k * (c + 1)] = codes[cells[families[f, F_CELL] + c, C_WHAT]]
        rows32[row] += 1


@_inner
def _touch_set(
    rows: Array, row: Any, t: Any, f: Any, hit: Any, codes: Array, tables: Tables, meta: Array
) -> None:
    """Keep the codes that were mentioned latest, each once, with the time of its latest mention.

    A cell is `room` words of minute << 32 | code, 0 where free. A full set gives up its oldest,
    so the count in a window is exact up to `room`.
    """
    families, cells = tables.families, tables.cells
    room = families[f, F_ROOM]
    for c in range(families[f, F_CELLS]):
        code = codes[cells[families[f, F_CELL] + c, C_WHAT]]
        if (hit >> c) & 1 and code > 0:
            at = row + c * room
            entry = (t // 60_000) << 32 | code
            oldest: Any = at
            known: Any = np.int64(-1)
            for i in range(at, at + room):
                if rows[i] & 0xFFFFFFFF == code:
                    known = i
                if rows[i] < rows[oldest]:
                    oldest = i
            if known >= 0:
                rows[known] = max(rows[known], entry)
            elif entry > rows[oldest]:
                meta[M_SATURATED] += (rows[oldest] >> 32) * 60_000 > t - families[f, F_SPAN]
                rows[oldest] = entry


@_inner
def _touch_packed(f: Any, at: Any, spans: Array, tables: Tables, memory: Memory) -> None:
    """Add one mention to a ring that is one word of the map: PACKED, its epoch, its counts.

    Before a count or the epoch could outgrow its bits, `_unpack` makes an ordinary row of it.
    """
    w = tables.levels[tables.families[f, F_LEVEL], 0]
    epoch, spot, buckets = spans[w, 0], spans[w, 1], tables.windows[w, 2]
    word = memory.places[at, 1]
    newest, counts = (word >> PACKED_COUNTS_BITS) & _PACKED_EPOCH, word & _PACKED_COUNTS
    if epoch > newest:
        passed, bucket = min(epoch - newest, buckets), spot
        for _ in range(passed):
            counts &= ~(np.int64(_PACKED_COUNT) << (PACKED_COUNT_BITS * bucket))
            bucket = bucket - 1 if bucket > 0 else buckets - 1
        newest = epoch
    elif epoch <= newest - buckets:
        memory.meta[M_LATE] += 1
        return
    counts += np.int64(1) << (PACKED_COUNT_BITS * spot)
    memory.places[at, 1] = PACKED | newest << PACKED_COUNTS_BITS | counts


@_inner
def _unpack(f: Any, at: Any, tables: Tables, memory: Memory) -> None:
    """Make an ordinary row of a ring that is one word of the map."""
    row, level, word = memory.meta[M_USED], tables.families[f, F_LEVEL], memory.places[at, 1]
    head, ring = 2 * row + tables.levels[level, 1], 4 * row + tables.levels[level, 2]
    memory.rows32[head] = (word >> PACKED_COUNTS_BITS) & _PACKED_EPOCH
    for bucket in range(tables.windows[tables.levels[level, 0], 2]):
        count = (word >> (PACKED_COUNT_BITS * bucket)) & _PACKED_COUNT
        memory.rows16[ring + bucket] = count
        memory.rows32[head + 1] += count
    memory.places[at, 1] = row
    memory.meta[M_USED] += tables.families[f, F_WORDS]


@_inner
def _touch_here(
    f: Any, at: Any, hit: Any, t: Any, scratch: Scratch, tables: Tables, memory: Memory
) -> None:
    """Put one mention into a row that stands in the map, or did."""
    word = memory.places[at, 1]
    if tables.families[f, F_IN_MAP] == TIME_HERE:
        latest = tables.families[f, F_MODE] == LATEST
        if word == 0 or (t >= word if latest else t < word):
            memory.places[at, 1] = t
    elif word & PACKED:
        _touch_packed(f, at, scratch.spans, tables, memory)
    else:
        row = word & ROW_MASK
        _touch_ring(
            memory.rows32, 2 * row, memory.rows16, 4 * row, UINT16_MAX, INT32_MAX, f, hit,
            np.int64(0), scratch.spans, tables, memory.meta,
        )  # fmt: skip


@_inner
def _touch(
    f: Any, row: Any, hit: Any, t: Any, price: Any, scratch: Scratch, tables: Tables, memory: Memory
) -> None:
    """Put one mention into one row."""
    rows, rows32, meta, spans = memory.rows, memory.rows32, memory.meta, scratch.spans
    mode = tables.families[f, F_MODE]
    if tables.families[f, F_IN_MAP] != ELSEWHERE:
        _touch_here(f, row, hit, t, scratch, tables, memory)
    elif mode == NARROW:
        _touch_ring(
            rows32, 2 * row, memory.rows16, 4 * row, UINT16_MAX, INT32_MAX, f, hit, price, spans,
            tables, meta,
        )  # fmt: skip
    elif mode == WIDE:
        _touch_ring(
            rows32, 2 * row, rows32, 2 * row, INT32_MAX, INT32_MAX, f, hit, price, spans,
            tables, meta,
        )  # fmt: skip
    elif mode == MONEY:
        _touch_ring(rows, row, rows, row, INT64_MAX, INT64_MAX, f, hit, price, spans, tables, meta)
    elif mode == LAST_K:
        _touch_last(rows32, 2 * row, t, f, hit, scratch.codes, tables)
    elif mode == DISTINCT:
        _touch_set(rows, row, t, f, hit, scratch.codes, tables, meta)
    else:
        _touch_time(rows, row, t, f, hit, scratch.codes, tables)


@_inner
def _ask_for(f: Any, row: Any, spans: Array, tables: Tables, memory: Memory) -> None:
    """Ask the memory for what `_touch` will want of a row, by the newest buckets known."""
    families, levels = tables.families, tables.levels
    mode = families[f, F_MODE]
    if families[f, F_IN_MAP] != ELSEWHERE:
        return
    _fetch(memory.rows, row)
    if mode > NARROW:
        return
    width, first = families[f, F_CELLS], families[f, F_LEVEL]
    for level in range(first, first + families[f, F_LEVELS]):
        at = levels[level, 2] + spans[levels[level, 0], 1] * width
        _fetch(memory.rows, row + (at >> 2 if mode == NARROW else at >> 1 if mode == WIDE else at))


@_inner
def _write_listing(kind: Any, t: Any, slot: Any, mention: Any, data: Any, memory: Memory) -> None:
    """Keep a listing's attributes; a `listed` event opens the slot with a new listing number.

    Listing keys carry that number, not the slot: a reused slot inherits nothing. Rows that were
    reached by the slot are let go.
    """
    slots, slots32, meta = memory.slots, memory.slots32, memory.meta
    if kind == LISTED:
        meta[M_LISTINGS] += 1
        slots32[slot, 0] = meta[M_LISTINGS]
        slots[slot, S_OPENED] = t
        for d in range(S_ROWS, slots.shape[1]):
            slots[slot, d] = 0
    if slots32[slot, 0] > 0:
        for c in range(1, LISTING_CODES):
            slots32[slot, c] = _load32(data, mention * LISTING_BYTES + 4 * c)
        slots[slot, S_PRICE] = _load64(data, mention * LISTING_BYTES + L_PRICE)


@_inner
def _codes_of_event(event: Any, data: Any, declared: Any, codes: Array) -> None:
    codes[K_PERSON] = _load32(data, event + E_PERSON)
    codes[K_QUERY] = _load32(data, event + E_QUERY)
    codes[K_SURFACE] = _load8(data, event + E_SURFACE)
    for i in range(declared):
        codes[K_DECLARED + i] = _load32(data, event + E_DECLARED + 4 * i)
        codes[K_STATED + i] = codes[K_DECLARED + i] != 0


@_inner
def _codes_of_mention(event: Any, i: Any, mentions: Mentions, memory: Memory, codes: Array) -> Any:
    """Codes of the listing that mention i names; of none, but for the seller, if i < 0.

    Gives its slot, -1 for none.
    """
    if i < 0:
        for c in range(LISTING_CODES):
            codes[K_LISTING + c] = 0
        codes[K_SELLER] = _load32(mentions.events, event + E_SELLER)
        return np.int64(-1)
    at = i * LISTING_BYTES
    for c in range(1, LISTING_CODES):
        codes[K_LISTING + c] = _load32(mentions.listings, at + 4 * c)
    slot = _load32(mentions.listings, at + L_SLOT)
    codes[K_LISTING] = memory.slots32[slot, 0] if slot >= 0 else 0
    return slot


@_inner
def _hits(f: Any, cells: Any, surface: Any, position: Any, tables: Tables) -> Any:
    """Of a family's cells that count the kind, those that count the surface and position too."""
    hit, first = cells, tables.families[f, F_CELL]
    for c in range(tables.families[f, F_CELLS]):
        cell = first + c
        if not (
            (tables.cells[cell, C_SURFACES] >> surface) & 1
            and tables.cells[cell, C_FROM] <= position <= tables.cells[cell, C_TO]
        ):
            hit &= ~(np.int64(1) << c)
    return hit


@_inner
def _row(f: Any, slot: Any, t: Any, codes: Array, tables: Tables, memory: Memory) -> Any:
    """Offset of the row of a family's key, made if new; -1 if the key has an unknown part.

    Of a family whose rows stand in the map, the place there.
    """
    families, places, meta = tables.families, memory.places, memory.meta
    direct = families[f, F_DIRECT]
    if direct >= 0:
        if codes[K_LISTING] <= 0:
            return np.int64(-1)
        if memory.slots[slot, S_ROWS + direct] == 0:
            memory.slots[slot, S_ROWS + direct] = meta[M_USED] + 1
            meta[M_USED] += families[f, F_WORDS]
        return memory.slots[slot, S_ROWS + direct] - 1
    a, b, c = codes[families[f, F_A]], codes[families[f, F_B]], codes[families[f, F_C]]
    if a <= 0 or b <= 0 or c <= 0:
        return np.int64(-1)
    if families[f, F_C] == K_ALL:
        c = np.int64(0)
    key, here = ((f + 1) << 56) | (a << 28) | b, families[f, F_IN_MAP]
    at = _place(places, key, c, _hash(places, key, c))
    if places[at, 0] == 0:
        places[at, 0] = key
        meta[M_KEYS] += 1
        if here == ELSEWHERE:
            places[at, 1] = (c << ROW_BITS) | meta[M_USED]
            meta[M_USED] += families[f, F_WORDS]
        else:
            places[at, 1] = PACKED if here == RING_HERE else 0
    if here == ELSEWHERE:
        return places[at, 1] & ROW_MASK
    word = places[at, 1]
    if here == RING_HERE and word & PACKED and (word & _PACKED_FULL or t >= families[f, F_SPAN]):
        _unpack(f, at, tables, memory)
    return at


@_compiled
def survey(mentions: Mentions) -> Any:
    """The bits that any vocabulary code of a part of the log has, and its largest slot (-1: none).

    Two codes are looked at at once, as 64-bit words: this is paid for every batch.
    """
    events, listings = mentions.events, mentions.listings
    pairs, largest = np.int64(0), np.int64(-1)
    for e in range(len(mentions.starts) - 1):
        at = e * EVENT_BYTES
        pairs |= _load64(events, at + E_PERSON) | (_load32(events, at + E_QUERY) & 0xFFFFFFFF)
        for i in range(0, 4 * DECLARED, 8):
            pairs |= _load64(events, at + E_DECLARED + i)
    for m in range(len(listings) // LISTING_BYTES):
        at = m * LISTING_BYTES
        largest = max(largest, _load32(listings, at + L_SLOT))
        for c in range(4, 4 * LISTING_CODES, 8):
            pairs |= _load64(listings, at + c)
    return (pairs | (pairs >> 32)) & 0xFFFFFFFF, largest


@_inner
def _collect(mentions: Mentions, memory: Memory, scratch: Scratch) -> Any:
    """The next mentions from the cursor on: their events and numbers (-1: names no listing)."""
    starts, meta = mentions.starts, memory.meta
    e, m, n = meta[M_EVENT], meta[M_MENTION], np.int64(0)
    while n < CHUNK and e < len(starts) - 1:
        named = starts[e + 1] - starts[e]
        i = starts[e] + m if named > 0 else np.int64(-1)
        scratch.events[n] = e
        scratch.mentions[n] = i
        n += 1
        if i >= 0:
            slot = _load32(mentions.listings, i * LISTING_BYTES + L_SLOT)
            if slot >= 0:
                _fetch(memory.slots, slot * memory.slots.shape[1])
        m += 1
        if m >= named:
            m = np.int64(0)
            e += 1
    meta[M_EVENT] = e
    meta[M_MENTION] = m
    return n


@_inner
def _find_rows(
    n: Any, tables: Tables, memory: Memory, mentions: Mentions, scratch: Scratch, room: Any
) -> Any:
    """The rows of the n mentions collected; how many were done before there was no room."""
    meta, codes, starts = memory.meta, scratch.codes, mentions.starts
    families = len(tables.families)
    before = np.int64(-1)
    for x in range(n):
        e, i = scratch.events[x], scratch.mentions[x]
        if 4 * (meta[M_KEYS] + families) > 3 * len(memory.places) or meta[M_USED] + room > len(
            memory.rows
        ):
            meta[M_EVENT] = e
            meta[M_MENTION] = max(i - starts[e], 0) if i >= 0 else 0
            return np.int64(x)
        event = e * EVENT_BYTES
        kind, t = _load8(mentions.events, event + E_KIND), _load64(mentions.events, event + E_T)
        if e != before:
            _codes_of_event(event, mentions.events, tables.sizes[0], codes)
            before = e
        if kind <= PRICE_CHANGED and i >= 0:
            slot = _load32(mentions.listings, i * LISTING_BYTES + L_SLOT)
            if slot >= 0:
                _write_listing(kind, t, slot, i, mentions.listings, memory)
        slot = _codes_of_mention(event, i, mentions, memory, codes)
        position, price = np.int64(-1), np.int64(0)
        if i >= 0:
            position = _load16(mentions.listings, i * LISTING_BYTES + L_POSITION)
            price = _load64(mentions.listings, i * LISTING_BYTES + L_PRICE)
        first = tables.kind_starts[kind]
        for j in range(first, tables.kind_starts[kind + 1]):
            f, hit = tables.kind_families[j], tables.kind_cells[j]
            if tables.families[f, F_WHERE]:
                hit = _hits(f, hit, codes[K_SURFACE], position, tables)
            row = np.int64(-1)
            if hit != 0 and (tables.families[f, F_MODE] != MONEY or price > 0):
                row = _row(f, slot, t, codes, tables, memory)
            scratch.rows[x, j - first] = row
            scratch.hits[x, j - first] = hit
            if row >= 0:
                _ask_for(f, row, scratch.spans, tables, memory)
    return n


@_inner
def _spans_of(t: Any, spans: Array, windows: Array) -> None:
    """Epoch and bucket of t in each window; no division while t stays in the buckets known."""
    for w in range(len(windows)):
        if t < spans[w, 2] or t >= spans[w, 3]:
            spans[w, 0] = t // windows[w, 0]
            spans[w, 1] = spans[w, 0] % windows[w, 2]
            spans[w, 2] = spans[w, 0] * windows[w, 0]
            spans[w, 3] = spans[w, 2] + windows[w, 0]


@_compiled
def fold(tables: Tables, memory: Memory, mentions: Mentions, scratch: Scratch, room: int) -> int:
    """Fold mentions from the cursor in `memory.meta` on.

    Args:
        tables: the view's plan.
        memory: the state, written to.
        mentions: the part of the log; every slot has its row in `memory.slots`.
        scratch: room to work in.
        room: words that one mention may need in the arena.

    Returns:
        DONE; or FULL where the map or the arena must make room before the next mention (which
        mention that is depends on the log alone): make room, call again.
    """
    meta, codes, starts = memory.meta, scratch.codes, mentions.starts
    codes[K_ALL] = 1
    keeps_codes = tables.sizes[3] > 0
    while meta[M_EVENT] < len(starts) - 1:
        n = _collect(mentions, memory, scratch)
        done = _find_rows(n, tables, memory, mentions, scratch, room)
        for x in range(done):
            e, i = scratch.events[x], scratch.mentions[x]
            event = e * EVENT_BYTES
            t = _load64(mentions.events, event + E_T)
            kind = _load8(mentions.events, event + E_KIND)
            meta[M_NEWEST] = max(meta[M_NEWEST], t)
            _spans_of(t, scratch.spans, tables.windows)
            if keeps_codes:
                _codes_of_event(event, mentions.events, tables.sizes[0], codes)
                _codes_of_mention(event, i, mentions, memory, codes)
            price = np.int64(0)
            if i >= 0:
                price = _load64(mentions.listings, i * LISTING_BYTES + L_PRICE)
            first = tables.kind_starts[kind]
            for j in range(first, tables.kind_starts[kind + 1]):
                row = scratch.rows[x, j - first]
                if row >= 0:
                    _touch(
                        tables.kind_families[j], row, scratch.hits[x, j - first], t, price,
                        scratch, tables, memory,
                    )  # fmt: skip
        if done < n:
            return FULL
    meta[M_EVENT] = 0
    meta[M_MENTION] = 0
    return DONE


# --- read ---------------------------------------------------------------------------------------


@_inner
def _window_total(
    heads: Any,
    head: Any,
    cells: Any,
    base: Any,
    width: Any,
    cell: Any,
    buckets: Any,
    first: Any,
    spot: Any,
    last: Any,
) -> Any:
    """Sum of one cell over the buckets first to last; `spot` is first % buckets.

    The total stands in the row; what has left the window since is taken off it, or, where more
    has left than stayed, what stayed is summed.
    """
    epoch, total = np.int64(heads[head]), np.int64(heads[head + 1 + cell])
    if total == 0 or first > epoch:
        return np.int64(0)
    oldest = epoch - buckets + 1
    if first <= oldest and epoch <= last:
        return total
    if first < oldest:
        spot += oldest - first
        spot -= buckets * (spot // buckets)
        first = oldest
    stayed, gone = min(last, epoch) - first + 1, first - oldest
    if epoch > last or stayed < gone:
        total = np.int64(0)
        for _ in range(stayed):
            total += np.int64(cells[base + spot * width + cell])
            spot = spot + 1 if spot + 1 < buckets else 0
        return total
    for _ in range(gone):
        spot = spot - 1 if spot > 0 else buckets - 1
        total -= np.int64(cells[base + spot * width + cell])
    return total


@_inner
def _decayed(
    heads: Any,
    head: Any,
    cells: Any,
    base: Any,
    width: Any,
    cell: Any,
    buckets: Any,
    first: Any,
    last: Any,
    weights: Array,
    at: Any,
) -> Any:
    """Sum of count x weight over the buckets last to first, in that order, float64."""
    epoch, total = np.int64(heads[head]), 0.0
    if heads[head + 1 + cell] == 0:
        return total
    newest, oldest = min(last, epoch), max(first, epoch - buckets + 1)
    if newest < oldest:
        return total
    spot = newest % buckets
    for back in range(newest - oldest + 1):
        count = np.int64(cells[base + spot * width + cell])
        if count > 0:
            total += count * weights[at + last - newest + back]
        spot = spot - 1 if spot > 0 else buckets - 1
    return total


@_inner
def _read_ring(
    f: Any, i: Any, heads: Any, head: Any, cells: Any, base: Any, scratch: Scratch, tables: Tables,
) -> None:  # fmt: skip
    """Fill the integers wanted of one ring row."""
    families, levels, terms, asked = tables.families, tables.levels, tables.terms, scratch.asked
    width = families[f, F_CELLS]
    for term in range(families[f, F_TERM], families[f, F_TERM] + families[f, F_TERMS]):
        level = families[f, F_LEVEL] + terms[term, T_LEVEL]
        w, weights = levels[level, 0], terms[term, T_WEIGHTS]
        at, ring = head + levels[level, 1], base + levels[level, 2]
        buckets, first, last = tables.windows[w, 2], asked[w, 0], asked[w, 2]
        if weights < 0:
            scratch.integers[term, i] = _window_total(
                heads, at, cells, ring, width, terms[term, T_CELL], buckets, first, asked[w, 1],
                last,
            )  # fmt: skip
        else:
            scratch.floats[term, i] = _decayed(
                heads, at, cells, ring, width, terms[term, T_CELL], buckets, first, last,
                tables.weights, weights,
            )  # fmt: skip


@_inner
def _in_last(
    f: Any, row: Any, cell: Any, reached: Any, code: Any, tables: Tables, rows32: Array
) -> Any:
    """How many of the last k mentions had a code, of those within the family's span."""
    k, since = tables.families[f, F_ROOM], (reached - tables.families[f, F_SPAN]) // 60_000
    count = np.int64(0)
    for i in range(row + 1, row + 1 + min(np.int64(rows32[row]), k)):
        count += rows32[i + k * (cell + 1)] == code and rows32[i] >= since
    return count


@_inner
def _in_set(
    f: Any, row: Any, cell: Any, k: Any, scratch: Scratch, tables: Tables, rows: Array
) -> Any:
    """How many codes of a set were mentioned in a window."""
    room, w = tables.families[f, F_ROOM], tables.levels[tables.families[f, F_LEVEL] + k, 0]
    hop, first, last = tables.windows[w, 0], scratch.asked[w, 0], scratch.asked[w, 2]
    count = np.int64(0)
    for i in range(row + cell * room, row + (cell + 1) * room):
        epoch = (rows[i] >> 32) * 60_000 // hop
        count += rows[i] != 0 and first <= epoch <= last
    return count


@_inner
def _packed_total(word: Any, buckets: Any, first: Any, last: Any) -> Any:
    """Sum of a packed ring over the buckets first to last."""
    newest, total = (word >> PACKED_COUNTS_BITS) & _PACKED_EPOCH, np.int64(0)
    begin, end = max(first, newest - buckets + 1), min(last, newest)
    if begin > end:
        return total
    bucket = begin % buckets
    for _ in range(end - begin + 1):
        total += (word >> (PACKED_COUNT_BITS * bucket)) & _PACKED_COUNT
        bucket = bucket + 1 if bucket + 1 < buckets else 0
    return total


@_inner
def _read_here(f: Any, at: Any, i: Any, scratch: Scratch, tables: Tables, memory: Memory) -> None:
    """Fill the integers wanted of a row that stands in the map, or did."""
    families, word = tables.families, memory.places[at, 1]
    if families[f, F_IN_MAP] == RING_HERE and word & PACKED == 0:
        row = word & ROW_MASK
        _read_ring(f, i, memory.rows32, 2 * row, memory.rows16, 4 * row, scratch, tables)
        return
    value = word
    if families[f, F_IN_MAP] == RING_HERE:
        w = tables.levels[families[f, F_LEVEL], 0]
        value = _packed_total(word, tables.windows[w, 2], scratch.asked[w, 0], scratch.asked[w, 2])
    for term in range(families[f, F_TERM], families[f, F_TERM] + families[f, F_TERMS]):
        scratch.integers[term, i] = value


@_inner
def _read_row(
    f: Any, row: Any, i: Any, reached: Any, scratch: Scratch, tables: Tables, memory: Memory
) -> None:
    """Fill the integers wanted of candidate i's key: 0 where it has no row, -1 for no key.

    A decayed count is a float in the same place: 0.0 and NaN.
    """
    families, terms = tables.families, tables.terms
    mode, first = families[f, F_MODE], families[f, F_TERM]
    rows, rows32 = memory.rows, memory.rows32
    if mode == LAST_K:
        for term in range(first, first + families[f, F_TERMS]):
            cell = terms[term, T_CELL]
            code = scratch.candidates[tables.cells[families[f, F_CELL] + cell, C_WHAT], i]
            value = np.int64(-1)
            if row != NO_KEY and code > 0:
                value = np.int64(0)
                if row >= 0:
                    value = _in_last(f, 2 * row, cell, reached, code, tables, rows32)
            scratch.integers[term, i] = value
    elif row < 0:
        for term in range(first, first + families[f, F_TERMS]):
            scratch.integers[term, i] = 0 if row == NO_ROW else -1  # as floats: 0.0 and NaN
    elif families[f, F_IN_MAP] != ELSEWHERE:
        _read_here(f, row, i, scratch, tables, memory)
    elif mode == NARROW:
        _read_ring(f, i, rows32, 2 * row, memory.rows16, 4 * row, scratch, tables)
    elif mode == WIDE:
        _read_ring(f, i, rows32, 2 * row, rows32, 2 * row, scratch, tables)
    elif mode == MONEY:
        _read_ring(f, i, rows, row, rows, row, scratch, tables)
    else:
        for term in range(first, first + families[f, F_TERMS]):
            cell = terms[term, T_CELL]
            if mode == DISTINCT:
                value = _in_set(f, row, cell, terms[term, T_LEVEL], scratch, tables, rows)
            else:
                value = rows[row + families[f, F_ROOM] * cell + terms[term, T_WHAT]]
            scratch.integers[term, i] = value


@_inner
def _gather(slots: Array, start: Any, n: Any, memory: Memory, scratch: Scratch) -> None:
    """What is known of n candidates: the codes of each, price, time listed, slot (-1: none)."""
    candidates = scratch.candidates
    for i in range(n):
        slot = np.int64(slots[start + i])
        if not 0 <= slot < len(memory.slots):
            slot = np.int64(-1)
        candidates[R_SLOT, i] = slot
        if slot >= 0:
            _fetch(memory.slots, slot * memory.slots.shape[1])
    for part in range(CODES):
        code = scratch.codes[part]
        if not K_LISTING <= part <= K_CONDITION:
            for i in range(n):
                candidates[part, i] = code
    for i in range(n):
        slot = candidates[R_SLOT, i]
        known = slot >= 0
        for c in range(LISTING_CODES):
            candidates[K_LISTING + c, i] = memory.slots32[slot, c] if known else 0
        candidates[R_PRICE, i] = memory.slots[slot, S_PRICE] if known else 0
        candidates[R_OPENED, i] = memory.slots[slot, S_OPENED] if known else 0


@_inner
def _find(f: Any, n: Any, tables: Tables, memory: Memory, scratch: Scratch) -> None:
    """Find the rows of a family's keys for n candidates.

    In `scratch.places`: [0] the row, or the place of one that stands in the map; [3] a candidate
    before with the same key, or itself.
    """
    families, places, at, memo = tables.families, memory.places, scratch.places, scratch.memo
    candidates, direct = scratch.candidates, families[f, F_DIRECT]
    if direct >= 0:
        for i in range(n):
            at[3, i] = i
            at[0, i] = NO_KEY
            if candidates[K_LISTING, i] > 0:
                at[0, i] = memory.slots[candidates[R_SLOT, i], S_ROWS + direct] - 1
                if at[0, i] >= 0:
                    for word in range(0, families[f, F_WORDS], 8):
                        _fetch(memory.rows, at[0, i] + word)
        return
    first, second, third = families[f, F_A], families[f, F_B], families[f, F_C]
    here = families[f, F_IN_MAP] != ELSEWHERE
    for i in range(n):
        a, b, c = candidates[first, i], candidates[second, i], candidates[third, i]
        at[1, i] = ((f + 1) << 56) | (a << 28) | b if a > 0 and b > 0 and c > 0 else np.int64(0)
        at[2, i] = c if third != K_ALL else np.int64(0)
    for i in range(n):
        key, c = at[1, i], at[2, i]
        at[3, i] = i
        if key == 0:
            at[0, i] = NO_KEY
            continue
        spot = (key ^ (key >> 28) ^ c) & (MEMO - 1)
        same = memo[spot]
        if same < i and at[1, same] == key and at[2, same] == c:
            at[3, i] = same
            continue
        memo[spot] = i
        at[0, i] = _hash(places, key, c)
        _fetch(places, 2 * at[0, i])
    for i in range(n):
        if at[3, i] == i and at[1, i] != 0:
            found = _place(places, at[1, i], at[2, i], at[0, i])
            if places[found, 0] == 0:
                at[0, i] = NO_ROW
            elif here:
                at[0, i] = found
            else:
                at[0, i] = places[found, 1] & ROW_MASK
                _fetch(memory.rows, at[0, i])


@_inner
def _read_family(
    f: Any, n: Any, reached: Any, tables: Tables, memory: Memory, scratch: Scratch
) -> None:
    """Fill the integers of one family for n candidates; each key is read once."""
    families, at, integers = tables.families, scratch.places, scratch.integers
    fixed = families[f, F_FIXED] != 0  # the same key for all candidates
    _find(f, np.int64(1) if fixed else n, tables, memory, scratch)
    own = families[f, F_MODE] == LAST_K  # the value depends on more than the key
    for i in range(n if own or not fixed else 1):
        same = np.int64(0) if fixed else at[3, i]
        if own or same == i:
            _read_row(f, at[0, same], np.int64(i), reached, scratch, tables, memory)
    if own or families[f, F_DIRECT] >= 0:
        return
    for term in range(families[f, F_TERM], families[f, F_TERM] + families[f, F_TERMS]):
        for i in range(1, n):
            integers[term, i] = integers[term, 0 if fixed else at[3, i]]


@_inner
def _lift(j: Any, i: Any, strength: Any, features: Array, integers: Array) -> Any:
    """The naive-Bayes term of algebra.Lift, from its six counts."""
    both, listing = integers[features[j, 1], i], integers[features[j, 2], i]
    category_value, category = integers[features[j, 3], i], integers[features[j, 4], i]
    value, everything = integers[features[j, 5], i], integers[features[j, 6], i]
    if both < 0 or value < 0:
        return math.nan
    prior = (value + 0.5) / (everything + 1.0)
    upper = prior
    if category_value >= 0:
        upper = (category_value + strength * prior) / (category + strength)
    return math.log((both + strength * upper) / (listing + strength)) - math.log(prior)


@_inner
def _finalise(j: Any, i: Any, t: Any, reached: Any, tables: Tables, scratch: Scratch) -> Any:
    """One feature's value of candidate i, float64: where integers become floats."""
    features, parameters, integers = tables.features, tables.parameters, scratch.integers
    op, a = features[j, 0], features[j, 1]
    if op == OP_RATIO:
        x, y = integers[a, i], integers[features[j, 2], i]
        hits, trials, toward = parameters[j, 0], parameters[j, 1], features[j, 3]
        if toward >= 0 and not math.isnan(scratch.values[toward, i]):
            hits = trials * scratch.values[toward, i]
        return (x + hits) / (y + trials) if x >= 0 and y >= 0 and y + trials > 0.0 else math.nan
    if op == OP_COUNT:
        return np.float64(integers[a, i]) if integers[a, i] >= 0 else math.nan
    if op == OP_SINCE:
        x = integers[a, i]
        within = x > 0 and reached - x <= parameters[j, 0]
        return max(t - x, 0) / HOUR_MS if within else math.nan
    if op == OP_DECAY:
        return scratch.floats[a, i]
    if op == OP_STATIC:
        code = scratch.candidates[a, i]
        return np.float64(code) if code > 0 or a == K_HOUR else math.nan
    if op == OP_AGE:
        opened = scratch.candidates[R_OPENED, i]
        return max(t - opened, 0) / HOUR_MS if opened > 0 else math.nan
    price = scratch.candidates[R_PRICE, i]
    if op == OP_PRICE:
        return math.log(np.float64(price)) if price > 0 else math.nan
    if op == OP_LIFT:
        return _lift(j, i, parameters[j, 0], features, integers)
    x, y = integers[a, i], integers[features[j, 2], i]
    if op == OP_TREND:
        return math.log((x + 1.0) / (y * parameters[j, 0] + 1.0)) if x >= 0 else math.nan
    if op == OP_CODE:  # x the time, y the code
        recent = x > 0 and reached - x <= parameters[j, 0]
        return np.float64(y) if recent and y > 0 else math.nan
    if price > 0 and x > 0 and y > 0:  # OP_GAP
        return math.log(np.float64(price)) - math.log(x / y)
    return math.nan


@_inner
def _finalise_all(
    n: Any,
    start: Any,
    t: Any,
    reached: Any,
    given: Array,
    tables: Tables,
    scratch: Scratch,
    out: Array,
) -> None:
    """All features of n candidates, tile by tile: the loop over candidates is the inner one."""
    features = tables.features
    for tile in range(0, n, TILE):
        end = min(tile + TILE, n)
        for j in range(len(features)):
            column, operand = features[j, 7], features[j, 8]
            if features[j, 0] == OP_GIVEN:
                for i in range(tile, end):
                    out[start + i, column] = given[features[j, 1], start + i]
                continue
            for i in range(tile, end):
                value = _finalise(j, i, t, reached, tables, scratch)
                if operand >= 0:
                    scratch.values[operand, i] = value
                if column >= 0:
                    out[start + i, column] = value


@_compiled
def read(
    tables: Tables,
    memory: Memory,
    asked: Array,
    slots: Array,
    given: Array,
    scratch: Scratch,
    out: Array,
) -> None:
    """Values of a view's columns as of a moment. The state is only read.

    A window ends at t, and begins where it would begin at t or at the newest event folded,
    whichever is later: what a ring has passed since, or the state has let go, shows in no value.

    Args:
        tables: the view's plan.
        memory: the state.
        asked: [4 + declared] the request's t, person, surface, query, declared codes.
        slots: [candidates] int32.
        given: [givens, candidates] float32, in the order of the plan.
        scratch: room to work in.
        out: [candidates, columns] float32, written to.
    """
    windows, codes, t = tables.windows, scratch.codes, asked[0]
    reached = max(t, memory.meta[M_NEWEST])
    codes[K_ALL] = 1
    codes[K_PERSON] = asked[1]
    codes[K_SURFACE] = asked[2]
    codes[K_QUERY] = asked[3]
    codes[K_HOUR] = (t // HOUR_MS) % 24
    for i in range(len(asked) - 4):
        codes[K_DECLARED + i] = asked[4 + i]
        codes[K_STATED + i] = asked[4 + i] != 0
    for w in range(len(windows)):
        scratch.asked[w, 0] = (reached - windows[w, 1]) // windows[w, 0]
        scratch.asked[w, 1] = scratch.asked[w, 0] % windows[w, 2]
        scratch.asked[w, 2] = t // windows[w, 0]
    for start in range(0, len(slots), BLOCK):
        n = min(len(slots) - start, BLOCK)
        _gather(slots, start, n, memory, scratch)
        for f in range(len(tables.families)):
            _read_family(f, n, reached, tables, memory, scratch)
        _finalise_all(n, start, t, reached, given, tables, scratch, out)


# --- sweep --------------------------------------------------------------------------------------


@_inner
def _active(f: Any, row: Any, newest: Any, tables: Tables, memory: Memory) -> Any:
    """Whether a row can still show in a value once the newest event is of time `newest`.

    Of a family whose rows stand in the map, `row` is the place there.
    """
    families, levels, windows = tables.families, tables.levels, tables.windows
    mode, rows, rows32 = families[f, F_MODE], memory.rows, memory.rows32
    width, span = families[f, F_CELLS], families[f, F_SPAN]
    if families[f, F_IN_MAP] == TIME_HERE:
        return mode == EARLIEST or newest - memory.places[row, 1] <= span
    if families[f, F_IN_MAP] == RING_HERE:
        word = memory.places[row, 1]
        if word & PACKED:
            w = levels[families[f, F_LEVEL], 0]
            epoch = (word >> PACKED_COUNTS_BITS) & _PACKED_EPOCH
            return epoch >= (newest - windows[w, 1]) // windows[w, 0]
        row = word & ROW_MASK
    if mode <= NARROW:
        for level in range(families[f, F_LEVEL], families[f, F_LEVEL] + families[f, F_LEVELS]):
            w, at = levels[level, 0], levels[level, 1]
            epoch = rows[row + at] if mode == MONEY else np.int64(rows32[2 * row + at])
            if epoch >= (newest - windows[w, 1]) // windows[w, 0]:
                return True
        return False
    if mode == EARLIEST:
        return True
    room = families[f, F_ROOM]
    if mode == LAST_K:
        for i in range(2 * row + 1, 2 * row + 1 + min(np.int64(rows32[2 * row]), room)):
            if np.int64(rows32[i]) * 60_000 >= newest - span - 60_000:
                return True
        return False
    for c in range(width):
        if mode == LATEST:
            if rows[row + room * c] > 0 and newest - rows[row + room * c] <= span:
                return True
        else:
            for i in range(row + c * room, row + (c + 1) * room):
                if (rows[i] >> 32) * 60_000 >= newest - span - 60_000 and rows[i] != 0:
                    return True
    return False


@_inner
def _alive(f: Any, key: Any, third: Any, tables: Tables, live: Array) -> Any:
    """Whether the listing in a key, if any, still stands in its slot."""
    families = tables.families
    if families[f, F_A] == K_LISTING:
        return live[(key >> 28) & (CODE_LIMIT - 1)] != 0
    if families[f, F_B] == K_LISTING:
        return live[key & (CODE_LIMIT - 1)] != 0
    if families[f, F_C] == K_LISTING:
        return live[third] != 0
    return True


@_compiled
def mark(tables: Tables, memory: Memory, live: Array, totals: Array) -> None:
    """Mark what no value can show any more: its key in the map or offset in its slot becomes 0.

    Then the map cannot be searched any more; `move` makes a new one.

    Args:
        tables: the view's plan.
        memory: the state.
        live: [listings + 1] uint8, zeros; room to work in.
        totals: [3] written to: keys of the map and words that stay, rows that go.
    """
    slots, places, newest = memory.slots, memory.places, memory.meta[M_NEWEST]
    families = tables.families
    keys, words, gone = np.int64(0), np.int64(0), np.int64(0)
    for slot in range(len(slots)):
        live[memory.slots32[slot, 0]] = 1
    live[0] = 0
    for f in range(len(families)):
        d = families[f, F_DIRECT]
        for slot in range(len(slots) if d >= 0 else 0):
            _ask_ahead(slots, slot, 16, S_ROWS + d, memory.rows)
            row = slots[slot, S_ROWS + d] - 1
            if row >= 0:
                if _active(f, row, newest, tables, memory):
                    words += families[f, F_WORDS]
                else:
                    slots[slot, S_ROWS + d] = 0
                    gone += 1
    for i in range(len(places)):
        _ask_ahead(places, i, 16, 1, memory.rows)
        key = places[i, 0]
        if key != 0:
            f = (key >> 56) - 1
            third = _third(f, places[i, 1], families)
            row = i if families[f, F_IN_MAP] != ELSEWHERE else places[i, 1] & ROW_MASK
            if _alive(f, key, third, tables, live) and _active(f, row, newest, tables, memory):
                words += families[f, F_WORDS] if _in_arena(f, places[i, 1], families) else 0
                keys += 1
            else:
                places[i, 0] = 0
                gone += 1
    totals[0], totals[1], totals[2] = keys, words, gone


@_inner
def _in_arena(f: Any, beside: Any, families: Array) -> Any:
    """Whether what the map holds beside a key says where its row is in the arena."""
    here = families[f, F_IN_MAP]
    return here == ELSEWHERE or (here == RING_HERE and beside & PACKED == 0)


@_inner
def _ask_ahead(table: Array, i: Any, ahead: Any, column: Any, rows: Array) -> None:
    """Ask the memory for the row that a later entry of a table points to."""
    if i + ahead < len(table) and table[i + ahead, column] & ROW_MASK < len(rows):
        _fetch(rows, table[i + ahead, column] & ROW_MASK)


@_compiled
def move(tables: Tables, memory: Memory, places: Array, rows: Array) -> None:
    """Put what `mark` left into a new map and a new arena, both zeros."""
    slots, old, families, meta = memory.slots, memory.places, tables.families, memory.meta
    used, keys = np.int64(0), np.int64(0)
    for f in range(len(families)):
        d = families[f, F_DIRECT]
        for slot in range(len(slots) if d >= 0 else 0):
            _ask_ahead(slots, slot, 16, S_ROWS + d, memory.rows)
            row = slots[slot, S_ROWS + d] - 1
            if row >= 0:
                for i in range(families[f, F_WORDS]):
                    rows[used + i] = memory.rows[row + i]
                slots[slot, S_ROWS + d] = used + 1
                used += families[f, F_WORDS]
    for i in range(len(old)):
        _ask_ahead(old, i, 16, 1, memory.rows)
        key, beside = old[i, 0], old[i, 1]
        if key != 0:
            f = (key >> 56) - 1
            third = _third(f, beside, families)
            at = _place(places, key, third, _hash(places, key, third))
            places[at, 0] = key
            places[at, 1] = beside
            keys += 1
            if _in_arena(f, beside, families):
                places[at, 1] = (third << ROW_BITS) | used
                row = beside & ROW_MASK
                for k in range(families[f, F_WORDS]):
                    rows[used + k] = memory.rows[row + k]
                used += families[f, F_WORDS]
    meta[M_USED] = used
    meta[M_KEYS] = keys
