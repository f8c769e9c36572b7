"""What the one writer does: assign to lists, upsert, remove, re-pack.

Readers look on at any moment, so the order of writes is the protocol (docs/adr/0007):

- an upsert fills a fresh place while its generation is odd, then makes it even, sets its live bit,
  enters it in `places` and `recent`, and takes the old place's live bit away;
- a removal takes the live bit away;
- a re-pack copies a list's live places into fresh chunks, swaps the head, counts the list's version
  up, moves `places`, and takes the old chunks' live bits away.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from heirloom.retrieval.vectors.lanes import (
    BLOCK,
    BLOCKS,
    CHUNK,
    Array,
    compiled,
    fence,
    inner,
    load,
    product,
    store,
)
from heirloom.retrieval.vectors.memory import (
    H_CHUNKS,
    H_LIVE,
    H_REPACKED,
    H_USED,
    H_WRITTEN,
    RECENT,
    Memory,
)

_SLOT: Final = 0xFFFFFFFF
RESTING: Final = 64
"""So many chunks given back lie as they were: a search in progress may still point into them, and
reads there which slots it found."""
PROBED: Final = 4
"""Groups of centroids looked into for the nearest one."""


class Coarse(NamedTuple):
    """Centroids [lists, dim] float32, in groups: those of group g are starts[g] ... starts[g + 1].

    groups: [groups, dim] float32. halves, group_halves: half their squared lengths.
    """

    centroids: Array
    halves: Array
    groups: Array
    group_halves: Array
    starts: Array


class Writing(NamedTuple):
    """What the writer alone keeps.

    tails: [lists] int32, last chunk + 1. free: [lists] int32, first free place + 1. next_free:
    [places] int32, the free place after it + 1. spare: [chunks] int32, a ring of chunks that were
    given back. counts: [2] int64, chunks taken from and put into that ring so far.
    """

    tails: Array
    free: Array
    next_free: Array
    spare: Array
    counts: Array


@compiled
def assign(coarse: Coarse, vectors: Array, lists: Array) -> None:
    """Write the list of the nearest centroid found for each of vectors [slots, dim] into lists.

    Nearest by Euclidean distance: the highest product less half the centroid's squared length.
    The PROBED best groups are looked into.
    """
    dim = vectors.shape[1]
    for i in range(len(vectors)):
        best = np.float32(-np.inf)
        seen = np.float32(np.inf)  # score of the group looked into last, and its number
        last = np.int64(-1)
        for _ in range(PROBED):
            group, near = np.int64(-1), np.float32(-np.inf)
            for g in range(len(coarse.groups)):
                score = product(vectors, i, coarse.groups, g, dim) - coarse.group_halves[g]
                if (score < seen or (score == seen and g > last)) and score > near:
                    group, near = np.int64(g), score
            if group < 0:
                break
            seen, last = near, group
            for c in range(coarse.starts[group], coarse.starts[group + 1]):
                score = product(vectors, i, coarse.centroids, c, dim) - coarse.halves[c]
                if score > best:
                    best = score
                    lists[i] = c


@inner
def _chunk(owner: Any, memory: Memory, writing: Writing) -> Any:
    """A chunk for a list, empty and chained to nothing; -1 if there is no room."""
    counts, header = writing.counts, memory.header
    if counts[0] + RESTING < counts[1]:
        chunk = np.int64(writing.spare[counts[0] % len(writing.spare)])
        counts[0] += 1
    elif header[H_USED] < header[H_CHUNKS]:
        chunk = np.int64(header[H_USED])
        header[H_USED] = chunk + 1
    else:
        return np.int64(-1)
    memory.owners[chunk] = owner + 1
    store(memory.following, chunk, np.int32(0))
    return chunk


@inner
def _give(place: Any, owner: Any, writing: Writing) -> None:
    writing.next_free[place] = writing.free[owner]
    writing.free[owner] = place + 1


@inner
def _free_place(owner: Any, memory: Memory, writing: Writing) -> Any:
    """A place of a list that holds nothing; -1 if there is no room."""
    if writing.free[owner] == 0:
        chunk = _chunk(owner, memory, writing)
        if chunk < 0:
            return np.int64(-1)
        for i in range(CHUNK):
            _give(CHUNK * chunk + CHUNK - 1 - i, owner, writing)
        if writing.tails[owner] == 0:
            store(memory.heads, owner, np.int32(chunk + 1))
        else:
            store(memory.following, np.int64(writing.tails[owner]) - 1, np.int32(chunk + 1))
        writing.tails[owner] = chunk + 1
    place = np.int64(writing.free[owner]) - 1
    writing.free[owner] = writing.next_free[place]
    return place


@inner
def _begin(place: Any, memory: Memory) -> Any:
    """Make a place's generation odd; gives the even one that follows."""
    generation = memory.marks[place] >> 32
    store(memory.marks, place, np.int64(((generation + 1) & 0x7FFFFFFF) << 32))
    fence()
    return (generation + 2) & 0x7FFFFFFF


