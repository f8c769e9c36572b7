"""Explain: a second opinion on the kernel's values, with the events they are made of."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features.algebra import (
    Counter,
    Decay,
    Definition,
    Distinct,
    First,
    Given,
    Last,
    LastK,
    Price,
    Ratio,
    SinceLast,
    Sum,
    Where,
)
from heirloom.features.explain import Explained, explain
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView
from heirloom.testing.features import random_log, random_request, same_bytes

HOUR, DAY = 3_600_000, 86_400_000
T0 = 1_700_006_400_000  # 2023-11-15 00:00 UTC
CLICKS = Counter("clicks", ("listing",), ("click",), ("24h",))


def facts(*rows: tuple[str, int, int]) -> Facts:
    """One event each of person 1 on brand 2, price 1000: kind, t, slot."""
    events, listings = np.zeros(len(rows), EVENT_ROW), np.zeros(len(rows), LISTING_ROW)
    for i, (kind, t, slot) in enumerate(rows):
        events[i]["seq"], events[i]["t"], events[i]["kind"] = i, t, KIND_CODE[kind]
        events[i]["person"], listings[i]["brand"], listings[i]["slot"] = 1, 2, slot
        listings[i]["price_minor"] = 1_000
    return Facts(events, listings, np.arange(len(rows) + 1, dtype=np.int64))


def explained(view: FeatureView, log: Facts, t: int) -> dict[str, Explained]:
    request = random_request(0, t)
    object.__setattr__(request, "person", 1)
    return {each.column: each for each in explain(view, lambda: [log], request, 0)}


def test_a_value_comes_with_its_events_newest_first() -> None:
    log = facts(
        ("listed", T0 - DAY, 0),
        ("click", T0 - DAY, 0),  # just inside 24 h by 1 h: its tail stands at T0 - 24 h
        ("click", T0 - DAY - 1, 0),  # just outside
        ("click", T0 - HOUR, 0),
        ("click", T0 - 2 * HOUR, 0),  # late
        ("click", T0, 1),  # another listing
        ("save", T0, 0),  # another kind
    )
    made = explained(FeatureView("v", (CLICKS,)), log, T0 + HOUR - 1)["clicks_24h"]
    (evidence,) = made.evidence
    assert (made.value, made.how, evidence.count) == (3.0, "3 counted", 3)
    assert [mention.seq for mention in evidence.newest] == [3, 4, 1]
    assert (evidence.from_ms, evidence.to_ms) == (T0 - DAY, T0 + HOUR)
    assert evidence.span == (T0 - DAY, T0 - HOUR)
    assert evidence.paid == (3, 3_000)


def test_a_slot_that_was_used_again_inherits_nothing() -> None:
    log = facts(("listed", T0, 0), ("click", T0, 0), ("listed", T0 + 1, 0), ("click", T0 + 2, 0))
    made = explained(FeatureView("v", (CLICKS,)), log, T0 + 3)["clicks_24h"]
    assert [mention.seq for mention in made.evidence[0].newest] == [3]


def test_the_arithmetic_is_told_with_its_numbers() -> None:
    seen = Counter("seen", ("listing",), ("impression",), ("24h",))
    view = FeatureView("v", (Ratio("rate", CLICKS, seen, ("24h",), (1.0, 20.0)), Price("price")))
    log = facts(("listed", T0, 0), ("impression", T0, 0), ("impression", T0, 0), ("click", T0, 0))
    made = explained(view, log, T0)
    assert made["rate_24h"].how == "(1 + 1) / (2 + 20)"
    assert made["rate_24h"].value == float(np.float32(2 / 22))
    assert made["price"].how == "log(1000)"


def test_an_unknown_key_has_no_evidence_and_no_value() -> None:
    mine = Counter("mine", ("person", "colour"), ("click",), ("24h",))
    made = explained(FeatureView("v", (mine,)), facts(("listed", T0, 0), ("click", T0, 0)), T0)
    assert math.isnan(made["mine_24h"].value)
    assert not made["mine_24h"].evidence[0].known


BEST = Where(surfaces=("search", "home"), positions=(0, 2))
REST = FeatureView(
    "rest",
    (
        Counter("asked", ("query", "listing"), ("impression", "click"), ("7d", "30d")),
        Counter("kind", ("brand", "size", "category"), ("impression",), ("1h", "4w", "ever")),
        Counter("best", ("listing",), ("impression", "click"), ("24h",), where=BEST),
        Counter("here", ("category", "surface"), ("impression",), ("365d",)),
        Sum("spent", ("person",), ("purchase", "click"), ("24h", "90d")),
        Decay("loyal", replace(CLICKS, key=("person", "brand")), ("24h",), 36 * HOUR),
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
"""Words that the library does without."""
VIEWS = {
    "marketplace": marketplace_view(),
    "rental": rental_view(["occasion", "size"], kinds=("purchase", "click", "impression")),
    "rest": REST,
}


@pytest.mark.parametrize("name", VIEWS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 150), max_size=3))
def test_the_plain_path_and_the_kernel_agree_by_bytes(
    name: str, seed: int, cuts: list[int]
) -> None:
    view, log = VIEWS[name], random_log(seed, 150)
    state = view.state()
    state.apply(log)
    request = random_request(seed + 1, int(log.events["t"].max()) + seed % (40 * DAY))
    parts = [log[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(log)])]
    for slot in (0, 3, 99):
        batch = state.lookup(request, np.array([slot], np.int32))
        served = dict(
            zip((c.partition(".")[2] for c in view.columns), batch.values[0], strict=True)
        )
        for each in explain(view, lambda: parts, request, slot):
            plain = np.array([each.value], np.float32)
            assert same_bytes(plain, np.array([served[each.column]], np.float32)), each.column
            for evidence in each.evidence:
                assert len(evidence.newest) == min(evidence.count, 3)
                assert sorted(evidence.newest, key=lambda m: -m.t) == list(evidence.newest)


def test_every_word_of_the_algebra_is_explained() -> None:
    library = [*marketplace_view().features, *rental_view(["size"]).features, *REST.features]
    made = explained(FeatureView("all", tuple({type(d): d for d in library}.values())),
                     facts(("listed", T0, 0)), T0)  # fmt: skip
    words = {type(each.definition) for each in made.values()}
    assert words == set(get_args(Definition)) - {Given}
