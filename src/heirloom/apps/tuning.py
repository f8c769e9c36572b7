"""`heirloom tune`: a system's ranker, tuned on its own log, beside a server that runs or not."""

import hashlib
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom import __version__
from heirloom.adapters import bundle as bundles
from heirloom.adapters import example_files
from heirloom.adapters.example_files import Replay
from heirloom.adapters.optuna_study import OptunaStudy
from heirloom.apps.encoding import current_bundle
from heirloom.apps.parts import empty_live, open_log, policy_of, recipe_of
from heirloom.apps.registry import Registry, pick
from heirloom.apps.settings import Settings
from heirloom.apps.weighing import check_weights
from heirloom.core.errors import InputError
from heirloom.core.log import EventLog
from heirloom.encoders.pair import HASHED
from heirloom.pipelines import recovery
from heirloom.pipelines.as_of import CutOff
from heirloom.pipelines.candidates import retrieve
from heirloom.pipelines.correct import correct, examined
from heirloom.pipelines.judge import orders
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import Retrieve
from heirloom.pipelines.train import Progress, Recipe, examples_of_log
from heirloom.pipelines.tune import Budget, Gain, Task, best_of, gain_over_defaults, tune
from heirloom.ranking.examples import starts_of
from heirloom.ranking.fit_settings import checked_settings, settings_of
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.ranking.space import SPACES, Dimension, checked_space
from heirloom.ranking.study import Trial

PLAN_FILE, REPORT_JSON = "plan.json", "report.json"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a study tunes, by name; another plan is another study.

    Attributes:
        ranker: its name.
        space: what is tried.
        fixed: settings that are not tuned, from [training.ranker_settings].
        seed: of the study and of each fit.
        folds: how many.
        replay: what the examples rest on.
        code_version: of this package.
    """

    ranker: str
    space: dict[str, Dimension]
    fixed: dict[str, Any]
    seed: int
    folds: int
    replay: Replay
    code_version: str = __version__

    @property
    def name(self) -> str:
        """Of the study's folder: it does not depend on where the log ends."""
        still = msgspec.structs.replace(self.replay, offset=0, mark="")
        told = msgspec.json.encode(msgspec.structs.replace(self, replay=still), order="sorted")
        return f"{self.ranker}-{hashlib.blake2b(told, digest_size=6).hexdigest()}"


class TuningReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a study came to.

    Attributes:
        plan: what was tuned.
        log_end: where the log ends now; the examples are of `plan.replay.offset`.
        slates, rows: of the examples, the test part included.
        budget: trials and seconds given; None for no limit.
        seconds: of wall time in trials, over all runs.
        interrupted: trials that a kill cut short; they were made again.
        defaults, best: settings of trial 0, and of the best; without the fixed ones.
        best_trial: its number.
        trials: all that came to an end.
        importance: share of each setting, by PED-ANOVA over the trials judged on all folds.
        gain: on the test part.
        test_read: how often this study has read the test part, this time included.
    """

    plan: Plan
    log_end: int
    slates: int
    rows: int
    budget: dict[str, float | None]
    seconds: float
    interrupted: int
    defaults: dict[str, Any]
    best: dict[str, Any]
    best_trial: int
    trials: list[Trial]
    importance: dict[str, float]
    gain: Gain
    test_read: int

    @property
    def verdict(self) -> str:
        """One honest line."""
        gain = self.gain
        reached = (
            f"NDCG@10 {gain.tuned:.4f} against {gain.defaults:.4f}, difference {gain.mean:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}] on {gain.slates} test slates"
        )
        if self.best_trial == 0:
            return (
                f"no better than the defaults: no trial was, on the folds; NDCG@10 {gain.tuned:.4f}"
            )
        if gain.better:
            return f"better than the defaults: {reached}"
        word = "worse than" if gain.high < 0 else "no better than"
        return f"{word} the defaults: {reached}"


def tune_system(
    settings: Settings,
    *,
    budget: Budget,
    seed: int = 0,
    folds: int = 3,
    fresh: bool = False,
    registry: Registry | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[TuningReport, Path]:
    """Tune, or go on tuning, and report; gives the study's folder, where the report lies.

    A study goes on with the examples that it began with, whatever the log has taken in since.

    Args:
        settings: of the system; its log is only read.
        budget: of the study, earlier runs included.
        seed: same seed, same trials.
        folds: of each trial.
        fresh: begin anew where the log ends now.
        registry: what names stand for; default: what is installed.
        progress: told now and then.

    Raises:
        ConfigError: Optuna is missing, or the space or settings are not the ranker's.
        InputError: too few slates, or the defaults cannot be fitted.
        NotFoundError: there is no log.
        StoreError: another process tunes the same, or a file is damaged.
    """
    registry = registry or Registry.installed()
    name = settings.policy.ranker
    ranker: type[Ranker] = pick("ranker", registry.rankers, name)
    space = checked_space(name, ranker, space_of(settings))
    given = checked_settings(name, ranker, settings.training.ranker_settings)
    fixed = {key: value for key, value in given.items() if key not in space}
    with open_log(settings.system.folder, read_only=True) as log:
        recipe = _recipe(settings, ranker)
        plan = Plan(
            ranker=name, space=space, fixed=fixed, seed=seed, folds=folds,
            replay=_replay(settings, registry, log, recipe),
        )  # fmt: skip
        plan, folder = _begun(settings.system.folder / "tuning", plan, fresh=fresh)
        defaults = {key: settings_of(ranker)[key] for key in space}
        study = OptunaStudy(folder, space, defaults, seed=seed)
        try:
            log_end, past = log.end(), CutOff(log, plan.replay.offset)
            check_weights(settings, ranker)
            examples, surfaces = _examples(settings, registry, log, recipe, plan.replay, progress)
            place = examined(past, recipe.bias, recipe.maturity_ms)

            def prepare(some: Examples, on: NDArray[np.int8]) -> Examples:
                return correct(some, on, place, recipe.bias)

            task = Task(
                ranker,
                fixed,
                examples,
                recipe.validation,
                recipe.test,
                seed=seed,
                folds=folds,
                surfaces=surfaces,
                orders=partial(orders, weights=recipe.weights),
                prepare=prepare,
            )
            trials = tune(study, task, budget, progress=progress)
            best = best_of(trials)
            gain = gain_over_defaults(task, defaults, best.settings, progress=progress)
            report = TuningReport(
                plan=plan,
                log_end=log_end,
                slates=len(starts_of(examples.groups)),
                rows=len(examples.t),
                budget={"trials": budget.trials, "seconds": budget.seconds},
                seconds=sum(trial.seconds for trial in trials),
                interrupted=study.interrupted(),
                defaults=defaults,
                best=best.settings,
                best_trial=best.number,
                trials=trials,
                importance=study.importance(),
                gain=gain,
                test_read=_read_before(folder) + 1,
            )
        finally:
            study.close()
    _write(folder / REPORT_JSON, msgspec.json.format(msgspec.json.encode(report), indent=1))
    return report, folder


def space_of(settings: Settings) -> dict[str, Dimension]:
    """What [tuning.space] says, or the ranker's own space where it says nothing."""
    if settings.tuning.space:
        return {key: Dimension(**part.model_dump()) for key, part in settings.tuning.space.items()}
    return dict(SPACES.get(settings.policy.ranker, {}))


