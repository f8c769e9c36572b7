"""The point-in-time join against its definition, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.features.asof import NONE, asof, last_rows, taken
from heirloom.features.numbering import numbering_of, numbers_of


def naive(keys, t, sequence, asked_keys, asked_t) -> list[int]:
    found = []
    for key, now in zip(asked_keys, asked_t, strict=True):
        there = [i for i in range(len(keys)) if keys[i] == key and t[i] <= now]
        found.append(max(there, key=lambda i: (t[i], sequence[i], i), default=NONE))
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 60),
    asked=st.integers(0, 40),
    spread=st.sampled_from([1, 10**6 // 3, 2**61]),
    with_sequence=st.booleans(),
    workers=st.integers(1, 3),
)
def test_the_last_row_by_each_moment(seed, rows, asked, spread, with_sequence, workers):
    rng = np.random.default_rng(seed)
    keys, asked_keys = rng.integers(-2, 2, rows) * spread, rng.integers(-2, 3, asked) * spread
    t, asked_t = rng.integers(0, 9, rows), rng.integers(0, 9, asked)
    sequence = rng.integers(-3, 3, rows) if with_sequence else None
    got = last_rows(keys, t, asked_keys, asked_t, sequence=sequence, workers=workers)
    order = np.zeros(rows) if sequence is None else sequence
    assert got.tolist() == naive(keys, t, order, asked_keys, asked_t)


def test_values_are_those_of_the_row_and_no_cold_moment_is_dropped():
    keys = np.array([5, 5, 6, 7])
    t = np.array([10, 20, 50, 10])
    columns = [np.array([1, 2, 3, np.nan], np.float32), np.array([4, 5, 6, 7], np.float32)]
    asked_keys, asked_t = np.array([6, 5, 5, 8, 7]), np.array([49, 20, 19, 99, 10])
    values = asof(columns, keys, t, asked_keys, asked_t, workers=2)
    nan = np.nan  # 6 has only a later row; 8 has none; the first value of 7 is missing itself
    expected = np.array([[nan, nan], [2, 5], [1, 4], [nan, nan], [nan, 7]], np.float32)
    np.testing.assert_array_equal(values, expected)


def test_lengths_that_differ_are_refused():
    four, five = np.zeros(4, np.int64), np.zeros(5, np.int64)
    with pytest.raises(ShapeError, match=r"t has shape \[5\]"):
        last_rows(four, five, four, four)
    with pytest.raises(ShapeError, match=r"sequence has shape \[5\]"):
        last_rows(four, four, four, four, sequence=five)
    with pytest.raises(ShapeError, match=r"asked_t has shape \[5\]"):
        last_rows(four, four, four, five)
    with pytest.raises(ShapeError, match=r"columns of shape \[\[5\]\]; wanted \[rows=4\]"):
        asof([np.zeros(5, np.float32)], four, four, four, four)


def test_nothing_taken_is_nan():
    values = taken([np.zeros(0, np.float32)], np.array([NONE, NONE]))
    assert np.isnan(values).all()


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), max_size=50),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), max_size=9),
)
def test_numbers_tell_keys_apart(keys: list[int], others: list[int]):
    numbering = numbering_of(np.array(keys, np.int64))
    asked = np.array(keys + others, np.int64)
    numbers = numbers_of(numbering, asked).tolist()
    named = dict(zip(keys, numbers, strict=False))
    assert len(set(named.values())) == len(named)
    assert all(1 <= number <= numbering.largest for number in named.values())
    if len(numbering.keys):  # else the keys between them have numbers too
        assert numbers == [named.get(key, 0) for key in asked.tolist()]


def test_a_map_of_many_keys_grows():
    keys = np.random.default_rng(0).permutation(5_000) * 2**40 - 2**50
    numbers = numbers_of(numbering_of(keys), keys)
    assert numbers.tolist() == list(range(1, 5_001))
    assert not numbers_of(numbering_of(keys), keys + 1).any()
