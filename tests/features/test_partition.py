"""Partitions that know nothing of each other give what one replay of the whole log gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features.algebra import (
    Counter,
    Decay,
    Distinct,
    First,
    Last,
    LastK,
    SinceLast,
    Static,
    Sum,
    Where,
)
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.partition import (
    keys,
    newest_at,
    questions,
    records,
    replayed,
    shares,
    stocked,
    terms,
    terms_of,
)
from heirloom.features.replay import replay
from heirloom.features.view import FeatureView
from heirloom.testing.features import HOUR_MS, random_log, same_bytes
from heirloom.testing.replay import random_rows

CLICKS = Counter("clicks", ("query", "listing"), ("click",), ("24h", "7d"))
WORDS = FeatureView(
    "words",
    (
        CLICKS,
        Decay("loyal", CLICKS, ("24h", "7d"), 36 * HOUR_MS),
        Counter("top", ("listing", "brand"), ("impression",), ("24h",), where=Where(("home",))),
        Counter("three", ("brand", "size", "category"), ("impression", "listed"), ("30d",)),
        Sum("spent", ("person", "seller"), ("purchase", "click"), ("7d",)),
        SinceLast("since", ("seller",), ("follow", "click"), within="7d"),
        Last("last_query", ("person",), ("search", "impression"), "query"),
        First("first_surface", ("listing",), ("impression", "listed", "edited"), "surface"),
        LastK("of_brand", ("person",), ("click", "save", "impression"), "brand", 5),
        Distinct("askers", ("listing",), ("impression",), "query", ("30d",)),
        Static("hour", "hour"),
    ),
)
VIEWS = [marketplace_view(), rental_view(["occasion"], kinds=("purchase", "click")), WORDS]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), partitions=st.integers(1, 5))
def test_partitions_together_are_the_whole(view: FeatureView, seed: int, partitions: int):
    log = random_log(seed, 150)
    rows = random_rows(seed, log, 30, view)
    values = replayed(view, log, rows, partitions=partitions)
    assert same_bytes(values, replay(view, log, rows).values)


def test_each_mention_goes_to_one_partition_and_all_of_a_key_to_the_same():
    log = random_log(2, 400)
    rows = random_rows(2, log, 50, WORDS)
    asked = questions(rows, newest_at(log, rows.n))
    part = stocked(np.concatenate([records(log), asked]))
    for key in keys(WORDS):
        share = shares(key, part, 4)
        assert share[part["row"] >= 0].min() >= 0
        assert set(share.tolist()) <= {-1, 0, 1, 2, 3}
    by_person = shares(("person",), part, 4)
    for person in (1, 2):
        mine = part["event"]["person"] == person
        assert len(set(by_person[mine].tolist())) == 1
    assert set(by_person[(part["event"]["person"] == 0) & (part["row"] < 0)].tolist()) == {-1}


def test_a_partition_that_lost_a_mention_answers_otherwise():
    log = random_log(3, 300)
    rows = random_rows(3, log, 60, WORDS)
    part = stocked(np.concatenate([records(log), questions(rows, newest_at(log, rows.n))]))
    key = ("brand", "size", "category")
    ids, whole = terms(WORDS, key, part)
    assert whole.shape == (60, len(terms_of(WORDS, key)))
    assert sorted(ids.tolist()) == list(range(60))
    answered = part[(part["row"] < 0) & (shares(key, part, 1) >= 0)]
    counted = np.isin(answered["event"]["kind"], [0, 7])
    lost = np.isin(part["place"], answered["place"][counted]) & (part["row"] < 0)
    _, less = terms(WORDS, key, part[~lost])
    assert whole.max() > 0 >= less.max()


def test_what_partitions_cannot_do_is_refused():
    view = FeatureView("v", (Static("number", "listing"),))
    with pytest.raises(ConfigError, match="Static 'number': the number of a listing is not known"):
        keys(view)
    events, listings = np.zeros(1, EVENT_ROW), np.zeros(1_024, LISTING_ROW)
    with pytest.raises(InputError, match="names 1024 listings; at most 1023"):
        records(Facts(events, listings, np.array([0, 1_024])))
