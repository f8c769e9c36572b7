"""Correction of the place in training: what each ranker takes, and what a log can tell."""

from dataclasses import replace

import numpy as np
import pytest

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.event import SURFACE_CODE
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines.correct import check_correction, correct, correct_to_judge, examined, told
from heirloom.pipelines.examination import Found, Layout
from heirloom.ranking.by_action import CatBoostActions
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.examination import Examination
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.testing.memory import MemoryLog

CHANCE = np.array([1.0, 0.5, 0.25, 0.1])
PLACE = {
    Layout("home", 1): Found(Examination(CHANCE), 4, 100, 10, 5.0),
    Layout("search", 1): Found(None, 4, 100, 10, 5.0, "too few"),
}


def shown_by_appeal(seed: int, groups: int = 900) -> tuple[Examples, np.ndarray]:
    """The old order put the first feature on top; people want the second, of what they look at."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(groups, 4, 2)).astype(np.float32)
    order = np.argsort(-values[:, :, 0], axis=1)
    values = np.take_along_axis(values, order[:, :, None], axis=1).reshape(-1, 2)
    positions = np.tile(np.arange(4, dtype=np.int16), groups)
    wanted = rng.random(len(values)) < 1 / (1 + np.exp(1 - values[:, 1]))
    done = (wanted & (rng.random(len(values)) < CHANCE[positions])).astype(np.float32)
    member = np.repeat(np.arange(groups), 4)
    examples = Examples(
        values, ("v@1.old", "v@1.wanted"), member, done, positions, member,
        ("click",), done[:, None],
    )  # fmt: skip
    return examples, np.full(len(done), SURFACE_CODE["home"], np.int8)


@pytest.mark.parametrize(
    ("ranker", "correction"),
    [(CatBoostListwise, "ips"), (CatBoostListwise, "baseline"), (CatBoostExpected, "baseline"),
     (CatBoostActions, "baseline")],
)  # fmt: skip
def test_what_the_place_did_is_not_put_down_to_what_stood_there(
    ranker: type[Ranker], correction: str
) -> None:
    (train, surfaces), (late, of_late) = shown_by_appeal(1), shown_by_appeal(2, 300)
    blind = ranker.fit(
        replace(train, positions=0 * train.positions),
        replace(late, positions=0 * late.positions),
        seed=0,
    )
    check_correction(ranker, correction)
    aware = ranker.fit(
        correct(train, surfaces, PLACE, correction),
        correct(late, of_late, PLACE, correction),
        seed=0,
    )
    pair = FeatureBatch(np.array([[-1, 0], [1, 0]], np.float32), train.columns, n=0)
    belief = [float(np.diff(model.score(pair)[:, 0])[0]) for model in (aware, blind)]
    assert abs(belief[0]) < 0.4 * belief[1]


def test_a_surface_that_is_not_known_stays_as_it_is() -> None:
    examples, surfaces = shown_by_appeal(1, 10)
    surfaces = surfaces.copy()
    surfaces[20:] = SURFACE_CODE["search"]
    made = correct(examples, surfaces, PLACE, "baseline")
    assert made.place_logits is not None
    np.testing.assert_allclose(made.place_logits[:20], np.log(np.tile(CHANCE, 5)), rtol=1e-6)
    assert (made.positions[:20] == 0).all()
    assert (made.place_logits[20:] == 0).all()
    np.testing.assert_array_equal(made.positions[20:], examples.positions[20:])
    assert made.gains.tobytes() == examples.gains.tobytes()
    weighed = correct(examples, surfaces, PLACE, "ips")
    assert weighed.gains[20:].tobytes() == examples.gains[20:].tobytes()
    assert weighed.gains[:20].tobytes() != examples.gains[:20].tobytes()
    assert correct_to_judge(examples, surfaces, PLACE, "ips") is examples
    assert correct(examples, surfaces, PLACE, None) is examples


@pytest.mark.parametrize("ranker", [CatBoostExpected, CatBoostActions, Linear])
def test_a_ranker_that_takes_no_weights_says_what_it_takes(ranker: type[Ranker]) -> None:
    takes = "none" if ranker is Linear else '"baseline"'
    with pytest.raises(ConfigError, match=f'takes no "ips"; it takes {takes}'):
        check_correction(ranker, "ips")
    check_correction(ranker, None)


def test_a_log_that_does_not_tell_is_refused() -> None:
    with pytest.raises(InputError, match='bias = "ips" wants to know where people look'):
        examined(MemoryLog(), "ips", 0)
    assert examined(MemoryLog(), None, 0) == {}


def test_what_was_found_stands_in_the_metrics() -> None:
    assert told(PLACE) == {
        "examination.home.1": {
            "clicks": 10.0, "compared": 5.0,
            "chance_1": 1.0, "chance_2": 0.5, "chance_3": 0.25, "chance_4": 0.1,
        }
    }  # fmt: skip
