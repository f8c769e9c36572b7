"""Examination: places of a grid, and position logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.examination import Examination, examination_of_logits, position_logits

CHANCES = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(0.01, 1.0))


def test_a_place_past_the_last_row_is_seen_as_the_last_of_its_column() -> None:
    five = Examination(np.array([1.0, 0.9, 0.5, 0.4, 0.3]), columns=2)
    assert five.of(np.arange(9)).tolist() == [1.0, 0.9, 0.5, 0.4, 0.3, 0.4, 0.3, 0.4, 0.3]
    assert five.grid()[:2].tolist() == [[1.0, 0.9], [0.5, 0.4]]
    assert five.grid()[2, 0] == 0.3
    assert np.isnan(five.grid()[2, 1])


@given(CHANCES, st.integers(1, 4))
def test_known_places_are_their_own(chance: np.ndarray, columns: int) -> None:
    known = Examination(chance, columns)
    assert known.of(np.arange(len(chance))).tolist() == chance.tolist()
    assert np.isin(known.of(np.arange(200)), chance).all()


@given(CHANCES, st.floats(0, 0.5))
def test_logits_and_chances_are_each_others_inverse(chance: np.ndarray, rate: float) -> None:
    chance = np.concatenate([[1.0], chance])
    logits = position_logits(Examination(chance), np.arange(len(chance)), base_rate=rate)
    again = examination_of_logits(logits + 3.0, base_rate=rate)
    np.testing.assert_allclose(again.chance, chance, rtol=1e-5)
    assert logits[0] == 0.0


def test_the_logit_moves_the_click_rate_by_the_chance() -> None:
    halves = Examination(np.array([1.0, 0.5]))
    logit = np.log(0.2 / 0.8) + position_logits(halves, np.array([1]), base_rate=0.2)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("chance", "columns", "misled", "words"),
    [
        ([], 1, None, "wanted [positions]"),
        ([1.0, 0.0], 1, None, "wanted finite numbers > 0"),
        ([1.0, np.nan], 1, None, "wanted finite numbers > 0"),
        ([1.0], 0, None, "columns is 0"),
        ([1.0, 0.5], 1, [0.1], "misled has shape [1]"),
        ([1.0], 1, [-0.1], "numbers >= 0"),
    ],
)
def test_what_is_no_chance_is_refused(
    chance: list[float], columns: int, misled: list[float] | None, words: str
) -> None:
    with pytest.raises(ShapeError) as error:
        Examination(np.array(chance), columns, None if misled is None else np.array(misled))
    assert words in str(error.value)


def test_wrong_positions_and_rates_are_refused() -> None:
    with pytest.raises(InputError, match="a position is -1"):
        Examination(np.ones(2)).of(np.array([0, -1]))
    with pytest.raises(InputError, match="base_rate is 1"):
        position_logits(Examination(np.ones(2)), np.array([0]), base_rate=1.0)
    with pytest.raises(InputError, match="is no chance"):
        position_logits(Examination(np.array([1.0, 3.0])), np.array([1]), base_rate=0.5)
    assert position_logits(Examination(np.ones(2)), np.zeros(0, int)).shape == (0,)