def _begun(folder: Path, plan: Plan, *, fresh: bool) -> tuple[Plan, Path]:
    """The plan and folder of the latest study of this name; a new one where there is none."""
    kept = sorted(folder.glob(f"{plan.name}-*/{PLAN_FILE}"), key=_offset)
    if kept and not fresh:
        before = msgspec.json.decode(kept[-1].read_bytes(), type=Plan)
        return before, kept[-1].parent
    study = folder / f"{plan.name}-{plan.replay.offset}"
    study.mkdir(parents=True, exist_ok=True)
    _write(study / PLAN_FILE, msgspec.json.encode(plan))
    return plan, study


def _offset(plan: Path) -> int:
    return int(plan.parent.name.rpartition("-")[2])


def _read_before(folder: Path) -> int:
    report = folder / REPORT_JSON
    if not report.is_file():
        return 0
    return msgspec.json.decode(report.read_bytes(), type=TuningReport).test_read


def _write(file: Path, content: bytes) -> None:
    unfinished = file.with_suffix(".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(file)


def _recipe(settings: Settings, ranker: type[Ranker]) -> Recipe:
    """As training's, with the encoders of the bundle that was published last."""
    current = current_bundle(settings.system.folder)
    if settings.encoders.kind == "hashed":
        return recipe_of(settings, ranker)
    if current is None:
        raise InputError(
            f"tune: {settings.system.folder} has trained encoders and no bundle yet; run `heirloom "
            "train` once: examples rest on the vectors that it learns"
        )
    window = bundles.manifest_of(current).data_window
    return replace(recipe_of(settings, ranker), from_t=window.from_t)


def _replay(settings: Settings, registry: Registry, log: EventLog, recipe: Recipe) -> Replay:
    current = current_bundle(settings.system.folder)
    encoders = bundles.manifest_of(current).encoders if current else ""
    live = empty_live(settings, registry, log, retrievers=False)
    end = log.end()
    # What is fitted, judged or refused later decides nothing of the examples.
    later = {
        "validation", "test", "gate", "gate_most", "weights", "guard", "bias", "ranker_settings",
    }  # fmt: skip
    told = {key: repr(value) for key, value in asdict(recipe).items() if key not in later}
    told["gains"] = repr(dict(sorted(recipe.gains.items())))
    return Replay(
        offset=end,
        mark=recovery.mark_of(log, end),
        view=recovery.name_of(live.view),
        encoders=encoders or HASHED.model_id,
        recipe={**told, "impressions": settings.system.impressions},
    )


def _examples(
    settings: Settings,
    registry: Registry,
    log: EventLog,
    recipe: Recipe,
    replay: Replay,
    progress: Progress,
) -> tuple[Examples, NDArray[np.int8]]:
    """Read from the disk where they were kept; replayed and kept otherwise.

    Raises:
        InputError: they are gone, and the log is another.
    """
    folder = settings.system.folder / "tuning" / "examples"
    kept = example_files.read(folder, replay)
    if kept is None:
        past = CutOff(log, replay.offset)  # events may come in meanwhile, and may have since
        if recovery.mark_of(past, replay.offset) != replay.mark:
            raise InputError(
                f"tune: the study began on another log than that in {settings.system.folder}; "
                "begin anew with --fresh"
            )
        live, find = _live(settings, registry, past)
        kept = examples_of_log(past, live, recipe, retrieve=find, progress=progress)
        example_files.write(folder, replay, *kept)
    return kept


def _live(settings: Settings, registry: Registry, log: EventLog) -> tuple[Live, Retrieve | None]:
    """An empty state, and what retrieves where the log says nothing of what was shown."""
    shown = settings.system.impressions != "none"
    live = empty_live(settings, registry, log, retrievers=not shown)
    if shown:
        return live, None
    policy = policy_of(settings, None, "")
    return live, lambda request: retrieve(request, policy, live)
