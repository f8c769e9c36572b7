"""Calibration: the definition on few rows, and what chance does on many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError, ShapeError
from heirloom.evaluation.calibration import Calibration, calibration


def test_the_error_is_the_mean_of_the_bins() -> None:
    chances = np.array([0.9, 0.1, 0.2, 0.6])
    done = np.array([1.0, 0.0, 1.0, 0.0])
    told = calibration(chances, done, np.arange(4), bins=2)
    assert [(part.rows, part.predicted, part.observed) for part in told.bins] == [
        (2, pytest.approx(0.15), 0.5),
        (2, pytest.approx(0.75), 0.5),
    ]
    assert told.ece == pytest.approx(0.5 * abs(0.5 - 0.15) + 0.5 * abs(0.5 - 0.75))
    assert told.all.ratio == pytest.approx((2 / 4) / ((0.9 + 0.1 + 0.2 + 0.6) / 4))


def judged(factor: float, rows: int = 60_000, seed: int = 0) -> Calibration:
    rng = np.random.default_rng(seed)
    chances = rng.beta(1, 20, rows)
    done = rng.random(rows) < np.minimum(factor * chances, 1)
    return calibration(chances, done.astype(np.float32), np.arange(rows) // 20)


def test_right_probabilities_differ_by_chance_alone() -> None:
    told = [judged(1.0, seed=seed) for seed in range(8)]
    assert all(each.ece < 3 * each.noise for each in told)
    mean = np.mean([each.ece for each in told])
    assert mean == pytest.approx(np.mean([each.noise for each in told]), rel=0.35)
    assert sum(part.agrees() for each in told for part in each.bins) >= 72


def test_wrong_ones_are_told_by_every_part() -> None:
    told = judged(1.5)
    assert told.low > 3 * told.noise
    assert told.low < told.ece < told.high
    assert not any(part.agrees() for part in told.bins[2:])
    assert told.all.ratio == pytest.approx(1.5, rel=0.1)


def test_slates_that_act_as_one_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    chances = np.full(20_000, 0.1)
    done = np.repeat(rng.random(1_000) < 0.1, 20).astype(np.float64)
    together = calibration(chances, done, np.arange(20_000) // 20).all
    apart = calibration(chances, done, np.arange(20_000)).all
    assert together.high - together.low > 3 * (apart.high - apart.low)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, np.nan])), max_size=60))
def test_it_takes_any_rows_that_say_something(rows: list[tuple[float, float]]) -> None:
    chances, done = np.array([p for p, _ in rows]), np.array([y for _, y in rows])
    if not (~np.isnan(done)).any():
        with pytest.raises(InputError, match="0 labels are known"):
            calibration(chances, done, np.arange(len(rows)))
        return
    told = calibration(chances, done, np.arange(len(rows)) // 3, draws=20)
    known = ~np.isnan(done)
    assert sum(part.rows for part in told.bins) == known.sum()
    assert max(part.rows for part in told.bins) - min(part.rows for part in told.bins) <= 1
    assert abs(told.all.observed - told.all.predicted) - 1e-9 <= told.ece <= 1
    order = [part.predicted for part in told.bins]
    assert order == sorted(order)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match=r"chances lie in -0\.1 … 1\.2; wanted 0 … 1"):
        calibration(np.array([-0.1, 1.2]), np.zeros(2), np.arange(2))
    with pytest.raises(InputError, match="wanted 0"):
        calibration(np.array([np.nan]), np.zeros(1), np.arange(1))
    with pytest.raises(ShapeError, match="1 chances, 2 labels"):
        calibration(np.zeros(1), np.zeros(2), np.zeros(2))
