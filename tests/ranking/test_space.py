"""The space that tuning searches is checked whole, at the door."""

import pytest

from heirloom.apps.registry import OWN_RANKERS
from heirloom.core.errors import ConfigError
from heirloom.ranking.fit_settings import settings_of
from heirloom.ranking.space import SPACES, Dimension, checked_space

CATBOOST = OWN_RANKERS["catboost"]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_the_spaces_that_come_with_it_are_sound(name: str) -> None:
    space = checked_space(name, OWN_RANKERS[name], SPACES[name])
    assert list(space) == sorted(SPACES[name])
    assert space.keys() <= settings_of(OWN_RANKERS[name]).keys()


def test_all_that_is_wrong_is_said_at_once() -> None:
    space = {
        "dept": Dimension("int", 3, 8),
        "depth": Dimension("float", 3, 8),
        "iterations": Dimension("int", 10.5, 300),
        "l2_leaf_reg": Dimension("float", 0.0, 50.0, log=True),
        "learning_rate": Dimension("float", 0.5, 0.9),
        "leaf_iterations": Dimension("int", 5, 5),
        "loss": Dimension("choice", choices=("YetiRank", "PairLogit")),
        "patience": Dimension("int", 1, 100, choices=(1, 2)),
    }
    with pytest.raises(ConfigError) as error:
        checked_space("catboost", CATBOOST, space)
    told = str(error.value)
    assert told.count("\n  - ") == len(space) == len(error.value.problems)
    for part in (
        "dept: ranker 'catboost' has no such setting; it has depth, iterations",
        "depth: its kind is float, and the default is 6",
        "iterations: from 10.5 to 300; wanted whole numbers",
        "l2_leaf_reg: log = true from 0.0; wanted more than 0",
        "learning_rate: the default 0.15 is not from 0.5 to 0.9; widen the range",
        "leaf_iterations: from 5 to 5; wanted low below high",
        "loss: the default 'QuerySoftMax' is not among its choices",
        "patience: numbers from low to high have no choices",
    ):
        assert part in told, part


@pytest.mark.parametrize(
    ("dimension", "told"),
    [
        (Dimension("choice", choices=("QuerySoftMax",)), "two or more, each once"),
        (Dimension("choice", choices=("QuerySoftMax", "QuerySoftMax")), "two or more, each once"),
        (Dimension("choice", choices=("QuerySoftMax", 3)), "wanted values like 'QuerySoftMax'"),
        (Dimension("choice", 1, 2, choices=("QuerySoftMax", "YetiRank")), "has no low, high or"),
    ],
)
def test_choices(dimension: Dimension, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        checked_space("catboost", CATBOOST, {"loss": dimension})


def test_a_ranker_without_a_space_asks_for_one() -> None:
    with pytest.raises(ConfigError, match="ranker 'linear' has no space of its own; give one"):
        checked_space("linear", OWN_RANKERS["linear"], {})
