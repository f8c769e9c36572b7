import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.slates.control import LEAST, MOST, in_force, step
from heirloom.slates.exposure import DAY_MS, Exposure
from heirloom.slates.rules import Shares

T = 1_735_689_600_000
HOUR_MS = 3_600_000
Told = tuple[Kind, int, list[int]]  # kind, hours, slots

told = st.lists(
    st.tuples(
        st.sampled_from([Kind.LISTED, Kind.LISTED, Kind.EDITED, Kind.SOLD, Kind.RESERVED,
                         Kind.RELEASED, Kind.REMOVED, *[Kind.IMPRESSION] * 5]),
        st.integers(0, 100),
        st.lists(st.integers(-1, 7), min_size=1, max_size=6, unique=True),
    ),
    max_size=60,
)  # fmt: skip


def facts(log: list[Told]) -> Facts:
    """Listings in slots 0 to 7, of sellers 1 to 4."""
    rows = np.zeros(len(log), EVENT_ROW)
    rows["seq"], rows["person"] = np.arange(len(log)), 1
    rows["kind"] = [KIND_CODE[kind] for kind, _, _ in log]
    rows["t"] = [T + hours * HOUR_MS for _, hours, _ in log]
    named = [slots if kind is Kind.IMPRESSION else slots[:1] for kind, _, slots in log]
    listings = np.zeros(sum(map(len, named)), LISTING_ROW)
    listings["slot"] = [slot for slots in named for slot in slots]
    listings["seller"] = listings["slot"] % 4 + 1
    listings["position"] = -1
    return Facts(rows, listings, np.cumsum([0, *map(len, named)]).astype(np.int64))


class Naive:
    """What `Exposure` counts, by dictionaries."""

    def __init__(self, shares: Shares) -> None:
        self.shares, self.lifts, self.now = shares, [LEAST, LEAST], 0
        self.live: set[int] = set()
        self.shown: dict[int, int] = {}
        self.since: dict[int, int] = {}
        self.sold: dict[int, int] = {}
        self.listings, self.exposure = 0, [0, 0, 0]

    def groups(self, slot: int, t: int) -> tuple[bool, bool]:
        seller, shares = slot % 4 + 1, self.shares
        young = t - min(self.since.get(seller, t), t) <= shares.new_seller_days * DAY_MS
        few = self.sold.get(seller, 0) < shares.new_seller_sales
        return young or few, self.shown.get(slot, 0) < shares.low_exposure_below

    def fold(self, log: list[Told]) -> None:
        for kind, hours, slots in log:
            t = T + hours * HOUR_MS
            self.now = max(self.now, t)
            for place, slot in enumerate(slots if kind is Kind.IMPRESSION else slots[:1]):
                if slot >= 0:
                    self._one(kind, t, place, slot)
            if self.listings >= self.shares.every:
                self._step()

    def _one(self, kind: Kind, t: int, place: int, slot: int) -> None:
        seller = slot % 4 + 1
        if kind is Kind.IMPRESSION:
            unit = round(2**20 / np.log2(place + 2))
            self.listings += 1
            for i, member in enumerate((True, *self.groups(slot, self.now))):
                self.exposure[i] += unit * member
            self.shown[slot] = self.shown.get(slot, 0) + 1
        elif kind in (Kind.LISTED, Kind.EDITED):
            self.since[seller] = min(self.since.get(seller, t), t)
            if kind is Kind.LISTED:
                self.live.add(slot)
                self.shown[slot] = 0
        elif kind is Kind.RELEASED:
            self.live.add(slot)
        else:
            self.live.discard(slot)
            self.sold[seller] = self.sold.get(seller, 0) + (kind is Kind.SOLD)

    def _step(self) -> None:
        for i, target in enumerate(self.shares.targets):
            if target and self.live:
                stock = sum(self.groups(slot, self.now)[i] for slot in self.live) / len(self.live)
                achieved = self.exposure[i + 1] / self.exposure[0]
                wanted = min(target * stock, 1.0)
                self.lifts[i] = step(self.lifts[i], wanted, achieved, self.shares.gain)
        self.listings, self.exposure = 0, [0, 0, 0]


shares = st.builds(
    Shares, new_sellers=st.sampled_from([0.0, 0.5, 2.0]), low_exposure=st.sampled_from([0.0, 1.0]),
    new_seller_days=st.sampled_from([0.5, 30.0]), new_seller_sales=st.integers(0, 2),
    low_exposure_below=st.integers(1, 3), every=st.integers(1, 9),
)  # fmt: skip


