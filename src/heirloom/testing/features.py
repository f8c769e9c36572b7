"""The law of feature views: live = replay = the definition's arithmetic, compared as bytes.

Make a class of `FeatureViewLaws` with your own `view` and run it with pytest.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, SURFACE_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.query import Query, Request
from heirloom.features.algebra import (
    ANYWHERE,
    Age,
    Counter,
    Decay,
    Definition,
    Distinct,
    First,
    Given,
    Last,
    LastK,
    Lift,
    Price,
    PriceGap,
    Ratio,
    SinceFirst,
    SinceLast,
    Static,
    Sum,
    Trend,
    Where,
)
from heirloom.features.view import FeatureView
from heirloom.features.windows import FOREVER_MS, WINDOWS

START_MS = 1_700_000_000_123
HOUR_MS = 3_600_000
_DAY_MS = 24 * HOUR_MS
_LISTED, _FOLLOW, _SEARCH = KIND_CODE["listed"], KIND_CODE["follow"], KIND_CODE["search"]


def all_words_view() -> FeatureView:
    """Every word of the algebra that the library's views do without, and keys of three parts."""
    clicks = Counter("clicks", ("person", "brand"), ("click", "save"), ("24h", "7d"))
    best = Where(surfaces=("search", "home"), positions=(0, 2))
    return FeatureView(
        "all_words",
        (
            Counter("asked", ("query", "listing"), ("impression", "click"), ("7d", "30d")),
            Counter("kind", ("brand", "size", "category"), ("impression",), ("1h", "4w", "ever")),
            Counter("best", ("listing",), ("impression", "click"), ("24h",), where=best),
            Counter("any", ("listing",), ("impression", "click"), ("24h",)),
            Counter("here", ("category", "surface"), ("impression",), ("365d",)),
            Sum("spent", ("person",), ("purchase", "click"), ("24h", "90d")),
            Sum("shown", ("seller",), ("impression",), ("7d",), where=best),
            Decay("loyal", clicks, ("24h", "7d"), 36 * HOUR_MS),
            SinceLast("since", ("person", "seller"), ("click",), within="7d"),
            Last("last_brand", ("person",), ("click", "save"), "brand", within="30d"),
            Last("last_query", ("person",), ("search", "impression"), "query"),
            First("first_surface", ("listing",), ("impression",), "surface"),
            LastK("of_brand", ("person",), ("click", "save", "impression"), "brand", 5),
            LastK("of_size", ("person",), ("click", "impression"), "declared.3", 2, within="7d"),
            Distinct("brands", ("person",), ("click", "impression"), "brand", ("1h", "7d"), 2),
            Distinct("askers", ("listing",), ("impression",), "query", ("30d",)),
        ),
    )


def random_log(seed: int, events: int, *, span_ms: int = 40 * 24 * HOUR_MS) -> Facts:
    """A log that has all that makes windows hard.

    Late events (up to three days), ties, slots reused and lost, mentions of several listings and
    of none, unknown people and attributes, prices of 0.
    """
    rng = np.random.default_rng(seed)
    slots, codes = 5, 4
    clock = START_MS + np.sort(rng.integers(0, span_ms, events))
    late = np.where(rng.random(events) < 0.2, rng.integers(0, 72 * HOUR_MS, events), 0)
    rows = np.zeros(events, EVENT_ROW)
    rows["seq"] = np.arange(events)
    rows["t"] = np.where(
        rng.random(events) < 0.3, (clock - late) // HOUR_MS * HOUR_MS, clock - late
    )
    rows["kind"] = rng.integers(0, len(KIND_CODE), events)
    rows["kind"][: min(slots, events)] = _LISTED
    rows["person"] = rng.integers(0, 3, events)
    rows["seller"] = np.where(rows["kind"] == _FOLLOW, rng.integers(0, codes, events), 0)
    rows["declared"] = rng.integers(0, 3, rows["declared"].shape)
    rows["surface"] = rng.integers(0, 4, events)
    rows["query"] = rng.integers(0, 3, events)
    sizes = np.ones(events, np.int64)
    sizes[rows["kind"] == KIND_CODE["impression"]] = 3
    sizes[np.isin(rows["kind"], [_FOLLOW, _SEARCH])] = 0
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    listings = np.zeros(starts[-1], LISTING_ROW)
    listings["slot"] = rng.integers(-1, slots, len(listings))
    for field in ("seller", "brand", "category", "size", "colour", "condition"):
        listings[field] = rng.integers(0, codes, len(listings))
    listings["price_minor"] = rng.integers(0, 4, len(listings)) * 1_750
    listings["position"] = rng.integers(-1, 6, len(listings))
    return Facts(rows, listings, starts)


