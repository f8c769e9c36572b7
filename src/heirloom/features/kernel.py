"""The one kernel: `fold` puts mentions into integer state, `read` makes floats of it, once.

Live serving, replay and tests call these same two functions, which is why a served value can be
replayed bit for bit. State is integers only. Every float is made in `_finalise`, in float64, and
cast once to float32; no fastmath, no other logarithm than `math.log`.

A ring row is, for each window, the epoch of its newest bucket, then for each window its cells
[buckets, counters]. The code is plain loops over scalars: it compiles in seconds, and divisions
are made once per event and window, not once per key. It is one file, long as it is, because the
compiler's cache is renewed when this file changes, and only then.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

KERNEL_VERSION: Final = 1
"""Part of every view's version. A change that alters any bit of any value needs a new one."""

Array = NDArray[Any]

# Modes of a family: in which arena its rows lie, and what a mention does to a cell.
COUNT, MONEY, LAST, FIRST = range(4)
# Positions in the code vector: algebra.STATICS.
K_ALL, K_LISTING, K_SELLER, K_PERSON, K_DECLARED, K_STATED, K_SURFACE, K_HOUR = (
    0, 1, 2, 8, 9, 17, 25, 26
)  # fmt: skip
CODES = 27
LISTING_CODES = 7
"""Codes of a listing in a row of `Memory.slots` and `Mentions.listings`, from K_LISTING on."""
# Columns of Tables.families.
F_MODE, F_A, F_B, F_CELLS, F_WIDTH, F_LEVEL, F_LEVELS, F_CELL, F_TERM, F_TERMS = range(10)
# Operations of the finaliser.
OP_COUNT, OP_RATIO, OP_TREND, OP_SINCE, OP_AGE, OP_PRICE, OP_GAP, OP_LIFT, OP_GIVEN, OP_STATIC = (
    range(10)
)
# Places in Memory.meta.
M_EVENT, M_MENTION, M_KEYS, M_COUNTS, M_MONEY, M_LISTINGS, M_LATE, M_SATURATED = range(8)
# Kinds that write a listing's attributes: core.event.KIND_CODE (plan.py checks).
LISTED, PRICE_CHANGED = 0, 2

CODE_LIMIT = 1 << 28
MAX_FAMILIES = 126
INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1
HOUR_MS = 3_600_000

DONE, FULL = range(2)
NO_ROW, NO_KEY, AS_BEFORE = -1, -2, -3


class Tables(NamedTuple):
    """A view's plan, int64 unless said otherwise; plan.py makes it and says what a family is.

    families: [families, 10] as the F_ names say. cells: [cells, 2] bit mask of the kinds counted;
    1 if priced mentions are counted rather than their prices summed. windows: [windows, 3] hop
    and length in ms, buckets. levels: [levels, 2] window, offset in the row. kind_starts,
    kind_families: those that count kind k are kind_families[kind_starts[k]:kind_starts[k + 1]].
    terms: [terms, 2] cell and level, both within the family, by family and level. features:
    [features, 8] operation, six arguments, column (-1: an operand only, standing before what
    needs it). parameters: [features, 2] float64.
    """

    families: Array
    cells: Array
    windows: Array
    levels: Array
    kind_starts: Array
    kind_families: Array
    terms: Array
    features: Array
    parameters: Array


class Memory(NamedTuple):
    """The state, int64 unless said otherwise.

    places: [capacity, 2] open-addressing map: packed key (0: empty), offset of its row. counts:
    [cells] int32 and money: [cells], the two arenas of rows. slots: [slots, 7] listing number
    (0: never listed), seller, brand, category, size, colour, condition. prices: [slots] minor
    units. opened: [slots] ms. meta: [8] as the M_ names say.
    """

    places: Array
    counts: Array
    money: Array
    slots: Array
    prices: Array
    opened: Array
    meta: Array


class Scratch(NamedTuple):
    """Room to work in, int64 unless said otherwise; what stands in it means nothing.

    codes: [CODES]. spans: [windows, 3]. rows, keys: [families]. integers: [terms]. values:
    [features] float64.
    """

    codes: Array
    spans: Array
    rows: Array
    keys: Array
    integers: Array
    values: Array


