"""Tuning: folds that look back, a test part that no trial reads, budgets, and an honest end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.split import forward_folds, learn_stop_test
from heirloom.pipelines.tune import Budget, Task, best_of, gain_over_defaults, tune
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples
from heirloom.ranking.study import Trial
from heirloom.testing.ranking import examples


class Listed:
    """A study of settings that are known beforehand."""

    def __init__(self, proposals: Sequence[dict[str, Any]], prune: float = -1.0) -> None:
        self.proposals, self.prune, self.told = proposals, prune, list[Trial]()

    def ask(self) -> tuple[int, dict[str, Any]]:
        return len(self.told), self.proposals[len(self.told) % len(self.proposals)]

    def hopeless(self, folds: Sequence[float]) -> bool:
        return float(np.mean(folds)) < self.prune

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)

    def trials(self) -> list[Trial]:
        return list(self.told)

    def interrupted(self) -> int:
        return 0

    def importance(self) -> dict[str, float]:
        return {}


class Sloped:
    """One setting: the weight of the first column. It remembers what it has been shown."""

    actions = ("gain",)
    seen: list[Examples] = []  # noqa: RUF012

    def __init__(self, columns: tuple[str, ...], slope: float) -> None:
        self.columns, self.slope = columns, slope

    @classmethod
    def fit(cls, train: Examples, validation: Examples, *, seed: int, slope: float = 0.0):
        if slope > 100:
            raise InputError("slope: too steep")
        cls.seen += [train, validation]
        return cls(train.columns, slope)

    def score(self, batch: FeatureBatch) -> np.ndarray:
        return (self.slope * np.nan_to_num(batch.values[:, :1])).astype(np.float32)


def task(ranker: Any = Sloped, on: Examples | None = None, **more: Any) -> Task:
    on = examples(3, groups=400) if on is None else on
    surfaces = np.ones(len(on.t), np.int8)
    return Task(ranker, {}, on, validation=0.1, test=0.2, surfaces=surfaces, **more)


PROPOSALS = [{"slope": 0.0}, {"slope": 1.0}, {"slope": -1.0}]


def test_the_best_is_found_and_its_gain_is_told() -> None:
    study = Listed(PROPOSALS)
    trials = tune(study, task(), Budget(3))
    assert [trial.state for trial in trials] == ["complete"] * 3
    assert all(len(trial.folds) == 3 for trial in trials)
    assert trials[1].value == pytest.approx(np.mean(trials[1].folds))
    best = best_of(trials)
    assert best.number == 1
    gain = gain_over_defaults(task(), trials[0].settings, best.settings)
    assert gain.better
    assert gain.low < gain.mean < gain.high
    assert gain.mean == pytest.approx(gain.tuned - gain.defaults)
    same = gain_over_defaults(task(), trials[0].settings, trials[0].settings)
    assert (same.mean, same.low, same.high, same.better) == (0.0, 0.0, 0.0, False)
    worse = gain_over_defaults(task(), PROPOSALS[1], PROPOSALS[2])
    assert worse.high < 0


def test_no_trial_reads_the_test_part() -> None:
    on = examples(3, groups=400)
    test = learn_stop_test(on.t, 0.1, 0.2)[2]
    spoiled = on.values.copy()
    spoiled[test] = np.nan
    gains = on.gains.copy()
    gains[test] = 1e6
    other = replace(on, values=spoiled, gains=gains)
    Sloped.seen.clear()
    found = [tune(Listed(PROPOSALS), task(on=each), Budget(3)) for each in (on, other)]
    assert [t.folds for t in found[0]] == [t.folds for t in found[1]]
    assert max(int(each.t.max()) for each in Sloped.seen) < on.t[test].min()
    # The end does read it.
    ends = [gain_over_defaults(task(on=each), *PROPOSALS[:2]) for each in (on, other)]
    assert ends[0] != ends[1]


def test_equal_scores_do_not_take_the_order_of_rows() -> None:
    # What was acted on stands first, as among negatives drawn; a ranker without a slope says
    # nothing, and must not be told right for it.
    on = examples(3, groups=400)
    order = np.lexsort((-on.gains, on.groups))
    first = replace(on, values=on.values[order], gains=on.gains[order])
    (flat, *_) = tune(Listed(PROPOSALS), task(on=first), Budget(1))
    (mixed, *_) = tune(Listed(PROPOSALS), task(on=on), Budget(1))
    assert flat.value is not None
    assert mixed.value is not None
    assert abs(flat.value - mixed.value) < 0.1
    assert flat.value < 0.8


@given(
    t=st.lists(st.integers(0, 60), min_size=30, max_size=120),
    folds=st.integers(1, 4),
    until=st.integers(1, 70),
)
def test_folds_only_look_back(t: list[int], folds: int, until: int) -> None:
    times = np.sort(np.array(t, np.int64))
    try:
        found = forward_folds(times, folds, until=until)
    except InputError:  # too few times for so many folds
        return
    for fold in found:
        assert times[fold.learn].max() < times[fold.stop].min()
        assert times[fold.stop].max() < times[fold.judge].min()
        assert times[fold.judge].max() < until
        for rows in (fold.learn, fold.stop, fold.judge):  # no time is torn
            assert np.isin(times, times[rows]).sum() == len(rows)
    judged = np.concatenate([fold.judge for fold in found])
    assert len(np.unique(judged)) == len(judged)


def test_budgets() -> None:
    clock = iter(range(1_000))
    trials = tune(
        Listed(PROPOSALS), task(), Budget(trials=None, seconds=3.5), seconds=lambda: next(clock)
    )
    assert [trial.seconds for trial in trials] == [1] * 4  # half a second was left for the fourth
    study = Listed(PROPOSALS)
    tune(study, task(), Budget(2))
    assert len(tune(study, task(), Budget(3, 1e9))) == 3
    assert len(tune(study, task(), Budget(3))) == 3
    for wrong in ((None, None), (0, None), (3, -1.0)):
        with pytest.raises(InputError, match="wanted a number above 0"):
            Budget(*wrong)


def test_what_cannot_win_is_stopped_and_what_cannot_be_fitted_is_kept() -> None:
    study = Listed([{"slope": 0.0}, {"slope": 200.0}, {"slope": -1.0}, {"slope": 1.0}], prune=0.45)
    trials = tune(study, task(), Budget(4))
    assert [trial.state for trial in trials[1:]] == ["failed", "pruned", "complete"]
    assert trials[1].reason == "slope: too steep"
    assert trials[1].value is None
    assert len(trials[2].folds) == 1
    assert best_of(trials).number == 3
    with pytest.raises(InputError, match="none of 2 trials"):
        best_of(trials[1:3])
    with pytest.raises(InputError, match="the defaults cannot be fitted: slope: too steep"):
        tune(Listed([{"slope": 200.0}]), task(), Budget(1))


def test_too_few_slates_for_the_folds() -> None:
    with pytest.raises(InputError, match="fewer folds, or collect more"):
        tune(Listed(PROPOSALS), task(on=examples(3, groups=8), folds=10), Budget(1))


def test_a_real_ranker_by_its_settings() -> None:
    study = Listed([{"ridges": (1.0,)}, {"ridges": (1e12,)}])
    trials = tune(study, task(Linear), Budget(2))
    assert trials[0].value is not None
    assert trials[1].value is not None
    assert trials[0].value != trials[1].value
    again = tune(Listed(study.proposals), task(Linear), Budget(2))
    assert [trial.folds for trial in again] == [trial.folds for trial in trials]
