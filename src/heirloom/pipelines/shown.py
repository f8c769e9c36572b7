"""Shown: what each person was shown lately, and what they opened of it, folded from the log."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import ENGAGEMENT_KINDS, KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike
from heirloom.retrieval.top import fitted

Array = NDArray[Any]

KEPT = 1 << 24
"""Places of slates that are kept at most, of all people together: 5 bytes each, and 29 a slate."""
_PLACES_PER_SLATE = 8
"""Slates are kept for so many places each; of shorter ones fewer places are kept."""
POSITIONS = 64
"""Chances are told apart by so many positions; all further are like the last."""
_SURFACES = 8
_BACK = 32
"""An action is looked for in so many of the person's latest slates."""
_IMPRESSION, _LISTED = KIND_CODE[Kind.IMPRESSION], KIND_CODE[Kind.LISTED]
_OPENING = sum(1 << KIND_CODE[kind] for kind in ENGAGEMENT_KINDS)
_DOUBT_OPENED, _DOUBT_SHOWN = 1.0, 20.0
_SLATE = np.dtype(
    [("t", "<i8"), ("first", "<i8"), ("before", "<i8"), ("count", "<i4"), ("surface", "i1")]
)
_SLATES, _PLACES = range(2)


class Seen(NamedTuple):
    """What one person was shown, the latest slate first, columns [places].

    Attributes:
        slot: int32.
        t: int64, ms.
        slate: int64, a number for each slate.
        opened: bool.
        offset: float64, logit of the chance that anybody opens what stands in such a place.
    """

    slot: Array
    t: Array
    slate: Array
    opened: Array
    offset: Array


