"""Intervention harvesting: recovery of a known curve, invariances, naive twins, bad input."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.ranking.harvesting import (
    Pairs,
    examination_of_pairs,
    harvested,
    harvested_again,
    roughness,
)

PLACES = 6
CURVE = np.array([1.0, 0.7, 0.65, 0.4, 0.2, 0.1])
"""No power of the rank, nor any other smooth function of it."""


def logged(
    slates: int, seed: int = 0, *, chances: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Positions, clicks, places under three policies, and slate of each row.

    Two of the policies know what is relevant, so places go with worth. With `chances` clicks are
    the chances of them: what a log without end would say.
    """
    rng = np.random.default_rng(seed)
    worth = rng.beta(1, 4, (slates, PLACES))
    by = [worth, worth + rng.normal(0, 0.3, worth.shape), rng.random(worth.shape)]
    places = np.stack([np.argsort(np.argsort(-score, axis=1), axis=1) for score in by], axis=2)
    chosen = rng.integers(0, 3, slates)
    at = places[np.arange(slates), :, chosen]
    chance = CURVE[at] * worth
    clicks = chance if chances else (rng.random(chance.shape) < chance).astype(float)
    slate = np.repeat(np.arange(slates), PLACES)
    return at.ravel(), clicks.ravel(), places.reshape(-1, 3), slate


def test_the_curve_is_found_where_click_rates_mislead() -> None:
    at, clicks, under, slate = logged(30_000)
    found = examination_of_pairs(
        harvested(at, clicks, under, np.ones(3), depth=PLACES, folds=slate)
    )
    rate = np.bincount(at, clicks) / np.bincount(at)
    assert np.abs(rate / rate[0] / CURVE - 1).max() > 0.4
    assert np.abs(found.chance / CURVE - 1).max() < 0.06
    assert found.error is not None
    assert (np.abs(found.chance / CURVE - 1) <= 4 * found.error + 1e-12).all()
    assert found.error[0] == 0
    assert found.error[1:].min() > 0.001


def test_without_chance_in_clicks_only_that_of_the_draw_of_policies_remains() -> None:
    at, clicks, under, slate = logged(60_000, chances=True)
    pairs = harvested(at, clicks, under, np.ones(3), depth=PLACES, folds=slate)
    assert np.abs(examination_of_pairs(pairs, penalty=0.0).chance / CURVE - 1).max() < 0.02


def test_shares_are_what_they_say() -> None:
    """A policy that answers seldom is weighed by its share, or the curve bends."""
    rng = np.random.default_rng(3)
    worth = rng.beta(1, 4, 200_000)
    places = np.stack([(worth < 0.2).astype(int), (worth >= 0.2).astype(int)], axis=1)
    at = places[np.arange(len(worth)), (rng.random(len(worth)) < 0.1).astype(int)]
    clicks = (rng.random(len(worth)) < worth * CURVE[at]).astype(float)
    right = harvested(at, clicks, places, np.array([0.9, 0.1]), depth=2)
    found = examination_of_pairs(right, penalty=0.0)
    assert abs(found.chance[1] / CURVE[1] - 1) < 0.05


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_power_of_the_row_times_a_column_does_not_bend(columns: int) -> None:
    place = np.arange(12)
    chance = (1.0 + place // columns) ** -1.3 * np.array([1.0, 0.8, 0.9])[place % columns]
    bend = np.log(chance) @ roughness(12, columns) @ np.log(chance)
    assert abs(bend) < 1e-9
    assert CURVE @ roughness(PLACES, columns) @ CURVE > 1e-3


def test_a_smooth_curve_gains_by_the_penalty_and_a_rough_one_is_left_alone() -> None:
    """The penalty is chosen from the log: a cliff after eight places stays a cliff."""
    rng = np.random.default_rng(1)
    rank, n = np.arange(24), 200_000
    a, b = rng.integers(0, 24, (2, n))
    worth = rng.beta(1, 3, n)
    errors = []
    for chance in ((1.0 + rank) ** -1.0, np.where(rank < 8, 1.0, 0.3)):
        clicks = (rng.random(n) < chance[a] * worth).astype(float)
        pairs = harvested(a, clicks, np.stack([a, b], axis=1), np.ones(2), depth=24)
        for penalty in (None, 0.0, 1e5):
            found = examination_of_pairs(pairs, penalty=penalty).chance
            errors.append(np.abs(found / chance - 1)[:20].mean())
    smooth, smooth_free, _, cliff, cliff_free, cliff_bent = errors
    assert smooth < 0.75 * smooth_free
    assert cliff < 1.1 * cliff_free
    assert cliff < cliff_bent / 3


@pytest.mark.parametrize("seed", range(4))
def test_few_clicks_far_away_bend_no_straight_curve(seed: int) -> None:
    """Where cross-validation is a matter of luck: two thirds of the clicks at the first place."""
    rng = np.random.default_rng(seed)
    rank, n = np.arange(24), 300_000
    a, b = rng.integers(0, 24, (2, n))
    chance = (1.0 + rank) ** -2.0
    clicks = (rng.random(n) < chance[a] * rng.beta(1, 3, n)).astype(float)
    pairs = harvested(a, clicks, np.stack([a, b], axis=1), np.ones(2), depth=24)
    found, straight = (examination_of_pairs(pairs, penalty=each) for each in (None, 1e5))
    np.testing.assert_allclose(found.chance, straight.chance, rtol=0.05)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_parts_of_a_log_add_up(seed: int) -> None:
    at, clicks, under, slate = logged(40, seed)
    whole = harvested(at, clicks, under, np.ones(3), depth=PLACES, folds=slate)
    cut = seed % len(at)
    parts = [
        harvested(at[part], clicks[part], under[part], np.ones(3), depth=PLACES, folds=slate[part])
        for part in (slice(0, cut), slice(cut, None))
    ]
    both = parts[0] + parts[1]
    np.testing.assert_allclose(both.clicked, whole.clicked)
    np.testing.assert_allclose(both.shown, whole.shown)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_and_policies_does_not_matter(seed: int) -> None:
    at, clicks, under, slate = logged(40, seed)
    rng = np.random.default_rng(seed)
    rows, policies = rng.permutation(len(at)), rng.permutation(3)
    share = np.array([0.5, 0.3, 0.2])
    pairs = harvested(at, clicks, under, share, depth=PLACES, folds=slate)
    moved = harvested(
        at[rows], clicks[rows], under[rows][:, policies], share[policies], depth=PLACES,
        folds=slate[rows],
    )  # fmt: skip
    np.testing.assert_allclose(moved.clicked, pairs.clicked)
    np.testing.assert_allclose(moved.shown, pairs.shown)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_harvesting_is_its_definition(seed: int) -> None:
    """Twin: each row, each other place it may have had, w(k) w(l) / (w(k) + w(l)) / w(k)."""
    at, clicks, under, slate = logged(8, seed)
    share = np.array([0.6, 0.3, 0.1])
    pairs = harvested(at, clicks, under, share, depth=PLACES, folds=slate)
    clicked, shown = np.zeros((2, PLACES, PLACES))
    for row, k in enumerate(at.tolist()):
        w = np.bincount(under[row], share, PLACES)
        for other in np.flatnonzero(w).tolist():
            if other != k:
                weight = w[k] * w[other] / (w[k] + w[other]) / w[k]
                clicked[k, other] += weight * clicks[row]
                shown[k, other] += weight
    np.testing.assert_allclose(pairs.clicked.sum(axis=0), clicked)
    np.testing.assert_allclose(pairs.shown.sum(axis=0), shown)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3), st.booleans()), max_size=40),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_shown_again_is_its_definition(
    rows: list[tuple[int, int, bool]], random: "st.random.Random"
) -> None:
    """Twin: for each key and two places of it, clicks at one weighed by the other's share."""
    places = 3
    keys, at, clicks = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    pairs = harvested_again(keys, at, clicks, depth=places)
    count = Counter((key, place) for key, place, _ in rows if place < places)
    clicked, shown = np.zeros((2, places, places))
    for key, place, click in rows:
        for other in range(places):
            if place < places and other != place and count[key, other]:
                weight = count[key, other] / (count[key, place] + count[key, other])
                clicked[place, other] += weight * click
                shown[place, other] += weight
    np.testing.assert_allclose(pairs.clicked.sum(axis=0), clicked)
    np.testing.assert_allclose(pairs.shown.sum(axis=0), shown)
    order = list(range(len(rows)))
    random.shuffle(order)
    moved = harvested_again(7 - 2 * keys[order], at[order], clicks[order], depth=places)
    np.testing.assert_allclose(moved.shown.sum(axis=0), shown)


