"""Exposure: who was shown how much, and the lifts that hold groups to their share.

Folded from the log, so that it follows from what was shown, and a replay lifts the same.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike, of_object
from heirloom.slates.control import LEAST, in_force, step
from heirloom.slates.rules import GROUPS, Shares

DAY_MS = 86_400_000
Array = NDArray[Any]
_LISTED, _EDITED, _RESERVED, _RELEASED, _SOLD, _REMOVED, _IMPRESSION = (
    KIND_CODE[kind] for kind in (Kind.LISTED, Kind.EDITED, Kind.RESERVED, Kind.RELEASED,
                                 Kind.SOLD, Kind.REMOVED, Kind.IMPRESSION)
)  # fmt: skip
_GONE = (_RESERVED, _SOLD, _REMOVED)
_NEVER = np.iinfo(np.int64).max
_NEW, _LOW = range(len(GROUPS))
_PLACES = 1_024
_UNITS = np.round(2**20 / np.log2(np.arange(_PLACES) + 2)).astype(np.int64)
"""[places] int64, exposure of a place: 2²⁰ / log2(place + 2), the last for all further down."""
# Of what is counted between two steps.
_LISTINGS, _TOTAL, _OF_GROUP = range(3)
# Of what is held.
_STATE, _LIFT, _STOCK, _TARGET, _ACHIEVED = range(5)


@dataclass(frozen=True, slots=True)
class Held:
    """Where a group's share of exposure stands.

    Attributes:
        group: of GROUPS.
        stock: the group's share of the live stock.
        target: the share of exposure it is held to.
        achieved: its share between the last two steps of the controller; NaN before the first.
        lift: what its listings are lifted by now (`Rules`).
    """

    group: str
    stock: float
    target: float
    achieved: float
    lift: float


class _State(NamedTuple):
    """What the compiled loop writes to.

    live: [slots] bool. seller: [slots] int32. shown: [slots] int32, since listed. since: [sellers]
    int64, ms of the first listing. sold: [sellers] int32. counted: [2 + groups] int64, since the
    last step: listings shown, their exposure, and each group's. now: [1] int64, the latest time.
    held: [groups, 5] float64: the controller's lift, and `Held` but for the group.
    """

    live: Array
    seller: Array
    shown: Array
    since: Array
    sold: Array
    counted: Array
    now: Array
    held: Array


class _Asked(NamedTuple):
    """`Shares` as the compiled loop reads them."""

    targets: Array
    new_ms: int
    new_sales: int
    low_below: int
    every: int
    gain: float


class Exposure:
    """Exposure of listings since they were listed, and a controller for each group.

    Exposure of a place is 1 / log2(place + 2): the discount of Järvelin & Kekäläinen, "Cumulated
    gain-based evaluation of IR techniques", TOIS 2002, as in Singh & Joachims, "Fairness of
    exposure in rankings", KDD 2018. After each `every` listings shown the controllers take a step
    (`control.step`) by the shares since the last. Memory: 9 bytes a slot and 12 a seller.

    The same log gives the same lifts, bit for bit, however it is cut into calls of `apply`.
    """

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._asked = _Asked(
            np.array(shares.targets), int(shares.new_seller_days * DAY_MS),
            shares.new_seller_sales, shares.low_exposure_below, shares.every, shares.gain,
        )  # fmt: skip
        held = np.zeros((len(GROUPS), 5))
        held[:, _STATE], held[:, _ACHIEVED] = LEAST, np.nan
        self._state = _State(
            live=np.zeros(0, np.bool_),
            seller=np.zeros(0, np.int32),
            shown=np.zeros(0, np.int32),
            since=np.zeros(0, np.int64),
            sold=np.zeros(0, np.int32),
            counted=np.zeros(_OF_GROUP + len(GROUPS), np.int64),
            now=np.zeros(1, np.int64),
            held=held,
        )

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(array.nbytes for array in self._state)

    @property
    def lifts(self) -> NDArray[np.float64]:
        """[groups] float64, what listings of each are lifted by now; a copy."""
        lifts: NDArray[np.float64] = self._state.held[:, _LIFT].copy()
        return lifts

    @property
    def held(self) -> tuple[Held, ...]:
        """Where each group with a target stands, as of the controller's last step."""
        return tuple(
            Held(group, stock, target, achieved, lift)
            for (_, lift, stock, target, achieved), group, wanted in zip(
                self._state.held.tolist(), GROUPS, self.shares.targets, strict=True
            )
            if wanted
        )

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"shares": of_object(self.shares), **self._state._asdict()}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Exposure", arrays, self.arrays())
        if own.pop("shares").tobytes() != of_object(self.shares).tobytes():
            raise InputError(f"Exposure: counted for other shares than {self.shares}")
        self._state = _State(**own)

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log."""
        listings, events, state = facts.listings, facts.events, self._state
        if not len(events):
            return
        slots = int(listings["slot"].max(initial=-1)) + 1
        sellers = int(listings["seller"].max(initial=0)) + 1
        self._state = state = state._replace(
            live=_grown(state.live, slots),
            seller=_grown(state.seller, slots),
            shown=_grown(state.shown, slots),
            since=_grown(state.since, sellers, _NEVER),
            sold=_grown(state.sold, sellers),
        )
        _fold(
            state, self._asked, _UNITS, facts.starts, *facts.of_events("kind", "t"),
            *facts.of_listings("slot", "seller", "position"),
        )  # fmt: skip

    def members(self, slots: NDArray[np.int32], t: int) -> NDArray[np.bool_]:
        """[slots, groups] bool, which listings are of which group at a time in ms.

        New sellers: at most `new_seller_days` after the seller's first listing, or before the
        seller's `new_seller_sales`-th sale. Low exposure: shown fewer than `low_exposure_below`
        times since listed. A slot of which nothing is known is of no group.
        """
        found: NDArray[np.bool_] = _members(self._state, self._asked, slots, t)
        return found


def _grown(array: Array, size: int, fill: int = 0) -> Array:
    """Room for `size`, at least an eighth more when it grows."""
    if size <= len(array):
        return array
    grown = np.full(max(size, len(array) * 9 // 8), fill, array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True, nogil=True)
def _is_new(state: _State, asked: _Asked, slot: int, t: int) -> Any:
    seller = state.seller[slot]
    young = t - min(state.since[seller], t) <= asked.new_ms
    return young or state.sold[seller] < asked.new_sales


@njit(cache=True, nogil=True)
def _members(state: _State, asked: _Asked, slots: Array, t: int) -> Array:
    found = np.zeros((len(slots), 2), np.bool_)
    for i in range(len(slots)):
        slot = slots[i]
        if 0 <= slot < len(state.live):
            found[i, _NEW] = _is_new(state, asked, slot, t)
            found[i, _LOW] = state.shown[slot] < asked.low_below
    return found


@njit(cache=True, nogil=True)
def _fold(
    state: _State, asked: _Asked, units: Array, starts: Array, kinds: Array, times: Array,
    slots: Array, sellers: Array, positions: Array,
) -> None:  # fmt: skip
    counted = state.counted
    for e in range(len(kinds)):
        kind, t = kinds[e], times[e]
        state.now[0] = max(state.now[0], t)
        for m in range(starts[e], starts[e + 1]):
            slot, seller = slots[m], sellers[m]
            if slot < 0:
                continue
            if kind == _IMPRESSION:
                place = positions[m] if positions[m] >= 0 else m - starts[e]
                unit = units[min(place, len(units) - 1)]
                counted[_LISTINGS] += 1
                counted[_TOTAL] += unit
                if _is_new(state, asked, slot, state.now[0]):
                    counted[_OF_GROUP + _NEW] += unit
                if state.shown[slot] < asked.low_below:
                    counted[_OF_GROUP + _LOW] += unit
                state.shown[slot] += 1
            elif kind in (_LISTED, _EDITED):
                if kind == _LISTED:
                    state.live[slot], state.shown[slot] = True, 0
                state.seller[slot] = seller
                state.since[seller] = min(state.since[seller], t)
            elif kind == _RELEASED:
                state.live[slot] = True
            elif kind in _GONE:
                state.sold[seller] += kind == _SOLD
                state.live[slot] = False
        if counted[_LISTINGS] >= asked.every:
            _step(state, asked)
            counted[:] = 0


@njit(cache=True, nogil=True)
def _step(state: _State, asked: _Asked) -> None:
    """Let each controller with a target take a step."""
    stock, of_stock = 0, np.zeros(2)
    for slot in range(len(state.live)):
        if state.live[slot]:
            stock += 1
            of_stock[_NEW] += _is_new(state, asked, slot, state.now[0])
            of_stock[_LOW] += state.shown[slot] < asked.low_below
    for group in range(len(asked.targets)):
        wanted, held = asked.targets[group], state.held[group]
        if wanted > 0 and stock > 0:
            share = of_stock[group] / stock
            target = min(wanted * share, 1.0)
            achieved = state.counted[_OF_GROUP + group] / state.counted[_TOTAL]
            held[_STATE] = step(held[_STATE], target, achieved, asked.gain)
            held[_LIFT] = in_force(held[_STATE])
            held[_STOCK], held[_TARGET], held[_ACHIEVED] = share, target, achieved
