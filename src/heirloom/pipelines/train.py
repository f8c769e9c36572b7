"""Training, from top to bottom: replay, label, split by time, fit, evaluate, gate, bundle.

The features of an example are looked up in a state folded from the log up to the impression
itself, by the code that serves, so a model never learns from what was not known.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.log import Entry, EventLog
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.evaluation.split import learn_stop_test
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import (
    Among,
    Retrieve,
    Rule,
    examples_of_actions,
    query_of_action,
)
from heirloom.pipelines.training_report import Audit, Fitted, TrainingReport
from heirloom.ranking.examples import take
from heirloom.ranking.gains import GAINS, by_code
from heirloom.ranking.ranker import Examples, Ranker, Refits

Progress = Callable[[str, int, int], None]
"""(step, done, of): told now and then, for a bar."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make examples of a log and fit on them.

    Attributes:
        gains: worth of each action, by event kind.
        maturity_ms: impressions younger than this at the log's end wait for their labels.
        max_slates: at most so many slates are used, drawn evenly by a hash of their id.
        unseen: to each slate so many live listings that it did not show are added, drawn evenly,
            as passed over. A log holds what its policy let through; without these a ranker never
            learns how bad the rest is.
        validation, test: shares of the examples' slates, the latest in time, held out for early
            stopping and for the metrics.
        from_t: ms; slates before it are not learned from: the encoders have learned from them.
        gate: least values of metrics, by name; a bundle below one is not published.
        seed: of sampling and fitting.
        negatives: how many to an action, for a log without impressions.
        among: what these are drawn from (`negatives.Rule`).
        ranker_settings: of the ranker's `fit`, by name; what is not named has its default.
    """

    gains: Mapping[str, float] = field(default_factory=lambda: GAINS)
    maturity_ms: int = 3_600_000
    max_slates: int = 40_000
    unseen: int = 12
    validation: float = 0.1
    test: float = 0.15
    from_t: int = 0
    gate: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    negatives: int = 40
    among: Among = "retrieved"
    ranker_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted ranker with what is known of it.

    `metrics` are on the held-out test part, by a ranker that did not learn from it; one that
    `Refits` was then fitted on all of it; `slices` the same by surface; `golden` a few rows
    whose scores a loader must reproduce; `refused` the gates that it failed; `report` what the
    audit found, if there was one.
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
    """
    end = log.end()
    examples, surfaces, negatives = _examples(log, live, recipe, retrieve, progress)
    slates = len(np.unique(examples.groups))
    if slates < MIN_SLATES:
        raise InputError(
            f"train: the log's {end} events hold {slates} slates on which somebody acted; wanted "
            f"at least {MIN_SLATES}. Collect more impressions and actions, or check that actions "
            "name their slate"
        )
    parts = _split(examples, recipe)
    learn, validation, test = (take(examples, rows) for rows in parts)
    progress("fit", 0, 2)
    fit: Callable[..., Ranker] = ranker.fit
    fitted = fit(learn, validation, seed=recipe.seed, **recipe.ranker_settings)
    progress("fit", 1, 2)
    metrics, slices = evaluate(fitted, test, surfaces[parts[2]])
    report = audit(_to_audit(ranker, fitted, examples, surfaces, parts, recipe)) if audit else None
    if isinstance(fitted, Refits):
        fitted = fitted.refit(examples, seed=recipe.seed)
    progress("fit", 2, 2)
    return Trained(
        ranker=fitted,
        metrics=metrics,
        slices=slices,
        golden=FeatureBatch(test.values[:GOLDEN_ROWS], test.columns, end),
        offsets=(0, end),
        times=(int(examples.t.min()), int(examples.t.max())),
        negatives=negatives,
        refused=tuple(
            f"{name} is {metrics.get(name, float('nan')):.4f}; wanted at least {least}"
            for name, least in recipe.gate.items()
            if not metrics.get(name, float("nan")) >= least
        )
        + (report.refused if report else ()),
        report=report,
    )


