"""Live = replay = the contract in SQL, by bytes."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import KIND_CODE
from heirloom.core.facts import Facts
from heirloom.core.query import Request
from heirloom.features.algebra import (
    Age,
    Counter,
    Decay,
    Distinct,
    First,
    Last,
    LastK,
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
from heirloom.features.replay import Rows, replay
from heirloom.features.view import FeatureView
from heirloom.features.windows import WINDOWS
from heirloom.testing.features import random_log, random_request, same_bytes

from .sql import expected, mentions

KINDS = ("click", "save", "impression")
NAMES = tuple(name for name in WINDOWS if name != "ever")
TOP = Where(surfaces=("search",), positions=(0, 3))
PAIR = Counter("n", ("brand", "category"), KINDS, NAMES)
SIZED = Counter("sized", ("brand", "size", "category"), KINDS, ("30d", "ever"))
RATE = Ratio("rate", PAIR, PAIR, ("30d",), (1.0, 20.0))
VIEW = FeatureView(
    "v",
    (
        PAIR,
        SIZED,
        RATE,
        Ratio("sized_rate", SIZED, SIZED, ("30d",), (0.5, 4.0), RATE),
        Counter("asked", ("query", "listing"), KINDS, ("30d",)),
        Counter("here", ("listing", "surface"), KINDS, ("7d",)),
        Counter("top", ("person",), KINDS, ("24h", "90d"), where=TOP),
        Sum("spent", ("person", "seller"), KINDS, ("7d", "ever")),
        Decay("warm", Counter("c", ("person",), KINDS, ("7d",)), ("7d",), 24 * 3_600_000),
        SinceLast("since", ("person", "brand"), KINDS, within="7d"),
        SinceFirst("first", ("listing",), KINDS),
        Last("last", ("person",), KINDS, "seller", within="30d"),
        First("first_seller", ("person",), KINDS, "seller", where=TOP),
        LastK("of_last", ("person",), KINDS, "brand", 5, within="7d"),
        Distinct("brands", ("person",), KINDS, "brand", ("24h", "30d"), 2),
        Trend("pace", Counter("c", ("listing",), KINDS, ("24h", "30d")), "24h", "30d"),
        PriceGap("gap", ("person",), KINDS, ("30d",)),
        Price("price"),
        Age("age"),
        Static("colour", "colour"),
        Static("hour", "hour"),
    ),
)


SLOTS = np.array([0, 1, 2, 3, 4, 99], np.int32)


def by_sql(log: Facts, request: Request) -> np.ndarray:
    """[slots, columns]."""
    with mentions(log) as sql:
        rows = [list(expected(sql, VIEW, request, slot).values()) for slot in SLOTS.tolist()]
    return np.array(rows, np.float32)


def rows_of(request: Request, n: int) -> Rows:
    def each(value: int, dtype: type) -> np.ndarray:
        return np.full(len(SLOTS), value, dtype)

    return Rows(
        n=each(n, np.int64), t=each(request.query.t, np.int64),
        person=each(request.person, np.int32), surface=each(request.surface, np.int8),
        text=each(request.text, np.int32), slot=SLOTS, given={},
        declared=np.tile(request.declared, (len(SLOTS), 1)),
    )  # fmt: skip


def test_values_are_those_of_sql():
    seen = np.zeros(len(VIEW.columns), bool)
    for seed in range(2):
        log = random_log(seed, 500)
        log.events["kind"][np.isin(log.events["kind"], [1, 2])] = KIND_CODE["search"]
        state = VIEW.state()
        state.apply(log)
        for later_ms in (0, 3_599_999, 31 * 86_400_000, -30 * 3_600_000, -12 * 86_400_000):
            request = random_request(seed, int(log.events["t"].max()) + later_ms)
            got = state.lookup(request, SLOTS).values
            wanted = by_sql(log, request)
            for j, name in enumerate(VIEW.columns):
                assert same_bytes(got[:, j], wanted[:, j]), (seed, name, got[:, j], wanted[:, j])
            seen |= (wanted > 0).any(axis=0)
    assert seen.all(), [name for name, known in zip(VIEW.columns, seen, strict=True) if not known]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    restart=st.integers(0, 6),
    n=st.integers(1, 200),
    later_ms=st.sampled_from(
        [0, 1, 299_999, 3_600_000, 40 * 86_400_000, -299_999, -20 * 3_600_000, -30 * 86_400_000]
    ),
)
def test_live_is_replay_is_sql(seed: int, cuts: list[int], restart: int, n: int, later_ms: int):
    """At any offset of the log, however it was cut, also where a restart was in between."""
    log = random_log(seed, 200)
    request = random_request(seed + 1, int(log.events["t"][:n].max()) + later_ms)
    live = VIEW.state()
    for i, (start, stop) in enumerate(pairwise([0, *sorted(min(cut, n) for cut in cuts), n])):
        live.apply(log[start:stop])
        if i == restart:
            live = VIEW.restored(live.n, live.arrays())
    served = live.lookup(request, SLOTS).values
    assert same_bytes(served, replay(VIEW, log, rows_of(request, n)).values)
    assert same_bytes(served, by_sql(log[:n], request))
