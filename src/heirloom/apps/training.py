"""What a system learns from its whole log: encoders, retrievers and a ranker, as one bundle."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from heirloom import __version__
from heirloom.adapters import bundle as bundles
from heirloom.apps.encoding import LearnedEncoders, current_bundle, train_encoders
from heirloom.apps.learning import Learned, learn
from heirloom.apps.parts import empty_live, policy_of, recipe_of, view_of
from heirloom.apps.photos import PhotoStore
from heirloom.apps.registry import Registry, pick
from heirloom.apps.settings import Settings
from heirloom.apps.weighing import check_weights, guard_settings
from heirloom.core.bundle import DataWindow, ModelBundle
from heirloom.core.log import EventLog
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.encoders.pair import Encoders
from heirloom.pipelines.audit import Budget, auditor
from heirloom.pipelines.candidates import retrieve
from heirloom.pipelines.judge import evaluate
from heirloom.pipelines.leakage import Limits
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import Retrieve
from heirloom.pipelines.train import Progress, Recipe, Trained, held_out, train
from heirloom.pipelines.training_report import REPORT_FILE, Audit
from heirloom.ranking.fit_settings import checked_settings
from heirloom.ranking.ranker import Ranker
from heirloom.retrieval.retriever import Retriever


@dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned from a log.

    Attributes:
        trained: the ranker, its metrics, and what an audit found.
        encoders: of listings and people.
        retrievers: what each of them learned.
    """

    trained: Trained
    encoders: LearnedEncoders
    retrievers: Learned


class Training:
    """Learns from a system's log, and writes bundles into its folder.

    Args:
        settings: one TOML.
        registry: what its names stand for.
        log: whose whole is learned from.
        photos: of listings.
    """

    def __init__(
        self, settings: Settings, registry: Registry, log: EventLog, photos: PhotoStore
    ) -> None:
        self._settings, self._registry = settings, registry
        self._log, self._photos = log, photos

    def lesson(
        self, retrievers: Mapping[str, Retriever], *, ablate: bool, progress: Progress
    ) -> Lesson:
        """Encoders, retrievers and a ranker, learned from the whole log and looked into.

        Args:
            retrievers: those that serve, by name; which of them learn is asked of them.
            ablate: also fit again without each group of features, for the report.
            progress: told now and then.

        Raises:
            ConfigError: [training.ranker_settings] are not the ranker's.
            InputError: too little to learn from.
        """
        name = self._settings.policy.ranker
        ranker = pick("ranker", self._registry.rankers, name)
        check_weights(self._settings, ranker)
        recipe = recipe_of(self._settings, ranker)
        fixed = checked_settings(name, ranker, recipe.ranker_settings)
        encoders = train_encoders(
            self._log, self._settings.encoders, self._photos, progress=progress
        )
        recipe = dataclasses.replace(recipe, from_t=encoders.until_t, ranker_settings=fixed)
        learned = learn(retrievers, self._log, seed=recipe.seed, progress=progress)
        live = self.live(encoders.encoders, learned)
        trained = train(
            self._log, live, ranker, recipe,
            retrieve=self._retrieve(live),
            audit=self._audit(recipe, encoders.encoders, learned, ablate, progress),
            progress=progress,
        )  # fmt: skip
        return Lesson(trained, encoders, learned)

    def live(self, encoders: Encoders, learned: Learned, log: EventLog | None = None) -> Live:
        """The state that examples are made from: nothing folded yet, of this log or another."""
        retrievers = self._settings.system.impressions == "none"
        return empty_live(
            self._settings, self._registry, log or self._log,
            encoders=encoders, learned=learned, retrievers=retrievers,
        )  # fmt: skip

    def keep(self, lesson: Lesson) -> ModelBundle[Ranker]:
        """Write the bundle under its own id; the same bundle made again is the same folder."""
        trained, settings = lesson.trained, self._settings
        (from_offset, to_offset), (from_t, to_t) = trained.offsets, trained.times
        folder = settings.system.folder / "bundles"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
            bundle = bundles.write(
                Path(draft) / "bundle",
                trained.ranker,
                name=settings.policy.name,
                kind=settings.policy.ranker,
                data_window=DataWindow(
                    from_offset=from_offset, to_offset=to_offset, from_t=from_t, to_t=to_t
                ),
                metrics=trained.metrics,
                slices=trained.slices,
                negatives=trained.negatives,
                seed=settings.training.seed,
                code_version=__version__,
                golden=trained.golden,
                encoders=lesson.encoders.encoders,
                beside=lesson.encoders.modalities.save,
                retrievers=lesson.retrievers,
                settings={**_fitted_with(recipe_of(settings)), **guard_settings(settings)},
                documents={REPORT_FILE: trained.report.encode()} if trained.report else {},
            )
            if not (folder / bundle.bundle_id).exists():
                (Path(draft) / "bundle").rename(folder / bundle.bundle_id)
        return bundle

    def evaluated(
        self,
        ranker: Ranker,
        weights: Mapping[str, Mapping[str, float]],
        encoders: Encoders,
        learned: Learned,
        progress: Progress,
    ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Metrics of a published ranker on the latest slates of the log: all, and by surface."""
        live = self.live(encoders, learned)
        test, surfaces = held_out(
            self._log,
            live,
            dataclasses.replace(recipe_of(self._settings), from_t=self._learned_from_t()),
            retrieve=self._retrieve(live),
            progress=progress,
        )
        return evaluate(ranker, test, surfaces, weights)

    def _audit(
        self,
        recipe: Recipe,
        encoders: Encoders,
        learned: Learned,
        ablate: bool,
        progress: Progress,
    ) -> Audit:
        """What looks into a training, as [training.audit] says."""

        def empty(log: EventLog) -> tuple[Live, Retrieve | None]:
            live = self.live(encoders, learned, log)
            return live, self._retrieve(live)

        budget, limits = audit_of(self._settings)
        return auditor(
            self._log, empty, recipe,
            groups=view_of(self._settings, self._registry).columns_of_group,
            budget=budget, limits=limits, ablate=ablate,
            impressions=self._settings.system.impressions != "none", progress=progress,
        )  # fmt: skip

    def _retrieve(self, live: Live) -> Callable[[Request], Candidates] | None:
        """What would have been ranked, for a log that does not say what was shown."""
        if self._settings.system.impressions != "none":
            return None
        policy = policy_of(self._settings, None, "")
        return lambda request: retrieve(request, policy, live)

    def _learned_from_t(self) -> int:
        current = current_bundle(self._settings.system.folder)
        return bundles.manifest_of(current).data_window.from_t if current else 0


def audit_of(settings: Settings) -> tuple[Budget, Limits]:
    """What a training's audit may cost, and what it takes for too good, as the TOML says."""
    part = settings.training.audit
    budget = Budget(rows=part.rows, slates=part.slates, entries=part.entries, actions=part.actions)
    return budget, Limits(allowed=part.allowed)


def _fitted_with(recipe: Recipe) -> dict[str, str | int | float | bool]:
    """What of a recipe stands in a bundle's manifest."""
    gains = {f"gain_{kind}": gain for kind, gain in recipe.gains.items()}
    return gains | {
        f"ranker_{name}": value if isinstance(value, str | int | float) else str(list(value))
        for name, value in recipe.ranker_settings.items()
    }
