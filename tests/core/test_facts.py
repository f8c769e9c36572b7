"""Facts: slices and joins are what they would be row by row."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.event import Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts


def of(counts: list[int]) -> Facts:
    """Event i names counts[i] listings; all rows are numbered."""
    events = np.zeros(len(counts), EVENT_ROW)
    events["seq"] = np.arange(len(counts))
    listings = np.zeros(sum(counts), LISTING_ROW)
    listings["slot"] = np.arange(sum(counts))
    bounds = np.cumsum([0, *counts])
    return Facts.unpack(
        [row.tobytes() for row in events],
        [listings[i:j].tobytes() for i, j in itertools.pairwise(bounds)],
    )


def naive(facts: Facts) -> list[tuple[int, list[int]]]:
    return [
        (int(event["seq"]), facts.listings["slot"][i:j].tolist())
        for event, i, j in zip(facts.events, facts.starts[:-1], facts.starts[1:], strict=True)
    ]


counts = st.lists(st.integers(0, 3), max_size=8)


def test_unpack_keeps_each_events_listings():
    assert naive(of([2, 0, 1])) == [(0, [0, 1]), (1, []), (2, [2])]
    assert naive(Facts.empty()) == naive(of([])) == []


@given(counts, st.integers(-10, 10), st.integers(-10, 10))
def test_a_slice_is_the_slice_of_the_rows(counts, start, stop):
    facts = of(counts)
    assert naive(facts[start:stop]) == naive(facts)[start:stop]
    assert facts[start:stop].starts[0] == 0


@given(counts, st.lists(st.integers(0, 8), max_size=3))
def test_joined_parts_are_the_whole(counts, cuts):
    facts = of(counts)
    bounds = [0, *sorted(min(cut, len(counts)) for cut in cuts), len(counts)]
    parts = [facts[i:j] for i, j in itertools.pairwise(bounds)]
    joined = Facts.joined(parts)
    assert naive(joined) == naive(facts)
    assert joined.starts.dtype == np.int64


def test_joining_nothing_gives_nothing():
    assert len(Facts.joined([])) == 0


def test_a_step_is_refused():
    with pytest.raises(ValueError, match="step 1"):
        of([1, 1])[::2]


@given(st.lists(st.integers(0, len(Kind) - 1), max_size=5))
def test_kinds_are_those_of_the_events(codes):
    rows = np.zeros(len(codes), EVENT_ROW)
    rows["kind"] = codes
    facts = Facts(rows, np.zeros(0, LISTING_ROW), np.zeros(len(codes) + 1, np.int64))
    assert [code for code in range(len(Kind)) if facts.kinds >> code & 1] == sorted(set(codes))
    assert facts[:1].kinds == sum(1 << code for code in codes[:1])


@pytest.mark.parametrize("counts", [[], [1], [1, 0, 2]])
def test_columns_for_compiled_loops_are_of_one_layout_however_many_rows(counts):
    facts = of(counts)
    read_only = Facts.unpack([e.tobytes() for e in facts.events], [b""] * len(facts))
    for columns in (*read_only.of_events("kind", "t"), *facts.of_listings("slot", "position")):
        assert columns.flags.c_contiguous
        assert columns.flags.writeable
        assert columns.flags.owndata
    assert read_only.of_events("seq")[0].tolist() == facts.events["seq"].tolist()
