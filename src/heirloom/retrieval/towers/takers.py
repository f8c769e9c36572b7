"""Takers: how often each listing is taken lately, and by people who state what."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import MAX_DECLARED, Facts
from heirloom.core.kept import Arrays, Given, alike, joined, object_of, of_object, within
from heirloom.retrieval.decayed import Decay
from heirloom.retrieval.rate import DAY_MS
from heirloom.retrieval.shelf import LISTED, Shelf, mentions
from heirloom.retrieval.top import fitted

DEMAND_DAYS = (1.5, 4.0, 10.0, 30.0, 90.0, 365.0)
"""Half-lives of what is counted of a listing alone."""
PROFILE_DAYS = (60.0, 400.0)
"""Half-lives of what is counted by declared value: more cells, so a longer memory."""
PRIOR = 8.0
"""Events by which a listing's shares are shrunk to its category's, and these to all."""
AGE_BANDS_DAYS = (3, 7, 14, 30, 60, 120, 365)
_ENDED = (KIND_CODE[Kind.SOLD], KIND_CODE[Kind.REMOVED])

Floats = NDArray[np.float32]
_LEAST = 1e-3
"""Nothing taken yet is not the log of 0."""


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The values and categories that a model knows; others are as if not stated.

    Attributes:
        values: [values, 2] int32, number of the declared attribute and code of the value, sorted.
        categories: [categories] int32, codes, ascending; one more stands for all others.
    """

    values: NDArray[np.int32]
    categories: NDArray[np.int32]

    def of_declared(self, declared: NDArray[np.int32]) -> NDArray[np.intp]:
        """[events, MAX_DECLARED] row in `values` of each code; -1 where it is not known.

        >>> known = Alphabet(np.array([[0, 2], [1, 1]], np.int32), np.array([4], np.int32))
        >>> known.of_declared(np.array([[2, 1, 0, 0, 0, 0, 0, 0]], np.int32)).tolist()
        [[0, 1, -1, -1, -1, -1, -1, -1]]
        """
        top = int(max(declared.max(initial=0), self.values[:, 1].max(initial=0))) + 1
        table = np.full((MAX_DECLARED, top), -1, np.intp)
        table[self.values[:, 0], self.values[:, 1]] = np.arange(len(self.values))
        rows: NDArray[np.intp] = table[np.arange(MAX_DECLARED), declared]
        return rows

    def of_categories(self, codes: NDArray[np.int32]) -> NDArray[np.intp]:
        """[listings] row in `categories`; their number where it is not known."""
        at = np.searchsorted(self.categories, codes)
        inside = np.minimum(at, len(self.categories) - 1)
        known = self.categories[inside] == codes if len(self.categories) else np.zeros(len(codes))
        return np.where(known, at, len(self.categories))


@dataclass(frozen=True, slots=True)
class Listings:
    """What is known of some listings as of a moment.

    Attributes:
        lifts: for each of PROFILE_DAYS [listings, values] float32, the log of P(value | listing)
            over P(value), of those who took it.
        numbers: [listings, NUMBERS] float32, logs of demand, age and what is usual for its like.
        categories: [listings] rows in the alphabet.
    """

    lifts: tuple[Floats, ...]
    numbers: Floats
    categories: NDArray[np.intp]


NUMBERS = 21


