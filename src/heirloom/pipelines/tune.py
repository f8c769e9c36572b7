"""Tuning: settings of a ranker, tried on time folds of the examples that training learns from.

Each trial is fitted on folds that only look back (`evaluation.split.forward_folds`) and judged by
NDCG@10 of the slates that come next. The held-out test slates, those of `train`, are in no fold;
they are read once, at the end, to say what the settings found gain over the defaults.

Which settings are tried is for a `Study` to say: it proposes, keeps what came of it, and stops what
cannot win. It is told in the order of trials, so the same seed gives the same trials.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import HeirloomError, InputError
from heirloom.evaluation.intervals import bootstrap
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.evaluation.split import forward_folds, learn_stop_test
from heirloom.pipelines.training_report import (
    Orders,
    Prepare,
    as_they_are,
    by_first_score,
)
from heirloom.ranking.examples import shuffled_within, take
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.ranking.study import Study, Trial

Settings = Mapping[str, Any]
Progress = Callable[[str, int, int], None]
K = 10
SEEDS = 3
"""Fits of the defaults, and of the best, of which the final report takes the mean."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop: whichever comes first. What an earlier run used counts.

    Attributes:
        trials: so many that came to an end, the defaults among them.
        seconds: of wall time in trials; the trial that is running then is finished.
    """

    trials: int | None = 30
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = (self.trials, self.seconds)
        if given == (None, None) or any(each is not None and each <= 0 for each in given):
            raise InputError(
                f"tune: a budget of {self.trials} trials and {self.seconds} seconds; wanted a "
                "number above 0 of either, or both"
            )

    def used(self, trials: Sequence[Trial]) -> bool:
        """Whether nothing is left."""
        enough = self.trials is not None and len(trials) >= self.trials
        spent = sum(trial.seconds for trial in trials)
        return enough or (self.seconds is not None and bool(trials) and spent >= self.seconds)


@dataclass(frozen=True, slots=True)
class Task:
    """What is tuned, and on what.

    Attributes:
        ranker: the class.
        fixed: settings that are not tuned.
        examples: all of them; the test part is not touched by a trial.
        validation, test: the shares that `train` holds out.
        seed: of each fit.
        folds: how many.
        surfaces: [rows] int8, surface codes of the examples.
        orders: what the ranker's scores order by.
        prepare: what is done with examples before a fit.
    """

    ranker: type[Ranker]
    fixed: Settings
    examples: Examples
    validation: float
    test: float
    surfaces: NDArray[np.int8]
    seed: int = 0
    folds: int = 3
    orders: Orders = by_first_score
    prepare: Prepare = as_they_are

    def part(self, rows: NDArray[np.intp]) -> Examples:
        """What is fitted on of these rows."""
        return self.prepare(take(self.examples, rows), self.surfaces[rows])

    def judge(self, rows: NDArray[np.intp]) -> "_Judge":
        """What judges by these rows of the examples."""
        return _Judge(take(self.examples, rows), self.surfaces[rows], self.orders)

    def fit(self, settings: Settings, learn: Examples, stop: Examples, seed: int) -> Ranker:
        """A ranker with these settings beside the fixed ones."""
        fit: Callable[..., Ranker] = self.ranker.fit
        return fit(learn, stop, seed=seed, **{**self.fixed, **settings})


def tune(
    study: Study,
    task: Task,
    budget: Budget,
    *,
    progress: Progress = lambda *_: None,
    seconds: Callable[[], float] = time.monotonic,
) -> list[Trial]:
    """Try settings until the budget is used; gives all trials, earlier runs' too.

    Raises:
        InputError: there are too few slates for the folds, or the defaults cannot be fitted.
    """
    parts = _folds(task)
    trials = study.trials()
    while not budget.used(trials):
        progress("tune", len(trials), budget.trials or 0)
        number, settings = study.ask()
        began, values, reason = seconds(), list[float](), ""
        pruned = False
        try:
            for learn, stop, judge in parts:
                values.append(float(judge(task.fit(settings, learn, stop, task.seed)).mean()))
                pruned = len(values) < len(parts) and study.hopeless(values)
                if pruned:
                    break
        except HeirloomError as error:
            if number == 0:
                raise InputError(f"tune: the defaults cannot be fitted: {error}") from error
            reason = str(error)
        trial = Trial(
            number=number,
            settings=settings,
            state="failed" if reason else "pruned" if pruned else "complete",
            value=None if reason else float(np.mean(values)),
            folds=tuple(values),
            seconds=seconds() - began,
            reason=reason,
        )
        study.tell(trial)
        trials = study.trials()
    progress("tune", len(trials), budget.trials or len(trials))
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """The best that was judged on all folds; of equal ones the first, so the defaults win a tie.

    Raises:
        InputError: none was.
    """
    whole = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if not whole:
        raise InputError(f"tune: none of {len(trials)} trials was judged on all folds; try more")
    return max(whole, key=lambda trial: (trial.value or 0.0, -trial.number))


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings found gain over the defaults, on slates that no trial has seen.

    Attributes:
        defaults, tuned: NDCG@10, mean of SEEDS fits of each.
        mean, low, high: of the paired difference, 95 % bootstrap over slates.
        slates: of the test part, with something gained.
        better: whether the interval lies above 0.
    """

    defaults: float
    tuned: float
    mean: float
    low: float
    high: float
    slates: int

    @property
    def better(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


def gain_over_defaults(
    task: Task, defaults: Settings, best: Settings, *, progress: Progress = lambda *_: None
) -> Gain:
    """Fit both as `train` does, on all before the test part, and compare them slate by slate.

    The only function here that reads the test part.
    """
    rows = learn_stop_test(task.examples.t, task.validation, task.test)
    learn, stop = (task.part(part) for part in rows[:2])
    test = task.judge(rows[2])

    def measured(settings: Settings, done: int) -> NDArray[np.float64]:
        each = []
        for i in range(SEEDS):
            progress("test", done + i, 2 * SEEDS)
            each.append(test(task.fit(settings, learn, stop, task.seed + i)))
        mean: NDArray[np.float64] = np.mean(each, axis=0)
        return mean

    theirs = measured(defaults, 0)
    ours = theirs if dict(best) == dict(defaults) else measured(best, SEEDS)
    progress("test", 2 * SEEDS, 2 * SEEDS)
    paired = bootstrap(ours - theirs, np.arange(len(ours)), seed=task.seed, draws=2_000)
    return Gain(
        defaults=float(theirs.mean()), tuned=float(ours.mean()), mean=paired.mean, low=paired.low,
        high=paired.high, slates=len(ours),
    )  # fmt: skip


def _folds(task: Task) -> list[tuple[Examples, Examples, "_Judge"]]:
    """Examples to learn from and to stop by, and what judges, of each fold; no test rows."""
    examples = task.examples
    test = learn_stop_test(examples.t, task.validation, task.test)[2]
    before = np.delete(np.arange(len(examples.t)), test)
    t = examples.t[before]
    return [
        (
            task.part(before[fold.learn]),
            task.part(before[fold.stop]),
            task.judge(before[fold.judge]),
        )
        for fold in forward_folds(t, task.folds, until=int(t.max(initial=0)) + 1)
    ]


@dataclass(frozen=True, slots=True)
class _Judge:
    """NDCG@K of slates that a ranker has not learned from."""

    examples: Examples
    surfaces: NDArray[np.int8]
    orders: Orders

    def __call__(self, ranker: Ranker) -> NDArray[np.float64]:
        """[slates] float64, of those in which something was gained.

        Equal scores stand in a random order: that of the rows may say what was acted on.
        """
        examples = self.examples
        scores = self.orders(ranker, examples, self.surfaces)
        rows = shuffled_within(examples.groups, np.random.default_rng(0))
        found = grouped_ndcg(scores[rows], examples.gains[rows], examples.groups, K)
        if not len(found):
            raise InputError(f"tune: nothing was gained on {len(rows)} rows to judge by")
        return found
