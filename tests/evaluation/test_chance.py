"""NDCG by chance and AUC, against every order of a few rows and every pair."""

from itertools import permutations, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.evaluation.intervals import bootstrap, bootstrap_columns
from heirloom.evaluation.metrics import chance_ndcg, grouped_auc, grouped_ndcg

GAINS = st.lists(st.integers(0, 6), min_size=1, max_size=5)


@given(slates=st.lists(GAINS, min_size=1, max_size=3), k=st.integers(1, 6))
def test_chance_is_the_mean_over_all_orders(slates: list[list[int]], k: int) -> None:
    gains = np.concatenate(slates)
    groups = np.repeat(np.arange(len(slates)), [len(each) for each in slates])
    mean, variance = chance_ndcg(gains, groups, k)
    each = []
    for slate in slates:
        if max(slate) > 0:
            one = np.zeros(len(slate), np.int64)
            orders = [
                grouped_ndcg(np.array(order), np.array(slate), one, k)[0]
                for order in permutations(range(len(slate)))
            ]
            each.append((np.mean(orders), np.var(orders)))
    np.testing.assert_allclose(mean, [m for m, _ in each], atol=1e-12)
    np.testing.assert_allclose(variance, [v for _, v in each], atol=1e-12)


@given(
    slate=st.lists(
        st.tuples(st.sampled_from([-np.inf, 0.0, 1.0]), st.integers(0, 3)), min_size=1, max_size=6
    ),
    k=st.integers(1, 7),
)
def test_ndcg_is_the_mean_over_all_orders_of_the_tied(
    slate: list[tuple[float, int]], k: int
) -> None:
    scores, gains = (np.array(each, np.float64) for each in zip(*slate, strict=True))
    one = np.zeros(len(slate), np.int64)
    found = grouped_ndcg(scores, gains, one, k)
    if not gains.any():
        assert not len(found)
        return
    settled = np.unique(scores, return_inverse=True)[1] * len(slate)
    orders = [
        grouped_ndcg(settled + np.array(order), gains, one, k)[0]
        for order in permutations(range(len(slate)))
    ]
    np.testing.assert_allclose(found, [np.mean(orders)], atol=1e-12)
    np.testing.assert_allclose(
        grouped_ndcg(np.zeros(len(slate)), gains, one, k), chance_ndcg(gains, one, k)[0]
    )


ROWS = st.lists(
    st.tuples(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), st.booleans()), min_size=1, max_size=7
)


@given(slates=st.lists(ROWS, min_size=1, max_size=4))
def test_auc_counts_pairs(slates: list[list[tuple[float, bool]]]) -> None:
    rows = [row for slate in slates for row in slate]
    groups = np.repeat(np.arange(len(slates)), [len(slate) for slate in slates])
    found = grouped_auc(
        np.array([score for score, _ in rows]), np.array([hit for _, hit in rows]), groups
    )
    wanted = []
    for slate in slates:
        hits, others = ([s for s, hit in slate if hit is which] for which in (True, False))
        pairs = [(a > b) + (a == b) / 2 for a, b in product(hits, others)]
        wanted += [np.mean(pairs)] if pairs else []
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_columns_at_once_have_the_intervals_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 3)) + np.array([0.0, 1.0, 5.0])
    together = bootstrap_columns(values, seed=1, draws=4_000)
    for i, interval in enumerate(together):
        alone = bootstrap(values[:, i], np.arange(200), seed=2, draws=4_000)
        assert abs(interval.mean - alone.mean) < 1e-12
        assert abs(interval.low - alone.low) < 0.02
        assert abs(interval.high - alone.high) < 0.02
    # Paired: the same draws for each column.
    twice = bootstrap_columns(np.stack([values[:, 0], values[:, 0]], axis=1), seed=1)
    assert twice[0] == twice[1]