class Mentions(NamedTuple):
    """A part of the log, int64.

    events: [events, 4] t, kind, person, seller. declared: [events, declared]. starts: [events + 1].
    listings: [mentions, 7] slot, seller, brand, … as in Memory.slots. prices: [mentions].
    """

    events: Array
    declared: Array
    starts: Array
    listings: Array
    prices: Array


_Function = TypeVar("_Function", bound=Callable[..., Any])

# Without reference counting (`_nrt`: nothing may be allocated here, hence Scratch), inlined, and
# without exceptions for a division by zero: four times as fast, and half the time to compile.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
_INLINED: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True}


def _compiled(function: _Function) -> _Function:
    return cast(_Function, njit(cache=True, **_OPTIONS)(function))


def _inner(function: _Function) -> _Function:
    return cast(_Function, njit(**_OPTIONS, **_INLINED)(function))


@_inner
def _place(places: Array, key: Any) -> Any:
    """Index of a packed key in the map, or of the empty place where it belongs."""
    mask = np.uint64(len(places) - 1)
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    i = np.int64((mixed ^ (mixed >> np.uint64(31))) & mask)
    while places[i, 0] != 0 and places[i, 0] != key:
        i = (i + 1) & np.int64(mask)
    return i


@_compiled
def rehash(old: Array, new: Array) -> None:
    """Put all keys of a map into a larger one."""
    for i in range(len(old)):
        if old[i, 0] != 0:
            j = _place(new, old[i, 0])
            new[j, 0] = old[i, 0]
            new[j, 1] = old[i, 1]


@_inner
def _bucket(
    arena: Any, row: Any, level: Any, base: Any, width: Any, buckets: Any, epoch: Any, spot: Any
) -> Any:
    """Index of a ring's bucket, cleared where the ring moves on; -1 if it is gone already.

    `spot` is epoch % buckets; `width` the counters in a bucket.
    """
    head = np.int64(arena[row + level])
    if epoch > head:
        at = spot
        for _ in range(min(epoch - head, buckets)):
            for c in range(width):
                arena[row + base + at * width + c] = 0
            at = at - 1 if at > 0 else buckets - 1
        arena[row + level] = epoch
    elif epoch <= head - buckets:
        return np.int64(-1)
    return row + base + spot * width


@_inner
def _touch_ring(
    arena: Any,
    limit: Any,
    f: Any,
    row: Any,
    kind: Any,
    price: Any,
    spans: Array,
    tables: Tables,
    meta: Array,
) -> None:
    """Add one mention to each window and counter of a key's ring row."""
    families, cells, levels, windows = (
        tables.families, tables.cells, tables.levels, tables.windows
    )  # fmt: skip
    width, first = families[f, F_CELLS], families[f, F_CELL]
    for k in range(families[f, F_LEVELS]):
        level = families[f, F_LEVEL] + k
        w = levels[level, 0]
        at = _bucket(
            arena, row, k, levels[level, 1], width, windows[w, 2], spans[w, 0], spans[w, 1]
        )
        if at < 0:
            meta[M_LATE] += 1
            continue
        for c in range(width):
            if (cells[first + c, 0] >> kind) & 1:
                amount = np.int64(1)
                if families[f, F_MODE] == MONEY and cells[first + c, 1] == 0:
                    amount = price
                if arena[at + c] > limit - amount:
                    meta[M_SATURATED] += 1
                    arena[at + c] = limit
                else:
                    arena[at + c] += amount


@_inner
def _touch_time(money: Array, f: Any, row: Any, kind: Any, t: Any, tables: Tables) -> None:
    """Keep the latest or earliest time of a key's mentions."""
    families, cells = tables.families, tables.cells
    for c in range(families[f, F_CELLS]):
        if (cells[families[f, F_CELL] + c, 0] >> kind) & 1:
            known = money[row + c]
            later = families[f, F_MODE] == LAST
            if known == 0 or (t > known if later else t < known):
                money[row + c] = t


