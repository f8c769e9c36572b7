import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from heirloom.ranking.training.inputs import Inputs

numbers = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=50)
@given(values=st.lists(numbers, min_size=1, max_size=40), more=st.lists(numbers, max_size=10))
def test_the_line_rises_and_stays_level_outside(values: list[float], more: list[float]) -> None:
    column = np.array(values, np.float32)[:, None]
    inputs = Inputs.of(column, 5)
    asked = np.sort(np.array([*values, *more], np.float32))
    came = inputs(asked[:, None])[:, 0]
    assert np.isfinite(came).all()
    assert (np.diff(came) >= -1e-4 * (1 + np.abs(came[1:]))).all()
    ends = inputs(np.array([[-3e38], [column.min()], [column.max()], [3e38]], np.float32))[:, 0]
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


def test_with_a_knot_for_each_value_it_is_the_normal_score_of_the_rank() -> None:
    column = np.array([3.0, 1.0, 1.0, 10.0], np.float32)
    came = Inputs.of(column[:, None], 8)(column[:, None])[:, 0]
    np.testing.assert_allclose(came, ndtri([2.5 / 4, 1 / 4, 1 / 4, 3.5 / 4]), atol=1e-6)


def test_the_scale_of_a_feature_does_not_matter() -> None:
    column = np.random.default_rng(0).lognormal(0, 2, 500).astype(np.float32)[:, None]
    one, two = (Inputs.of(x, 16)(x) for x in (column, 1024 * column))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert 0.9 < one.std() < 1.1


def test_what_is_missing_is_the_middle_and_raises_its_flag() -> None:
    values = np.array([[1, 5], [np.nan, 6], [3, 7]], np.float32)
    inputs = Inputs.of(values, 4)
    assert inputs.flagged.tolist() == [0]
    came = inputs(np.array([[np.nan, np.nan], [2, 6]], np.float32))
    np.testing.assert_allclose(came, [[0, 0, 1], [0, 0, 0]], atol=1e-6)


def test_a_rare_value_is_told_apart_where_most_are_alike() -> None:
    column = np.concatenate([np.zeros(95), np.arange(1, 6)]).astype(np.float32)[:, None]
    inputs = Inputs.of(column, 8)
    came = inputs(np.array([[0], [1], [3], [5]], np.float32))[:, 0]
    assert (np.diff(came) > 0.05).all()


def test_a_feature_without_a_value_is_nothing() -> None:
    values = np.full((3, 1), np.nan, np.float32)
    np.testing.assert_array_equal(Inputs.of(values, 4)(values), [[0, 1]] * 3)
