"""Multipliers of fields: those planted come out, what is seldom shown stays near 1."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.ranking.appeal import multipliers


def planted(rows: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Two fields that go together, and openings of Poisson's chance; the true log multipliers."""
    rng = np.random.default_rng(seed)
    brand = rng.integers(0, 6, rows)
    seller = (brand * 3 + rng.integers(0, 4, rows)) % 20
    truth = np.linspace(-1, 1, 6)[brand] + np.cos(seller)
    expected = rng.gamma(2.0, 2.0, rows)
    opened = rng.poisson(expected * np.exp(truth - truth.mean()))
    return [brand, seller], expected, opened, truth


def test_multipliers_that_were_planted_come_out_though_fields_go_together() -> None:
    fields, expected, opened, truth = planted(40_000, 0)
    logs = multipliers(fields, expected, opened)
    found = logs[0][fields[0]] + logs[1][fields[1]]
    assert np.corrcoef(found, truth)[0, 1] > 0.995
    assert np.abs(found - found.mean() - truth + truth.mean()).max() < 0.15


def test_what_was_seldom_shown_is_near_the_usual_and_what_never_was_is_the_usual() -> None:
    seller = np.array([0, 1, 3])
    (log,) = multipliers([seller], np.array([1_000.0, 1.0, 0.0]), np.array([3_000, 3, 0]))
    assert log[0] > 1.0 > 0.5 > log[1] > 0
    assert log[2] == log[3] == 0


@given(seed=st.integers(0, 99))
def test_the_order_of_listings_says_nothing_and_all_openings_are_told(seed: int) -> None:
    fields, expected, opened, _ = planted(300, seed)
    order = np.random.default_rng(seed).permutation(300)
    logs = multipliers(fields, expected, opened)
    mixed = multipliers([f[order] for f in fields], expected[order], opened[order])
    for one, other in zip(logs, mixed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    # The last field fitted meets its own balance: what came and what is now expected agree.
    now = expected * np.exp(logs[0][fields[0]] + logs[1][fields[1]])
    by_seller = np.bincount(fields[1], now), np.bincount(fields[1], opened)
    multiplier = np.exp(logs[1])
    hoped = by_seller[0] / multiplier
    np.testing.assert_allclose(multiplier * (hoped + 10), by_seller[1] + 10, rtol=1e-9)


def test_no_listing_has_no_multiplier() -> None:
    (log,) = multipliers([np.zeros(0, np.int64)], np.zeros(0), np.zeros(0))
    assert len(log) == 0
