from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.core.slate import Moved
from heirloom.slates.compose import compose
from heirloom.slates.rules import Rules, Shares
from heirloom.slates.steps import DAY_MS, Pool, composed, expected

ALL = Rules(
    page=8, reach=30, diversity=0.4, category_cap=3, price_cap=4, freshness=0.3, seen_cap=2,
    explore=0.25, shares=Shares(new_sellers=1.0, low_exposure=1.0),
)  # fmt: skip
seeds = st.integers(0, 2**32 - 1)


def pool(n: int, seed: int = 0, **columns: Any) -> Pool:
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "scores": rng.normal(size=n).astype(np.float32),
        "names": rng.permutation(n).astype(np.int32),
        "sellers": rng.integers(1, 9, n).astype(np.int32),
        "categories": rng.integers(0, 4, n).astype(np.int32),
        "prices": rng.integers(100, 9_000, n),
        "age_ms": rng.integers(0, 40 * DAY_MS, n),
        "codes": rng.integers(-127, 128, (n, 16)).astype(np.int8),
        "seen": rng.integers(0, 3, n).astype(np.int32),
        "members": rng.random((n, 2)) < 0.3,
        "lifts": np.array([0.2, 0.1]),
        "met": np.zeros(n, np.int64),
    }
    return Pool(**{**made, **columns})


@settings(deadline=None)
@given(seeds, st.integers(0, 50), st.integers(0, 50), st.sampled_from(["mmr", "dpp"]))
def test_a_slate_is_full_and_distinct_and_the_same_again(
    seed: int, n: int, k: int, by: Any
) -> None:
    scores = np.random.default_rng(seed).choice(
        np.array([0.0, 0.5, 1.0, np.nan, np.inf, -np.inf], np.float32), n
    )
    given_pool, rules = pool(n, seed, scores=scores), replace(ALL, by=by)
    made = composed(given_pool, rules, k=k, seller_cap=2, key=seed)
    rows = made.rows.tolist()
    assert len(rows) == len(set(rows)) == min(k, n)
    again = composed(given_pool, rules, k=k, seller_cap=2, key=seed)
    assert (made.rows.tobytes(), made.moved) == (again.rows.tobytes(), again.moved)
    assert made.propensities.tobytes() == again.propensities.tobytes()
    assert ((made.propensities > 0) & (made.propensities <= 1)).all()
    # Who has no finite score or was shown too often comes behind all others.
    behind = np.isnan(scores) | (scores == -np.inf) | (given_pool.seen >= 2)
    assert (np.diff(behind[made.rows].astype(int)) >= 0).all()


@settings(deadline=None)
@given(seeds, st.integers(1, 50), st.integers(1, 50), st.sampled_from(["mmr", "dpp"]))
def test_who_meets_more_comes_first_whatever_the_rules(seed: int, n: int, k: int, by: Any) -> None:
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)).astype(np.float32)
    asked = pool(n, seed, scores=scores, met=rng.integers(0, 4, n))
    for diversity in (0.4, 1.0):
        rules = replace(ALL, by=by, diversity=diversity)
        made = composed(asked, rules, k=k, seller_cap=2, key=seed)
        assert len(set(made.rows.tolist())) == len(made.rows) == min(k, n)
        behind = np.isnan(scores) | (asked.seen >= 2)
        places = list(zip(-asked.met[made.rows], behind[made.rows], strict=True))
        assert places == sorted(places)
        # As many meet as much as in any other choice of so many.
        assert sorted(asked.met[made.rows]) == sorted(np.sort(asked.met)[::-1][:k])


@settings(deadline=None)
@given(seeds, st.integers(0, 40), st.integers(0, 3), st.integers(0, 3))
def test_what_all_meet_alike_changes_nothing(seed: int, n: int, cap: int, met: int) -> None:
    asked = pool(n, seed)
    alike = replace(asked, met=np.full(n, met))
    for rules in (Rules(), ALL):
        made = composed(alike, rules, k=n, seller_cap=cap, key=seed)
        other = composed(asked, rules, k=n, seller_cap=cap, key=seed)
        assert (made.rows.tobytes(), made.moved) == (other.rows.tobytes(), other.moved)
        assert made.worth == other.worth


