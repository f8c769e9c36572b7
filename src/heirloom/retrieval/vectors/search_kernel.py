"""What a reader does: choose exact or coarse, scan, rerank, and settle what it found.

Everything approximate is integers: a query's products with the levels of each dimension are
rounded to 0 ... 127, a place's sum is compared with one threshold a list. What is found is scored
anew from its float32 row, so the answer does not depend on which form of the scan was used.

A search may run beside the writer. Whatever it finds is looked up once more by its slot just before
it is returned (`_settle`), and places that were written meanwhile are looked at too: what was
removed before the search began is never returned, nothing is returned twice, and what stood in
the index all the while is not missed because it was moved.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from heirloom.retrieval.vectors.lanes import (
    BLOCK,
    BLOCKS,
    CHUNK,
    Array,
    between,
    compiled,
    fence,
    fetch,
    inner,
    load,
    lowest,
    outlined,
    popcount,
    product,
    score_block,
    to_bits,
    to_float,
)
from heirloom.retrieval.vectors.memory import (
    H_LIVE,
    H_REPACKED,
    H_USED,
    H_WRITTEN,
    RECENT,
    Memory,
)

_SLOT: Final = 0xFFFFFFFF
_AHEAD: Final = 8
_LEAST_KEPT: Final = 64
BUCKETS: Final = 1_024
PENDING: Final = 64
_SPARSE: Final = 6
"""So few places of a block are looked up one by one; more all 32 at once."""
SAMPLED: Final = 128
"""Blocks looked at to estimate how much a filter lets pass."""

# Kinds of clauses: from `lo` to `hi`; among `count` values from `start`; among the bytes from
# `start` that stand for `lo` to `hi`; and a mask by slot. Columns of Clauses.table.
RANGE, VALUES, BYTES, MASK = range(4)
C_KIND, C_WIDE, C_COLUMN, C_LO, C_HI, C_START, C_COUNT, C_NOT = range(8)
# Places in Scratch.state, Scratch.reals and in the settings.
(
    S_MODE, S_LIST, S_FOUND, S_WRITTEN, S_REPACKED, S_BLOCKS, S_CLAUSES, S_FIRST, S_KEPT, S_AGAIN,
    S_OWN, S_PENDING,
) = range(12)  # fmt: skip
R_THRESHOLD, R_SPREAD, R_STEP, R_LEAST, R_SHARE, R_DENSITY, R_EMPTY = range(7)
P_Z, P_Z_SPARSE, P_EXACT_ROWS, P_ROWS_SHARE, P_FILTER_FIRST = range(5)
EXACT, COARSE, ROWS = range(3)
"""All rows that pass; list by list by their codes; list by list by their rows."""
# What `search` is asked to do, added up, and what it gives.
BEGIN, GO_ON, FINISH = 1, 2, 4
DONE, MORE, GROWN = range(3)


class Learned(NamedTuple):
    """What a search needs of the codebook.

    centroids: [lists, dim]; levels: [dim, 16]; covariance of the residuals: [dim, dim]; spreads:
    [lists], how far a list's residuals reach beside the average; all float32.
    """

    centroids: Array
    levels: Array
    covariance: Array
    spreads: Array


class Clauses(NamedTuple):
    """A filter: all of its clauses must hold.

    table: [clauses, 8] int64 as the C_ names say. values: int64, ascending for each clause. bytes:
    uint8, 1 for a value that is meant. mask: [slots] uint8, the slots allowed.
    """

    table: Array
    values: Array
    bytes: Array
    mask: Array


class Scratch(NamedTuple):
    """Room to work in; what stands in it means nothing after a search.

    state: [12] int64, before a search the query's own list at S_OWN. reals: [7] float64. query:
    [1, dim] float32. tables: [dim * 32] uint8. dots: [lists] float32. reach: [lists] float32.
    order: [lists] int32. buckets: [BUCKETS + 1] int64. sums: [32] uint16. pending: [PENDING] int64.
    kept: int64, twice as many as are reranked, and RECENT more. keys: int64, as many. seen: int32,
    a power of two above 2 k. slots, scores: [k], the answer.
    """

    state: Array
    reals: Array
    query: Array
    tables: Array
    dots: Array
    reach: Array
    order: Array
    buckets: Array
    sums: Array
    pending: Array
    kept: Array
    keys: Array
    seen: Array
    slots: Array
    scores: Array


# --- keys: a score and a number as one integer; the lowest is the best ----------------------------


@inner
def _key(score: Any, number: Any) -> Any:
    bits = to_bits(np.float32(score) + np.float32(0))  # no negative zero
    rising = bits if bits >= 0 else bits ^ 0x7FFFFFFF
    return (~rising << 32) | number


@inner
def _score(key: Any) -> Any:
    rising = ~(key >> 32)
    return to_float(rising if rising >= 0 else rising ^ 0x7FFFFFFF)


@inner
def _parted(keys: Array, begin: Any, end: Any, pivot: Any) -> Any:
    """Put what is below a pivot before the rest of keys[begin:end]; gives where the rest begins.

    Every key is exchanged, so that no branch depends on it: which way it would go cannot be
    foretold (Edelkamp and Weiss, "BlockQuicksort", ESA 2016, section 3).
    """
    rest = begin
    for i in range(begin, end):
        key = keys[i]
        keys[i] = keys[rest]
        keys[rest] = key
        rest += np.int64(key < pivot)
    return rest


@outlined
def _select(keys: Array, begin: Any, end: Any, rank: Any) -> None:
    """Reorder keys[begin:end] so that those before index `rank` are its lowest."""
    low, high = begin, end
    while high - low > 1:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        rest = _parted(keys, low, high, pivot)
        if rank < rest:
            high = rest
            continue
        if rest == low:  # the pivot is the lowest: pass it, and its equals
            rest = _parted(keys, low, high, pivot + 1)
            if rank < rest:
                return
        low = rest


@outlined
def _sort(keys: Array, begin: Any, end: Any, stack: Array) -> None:
    """Sort keys[begin:end], ascending: quicksort down to short runs, then by insertion.

    stack: [64] int64. The larger part waits, so no more than 2 log2(n) entries are in use.
    """
    stack[0], stack[1], top = begin, end, 2
    while top > 0:
        top -= 2
        low, high = stack[top], stack[top + 1]
        while high - low > 24:
            a, b, c = keys[low], keys[(low + high) // 2], keys[high - 1]
            pivot = max(min(a, b), min(max(a, b), c))
            i, j = low, high - 1
            while i <= j:
                while keys[i] < pivot:
                    i += 1
                while keys[j] > pivot:
                    j -= 1
                if i <= j:
                    keys[i], keys[j] = keys[j], keys[i]
                    i += 1
                    j -= 1
            if j + 1 - low > high - i:
                stack[top], stack[top + 1] = low, j + 1
                low = i
            else:
                stack[top], stack[top + 1] = i, high
                high = j + 1
            top += 2
        for i in range(low + 1, high):
            key, j = keys[i], i
            while j > low and keys[j - 1] > key:
                keys[j] = keys[j - 1]
                j -= 1
            keys[j] = key


# --- filters --------------------------------------------------------------------------------------


@inner
def _within(value: Any, c: Any, clauses: Clauses) -> Any:
    """Whether a value is one of a clause's."""
    table = clauses.table
    kind, start = table[c, C_KIND], table[c, C_START]
    if kind == RANGE:
        return table[c, C_LO] <= value <= table[c, C_HI]
    if kind == MASK:
        return value < len(clauses.mask) and clauses.mask[value] != 0
    if kind == BYTES:
        offset = value - table[c, C_LO]
        if offset < 0 or value > table[c, C_HI]:
            return False
        return clauses.bytes[start + offset] != 0
    low, high = start, start + table[c, C_COUNT]
    while low < high:
        middle = (low + high) // 2
        if clauses.values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < start + table[c, C_COUNT] and clauses.values[low] == value


