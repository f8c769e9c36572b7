"""Contributions by leaving groups out: beside a plain loop, and their laws."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.ranking.contributions import SURE, contributions, median, telling, usual

Values = NDArray[np.float32]


def drawn(seed: int, rows: int, features: int) -> Values:
    """Few distinct values, so that some are as usual, and some missing."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-2, 3, (rows, features)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    return values


def tangled(values: Values) -> Values:
    """A score in which features meet, and missing ones count."""
    known = np.nan_to_num(values, nan=0.5)
    return (known.prod(axis=1) + np.sin(known).sum(axis=1)).astype(np.float32)


def plainly(
    score: Callable[[Values], Values],
    values: Values,
    instead: Values,
    of: NDArray[np.int64],
    n: int,
) -> Values:
    """One listing, one group, one call after the other."""
    found = np.zeros((len(values), n), np.float32)
    for i, row in enumerate(values):
        for group in range(n):
            without = row.copy()
            without[of == group] = instead[of == group]
            found[i, group] = score(row[None])[0] - score(without[None])[0]
    return found


worlds = st.tuples(st.integers(0, 2**32), st.integers(0, 9), st.integers(1, 8), st.integers(1, 5))


@given(worlds)
def test_one_call_is_the_plain_loop(world: tuple[int, int, int, int]) -> None:
    seed, rows, features, groups = world
    values, instead = drawn(seed, rows, features), drawn(seed + 1, 1, features)[0]
    of = np.random.default_rng(seed).integers(0, groups, features)
    calls = []

    def score(batch: Values) -> Values:
        calls.append(len(batch))
        return tangled(batch)

    found = contributions(score, values, instead, of, groups)
    assert found.tobytes() == plainly(tangled, values, instead, of, groups).tobytes()
    assert len(calls) <= 1


@given(worlds)
def test_what_a_ranker_ignores_contributes_nothing(world: tuple[int, int, int, int]) -> None:
    seed, rows, features, groups = world
    values, instead = drawn(seed, rows, features), drawn(seed + 1, 1, features)[0]
    of = np.random.default_rng(seed).integers(0, groups, features)
    found = contributions(
        lambda batch: tangled(np.where(of == 0, np.float32(1), batch)), values, instead, of, groups
    )
    assert not found[:, 0].any()


@given(worlds)
def test_of_an_additive_score_they_sum_to_the_distance_from_the_usual(
    world: tuple[int, int, int, int],
) -> None:
    seed, rows, features, groups = world
    values, instead = drawn(seed, rows, features), drawn(seed + 1, 1, features)[0]
    of = np.random.default_rng(seed).integers(0, groups, features)
    weights = np.random.default_rng(seed).integers(-4, 5, features).astype(np.float32)

    def score(batch: Values) -> Values:
        return (np.nan_to_num(batch, nan=3) * weights).sum(axis=1, dtype=np.float32)

    found = contributions(score, values, instead, of, groups)
    assert found.sum(axis=1).tolist() == (score(values) - score(instead[None])).tolist()


def test_what_is_no_number_contributes_nothing() -> None:
    def score(batch: Values) -> Values:
        return np.where(batch[:, 0] > 1, np.inf, batch[:, 0]).astype(np.float32)

    values = np.array([[2, 7], [3, 7], [1, 7], [np.nan, 7]], np.float32)
    found = contributions(score, values, np.array([2, 7], np.float32), np.array([0, 1]), 2)
    assert not found.any()
    assert contributions(score, values[:0], values[0], np.array([0, 1]), 2).shape == (0, 2)


def middle(column: Values, *, code: bool) -> float:
    known = sorted(column[~np.isnan(column)].tolist())
    if not known or 2 * len(known) < len(column):
        return np.nan
    if code:
        return max(sorted(set(known)), key=known.count)
    return known[(len(known) - 1) // 2]


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 6))
def test_usual_is_the_middle_one_or_the_most_frequent_code(
    seed: int, rows: int, features: int
) -> None:
    values = drawn(seed, rows, features)
    codes = np.random.default_rng(seed).random(features) < 0.5
    found = usual(values, codes)
    wanted = [middle(values[:, i], code=bool(codes[i])) for i in range(features)]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


@given(
    st.lists(st.floats(width=32, min_value=-(2.0**99), max_value=2.0**99), min_size=1),
    st.booleans(),
)
def test_the_median_is_the_one_of_numpy(given: list[float], missing: bool) -> None:
    values = np.array(given, np.float32)
    if missing:
        values[len(values) // 2] = np.nan
    np.testing.assert_array_equal(median(values), float(np.median(values)))


matrices = st.tuples(st.integers(0, 2**32), st.integers(0, 8), st.integers(0, 7)).map(
    lambda drawn: np.random.default_rng(drawn[0]).normal(size=drawn[1:]).astype(np.float32)
)


@given(matrices)
def test_what_is_told_is_among_the_strongest_and_raises(added: Values) -> None:
    told = telling(added)
    assert told.shape == added.shape
    assert (told.sum(axis=1) <= len(SURE)).all()
    assert (added[told] > 0).all()
    rank = (-added).argsort(axis=1).argsort(axis=1)
    assert (rank[told] < len(SURE)).all()
    # Nothing is told but what stands above the fourth by its margin, and no scale matters.
    assert telling(added * 8).tobytes() == told.tobytes()


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ([5.0, 4.0, 3.0, 0.0], [True, True, True, False]),
        ([5.0, 4.9, 4.8, 4.7], [False] * 4),  # any of them may be the fourth
        ([5.0, 0.2, 0.1, 0.1], [True, False, False, False]),
        ([-5.0, 1.0, 0.0, 0.0], [False, True, False, False]),
        ([-5.0, -1.0, -2.0, -3.0], [False] * 4),
        ([0.0, 0.0, 0.0, 0.0], [False] * 4),
        ([2.0], [True]),
    ],
)
def test_margins(added: list[float], told: list[bool]) -> None:
    assert telling(np.array([added], np.float32))[0].tolist() == told


@given(matrices)
def test_what_is_told_is_what_ordering_all_groups_tells(added: Values) -> None:
    order = np.argsort(-added, axis=1, kind="stable")
    ranked = np.take_along_axis(added, order, axis=1)
    rest = np.zeros(len(added), np.float32)
    if added.shape[1] > len(SURE):
        rest = np.maximum(ranked[:, len(SURE)], 0)
    naive, whole = np.zeros(added.shape, np.bool_), np.abs(added).sum(axis=1)
    for place, margin in enumerate(SURE[: added.shape[1]]):
        above = ranked[:, place] - rest
        naive[np.arange(len(added)), order[:, place]] = (above > 0) & (above >= margin * whole)
    assert telling(added).tolist() == naive.tolist()
