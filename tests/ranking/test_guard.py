"""A guard keeps its share, by the least that it takes, and says what that costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.guard import MOST, guarded

WEIGHTS = np.array([1.0, -2.0, 8.0])


def slates(seed: int, count: int = 12, shown: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chances = np.concatenate(
        [rng.beta(1, 6, (count * shown, 2)), rng.beta(1, 60, (count * shown, 1))], axis=1
    )
    return chances, np.repeat(np.arange(count), shown)


def reached(chances: np.ndarray, groups: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Expected actions among the first k of each slate, added up one slate after another."""
    total = np.zeros(chances.shape[1])
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        total += chances[rows[np.argsort(-scores[rows], kind="stable")[:k]]].sum(axis=0)
    return total


@given(st.integers(0, 200), st.floats(0.5, 1.0), st.integers(1, 6))
def test_it_is_the_least_multiplier_that_keeps_the_share(seed: int, keep: float, k: int) -> None:
    chances, groups = slates(seed)
    found = guarded(chances, WEIGHTS, 2, groups, keep=keep, k=k)
    best = reached(chances, groups, chances[:, 2], k)[2]

    def at(multiplier: float) -> np.ndarray:
        return reached(chances, groups, chances @ (WEIGHTS * [1, 1, multiplier]), k)

    assert found.before == pytest.approx(at(1.0)[2] / best)
    if found.feasible:
        assert found.kept >= keep - 1e-9
        assert at(found.multiplier)[2] / best == pytest.approx(found.kept)
        if found.multiplier > 1:
            assert at(found.multiplier / 1.002)[2] / best < keep
    value = [at(m) @ WEIGHTS for m in (1.0, found.multiplier)]
    assert found.price == pytest.approx((value[0] - value[1]) / abs(value[0]), abs=1e-9)
    assert found.price >= -1e-9


@given(st.integers(0, 50), st.integers(1, 5))
def test_more_weight_never_brings_less(seed: int, k: int) -> None:
    chances, groups = slates(seed)
    kept = [
        guarded(chances, WEIGHTS * [1, 1, times], 2, groups, keep=0.01, k=k).before
        for times in (0.5, 1.0, 2.0, 8.0, 64.0, 4_096.0)
    ]
    assert (np.diff(kept) >= -1e-12).all()
    assert kept[-1] == pytest.approx(1.0, abs=0.05)


def test_what_is_kept_anyway_costs_nothing() -> None:
    chances, groups = slates(0)
    found = guarded(chances, np.array([0.0, 0.0, 1.0]), 2, groups, keep=1.0)
    assert (found.multiplier, found.kept, found.price, found.feasible) == (1.0, 1.0, 0.0, True)


def test_what_no_multiplier_keeps_is_said() -> None:
    chances, groups = np.array([[1e9, 0.1], [0.0, 0.2]]), np.zeros(2, np.int64)
    found = guarded(chances, np.array([1.0, 1.0]), 1, groups, keep=1.0, k=1)
    assert not found.feasible
    assert found.multiplier == MOST
    assert found.kept == 0.5


def test_equal_scores_keep_their_order() -> None:
    chances = np.full((100_000, 2), 0.25)
    groups = np.repeat(np.arange(2), 50_000)
    found = guarded(chances, np.array([1.0, 1.0]), 1, groups, keep=1.0, k=10)
    assert (found.multiplier, found.kept) == (1.0, 1.0)
    lone = guarded(chances[:1], np.array([1.0, 1.0]), 1, groups[:1], keep=1.0, k=10)
    assert lone == found


@pytest.mark.parametrize(
    ("weights", "keep", "k"), [((1.0, 0.0), 0.9, 1), ((1.0, -1.0), 0.9, 1), ((1.0, 1.0), 1.1, 1),
                               ((1.0, 1.0), 0.0, 1), ((1.0, 1.0), 0.9, 0)],
)  # fmt: skip
def test_a_guard_that_cannot_be_is_refused(
    weights: tuple[float, float], keep: float, k: int
) -> None:
    with pytest.raises(InputError, match="keep is"):
        guarded(np.ones((2, 2)), np.array(weights), 1, np.zeros(2, np.int64), keep=keep, k=k)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"chances \[2, 2\], weights \[3\]"):
        guarded(np.ones((2, 2)), np.ones(3), 1, np.zeros(2, np.int64), keep=0.9)