@outlined
def _passes(place: Any, clauses: Clauses, memory: Memory) -> Any:
    """Whether what stands in a place passes the filter."""
    table, chunk, at = clauses.table, place // CHUNK, place % CHUNK
    for c in range(len(table)):
        if table[c, C_KIND] == MASK:
            value = memory.marks[place] & _SLOT
        elif table[c, C_WIDE] != 0:
            value = memory.wide[chunk, table[c, C_COLUMN], at]
        else:
            value = np.int64(memory.narrow[chunk, table[c, C_COLUMN], at])
        if _within(value, c, clauses) == (table[c, C_NOT] != 0):
            return False
    return True


@inner
def _ranged(block: Any, c: Any, table: Array, memory: Memory) -> Any:
    """The bits of a block's places whose value lies in a clause's range."""
    at, column = block % BLOCKS * BLOCK, table[c, C_COLUMN]
    if table[c, C_WIDE] != 0:
        start = (block // BLOCKS * memory.wide.shape[1] + column) * CHUNK + at
        return between(memory.wide, start, table[c, C_LO], table[c, C_HI])
    start = (block // BLOCKS * memory.narrow.shape[1] + column) * CHUNK + at
    low, high = max(table[c, C_LO], np.int64(-(1 << 31))), min(table[c, C_HI], (1 << 31) - 1)
    return between(memory.narrow, start, np.int32(low), np.int32(high)) if low <= high else 0


@inner
def _listed(block: Any, c: Any, clauses: Clauses, memory: Memory) -> Any:
    """The bits of a block's places whose code is among a clause's bytes."""
    table, within = clauses.table, np.uint32(0)
    column, start, low = table[c, C_COLUMN], table[c, C_START], table[c, C_LO]
    span = np.uint64(table[c, C_HI] - low)
    codes = memory.narrow[block // BLOCKS, column]
    at = block % BLOCKS * BLOCK
    for i in range(BLOCK):
        offset = np.uint64(np.int64(codes[at + i]) - low)
        inside = offset <= span
        byte = clauses.bytes[start + (np.int64(offset) if inside else 0)]
        within |= np.uint32(byte if inside else 0) << np.uint32(i)
    return np.int64(within)


@outlined
def _passing(block: Any, mask: Any, clauses: Clauses, memory: Memory) -> Any:
    """The bits of a mask [32] whose places pass the filter."""
    table, chunk, at = clauses.table, block // BLOCKS, block % BLOCKS * BLOCK
    for c in range(len(table)):
        if mask == 0:
            return mask
        column, wide, kind = table[c, C_COLUMN], table[c, C_WIDE] != 0, table[c, C_KIND]
        if kind == RANGE:
            within = _ranged(block, c, table, memory)
        elif kind == BYTES and not wide and popcount(mask) > _SPARSE:
            within = _listed(block, c, clauses, memory)
        else:
            within, left = np.int64(0), mask
            while left != 0:
                i = lowest(left)
                left &= left - 1
                if kind == MASK:
                    value = memory.marks[BLOCK * block + i] & _SLOT
                elif wide:
                    value = memory.wide[chunk, column, at + i]
                else:
                    value = np.int64(memory.narrow[chunk, column, at + i])
                within |= np.int64(_within(value, c, clauses)) << i
        mask &= ~within if table[c, C_NOT] != 0 else within
    return mask


@inner
def _fetch_columns(chunk: Any, clauses: Clauses, memory: Memory) -> None:
    """Ask the memory for the columns of a chunk that a filter will look at."""
    table = clauses.table
    if not 0 <= chunk < len(memory.following):
        return
    for c in range(len(table)):
        if table[c, C_WIDE] != 0:
            start = (chunk * memory.wide.shape[1] + table[c, C_COLUMN]) * CHUNK
            for line in range(0, CHUNK, 8):
                fetch(memory.wide, start + line)
        elif table[c, C_KIND] != MASK:
            start = (chunk * memory.narrow.shape[1] + table[c, C_COLUMN]) * CHUNK
            for line in range(0, CHUNK, 16):
                fetch(memory.narrow, start + line)


@inner
def _live(block: Any, memory: Memory) -> Any:
    return np.int64(load(memory.live, np.int64(block))) & 0xFFFFFFFF


@outlined
def _estimate(clauses: Clauses, memory: Memory, reals: Array) -> None:
    """Estimate from blocks evenly spread which share of the live places passes, and how densely.

    The density is the share among the neighbours of one that passes: as low as the share where the
    filter has nothing to do with the vector, near 1 where it takes whole lists. Empty are blocks
    of which nothing passes.
    """
    blocks = min(BLOCKS * memory.header[H_USED], len(memory.live))
    step = max(blocks // SAMPLED, 1)
    live: Any = np.int64(0)
    passing: Any = np.int64(0)
    squares: Any = np.int64(0)
    empty: Any = np.int64(0)
    for block in range(step // 2, blocks, step):
        mask = _live(block, memory)
        live += popcount(mask)
        number = popcount(_passing(block, mask, clauses, memory))
        passing += number
        squares += number * number
        empty += number == 0
    reals[R_SHARE] = passing / max(live, 1)
    reals[R_EMPTY] = empty / max(len(range(step // 2, blocks, step)), 1)
    reals[R_DENSITY] = squares / max(BLOCK * passing, 1)


# --- beginning ------------------------------------------------------------------------------------


@inner
def _tabulate(learned: Learned, scratch: Scratch) -> None:
    """The query's products with the levels, as bytes, and what they lack to be the products."""
    levels, query, reals = learned.levels, scratch.query, scratch.reals
    dim, widest, least = len(levels), np.float32(0), 0.0
    for k in range(dim):
        low = min(query[0, k] * levels[k, 0], query[0, k] * levels[k, 15])
        high = max(query[0, k] * levels[k, 0], query[0, k] * levels[k, 15])
        widest = max(widest, high - low)
        least += low
    step = widest / np.float32(127) if widest > 0 else np.float32(1)
    for k in range(dim):
        low = min(query[0, k] * levels[k, 0], query[0, k] * levels[k, 15])
        for code in range(16):
            value = np.uint8((query[0, k] * levels[k, code] - low) / step + np.float32(0.5))
            scratch.tables[32 * k + code] = value
            scratch.tables[32 * k + 16 + code] = value
    reals[R_STEP], reals[R_LEAST] = step, least


@inner
def _spread(learned: Learned, scratch: Scratch) -> Any:
    """Standard deviation of a query's product with a residual: sqrt(q' C q)."""
    covariance, query, total = learned.covariance, scratch.query, 0.0
    dim = len(covariance)
    for k in range(dim):
        total += query[0, k] * product(covariance, k, query, 0, dim)
    return np.sqrt(max(total, 0.0))


@inner
def _rank_lists(learned: Learned, scratch: Scratch) -> None:
    """The lists by the score that their best may reach, falling, to 1 / BUCKETS of the range.

    A sort of all of them would cost more than it could save. Before them all comes the list that
    the query itself would lie in: where it lies apart from the rest, so does what is like it,
    further out than residuals are expected to reach.
    """
    dots, reach, spread = scratch.dots, scratch.reach, np.float32(scratch.reals[R_SPREAD])
    buckets, lists = scratch.buckets, len(scratch.dots)
    dim = scratch.query.shape[1]
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for c in range(lists):
        dots[c] = product(learned.centroids, c, scratch.query, 0, dim)
        reach[c] = dots[c] + spread * learned.spreads[c]
        low, high = min(low, reach[c]), max(high, reach[c])
    scale = np.float32(BUCKETS - 1) / max(high - low, np.float32(1e-30))
    for b in range(BUCKETS + 1):
        buckets[b] = 0
    for c in range(lists):
        buckets[np.int64((high - reach[c]) * scale) + 1] += 1
    for b in range(BUCKETS):
        buckets[b + 1] += buckets[b]
    for c in range(lists):
        bucket = np.int64((high - reach[c]) * scale)
        scratch.order[buckets[bucket]] = c
        buckets[bucket] += 1
    at, own = np.int64(0), scratch.state[S_OWN]
    while scratch.order[at] != own:
        at += 1
    while at > 0:
        scratch.order[at] = scratch.order[at - 1]
        at -= 1
    scratch.order[0] = own


@inner
def _begin(k: Any, kept: Any, settings: Array, learned: Learned, clauses: Clauses, memory: Memory,
           scratch: Scratch) -> None:  # fmt: skip
    state, reals = scratch.state, scratch.reals
    state[S_WRITTEN] = load(memory.header, H_WRITTEN)
    state[S_REPACKED] = load(memory.header, H_REPACKED)
    state[S_FOUND] = state[S_LIST] = state[S_BLOCKS] = state[S_AGAIN] = state[S_PENDING] = 0
    state[S_CLAUSES], state[S_KEPT] = len(clauses.table), kept
    reals[R_THRESHOLD] = -np.inf
    live = memory.header[H_LIVE]
    reals[R_SHARE] = reals[R_DENSITY] = 1.0
    if len(clauses.table) > 0:
        _estimate(clauses, memory, reals)
    share = reals[R_SHARE]
    passing = share * live
    if passing <= settings[P_EXACT_ROWS] or passing <= kept:
        state[S_MODE] = EXACT
        return
    state[S_MODE] = COARSE
    if share <= settings[P_ROWS_SHARE]:
        # Their scores are final: a few more than asked for, should the writer take some away, and
        # for a small k enough that the threshold is no single row's.
        state[S_MODE], state[S_KEPT] = ROWS, min(max(k + k // 4, _LEAST_KEPT), kept)
    # Looking at the filter first spares the codes of blocks of which nothing passes, no others.
    state[S_FIRST] = np.int64(reals[R_EMPTY] >= settings[P_FILTER_FIRST])
    _tabulate(learned, scratch)
    # Where few of a list pass, few of those it may still hold do: it may be left out sooner.
    sparse = settings[P_Z_SPARSE] * np.log(min(max(reals[R_DENSITY], 0.03), 1.0))
    reals[R_SPREAD] = (settings[P_Z] + sparse) * _spread(learned, scratch)
    _rank_lists(learned, scratch)


# --- rows: what passes, by its float32 row --------------------------------------------------------


@inner
def _keep(key: Any, scratch: Scratch) -> Any:
    """Keep a key; when there are twice as many as wanted, the better half. Whether that was so."""
    state, kept = scratch.state, scratch.kept
    kept[state[S_FOUND]] = key
    state[S_FOUND] += 1
    if state[S_FOUND] < 2 * state[S_KEPT]:
        return False
    _select(kept, np.int64(0), 2 * state[S_KEPT], state[S_KEPT] - 1)
    state[S_FOUND] = state[S_KEPT]
    scratch.reals[R_THRESHOLD] = _score(kept[state[S_KEPT] - 1])
    return True


@outlined
def _score_pending(memory: Memory, scratch: Scratch) -> None:
    dim = scratch.query.shape[1]
    for i in range(scratch.state[S_PENDING]):
        place = scratch.pending[i]
        score = product(memory.rows, place, scratch.query, 0, dim)
        if score >= scratch.reals[R_THRESHOLD]:
            _keep(_key(score, memory.marks[place] & _SLOT), scratch)
    scratch.state[S_PENDING] = 0


@inner
def _fetch_row(place: Any, memory: Memory, dim: Any) -> None:
    for line in range(0, dim, 16):
        fetch(memory.rows, place * dim + line)


@inner
def _gather_block(block: Any, clauses: Clauses, memory: Memory, scratch: Scratch) -> None:
    """Ask the memory for the rows of a block that pass; score them when there are enough."""
    state, dim = scratch.state, scratch.query.shape[1]
    mask = _live(block, memory)
    if state[S_CLAUSES] > 0 and mask != 0:
        mask = _passing(block, mask, clauses, memory)
    while mask != 0:
        place = BLOCK * block + lowest(mask)
        mask &= mask - 1
        scratch.pending[state[S_PENDING]] = place
        fetch(memory.marks, place)
        _fetch_row(place, memory, dim)
        state[S_PENDING] += 1
        if state[S_PENDING] == PENDING:
            _score_pending(memory, scratch)


# --- coarse: the lists in turn --------------------------------------------------------------------


@inner
def _limit(base: Any, reals: Array) -> Any:
    """The highest sum that is not above the threshold."""
    if reals[R_THRESHOLD] == -np.inf:
        return np.int64(-1)
    limit = np.floor((reals[R_THRESHOLD] - base) / reals[R_STEP])
    return np.int64(min(max(limit, -1.0), 32767.0))


@inner
def _scan_block(block: Any, base: Any, limit: Any, clauses: Clauses, memory: Memory,
                scratch: Scratch, form: Any) -> Any:  # fmt: skip
    """Keep what is above the limit in a block; gives the limit from here on."""
    state, reals = scratch.state, scratch.reals
    mask = _live(block, memory)
    if mask == 0:
        return limit
    filtered = state[S_CLAUSES] > 0
    if filtered and state[S_FIRST] != 0:
        mask = _passing(block, mask, clauses, memory)
        if mask == 0:
            return limit
    half = scratch.query.shape[1] // 2
    mask &= score_block(
        memory.codes, block * BLOCK * half, half, scratch.tables, limit, scratch.sums, form
    )
    if filtered and state[S_FIRST] == 0 and mask != 0:
        mask = _passing(block, mask, clauses, memory)
    while mask != 0:
        i = lowest(mask)
        mask &= mask - 1
        place = BLOCK * block + i
        total = np.int64(scratch.sums[(i & 1) * 16 + (i >> 1)])
        if total > limit and _keep(_key(base + reals[R_STEP] * total, place), scratch):
            limit = _limit(base, reals)
    return limit


@inner
def _scan_list(c: Any, clauses: Clauses, memory: Memory, scratch: Scratch, form: Any) -> Any:
    """Scan a list; again if it was re-packed meanwhile. Whether it lies within this memory."""
    state = scratch.state
    base = np.float64(scratch.dots[c]) + scratch.reals[R_LEAST]
    limit = _limit(base, scratch.reals)
    for _ in range(4):
        version = load(memory.versions, c)
        chunk = np.int64(load(memory.heads, c)) - 1
        while chunk >= 0:
            if chunk >= len(memory.following):
                return False
            if state[S_CLAUSES] > 0:
                _fetch_columns(np.int64(memory.following[chunk]) - 1, clauses, memory)
            for block in range(BLOCKS * chunk, BLOCKS * chunk + BLOCKS):
                if state[S_MODE] == ROWS:
                    _gather_block(block, clauses, memory, scratch)
                else:
                    limit = _scan_block(block, base, limit, clauses, memory, scratch, form)
            state[S_BLOCKS] += BLOCKS
            chunk = np.int64(load(memory.following, chunk)) - 1
        fence()
        if load(memory.versions, c) == version:
            return True
    return True


@inner
def _scan(blocks: Any, clauses: Clauses, memory: Memory, scratch: Scratch, form: Any) -> Any:
    state, reals = scratch.state, scratch.reals
    end = state[S_BLOCKS] + blocks
    status: Any = np.int64(DONE)
    while state[S_LIST] < len(scratch.order):
        c = np.int64(scratch.order[state[S_LIST]])
        if scratch.reach[c] < reals[R_THRESHOLD]:
            break
        if not _scan_list(c, clauses, memory, scratch, form):
            return GROWN
        state[S_LIST] += 1
        if state[S_BLOCKS] >= end:
            status = np.int64(MORE)
            break
    _score_pending(memory, scratch)
    return status


# --- exact: every row that passes -----------------------------------------------------------------


@inner
def _gather(blocks: Any, clauses: Clauses, memory: Memory, scratch: Scratch) -> Any:
    state = scratch.state
    end = state[S_LIST] + blocks
    while True:
        last = BLOCKS * load(memory.header, H_USED)
        if last > len(memory.live):
            return GROWN
        while state[S_LIST] < min(last, end):
            block = state[S_LIST]
            if state[S_CLAUSES] > 0 and block % BLOCKS == 0:
                _fetch_columns(block // BLOCKS + 2, clauses, memory)
            _gather_block(block, clauses, memory, scratch)
            state[S_LIST] += 1
        _score_pending(memory, scratch)
        if state[S_LIST] < last:
            return MORE
        if load(memory.header, H_REPACKED) == state[S_REPACKED] or state[S_AGAIN] >= 4:
            return DONE
        # A list was moved, perhaps from ahead of us to behind us.
        state[S_REPACKED] = load(memory.header, H_REPACKED)
        state[S_AGAIN] += 1
        state[S_LIST] = state[S_FOUND] = 0
        scratch.reals[R_THRESHOLD] = -np.inf


# --- finishing ------------------------------------------------------------------------------------


@inner
def _rerank(memory: Memory, scratch: Scratch) -> Any:
    """Keys of the best kept, by their rows and slots; gives how many."""
    state, kept, keys, dim = scratch.state, scratch.kept, scratch.keys, scratch.query.shape[1]
    number = state[S_FOUND]
    if number > state[S_KEPT]:
        _select(kept, np.int64(0), number, state[S_KEPT] - 1)
        number = state[S_KEPT]
    for i in range(number):
        if state[S_MODE] != COARSE:
            keys[i] = kept[i]
            continue
        if i + _AHEAD < number:
            ahead = kept[i + _AHEAD] & _SLOT
            fetch(memory.marks, ahead)
            _fetch_row(ahead, memory, dim)
        place = kept[i] & _SLOT
        score = product(memory.rows, place, scratch.query, 0, dim)
        keys[i] = _key(score, memory.marks[place] & _SLOT)
    return number


@inner
def _add_recent(since: Any, until: Any, number: Any, memory: Memory, scratch: Scratch) -> Any:
    """Keys of the places that were written since; gives how many keys there are now, or -1."""
    dim = scratch.query.shape[1]
    for i in range(max(since, until - RECENT), until):
        place = np.int64(load(memory.recent, i % RECENT))
        if place >= len(memory.marks):
            return np.int64(-1)
        score = product(memory.rows, place, scratch.query, 0, dim)
        if not np.isnan(score) and number < len(scratch.keys):  # a row being written may be NaN
            scratch.keys[number] = _key(score, memory.marks[place] & _SLOT)
            number += 1
    return number


@inner
def _spot(slot: Any, seen: Array) -> Any:
    """Where a slot stands in a table of slots + 1, or -1 - the free entry where it belongs."""
    at = (slot * 2654435761) & (len(seen) - 1)
    while seen[at] != 0:
        if np.int64(seen[at]) == slot + 1:
            return at
        at = (at + 1) & (len(seen) - 1)
    return -1 - at


@outlined
def _settle(slot: Any, clauses: Clauses, memory: Memory, scratch: Scratch) -> Any:
    """A slot's score as it stands now, or NaN if it is not there or does not pass.

    Score, filter and liveness are of one generation; liveness is looked at last.
    """
    nothing = np.float32(np.nan)
    for _ in range(64):
        if slot >= len(memory.places):
            return nothing
        place = np.int64(load(memory.places, slot)) - 1
        if place < 0 or place >= len(memory.marks):
            return nothing
        before = load(memory.marks, place)
        if (before >> 32) & 1 or before & _SLOT != slot:
            continue
        score = product(memory.rows, place, scratch.query, 0, scratch.query.shape[1])
        passes = len(clauses.table) == 0 or _passes(place, clauses, memory)
        fence()
        live = (_live(place // BLOCK, memory) >> (place % BLOCK)) & 1
        if load(memory.marks, place) == before and live:
            return score if passes else nothing
    return nothing


@inner
def _answer(k: Any, number: Any, clauses: Clauses, memory: Memory, scratch: Scratch) -> Any:
    """Settle the best keys in order into slots and scores; gives how many."""
    keys, seen, found, changed = scratch.keys, scratch.seen, np.int64(0), False
    for i in range(len(seen)):
        seen[i] = 0
    done, end = np.int64(0), min(k, number)
    while done < number and found < k:
        if end < number:
            _select(keys, done, number, end - 1)
        _sort(keys, done, end, scratch.pending)
        for i in range(done, end):
            if i + _AHEAD < end:
                slot = keys[i + _AHEAD] & _SLOT
                if slot < len(memory.places):
                    fetch(memory.places, slot)
            slot = keys[i] & _SLOT
            spot = _spot(slot, seen)
            if found == k or spot >= 0:
                continue
            score = _settle(slot, clauses, memory, scratch)
            if not np.isnan(score):
                seen[-1 - spot] = slot + 1
                scratch.slots[found], scratch.scores[found] = slot, score
                changed |= _key(score, slot) != keys[i]
                found += 1
        done, end = end, number
    if changed:
        for i in range(found):
            keys[i] = _key(scratch.scores[i], np.int64(scratch.slots[i]))
        _sort(keys, np.int64(0), found, scratch.pending)
        for i in range(found):
            scratch.slots[i], scratch.scores[i] = keys[i] & _SLOT, _score(keys[i])
    return found


@inner
def _finish(k: Any, clauses: Clauses, memory: Memory, scratch: Scratch) -> Any:
    state = scratch.state
    number, since = _rerank(memory, scratch), state[S_WRITTEN]
    found = np.int64(0)
    for _ in range(4):
        until = load(memory.header, H_WRITTEN)
        number = _add_recent(since, until, number, memory, scratch)
        if number < 0:
            return GROWN
        found = _answer(k, number, clauses, memory, scratch)
        since = until
        if load(memory.header, H_WRITTEN) == until:
            break
    state[S_FOUND] = found
    return DONE


@compiled
def search(
    what: int, blocks: int, k: int, kept: int, settings: Array, learned: Learned,
    clauses: Clauses, memory: Memory, scratch: Scratch, form: Any,
) -> Any:  # fmt: skip
    """A step of a search, or all of it. The shared memory is only read.

    Args:
        what: BEGIN, GO_ON and FINISH, added up.
        blocks: go on for about so many blocks.
        k: how many are wanted, at least 1.
        kept: how many are reranked, at least k.
        settings: [5] float64 as the P_ names say.
        learned: of the codebook.
        clauses: the filter.
        memory: the index.
        scratch: room to work in; scratch.query is the query. After FINISH, state[S_FOUND] slots
            and scores.
        form: lanes.FORM, or None for the plain form.

    Returns:
        DONE; MORE where the blocks were not enough; GROWN where the index has outgrown this
        memory: begin anew with a larger one.
    """
    if what & BEGIN:
        _begin(k, kept, settings, learned, clauses, memory, scratch)
    if what & GO_ON:
        if scratch.state[S_MODE] == EXACT:
            status = _gather(blocks, clauses, memory, scratch)
        else:
            status = _scan(blocks, clauses, memory, scratch, form)
        if status != DONE:
            return status
    if what & FINISH:
        return _finish(k, clauses, memory, scratch)
    return DONE