def test_the_floor_says_what_it_moved_and_what_that_cost() -> None:
    asked = plain(5, met=np.array([0, 1, 0, 3, 1]), sellers=np.array([9, 8, 7, 6, 8], np.int32))
    made = composed(asked, Rules(page=5, reach=5), k=5, seller_cap=1)
    # Rows 1 and 4 are of one seller; no cap lets who meets less pass.
    assert made.rows.tolist() == [3, 1, 4, 0, 2]
    assert made.moved == ((Moved("floor", 3, 0),), (), (Moved("floor", 4, 2),), (), ())
    assert list(made.worth) == ["score", "floor", "places"]
    assert made.worth["floor"] < made.worth["score"]


@settings(deadline=None)
@given(seeds, st.integers(0, 40), st.integers(0, 3))
def test_without_rules_it_is_the_order_of_scores_under_the_cap(seed: int, n: int, cap: int) -> None:
    asked = pool(n, seed)
    made = composed(asked, Rules(), k=n, seller_cap=cap)
    assert made.rows.tolist() == compose(asked.scores, asked.sellers, k=n, seller_cap=cap).tolist()
    assert all(move.rule == "seller_cap" for moves in made.moved for move in moves)


@settings(deadline=None)
@given(seeds, st.integers(1, 40))
def test_what_moved_is_told_by_rules_that_are_on(seed: int, n: int) -> None:
    met = np.random.default_rng(seed).integers(0, 2, n)
    made = composed(pool(n, seed, met=met), ALL, k=n, seller_cap=2, key=seed)
    order = ["floor", "seen", "freshness", ("new_sellers", "low_exposure"), "diversity",
             ("seller_cap", "category_cap", "price_cap", "exploration")]  # fmt: skip
    for place, moves in enumerate(made.moved):
        steps = [next(i for i, names in enumerate(order) if m.rule in names) for m in moves]
        assert steps == sorted(set(steps))
        for move in moves:
            assert move.before != move.after
            if move.rule in ("floor", "freshness", "new_sellers", "low_exposure"):
                assert move.after < move.before
        if moves and steps[-1] == 5:
            assert moves[-1].after == place
    floor = ["floor"] if len(set(met.tolist())) > 1 else []
    assert list(made.worth) == [
        "score",
        *floor,
        "seen",
        "freshness",
        "share",
        "diversity",
        "places",
    ]


def plain(n: int, **columns: Any) -> Pool:
    """Rows in order of scores, alike but for what is named."""
    none: dict[str, Any] = {
        "scores": np.linspace(1, 0, n).astype(np.float32), "names": np.arange(n, dtype=np.int32),
        "sellers": np.arange(n, dtype=np.int32), "categories": np.zeros(n, np.int32),
        "prices": np.full(n, 500), "age_ms": np.full(n, 400 * DAY_MS),
        "codes": np.zeros((n, 4), np.int8), "seen": np.zeros(n, np.int32),
        "members": np.zeros((n, 2), np.bool_), "met": np.zeros(n, np.int64),
    }  # fmt: skip
    return pool(n, **{**none, **columns})


def test_each_rule_says_what_it_moved() -> None:
    def moved(
        rules: Rules, row: int, n: int = 5, cap: int = 0, **columns: Any
    ) -> tuple[Moved, ...]:
        made = composed(plain(n, **columns), rules, k=n, seller_cap=cap, key=4)
        return made.moved[made.rows.tolist().index(row)]

    few = Rules(page=5, reach=5)
    assert moved(replace(few, seen_cap=2), 0, seen=np.array([2, 0, 1, 0, 0])) == (
        Moved("seen", 0, 4),
    )
    new = np.array([9, 9, 0, 9, 9]) * 400 * DAY_MS
    assert moved(replace(few, freshness=1.0), 2, age_ms=new) == (Moved("freshness", 2, 0),)
    members = np.array([[0, 0], [0, 0], [0, 0], [1, 1], [0, 0]], np.bool_)
    shares = Shares(new_sellers=1.0, low_exposure=1.0)
    assert moved(replace(few, shares=shares), 3, members=members) == (Moved("new_sellers", 3, 2),)
    alike = np.array([[9, 0, 0, 0]] * 4 + [[0, 9, 0, 0]], np.int8)
    assert moved(replace(few, diversity=0.9), 4, codes=alike) == (Moved("diversity", 4, 1),)
    assert moved(few, 1, cap=1, sellers=np.array([7, 7, 8, 9, 10], np.int32)) == (
        Moved("seller_cap", 1, 4),
    )
    capped = replace(few, category_cap=1)
    assert moved(capped, 1, categories=np.array([7, 7, 8, 9, 10], np.int32)) == (
        Moved("category_cap", 1, 4),
    )
    banded = replace(few, price_cap=2, price_bands=2)
    assert moved(banded, 2, prices=np.array([1, 2, 3, 90, 91]) * 100) == ()
    assert moved(banded, 1, prices=np.array([90, 91, 93, 2, 1]) * 100) == ()
    assert moved(banded, 2, prices=np.array([90, 91, 92, 2, 1]) * 100) == (
        Moved("price_cap", 2, 4),
    )


