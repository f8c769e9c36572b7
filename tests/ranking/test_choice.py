"""How a person leans by their choices: the step is Newton's, and slates' own chances cancel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from heirloom.ranking.choice import leaning


def slates(
    rng: np.random.Generator, count: int, k: int, dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Places, logits and slates of what was shown."""
    n = count * k
    return rng.normal(size=(n, dim)), rng.normal(-2, 1, n), np.repeat(np.arange(count), k)


@given(seed=st.integers(0, 500), count=st.integers(1, 12), k=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_it_is_one_step_of_newtons_on_the_conditional_likelihood(
    seed: int, count: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    x, logit, slate = slates(rng, count, k, 3)
    opened, mean, variance = rng.random(len(x)) < 0.3, rng.normal(size=3), 0.4
    gradient, curvature = mean / variance, np.eye(3) / variance
    for s in range(count):
        rows = np.flatnonzero(slate == s)
        share, chosen = softmax(logit[rows]), int(opened[rows].sum())
        if chosen == k:  # nothing was passed over
            continue
        gradient += x[rows][opened[rows]].sum(axis=0) - chosen * share @ x[rows]
        curvature += chosen * np.cov(x[rows].T, aweights=share, ddof=0)
    wanted = np.linalg.solve(curvature, gradient)
    np.testing.assert_allclose(leaning(x, logit, slate, opened, mean, variance), wanted, atol=1e-9)


def test_it_finds_the_leaning_that_choices_were_drawn_by() -> None:
    rng = np.random.default_rng(3)
    x, logit, slate = slates(rng, 3_000, 12, 4)
    truth = np.array([0.3, -0.2, 0.1, 0.0])
    chance = 1 / (1 + np.exp(-(logit + x @ truth)))
    found = leaning(x, logit, slate, rng.random(len(x)) < chance, np.zeros(4))
    assert np.corrcoef(found, truth)[0, 1] > 0.98
    assert found == pytest.approx(truth, abs=0.08)


def test_what_lifts_a_whole_slate_says_nothing() -> None:
    rng = np.random.default_rng(5)
    x, logit, slate = slates(rng, 20, 6, 4)
    opened = rng.random(len(x)) < 0.3
    lifted = logit + rng.normal(size=20)[slate]
    np.testing.assert_allclose(
        leaning(x, lifted, slate, opened, np.ones(4)),
        leaning(x, logit, slate, opened, np.ones(4)),
        atol=1e-9,
    )


@pytest.mark.parametrize("opens", [False, True])
def test_without_a_choice_it_is_the_mean(opens: bool) -> None:
    rng = np.random.default_rng(7)
    x, logit, slate = slates(rng, 4, 5, 3)
    mean, nothing = np.array([0.5, 0.0, -0.25]), np.zeros(0, np.int64)
    found = leaning(x, logit, slate, np.full(len(x), opens), mean)
    assert found == pytest.approx(mean)
    never = leaning(np.zeros((0, 3)), np.zeros(0), nothing, nothing > 0, mean)
    assert never == pytest.approx(mean)
