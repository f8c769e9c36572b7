"""The truth: a slate's value, the oracle, and that behaviour follows it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import ENGAGEMENT_KINDS
from heirloom.simulator import Mixed, Oracle, Popular, Random, Recent, Size, World
from heirloom.simulator.queries import QueryColumns
from heirloom.simulator.truth import (
    WEIGHTS,
    action_chances,
    best_slates,
    examination,
)

TINY = Size(listings=300, people=120, days=1, sessions_per_day=4.0, tick_ms=60 * 60_000, k=8)


@pytest.fixture(scope="module")
def asked() -> tuple[World, list[QueryColumns]]:
    """A world, and rounds of its queries in one state: nothing is sold while they are asked."""
    world, rounds = World(TINY, 11), []

    def keep(queries: QueryColumns) -> np.ndarray:
        rounds.append(queries)
        return Popular(world)(queries)

    for _ in range(12):
        world.step(keep)
    return world, rounds


def test_examination_never_grows_with_the_position() -> None:
    seen = examination(48)
    assert seen[0] == 1.0
    assert (np.diff(seen) < 0).all()
    assert seen[4] == pytest.approx(math.exp(-0.10 * 2))
    assert seen[5] == pytest.approx(math.exp(-0.10 * 2) * 0.93)


def naive_worth(world: World, queries: QueryColumns, row: int, x: int) -> float:
    """The equations of docs/simulator.md, in plain Python, one pair at a time."""
    goods, taste, asks = world.stock.goods(), world.people.taste, queries.asks
    p, under = asks.person[row], world.stock.under
    misfit = abs(goods.fit[x] - taste.fit[p, goods.group[x]])
    misfit = 0.0 if math.isnan(misfit) or misfit <= 0.25 else min(misfit, 3.0)
    over = goods.log_price[x] - goods.base_log_price[x] - taste.price_level[p]
    deal = min(max(goods.usual_log_price[x] - goods.log_price[x], -1.0), 1.0)
    age_h = max(int(asks.t[row]) - int(goods.listed_at[x]), 0) / 3_600_000
    fond = sum(
        f for b, f in zip(taste.favourite[p], taste.fondness[p], strict=True) if b == goods.brand[x]
    )
    wanted = 1.6 if goods.sub[x] in taste.need[p] else 0.0
    match = 1.1 * float(np.dot(taste.taste[p], goods.style[x]))
    appeal = -3.9 + taste.department[p, goods.department[x]] + taste.category[p, goods.sub[x]]
    appeal += wanted + fond + match + goods.quality[x] + 0.6 * deal + 0.7 * math.exp(-age_h / 72)
    appeal -= (0.4 + 0.6 * misfit) if misfit else 0.0
    appeal -= taste.price_sense[p] * min(0.35 * over**2, 2.0)
    if asks.surface[row] == 1:
        a = asks.anchor[row]
        same = goods.sub[x] == goods.sub[a]
        appeal += 1.1 if same else -0.3 if goods.family[x] == goods.family[a] else -1.6
        appeal += 0.6 * (goods.brand[x] == goods.brand[a])
        appeal += 0.7 * float(np.dot(goods.style[a], goods.style[x]))
        appeal -= 0.25 * min(abs(goods.log_price[x] - goods.log_price[a]), 2.0)
    if asks.surface[row] == 2:
        path, brand, colour = asks.want_path[row], asks.want_brand[row], asks.want_colour[row]
        appeal += 0.9 - 3.0 * (path >= 0 and not under[path, goods.sub[x]])
        appeal -= 2.2 * (brand >= 0 and brand != goods.brand[x])
        appeal -= 0.9 * (colour >= 0 and colour != goods.colour[x])
    conviction = 0.5 * wanted + 0.5 * fond + 0.6 * match + goods.reliability[x] + 0.8 * deal
    conviction -= 1.1 * misfit + taste.price_sense[p] * min(max(0.9 * over, -0.5), 2.5)

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    after = 1.0 + 2.0 * sigmoid(-2.0 + 0.7 * conviction) + 3.0 * sigmoid(-3.6 + 0.6 * conviction)
    after += 4.0 * sigmoid(-4.1 + 0.7 * conviction) + 10.0 * sigmoid(-4.6 + conviction)
    return sigmoid(appeal) * after


def test_a_slates_value_is_the_naive_sum(asked: tuple[World, list[QueryColumns]]) -> None:
    world, rounds = asked
    surfaces = set()
    for queries in rounds[::3]:
        slates = Random(world)(queries)
        values = world.value(queries, slates)
        for row in range(len(queries)):
            if world.people.taste.bot[queries.asks.person[row]]:
                assert values[row] == 0.0
                continue
            wanted = sum(
                math.exp(-0.1 * (i // 2)) * (0.93 if i % 2 else 1.0)
                * naive_worth(world, queries, row, x)
                for i, x in enumerate(slates[row].tolist()) if x >= 0
            )  # fmt: skip
            assert values[row] == pytest.approx(wanted, rel=1e-12)
            surfaces.add(int(queries.asks.surface[row]))
    assert surfaces == {0, 1, 2}


def test_weights_are_as_stated() -> None:
    assert WEIGHTS == {"click": 1.0, "save": 2.0, "message": 3.0, "offer": 4.0, "purchase": 10.0}


def test_no_policy_is_worth_more_than_the_oracle(asked: tuple[World, list[QueryColumns]]) -> None:
    world, rounds = asked
    oracle = Oracle(world)
    for queries in rounds[::4]:
        best = world.value(queries, oracle(queries))
        for policy in (Random(world), Recent(world), Popular(world), Mixed(world)):
            assert (world.value(queries, policy(queries)) <= best + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_slate_at_all_is_worth_more_than_the_oracle(
    asked: tuple[World, list[QueryColumns]], seed: int
) -> None:
    world, rounds = asked
    rng = np.random.default_rng(seed)
    queries = rounds[int(rng.integers(len(rounds)))]
    best = world.value(queries, Oracle(world)(queries))
    slates = np.stack([
        rng.choice(len(world.stock), queries.k, replace=False) for _ in range(len(queries))
    ]).astype(np.int32)  # fmt: skip
    for row, gone in enumerate(queries.exclude):
        slates[row, np.isin(slates[row], gone)] = -1
    assert (world.value(queries, slates) <= best + 1e-12).all()


def test_a_listing_counts_once_and_only_if_live_and_allowed(
    asked: tuple[World, list[QueryColumns]],
) -> None:
    world, rounds = asked
    queries = next(q for q in rounds if not world.people.taste.bot[q.asks.person].any())
    slates = Random(world)(queries)
    twice = slates.copy()
    twice[:, 1:] = twice[:, :1]
    alone = np.full_like(slates, -1)
    alone[:, 0] = slates[:, 0]
    assert world.value(queries, twice).tolist() == world.value(queries, alone).tolist()
    dead = np.full_like(slates, int(np.flatnonzero(~world.stock.live)[0]))
    assert (world.value(queries, dead) == 0.0).all()


def test_what_people_do_agrees_with_the_truth() -> None:
    """Observed counts of each action lie within 4.5 standard errors of their expectation."""
    world = World(TINY, 4)
    expected, variance, observed = np.zeros(5), np.zeros(5), np.zeros(5)
    policy = Mixed(world)

    def watched(queries: QueryColumns) -> np.ndarray:
        slates = policy(queries)
        chances = action_chances(
            world.people.taste, world.stock.goods(), queries.asks, world.stock.under, slates
        )
        click = chances[:, :, 0] * examination(queries.k)
        rates = np.concatenate([click[:, :, None], click[:, :, None] * chances[:, :, 1:]], axis=2)
        nonlocal expected, variance
        expected = expected + rates.sum(axis=(0, 1))
        variance = variance + (rates * (1 - rates)).sum(axis=(0, 1))
        return slates

    for _ in range(60):
        for part in world.step(watched).rounds:
            observed += np.bincount(part.actions.action, minlength=5)
    assert observed[0] > 500
    assert (np.abs(observed - expected) < 4.5 * np.sqrt(variance) + 1).all()
    assert len(ENGAGEMENT_KINDS) == 5


def test_the_oracle_reads_taste(asked: tuple[World, list[QueryColumns]]) -> None:
    """With tastes exchanged between people the oracle's slates are worth less."""
    world, rounds = asked
    wrong = world.people.taste._replace(taste=np.roll(world.people.taste.taste, 1, axis=0))
    right_total = wrong_total = 0.0
    for queries in rounds[::5]:
        slates = best_slates(
            wrong, world.stock.goods(), queries.asks, world.stock.under, queries.exclude, queries.k
        )
        wrong_total += float(world.value(queries, slates).sum())
        right_total += float(world.value(queries, Oracle(world)(queries)).sum())
    assert wrong_total < 0.97 * right_total
