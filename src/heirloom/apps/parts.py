"""The parts that a system is put together from, as its settings name them."""

from pathlib import Path

from heirloom.adapters.lake import ParquetLake
from heirloom.adapters.sqlite import SqliteLog
from heirloom.apps.encoding import current_bundle, encoders_in
from heirloom.apps.learning import Learned, learned_in, teach
from heirloom.apps.registry import Registry, pick
from heirloom.apps.settings import Settings
from heirloom.apps.weighing import Weights, weights_in
from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.errors import NotFoundError
from heirloom.core.log import EventLog
from heirloom.core.money import digits
from heirloom.encoders.pair import Encoders
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.train import Recipe
from heirloom.ranking.actions import matured
from heirloom.ranking.gains import GAINS
from heirloom.ranking.guard import Guard
from heirloom.ranking.ranker import Probabilities, Ranker
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.lexical import Synonyms
from heirloom.slates.exposure import Exposure
from heirloom.slates.frequency import Frequency


def policy_of(
    settings: Settings, ranker: Ranker | None, bundle_id: str, weights: Weights | None = None
) -> Policy:
    """What decides a slate, as the TOML says, with a bundle's ranker or none."""
    part = settings.policy
    return Policy(
        name=part.name,
        quotas={surface.value: quota for surface, quota in part.quotas.items()},
        ranker=ranker,
        bundle=bundle_id,
        action_weights=weights or {},
        pool=part.pool,
        pools={str(surface): pool for surface, pool in part.pools.items()},
        seller_cap=part.seller_cap,
        retrieval_weight=part.retrieval_weight,
        fusion=part.fusion,
        rules=part.slate.rules,
        surfaces=part.slate.surfaces,
    )


def open_log(folder: Path, *, read_only: bool = False) -> SqliteLog:
    """The event log in a system's folder; readers may stand beside the one writer.

    Raises:
        NotFoundError: there is none to read.
        StoreError: it is damaged, or has a writer already.
    """
    if read_only and not has_log(folder):
        raise NotFoundError(
            f"there is no log in {folder}; give the folder of a system that has one with "
            "--folder, or `heirloom ingest` into this one first"
        )
    return SqliteLog(
        folder / "events.sqlite", lake=ParquetLake(folder / "lake"), read_only=read_only
    )


def has_log(folder: Path) -> bool:
    """Whether a system's folder holds an event log."""
    return (folder / "events.sqlite").exists()


def recipe_of(settings: Settings, ranker: type[Ranker] | None = None) -> Recipe:
    """How a system makes examples and fits, as its TOML says.

    A ranker of probabilities learns from every slate, action by action.
    """
    training, policy = settings.training, settings.policy
    by_action = ranker is not None and issubclass(ranker, Probabilities)
    return Recipe(
        actions=matured(training.matures_hours) if by_action else (),
        weights=weights_in(settings),
        guard=None if policy.guard is None else Guard(**policy.guard.model_dump()),
        bias=None if training.bias == "none" else training.bias,
        gate_most=training.gate_most,
        gains={**GAINS, **{kind.value: gain for kind, gain in training.gains.items()}},
        maturity_ms=int(training.maturity_hours * 3_600_000),
        max_slates=training.max_slates,
        validation=training.validation,
        test=training.test,
        gate=training.gate,
        seed=training.seed,
        negatives=training.negatives,
        among=training.among,
        ranker_settings=training.ranker_settings,
    )


def view_of(settings: Settings, registry: Registry, name: str | None = None) -> FeatureView:
    """The feature view of this name; without one, the view that the settings name."""
    make = pick("view", registry.views, name or settings.policy.view)
    view: FeatureView = make(settings.system.declared)
    return view


def empty_live(
    settings: Settings,
    registry: Registry,
    log: EventLog,
    *,
    encoders: Encoders | None = None,
    learned: Learned | None = None,
    retrievers: bool = True,
) -> Live:
    """A state that has folded nothing yet; it knows a string from the entry on that brought it.

    Without encoders given, its vectors are those of the bundle that was published last; so it is
    with what retrievers have learned.
    """
    encoders = encoders or encoders_in(current_bundle(settings.system.folder), settings)
    catalogue = Catalogue(
        log.vocabulary().rewound(), retire_after_ms=settings.system.retire_after_days * DAY_MS
    )
    rules = settings.policy.slate.rules
    live = Live(
        catalogue=catalogue,
        view=view_of(settings, registry),
        content=ContentIndex(encoders.listings),
        person_encoder=encoders.people,
        declared=settings.system.declared,
        synonyms=Synonyms(settings.search.both, settings.search.one_way),
        exposure=Exposure(rules.shares) if rules.shares else None,
        frequency=Frequency(settings.policy.slate.seen_pairs) if rules.seen_cap else None,
        minor_per_major=10 ** digits(settings.system.currency),
    )
    if retrievers:
        named = {name for quota in settings.policy.quotas.values() for name in quota}
        make = registry.retrievers
        live.add({name: pick("retriever", make, name)(live) for name in sorted(named)})
        if learned is None:
            learned = learned_in(current_bundle(settings.system.folder))
        teach(live.retrievers, learned)
    return live