class Shown:
    """The latest slates of each person. One writer; reads only read.

    Memory is bounded by `kept` places for all people: of those who come seldom, the oldest are
    forgotten first. However the log is cut into calls of `apply`, the answers are the same.

    Raises:
        InputError: there is no room for a slate.
    """

    def __init__(self, kept: int = KEPT) -> None:
        if kept < 1:
            raise InputError(f"Shown: kept={kept} places; wanted at least 1")
        self.kept = kept
        self._slates_kept = -(-kept // _PLACES_PER_SLATE)
        self._latest = np.zeros(0, np.int64)  # [people], number of the slate + 1
        self._slates = np.zeros(0, _SLATE)  # by number, modulo their count
        self._slot = np.zeros(0, np.int32)  # [places] by number, modulo `kept`
        self._place = np.zeros(0, np.uint8)  # position, and 128 where it was opened
        self._used = np.zeros(2, np.int64)
        self._tries = np.zeros((_SURFACES, POSITIONS, 2), np.int64)  # shown, opened
        self._expected, self._opened = np.zeros(0), np.zeros(0, np.int32)  # [slots]

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log."""
        events = facts.events
        if not facts.kinds & (1 << _IMPRESSION | 1 << _LISTED | _OPENING):
            return
        self._latest = fitted(self._latest, int(events["person"].max(initial=0)) + 1)
        shown = events["kind"] == _IMPRESSION
        places = int(np.diff(facts.starts)[shown].sum())
        size = min(int(self._used[_PLACES]) + places, self.kept)
        self._slot, self._place = fitted(self._slot, size), fitted(self._place, size)
        slates = min(int(self._used[_SLATES] + shown.sum()), self._slates_kept)
        self._slates = fitted(self._slates, slates)
        kind, surface, person, t = facts.of_events("kind", "surface", "person", "t")
        slot, position = facts.of_listings("slot", "position")
        slots = int(slot.max(initial=-1)) + 1
        self._expected, self._opened = fitted(self._expected, slots), fitted(self._opened, slots)
        _fold(
            self._latest,
            self._slates,
            self._slot,
            self._place,
            self._used,
            self._tries,
            self._expected,
            self._opened,
            kind,
            surface,
            person,
            t,
            facts.starts,
            slot,
            position,
            self.kept,
            self._slates_kept,
        )

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        names = ("latest", "slates", "slot", "place", "used", "tries", "expected", "opened")
        return {"kept": np.array([self.kept])} | {name: vars(self)[f"_{name}"] for name in names}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Shown", arrays, self.arrays())
        if own.pop("kept").tolist() != [self.kept]:
            raise InputError(f"Shown: of another number of places than {self.kept}")
        vars(self).update({f"_{name}": array for name, array in own.items()})

    @property
    def tally(self) -> tuple[Array, Array]:
        """Openings expected of each listing by its places, and those that came: [slots] each.

        float64 and int32, not to be written to.
        """
        return self._expected, self._opened

    def of(self, person: int, places: int) -> Seen:
        """The person's latest `places` at most; none for who was shown nothing."""
        number = int(self._latest[person]) if 0 < person < len(self._latest) else 0
        seen = (
            np.empty(places, np.int32),
            np.empty(places, np.int64),
            np.empty(places, np.int64),
            np.empty(places, np.bool_),
            np.empty(places),
        )
        found = _walk(
            number,
            self._slates,
            self._slot,
            self._place,
            self._used,
            self._tries,
            self.kept,
            self._slates_kept,
            seen,
        )
        slot, t, slate, opened, chance = (column[:found] for column in seen)
        return Seen(slot, t, slate, opened, np.log(chance))


@njit(cache=True)
def _fold(
    latest: Array,
    slates: Array,
    slot: Array,
    place: Array,
    used: Array,
    tries: Array,
    expected: Array,
    opened: Array,
    kind: Array,
    surface: Array,
    person: Array,
    t: Array,
    starts: Array,
    row_slot: Array,
    row_position: Array,
    kept: int,
    slates_kept: int,
) -> None:
    """Fold events, one after the other. There is room."""
    for e in range(len(kind)):
        who = person[e]
        if kind[e] == _LISTED:
            for i in range(starts[e], starts[e + 1]):
                if row_slot[i] >= 0:
                    expected[row_slot[i]] = opened[row_slot[i]] = 0
        if who <= 0:
            continue
        if kind[e] == _IMPRESSION:
            number, first = used[_SLATES], used[_PLACES]
            count = 0
            for i in range(starts[e], starts[e + 1]):
                if row_slot[i] < 0 or count == kept:
                    continue
                stated = row_position[i]
                position = stated if stated >= 0 else i - starts[e]
                at = (first + count) % kept
                slot[at] = row_slot[i]
                place[at] = min(position, 127)
                tried = tries[surface[e], min(position, POSITIONS - 1)]
                chance = (tried[1] + _DOUBT_OPENED) / (tried[0] + _DOUBT_OPENED + _DOUBT_SHOWN)
                expected[row_slot[i]] += chance
                tried[0] += 1
                count += 1
            if count == 0:
                continue
            made = slates[number % slates_kept]
            made["t"], made["first"], made["before"] = t[e], first, latest[who]
            made["count"], made["surface"] = count, surface[e]
            latest[who] = number + 1
            used[_SLATES], used[_PLACES] = number + 1, first + count
        elif _OPENING >> kind[e] & 1 and starts[e] < starts[e + 1]:
            _open(
                latest[who],
                slates,
                slot,
                place,
                used,
                tries,
                opened,
                row_slot[starts[e]],
                kept,
                slates_kept,
            )


@njit(cache=True)
def _open(
    number: int,
    slates: Array,
    slot: Array,
    place: Array,
    used: Array,
    tries: Array,
    opened: Array,
    wanted: int,
    kept: int,
    slates_kept: int,
) -> None:
    """Mark where the person was shown the listing last."""
    for _ in range(_BACK):
        if number == 0 or number <= used[_SLATES] - slates_kept:
            return
        of = slates[(number - 1) % slates_kept]
        if of["first"] < used[_PLACES] - kept:
            return
        for i in range(of["first"], of["first"] + of["count"]):
            at = i % kept
            if slot[at] == wanted:
                if place[at] < 128:
                    tries[of["surface"], min(place[at], POSITIONS - 1), 1] += 1
                    place[at] += 128
                    opened[wanted] += 1
                return
        number = of["before"]


@njit(cache=True)
def _walk(
    number: int,
    slates: Array,
    slot: Array,
    place: Array,
    used: Array,
    tries: Array,
    kept: int,
    slates_kept: int,
    seen: Any,
) -> int:
    """Write a person's latest places, as `Seen` but for the offset's logarithm; gives how many."""
    slots, times, of_slate, opened, chances = seen
    found = 0
    while number > max(used[_SLATES] - slates_kept, 0):
        of = slates[(number - 1) % slates_kept]
        if of["first"] < used[_PLACES] - kept:
            break
        for i in range(of["first"], of["first"] + of["count"]):
            if found == len(slots):
                return found
            at = i % kept
            tried = tries[of["surface"], min(place[at] & 127, POSITIONS - 1)]
            slots[found], times[found], of_slate[found] = slot[at], of["t"], number - 1
            opened[found] = place[at] >= 128
            passed = tried[0] - tried[1] + _DOUBT_SHOWN
            chances[found] = (tried[1] + _DOUBT_OPENED) / passed
            found += 1
        number = of["before"]
    return found
