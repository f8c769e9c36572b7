"""What is told of a ranker: orders by surface, calibration, guards and gates."""

from dataclasses import replace

import numpy as np
import pytest

from heirloom.core.errors import ConfigError
from heirloom.core.event import SURFACE_CODE
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines.judge import calibrations, evaluate, guards, orders, refusals
from heirloom.ranking.guard import Guard
from heirloom.ranking.ranker import Examples

HOME, SEARCH = SURFACE_CODE["home"], SURFACE_CODE["search"]


class Told:
    """Its features are its probabilities of a click and of a hide."""

    columns = ("v@1.click", "v@1.hide")
    actions = ("click", "hide")

    def score(self, batch: FeatureBatch) -> np.ndarray:
        return batch.values

    def chances(self, examples: Examples) -> np.ndarray:
        return examples.values / (examples.positions[:, None] + 1)


def shown(seed: int, slates: int = 800) -> tuple[Examples, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.beta(1, 4, (slates * 5, 2)).astype(np.float32)
    positions = np.tile(np.arange(5, dtype=np.int16), slates)
    drawn = positions == 4
    done = (rng.random(values.shape) < values / (positions[:, None] + 1)) & ~drawn[:, None]
    groups = np.repeat(np.arange(slates), 5)
    surfaces = np.where(groups % 2 == 0, HOME, SEARCH).astype(np.int8)
    examples = Examples(
        values, Told.columns, groups, done[:, 0].astype(np.float32), positions, groups,
        Told.actions, done.astype(np.float32), drawn,
    )  # fmt: skip
    return examples, surfaces


WEIGHTS = {"home": {"click": 1.0}, "search": {"click": 1.0, "hide": -9.0}}


def test_each_surface_orders_by_its_own_weights() -> None:
    test, surfaces = shown(0)
    came = orders(Told(), test, surfaces, WEIGHTS)
    home = surfaces == HOME
    np.testing.assert_array_equal(came[home], test.values[home, 0])
    np.testing.assert_allclose(
        came[~home], test.values[~home, 0] - 9 * test.values[~home, 1], rtol=1e-5
    )
    metrics, slices = evaluate(Told(), test, surfaces, WEIGHTS)
    assert slices["home"]["ndcg@10"] > slices["search"]["ndcg@10"]
    assert set(slices["home"]) == set(metrics)


def test_slates_without_a_gain_have_no_order() -> None:
    test, surfaces = shown(0)
    silent = replace(test, gains=np.where(test.groups % 3 == 0, 0, test.gains))
    kept = np.flatnonzero(test.groups % 3 > 0)
    some = Examples(
        test.values[kept], test.columns, test.groups[kept], test.gains[kept],
        test.positions[kept], test.t[kept],
    )  # fmt: skip
    one, two = (
        evaluate(Told(), of, s, WEIGHTS) for of, s in ((silent, surfaces), (some, surfaces[kept]))
    )
    assert one[0]["ndcg@10"] == two[0]["ndcg@10"]
    assert one[1]["home"]["ndcg@10_logged"] == two[1]["home"]["ndcg@10_logged"]


def test_weights_that_are_not_the_rankers_are_refused() -> None:
    test, surfaces = shown(0, 4)
    with pytest.raises(ConfigError, match=r"weights\.search.*\n.*unknown action 'save'"):
        orders(Told(), test, surfaces, {"home": {"click": 1}, "search": {"save": 1}})
    with pytest.raises(ConfigError, match="no action weighs anything"):
        orders(Told(), test, surfaces, {})


def test_calibration_is_told_of_what_was_shown_and_is_known() -> None:
    test, surfaces = shown(1, 4_000)
    done = test.done.copy()
    done[test.groups < 100, 1] = np.nan
    told = calibrations(Told(), replace(test, done=done), surfaces)
    assert sorted(told) == [
        "all.click", "all.hide", "home.click", "home.hide", "search.click", "search.hide"
    ]  # fmt: skip
    assert told["all.click"]["rows"] == 4_000 * 4
    assert told["all.hide"]["rows"] == 3_900 * 4
    assert told["all.click"]["ece"] < 3 * told["all.click"]["ece_noise"]
    with_drawn = calibrations(Told(), replace(test, drawn=None), surfaces)["all.click"]
    assert with_drawn["observed"] < 0.9 * with_drawn["predicted"]
    assert calibrations(Told(), replace(test, done=None), surfaces) == {}


def test_a_guard_is_found_for_each_surface_and_says_where_it_cannot() -> None:
    test, surfaces = shown(2)
    weights = {"home": {"click": 1.0, "hide": 1.0}, "search": {"click": 1e9, "hide": 1e-9}}
    found, refused = guards(Told(), test, surfaces, weights, Guard("hide", 0.95, k=2))
    assert sorted(found) == ["guard.home", "guard.search"]
    assert found["guard.home"]["kept"] >= 0.95
    assert found["guard.home"]["multiplier"] > 1
    assert 0 < found["guard.home"]["price"] < 0.5
    assert found["guard.search"]["feasible"] == 0
    assert len(refused) == 1
    assert refused[0].startswith("guard.search: hide keeps 0.")
    assert guards(Told(), test, surfaces, weights, None) == ({}, ())
    with pytest.raises(ConfigError, match="unknown action 'buy'; known: click, hide"):
        guards(Told(), test, surfaces, weights, Guard("buy", 0.9))


def test_gates_are_least_and_most_and_name_slices() -> None:
    metrics, slices = {"ndcg@10": 0.4}, {"home.click": {"ece": 0.02}, "home": {"ndcg@10": 0.3}}
    passed = refusals(metrics, slices, {"ndcg@10": 0.4, "home.ndcg@10": 0.3}, {"ndcg@10": 0.5})
    assert passed == ()
    assert refusals(
        metrics, slices, {"home.ndcg@10": 0.35}, {"home.click.ece": 0.01, "away.click.ece": 0.01}
    ) == (
        "home.ndcg@10 is 0.3000; wanted at least 0.35",
        "home.click.ece is 0.0200; wanted at most 0.01",
        "away.click.ece is nan; wanted at most 0.01",
    )