def test_the_curve_is_found_in_what_is_shown_again() -> None:
    rng = np.random.default_rng(5)
    n, again = 40_000, 3
    worth = np.repeat(rng.beta(1, 4, n), again)
    usual = np.repeat((1 - rng.beta(1, 4, n)) * PLACES, again)
    at = np.clip(usual + rng.normal(0, 2, n * again), 0, PLACES - 1).astype(np.int64)
    clicks = (rng.random(len(at)) < worth * CURVE[at]).astype(np.int64)
    pairs = harvested_again(np.repeat(np.arange(n), again), at, clicks, depth=PLACES)
    assert np.abs(examination_of_pairs(pairs).chance / CURVE - 1).max() < 0.08


def test_places_that_nothing_ties_to_the_first_are_refused() -> None:
    at, under = np.array([0, 1, 2, 3]), np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    pairs = harvested(at, np.ones(4), under, np.ones(2), depth=4)
    with pytest.raises(InputError, match="no clicks tie place 2"):
        examination_of_pairs(pairs)
    nothing = harvested(np.zeros(0, int), np.zeros(0), np.zeros((0, 2), int), np.ones(2), depth=3)
    with pytest.raises(InputError, match="no clicks tie place 1"):
        examination_of_pairs(nothing)


def test_bad_input_says_what_is_wrong() -> None:
    one, two = np.array([0]), np.array([[0, 1]])
    with pytest.raises(ShapeError, match=r"wanted \[rows=1, policies=3\]"):
        harvested(one, np.ones(1), two, np.ones(3), depth=2)
    with pytest.raises(InputError, match="stood at 5, where no policy"):
        harvested(np.array([5]), np.ones(1), two, np.ones(2), depth=2)
    with pytest.raises(InputError, match="stood at 1, where no policy that answers"):
        harvested(np.array([1]), np.ones(1), two, np.array([1.0, 0.0]), depth=2)
    with pytest.raises(ShapeError, match="must all be"):
        harvested_again(np.zeros(2, int), np.zeros(3, int), np.zeros(2, int), depth=2)
    with pytest.raises(ShapeError, match="folds have shape"):
        harvested(one, np.ones(1), two, np.ones(2), depth=2, folds=np.zeros(4, int))
    with pytest.raises(ShapeError, match="do not add up"):
        Pairs(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))) + Pairs(*np.zeros((2, 1, 3, 3)))
    with pytest.raises(ShapeError, match="wanted both"):
        Pairs(np.zeros((2, 2)), np.zeros((2, 2)))
