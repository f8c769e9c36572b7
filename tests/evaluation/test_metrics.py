import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.evaluation.metrics import (
    average_precision,
    dcg,
    exponential_gain,
    grouped_ndcg,
    hit_rate,
    linear_gain,
    ndcg,
    ndcg_of_one,
    ranks,
    recall,
    reciprocal_rank,
)

# terrierteam/ir_measures, tests/test_pytrec_eval.py (trec_eval through pytrec_eval): two queries,
# their judged grades, and the grades in the order ranked.
JUDGED = np.array([[1, -1, 0, 2, 0], [1, 2, -1, 0, 0]])
RANKED = np.array([[1, 0, 2, -1, 0], [0, -1, 0, 2, 0]])


def test_ndcg_is_trec_evals() -> None:
    gains, judged = linear_gain(RANKED), linear_gain(JUDGED)
    np.testing.assert_allclose(ndcg(gains, judged), [0.76018, 0.32739], atol=1e-4)
    np.testing.assert_allclose(ndcg(gains, judged, 3), [0.76018, 0.0], atol=1e-4)


def test_average_precision_is_trec_evals() -> None:
    at_least_1, at_least_2 = (
        average_precision(least <= RANKED, (least <= JUDGED).sum(axis=1)) for least in (1, 2)
    )
    np.testing.assert_allclose(at_least_1, [0.8333, 0.125], atol=1e-4)
    np.testing.assert_allclose(at_least_2, [0.33333, 0.25], atol=1e-4)


def test_ndcg_is_its_arithmetic() -> None:
    gains = exponential_gain(np.array([[1, 3, 0]]))
    best = exponential_gain(np.array([[3, 1, 0]]))
    reached = 1 / np.log2(2) + 7 / np.log2(3)
    ideal = 7 / np.log2(2) + 1 / np.log2(3)
    np.testing.assert_allclose(ndcg(gains, best), [reached / ideal])
    np.testing.assert_allclose(dcg(gains, 1), [1.0])


def test_nothing_relevant_counts_as_zero() -> None:
    assert ndcg(np.zeros((1, 3)), np.zeros((1, 3))).tolist() == [0.0]
    assert recall(np.zeros((1, 3), bool), np.array([0]), 3).tolist() == [0.0]
    assert average_precision(np.zeros((1, 3), bool), np.array([0])).tolist() == [0.0]


def test_queries_that_do_not_match_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 queries, judged of 1"):
        ndcg(np.zeros((2, 3)), np.zeros((1, 3)))


def test_ranks_of_ties_and_of_none() -> None:
    scores = np.array([[1.0, 1.0, 1.0, 0.0], [5.0, -np.inf, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    assert ranks(scores, np.array([0, 1, -1])).tolist() == [2.0, 0.0, 0.0]
    assert ranks(scores, np.array([0, 2, 2]), expected_ties=False).tolist() == [3.0, 2.0, 3.0]


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 30))
def test_metrics_of_one_relevant_listing_are_those_of_many(places: list[int], k: int) -> None:
    rank = np.array(places)
    gains = np.zeros((len(rank), 30))
    for row, place in enumerate(places):
        if place:
            gains[row, place - 1] = 1
    judged = np.zeros((len(rank), 30))
    judged[:, 0] = 1
    np.testing.assert_allclose(ndcg_of_one(rank, k), ndcg(gains, judged, k))
    np.testing.assert_allclose(hit_rate(rank, k), recall(gains > 0, np.ones(len(rank)), k))
    np.testing.assert_allclose(
        reciprocal_rank(rank), average_precision(gains > 0, np.ones(len(rank)))
    )


@given(st.integers(0, 1_000), st.integers(1, 6))
def test_ndcg_by_group_is_ndcg_by_query(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gains = rng.integers(0, 3, (7, 5)).astype(float)
    scores = rng.permuted(np.tile(np.arange(5.0), (7, 1)), axis=1)
    order = np.argsort(-scores, axis=1)
    expected = ndcg(np.take_along_axis(gains, order, axis=1), gains, k)
    found = grouped_ndcg(scores.ravel(), gains.ravel(), np.repeat(np.arange(7), 5), k)
    np.testing.assert_allclose(found, expected[gains.any(axis=1)])