@_inner
def _write_listing(
    kind: Any, t: Any, slot: Any, i: Any, mentions: Mentions, memory: Memory
) -> None:
    """Keep a listing's attributes; a `listed` event opens the slot with a new listing number.

    Listing keys carry that number, not the slot: a reused slot inherits nothing.
    """
    if kind == LISTED:
        memory.meta[M_LISTINGS] += 1
        memory.slots[slot, 0] = memory.meta[M_LISTINGS]
        memory.opened[slot] = t
    if memory.slots[slot, 0] > 0:
        for c in range(1, LISTING_CODES):
            memory.slots[slot, c] = mentions.listings[i, c]
        memory.prices[slot] = mentions.prices[i]


@_inner
def _codes_of_event(e: Any, mentions: Mentions, codes: Array) -> None:
    codes[K_PERSON] = mentions.events[e, 2]
    for i in range(mentions.declared.shape[1]):
        codes[K_DECLARED + i] = mentions.declared[e, i]
        codes[K_STATED + i] = mentions.declared[e, i] != 0


@_inner
def _codes_of_mention(e: Any, i: Any, mentions: Mentions, memory: Memory, codes: Array) -> None:
    """Codes of the listing that mention i names; of none, but for the seller, if i < 0."""
    for c in range(LISTING_CODES):
        codes[K_LISTING + c] = mentions.listings[i, c] if i >= 0 else 0
    if i < 0:
        codes[K_SELLER] = mentions.events[e, 3]
    else:
        slot = mentions.listings[i, 0]
        codes[K_LISTING] = memory.slots[slot, 0] if slot >= 0 else 0


@_inner
def _row(f: Any, codes: Array, tables: Tables, memory: Memory) -> Any:
    """Offset of the row of a family's key, made if new; -1 if the key has an unknown part."""
    families, places, meta = tables.families, memory.places, memory.meta
    a, b = codes[families[f, F_A]], codes[families[f, F_B]]
    if a <= 0 or b <= 0:
        return np.int64(-1)
    key = ((f + 1) << 56) | (a << 28) | b
    at = _place(places, key)
    if places[at, 0] == 0:
        arena = M_COUNTS if families[f, F_MODE] == COUNT else M_MONEY
        places[at, 0] = key
        places[at, 1] = meta[arena]
        meta[arena] += families[f, F_WIDTH]
        meta[M_KEYS] += 1
    return places[at, 1]


@_compiled
def fold(tables: Tables, memory: Memory, mentions: Mentions, scratch: Scratch, room: int) -> int:
    """Fold mentions from the cursor in `memory.meta` on.

    Args:
        tables: the view's plan.
        memory: the state, written to.
        mentions: the part of the log; every slot has its row in `memory.slots`.
        scratch: room to work in.
        room: cells that one mention may need in an arena.

    Returns:
        DONE; or FULL where the map or an arena must grow before the next mention: grow, call again.
    """
    families, windows, meta = tables.families, tables.windows, memory.meta
    codes, spans, rows = scratch.codes, scratch.spans, scratch.rows
    codes[K_ALL] = 1
    for e in range(meta[M_EVENT], len(mentions.events)):
        t, kind = mentions.events[e, 0], mentions.events[e, 1]
        for w in range(len(windows)):
            spans[w, 0] = t // windows[w, 0]
            spans[w, 1] = spans[w, 0] % windows[w, 2]
        _codes_of_event(e, mentions, codes)
        start = mentions.starts[e]
        named = mentions.starts[e + 1] - start
        first, last = tables.kind_starts[kind], tables.kind_starts[kind + 1]
        for m in range(meta[M_MENTION], max(named, 1)):
            if (
                2 * (meta[M_KEYS] + len(families)) > len(memory.places)
                or meta[M_COUNTS] + room > len(memory.counts)
                or meta[M_MONEY] + room > len(memory.money)
            ):
                meta[M_EVENT] = e
                meta[M_MENTION] = m
                return FULL
            i = start + m if named > 0 else np.int64(-1)
            price = mentions.prices[i] if i >= 0 else np.int64(0)
            if kind <= PRICE_CHANGED and i >= 0 and mentions.listings[i, 0] >= 0:
                _write_listing(kind, t, mentions.listings[i, 0], i, mentions, memory)
            _codes_of_mention(e, i, mentions, memory, codes)
            for j in range(first, last):  # all rows first: their cache misses overlap
                rows[j - first] = _row(tables.kind_families[j], codes, tables, memory)
            for j in range(first, last):
                f, row = tables.kind_families[j], rows[j - first]
                mode = families[f, F_MODE]
                if row < 0 or (mode == MONEY and price <= 0):
                    continue
                if mode == COUNT:
                    _touch_ring(memory.counts, INT32_MAX, f, row, kind, price, spans, tables, meta)
                elif mode == MONEY:
                    _touch_ring(memory.money, INT64_MAX, f, row, kind, price, spans, tables, meta)
                else:
                    _touch_time(memory.money, f, row, kind, t, tables)
        meta[M_MENTION] = 0
    meta[M_EVENT] = 0
    return DONE


