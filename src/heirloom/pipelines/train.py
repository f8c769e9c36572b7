"""Training, from top to bottom: replay, label, split by time, fit, evaluate, gate, bundle.

The features of an example are looked up in a state folded from the log up to the impression
itself, by the code that serves, so a model never learns from what was not known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import LISTING_ROW, Facts
from heirloom.core.log import Entry, EventLog
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.split import learn_stop_test
from heirloom.pipelines.correct import check_correction, correct, correct_to_judge, examined, told
from heirloom.pipelines.judge import Weights, calibrations, evaluate, guards, orders, refusals
from heirloom.pipelines.labels import Done, done, label, slate_of
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import (
    Among,
    Retrieve,
    Rule,
    examples_of_actions,
    query_of_action,
)
from heirloom.pipelines.training_report import Audit, Fitted, Prepare, TrainingReport
from heirloom.ranking.actions import Action
from heirloom.ranking.examples import gained, take
from heirloom.ranking.gains import GAINS
from heirloom.ranking.guard import Guard
from heirloom.ranking.ranker import Correction, Examples, Ranker, Refits

Progress = Callable[[str, int, int], None]
"""(step, done, of): told now and then, for a bar."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make examples of a log and fit on them.

    Attributes:
        gains: worth of each action, by event kind.
        maturity_ms: impressions younger than this at the log's end wait for their labels.
        max_slates: at most so many slates are used, drawn evenly by a hash of their id.
        actions: those to foretell; slates on which nobody acted are then drawn as well, for a
            probability is of all that was shown. Empty: only slates that were acted on.
        unseen: to each slate so many live listings that it did not show are added, drawn evenly,
            as passed over. A log holds what its policy let through; without these a ranker never
            learns how bad the rest is.
        validation, test: shares of the examples' slates, the latest in time, held out for early
            stopping and for the metrics.
        from_t: ms; slates before it are not learned from: the encoders have learned from them.
        gate, gate_most: least and largest values of metrics, by name, those of a slice as
            `SLICE.METRIC`; a bundle beyond one is not published.
        weights: by surface, of a ranker's actions in the order.
        guard: an action that must keep its share of the first places; one that cannot refuses.
        bias: how the ranker is told of where a listing was shown, beyond the position column.
        seed: of sampling and fitting.
        negatives: how many to an action, for a log without impressions.
        among: what these are drawn from (`negatives.Rule`).
        ranker_settings: of the ranker's `fit`, by name; what is not named has its default.
    """

    gains: Mapping[str, float] = field(default_factory=lambda: GAINS)
    maturity_ms: int = 3_600_000
    max_slates: int = 40_000
    actions: Sequence[Action] = ()
    unseen: int = 12
    validation: float = 0.1
    test: float = 0.15
    from_t: int = 0
    gate: Mapping[str, float] = field(default_factory=dict)
    gate_most: Mapping[str, float] = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    guard: Guard | None = None
    bias: Correction | None = None
    seed: int = 0
    negatives: int = 40
    among: Among = "retrieved"
    ranker_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted ranker with what is known of it.

    `metrics` are on the held-out test part, by a ranker that did not learn from it; one that
    `Refits` was then fitted on all of it; `slices` the same by surface, with the calibration of
    each action, what a guard costs and where people look; `golden` a few rows whose scores a
    loader must reproduce; `refused` the gates that it failed; `report` what the audit found, if
    there was one.
    """

    ranker: Ranker
    metrics: dict[str, float]
    slices: dict[str, dict[str, float]]
    golden: FeatureBatch
    offsets: tuple[int, int]
    times: tuple[int, int]
    negatives: str
    refused: tuple[str, ...]
    report: TrainingReport | None = None


