import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.ranking.calibrators import IDENTITY, calibrated, fitted


def drawn(truth: np.ndarray, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(truth)) < truth).astype(np.float64)


@pytest.mark.parametrize("true", [(0.5, 0.5, 0.0), (1.0, 1.0, -1.5), (1.4, 0.3, 0.4)])
def test_a_map_of_its_family_is_found(true: tuple[float, float, float]) -> None:
    chances = np.random.default_rng(1).beta(1, 3, 60_000)
    truth = calibrated(chances, true)
    found = calibrated(chances, fitted(chances, drawn(truth)))
    assert np.abs(found - truth).mean() < 0.01 < np.abs(chances - truth).mean()


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, np.nan])), max_size=40),
)
def test_the_order_stays_and_probabilities_are_some(rows: list[tuple[float, float]]) -> None:
    chances = np.array([p for p, _ in rows])
    found = fitted(chances, np.array([y for _, y in rows]))
    assert np.isfinite(found).all()
    assert found[0] >= 0
    assert found[1] >= 0
    grid = calibrated(np.linspace(0, 1, 101), found)
    assert (np.diff(grid) >= 0).all()
    assert grid.min() >= 0
    assert grid.max() <= 1


def test_what_is_believed_the_wrong_way_round_is_not_turned_about() -> None:
    chances = np.repeat([0.1, 0.9], 500)
    found = fitted(chances, np.repeat([1.0, 0.0], 500))
    low, high = calibrated(np.array([0.1, 0.9]), found)
    assert low < high
    assert low + high == pytest.approx(1.0, abs=0.01)


def test_a_few_labels_move_little_and_none_move_nothing() -> None:
    chances = np.full(2_000, 0.002)
    assert fitted(chances, np.full(2_000, np.nan)) == IDENTITY
    few = calibrated(chances[:1], fitted(chances[:100], np.zeros(100)))[0]
    many = calibrated(chances[:1], fitted(np.full(200_000, 0.002), np.zeros(200_000)))[0]
    assert 0.001 < few < 0.002
    assert many < 0.0001


def test_unknown_labels_are_left_out() -> None:
    chances = np.random.default_rng(2).random(500)
    done = drawn(chances**2)
    more = np.concatenate([done, np.full(500, np.nan)])
    assert fitted(np.concatenate([chances, 1 - chances]), more) == fitted(chances, done)


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"chances \[2\] and done \[1\]"):
        fitted(np.zeros(2), np.zeros(1))
