"""Eviction shows in no value, however the log was cut, and frees what nothing can show."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features import kernel
from heirloom.features.algebra import Counter, Distinct, LastK, SinceFirst, SinceLast, Sum
from heirloom.features.state import FeatureState
from heirloom.features.view import FeatureView
from heirloom.testing.features import HOUR_MS, random_request, same_bytes

DAY_MS = 24 * HOUR_MS
SEEN = ("impression", "click", "save")
VIEW = FeatureView(
    "v",
    (
        Counter("n", ("listing",), SEEN, ("1h", "24h")),
        Counter("pair", ("person", "brand"), ("click",), ("24h", "7d")),
        Counter("kind", ("brand", "size", "category"), SEEN, ("7d",)),
        Counter("asked", ("query", "listing"), SEEN, ("7d",)),
        Counter("total", ("seller",), ("click",), ("ever",)),
        Sum("spent", ("person",), SEEN, ("24h",)),
        SinceLast("since", ("person", "listing"), SEEN, within="7d"),
        SinceFirst("first", ("person", "listing"), SEEN),
        LastK("last", ("person",), SEEN, "brand", 3, within="7d"),
        Distinct("brands", ("person",), SEEN, "brand", ("24h", "7d"), 2),
    ),
)


def quiet_log(seed: int, events: int, *, days: int = 150) -> Facts:
    """Many keys, most of them soon quiet; slots that change hands; a fifth of the events late."""
    rng = np.random.default_rng(seed)
    rows, listings = np.zeros(events, EVENT_ROW), np.zeros(events, LISTING_ROW)
    rows["seq"] = np.arange(events)
    clock = 1_700_000_000_000 + np.sort(rng.integers(0, days * DAY_MS, events))
    rows["t"] = clock - np.where(rng.random(events) < 0.2, rng.integers(0, 9 * DAY_MS, events), 0)
    wanted = [KIND_CODE[kind] for kind in ("listed", "impression", "click", "save")]
    rows["kind"] = np.array(wanted)[rng.choice(4, events, p=(0.1, 0.5, 0.2, 0.2))]
    # Who and what is around drifts, so that keys fall quiet; some come back.
    drift = np.arange(events) // 50
    rows["person"] = 1 + drift + rng.integers(0, 4, events)
    rows["query"] = rng.integers(0, 4, events)
    listings["slot"] = (drift + rng.integers(0, 6, events)) % 40
    for field, codes in (("seller", 3), ("brand", 9), ("category", 3), ("size", 4)):
        listings[field] = (drift // 4 + rng.integers(0, codes, events)) % 30
    listings["price_minor"] = rng.integers(0, 3, events) * 999
    return Facts(rows, listings, np.arange(events + 1, dtype=np.int64))


def values(state: FeatureState, log: Facts, seed: int, later_ms: int) -> list[np.ndarray]:
    """What ten people are answered so much later than the newest event, or earlier."""
    last, slots = int(log.events["person"].max()), np.arange(42, dtype=np.int32)
    answers = []
    for person in range(max(last - 9, 1), last + 1):
        request = random_request(seed, int(log.events["t"].max()) + later_ms)
        object.__setattr__(request, "person", person)
        answers.append(state.lookup(request, slots).values)
    return answers


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    later_ms=st.sampled_from([0, 1, HOUR_MS, 26 * HOUR_MS, -30 * HOUR_MS, -8 * DAY_MS]),
)
def test_no_value_changes_by_eviction(seed: int, later_ms: int):
    log = quiet_log(seed, 1_500)
    evicting, keeping = VIEW.state(), VIEW.state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "SWEEP_EVERY_MS", 1 << 60)
        keeping.apply(log)
    for start in range(0, len(log), 500):
        evicting.apply(log[start : start + 500])
        part = log[: start + 500]
        if start == 1_000:
            for got, wanted in zip(
                values(evicting, part, seed, later_ms),
                values(keeping, part, seed, later_ms),
                strict=True,
            ):
                assert same_bytes(got, wanted)
    assert keeping.evicted == 0
    assert evicting.evicted > 100
    assert evicting.nbytes < keeping.nbytes


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 1_499), min_size=1, max_size=5))
def test_cuts_and_restarts_change_no_byte(seed: int, cuts: list[int]):
    log = quiet_log(seed, 1_500)
    whole, live = VIEW.state(), VIEW.state()
    whole.apply(log)
    edges = sorted({0, *cuts, len(log)})
    for start, stop in pairwise(edges):
        live.apply(log[start:stop])
        live = VIEW.restored(live.n, live.arrays())
    assert whole.evicted > 0
    for name, array in whole.arrays().items():
        assert np.array_equal(live.arrays()[name], array), name


def test_memory_follows_the_active_keys_and_not_the_log():
    view = FeatureView("v", VIEW.features[:2] + VIEW.features[5:7] + VIEW.features[8:])
    short, long = view.state(), view.state()
    short.apply(quiet_log(3, 2_000, days=100))
    long.apply(quiet_log(3, 20_000, days=1_000))
    assert long.evicted > 10 * short.keys
    assert long.nbytes <= 2 * short.nbytes


def test_the_map_and_the_arena_grow_by_an_eighth_or_not_at_all():
    """One of them that is full does not make the other, nearly full, be copied for a few rows."""
    log, state, sizes = quiet_log(1, 4_000), VIEW.state(), []
    for start in range(0, len(log), 10):
        state.apply(log[start : start + 10])
        sizes.append([len(state._memory.places), len(state._memory.rows)])
    for of in zip(*sizes, strict=True):
        grown = [(old, new) for old, new in pairwise(of) if new != old]
        assert len(grown) > 3
        assert all(8 * new >= 9 * old for old, new in grown)


def test_rows_of_a_slot_that_changed_hands_are_let_go():
    view = FeatureView("v", (Counter("n", ("person", "listing"), ("click",), ("ever",)),))
    state = view.state()
    events, listings = np.zeros(2_000, EVENT_ROW), np.zeros(2_000, LISTING_ROW)
    events["seq"], events["t"] = np.arange(2_000), 1_700_000_000_000 + np.arange(2_000) * HOUR_MS
    events["kind"][::2], events["kind"][1::2] = KIND_CODE["listed"], KIND_CODE["click"]
    events["person"] = 1 + np.arange(2_000)
    state.apply(Facts(events, listings, np.arange(2_001, dtype=np.int64)))
    assert state.keys + state.evicted == 1_000  # one a click, and only the last listing is there
    assert state.evicted > 800