def train(
    log: EventLog,
    live: Live,
    ranker: type[Ranker],
    recipe: Recipe,
    *,
    retrieve: Retrieve | None = None,
    audit: Audit | None = None,
    progress: Progress = lambda *_: None,
) -> Trained:
    """A ranker fitted on the whole log.

    Args:
        log: events and impressions.
        live: an empty state; it is folded over the log and stands at its end afterwards.
        ranker: the class to fit.
        recipe: how.
        retrieve: for a log without impressions: what would have been ranked for a request.
        audit: looks into what was fitted, before it is fitted again on all of the log.
        progress: told now and then.

    Raises:
        InputError: if the log holds too few slates with an action to learn from.
        ValueError: if the state is not empty.
    """
    end = log.end()
    check_correction(ranker, recipe.bias)
    place = examined(log, recipe.bias, recipe.maturity_ms)
    examples, surfaces, negatives = _examples(log, live, recipe, retrieve, progress)
    slates = len(np.unique(examples.groups[gained(examples)]))
    if slates < MIN_SLATES:
        raise InputError(
            f"train: the log's {end} events hold {slates} slates on which somebody acted; wanted "
            f"at least {MIN_SLATES}. Collect more impressions and actions, or check that actions "
            "name their slate"
        )
    parts = _split(examples, recipe)
    learn, validation, test = (take(examples, rows) for rows in parts)
    of = surfaces[parts[2]]
    progress("fit", 0, 2)
    fit: Callable[..., Ranker] = ranker.fit
    fitted = fit(
        correct(learn, surfaces[parts[0]], place, recipe.bias),
        correct(validation, surfaces[parts[1]], place, recipe.bias),
        seed=recipe.seed,
        **recipe.ranker_settings,
    )
    progress("fit", 1, 2)
    metrics, slices = evaluate(fitted, test, of, recipe.weights)
    slices |= calibrations(fitted, correct_to_judge(test, of, place, recipe.bias), of)
    kept, refused = guards(fitted, test, of, recipe.weights, recipe.guard)
    slices |= kept | told(place)

    def prepare(some: Examples, on: NDArray[np.int8]) -> Examples:
        return correct(some, on, place, recipe.bias)

    seen = _to_audit(ranker, fitted, examples, surfaces, parts, recipe, prepare)
    report = audit(seen) if audit else None
    if isinstance(fitted, Refits):
        whole = correct(examples, surfaces, place, recipe.bias)
        fitted = fitted.refit(whole, seed=recipe.seed)
    progress("fit", 2, 2)
    return Trained(
        ranker=fitted,
        metrics=metrics,
        slices=slices,
        golden=FeatureBatch(test.values[:GOLDEN_ROWS], test.columns, end),
        offsets=(0, end),
        times=(int(examples.t.min()), int(examples.t.max())),
        negatives=negatives,
        refused=(
            *refused,
            *refusals(metrics, slices, recipe.gate, recipe.gate_most),
            *(report.refused if report else ()),
        ),
        report=report,
    )


def _to_audit(
    kind: type[Ranker],
    fitted: Ranker,
    examples: Examples,
    surfaces: NDArray[np.int8],
    parts: tuple[NDArray[np.intp], ...],
    recipe: Recipe,
    prepare: Prepare,
) -> Fitted:
    learn, validation, test = parts
    return Fitted(
        kind=kind, settings=recipe.ranker_settings, ranker=fitted, examples=examples,
        surfaces=surfaces, learn=learn, validation=validation, test=test, gains=recipe.gains,
        seed=recipe.seed, orders=partial(orders, weights=recipe.weights), prepare=prepare,
    )  # fmt: skip


