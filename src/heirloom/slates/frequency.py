"""Frequency: how often a listing was shown to a person who did nothing with it."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import ENGAGEMENT_KINDS, KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.slates.luck import mixed

PAIRS = 1 << 20
"""Pairs of a person and a listing that are remembered by default: 16 MiB."""
WAYS = 8

Array = NDArray[Any]
_PERSON, _SLOT, _OPENING, _SHOWN = range(4)
_IMPRESSION, _LISTED = KIND_CODE[Kind.IMPRESSION], KIND_CODE[Kind.LISTED]
_ACTION_KINDS = sum(1 << KIND_CODE[kind] for kind in ENGAGEMENT_KINDS)
"""After one of these the count begins anew."""


class Frequency:
    """Counts of impressions by person and listing, of the pairs shown last.

    Memory is bounded: a pair has its place in one of many sets of eight, and a ninth takes the
    place of the one not shown for longest. So a count may be forgotten and is never too high.
    A slot is remembered with the number of its opening: a listing in a reused slot begins at 0.
    The same log gives the same counts, however it is cut into calls of `apply`.

    Args:
        pairs: how many are remembered at most; a power of two, 16 bytes each.
    """

    def __init__(self, pairs: int = PAIRS) -> None:
        if pairs < WAYS or pairs & (pairs - 1):
            raise ValueError(f"Frequency: pairs={pairs}; wanted a power of two, at least {WAYS}")
        self._sets = np.zeros((pairs // WAYS, WAYS, 4), np.int32)
        self._opening = np.zeros(0, np.int32)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._sets.nbytes + self._opening.nbytes

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"sets": self._sets, "opening": self._opening}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Frequency", arrays, self.arrays())
        if own["sets"].shape != self._sets.shape:
            pairs = self._sets[..., 0].size
            raise InputError(f"Frequency: of another number of pairs than {pairs}")
        self._sets, self._opening = own["sets"], own["opening"]

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log."""
        (slots,) = facts.of_listings("slot")
        if not len(slots):
            return
        most = int(slots.max())
        if most >= len(self._opening):
            grown = np.zeros(max(most + 1, len(self._opening) * 9 // 8), np.int32)
            grown[: len(self._opening)] = self._opening
            self._opening = grown
        kinds, persons = facts.of_events("kind", "person")
        _fold(self._sets, self._opening, facts.starts, kinds, persons, slots)

    def shown(self, person: int, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """[slots] int32: how often each was shown to a person since the person acted on it.

        Args:
            person: vocabulary code; 0 is nobody, to whom nothing was shown.
            slots: [slots] int32.
        """
        counts: NDArray[np.int32] = _shown(self._sets, self._opening, person, slots)
        return counts


@njit(cache=True, nogil=True)
def _set_of(person: int, slot: int, sets: int) -> int:
    bits = mixed(np.uint64(person) << np.uint64(32) | np.uint64(slot))
    return int(bits & np.uint64(sets - 1))


@njit(cache=True, nogil=True)
def _fold(
    sets: Array, opening: Array, starts: Array, kinds: Array, persons: Array, slots: Array
) -> None:
    for e in range(len(kinds)):
        kind, person = kinds[e], persons[e]
        seen, acts = kind == _IMPRESSION, _ACTION_KINDS >> kind & 1
        if not (kind == _LISTED or (person > 0 and (seen or acts))):
            continue
        for m in range(starts[e], starts[e + 1]):
            slot = slots[m]
            if slot < 0:
                continue
            if kind == _LISTED:
                opening[slot] += 1
            else:
                ways = sets[_set_of(person, slot, len(sets))]
                _touch(ways, person, slot, opening[slot], seen)


@njit(cache=True, nogil=True)
def _touch(ways: Array, person: int, slot: int, opening: int, seen: bool) -> None:
    """Count a pair once more and put it first in its set; one acted on begins anew."""
    at = 0
    while at < WAYS - 1 and (ways[at, _PERSON] != person or ways[at, _SLOT] != slot):
        at += 1
    same = ways[at, _PERSON] == person and ways[at, _SLOT] == slot and ways[at, _OPENING] == opening
    shown = ways[at, _SHOWN] + 1 if same and seen else np.int32(seen)
    if not seen and not same:
        return
    for i in range(at, 0, -1):
        for field in range(4):
            ways[i, field] = ways[i - 1, field]
    ways[0, _PERSON], ways[0, _SLOT] = person, slot
    ways[0, _OPENING], ways[0, _SHOWN] = opening, shown


@njit(cache=True, nogil=True)
def _shown(sets: Array, opening: Array, person: int, slots: Array) -> Array:
    counts = np.zeros(len(slots), np.int32)
    if person <= 0:
        return counts
    for i in range(len(slots)):
        slot = slots[i]
        if not 0 <= slot < len(opening):
            continue
        ways = sets[_set_of(person, slot, len(sets))]
        for at in range(WAYS):
            if ways[at, _PERSON] == person and ways[at, _SLOT] == slot:
                if ways[at, _OPENING] == opening[slot]:
                    counts[i] = ways[at, _SHOWN]
                break
    return counts
