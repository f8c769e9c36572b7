"""The swap experiment: coins, what they change, and the curve it finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ConfigError, ShapeError
from heirloom.ranking.harvesting import examination_of_pairs
from heirloom.ranking.swaps import SwapDesign, Swaps, drawn, exchanged, pairs_of_swaps

CURVE = np.array([1.0, 0.5, 0.45, 0.2])
KINDS = st.sampled_from(["neighbours", "pivot"])


def hashes(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 2**63, n).astype(np.uint64)


@given(KINDS, st.integers(2, 8), st.integers(0, 9), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_coins_are_the_slates_own(kind: str, depth: int, length: int, seed: int) -> None:
    design = SwapDesign(share=0.7, depth=depth, kind=kind, seed=seed)  # type: ignore[arg-type]
    slates = hashes(50)
    coins = drawn(slates, np.full(50, length), design)
    alone = drawn(slates[7:8], np.array([length]), design)
    assert (alone.first[0], alone.swapped[0]) == (coins.first[7], coins.swapped[7])
    part = coins.first >= 0
    assert part.any() == (length > 1)
    assert (coins.second[part] < min(depth, length)).all()
    assert (coins.second[part] > coins.first[part]).all()
    assert not coins.swapped[~part].any()
    if kind == "pivot":
        assert (coins.first[part] == 0).all()


def test_shares_are_as_stated() -> None:
    coins = drawn(hashes(100_000), np.full(100_000, 30), SwapDesign(share=0.1, depth=5))
    part = coins.first >= 0
    assert abs(part.mean() - 0.1) < 0.005
    assert abs(coins.swapped[part].mean() - 0.5) < 0.02
    np.testing.assert_allclose(np.bincount(coins.first[part]) / part.sum(), 0.25, atol=0.02)
    other = drawn(hashes(100_000), np.full(100_000, 30), SwapDesign(share=0.1, depth=5, seed=1))
    assert 0.05 < (other.first >= 0)[part].mean() < 0.15


@given(st.integers(0, 1000), KINDS)
@settings(max_examples=30, deadline=None)
def test_a_swap_moves_two_listings_and_twice_is_none(seed: int, kind: str) -> None:
    slates = np.random.default_rng(seed).permuted(np.tile(np.arange(6), (20, 1)), axis=1)
    design = SwapDesign(share=1.0, depth=4, kind=kind, seed=seed)  # type: ignore[arg-type]
    coins = drawn(hashes(20), np.full(20, 6), design)
    moved = exchanged(slates, coins)
    assert ((moved != slates).sum(axis=1) == 2 * coins.swapped).all()
    assert (moved[:, 4:] == slates[:, 4:]).all()
    np.testing.assert_array_equal(exchanged(moved, coins), slates)


@pytest.mark.parametrize("kind", ["neighbours", "pivot"])
def test_the_curve_is_found_though_the_order_is_by_worth(kind: str) -> None:
    rng = np.random.default_rng(2)
    n = 60_000
    worth = -np.sort(-rng.beta(2, 4, (n, 4)), axis=1)
    coins = drawn(hashes(n), np.full(n, 4), SwapDesign(share=1.0, depth=4, kind=kind))  # type: ignore[arg-type]
    shown = exchanged(worth, coins)
    clicks = (rng.random((n, 4)) < shown * CURVE).astype(int)
    found = examination_of_pairs(pairs_of_swaps(coins, clicks, depth=4))
    rate = clicks.mean(axis=0) / clicks[:, 0].mean()
    assert np.abs(found.chance / CURVE - 1).max() < 0.08
    assert np.abs(rate / CURVE - 1).max() > 0.2


def test_bad_designs_and_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"3 problem(.|\n)*share is 2(.|\n)*depth(.|\n)*'all'"):
        SwapDesign(share=2.0, depth=1, kind="all")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="slates"):
        drawn(hashes(2), np.array([3]), SwapDesign())
    coins = Swaps(np.array([0]), np.array([1]), np.array([True]))
    with pytest.raises(ShapeError, match=r"wanted \[slates=1, k\]"):
        pairs_of_swaps(coins, np.zeros((2, 3)), depth=2)
    beyond = Swaps(np.array([4]), np.array([5]), np.array([True]))
    assert pairs_of_swaps(beyond, np.ones((1, 9)), depth=3).shown.sum() == 0