def random_request(seed: int, t: int) -> Request:
    """A request of anyone at t, with or without declared attributes."""
    rng = np.random.default_rng(seed)
    nothing = np.zeros(0, np.int32)
    return Request(
        query=Query(t=t),
        person=int(rng.integers(0, 3)),
        surface=int(rng.integers(0, 4)),
        declared=rng.integers(0, 3, (MAX_DECLARED,)).astype(np.int32),
        anchor=-1,
        recent=nothing,
        recent_kinds=nothing.astype(np.int8),
        recent_t=nothing.astype(np.int64),
        text_vector=np.zeros(0, np.float32),
        text=int(rng.integers(0, 3)),
    )


@dataclass(slots=True)
class _Listing:
    """What is in a slot: `number` tells one opening of the slot from the next."""

    number: int
    opened: int
    codes: dict[str, int]
    price: int


@dataclass(slots=True)
class _Mention:
    t: int
    kind: str
    codes: dict[str, int]
    price: int
    position: int


class NaiveState:
    """The twin: keeps every mention, and counts them one by one on each lookup.

    It follows the docstrings of `features.algebra` and the formula of docs/adr/0003, and shares
    no code with the kernel.
    """

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        self._mentions: list[_Mention] = []
        self._slots: dict[int, _Listing] = {}
        self._openings = 0
        self._newest = 0

    def apply(self, facts: Facts) -> None:
        """Keep what each event says of each listing it names."""
        kinds = list(KIND_CODE)
        for i, event in enumerate(facts.events):
            kind, t = kinds[event["kind"]], int(event["t"])
            self._newest = max(self._newest, t)
            rows = facts.listings[facts.starts[i] : facts.starts[i + 1]]
            if len(rows) == 0:
                codes = _codes(event, event["declared"]) | {"seller": int(event["seller"])}
                self._mentions.append(_Mention(t, kind, codes, 0, -1))
            for row in rows:
                codes = _codes(event, event["declared"]) | _attributes(row)
                slot, price = int(row["slot"]), int(row["price_minor"])
                if slot >= 0:
                    self._take_over(kind, t, slot, row, price)
                    if slot in self._slots:
                        codes["listing"] = self._slots[slot].number
                self._mentions.append(_Mention(t, kind, codes, price, int(row["position"])))

    def _take_over(self, kind: str, t: int, slot: int, row: Any, price: int) -> None:
        if kind == "listed":
            self._openings += 1
            self._slots[slot] = _Listing(self._openings, t, _attributes(row), price)
        elif kind in ("edited", "price_changed") and slot in self._slots:
            self._slots[slot].codes, self._slots[slot].price = _attributes(row), price

    def lookup(
        self, request: Request, slots: NDArray[np.int32], given: dict[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """[candidates, features] float32."""
        rows = []
        for i, slot in enumerate(slots.tolist()):
            listing = self._slots.get(slot, _Listing(0, 0, {}, 0))
            who = {"person": request.person, "surface": request.surface, "query": request.text}
            codes = _codes(who, request.declared) | listing.codes | {"listing": listing.number}
            t = request.query.t
            asked = _Asked(self._mentions, t, max(t, self._newest), codes, listing)
            values: list[float] = []
            for definition in self.view.features:
                if isinstance(definition, Given):
                    column = given.get(definition.name)
                    values.append(math.nan if column is None else float(column[i]))
                else:
                    values.extend(asked.values(definition))
            rows.append(values)
        return np.array(rows, np.float64).astype(np.float32).reshape(len(slots), -1)


@dataclass(slots=True)
class _Asked:
    """One candidate of one request: windows end at `t`, and reach back from `reached`."""

    mentions: list[_Mention]
    t: int
    reached: int
    codes: dict[str, int]
    listing: _Listing

    def values(self, definition: Definition) -> list[float]:
        match definition:
            case Counter(windows=windows):
                return [self.count(definition, window) for window in windows]
            case Sum(windows=windows):
                return [self.sum(definition, window) for window in windows]
            case Ratio(windows=windows):
                return [self.ratio(definition, window) for window in windows]
            case Trend(of=of, short=short, long=long):
                recent, usual = self.count(of, short), self.count(of, long)
                scale = WINDOWS[short].length_ms / WINDOWS[long].length_ms
                known = not math.isnan(recent)
                return [math.log((recent + 1.0) / (usual * scale + 1.0)) if known else math.nan]
            case Decay(windows=windows):
                return [self.decay(definition, window) for window in windows]
            case SinceLast(within=within):
                times = [mention.t for mention in self.matching(definition, "ever")]
                return [self.since(max(times), within) if times else math.nan]
            case SinceFirst():
                times = [mention.t for mention in self.matching(definition, "ever")]
                return [self.since(min(times), "ever") if times else math.nan]
            case Last(of=of, within=within):
                mentions = sorted(self.matching(definition, "ever"), key=lambda m: m.t)
                return [self.code_of(mentions[-1], of, within) if mentions else math.nan]
            case First(of=of):
                mentions = sorted(self.matching(definition, "ever"), key=lambda m: m.t)
                return [self.code_of(mentions[0], of, "ever") if mentions else math.nan]
            case LastK():
                return [self.last_k(definition)]
            case Distinct(windows=windows):
                return [self.distinct(definition, window) for window in windows]
            case Age():
                listed = self.listing.number > 0
                return [max(self.t - self.listing.opened, 0) / HOUR_MS if listed else math.nan]
            case Price():
                return [math.log(self.listing.price) if self.listing.price else math.nan]
            case PriceGap(windows=windows):
                return [self.gap(definition, window) for window in windows]
            case Lift(windows=windows):
                return [self.lift(definition, window) for window in windows]
            case Static(of="hour"):
                return [float(self.t // HOUR_MS % 24)]
            case Static(of=of):
                return [float(self.codes.get(of, 0)) or math.nan]
        raise TypeError(f"NaiveState: no arithmetic for {type(definition).__name__}")

    def known(self, key: tuple[str, ...]) -> bool:
        return all(self.codes.get(part, 0) for part in key)

    def matching(self, of: Any, window: str) -> list[_Mention]:
        """In the log's order, the mentions that a stateful definition counts in a window."""
        if not self.known(of.key):
            return []
        wanted = [self.codes[part] for part in of.key]
        return [
            mention
            for mention in self.mentions
            if mention.kind in of.kinds
            and [mention.codes.get(part, 0) for part in of.key] == wanted
            and _is_there(mention, getattr(of, "where", ANYWHERE))
            and _within(mention.t, self.t, self.reached, window)
        ]

    def count(self, counter: Counter, window: str) -> float:
        return float(len(self.matching(counter, window))) if self.known(counter.key) else math.nan

    def sum(self, total: Sum, window: str) -> float:
        prices = [mention.price for mention in self.matching(total, window)]
        return float(sum(prices)) if self.known(total.key) else math.nan

    def decay(self, decay: Decay, window: str) -> float:
        hop = WINDOWS[window].hop_ms
        ages = [self.t // hop - m.t // hop for m in self.matching(decay.of, window)]
        if not self.known(decay.of.key):
            return math.nan
        value = 0.0
        for age in sorted(set(ages)):
            value += ages.count(age) * 2.0 ** -(age * hop / decay.half_life_ms)
        return value

    def since(self, then: int, within: str) -> float:
        recent = self.reached - then <= WINDOWS[within].length_ms
        return max(self.t - then, 0) / HOUR_MS if recent else math.nan

    def code_of(self, mention: _Mention, of: str, within: str) -> float:
        recent = self.reached - mention.t <= WINDOWS[within].length_ms
        return float(mention.codes.get(of, 0)) or math.nan if recent else math.nan

    def last_k(self, last: LastK) -> float:
        mine = self.codes.get(last.of, 0)
        if not mine or not self.known(last.key):
            return math.nan
        since = (self.reached - WINDOWS[last.within].length_ms) // 60_000
        mentions = self.matching(last, "ever")[-last.k :]
        return float(
            sum(m.codes.get(last.of, 0) == mine and m.t // 60_000 >= since for m in mentions)
        )

    def distinct(self, distinct: Distinct, window: str) -> float:
        latest: dict[int, int] = {}
        for mention in self.matching(distinct, "ever"):
            code, minute = mention.codes.get(distinct.of, 0), mention.t // 60_000
            latest[code] = max(latest.get(code, 0), minute)
        kept = sorted(((minute, code) for code, minute in latest.items() if code), reverse=True)
        found = sum(
            _within(60_000 * minute, self.t, self.reached, window)
            for minute, _ in kept[: distinct.cap]
        )
        return float(found) if self.known(distinct.key) else math.nan

    def ratio(self, ratio: Ratio, window: str) -> float:
        over, under = self.count(ratio.over, window), self.count(ratio.under, window)
        hits, trials = ratio.prior
        if ratio.toward is not None:
            wide = self.ratio(ratio.toward, window)
            hits = hits if math.isnan(wide) else trials * wide
        return (over + hits) / (under + trials) if under + trials > 0 else math.nan

    def gap(self, gap: PriceGap, window: str) -> float:
        prices = [m.price for m in self.matching(gap, window) if m.price > 0]
        if not prices or self.listing.price == 0:
            return math.nan
        return math.log(self.listing.price) - math.log(sum(prices) / len(prices))

    def lift(self, lift: Lift, window: str) -> float:
        value, stated = f"declared.{lift.declared}", f"stated.{lift.declared}"
        if self.codes.get(value, 0) == 0 or self.listing.number == 0:
            return math.nan

        def n(*key: str) -> float:
            return self.count(Counter("n", key, lift.kinds, lift.windows), window)

        common = (n(value) + 0.5) / (n(stated) + 1.0)
        upper = common
        if self.codes.get("category", 0):
            upper = (n("category", value) + lift.strength * common) / (
                n("category", stated) + lift.strength
            )
        here = (n("listing", value) + lift.strength * upper) / (
            n("listing", stated) + lift.strength
        )
        return math.log(here) - math.log(common)


def _is_there(mention: _Mention, where: Where) -> bool:
    if where.surfaces:
        codes = [SURFACE_CODE[surface] for surface in where.surfaces]
        if mention.codes["surface"] not in codes:
            return False
    if where.positions is None:
        return True
    return where.positions[0] <= mention.position <= where.positions[1]


def _within(then: int, now: int, reached: int, window: str) -> bool:
    length, hop = WINDOWS[window].length_ms, WINDOWS[window].hop_ms
    return length == FOREVER_MS or (reached - length) // hop <= then // hop <= now // hop


def _codes(who: Any, declared: NDArray[np.int32]) -> dict[str, int]:
    codes = {"all": 1} | {part: int(who[part]) for part in ("person", "query", "surface")}
    for i, value in enumerate(declared.tolist()):
        codes |= {f"declared.{i}": value, f"stated.{i}": int(value != 0)}
    return codes


def _attributes(row: Any) -> dict[str, int]:
    fields = ("seller", "brand", "category", "size", "colour", "condition")
    return {field: int(row[field]) for field in fields}


def _settings(examples: int) -> settings:
    # One suite is run by several classes, which is what differing_executors would warn of.
    suite = [HealthCheck.differing_executors, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=suite)


def same_bytes(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    """Equal bit for bit, where any NaN equals any NaN."""
    return bool(
        np.array_equal(np.isnan(left), np.isnan(right))
        and np.array_equal(np.nan_to_num(left).view("u4"), np.nan_to_num(right).view("u4"))
    )


class FeatureViewLaws:
    """What every feature view obeys. A subclass names its `view`."""

    view: FeatureView
    candidates = np.array([0, 3, 1, 4, 2, 3, 99], np.int32)

    @_settings(25)
    @given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 120), max_size=8))
    def test_live_is_replay(self, seed: int, cuts: list[int]) -> None:
        """Any cuts of the log give the same state and the same values, as of any time."""
        log = random_log(seed, 120)
        live, replay = self.view.state(), self.view.state()
        replay.apply(log)
        edges = [0, *sorted(cuts), len(log)]
        for start, stop in pairwise(edges):
            live.apply(log[start:stop])
            live = self.view.restored(live.n, live.arrays())  # as after a restart
            live.lookup(random_request(seed, int(log.events["t"].max())), self.candidates)
        assert live.n == replay.n == len(log)
        for name, array in replay.arrays().items():
            assert np.array_equal(live.arrays()[name], array), name
        for t in (int(log.events["t"].min()), int(log.events["t"].max()), START_MS * 2):
            request = random_request(seed + 1, t)
            served = live.lookup(request, self.candidates).values
            replayed = replay.lookup(request, self.candidates).values
            assert same_bytes(served, replayed)

    @_settings(25)
    @given(seed=st.integers(0, 2**32), later_ms=st.integers(-(40 * _DAY_MS), 60 * _DAY_MS))
    def test_fast_is_naive(self, seed: int, later_ms: int) -> None:
        """The kernel's values are the definitions' arithmetic, bit for bit, as of any time."""
        log = random_log(seed, 60)
        fast, naive = self.view.state(), NaiveState(self.view)
        fast.apply(log)
        naive.apply(log)
        given = {
            name: np.arange(len(self.candidates), dtype=np.float32) for name in self.view.given[:1]
        }
        request = random_request(seed + 1, int(log.events["t"].max()) + later_ms)
        values = fast.lookup(request, self.candidates, given).values
        expected = naive.lookup(request, self.candidates, given)
        wrong = [
            column
            for j, column in enumerate(self.view.columns)
            if not same_bytes(values[:, j], expected[:, j])
        ]
        assert not wrong

    @_settings(10)
    @given(seed=st.integers(0, 2**32))
    def test_reading_changes_nothing(self, seed: int) -> None:
        """A lookup leaves the state as it was, and a candidate's values depend on it alone."""
        log = random_log(seed, 60)
        state = self.view.state()
        state.apply(log)
        before = state.arrays()
        request = random_request(seed, int(log.events["t"].max()) + 5 * HOUR_MS)
        together = state.lookup(request, self.candidates).values
        for name, array in state.arrays().items():
            assert np.array_equal(before[name], array), name
        for i in range(len(self.candidates)):
            alone = state.lookup(request, self.candidates[i : i + 1]).values
            assert same_bytes(alone, together[i : i + 1])