def test_a_draw_is_told_with_its_chance() -> None:
    rules = Rules(page=4, reach=4, explore=0.25, temperature=1.0)
    drawn = set()
    for key in range(40):
        made = composed(plain(8), rules, k=4, seller_cap=0, key=key)
        row, chance = int(made.rows[3]), float(made.propensities[3])
        # Rows 3 to 6 are within reach; relevance is 1 - row / 3 on the scale of the first four.
        weights = np.exp(-np.arange(3, 7) / 3)
        assert chance == pytest.approx(weights[row - 3] / weights.sum(), rel=1e-6)
        assert made.moved[3] == ((Moved("exploration", row, 3),) if row != 3 else ())
        drawn.add(row)
    assert drawn == {3, 4, 5, 6}


def test_worth_is_what_the_order_is_expected_to_gain() -> None:
    scores = np.log(np.array([4.0, 2.0, 1.0], np.float32)) * 2
    made = composed(
        plain(3, scores=scores, seen=np.array([1, 0, 0])),
        Rules(page=2, reach=3, seen_cap=1, log_scale=2.0), k=2, seller_cap=0,
    )  # fmt: skip
    assert made.worth["score"] == pytest.approx(4 + 2 / np.log2(3), rel=1e-6)
    assert made.worth["seen"] == made.worth["places"] == pytest.approx(2 + 1 / np.log2(3), rel=1e-6)


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_worth_is_finite(score: float) -> None:
    values = np.array([score, np.nan, np.inf], np.float32)
    for scale in (0.0, 1.0, 2.0):
        assert np.isfinite(expected(values, scale)).all()


def test_one_candidate_and_a_hundred_thousand() -> None:
    one = composed(pool(1), ALL, k=24, seller_cap=3, key=1)
    assert (one.rows.tolist(), one.propensities.tolist(), one.moved) == ([0], [1.0], ((),))
    many = composed(pool(100_000), ALL, k=50, seller_cap=3, key=1)
    assert len(set(many.rows.tolist())) == 50


def test_all_of_one_seller_keep_their_order_and_all_equal_that_of_retrieval() -> None:
    sellers = np.full(40, 7, np.int32)
    of_one = composed(plain(40, sellers=sellers), Rules(freshness=0.1), k=40, seller_cap=3)
    assert of_one.rows.tolist() == list(range(40))
    same = plain(40, scores=np.zeros(40, np.float32), codes=np.full((40, 4), 9, np.int8))
    for by in ("mmr", "dpp"):
        equal = composed(same, Rules(diversity=0.5, by=by), k=40, seller_cap=0)  # type: ignore[arg-type]
        assert equal.rows.tolist() == list(range(40))


def test_none_gives_none() -> None:
    none = composed(pool(0), ALL, k=24, seller_cap=3)
    assert (none.rows.tolist(), none.moved) == ([], ())
    assert set(none.worth.values()) == {0.0}


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="one length"):
        pool(5, seen=np.zeros(4, np.int32))
    with pytest.raises(ShapeError, match="a lift for each group"):
        pool(5, lifts=np.zeros(3))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"diversity": 1.5}, "diversity is 1.5; wanted 0 to 1"),
        ({"explore": 0.6}, "explore is 0.6; wanted 0 to 0.5"),
        ({"temperature": 0.0}, "temperature is 0; wanted 0.001 to 100"),
        ({"freshness": float("nan")}, "freshness is nan; wanted 0 to 10"),
        ({"reach": 10}, "reach is 10, less than a page of 24"),
        ({"by": "best"}, "by is 'best'; wanted mmr or dpp"),
        ({"shares": Shares(every=0)}, "every is 0; wanted 1 to"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], told: str) -> None:
    assert any(problem.startswith(told) for problem in Rules(**wrong).problems())
    assert not Rules().problems()
    assert not Rules()
    assert ALL
