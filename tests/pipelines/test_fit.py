"""Fit: the definition's arithmetic on a small shelf, and the table against reading each anew."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import MAX_DECLARED
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.sizes import size_point
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.fit import STATED_EVIDENCE, SizeTable, size_gaps

T = 1_735_689_600_000
SHELF = (
    ("women/dresses/midi", "38"),
    ("women/dresses/maxi", "UK 14"),
    ("men/shirts/linen", "XS"),
    ("women/shoes/boots", "38"),
    ("women/shoes/boots", "41.5"),
    ("women/bags", "m"),
    ("women/dresses/midi", "one size"),
    ("kids/dresses", "104"),
)
M, XL, MENS_XS, SHOE_38, SHOE_41, BAG, ONE_SIZE, CHILDS = ALL = np.arange(8, dtype=np.int32)
NONE = math.nan


def stocked(shelf: tuple[tuple[str, str], ...] = SHELF) -> Catalogue:
    catalogue = Catalogue(Vocabulary())
    for number, (category, size) in enumerate(shelf):
        put(catalogue, f"l{number}", category, size)
    return catalogue


def put(catalogue: Catalogue, listing_id: str, category: str, size: str) -> None:
    data = Listing(listing_id=listing_id, seller="s", title="t", category=category, size=size)
    event = Event(event_id=f"e{listing_id}", kind=Kind.LISTED, t=T, listing=listing_id, data=data)
    catalogue.apply(event, catalogue.allocate(listing_id, T))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return stocked()


def asked(*recent: tuple[int, Kind]) -> Request:
    return Request(
        query=Query(t=T),
        person=1,
        surface=1,
        declared=np.zeros(MAX_DECLARED, np.int32),
        anchor=-1,
        recent=np.array([slot for slot, _ in recent], np.int32),
        recent_kinds=np.array([KIND_CODE[kind] for _, kind in recent], np.int8),
        recent_t=np.zeros(len(recent), np.int64),
        text_vector=np.zeros(4, np.float32),
    )


def gaps(catalogue: Catalogue, request: Request, **stated: Any) -> tuple[list[float], list[float]]:
    found = size_gaps(request, ALL, catalogue, SizeTable(catalogue.vocabulary), stated)
    assert all(column.dtype == np.float32 for column in found.values())
    return found["size_gap"].tolist(), found["size_evidence"].tolist()


def test_from_what_was_stated(catalogue: Catalogue) -> None:
    gap, evidence = gaps(catalogue, asked(), clothing_size="s", shoe_size=39)
    assert gap == pytest.approx([1, 3, 1, 1, 2.5, NONE, NONE, NONE], nan_ok=True)
    assert evidence == [STATED_EVIDENCE] * 5 + [0] * 3


def test_the_nearest_of_several(catalogue: Catalogue) -> None:
    gap, _ = gaps(catalogue, asked(), sizes=["s", "l", "41"])
    assert gap == pytest.approx([1, 1, 1, 3, 0.5, NONE, NONE, NONE], nan_ok=True)


def test_a_size_stated_with_its_kind_goes_before_one_without(catalogue: Catalogue) -> None:
    # 40 is a shoe: taken for a dress it would be an l.
    gap, _ = gaps(catalogue, asked(), clothing_size="xs", sizes=["xs", "40"])
    assert gap == pytest.approx([2, 4, 0, 2, 1.5, NONE, NONE, NONE], nan_ok=True)


def test_a_stated_department_says_what_its_numbers_mean(catalogue: Catalogue) -> None:
    gap, _ = gaps(catalogue, asked(), department="women", clothing_size="36")
    assert (gap[M], gap[MENS_XS]) == (1, 1)
    gap, _ = gaps(catalogue, asked(), department="men", clothing_size="46")
    assert (gap[M], gap[MENS_XS]) == (1, 1)
    gap, _ = gaps(catalogue, asked(), clothing_size="46")  # of either, as worn
    assert (gap[M], gap[MENS_XS]) == (4, 1)


def test_from_recent_listings(catalogue: Catalogue) -> None:
    recent = asked((M, Kind.CLICK), (XL, Kind.CLICK), (MENS_XS, Kind.CLICK), (SHOE_38, Kind.SAVE))
    gap, evidence = gaps(catalogue, recent)  # 0, 2, 4: two; of shoes, one listing is too few
    assert gap == pytest.approx([0, 2, 2, NONE, NONE, NONE, NONE, NONE], nan_ok=True)
    assert evidence == [3, 3, 3, 0, 0, 0, 0, 0]


def test_recent_actions_weigh_by_what_they_say(catalogue: Catalogue) -> None:
    even = asked((M, Kind.CLICK), (XL, Kind.CLICK))
    bought = asked((M, Kind.CLICK), (XL, Kind.PURCHASE))
    assert gaps(catalogue, even)[0][:2] == [1, 1]
    assert gaps(catalogue, bought)[0][:2] == [2, 0]


def test_one_listing_looked_at_again_is_one(catalogue: Catalogue) -> None:
    gap, evidence = gaps(catalogue, asked((M, Kind.CLICK), (M, Kind.SAVE), (BAG, Kind.SAVE)))
    assert np.isnan(gap).all()
    assert not any(evidence)


def test_stated_goes_before_recent_on_its_scale_alone(catalogue: Catalogue) -> None:
    recent = asked(*((slot, Kind.SAVE) for slot in (M, XL, SHOE_38, SHOE_41)))
    gap, evidence = gaps(catalogue, recent, clothing_size="m")
    assert gap[:5] == [0, 2, 2, 1.75, 1.75]
    assert evidence[:5] == [STATED_EVIDENCE] * 3 + [2, 2]


def test_a_stated_size_that_is_not_read_is_none(catalogue: Catalogue) -> None:
    recent = asked((M, Kind.SAVE), (XL, Kind.SAVE))
    known = gaps(catalogue, recent)
    for size in ("DE 38", "", 7, True, ["?"]):
        assert np.array_equal(gaps(catalogue, recent, clothing_size=size), known, equal_nan=True)


def test_children_are_not_measured_by_adults(catalogue: Catalogue) -> None:
    assert np.isnan(gaps(catalogue, asked(), clothing_size="104", department="women")[0]).all()
    gap, _ = gaps(catalogue, asked(), sizes=["110"], department="women")
    assert gap[CHILDS] == 1


def test_no_candidates(catalogue: Catalogue) -> None:
    table = SizeTable(catalogue.vocabulary)
    found = size_gaps(asked(), ALL[:0], catalogue, table, {"sizes": ["m"]})
    assert [column.shape for column in found.values()] == [(0,), (0,)]


# ── the twin: a table that grew as it was asked is reading each anew ─────────────────────────────

CATEGORIES = ("", "women/dresses", "men/coats", "men/jeans", "women/shoes", "kids/coats", "home")
SIZES = ("", "m", "38", "48", "32", "UK 10", "41.5", "104", "4 years", "one size", "s/m")


@given(
    shelf=st.lists(
        st.tuples(st.sampled_from(CATEGORIES), st.sampled_from(SIZES)), min_size=1, max_size=30
    ),
    cuts=st.sets(st.integers(0, 29)),
)
def test_the_table_is_reading_each_however_it_grew(
    shelf: list[tuple[str, str]], cuts: set[int]
) -> None:
    catalogue = stocked(())
    table = SizeTable(catalogue.vocabulary)
    for number, (category, size) in enumerate(shelf):
        put(catalogue, f"l{number}", category, size)
        if number in cuts or number == len(shelf) - 1:
            wear, numbers = table.points(catalogue.column("category"), catalogue.column("size"))
            for at, got, listed in zip(wear.tolist(), numbers.tolist(), shelf, strict=False):
                point, said = size_point(listed[1], listed[0]), table.wears[at]
                assert got == pytest.approx(point.number if point else NONE, nan_ok=True, abs=0)
                assert point is None or (said is not None and said.scale == point.scale)
