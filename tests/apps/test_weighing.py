"""Weights and guards in the TOML: refused before training, and held against the bundle."""

from pathlib import Path

import msgspec
import pytest

from heirloom.apps.settings import Settings, load
from heirloom.apps.weighing import check_weights, guard_settings, guarded_weights
from heirloom.core.bundle import DataWindow, Manifest
from heirloom.core.errors import ConfigError
from heirloom.ranking.by_action import CatBoostActions
from heirloom.ranking.expected import CatBoostExpected

WEIGHTS = "\n".join(
    f"[policy.weights.{surface}]\nclick = 1\nsave = 2\ncontact = 3.5\npurchase = 10\nhide = -5"
    for surface in ("home", "similar", "search")
)
GUARD = '[policy.guard]\naction = "purchase"\nkeep = 0.95'


def settings(folder: Path, told: str, ranker: str = "actions") -> Settings:
    path = folder / "system.toml"
    path.write_text(
        f'[system]\nname = "x"\nfolder = "f"\n[policy]\nranker = "{ranker}"\n'
        f"quotas = {{ home = {{ popular = 1 }} }}\n{told}\n"
    )
    return load(path)


def manifest(given: Settings, multiplier: float) -> Manifest:
    return Manifest(
        name="x", kind="actions", columns=(), actions=(), negatives="", seed=0, code_version="",
        data_window=DataWindow(from_offset=0, to_offset=0, from_t=0, to_t=0), metrics={}, files={},
        slices={"guard.home": {"multiplier": multiplier}}, settings={**guard_settings(given)},
    )  # fmt: skip


def test_weights_are_read_by_surface_and_negative_ones_too(tmp_path: Path) -> None:
    given = settings(tmp_path, WEIGHTS)
    check_weights(given, CatBoostActions)
    assert guarded_weights(given, manifest(given, 3.0))["home"] == {
        "click": 1.0, "save": 2.0, "contact": 3.5, "purchase": 10.0, "hide": -5.0
    }  # fmt: skip


def test_the_guarded_action_weighs_what_it_takes(tmp_path: Path) -> None:
    given = settings(tmp_path, f"{WEIGHTS}\n{GUARD}")
    check_weights(given, CatBoostActions)
    weights = guarded_weights(given, manifest(given, 3.0))
    assert weights["home"]["purchase"] == 30.0
    assert weights["search"]["purchase"] == 10.0
    assert given.policy.weights["home"]["purchase"] == 10.0  # type: ignore[index]


def test_a_guard_found_for_other_weights_is_refused(tmp_path: Path) -> None:
    old = settings(tmp_path, f"{WEIGHTS}\n{GUARD}")
    new = settings(tmp_path, f"{WEIGHTS.replace('save = 2', 'save = 4', 1)}\n{GUARD}")
    with pytest.raises(ConfigError, match=r"weight\.home\.save differ; run `heirloom train`"):
        guarded_weights(new, manifest(old, 3.0))
    unguarded = settings(tmp_path, WEIGHTS)
    with pytest.raises(ConfigError, match=r"guard\.action, guard\.k, guard\.keep"):
        guarded_weights(old, msgspec.structs.replace(manifest(unguarded, 3.0), settings={}))
    assert guarded_weights(unguarded, manifest(old, 3.0))["home"]["purchase"] == 10.0


@pytest.mark.parametrize(
    ("told", "ranker", "problems"),
    [
        (WEIGHTS.replace("hide", "hid", 1), "actions",
         ["weights.home: unknown action 'hid'; known: click, save, contact, purchase, hide"]),
        ("[policy.weights.home]\nclick = 1", "actions",
         ["weights.similar: no action weighs anything", "weights.search: no action"]),
        (f"{WEIGHTS}\n{GUARD.replace('purchase', 'buy')}", "actions",
         ["guard: unknown action 'buy'"]),
        (f"{WEIGHTS.replace('purchase = 10', 'purchase = 0', 1)}\n{GUARD}", "actions",
         ["guard: purchase weighs 0 on home; wanted more than 0"]),
        (WEIGHTS, "expected", ["ranker 'expected' has one score, and weights"]),
    ],
)  # fmt: skip
def test_what_cannot_be_weighed_is_told_before_training(
    tmp_path: Path, told: str, ranker: str, problems: list[str]
) -> None:
    given = settings(tmp_path, told, ranker)
    of = CatBoostActions if ranker == "actions" else CatBoostExpected
    with pytest.raises(ConfigError) as caught:
        check_weights(given, of)
    assert len(caught.value.problems) == len(problems)
    for problem in problems:
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("[policy.weights.away]\nclick = 1", "policy.weights.away"),
        ("[policy.weights.home]\nclick = nan", "policy.weights.home.click"),
        ('[policy.guard]\naction = "purchase"\nkeep = 1.5', "policy.guard.keep"),
        ("[training.matures_hours]\nglance = 1", "unknown action 'glance'"),
        ('[training]\nbias = "magic"', "training.bias"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, told: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place.replace(".", r"\.")):
        settings(tmp_path, told)


def test_a_ranker_of_the_gain_needs_nothing(tmp_path: Path) -> None:
    given = settings(tmp_path, "", "expected")
    check_weights(given, CatBoostExpected)
    assert guarded_weights(given, manifest(given, 3.0)) == {}
    assert guard_settings(given) == {}