@settings(deadline=None)  # the first example compiles
@given(told, shares, st.integers(0, 60))
def test_it_counts_as_dictionaries_do_however_the_log_is_cut(
    log: list[Told], asked: Shares, cut: int
) -> None:
    log = [*((Kind.LISTED, 50, [slot]) for slot in range(8)), *log]
    exposure, naive = Exposure(asked), Naive(asked)
    for part in (log[:cut], log[cut:]):
        exposure.apply(facts(part))
    naive.fold(log)
    assert exposure.lifts.tolist() == [in_force(lift) for lift in naive.lifts]
    for t in (T, naive.now, T + 40 * DAY_MS):
        wanted = [list(naive.groups(slot, t)) for slot in range(8)]
        assert exposure.members(np.arange(8, dtype=np.int32), t).tolist() == wanted


def test_a_slot_never_listed_is_of_no_group() -> None:
    exposure = Exposure(Shares(new_sellers=1.0))
    assert not exposure.members(np.array([-1, 0, 99], np.int32), T).any()


def test_it_says_where_it_stands() -> None:
    exposure = Exposure(Shares(new_sellers=1.0, new_seller_days=1, new_seller_sales=0, every=3))
    log: list[Told] = [(Kind.LISTED, 0, [0]), (Kind.LISTED, 90, [1])]
    exposure.apply(facts([*log, (Kind.IMPRESSION, 91, [0, 1, 0])]))
    (held,) = exposure.held
    weights = 1 / np.log2([2, 3, 4])
    assert (held.group, held.stock, held.target) == ("new_sellers", 0.5, 0.5)
    assert abs(held.achieved - weights[1] / weights.sum()) < 1e-6
    assert held.lift > LEAST


@settings(deadline=None)  # the first example compiles
@given(st.floats(LEAST, MOST), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 2))
def test_a_step_goes_towards_the_target_and_stays_within(
    lift: float, target: float, achieved: float, gain: float
) -> None:
    after = step(lift, target, achieved, gain)
    assert LEAST <= after <= MOST
    assert (after - lift) * (target - achieved) >= 0


def market(asked: Shares, *, before: int, slates: int, delay: int) -> list[float]:
    """Shares of exposure in a market in little, by slate, told to the controller `delay` late.

    Half of the listings are new, and scored an eighth of the spread lower. In the `before` slates
    that another policy showed, none was new.
    """
    rng = np.random.default_rng(0)
    new = np.arange(400) % 2 == 0
    exposure = Exposure(asked)
    exposure.apply(_listed(new))
    for _ in range(before):
        exposure.apply(_impression(np.flatnonzero(~new)[:24]))
    waiting: list[Facts] = []
    shown = []
    weights = 1 / np.log2(np.arange(24) + 2)
    for _ in range(slates):
        pool = rng.choice(400, 120, replace=False)
        lifted = rng.random(120) + (exposure.lifts[0] - 0.12) * new[pool]
        slate = pool[np.argsort(-lifted)[:24]]
        shown.append(float(weights[new[slate]].sum() / weights.sum()))
        waiting.append(_impression(slate))
        if len(waiting) > delay:
            exposure.apply(waiting.pop(0))
    return shown


def _listed(new: np.ndarray) -> Facts:
    rows, listings = np.zeros(len(new), EVENT_ROW), np.zeros(len(new), LISTING_ROW)
    rows["kind"] = KIND_CODE[Kind.LISTED]
    rows["t"] = np.where(new, T, T - 60 * DAY_MS)
    listings["slot"], listings["seller"] = np.arange(len(new)), np.arange(len(new)) + 1
    return Facts(rows, listings, np.arange(len(new) + 1))


def _impression(slate: np.ndarray) -> Facts:
    rows, listings = np.zeros(1, EVENT_ROW), np.zeros(len(slate), LISTING_ROW)
    rows["kind"], rows["t"] = KIND_CODE[Kind.IMPRESSION], T
    listings["slot"], listings["seller"], listings["position"] = slate, slate + 1, -1
    return Facts(rows, listings, np.array([0, len(slate)]))


@pytest.mark.parametrize("before", [0, 500])
def test_the_share_is_held_to_two_points_whatever_was_before(before: int) -> None:
    asked = Shares(new_sellers=1.0, new_seller_sales=0)
    found = market(asked, before=before, slates=2_500, delay=50)
    by_500 = np.reshape(found, (5, 500)).mean(axis=1)
    assert (np.abs(by_500[1:] - 0.5) < 0.02).all()


def test_a_share_that_holds_by_itself_is_left_alone() -> None:
    asked = Shares(new_sellers=0.3, new_seller_sales=0)
    found = market(asked, before=0, slates=500, delay=0)
    assert found == market(Shares(), before=0, slates=500, delay=0)
    assert 0.25 < np.mean(found) < 0.4