def _to_audit(
    kind: type[Ranker],
    fitted: Ranker,
    examples: Examples,
    surfaces: NDArray[np.int8],
    parts: tuple[NDArray[np.intp], ...],
    recipe: Recipe,
) -> Fitted:
    learn, validation, test = parts
    return Fitted(
        kind=kind, settings=recipe.ranker_settings, ranker=fitted, examples=examples,
        surfaces=surfaces, learn=learn, validation=validation, test=test, gains=recipe.gains,
        seed=recipe.seed,
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
    wanted = slates_to_use(facts, labels, recipe)
    parts: list[_Part] = []
    for entry in folded_up_to_impressions(log, live, wanted, progress):
        parts.append(_part(entry, live, labels, recipe))  # noqa: PERF401 - live moves on meanwhile
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
    )
    surfaces = np.repeat(np.array([part.surface for part in parts], np.int8), sizes)
    return examples, surfaces


def label(facts: Facts, gains: Mapping[str, float]) -> dict[tuple[int, int], float]:
    """What was done to each listing of each slate is worth: {(slate, slot): sum of gains}.

    An action counts once, however often it was done.
    """
    worth = by_code(gains)
    acts = np.flatnonzero((worth[facts.events["kind"]] > 0) & (facts.events["slate"] != 0))
    done = {
        (
            int(facts.events["slate"][i]),
            int(facts.listings["slot"][facts.starts[i]]),
            int(facts.events["kind"][i]),
        )
        for i in acts[np.diff(facts.starts)[acts] > 0].tolist()
    }
    labels: dict[tuple[int, int], float] = {}
    for slate, slot, kind in sorted(done):
        labels[slate, slot] = labels.get((slate, slot), 0.0) + float(worth[kind])
    return labels


def evaluate(
    ranker: Ranker, test: Examples, surfaces: NDArray[np.int8]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """NDCG@10 of the ranker and of the order shown, on slates held out: all, and by surface."""
    batch = FeatureBatch(test.values, test.columns, 0)
    scores = ranker.score(batch)[:, 0]
    rng = np.random.default_rng(0)
    orders = {
        "ndcg@10": scores,
        "ndcg@10_logged": -test.positions.astype(np.float32),
        "ndcg@10_random": rng.random(len(scores)).astype(np.float32),
    }
    per_slate = {
        name: grouped_ndcg(order, test.gains, test.groups, 10) for name, order in orders.items()
    }
    first = np.flatnonzero(np.diff(test.groups, prepend=-1))
    names = {0: "none", 1: "home", 2: "similar", 3: "search"}
    slices = {
        names[code]: {
            name: float(values[surfaces[first] == code].mean())
            for name, values in per_slate.items()
        }
        for code in np.unique(surfaces[first]).tolist()
    }
    return {name: float(values.mean()) for name, values in per_slate.items()}, slices


@dataclass(frozen=True, slots=True)
class _Part:
    """The examples of one slate."""

    batch: FeatureBatch
    slots: NDArray[np.int32]
    gains: NDArray[np.float32]
    positions: NDArray[np.int16]
    surface: int
    t: int


def slates_to_use(
    facts: Facts, labels: Mapping[tuple[int, int], float], recipe: Recipe
) -> frozenset[int]:
    """Hashes of the slates that were acted on, mature, at most `max_slates` of them."""
    if not len(facts):
        return frozenset()
    shown = facts.events[facts.events["kind"] == KIND_CODE[Kind.IMPRESSION]]
    mature = shown["t"] <= facts.events["t"].max() - recipe.maturity_ms
    mature &= shown["t"] >= recipe.from_t
    acted = np.fromiter((slate for slate, _ in labels), np.uint64, len(labels))
    slates = np.unique(shown["slate"][mature & np.isin(shown["slate"], acted)])
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


def slate_of(entry: Entry) -> int:
    """Hash of the slate's id that an entry carries; 0 for none."""
    return int(np.frombuffer(entry.event_row, EVENT_ROW)["slate"][0])


def _part(
    entry: Entry, live: Live, labels: Mapping[tuple[int, int], float], recipe: Recipe
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
