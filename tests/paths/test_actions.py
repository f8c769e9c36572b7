"""A marketplace whose ranker foretells actions: trained, guarded, ordered by its weights."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heirloom.adapters.bundle import manifest_of
from heirloom.apps.build import System
from heirloom.apps.parts import recipe_of
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError, InputError
from heirloom.core.event import Event, Kind
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines import correct
from heirloom.pipelines.examination import examination_of_log
from heirloom.pipelines.serve import recommend
from heirloom.pipelines.train import Trained, examples_of_impressions, train
from heirloom.ranking.actions import HOUR_MS
from heirloom.ranking.by_action import CatBoostActions
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.guard import Guard
from heirloom.ranking.ranker import Correction, Examples

from .conftest import LAPTOP, Marketplace

TOLD = """
[policy.guard]
action = "purchase"
keep = 0.9
[training.matures_hours]
contact = 1.0
purchase = 1.0
""" + "\n".join(
    f"[policy.weights.{surface}]\nclick = 1.0\nsave = 2.0\ncontact = 3.5\npurchase = 10\nhide = -5"
    for surface in ("home", "similar", "search")
)


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "system.toml"
    text = LAPTOP.read_text().replace('ranker = "expected"', 'ranker = "actions"')
    path.write_text(text + TOLD)
    return path


@pytest.fixture(scope="module")
def folder(trained: Marketplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("actions") / "copy"
    skipped = shutil.ignore_patterns("*.writer*", "bundles", "current.txt")
    shutil.copytree(trained.system.folder, folder, ignore=skipped)
    return folder


@pytest.fixture(scope="module")
def system(toml: Path, folder: Path) -> Iterator[System]:
    system = System(load(toml, folder=folder), answering=False)
    system.train()
    yield system
    system.close()


def ask(system: System, **asked: object) -> Query:
    user = system.people_examples(1)[0][0]
    return Query(t=system.now_ms(), user=user, **asked)  # type: ignore[arg-type]


def test_the_order_is_by_the_weights_of_the_surface(system: System) -> None:
    query = ask(system, k=10_000)
    policy = replace(system.policy, seller_cap=10_000)
    slate = recommend(query, policy, system.live)
    assert slate.features is not None
    ranker = system.policy.ranker
    assert isinstance(ranker, CatBoostActions)
    weights = system.policy.action_weights["home"]
    worth = ranker.score(slate.features) @ [weights[action] for action in ranker.actions]
    assert (np.diff(worth) <= 1e-6).all()
    only = {name: {"hide": -1.0} for name in ("home", "similar", "search")}
    other = recommend(query, replace(policy, action_weights=only), system.live)
    assert other.features is not None
    hidden = ranker.score(other.features)[:, ranker.actions.index("hide")]
    assert (np.diff(hidden) >= 0).all()
    assert [each.listing for each in slate.shown] != [each.listing for each in other.shown]


def test_the_bundle_tells_calibration_and_what_the_guard_costs(system: System) -> None:
    manifest = manifest_of(system.folder / "bundles" / system.policy.bundle)
    assert manifest.actions == ("click", "save", "contact", "purchase", "hide")
    for surface in ("all", "home", "similar", "search"):
        told = manifest.slices[f"{surface}.click"]
        assert 0 <= told["ece"] < 0.1
        assert told["predicted_1"] <= told["predicted_10"]
    for surface in ("home", "similar", "search"):
        guard = manifest.slices[f"guard.{surface}"]
        assert guard["kept"] >= 0.9
        assert guard["price"] >= 0
        assert system.policy.action_weights[surface]["purchase"] == 10 * guard["multiplier"]


def test_a_restart_answers_with_the_same_order(system: System, toml: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(system.folder, copy, ignore=shutil.ignore_patterns("*.writer*"))
    query = ask(system, k=24)
    again = System(load(toml, folder=copy))
    try:
        served, replayed = (recommend(query, of.policy, of.live) for of in (system, again))
    finally:
        again.close()
    assert [each.listing for each in served.shown] == [each.listing for each in replayed.shown]
    assert [each.score for each in served.shown] == [each.score for each in replayed.shown]


def test_a_weight_of_no_action_does_not_answer(system: System) -> None:
    wrong = replace(system.policy, action_weights={"home": {"clicks": 1.0}})
    with pytest.raises(ConfigError) as caught:
        wrong.check(system.live)
    text = str(caught.value)
    assert "weights.home: unknown action 'clicks'; known: click, save, contact" in text
    assert "weights.search: no action weighs anything" in text


def test_what_the_toml_says_of_training_is_what_is_done(toml: Path, tmp_path: Path) -> None:
    path = tmp_path / "gated.toml"
    gated = '[training]\nbias = "baseline"\ngate_most = { "all.click.ece" = 0.01 }'
    path.write_text(toml.read_text().replace("[training]", gated))
    recipe = recipe_of(load(path), CatBoostActions)
    assert (recipe.bias, recipe.gate_most) == ("baseline", {"all.click.ece": 0.01})
    assert recipe.guard == Guard("purchase", 0.9)
    assert [action.matures_ms for action in recipe.actions] == [HOUR_MS] * 5
    assert recipe_of(load(LAPTOP), CatBoostExpected).actions == ()


def test_examples_of_probabilities_are_of_slates_without_an_action_too(system: System) -> None:
    recipe = recipe_of(system.settings, CatBoostActions)
    examples, _ = examples_of_impressions(
        system.log, system.empty_live(retrievers=False), recipe, lambda *_: None
    )
    assert examples.done is not None
    assert examples.drawn is not None
    best = np.zeros(int(examples.groups.max()) + 1, np.float32)
    np.maximum.at(best, examples.groups, examples.gains)
    assert 0.05 < (best > 0).mean() < 0.95
    assert np.nansum(examples.done[examples.drawn]) == 0
    gained = examples.gains > 0
    known = ~np.isnan(examples.done).any(axis=1)
    np.testing.assert_array_equal(gained[known], (examples.done[known][:, :4] == 1).any(axis=1))


def test_a_log_that_does_not_tell_where_people_look_is_refused(system: System) -> None:
    recipe = replace(recipe_of(system.settings), bias="ips")
    live = system.empty_live(retrievers=False)
    with pytest.raises(InputError, match=r'bias = "ips".*home, 1 column\(s\): \d+ clicks on list'):
        train(system.log, live, CatBoostListwise, recipe)


def test_a_state_that_knows_the_end_is_refused(system: System) -> None:
    with pytest.raises(ValueError, match=r"folded up to \d+; wanted an empty one"):
        train(system.log, system.live, CatBoostListwise, recipe_of(system.settings))


def show_twice(system: System) -> None:
    """Three listings to each of sixty people, and at once again, each in every place once.

    What stands first is clicked each time, what stands later less and less.
    """
    t = int(system.log.facts().events["t"].max()) - 2 * HOUR_MS  # mature, as the log goes
    shown = (entry.event for entry in system.log.read())
    ids = tuple(next(event.listings[:3] for event in shown if len(event.listings) > 3))
    events = []
    for i in range(60):
        for turn in range(3):
            order = ids[turn:] + ids[:turn]
            said = {"t": t + turn, "user": f"looker{i}", "surface": "home", "slate": f"s{i}-{turn}"}
            events.append(Event(event_id=f"shown-{i}-{turn}", kind=Kind.IMPRESSION,
                                listings=order, **said))  # fmt: skip
            events += [
                Event(event_id=f"click-{i}-{turn}-{each}", kind=Kind.CLICK, listing=each, **said)
                for each, every in zip(order, (1, 3, 5), strict=True)
                if i % every == 0
            ]
    report = system.ingest(events)
    assert report.taken + report.duplicate == len(events), str(report)


@pytest.mark.parametrize("bias", ["baseline", "ips"])
def test_training_tells_the_ranker_where_people_look(
    system: System, bias: Correction, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_twice(system)
    lenient = partial(examination_of_log, depth=3, least_clicks=10.0)
    monkeypatch.setattr(correct, "examination_of_log", lenient)
    recipe = replace(recipe_of(system.settings), weights={}, guard=None)
    heard: list[Examples] = []

    class Heard(CatBoostListwise):
        """The ranker, which keeps what it was first fitted with."""

        @classmethod
        def fit(cls, train: Examples, validation: Examples, **settings: Any) -> CatBoostListwise:
            heard.append(train)
            return super().fit(train, validation, **settings)

    def trained_with(bias: Correction | None) -> tuple[Trained, Examples]:
        heard.clear()
        live = system.empty_live(retrievers=False)
        return train(system.log, live, Heard, replace(recipe, bias=bias)), heard[0]

    made, corrected = trained_with(bias)
    plain, as_shown = trained_with(None)
    (known,) = (name for name in made.slices if name.startswith("examination."))
    assert known == "examination.home.1"
    chances = [made.slices[known][f"chance_{place}"] for place in (1, 2, 3)]
    assert chances[0] == 1.0 > chances[2]

    np.testing.assert_array_equal(corrected.values, as_shown.values)
    taken = corrected.positions == 0  # a correction takes the places away where it knows them
    third = taken & (as_shown.positions == 2) & (as_shown.gains > 0)
    first = taken & (as_shown.positions == 0) & (as_shown.gains > 0)
    assert third.any()
    more = corrected.gains[third] / as_shown.gains[third]
    if bias == "baseline":
        assert (more == 1.0).all()
        assert corrected.place_logits is not None
        assert corrected.place_logits[third].min() == pytest.approx(np.log(chances[2]), rel=1e-4)
    else:
        of_first = corrected.gains[first] / as_shown.gains[first]
        assert more.max() / of_first.min() == pytest.approx(1.0 / chances[2], rel=1e-4)
    probe = FeatureBatch(as_shown.values[:500], as_shown.columns, n=0)
    assert (made.ranker.score(probe) != plain.ranker.score(probe)).any()
