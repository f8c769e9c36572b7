"""Regression-EM: recovery where features tell relevance, and what happens where they do not."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.regression_em import regression_em

CURVE = np.array([1.0, 0.6, 0.45, 0.3, 0.2])
MISLED = np.array([0.3, 0.12, 0.06, 0.03, 0.0])


def logged(
    slates: int, seed: int, misled: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Slates ordered by half of what makes relevance: features, positions, clicks."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(slates, len(CURVE), 2))
    relevant = rng.random(x.shape[:2]) < 1 / (1 + np.exp(1.0 - 2 * x[..., 0] - 1.5 * x[..., 1]))
    order = np.argsort(-x[..., 0], axis=1)
    x = np.take_along_axis(x, order[..., None], axis=1)
    relevant = np.take_along_axis(relevant, order, axis=1)
    chance = np.where(relevant, CURVE, 0.0 if misled is None else misled)
    clicks = (rng.random(chance.shape) < chance).astype(float)
    at = np.tile(np.arange(len(CURVE)), slates)
    return x.reshape(-1, 2), at, clicks.ravel()


def test_the_curve_is_found_in_the_log_of_one_policy() -> None:
    x, at, clicks = logged(20_000, 0)
    found = regression_em(x, at, clicks, depth=5)
    rate = np.bincount(at, clicks) / np.bincount(at)
    assert np.abs(rate / rate[0] / CURVE - 1).max() > 0.5
    assert np.abs(found.examination.chance / CURVE - 1).max() < 0.12
    np.testing.assert_allclose(found.weights, [2.0, 1.5, -1.0], atol=0.15)
    assert found.converged
    assert found.examination.misled is None


def test_what_features_do_not_tell_is_taken_for_the_place() -> None:
    """The page says so: the policy knew the first feature, and now nobody does."""
    x, at, clicks = logged(20_000, 0)
    blind = regression_em(x[:, 1:], at, clicks, depth=5)
    assert blind.examination.chance[4] < 0.7 * CURVE[4]


def test_trust_is_told_from_examination() -> None:
    x, at, clicks = logged(15_000, 1, MISLED)
    found = regression_em(x, at, clicks, depth=5, trust=True).examination
    assert found.misled is not None
    np.testing.assert_allclose(found.chance, CURVE, atol=0.06)
    np.testing.assert_allclose(found.misled, MISLED, atol=0.04)
    blind = regression_em(x, at, clicks, depth=5).examination
    assert np.abs(blind.chance / CURVE - 1).max() > 2 * np.abs(found.chance / CURVE - 1).max()


@given(st.integers(0, 1000), st.booleans())
@example(81, True)  # the last place seems clicked less where it is relevant
@settings(max_examples=12, deadline=None)
def test_the_likelihood_does_not_fall(seed: int, trust: bool) -> None:
    x, at, clicks = logged(150, seed)
    steps = regression_em(x, at, clicks, depth=5, trust=trust, ridge=0.0, iterations=40)
    assert (np.diff(steps.likelihood) >= -1e-12).all()


def test_rows_in_any_order_and_beyond_the_last_place() -> None:
    x, at, clicks = logged(800, 2)
    rows = np.random.default_rng(0).permutation(len(at))
    one = regression_em(x, at, clicks, depth=3, iterations=20)
    other = regression_em(x[rows], at[rows], clicks[rows], depth=3, iterations=20)
    np.testing.assert_allclose(one.examination.chance, other.examination.chance, rtol=1e-8)
    few = at < 3
    alone = regression_em(x[few], at[few], clicks[few], depth=3, iterations=20)
    np.testing.assert_allclose(one.examination.chance, alone.examination.chance, rtol=1e-12)
    assert not one.converged


def test_bad_input_says_what_is_wrong() -> None:
    x, at, clicks = logged(10, 0)
    with pytest.raises(ShapeError, match=r"wanted \[rows, features\]"):
        regression_em(x[:3], at, clicks, depth=5)
    with pytest.raises(InputError, match="NaN"):
        regression_em(np.full_like(x, np.nan), at, clicks, depth=5)
    with pytest.raises(InputError, match="must be 0 or 1"):
        regression_em(x, at, clicks * 2, depth=5)
    with pytest.raises(InputError, match="1 of 6 places without rows"):
        regression_em(x, at, clicks, depth=6)
    with pytest.raises(InputError, match="0 clicks"):
        regression_em(x, at, np.zeros_like(clicks), depth=5)
