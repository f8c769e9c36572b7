"""Inverse propensity weights: right on average, bounded, and of one scale."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.examination import Examination
from heirloom.ranking.propensity import (
    affine_corrected,
    debiased,
    inverse_propensity,
    self_normalised,
)
from heirloom.ranking.ranker import Examples
from heirloom.testing.ranking import examples

CURVE = Examination(np.array([1.0, 0.5, 0.25, 0.1]))
TRUSTED = Examination(np.array([1.0, 0.5, 0.25, 0.1]), misled=np.array([0.3, 0.1, 0.01, 0.0]))
WORTH = arrays.arrays(np.float64, 4, elements=st.floats(0, 1))


@given(WORTH)
def test_a_weighed_click_is_worth_the_same_everywhere(worth: np.ndarray) -> None:
    """Exact: the mean over click or none is worth · chance · weight."""
    place = np.arange(4)
    mean = worth * CURVE.chance * inverse_propensity(CURVE, place)
    np.testing.assert_allclose(mean, worth, atol=1e-12)


@given(WORTH)
def test_the_affine_correction_is_right_where_trust_misleads(worth: np.ndarray) -> None:
    place = np.arange(4)
    assert TRUSTED.misled is not None
    click = worth * TRUSTED.chance + (1 - worth) * TRUSTED.misled
    mean = click * affine_corrected(np.ones(4), place, TRUSTED)
    mean += (1 - click) * affine_corrected(np.zeros(4), place, TRUSTED)
    np.testing.assert_allclose(mean, worth, atol=1e-12)


def test_without_trust_both_are_inverse_propensity() -> None:
    none = replace(CURVE, misled=np.zeros(4))
    place = np.arange(4)
    expected = inverse_propensity(CURVE, place)
    np.testing.assert_allclose(inverse_propensity(none, place), expected)
    np.testing.assert_allclose(affine_corrected(np.ones(4), place, CURVE), expected)


def test_a_click_where_trust_misleads_counts_for_less() -> None:
    weights = inverse_propensity(TRUSTED, np.arange(4))
    plain = inverse_propensity(CURVE, np.arange(4))
    assert weights[3] == plain[3]
    assert (weights[:3] < plain[:3]).all()
    np.testing.assert_allclose(weights[0], 1 / 1.3)


@given(st.floats(1, 50))
def test_no_weight_exceeds_the_clip(clip: float) -> None:
    weights = inverse_propensity(CURVE, np.arange(9), clip=clip)
    np.testing.assert_allclose(weights, np.minimum(1 / CURVE.of(np.arange(9)), clip))


def test_weights_of_clicks_have_mean_one_and_keep_their_ratios() -> None:
    raw = np.array([1.0, 2.0, 10.0, 4.0])
    weights = self_normalised(raw, np.array([1, 0, 1, 1]))
    np.testing.assert_allclose(weights[[0, 2, 3]].mean(), 1.0)
    np.testing.assert_allclose(weights / weights[0], raw / raw[0])
    np.testing.assert_array_equal(self_normalised(raw, np.zeros(4)), raw)


def test_examples_are_weighed_where_something_was_gained() -> None:
    shown = examples(0, groups=30)
    weighed, told = debiased(shown, CURVE, clip=4.0)
    gained = shown.gains > 0
    assert (weighed.gains[~gained] == 0).all()
    ratio = weighed.gains[gained] / shown.gains[gained]
    np.testing.assert_allclose(ratio.mean(), 1.0, rtol=1e-5)
    weights = inverse_propensity(CURVE, shown.positions[gained], clip=4.0)
    np.testing.assert_allclose(ratio / ratio[0], weights / weights[0], rtol=1e-5)
    assert (weighed.positions == 0).all()
    assert weighed.gains.dtype == np.float32
    assert told.rows == gained.sum()
    assert 1 <= told.effective <= told.rows
    assert told.clipped == (shown.positions[gained] >= 3).mean()
    np.testing.assert_array_equal(weighed.values, shown.values)
    level, told = debiased(shown, Examination(np.ones(8)))
    np.testing.assert_array_equal(level.gains, shown.gains)
    np.testing.assert_allclose([told.effective, told.largest], [told.rows, 1.0])


def test_nothing_gained_weighs_nothing() -> None:
    shown = replace(examples(0, groups=2), gains=np.zeros(16, np.float32))
    weighed, told = debiased(shown, CURVE)
    assert (weighed.gains == 0).all()
    assert told.rows == 0
    empty = Examples(np.zeros((0, 1), np.float32), ("a",), *(np.zeros(0),) * 4)  # type: ignore[arg-type]
    assert debiased(empty, CURVE)[1].effective == 0.0


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"clip is 0\.5"):
        inverse_propensity(CURVE, np.arange(2), clip=0.5)
    with pytest.raises(ShapeError, match="must both be"):
        self_normalised(np.ones(2), np.ones(3))
    with pytest.raises(InputError, match="a position is -1"):
        inverse_propensity(CURVE, np.array([-1]))
    level = Examination(np.array([1.0, 0.2]), misled=np.array([0.1, 0.2]))
    with pytest.raises(InputError, match="at position 1 a click"):
        affine_corrected(np.ones(1), np.array([1]), level)
