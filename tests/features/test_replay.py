"""A replayed row is what a live lookup at that position of the log gave, bit for bit."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ConfigError, InputError, ShapeError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features.algebra import Counter, Ratio, columns_of
from heirloom.features.division import divided
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.replay import Replayed, Rows, replay
from heirloom.features.view import FeatureView
from heirloom.testing.features import random_log, same_bytes
from heirloom.testing.replay import random_rows, served

MARKETPLACE = marketplace_view()
RENTAL = rental_view(["occasion", "size"], kinds=("purchase", "click", "save", "impression"))


def parts(log: Facts, cuts: list[int]) -> Iterator[Facts]:
    for start, stop in pairwise([0, *sorted(cuts), len(log)]):
        yield log[start:stop]


@pytest.mark.parametrize("view", [MARKETPLACE, RENTAL], ids=lambda view: view.name)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 150), max_size=5),
    workers=st.integers(1, 3),
    rounds=st.integers(1, 3),
)
def test_replayed_is_served(view, seed: int, cuts: list[int], workers: int, rounds: int):
    log = random_log(seed, 150)
    rows = random_rows(seed, log, 40, view)
    replayed = replay(view, list(parts(log, cuts)), rows, workers=workers, rounds=rounds)
    assert replayed.columns == view.columns
    assert same_bytes(replayed.values, served(view, log, rows))


def test_state_that_grows_between_answers_answers_the_same():
    log = random_log(3, 4_000)
    log.events["person"] = np.arange(len(log)) % 1_500 + 1  # more keys than a new state holds
    log.listings["brand"] = np.arange(len(log.listings)) % 1_999 + 1
    rows = random_rows(4, log, 200, MARKETPLACE)
    rows.person[:] = log.events["person"][np.maximum(rows.n - 1, 0)]
    whole = replay(MARKETPLACE, log, rows, workers=2)
    assert same_bytes(whole.values, served(MARKETPLACE, log, rows))
    assert np.nanmax(whole.values) > 0


def test_gaps_in_the_sequence_are_no_entries():
    log = random_log(5, 90)
    log.events["seq"] = np.arange(90) * 7 + 3
    rows = random_rows(6, log, 30, RENTAL)
    rows.n[:] = rows.n * 7  # between two entries, or before the first
    rows.n[-1] = 89 * 7 + 4
    assert same_bytes(replay(RENTAL, log, rows).values, served(RENTAL, log, rows))


def test_a_row_of_an_impression_knows_nothing_of_it():
    clicked = Counter("clicked", ("listing",), ("click",), ("1h",))
    seen = Counter("seen", ("listing",), ("impression",), ("1h",))
    view = FeatureView("v", (clicked, seen))
    events = np.zeros(5, EVENT_ROW)
    events["seq"] = np.arange(5)
    events["t"] = 1_700_000_000_000 + np.arange(5)
    events["kind"] = [
        KIND_CODE[k] for k in ("listed", "impression", "click", "impression", "click")
    ]
    log = Facts(events, np.zeros(5, LISTING_ROW), np.arange(6))
    rows = Rows.of_mentions(log, np.array([3, 1]))
    assert replay(view, log, rows).values.tolist() == [[1, 1], [0, 0]]


def test_the_log_is_read_no_further_than_the_rows_need():
    log = random_log(7, 60)
    rows = random_rows(8, log, 10, RENTAL)
    rows.n[:] = 20

    def endless() -> Iterator[Facts]:
        yield log[:15]
        yield log[15:30]
        raise AssertionError("read on")

    assert replay(RENTAL, endless(), rows).n == 30


def test_no_log_and_no_rows():
    rows = random_rows(9, random_log(9, 10), 6, RENTAL)
    none = Rows.of_mentions(random_log(9, 10), np.zeros(0, np.int64))
    assert replay(RENTAL, random_log(9, 10), none).values.shape == (0, len(RENTAL.columns))
    rows.n[:] = 0
    answered: Replayed = replay(RENTAL, [], rows)
    assert same_bytes(answered.values, served(RENTAL, Facts.empty(), rows))
    assert answered.n == 0


def test_what_cannot_be_answered_is_refused():
    log = random_log(10, 30)
    rows = random_rows(10, log, 6, RENTAL)
    rows.n[2] = 31
    with pytest.raises(InputError, match="as of offset 31, but the log ends at 30"):
        replay(RENTAL, log, rows)
    with pytest.raises(InputError, match="entry 5 came again, 10 are applied"):
        replay(RENTAL, [log[:10], log[5:]], rows)
    with pytest.raises(InputError, match="can be read once only"):
        replay(RENTAL, parts(log, []), rows, rounds=2)
    with pytest.raises(ConfigError, match="1 workers, 0 rounds"):
        replay(RENTAL, log, rows, rounds=0)
    with pytest.raises(ShapeError, match=r"given columns \['mood'\]"):
        replay(RENTAL, log, Rows(**_fields(rows) | {"given": {"mood": np.zeros(6, np.float32)}}))
    with pytest.raises(ShapeError, match=r"'slot': \[5\]"):
        Rows(**_fields(rows) | {"slot": rows.slot[1:]})
    with pytest.raises(ConfigError, match="0 workers"):
        divided(RENTAL, 0)


def _fields(rows: Rows) -> dict[str, object]:
    return {name: getattr(rows, name) for name in Rows.__slots__}


@pytest.mark.parametrize("workers", [1, 2, 3, 50])
def test_a_divided_view_has_each_column_once(workers: int):
    shares = divided(MARKETPLACE, workers)
    assert 1 <= len(shares) <= workers
    places = np.concatenate([share.columns for share in shares])
    assert sorted(places.tolist()) == list(range(len(MARKETPLACE.columns)))
    for share in shares:
        names = [column.partition(".")[2] for column in share.view.columns]
        whole = [MARKETPLACE.columns[i].partition(".")[2] for i in share.columns]
        assert names == whole


def test_definitions_that_share_state_fall_to_one_worker():
    seen = Counter("seen", ("brand",), ("impression",), ("24h",))
    clicked = Counter("clicked", ("brand",), ("click",), ("24h",))
    other = Counter("other", ("person",), ("click",), ("24h",))
    view = FeatureView("v", (seen, other, clicked, Ratio("rate", clicked, seen, ("24h",))))
    names = [
        {name for d in share.view.features for name in columns_of(d)} for share in divided(view, 2)
    ]
    assert sorted(names, key=len) == [{"other_24h"}, {"seen_24h", "clicked_24h", "rate_24h"}]
