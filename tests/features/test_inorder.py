"""The fast path for a log in time order gives the ring kernel's counts, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ConfigError, InputError, ShapeError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import Facts
from heirloom.features.algebra import Counter, Where
from heirloom.features.inorder import counts_in_order
from heirloom.features.replay import Rows, replay
from heirloom.features.view import FeatureView
from heirloom.features.windows import WINDOWS
from heirloom.testing.features import HOUR_MS, START_MS, random_log, same_bytes

DAY_MS = 24 * HOUR_MS
COUNTERS = (
    Counter("a", ("brand",), ("click", "save"), ("1h", "24h", "7d")),
    Counter("b", ("brand",), ("impression",), ("30d",)),
    Counter("c", ("person", "brand"), ("click", "impression"), ("24h", "4w", "ever")),
    Counter("d", ("all",), ("purchase",), ("1h",)),
)
AT = ("impression", "click")


def in_order(seed: int, events: int, span_ms: int) -> Facts:
    """A log without late events, with ties, each event naming one listing, always the same ones."""
    log = random_log(seed, events, span_ms=span_ms)
    log.events["t"] = np.sort(log.events["t"])
    log.events["kind"][5:] = np.random.default_rng(seed).choice(
        [KIND_CODE[kind] for kind in ("impression", "click", "save", "purchase")], events - 5
    )
    listings = np.resize(log.listings, events)
    listings["slot"] = np.arange(events) % 5
    stock = listings[:5].copy()
    return Facts(log.events, stock[listings["slot"]], np.arange(events + 1))


def columns(log: Facts) -> dict[str, np.ndarray]:
    return {
        "person": log.events["person"],
        "brand": log.listings["brand"],
        "all": np.ones(len(log), np.int32),
    }


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    span_ms=st.sampled_from([1, HOUR_MS, 3 * DAY_MS, 90 * DAY_MS]),
    workers=st.integers(1, 4),
)
def test_counts_are_those_of_the_ring(seed: int, span_ms: int, workers: int):
    log = in_order(seed, 200, span_ms)
    asking = np.flatnonzero(np.isin(log.events["kind"], [KIND_CODE[kind] for kind in AT]))
    counts = counts_in_order(
        COUNTERS, log.events["t"], log.events["kind"], columns(log), at=AT, workers=workers
    )
    ring = replay(FeatureView("v", COUNTERS), log, Rows.of_mentions(log, asking))
    assert same_bytes(counts, ring.values)


def test_a_window_loses_what_is_a_hop_too_old():
    """24 h by 1 h: as of 10:30 it begins at 10:00 the day before."""
    day = WINDOWS["24h"]
    now = START_MS // day.hop_ms * day.hop_ms + 30 * 60_000
    edge = now - 30 * 60_000 - day.length_ms
    t = np.array([edge - 1, edge, now - 1, now, now])
    kinds = np.array([KIND_CODE[k] for k in ("click", "click", "click", "impression", "click")])
    counter = Counter("n", ("listing",), ("click",), ("24h",))
    counts = counts_in_order([counter], t, kinds.astype(np.int8), {"listing": np.full(5, 3)})
    assert counts.tolist() == [[2.0]]


def test_sparse_codes_are_numbered():
    t = START_MS + np.arange(6)
    kinds = np.array([8, 8, 7, 8, 7, 7], np.int8)
    listing = np.array([2**31 - 1, 5, 2**31 - 1, 2**31 - 1, 2**31 - 1, 0], np.int32)
    counter = Counter("n", ("listing",), ("click",), ("1h",))
    counts = counts_in_order([counter], t, kinds, {"listing": listing})
    assert counts[:2].tolist() == [[1.0], [2.0]]
    assert np.isnan(counts[2, 0])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_log_out_of_order_is_refused(workers: int):
    t = START_MS + np.arange(9)
    t[6] = t[5] - 1
    counter = Counter("n", ("listing",), ("click",), ("1h",))
    parts = {"listing": np.ones(9, np.int32)}
    with pytest.raises(InputError, match=r"event 6 has t .* Use replay"):
        counts_in_order([counter], t, np.full(9, 8, np.int8), parts, workers=workers)


def test_what_makes_no_sense_is_refused():
    t, kinds = np.zeros(3, np.int64), np.zeros(3, np.int8)
    brand = {"brand": np.zeros(3, np.int32)}
    counter = Counter("n", ("listing",), ("click",), ("1h",))
    with pytest.raises(ConfigError, match="no column for 'listing'"):
        counts_in_order([counter], t, kinds, brand)
    with pytest.raises(ConfigError, match="no hop"):
        counts_in_order([Counter("n", ("brand",), ("click",), ("2h",))], t, kinds, brand)
    with pytest.raises(ConfigError, match="unknown kind 'seen'"):
        counts_in_order(
            [Counter("n", ("brand",), ("click",), ("1h",))], t, kinds, brand, at=("seen",)
        )
    above = Counter("n", ("brand",), ("click",), ("1h",), where=Where(positions=(0, 3)))
    with pytest.raises(ConfigError, match="chooses by kind alone: use replay"):
        counts_in_order([above], t, kinds, brand)
    with pytest.raises(ShapeError, match=r"'brand': \[2\]"):
        counts_in_order(
            [Counter("n", ("brand",), ("click",), ("1h",))], t, kinds, {"brand": np.zeros(2)}
        )


def test_what_a_ring_cannot_hold_is_refused():
    counter = Counter("n", ("listing",), ("click",), ("1h",))
    kinds, listing = np.full(65_536, 8, np.int8), np.ones(65_536, np.int32)
    t = START_MS // HOUR_MS * HOUR_MS + np.arange(65_536)
    with pytest.raises(InputError, match="more than 65535 times in one hop of its 1h"):
        counts_in_order([counter], t, kinds, {"listing": listing}, at=("click",))
    brand = Counter("n", ("brand",), ("click",), ("1h",))  # 32 bits
    counts = counts_in_order([brand], t, kinds, {"brand": listing}, at=("click",))
    assert counts[-1, 0] == 65_535
    t[-1] += HOUR_MS
    counts = counts_in_order([counter], t, kinds, {"listing": listing}, at=("click",))
    assert counts[-2:, 0].tolist() == [65_534, 65_535]


def test_no_events():
    counter = Counter("n", ("listing",), ("click",), ("1h", "7d"))
    nothing = np.zeros(0, np.int64)
    assert counts_in_order([counter], nothing, nothing, {"listing": nothing}).shape == (0, 2)
