"""OptunaStudy: a `Study` by Optuna, kept in a journal that survives kill -9.

Optuna's samplers draw from a stream that dies with the process. Here each trial has a sampler of
its own, seeded by the study's seed and the trial's number, so what is proposed follows from these
and the trials before, and a run that was cut short goes on as if it had not been.
"""

import fcntl
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from heirloom.core.errors import ConfigError, StoreError
from heirloom.ranking.space import Dimension, Space
from heirloom.ranking.study import Trial

JOURNAL_FILE = "journal.log"
LOCK_FILE = "tuning.lock"
STARTUP = 8
"""Trials drawn evenly before the sampler learns from what came of them."""
MIN_TOLD = 8
"""Fewer trials judged on all folds say nothing of what matters."""
MIN_COMPARED = 4
"""Trials judged on all folds before one is pruned."""
_TRIAL = "heirloom"
"""Under this name a trial's end is kept; one without was interrupted."""


class OptunaStudy:
    """One study in a folder of its own.

    Tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter
    optimization", NIPS 2011) after STARTUP trials; a trial is hopeless when the mean of its folds
    so far is below the median of what others had after as many (Golovin et al., "Google Vizier",
    KDD 2017, section 3.5.1). That is sound because all trials have the same folds in the same
    order.

    Args:
        folder: where the journal lies, or will.
        space: what is tried.
        defaults: trial 0.
        seed: same seed, same trials.

    Raises:
        ConfigError: Optuna is not installed.
        StoreError: another process has the study, or the journal is damaged.
    """

    def __init__(self, folder: Path, space: Space, defaults: dict[str, Any], *, seed: int) -> None:
        self._optuna = _optuna()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / LOCK_FILE).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise StoreError(
                f"{folder}: another process tunes here; wait for it, or give another --seed"
            ) from error
        self._space, self._defaults, self._seed = dict(space), defaults, seed
        self._asked: Any = None
        try:
            self._study = self._opened(folder / JOURNAL_FILE)
            for trial in self._study.trials:
                if trial.state == self._optuna.trial.TrialState.RUNNING:
                    self._end(trial.number, trial.user_attrs.get(_TRIAL))
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    def ask(self) -> tuple[int, dict[str, Any]]:
        """The next trial's number and settings; the first are the defaults."""
        if self._asked is not None:
            self._end(self._asked.number, None)
        optuna, number = self._optuna, len(self.trials())
        seed = int(np.random.default_rng([self._seed, number]).integers(2**31))
        self._study.sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP, constant_liar=False
        )
        waiting = optuna.trial.TrialState.WAITING
        if number == 0 and not any(trial.state == waiting for trial in self._study.trials):
            self._study.enqueue_trial({name: self._defaults[name] for name in self._space})
        self._asked = self._study.ask(
            {name: _distribution(optuna, each) for name, each in self._space.items()}
        )
        return number, {name: self._asked.params[name] for name in self._space}

    def hopeless(self, folds: Sequence[float]) -> bool:
        """Whether others had more after as many folds, by the median."""
        others = [
            float(np.mean(trial.folds[: len(folds)]))
            for trial in self.trials()
            if trial.state == "complete"
        ]
        return len(others) >= MIN_COMPARED and float(np.mean(folds)) < float(np.median(others))

    def tell(self, trial: Trial) -> None:
        """Keep the end of the trial asked for last."""
        for step, value in enumerate(trial.folds):
            self._asked.report(value, step)
        # First what came of it, then that it ended: a kill between the two loses neither.
        self._asked.set_user_attr(_TRIAL, msgspec.to_builtins(trial))
        self._end(self._asked.number, msgspec.to_builtins(trial))
        self._asked = None

    def trials(self) -> list[Trial]:
        """All that came to an end, by number."""
        return [
            msgspec.convert(trial.user_attrs[_TRIAL], Trial)
            for trial in self._study.trials
            if trial.state.is_finished() and _TRIAL in trial.user_attrs
        ]

    def interrupted(self) -> int:
        """How many were asked for and never came to an end."""
        return sum(
            trial.state.is_finished() and _TRIAL not in trial.user_attrs
            for trial in self._study.trials
        )

    def importance(self) -> dict[str, float]:
        """Shares of 1, by PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023)."""
        whole = [trial for trial in self.trials() if trial.state == "complete"]
        if len(whole) < MIN_TOLD or len({trial.value for trial in whole}) < 2:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def _end(self, number: int, kept: dict[str, Any] | None) -> None:
        """Tell Optuna how a trial ended; one without an end that was kept was interrupted."""
        states = self._optuna.trial.TrialState
        trial = msgspec.convert(kept, Trial) if kept else None
        if trial is not None and trial.state == "complete":
            self._study.tell(number, trial.value)
        elif trial is not None and trial.state == "pruned":
            self._study.tell(number, state=states.PRUNED)
        else:
            self._study.tell(number, state=states.FAIL)

    def _opened(self, journal: Path) -> Any:
        storages = self._optuna.storages
        _mend(journal)
        try:
            backend = storages.journal.JournalFileBackend(str(journal))
            return self._optuna.create_study(
                storage=storages.JournalStorage(backend), study_name="heirloom",
                direction="maximize", load_if_exists=True, pruner=self._optuna.pruners.NopPruner(),
            )  # fmt: skip
        except (ValueError, KeyError, OSError) as error:
            raise StoreError(
                f"{journal}: the study cannot be read: {error}; move its folder away to begin anew"
            ) from error


def _mend(journal: Path) -> None:
    """Take away a last line that a kill cut short, and the lock of the process that wrote it.

    Nobody else writes: `LOCK_FILE` is ours. Appended to, a torn line would spoil the journal.
    """
    for left in journal.parent.glob(f"{journal.name}.lock*"):
        left.unlink()
    if journal.exists():
        whole = journal.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with journal.open("r+b") as file:
                file.truncate(end)


def _distribution(optuna: ModuleType, dimension: Dimension) -> Any:
    of = optuna.distributions
    if dimension.kind == "choice":
        return of.CategoricalDistribution(dimension.choices)
    if dimension.kind == "int":
        return of.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return of.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "tune", ["Optuna is not installed: pip install 'heirloom[tune]'"]
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    module: ModuleType = optuna
    return module
