"""People: what each person did last, and whom and what they hide, block, follow and save."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import MAX_DECLARED, Facts

ACTIONS = (Kind.CLICK, Kind.SAVE, Kind.MESSAGE, Kind.OFFER, Kind.PURCHASE)
"""Kinds that `recent` remembers."""

_IS_ACTION = np.array([kind in ACTIONS for kind in Kind])
_HIDE, _SAVE, _UNSAVE = (KIND_CODE[k] for k in (Kind.HIDE, Kind.SAVE, Kind.UNSAVE))
_BLOCK, _FOLLOW, _UNFOLLOW = (KIND_CODE[k] for k in (Kind.BLOCK, Kind.FOLLOW, Kind.UNFOLLOW))
_IS_CHOICE = np.array(
    [k in (_HIDE, _SAVE, _UNSAVE, _BLOCK, _FOLLOW, _UNFOLLOW) for k in range(len(Kind))]
)


class People:
    """What the log's first n entries tell of each person. One writer; reads only read.

    However the log is cut into calls of `apply`, the answers are the same. A slot is remembered
    with the number of its opening, so that a listing in a reused slot is never taken for the one
    that was there before.
    """

    def __init__(self, k: int = 50) -> None:
        if k < 1:
            raise InputError(f"People: k={k} actions to remember; wanted at least 1")
        self.k = k
        self.n = 0
        self._openings = 0
        self._opening = np.zeros(0, np.int32)  # [slots] number of the latest opening, 0 for none
        self._row = np.zeros(0, np.int32)  # [persons] row + 1, 0 for none
        self._rows = 0
        self._done = np.zeros(0, np.int64)  # [rows] actions so far: where the ring stands
        self._ring = np.zeros((0, k), _ACTION)
        self._declared = np.zeros((0, MAX_DECLARED), np.int32)  # [persons, declared]
        self._hidden: dict[int, dict[int, int]] = {}
        self._saved: dict[int, dict[int, int]] = {}
        self._blocked: dict[int, set[int]] = {}
        self._followed: dict[int, set[int]] = {}

    @classmethod
    def restored(cls, n: int, arrays: Mapping[str, NDArray[Any]]) -> "People":
        """The people whose `arrays()` at log offset n these are; it keeps copies.

        Raises:
            InputError: if they are not the arrays of people.
        """
        _check(arrays)
        openings, rows, k = arrays["meta"].tolist()
        people = cls(k)
        people.n, people._openings, people._rows = n, openings, rows
        people._row, people._done = arrays["row"].copy(), arrays["done"].copy()
        people._ring, people._declared = arrays["ring"].copy(), arrays["declared"].copy()
        hidden, saved = arrays["hidden"], arrays["saved"]
        slots = [arrays["ring"]["slot"].ravel(), hidden[:, 1], saved[:, 1]]
        reach = int(np.concatenate(slots).max(initial=-1)) + 1
        people._opening = np.zeros(max(reach, len(arrays["opening"])), np.int32)
        people._opening[: len(arrays["opening"])] = arrays["opening"]
        for rows_of, into in ((hidden, people._hidden), (saved, people._saved)):
            for person, slot, opening in rows_of.tolist():
                into.setdefault(person, {})[slot] = opening
        for name, sets in (("blocked", people._blocked), ("followed", people._followed)):
            for person, seller in arrays[name].tolist():
                sets.setdefault(person, set()).add(seller)
        return people

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is known, by name, without the room kept for growth.

        Copies, for snapshots and laws: the same log prefix gives the same bytes.
        """
        chosen = {
            "hidden": _flat(self._hidden),
            "saved": _flat(self._saved),
            "blocked": _flat(self._blocked, 2),
            "followed": _flat(self._followed, 2),
        }
        return {
            "meta": np.array([self._openings, self._rows, self.k], np.int64),
            "opening": _used(self._opening),
            "row": _used(self._row),
            "done": self._done[: self._rows].copy(),
            "ring": self._ring[: self._rows].copy(),
            "declared": _used(self._declared),
            **chosen,
        }

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log.

        Raises:
            InputError: if an entry was applied before.
        """
        if len(facts) == 0:
            return
        events = facts.events
        first = int(events["seq"][0])
        if first < self.n:
            raise InputError(
                f"People.apply: entry {first} came again, {self.n} are applied; "
                f"hand over the log from offset {self.n}"
            )
        self._state(events["person"], events["declared"])
        kinds = events["kind"]
        of_mention = np.repeat(np.arange(len(events)), np.diff(facts.starts))
        slots = facts.listings["slot"]
        openings = self._openings_of(kinds[of_mention], slots)
        known = (events["person"][of_mention] > 0) & (slots >= 0)
        acted = np.flatnonzero(known & _IS_ACTION[kinds[of_mention]])
        if len(acted):
            self._remember(events[of_mention[acted]], slots[acted], openings[acted])
        for event in np.flatnonzero(_IS_CHOICE[kinds] & (events["person"] > 0)).tolist():
            mentions = range(int(facts.starts[event]), int(facts.starts[event + 1]))
            self._choose(events[event], [(int(slots[m]), int(openings[m])) for m in mentions])
        self.n = int(events["seq"][-1]) + 1

    def recent(self, person: int) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]]:
        """The person's latest actions, newest first: slots, codes of kinds, times in ms.

        At most k of them, and only those whose slot still holds the listing it held then.
        """
        row = int(self._row[person]) - 1 if 0 < person < len(self._row) else -1
        if row < 0:
            return np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(0, np.int64)
        done = int(self._done[row])
        newest_first = np.arange(done - 1, max(done - self.k, 0) - 1, -1) % self.k
        actions = self._ring[row, newest_first]
        actions = actions[self._opening[actions["slot"]] == actions["opening"]]
        return actions["slot"].copy(), actions["kind"].copy(), actions["t"].copy()

    def declared(self, person: int) -> NDArray[np.int32]:
        """[MAX_DECLARED] int32, the code last stated of each declared attribute, 0 for none."""
        if not 0 < person < len(self._declared):
            return np.zeros(MAX_DECLARED, np.int32)
        declared: NDArray[np.int32] = self._declared[person].copy()
        return declared

    def hidden(self, person: int) -> set[int]:
        """Slots that the person hid."""
        return set(self._still(self._hidden.get(person, {})))

    def saved(self, person: int) -> NDArray[np.int32]:
        """Slots that the person saved and did not unsave, in the order they were saved."""
        return np.array(self._still(self._saved.get(person, {})), np.int32)

    def blocked(self, person: int) -> set[int]:
        """Codes of the sellers that the person blocked."""
        return set(self._blocked.get(person, ()))

    def followed(self, person: int) -> set[int]:
        """Codes of the sellers that the person follows."""
        return set(self._followed.get(person, ()))

    def _still(self, slots: dict[int, int]) -> list[int]:
        return [slot for slot, opening in slots.items() if self._opening[slot] == opening]

    def _openings_of(self, kinds: NDArray[np.int8], slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """[mentions] int32: number of the opening that each mention's slot stood under."""
        if not len(slots):
            return np.zeros(0, np.int32)
        self._opening = _grown(self._opening, int(slots.max()) + 1)
        openings = (
            np.where(slots >= 0, self._opening[slots], 0) if len(self._opening) else slots * 0
        )
        opened = np.flatnonzero((kinds == KIND_CODE[Kind.LISTED]) & (slots >= 0))
        if len(opened):
            numbers = self._openings + 1 + np.arange(len(opened), dtype=np.int32)
            self._openings += len(opened)
            # As of each mention: the last opening of its slot at or before it in this part.
            stride = len(slots)
            places = slots[opened].astype(np.int64) * stride + opened
            order = np.argsort(places)
            mine = slots.astype(np.int64) * stride + np.arange(stride)
            last = np.searchsorted(places[order], mine, side="right") - 1
            last = order[np.maximum(last, 0)]
            here = (slots[opened[last]] == slots) & (opened[last] <= np.arange(stride))
            openings = np.where(here, numbers[last], openings)
            self._opening[slots[opened]] = numbers  # of repeated slots, the last one stays
        return openings.astype(np.int32)

    def _state(self, persons: NDArray[np.int32], declared: NDArray[np.int32]) -> None:
        stated = np.flatnonzero((persons > 0) & declared.any(axis=1))
        if not len(stated):
            return
        self._declared = _grown(self._declared, int(persons[stated].max()) + 1)
        for j in range(MAX_DECLARED):
            rows = stated[declared[stated, j] != 0]
            self._declared[persons[rows], j] = declared[rows, j]  # of several, the last one stays

    def _remember(
        self, events: NDArray[Any], slots: NDArray[np.int32], openings: NDArray[np.int32]
    ) -> None:
        persons = events["person"]
        self._row = _grown(self._row, int(persons.max()) + 1)
        new, first = np.unique(persons[self._row[persons] == 0], return_index=True)
        if len(new):
            self._row[new[np.argsort(first)]] = self._rows + 1 + np.arange(len(new))
            self._rows += len(new)
            self._done = _grown(self._done, self._rows)
            self._ring = _grown(self._ring, self._rows)
        rows = self._row[persons] - 1
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
        sizes = np.diff(np.r_[starts, len(rows)])
        place = self._done[rows] + np.arange(len(rows)) - np.repeat(starts, sizes)
        actions = np.zeros(len(rows), _ACTION)
        actions["slot"], actions["opening"] = slots[order], openings[order]
        actions["kind"], actions["t"] = events["kind"][order], events["t"][order]
        self._ring[rows, place % self.k] = actions  # of repeated places, the last one stays
        self._done[rows[starts]] += sizes

    def _choose(self, event: Any, mentions: list[tuple[int, int]]) -> None:
        kind, person, seller = int(event["kind"]), int(event["person"]), int(event["seller"])
        if kind == _BLOCK and seller:
            self._blocked.setdefault(person, set()).add(seller)
        elif kind == _FOLLOW and seller:
            self._followed.setdefault(person, set()).add(seller)
        elif kind == _UNFOLLOW:
            self._followed.get(person, set()).discard(seller)
        for slot, opening in mentions:
            if slot < 0:
                continue
            if kind == _HIDE:
                self._hidden.setdefault(person, {})[slot] = opening
            elif kind in (_SAVE, _UNSAVE):
                saved = self._saved.setdefault(person, {})
                saved.pop(slot, None)
                if kind == _SAVE:
                    saved[slot] = opening


