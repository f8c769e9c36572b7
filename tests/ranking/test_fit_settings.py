"""What of a ranker can be set: known names and kinds, and every mistake at once."""

import pytest

from heirloom.apps.registry import OWN_RANKERS
from heirloom.core.errors import ConfigError
from heirloom.ranking.fit_settings import checked_settings, settings_of
from heirloom.testing.ranking import examples


@pytest.mark.parametrize("name", sorted(OWN_RANKERS))
def test_every_setting_that_is_named_can_be_given_to_fit(name: str) -> None:
    ranker = OWN_RANKERS[name]
    known = settings_of(ranker)
    assert known
    assert {"seed", "labels", "weights"} & known.keys() == set()
    assert checked_settings(name, ranker, known) == known
    quick = {"iterations": 2, "epochs": 1, "members": 1, "least_steps": 1}
    fewer = {key: value for key, value in quick.items() if key in known}
    fitted = ranker.fit(examples(1), examples(2, groups=40), seed=0, **{**known, **fewer})
    assert fitted.columns == examples(1).columns


def test_all_that_is_wrong_is_said_at_once() -> None:
    given = {"dept": 6, "depth": 6.5, "loss": 3, "learning_rate": 1, "iterations": True}
    with pytest.raises(ConfigError) as error:
        checked_settings("catboost", OWN_RANKERS["catboost"], given)
    told = str(error.value)
    assert "4 problem(s)" in told
    assert "dept: ranker 'catboost' has no such setting; it has depth, iterations" in told
    assert "depth: 6.5 came; wanted a whole number" in told
    assert "loss: 3 came; wanted a word" in told
    assert "iterations: True came; wanted a whole number" in told


def test_numbers_of_a_toml_become_what_fit_wants() -> None:
    found = checked_settings("linear", OWN_RANKERS["linear"], {"ridges": [1, 10.0]})
    assert found == {"ridges": (1.0, 10.0)}
    found = checked_settings("catboost", OWN_RANKERS["catboost"], {"learning_rate": 1})
    assert type(found["learning_rate"]) is float
    with pytest.raises(ConfigError, match="a list of numbers"):
        checked_settings("linear", OWN_RANKERS["linear"], {"ridges": []})