class Takers:
    """Decayed counts by listing, and by listing and declared value, folded from the log.

    Sums by declared value and listing are dense: 8 bytes a value and slot.

    Args:
        kinds: the kinds of event by which a listing is taken.
    """

    def __init__(self, kinds: Collection[str] = (Kind.PURCHASE.value,)) -> None:
        self.taken_by = np.zeros(len(Kind), np.bool_)
        self.taken_by[[KIND_CODE[Kind(kind)] for kind in kinds]] = True
        self.shelf = Shelf()
        self.on_offer = np.zeros(0, np.bool_)
        self._total = np.zeros(0, np.int64)
        self._last = np.zeros(0, np.int64)
        self._demand = [_Sums(days) for days in DEMAND_DAYS]
        self._profile = [_Sums(days) for days in PROFILE_DAYS]
        self._columns: dict[tuple[int, int], int] = {}

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        sums = {f"sums.{at}": each for at, each in enumerate((*self._demand, *self._profile))}
        return {
            "taken_by": self.taken_by,
            "on_offer": self.on_offer,
            "total": self._total,
            "last": self._last,
            "columns": of_object(list(self._columns)),
            **joined({name: each.arrays() for name, each in sums.items()}),
            **joined({"shelf": self.shelf.arrays()}),
        }

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self.shelf.restore(within(arrays, "shelf"))
        for at, each in enumerate((*self._demand, *self._profile)):
            each.restore(within(arrays, f"sums.{at}"))
        like = ("taken_by", "on_offer", "total", "last", "columns")
        own = alike("Takers", arrays, {name: self.arrays()[name] for name in like})
        if own["taken_by"].tolist() != self.taken_by.tolist():
            raise InputError("Takers: counted by other kinds of events")
        self.on_offer, self._total, self._last = own["on_offer"], own["total"], own["last"]
        columns = object_of(own["columns"], list[tuple[int, int]])
        self._columns = {pair: at for at, pair in enumerate(columns)}

    def apply(self, facts: Facts) -> None:
        """Fold stock events and what was taken; the cuts of the log do not matter."""
        if not len(facts):
            return
        self.shelf.apply(facts)
        opened = self._fold_stock(facts)
        slots, events = self.taken(facts)
        own = events > opened[slots]  # before, the slot held another listing
        slots, events = slots[own], events[own]
        t, declared = facts.events["t"][events], facts.events["declared"][events]
        latest = int(facts.events["t"].max())
        for sums in (*self._demand, *self._profile):
            sums.to(latest)
        np.add.at(self._total, slots, 1)
        self._last[slots] = t
        for sums in self._demand:
            sums.add(slots, np.zeros(len(slots), np.intp), t)
        rows, fields = np.nonzero(declared)
        codes = zip(fields.tolist(), declared[rows, fields].tolist(), strict=True)
        known = self._columns
        columns = np.array([known.setdefault(pair, len(known)) for pair in codes], np.intp)
        for sums in self._profile:
            sums.add(slots[rows], columns, t[rows])

    def taken(self, facts: Facts) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Slots taken and the events that took them, in log order."""
        events, rows = mentions(facts, self.taken_by[facts.events["kind"]])
        inside = rows["slot"] < self.shelf.size
        return rows["slot"][inside].astype(np.int64), events[inside]

    def listings(self, slots: NDArray[np.intp], t: int, known: Alphabet) -> Listings:
        """What is known of listings in these slots as of t, ms."""
        categories = known.of_categories(self.shelf.column("category"))
        lifts = tuple(self._lifts(sums, slots, categories, t, known) for sums in self._profile)
        return Listings(lifts, self._numbers(slots, categories, t), categories[slots])

    # --- folding ---------------------------------------------------------------------------

    def _fold_stock(self, facts: Facts) -> NDArray[np.int64]:
        """Open and close listings; gives [slots] the event that last opened each slot, else -1."""
        size = self.shelf.size
        self.on_offer = fitted(self.on_offer, size)
        self._total, self._last = fitted(self._total, size), fitted(self._last, size)
        kinds = facts.events["kind"]
        events, rows = mentions(facts, np.isin(kinds, (LISTED, *_ENDED)))
        inside = rows["slot"] < size
        events, slots = events[inside], rows["slot"][inside]
        listed = kinds[events] == LISTED
        self.on_offer[slots] = listed  # of several events of a slot the last one stands
        opened = np.full(len(self._total), -1, np.int64)
        opened[slots[listed]] = events[listed]
        anew = np.flatnonzero(opened >= 0)
        self._total[anew] = 0
        self._last[anew] = 0
        for sums in (*self._demand, *self._profile):
            sums.reach(size)
            sums.sums[anew] = 0
        return opened

    # --- reading ---------------------------------------------------------------------------

    def _lifts(
        self,
        sums: "_Sums",
        slots: NDArray[np.intp],
        categories: NDArray[np.intp],
        t: int,
        known: Alphabet,
    ) -> Floats:
        """As in Popular: log of (n + prior · P(value | category)) / (N + prior) / P(value)."""
        columns = [self._columns.get((int(f), int(code)), -1) for f, code in known.values]
        counts = np.zeros((self.shelf.size, len(columns)))
        there = np.flatnonzero(np.array(columns, np.intp) >= 0)
        counts[:, there] = sums.read(t, self.shelf.size)[:, np.array(columns, np.intp)[there]]
        fields = known.values[:, 0]
        of_field = np.equal.outer(fields, np.arange(MAX_DECLARED)).astype(np.float64)
        by_category = np.zeros((len(known.categories) + 1, len(columns)))
        np.add.at(by_category, categories, counts)
        every = by_category.sum(axis=0)
        share = (every + 0.5) / (every @ of_field + 0.5 * of_field.sum(axis=0))[fields]
        usual = (by_category + PRIOR * share) / (by_category @ of_field + PRIOR)[:, fields]
        own = counts[slots]
        stated = (own @ of_field + PRIOR)[:, fields]
        lifts: NDArray[np.float64] = np.log(
            (own + PRIOR * usual[categories[slots]]) / stated / share
        )
        return lifts.astype(np.float32)

    def _numbers(self, slots: NDArray[np.intp], categories: NDArray[np.intp], t: int) -> Floats:
        """[slots, NUMBERS] float32."""
        size = self.shelf.size
        counts = np.stack([sums.read(t, size)[:, 0] for sums in self._demand])
        own, total = counts[:, slots], self._total[slots]
        days = np.maximum(t - self.shelf.column("listed_at"), 0) / DAY_MS
        age, idle = days[slots], np.maximum(t - self._last[slots], 0) / DAY_MS
        rates = [np.log(own[i] / (1 - 2 ** (-(age + 1) / DEMAND_DAYS[i])) + 0.02) for i in (2, 3)]
        there = self.on_offer[:size]
        band = np.digitize(days, AGE_BANDS_DAYS)
        like = band * (int(categories.max(initial=0)) + 1) + categories
        numbers = np.stack(
            [
                *np.log1p(own),
                *np.log(own[1:5] + 0.05),
                np.log1p(total),
                np.log1p(age),
                np.log1p(idle),
                *rates,
                np.log(total / (age + 7) + _LEAST),
                *(_usual(counts[i], categories, there, 1.0)[slots] for i in (3, 5)),
                *(_usual(counts[i], band, there, 1.0)[slots] for i in (1, 3)),
                _usual(counts[3], like, there, 3.0)[slots],
            ],
            axis=1,
        )
        return numbers.astype(np.float32)


def _usual(
    counts: NDArray[np.float64], groups: NDArray[np.intp], there: NDArray[np.bool_], prior: float
) -> NDArray[np.float64]:
    """[slots] log of what a listing on offer of the same group has on average.

    Shrunk to the mean of all on offer by `prior` listings.

    >>> there = np.array([True, True, False])
    >>> np.exp(_usual(np.array([6.0, 0, 0]), np.array([0, 1, 2]), there, 1.0)).round(1).tolist()
    [4.5, 1.5, 3.0]
    """
    number = np.bincount(groups, there)
    mean = counts.sum() / max(int(there.sum()), 1) + _LEAST
    held = np.bincount(groups, counts, minlength=len(number))
    usual: NDArray[np.float64] = np.log((held + prior * mean) / (number + prior))[groups]
    return usual


@dataclass(slots=True)
class _Sums:
    """[slots, columns] float64, decayed sums under one half-life (`decayed.py`)."""

    days: float
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)))
    decay: Decay = field(init=False)

    def __post_init__(self) -> None:
        self.decay = Decay(int(self.days * DAY_MS))

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"sums": self.sums, **self.decay.arrays()}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self.decay.restore(arrays)
        sums = arrays.get("sums")
        if sums is None or sums.dtype != np.float64 or sums.ndim != 2:
            raise InputError("takers: no sums [slots, columns] in a snapshot")
        self.sums = sums

    def to(self, t: int) -> None:
        """Be ready to count events at t."""
        factor = self.decay.moved(t)
        if factor != 1.0:
            self.sums *= factor

    def reach(self, slots: int) -> None:
        """Have at least so many rows."""
        self.sums = fitted(self.sums, slots)

    def add(self, slots: NDArray[np.int64], columns: NDArray[np.intp], t: NDArray[Any]) -> None:
        """Count one at each slot and column, at its time."""
        wide = int(columns.max(initial=0)) + 1
        if wide > self.sums.shape[1]:
            wider = np.zeros((len(self.sums), max(wide, 2 * self.sums.shape[1])))
            wider[:, : self.sums.shape[1]] = self.sums
            self.sums = wider
        np.add.at(self.sums, (slots, columns), self.decay.weight(t))

    def read(self, t: int, slots: int) -> NDArray[np.float64]:
        """[slots, columns], as of t."""
        read: NDArray[np.float64] = self.sums[:slots] * self.decay.scale(t)
        return read