_ACTION = np.dtype([("slot", "<i4"), ("opening", "<i4"), ("kind", "i1"), ("t", "<i8")])


_COLUMNS = {"hidden": 3, "saved": 3, "blocked": 2, "followed": 2}


def _flat(of: Mapping[int, dict[int, int] | set[int]], width: int = 3) -> NDArray[np.int64]:
    """[choices, 3] person, slot, opening, in the order chosen; of sets [choices, 2]."""
    rows: list[tuple[int, ...]] = []
    for person in sorted(of):
        chosen = of[person]
        if isinstance(chosen, set):
            rows += [(person, one) for one in sorted(chosen)]
        else:
            rows += [(person, slot, opening) for slot, opening in chosen.items()]
    return np.array(rows, np.int64).reshape(-1, width)


def _used(array: NDArray[Any]) -> NDArray[Any]:
    """A copy without the zero rows at the end."""
    rows = array.any(axis=1) if array.ndim > 1 else array != 0
    return array[: int(np.flatnonzero(rows).max(initial=-1)) + 1].copy()


def _check(arrays: Mapping[str, NDArray[Any]]) -> None:
    empty = People().arrays()
    for name, like in empty.items():
        array = arrays.get(name)
        if array is None or array.dtype != like.dtype or array.ndim != like.ndim:
            came = "nothing" if array is None else f"{array.dtype} of {array.ndim} dimensions"
            raise InputError(
                f"People.restored: {name!r} is {came}; wanted {like.dtype} of {like.ndim}: these "
                "are not the arrays of people; fold the log instead"
            )
    rows, ring = arrays["meta"], arrays["ring"]
    widths = all(arrays[name].shape[1] == width for name, width in _COLUMNS.items())
    if (
        rows.shape != (3,)
        or not widths
        or arrays["declared"].shape[1] != MAX_DECLARED
        or ring.shape != (rows[1], rows[2])
        or len(arrays["done"]) != rows[1]
        or arrays["row"].max(initial=0) > rows[1]
    ):
        raise InputError("People.restored: the arrays are not of one state; fold the log instead")


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for `size` rows, zeros behind; at least doubled when it grows."""
    if size <= len(array):
        return array
    grown = np.zeros((max(size, 2 * len(array), 64), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
