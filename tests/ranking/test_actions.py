import numpy as np
import pytest

from heirloom.core.errors import ConfigError
from heirloom.ranking.actions import ACTIONS, HOUR_MS, combined, matured, weights_of

NAMES = tuple(action.name for action in ACTIONS)


def test_actions_named_mature_as_told_and_others_as_before() -> None:
    told = matured({"purchase": 0.5})
    assert told[NAMES.index("purchase")].matures_ms == HOUR_MS // 2
    assert [a for a in told if a.name != "purchase"] == [a for a in ACTIONS if a.name != "purchase"]


def test_all_that_is_wrong_with_weights_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        weights_of(NAMES, {"clicks": 1.0, "save": float("nan")}, "weights.home")
    text = str(caught.value)
    assert "unknown action 'clicks'; known: click, save, contact, purchase, hide" in text
    assert "weight of save is nan" in text
    with pytest.raises(ConfigError, match="no action weighs anything"):
        weights_of(NAMES, {"save": 0.0})
    with pytest.raises(ConfigError, match="no action weighs anything"):
        weights_of(NAMES, {})
    with pytest.raises(ConfigError, match=r"unknown action 'click'; known: gain"):
        weights_of(("gain",), {"click": 1.0})


@pytest.mark.parametrize("hours", [{"glance": 1.0}, {"click": -1.0}, {"save": float("nan")}])
def test_times_that_cannot_be_are_refused(hours: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        matured(hours)


def test_what_is_to_be_avoided_pulls_down() -> None:
    scores = np.array([[0.2, 0.0], [0.3, 0.1]], np.float32)
    assert combined(scores, weights_of(("click", "hide"), {"click": 1, "hide": -5})).argmax() == 0


def test_equal_rows_tie_among_any_number_of_others() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((1_003, 5)).astype(np.float32)
    scores[::17] = scores[0]
    weights = rng.normal(size=5).astype(np.float32)
    whole = combined(scores, weights)
    assert len(np.unique(whole[::17])) == 1
    for size in (1, 2, 7, 100):
        assert combined(scores[:size], weights).tobytes() == whole[:size].tobytes()