@inner
def _switch(place: Any, on: Any, memory: Memory) -> None:
    """Set or take away a live bit."""
    block, bit = place // BLOCK, np.int64(1) << (place % BLOCK)
    word = np.int64(memory.live[block])
    store(memory.live, block, np.int32(word | bit if on else word & ~bit))


@inner
def _retire(place: Any, memory: Memory, writing: Writing) -> None:
    _switch(place, False, memory)
    _give(place, np.int64(memory.owners[place // CHUNK]) - 1, writing)


@inner
def _encode(place: Any, i: Any, c: Any, vectors: Array, coarse: Coarse, bounds: Array,
            codes: Array) -> None:  # fmt: skip
    """Write the 4-bit codes of a vector's residual: how many of a dimension's bounds lie below."""
    dim = vectors.shape[1]
    at = place // BLOCK * (BLOCK * dim // 2) + place % BLOCK
    for j in range(dim // 2):
        pair = np.int64(0)
        for half in range(2):
            k = 2 * j + half
            residual = vectors[i, k] - coarse.centroids[c, k]
            code = np.int64(0)
            for level in range(15):
                code += np.int64(residual > bounds[k, level])
            pair |= code << (4 * half)
        codes[at + BLOCK * j] = pair


@compiled
def upsert(
    slots: Array, vectors: Array, lists: Array, narrow: Array, wide: Array, coarse: Coarse,
    bounds: Array, memory: Memory, writing: Writing,
) -> int:  # fmt: skip
    """Write vectors; gives how many: fewer than came where there is no more room for chunks.

    Args:
        slots: [slots] int32.
        vectors: [slots, dim] float32.
        lists: [slots] int32.
        narrow: [slots, columns] int32.
        wide: [slots, columns] int64.
        coarse: the centroids.
        bounds: [dim, 15] float32, ascending.
        memory: written to.
        writing: written to.
    """
    header, dim = memory.header, vectors.shape[1]
    for i in range(len(slots)):
        slot, owner = np.int64(slots[i]), np.int64(lists[i])
        place = _free_place(owner, memory, writing)
        if place < 0:
            return i
        generation = _begin(place, memory)
        _encode(place, i, owner, vectors, coarse, bounds, memory.codes)
        for k in range(dim):
            memory.rows[place, k] = vectors[i, k]
        chunk, at = place // CHUNK, place % CHUNK
        for c in range(narrow.shape[1]):
            memory.narrow[chunk, c, at] = narrow[i, c]
        for c in range(wide.shape[1]):
            memory.wide[chunk, c, at] = wide[i, c]
        store(memory.marks, place, np.int64(generation << 32 | slot))
        _switch(place, True, memory)
        old = np.int64(memory.places[slot]) - 1
        store(memory.places, slot, np.int32(place + 1))
        store(memory.recent, header[H_WRITTEN] % RECENT, np.int32(place))
        store(header, 0, np.int64(header[H_WRITTEN] + 1))  # H_WRITTEN
        if old >= 0:
            _retire(old, memory, writing)
        else:
            header[H_LIVE] += 1
    return len(slots)


@compiled
def remove(slots: Array, memory: Memory, writing: Writing) -> int:
    """Forget slots [slots] int32; gives how many were known."""
    known = 0
    for i in range(len(slots)):
        slot = np.int64(slots[i])
        if 0 <= slot < len(memory.places) and memory.places[slot] != 0:
            place = np.int64(memory.places[slot]) - 1
            _switch(place, False, memory)
            store(memory.places, slot, np.int32(0))
            _give(place, np.int64(memory.owners[place // CHUNK]) - 1, writing)
            memory.header[H_LIVE] -= 1
            known += 1
    return known


@inner
def _copy(old: Any, new: Any, memory: Memory) -> None:
    """Copy what stands in one place to another, live."""
    dim = memory.rows.shape[1]
    generation = _begin(new, memory)
    for k in range(dim):
        memory.rows[new, k] = memory.rows[old, k]
    size = BLOCK * dim // 2
    source, target = old // BLOCK * size + old % BLOCK, new // BLOCK * size + new % BLOCK
    for j in range(dim // 2):
        memory.codes[target + BLOCK * j] = memory.codes[source + BLOCK * j]
    for c in range(memory.narrow.shape[1]):
        memory.narrow[new // CHUNK, c, new % CHUNK] = memory.narrow[old // CHUNK, c, old % CHUNK]
    for c in range(memory.wide.shape[1]):
        memory.wide[new // CHUNK, c, new % CHUNK] = memory.wide[old // CHUNK, c, old % CHUNK]
    store(memory.marks, new, np.int64(generation << 32 | (memory.marks[old] & _SLOT)))
    _switch(new, True, memory)


@inner
def _chain(chunks: Any, owner: Any, memory: Memory, writing: Writing) -> Any:
    """So many empty chunks chained, in ascending order where that can be; gives the first + 1."""
    first, last = np.int64(0), np.int64(-1)
    for _ in range(chunks):
        chunk = _chunk(owner, memory, writing)
        if last < 0:
            first = chunk + 1
        else:
            store(memory.following, last, np.int32(chunk + 1))
        last = chunk
    writing.tails[owner] = last + 1
    return first


@compiled
def repack(owner: int, least: float, memory: Memory, writing: Writing) -> int:
    """Copy a list's live places into fresh chunks and give the old ones back.

    Args:
        owner: the list.
        least: share of its places that are live below which it is worth while.
        memory: written to.
        writing: written to.

    Returns:
        Chunks won; 0 where it was dense enough; -1 if there is no room: nothing was done.
    """
    header, live = memory.header, np.int64(0)
    chunks, chunk = np.int64(0), np.int64(memory.heads[owner]) - 1
    head = chunk
    while chunk >= 0:
        chunks += 1
        for place in range(CHUNK * chunk, CHUNK * chunk + CHUNK):
            live += (np.int64(memory.live[place // BLOCK]) >> (place % BLOCK)) & 1
        chunk = np.int64(memory.following[chunk]) - 1
    needed = (live + CHUNK - 1) // CHUNK
    if needed >= chunks or live >= least * chunks * CHUNK:
        return 0
    room = header[H_CHUNKS] - header[H_USED]
    room += max(writing.counts[1] - writing.counts[0] - RESTING, 0)
    if room < needed:
        return -1
    first = _chain(needed, owner, memory, writing)
    target, done = first - 1, np.int64(0)
    chunk = head
    while chunk >= 0:
        for place in range(CHUNK * chunk, CHUNK * chunk + CHUNK):
            if (np.int64(memory.live[place // BLOCK]) >> (place % BLOCK)) & 1:
                _copy(place, CHUNK * target + done, memory)
                done += 1
                if done == CHUNK:
                    target, done = np.int64(memory.following[target]) - 1, np.int64(0)
        chunk = np.int64(memory.following[chunk]) - 1
    store(memory.heads, owner, np.int32(first))
    store(memory.versions, owner, np.int32(memory.versions[owner] + 1))
    store(header, 1, np.int64(header[H_REPACKED] + chunks))  # H_REPACKED
    _moved(first - 1, memory)
    writing.free[owner] = 0
    if done > 0:
        for i in range(CHUNK - done):
            _give(CHUNK * target + CHUNK - 1 - i, owner, writing)
    _give_back(head, memory, writing)
    return int(chunks - needed)


@inner
def _moved(chunk: Any, memory: Memory) -> None:
    """Enter the places of a chain in `places`."""
    while chunk >= 0:
        for place in range(CHUNK * chunk, CHUNK * chunk + CHUNK):
            if (np.int64(memory.live[place // BLOCK]) >> (place % BLOCK)) & 1:
                store(memory.places, memory.marks[place] & _SLOT, np.int32(place + 1))
        chunk = np.int64(memory.following[chunk]) - 1


@inner
def _give_back(chunk: Any, memory: Memory, writing: Writing) -> None:
    """Take the live bits of a chain's chunks away and keep them for later, the oldest first."""
    while chunk >= 0:
        for block in range(BLOCKS * chunk, BLOCKS * chunk + BLOCKS):
            store(memory.live, block, np.int32(0))
        memory.owners[chunk] = 0
        writing.spare[writing.counts[1] % len(writing.spare)] = chunk
        writing.counts[1] += 1
        chunk = np.int64(memory.following[chunk]) - 1


@compiled
def recover(memory: Memory, writing: Writing) -> None:
    """Fill what the writer alone keeps, all zeros, from what is shared."""
    for chunk in range(memory.header[H_USED]):
        owner = np.int64(memory.owners[chunk]) - 1
        if owner < 0:
            writing.spare[writing.counts[1] % len(writing.spare)] = chunk
            writing.counts[1] += 1
            continue
        if memory.following[chunk] == 0:
            writing.tails[owner] = chunk + 1
        for i in range(CHUNK):
            place = np.int64(CHUNK * chunk + CHUNK - 1 - i)
            if not (np.int64(memory.live[place // BLOCK]) >> (place % BLOCK)) & 1:
                _give(place, owner, writing)


@compiled
def read_rows(slots: Array, memory: Memory, out: Array) -> None:
    """Copy the vectors of slots into out [slots, dim]; zeros for those not there."""
    dim = out.shape[1]
    for i in range(len(slots)):
        slot = np.int64(slots[i])
        for k in range(dim):
            out[i, k] = 0
        while 0 <= slot < len(memory.places):
            place = np.int64(load(memory.places, slot)) - 1
            if place < 0 or place >= len(memory.marks):
                break
            before = load(memory.marks, place)
            for k in range(dim):
                out[i, k] = memory.rows[place, k]
            fence()
            if (
                load(memory.marks, place) == before
                and before & _SLOT == slot
                and not ((before >> 32) & 1)
            ):
                break