@_inner
def _window_sum(
    arena: Any,
    row: Any,
    k: Any,
    base: Any,
    width: Any,
    cell: Any,
    buckets: Any,
    first: Any,
    spot: Any,
    last: Any,
) -> Any:
    """Sum of one counter over the buckets first to last; `spot` is first % buckets."""
    head = np.int64(arena[row + k])
    if first <= head - buckets:  # read as of a time before the newest bucket
        first = head - buckets + 1
        spot = first % buckets
    at, end = row + base + spot * width + cell, row + base + buckets * width
    total = np.int64(0)
    for _ in range(min(last, head) - first + 1):
        total += arena[at]
        at += width
        if at >= end:
            at -= buckets * width
    return total


@_inner
def _read_row(
    f: Any, row: Any, spans: Array, tables: Tables, memory: Memory, integers: Array
) -> None:
    """Fill the integers wanted of one key: 0 where it has no row (-1), -1 for no key (-2)."""
    families, windows, levels, terms = (
        tables.families, tables.windows, tables.levels, tables.terms
    )  # fmt: skip
    mode, width = families[f, F_MODE], families[f, F_CELLS]
    for i in range(families[f, F_TERM], families[f, F_TERM] + families[f, F_TERMS]):
        cell, k = terms[i, 0], terms[i, 1]
        if row < 0:
            integers[i] = 0 if row == NO_ROW else -1
        elif mode >= LAST:
            integers[i] = memory.money[row + cell]
        else:
            level = families[f, F_LEVEL] + k
            w, base = levels[level, 0], levels[level, 1]
            first, spot, last, buckets = spans[w, 0], spans[w, 1], spans[w, 2], windows[w, 2]
            if mode == COUNT:
                integers[i] = _window_sum(
                    memory.counts, row, k, base, width, cell, buckets, first, spot, last
                )
            else:
                integers[i] = _window_sum(
                    memory.money, row, k, base, width, cell, buckets, first, spot, last
                )


@_inner
def _lift(j: Any, strength: Any, features: Array, integers: Array) -> Any:
    """The naive-Bayes term of algebra.Lift, from its six counts."""
    both, listing = integers[features[j, 1]], integers[features[j, 2]]
    category_value, category = integers[features[j, 3]], integers[features[j, 4]]
    value, everything = integers[features[j, 5]], integers[features[j, 6]]
    if both < 0 or value < 0:
        return math.nan
    prior = (value + 0.5) / (everything + 1.0)
    upper = prior
    if category_value >= 0:
        upper = (category_value + strength * prior) / (category + strength)
    return math.log((both + strength * upper) / (listing + strength)) - math.log(prior)


