"""History: people's events in order, as the person encoder reads them. numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.core.event import SURFACE_CODE, Kind

EVENTS = 50
"""The latest so many events of a person are read."""
KINDS = 32
"""Rows kept for kinds of action; more than there are, so that one more needs no new model."""
SURFACES = 8
GAPS = 24
_FIRST_GAP_MS = 1_000

if len(Kind) > KINDS or len(SURFACE_CODE) >= SURFACES:
    raise ShapeError("history: more kinds or surfaces than the encoders keep rows for")


@dataclass(frozen=True, slots=True)
class Histories:
    """Events of people, one person after the other, each in order.

    Attributes:
        starts: [people + 1] int64, where each person's events begin; the last is their number.
        items: [events] int64, row of the item acted on, from 1; 0 is kept for padding.
        kinds: [events] int8, code of core.event.Kind.
        surfaces: [events] int8, code of the surface; 0 where it is not known.
        t: [events] int64, ms; all 0 where only the order is known.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int64]
    kinds: NDArray[np.int8]
    surfaces: NDArray[np.int8]
    t: NDArray[np.int64]

    def __post_init__(self) -> None:
        events = len(self.items)
        lengths = {name: len(getattr(self, name)) for name in ("kinds", "surfaces", "t")}
        if any(length != events for length in lengths.values()):
            raise ShapeError(f"Histories: items have {events} events but {lengths}")
        if not len(self.starts) or self.starts[0] != 0 or self.starts[-1] != events:
            raise ShapeError(f"Histories: starts must run from 0 to the {events} events")
        if np.any(np.diff(self.starts) < 0):
            raise ShapeError("Histories: starts run backwards; sort the events by person")
        if events and self.items.min() < 1:
            raise ShapeError("Histories: an item below 1; row 0 is kept for padding")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of_items(cls, sequences: list[NDArray[np.int64]]) -> "Histories":
        """Histories of which only the order of the items is known."""
        items = np.concatenate([*sequences, np.zeros(0, np.int64)]).astype(np.int64)
        starts = np.cumsum([0, *(len(sequence) for sequence in sequences)]).astype(np.int64)
        codes = np.zeros(len(items), np.int8)
        return cls(starts, items, codes, codes, np.zeros(len(items), np.int64))

    def taken(self, events: NDArray[np.int64], sizes: NDArray[np.int64]) -> "Histories":
        """Histories [sizes] made of these events, one person's after the other's.

        >>> one = Histories.of_items([np.array([5, 6, 7])])
        >>> one.taken(np.array([0, 2]), np.array([1, 1])).items
        array([5, 7])
        """
        return Histories(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            self.items[events],
            self.kinds[events],
            self.surfaces[events],
            self.t[events],
        )

    def owners(self) -> NDArray[np.int64]:
        """[events] int64, whose each event is."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


def gap_buckets(t: NDArray[np.int64]) -> NDArray[np.int64]:
    """[events] int64, log2 of the seconds since the event before, 1 … GAPS - 1; 0 for the first.

    A time that runs backwards counts as no time at all.

    >>> gap_buckets(np.array([0, 500, 2_500, 602_500])).tolist()
    [0, 1, 2, 10]
    >>> gap_buckets(np.zeros(0, np.int64)).tolist()
    []
    """
    gaps = np.maximum(np.diff(t), 0) / _FIRST_GAP_MS
    buckets = np.zeros(len(t), np.int64)
    buckets[1:] = np.clip(np.floor(np.log2(gaps + 1)) + 1, 1, GAPS - 1)
    return buckets
