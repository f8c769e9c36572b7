"""Exposure: who was shown how much, and the lifts that hold groups to their share.

Folded from the log, so that it follows from what was shown, and a replay lifts the same.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.slates.control import step
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


class Exposure:
    """Exposure of listings since they were listed, and a controller for each group.

    Exposure of a place is 1 / log2(place + 2): the discount of Järvelin & Kekäläinen, "Cumulated
    gain-based evaluation of IR techniques", TOIS 2002, as in Singh & Joachims, "Fairness of
    exposure in rankings", KDD 2018. After each `every` listings shown the controllers take a step
    (`control.step`) by the shares since the last. Memory: 17 bytes a slot and 8 a seller.

    The same log gives the same lifts, bit for bit, however it is cut into calls of `apply`.
    """

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._live = np.zeros(0, np.bool_)
        self._seller = np.zeros(0, np.int32)
        self._shown = np.zeros(0, np.int32)
        self._since = np.zeros(0, np.int64)  # [sellers] ms of the first listing
        self._counted = np.zeros(_OF_GROUP + len(GROUPS), np.int64)
        self._now = np.zeros(1, np.int64)
        self._held = np.zeros((len(GROUPS), 5))  # summed, lift, stock, target, achieved
        self._held[:, 4] = np.nan

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return sum(a.nbytes for a in (self._live, self._seller, self._shown, self._since))

    @property
    def lifts(self) -> NDArray[np.float64]:
        """[groups] float64, what listings of each are lifted by now; a copy."""
        lifts: NDArray[np.float64] = self._held[:, 1].copy()
        return lifts

    @property
    def held(self) -> tuple[Held, ...]:
        """Where each group with a target stands, as of the controller's last step."""
        return tuple(
            Held(group, stock, target, achieved, lift)
            for (_, lift, stock, target, achieved), group, wanted in zip(
                self._held.tolist(), GROUPS, self.shares.targets, strict=True
            )
            if wanted
        )

    def apply(self, facts: Facts) -> None:
        """Fold the next part of the log."""
        listings, events, shares = facts.listings, facts.events, self.shares
        if not len(events):
            return
        size = int(listings["slot"].max(initial=-1)) + 1
        self._live, self._seller = _grown(self._live, size), _grown(self._seller, size)
        self._shown = _grown(self._shown, size)
        sellers = int(listings["seller"].max(initial=0)) + 1
        self._since = _grown(self._since, sellers, _NEVER)
        _fold(
            self._live, self._seller, self._shown, self._since, self._counted, self._now,
            self._held, facts.starts, events["kind"], events["t"], listings["slot"],
            listings["seller"], listings["position"], _UNITS, np.array(shares.targets),
            int(shares.new_seller_days * DAY_MS), shares.low_exposure_below, shares.every,
            shares.gain,
        )  # fmt: skip

    def members(self, slots: NDArray[np.int32], t: int) -> NDArray[np.bool_]:
        """[slots, groups] bool, which listings are of which group at a time in ms.

        New sellers: at most `new_seller_days` after the seller's first listing. Low exposure:
        shown fewer than `low_exposure_below` times since listed.
        """
        found = np.zeros((len(slots), len(GROUPS)), np.bool_)
        known = np.flatnonzero((slots >= 0) & (slots < len(self._live)))
        at = slots[known]
        age = t - np.minimum(self._since[self._seller[at]], t)
        found[known, _NEW] = age <= int(self.shares.new_seller_days * DAY_MS)
        found[known, _LOW] = self._shown[at] < self.shares.low_exposure_below
        return found


def _grown(array: Array, size: int, fill: int = 0) -> Array:
    """Room for `size`, at least an eighth more when it grows."""
    if size <= len(array):
        return array
    grown = np.full(max(size, len(array) * 9 // 8), fill, array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True, nogil=True)
def _fold(
    live: Array, seller: Array, shown: Array, since: Array, counted: Array, now: Array,
    held: Array, starts: Array, kinds: Array, times: Array, slots: Array, sellers: Array,
    positions: Array, units: Array, wanted: Array, new_ms: int, low_below: int, every: int,
    gain: float,
) -> None:  # fmt: skip
    for e in range(len(kinds)):
        kind = kinds[e]
        now[0] = max(now[0], times[e])
        for m in range(starts[e], starts[e + 1]):
            slot = slots[m]
            if slot < 0:
                continue
            if kind == _IMPRESSION:
                place = positions[m] if positions[m] >= 0 else m - starts[e]
                unit = units[min(place, len(units) - 1)]
                counted[_LISTINGS] += 1
                counted[_TOTAL] += unit
                if now[0] - since[seller[slot]] <= new_ms:
                    counted[_OF_GROUP + _NEW] += unit
                if shown[slot] < low_below:
                    counted[_OF_GROUP + _LOW] += unit
                shown[slot] += 1
            elif kind == _LISTED:
                live[slot], seller[slot], shown[slot] = True, sellers[m], 0
                since[sellers[m]] = min(since[sellers[m]], times[e])
            elif kind == _EDITED:
                seller[slot] = sellers[m]
                since[sellers[m]] = min(since[sellers[m]], times[e])
            elif kind == _RELEASED:
                live[slot] = True
            elif kind in _GONE:
                live[slot] = False
        if counted[_LISTINGS] >= every:
            _steps(live, seller, shown, since, counted, now[0], held, wanted, new_ms, low_below,
                   gain)  # fmt: skip


@njit(cache=True, nogil=True)
def _steps(
    live: Array, seller: Array, shown: Array, since: Array, counted: Array, now: int, held: Array,
    wanted: Array, new_ms: int, low_below: int, gain: float,
) -> None:  # fmt: skip
    """Let each controller take a step, and count anew."""
    stock, new, low = 0, 0, 0
    for slot in range(len(live)):
        if live[slot]:
            stock += 1
            new += now - since[seller[slot]] <= new_ms
            low += shown[slot] < low_below
    for group in range(len(wanted)):
        of_stock = (new if group == _NEW else low) / max(stock, 1)
        target = min(wanted[group] * of_stock, 1.0)
        achieved = counted[_OF_GROUP + group] / max(counted[_TOTAL], 1)
        if wanted[group] > 0:
            held[group, 0], held[group, 1] = step(held[group, 0], target, achieved, gain)
        held[group, 2], held[group, 3], held[group, 4] = of_stock, target, achieved
    counted[:] = 0