@_inner
def _finalise(
    j: Any,
    tables: Tables,
    integers: Array,
    values: Array,
    codes: Array,
    t: Any,
    price: Any,
    opened: Any,
) -> Any:
    """One feature's value, float64: the only place where integers become floats."""
    features, parameters = tables.features, tables.parameters
    op, a = features[j, 0], features[j, 1]
    if op == OP_STATIC:
        return np.float64(codes[a]) if codes[a] > 0 or a == K_HOUR else math.nan
    if op == OP_AGE:
        return max(t - opened, 0) / HOUR_MS if opened > 0 else math.nan
    if op == OP_PRICE:
        return math.log(np.float64(price)) if price > 0 else math.nan
    if op == OP_LIFT:
        return _lift(j, parameters[j, 0], features, integers)
    x = integers[a]
    if op == OP_SINCE:
        return max(t - x, 0) / HOUR_MS if x > 0 else math.nan
    if x < 0:
        return math.nan
    if op == OP_COUNT:
        return np.float64(x)
    y = integers[features[j, 2]]
    if op == OP_RATIO:
        hits, trials, toward = parameters[j, 0], parameters[j, 1], features[j, 3]
        if toward >= 0 and not math.isnan(values[toward]):
            hits = trials * values[toward]
        return (x + hits) / (y + trials) if y >= 0 and y + trials > 0.0 else math.nan
    if op == OP_TREND:
        return math.log((x + 1.0) / (y * parameters[j, 0] + 1.0))
    if price > 0 and x > 0 and y > 0:  # OP_GAP
        return math.log(np.float64(price)) - math.log(x / y)
    return math.nan


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

    Args:
        tables: the view's plan.
        memory: the state.
        asked: [3 + declared] the request's t, person, surface, declared codes.
        slots: [candidates] int32.
        given: [givens, candidates] float32, in the order of the plan.
        scratch: room to work in.
        out: [candidates, columns] float32, written to.
    """
    families, windows, features = tables.families, tables.windows, tables.features
    t = asked[0]
    codes, spans, rows, keys = scratch.codes, scratch.spans, scratch.rows, scratch.keys
    integers, values = scratch.integers, scratch.values
    codes[K_ALL] = 1
    codes[K_PERSON] = asked[1]
    codes[K_SURFACE] = asked[2]
    codes[K_HOUR] = (t // HOUR_MS) % 24
    for i in range(len(asked) - 3):
        codes[K_DECLARED + i] = asked[3 + i]
        codes[K_STATED + i] = asked[3 + i] != 0
    for w in range(len(windows)):
        spans[w, 0] = (t - windows[w, 1]) // windows[w, 0]
        spans[w, 1] = spans[w, 0] % windows[w, 2]
        spans[w, 2] = t // windows[w, 0]
    for f in range(len(families)):
        keys[f] = -1
    for i in range(len(slots)):
        slot = np.int64(slots[i])
        listed = 0 <= slot < len(memory.slots)
        for c in range(LISTING_CODES):
            codes[K_LISTING + c] = memory.slots[slot, c] if listed else 0
        price = memory.prices[slot] if listed else 0
        opened = memory.opened[slot] if listed else 0
        for f in range(len(families)):  # all rows first: their cache misses overlap
            a, b = codes[families[f, F_A]], codes[families[f, F_B]]
            key = ((f + 1) << 56) | (a << 28) | b if a > 0 and b > 0 else np.int64(0)
            if key == keys[f]:  # the same person, seller, brand, … as just before
                rows[f] = AS_BEFORE
            elif key == 0:
                rows[f] = NO_KEY
            else:
                at = _place(memory.places, key)
                rows[f] = memory.places[at, 1] if memory.places[at, 0] != 0 else NO_ROW
            keys[f] = key
        for f in range(len(families)):
            if rows[f] != AS_BEFORE:
                _read_row(f, rows[f], spans, tables, memory, integers)
        for j in range(len(features)):
            if features[j, 0] == OP_GIVEN:
                values[j] = given[features[j, 1], i]
            else:
                values[j] = _finalise(j, tables, integers, values, codes, t, price, opened)
            if features[j, 7] >= 0:
                out[i, features[j, 7]] = values[j]
