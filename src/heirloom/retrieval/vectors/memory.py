"""Memory of an index: the arrays that one writer and many readers share, and how they grow.

A **place** is where a vector lies: `slots` are the listings' numbers, as everywhere. Places are
in the order of lists: 128 places are a chunk, chunks are chained into lists, 32 places are a block
with one word of live bits. Zeros mean nothing everywhere, so an array may grow by zeros.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.vectors.lanes import BLOCKS, CHUNK

Array = NDArray[Any]

# Places in Memory.header.
H_WRITTEN, H_REPACKED, H_USED, H_LIVE, H_CHUNKS, H_SLOTS, H_CLOSED = range(7)
RECENT: Final = 4_096
"""Places remembered as written last: what a search in progress may have passed already."""


class Memory(NamedTuple):
    """The shared arrays.

    header: [8] int64 as the H_ names say: places written so far, chunks given back so far, chunks
    used, live places, chunks and slots there is room for, whether readers are to move on. codes:
    uint8, [blocks, dim / 2, 32] flat. rows: [places, dim] float32. marks: [places] int64,
    generation << 32 | slot; an odd generation is being written. live: [blocks] int32, a bit a
    place. narrow, wide: [chunks, columns, 128] int32 and int64. following: [chunks] int32, the next
    chunk of the list + 1. owners: [chunks] int32, its list + 1. heads: [lists] int32, the first
    chunk + 1. versions: [lists] int32, how often it was re-packed. recent: [4096] int32, a ring of
    places. places: [slots] int32, place + 1.
    """

    header: Array
    codes: Array
    rows: Array
    marks: Array
    live: Array
    narrow: Array
    wide: Array
    following: Array
    owners: Array
    heads: Array
    versions: Array
    recent: Array
    places: Array


class Layout(NamedTuple):
    """What the shapes of a Memory follow from, besides its room."""

    dim: int
    lists: int
    narrow: int
    wide: int

    def shapes(self, chunks: int, slots: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Shape and dtype of each array with room for so many chunks and slots."""
        places = CHUNK * chunks
        return {
            "header": ((8,), np.int64),
            "codes": ((places * self.dim // 2,), np.uint8),
            "rows": ((places, self.dim), np.float32),
            "marks": ((places,), np.int64),
            "live": ((BLOCKS * chunks,), np.int32),
            "narrow": ((chunks, self.narrow, CHUNK), np.int32),
            "wide": ((chunks, self.wide, CHUNK), np.int64),
            "following": ((chunks,), np.int32),
            "owners": ((chunks,), np.int32),
            "heads": ((self.lists,), np.int32),
            "versions": ((self.lists,), np.int32),
            "recent": ((RECENT,), np.int32),
            "places": ((slots,), np.int32),
        }


class Storage(Protocol):
    """Where the arrays lie."""

    def fitted(self, layout: Layout, memory: Memory | None, chunks: int, slots: int) -> Memory:
        """A memory with at least that room that holds what `memory` holds; zeros beyond.

        The header says how much room there is. None: an empty one.
        """


class InProcess:
    """Arrays of this process."""

    def fitted(self, layout: Layout, memory: Memory | None, chunks: int, slots: int) -> Memory:
        """Copies into longer arrays."""
        arrays = {}
        for name, (shape, dtype) in layout.shapes(chunks, slots).items():
            array: Array = np.zeros(shape, dtype)
            if memory is not None:
                old = getattr(memory, name)
                array[: len(old)] = old
            arrays[name] = array
        arrays["header"][H_CHUNKS], arrays["header"][H_SLOTS] = chunks, slots
        return Memory(**arrays)


def used(layout: Layout, memory: Memory) -> dict[str, Array]:
    """What of each array holds something: to be kept in a snapshot."""
    header = memory.header
    slots = int(header[H_SLOTS])
    shapes = layout.shapes(int(header[H_USED]), slots)
    return {name: getattr(memory, name)[: shape[0]] for name, (shape, _) in shapes.items()}


def taken(arrays: Mapping[str, Array]) -> Memory:
    """The memory of these arrays themselves, as `used` gave them or with room beyond."""
    header = arrays["header"].copy()
    header[[H_CHUNKS, H_SLOTS]] = len(arrays["following"]), len(arrays["places"])
    return Memory(**{**arrays, "header": header})


def refilled(layout: Layout, arrays: Mapping[str, Array], storage: Storage) -> Memory:
    """A memory that holds what `used` gave."""
    chunks, slots = len(arrays["following"]), len(arrays["places"])
    memory = storage.fitted(layout, None, max(chunks, 1), max(slots, 1))
    room = memory.header[[H_CHUNKS, H_SLOTS]].copy()
    for name, array in arrays.items():
        getattr(memory, name)[: len(array)] = array
    memory.header[[H_CHUNKS, H_SLOTS]] = room
    return memory