def held_out(
    log: EventLog,
    live: Live,
    recipe: Recipe,
    *,
    retrieve: Retrieve | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[Examples, NDArray[np.int8]]:
    """The latest part of the log's examples, as `train` holds it out, and its surfaces."""
    examples, surfaces, _ = _examples(log, live, recipe, retrieve, progress)
    test = _split(examples, recipe)[2]
    return take(examples, test), surfaces[test]


def examples_of_log(
    log: EventLog,
    live: Live,
    recipe: Recipe,
    *,
    retrieve: Retrieve | None = None,
    progress: Progress = lambda *_: None,
) -> tuple[Examples, NDArray[np.int8]]:
    """All examples that `train` learns, stops and tests by, and their surface codes [rows]."""
    examples, surfaces, _ = _examples(log, live, recipe, retrieve, progress)
    return examples, surfaces


def _examples(
    log: EventLog, live: Live, recipe: Recipe, retrieve: Retrieve | None, progress: Progress
) -> tuple[Examples, NDArray[np.int8], str]:
    """Examples, surface codes [rows], and in words where the negatives come from."""
    if live.n:  # features would be as of its end, not as of the impression
        raise ValueError(f"train: the state is folded up to {live.n}; wanted an empty one")
    if retrieve is None:
        shown = (
            "impressions: listings shown on the same slate and not acted on, and "
            f"{recipe.unseen} live ones drawn evenly for each slate; seed {recipe.seed}"
        )
        return *examples_of_impressions(log, live, recipe, progress), shown
    kinds = frozenset(kind for kind, gain in recipe.gains.items() if gain > 0)
    rule = Rule(kinds, recipe.negatives, recipe.gains, recipe.seed, recipe.among)
    end = log.end()
    examples = examples_of_actions(
        log.read(),
        live,
        query_of_action,
        retrieve,
        rule,
        progress=lambda done: progress("replay", min(done, end), end),
    )
    progress("replay", end, end)
    examples = take(examples, np.flatnonzero(examples.t >= recipe.from_t))
    return examples, np.zeros(len(examples.t), np.int8), str(rule)


def _split(examples: Examples, recipe: Recipe) -> tuple[NDArray[np.intp], ...]:
    """Rows to learn from, to stop early by, and to test on, in time order; no slate is torn."""
    return learn_stop_test(examples.t, recipe.validation, recipe.test)


MIN_SLATES = 50
GOLDEN_ROWS = 64


def examples_of_impressions(
    log: EventLog, live: Live, recipe: Recipe, progress: Progress
) -> tuple[Examples, NDArray[np.int8]]:
    """One example per listing of each slate on which somebody acted, and its surface's code.

    Features are as of the impression (its time, its offset in the log).
    """
    facts = log.facts()
    labels = label(facts, recipe.gains)
    acts = done(facts, recipe.actions)
    wanted = slates_to_use(facts, labels, recipe)
    parts: list[_Part] = []
    for entry in folded_up_to_impressions(log, live, wanted, progress):
        part = _part(entry, live, labels, acts, recipe)
        parts.append(part)
    if not parts:
        raise InputError(
            "train: no slate of the log was acted on; an action must carry the `slate` of the "
            'impression it answers. For a log without impressions, set impressions = "none"'
        )
    sizes = [len(part.slots) for part in parts]
    groups = np.repeat(np.arange(len(parts), dtype=np.int64), sizes)
    examples = Examples(
        values=np.concatenate([part.batch.values for part in parts]),
        columns=parts[0].batch.columns,
        groups=groups,
        gains=np.concatenate([part.gains for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        t=np.repeat(np.array([part.t for part in parts], np.int64), sizes),
        actions=tuple(action.name for action in recipe.actions),
        done=np.concatenate([part.done for part in parts]) if recipe.actions else None,
        drawn=np.concatenate([part.drawn for part in parts]),
    )
    surfaces = np.repeat(np.array([part.surface for part in parts], np.int8), sizes)
    return examples, surfaces


@dataclass(frozen=True, slots=True)
class _Part:
    """The examples of one slate."""

    batch: FeatureBatch
    slots: NDArray[np.int32]
    gains: NDArray[np.float32]
    positions: NDArray[np.int16]
    done: NDArray[np.float32]
    drawn: NDArray[np.bool_]
    surface: int
    t: int


def slates_to_use(
    facts: Facts, labels: Mapping[tuple[int, int], float], recipe: Recipe
) -> frozenset[int]:
    """Hashes of mature slates, at most `max_slates` of them.

    Those that were acted on, or all where actions are to be foretold.
    """
    if not len(facts):
        return frozenset()
    shown = facts.events[facts.events["kind"] == KIND_CODE[Kind.IMPRESSION]]
    mature = shown["t"] <= facts.events["t"].max() - recipe.maturity_ms
    mature &= shown["t"] >= recipe.from_t
    if not recipe.actions:
        acted = np.fromiter((slate for slate, _ in labels), np.uint64, len(labels))
        mature &= np.isin(shown["slate"], acted)
    slates = np.unique(shown["slate"][mature & (shown["slate"] != 0)])
    # A slate's id is a random hash already: the smallest are an even draw, whatever the order.
    return frozenset(slates[: recipe.max_slates].tolist())


def folded_up_to_impressions(
    log: EventLog, live: Live, wanted: frozenset[int], progress: Progress
) -> Iterator[Entry]:
    """Yields each wanted impression when `live` stands just before it; folds all the log.

    `features.replay` would give the same bytes. But given columns and drawn listings want all of
    `live` at each impression, so it would be a second pass; counts are an eighth of this one.
    """
    pending: list[Entry] = []
    done = 0
    for entry in log.read():
        if entry.event.kind == Kind.IMPRESSION and slate_of(entry) in wanted:
            live.replay(pending)
            pending = []
            yield entry
            done += 1
            if done % 200 == 0:
                progress("replay", done, len(wanted))
        pending.append(entry)
    live.replay(pending)
    progress("replay", len(wanted), len(wanted))


def _part(
    entry: Entry, live: Live, labels: Mapping[tuple[int, int], float], acts: Done, recipe: Recipe
) -> _Part:
    rows = np.frombuffer(entry.listing_rows, LISTING_ROW)
    rows = rows[rows["slot"] >= 0]
    shown, positions = rows["slot"].astype(np.int32), rows["position"].astype(np.int16)
    slate = slate_of(entry)
    rng = np.random.default_rng([recipe.seed, slate])
    stock = np.flatnonzero(live.catalogue.live).astype(np.int32)
    unseen = np.setdiff1d(rng.choice(stock, min(recipe.unseen, len(stock))), shown)
    slots = np.concatenate([shown, unseen])
    request = live.request(query_of(entry.event))
    return _Part(
        batch=live.look_up(request, slots),
        slots=slots,
        gains=np.array([labels.get((slate, int(slot)), 0.0) for slot in slots], np.float32),
        # As if shown somewhere on this slate: the place must not tell the drawn from the shown.
        positions=np.concatenate([positions, rng.choice(positions, len(unseen))]),
        done=acts.rows(slate, slots, entry.event.t),
        drawn=np.arange(len(slots)) >= len(shown),
        surface=request.surface,
        t=entry.event.t,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def query_of(event: Event) -> Query:
    """The query that an impression answered, as far as the features need it."""
    return Query(
        surface=event.surface or "home",
        t=event.t,
        user=event.user,
        session=event.session,
        text=event.text or "",
        anchor=event.listing or _text(event.attributes.get("anchor")),
        attributes=event.attributes,
        k=len(event.listings),
    )
