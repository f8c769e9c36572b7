import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.slates.places import Tiers
from heirloom.slates.relevance import by_score, fresh, grouped, price_bands, relevance, resorted

scores = st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -3.0, 0.0, 0.5, 2.0]), max_size=20).map(
    lambda values: np.array(values, np.float32)
)


@given(scores, st.integers(1, 20))
def test_relevance_keeps_the_order_of_scores(values: np.ndarray, reach: int) -> None:
    order = by_score(values)
    found = relevance(values, order, reach)
    finite = np.isfinite(values)
    assert not np.isnan(found).any()
    assert ((found == -np.inf) == (np.isnan(values) | (values == -np.inf))).all()
    assert (np.diff(found[order][found[order] > -np.inf]) <= 0).all()
    if finite.any():
        best = found[order[finite[order]][0]]
        assert best == found.max()
        assert best in (0.0, 1.0)
        assert 0.0 in found[order[finite[order]][:reach]]


@given(scores)
def test_no_number_is_last_and_equals_keep_their_order(values: np.ndarray) -> None:
    order = by_score(values).tolist()
    key = [(-np.inf if np.isnan(v) else float(v), not np.isnan(v)) for v in values]
    assert order == sorted(range(len(values)), key=lambda i: (-key[i][0], not key[i][1], i))


@given(st.lists(st.integers(0, 3), max_size=12))
def test_groups_are_a_stable_partition(groups: list[int]) -> None:
    order = np.arange(len(groups))[::-1]
    found = grouped(order, np.array(groups, np.int64)).tolist()
    assert found == sorted(order.tolist(), key=lambda row: (groups[row], -row))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12))
def test_a_lift_sorts_within_tiers_that_are_drawn(rows: list[tuple[int, int]]) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    lifts, groups = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    tiers = Tiers.of(groups.astype(np.int64), groups % 2 == 0)
    found = resorted(np.arange(len(rows)), lifts, tiers).tolist()
    key = [(group, -lift if group % 2 == 0 else 0) for lift, group in rows]
    assert found == sorted(range(len(rows)), key=lambda row: key[row])


@given(st.lists(st.integers(0, 10**9), max_size=8), st.floats(1, 1e9))
def test_freshness_halves_with_each_half_life(ages: list[int], half_life: float) -> None:
    age = np.array(ages, np.int64)
    assert (fresh(age, half_life) <= 1).all()
    np.testing.assert_allclose(
        fresh(age * 2, half_life), fresh(age, half_life) ** 2, rtol=1e-9, atol=1e-300
    )


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(2, 6))
def test_price_bands_are_of_equal_numbers_and_never_split_a_price(
    prices: list[int], bands: int
) -> None:
    values = np.array(prices, np.int64)
    found = price_bands(values, np.arange(len(values)), bands)
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()
    for price in set(prices):
        assert len(set(found[values == price].tolist())) == 1
    if len(set(prices)) == len(prices):
        assert np.bincount(found, minlength=bands).max(initial=0) <= -(-len(prices) // bands)
