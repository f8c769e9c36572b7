"""RentTheRunway: which garment is rented next, through the product's own path.

    python -m benchmarks.renttherunway --data FOLDER [--out benchmarks/results/spine_rtr.json]

Protocol. Rentals by day; the cut is the first row of the day of the row whose rank is 90 %:
173,255 rows train, 19,289 test. For each test row all garments known are ranked, those that the
person had before taken out, given what the person says before the rental (occasion, size, body).
State is folded as live: all days before the row's own, test days too, and nothing of its own day.
A garment is known from its first rental on, so the 1,183 first rentals among the test rows cannot
be found by anybody and count as missed. Weights are fitted, and the ranker chosen, before the cut.

The path. `history.events_from` by the mapping → Ingest → SqliteLog → Live (rental view, Popular)
→ `negatives.examples_of_actions` → CatBoostListwise and Linear, the better one on the latest
training days → ModelBundle, written and loaded → retrieve, look up, score. The best POOL candidates
of retrieval are ranked; all others follow behind them and are missed at 100.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import record
from heirloom import __version__
from heirloom.adapters import bundle as bundles
from heirloom.adapters.anteroom import SqliteAnteroom
from heirloom.adapters.sqlite import SqliteLog
from heirloom.apps.history import events_from
from heirloom.apps.mapping import load_mapping
from heirloom.apps.registry import MakeView
from heirloom.core.bundle import DataWindow
from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import Facts
from heirloom.core.log import Entry
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch
from heirloom.encoders.hashed import Hashed
from heirloom.evaluation.intervals import bootstrap
from heirloom.evaluation.metrics import hit_rate, ndcg_of_one
from heirloom.evaluation.split import before_groups_end, moment
from heirloom.features.library import rental_view
from heirloom.pipelines.candidates import retrieve
from heirloom.pipelines.ingest import Ingest
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import Rule, examples_of_actions, just_before, query_of_action
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.scoring import blended
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.examples import starts_of, take
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.retriever import Learning
from heirloom.retrieval.towers.retriever import ByTakers

MAPPING = Path(__file__).parent / "datasets" / "renttherunway.toml"
TABLE = Path("renttherunway") / "interactions.parquet"
SHARE = 0.9
DECLARED_WEIGHTS = (1, 1, 0.5, 0.3, 0.3, 0.3, 0.3, 0)
"""Of the lifts in retrieval: occasion and size count whole, measures of the body repeat them."""
POOL = 800
LEARN_DAYS = 60
"""Only the latest training days make examples; 150 were no better on the days after them."""
POPULAR_DAYS = 31
RULE = Rule(kinds=frozenset({Kind.PURCHASE.value}), count=20, seed=0)
RANKERS: dict[str, type[Ranker]] = {"catboost": CatBoostListwise, "linear": Linear}
TARGETS: Mapping[str, float] = {"hr10": 0.042, "hr100": 0.2}
SEED = 0
REHEARSE = "test on so many spans before the test's, each of its length: for tuning"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is ranked and how rankers learn.

    Attributes:
        rankers: by name; the one that judges the latest training days best is used.
        rule: how negatives are drawn.
        learn_days: the latest training days make examples.
        pool: so many candidates of retrieval are ranked.
        view: declared attributes → what the rankers know.
        retrieval_weight: of the log of retrieval's score beside the ranker's.
        quotas: how many candidates each retriever gives; none: `popular` fills the pool. One that
            learns does so from the log up to the cut.
        fusion: weight of each retriever in the fused score; 1 where it is not named.
    """

    rankers: Mapping[str, type[Ranker]]
    rule: Rule
    learn_days: int
    pool: int
    view: MakeView = rental_view
    retrieval_weight: float = 0.0
    quotas: Mapping[str, int] | None = None
    fusion: Mapping[str, float] = field(default_factory=dict)

    def policy(self) -> Policy:
        """What decides a slate, but for the ranker."""
        quotas = self.quotas or {"popular": self.pool}
        return Policy(
            "rtr",
            {"home": quotas},
            pool=self.pool,
            retrieval_weight=self.retrieval_weight,
            fusion=self.fusion,
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Where the garment of each test row stood.

    Attributes:
        people: [rows] who rented.
        seen: [rows] bool, whether the garment was rented in the training part.
        ranked: [rows] float64, its place by the path, from 1; 0: not found.
        retrieved: [rows] float64, its place by retrieval alone.
        popular: [rows] float64, its place by static popularity.
    """

    people: NDArray[np.str_]
    seen: NDArray[np.bool_]
    ranked: NDArray[np.float64]
    retrieved: NDArray[np.float64]
    popular: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence["Places"]) -> "Places":
        """One after another."""
        names = [each.name for each in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--out", type=Path, default=record.RESULTS / "spine_rtr.json")
    options.add_argument("--rehearse", type=int, default=0, metavar="SPANS", help=REHEARSE)
    chosen = options.parse_args()
    console, start = Console(highlight=False), time.perf_counter()

    def say(text: str) -> None:
        console.print(f"[dim]{time.perf_counter() - start:6.0f} s[/] {text}")

    measured = rows(chosen.data, say, rehearse=chosen.rehearse)
    for one in measured:
        say(f"{one.id} = {one.value} {one.interval or ''}; peer {one.peer_value}; {one.note}")
    say(f"{time.process_time():.0f} s of CPU")
    if not chosen.rehearse:
        command = f"python -m benchmarks.renttherunway --data FOLDER --out {chosen.out.name}"
        record.write("spine", measured, command=command, path=chosen.out)


def rows(data: Path, say: Callable[[str], None] = print, *, rehearse: int = 0) -> list[record.Row]:
    """The benchmark's rows; or those of so many spans before the test's, pooled."""
    plan = Plan(RANKERS, RULE, LEARN_DAYS, POOL)
    return report(*places_of_all(data, plan, say, rehearse=rehearse))


def places_of_all(
    data: Path, plan: Plan, say: Callable[[str], None] = print, *, rehearse: int = 0
) -> tuple[Places, str]:
    """`places_of` the test; with `rehearse`, of so many spans of the training part, one by one."""
    spans = range(rehearse, 0, -1) if rehearse else (0,)
    found = [places_of(data, plan, say, back=back) for back in spans]
    return Places.joined([places for places, _ in found]), found[-1][1]


def places_of(
    data: Path, plan: Plan, say: Callable[[str], None] = print, *, back: int = 0
) -> tuple[Places, str]:
    """Where the garments of the test rows stood, and the name of the ranker (`Split.of`)."""
    with tempfile.TemporaryDirectory() as name, SqliteLog(Path(name) / "log.sqlite") as log:
        folder = Path(name)
        declared = ingest(data / TABLE, folder, log, say)
        split = Split.of(log, back)
        say(str(split))
        policy, live = plan.policy(), empty_live(log, declared, plan.view)
        teach(live, policy, log.facts()[: split.start], say)
        rentals = Rentals.of(log)
        examples = examples_of_actions(
            log.read(0, split.start), live, rentals.ask,
            lambda request: retrieve(request, policy, live), plan.rule,
            from_t=split.cut - plan.learn_days * DAY_MS,
            progress=lambda done: say(f"  {done:,} rentals") if done % 5_000 == 0 else None,
        )  # fmt: skip
        say(f"{len(np.unique(examples.groups)):,} groups, {len(examples.columns)} features")
        ranker, kind = learn(examples, plan, folder, split, say)
        del examples
        places = test(
            log.read(split.start, split.end), live, policy,
            ranker=ranker, rentals=rentals, split=split, say=say,
        )  # fmt: skip
        return places, kind


@dataclass(frozen=True, slots=True)
class Split:
    """Offsets [0, start) train, [start, end) test; `cut` is the first test day, in ms."""

    cut: int
    start: int
    end: int

    @classmethod
    def of(cls, log: SqliteLog, back: int = 0) -> "Split":
        """At the day of the rental whose rank is SHARE; or so many times the test's length before.

        With `back` the test is of that length too, and ends before the rows of the true one.
        """
        events = log.facts().events
        first = moment(events["t"][events["kind"] == KIND_CODE[Kind.PURCHASE]], SHARE)
        length = (int(events["t"][-1]) - first) // DAY_MS * DAY_MS + DAY_MS
        cut = first - back * length
        start, end = np.searchsorted(events["t"], [cut, cut + length]).tolist()
        return cls(cut, start, end)

    def __str__(self) -> str:
        return (
            f"cut {np.datetime64(self.cut, 'ms').astype('datetime64[D]')}: entries to "
            f"{self.start:,} train, to {self.end:,} test"
        )


@dataclass(frozen=True, slots=True)
class Rentals:
    """Who had what when: for each person (t, garment), and the first time of each garment."""

    of_person: dict[str, list[tuple[int, str]]]
    first: dict[str, int]

    @classmethod
    def of(cls, log: SqliteLog) -> "Rentals":
        """Read from the log."""
        of_person: dict[str, list[tuple[int, str]]] = defaultdict(list)
        first: dict[str, int] = {}
        for entry in log.read():
            event = entry.event
            if event.kind == Kind.PURCHASE and event.user and event.listing:
                of_person[event.user].append((event.t, event.listing))
                first.setdefault(event.listing, event.t)
        return cls(of_person, first)

    def ask(self, event: Event) -> Query:
        """The query that a rental answers; what the person had before that day is left out."""
        had = {listing for t, listing in self.of_person[event.user or ""] if t < event.t}
        return msgspec.structs.replace(query_of_action(event), exclude=tuple(sorted(had)))


# ── the product's path ──────────────────────────────────────────────────────────────────────────


def ingest(
    table: Path, folder: Path, log: SqliteLog, say: Callable[[str], None]
) -> tuple[str, ...]:
    """The table in the log; gives the names of the declared attributes."""
    mapping = load_mapping(MAPPING, events=table)
    declared = tuple(mapping.declared)
    anteroom = SqliteAnteroom(folder / "anteroom.sqlite")
    writer = Ingest(
        log=log,
        anteroom=anteroom,
        catalogue=Catalogue(log.vocabulary()),
        currency=mapping.currency,
        rates={},
        declared=declared,
        apply=lambda _: None,
    )
    report = writer.ingest(events_from(None, table, mapping), now_ms=None, source=table.name)
    anteroom.close()
    say(f"ingest:\n{report}")
    return declared


def empty_live(log: SqliteLog, declared: tuple[str, ...], view: MakeView = rental_view) -> Live:
    """State of a rental shop that has folded nothing yet."""
    live = Live(
        catalogue=Catalogue(log.vocabulary().rewound()),
        view=view(declared),
        content=ContentIndex(Hashed()),
        declared=declared,
    )
    live.add(
        {
            "popular": Popular(
                half_lives_ms=(10 * DAY_MS, 30 * DAY_MS),
                context_half_life_ms=250 * DAY_MS,
                declared_weights=DECLARED_WEIGHTS,
                engagement={Kind.PURCHASE: 1},
            ),
            "takers": ByTakers(),
        }
    )
    return live


def teach(live: Live, policy: Policy, facts: Facts, say: Callable[[str], None]) -> None:
    """Let the retrievers that the policy names learn from a log, if they are of the kind."""
    for name in policy.quotas["home"]:
        retriever = live.retrievers[name]
        if isinstance(retriever, Learning):
            begin = time.process_time()
            retriever.use(retriever.learn(facts, seed=SEED))
            say(f"{name} has learned: {time.process_time() - begin:.0f} s of CPU")


def learn(
    examples: Examples, plan: Plan, folder: Path, split: Split, say: Callable[[str], None]
) -> tuple[Ranker, str]:
    """The better ranker on the latest tenth of the groups, through a bundle; and a sentence."""
    early, late = before_groups_end(examples.t, examples.groups, moment(examples.t, 0.9))
    train, validation = take(examples, early), take(examples, late)
    fitted, scores = {}, {}
    for kind, ranker in plan.rankers.items():
        begin = time.process_time()
        fitted[kind] = ranker.fit(train, validation, seed=SEED)
        batch = FeatureBatch(validation.values, validation.columns, 0)
        scores[kind] = likelihood(fitted[kind].score(batch)[:, 0], validation)
        say(f"{kind}: {scores[kind]:.4f} nats, {time.process_time() - begin:.0f} s of CPU")
    best = max(scores, key=lambda kind: scores[kind])
    written = bundles.write(
        folder / "bundles" / best,
        fitted[best],
        name="rtr",
        kind=best,
        data_window=DataWindow(
            from_offset=0,
            to_offset=split.start,
            from_t=int(examples.t.min()),
            to_t=int(examples.t.max()),
        ),
        metrics={"validation_nats": scores[best]},
        slices={},
        negatives=str(plan.rule),
        seed=SEED,
        code_version=__version__,
        golden=FeatureBatch(validation.values[:64], validation.columns, split.start),
    )
    loaded = bundles.load(folder / "bundles" / best, plan.rankers)
    say(f"bundle {written.bundle_id[:12]}: {loaded.manifest.negatives}")
    return loaded.ranker, best


def likelihood(scores: NDArray[np.float32], examples: Examples) -> float:
    """Mean log softmax of what was taken, over groups."""
    starts = starts_of(examples.groups)
    sizes = np.diff(np.append(starts, len(scores)))
    powers = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes))
    shares = powers / np.repeat(np.add.reduceat(powers, starts), sizes)
    return float(np.log(np.maximum(shares[examples.gains > 0], 1e-30)).mean())


def test(
    entries: Iterator[Entry],
    live: Live,
    policy: Policy,
    *,
    ranker: Ranker,
    rentals: Rentals,
    split: Split,
    say: Callable[[str], None],
) -> Places:
    """Every test row ranked as of the morning of its day."""
    popularity = popularity_before(split.cut, rentals, live)
    rng = np.random.default_rng(SEED)
    found: list[tuple[str, bool, float, float, float]] = []
    for done, entry in enumerate(just_before(entries, live, RULE.kinds), 1):
        event = entry.event
        request = live.request(rentals.ask(event))
        slot = live.catalogue.slot_of(event.listing or "")
        candidates = retrieve(request, policy, live)
        scores = ranker.score(live.look_up(request, candidates.slots))[:, 0]
        scores = blended(scores, candidates, policy.retrieval_weight)
        counts = popularity.copy()
        counts[live.catalogue.slots_of(request.query.exclude)] = -1
        found.append(
            (
                event.user or "",
                rentals.first[event.listing or ""] < split.cut,
                place(scores, candidates.slots == slot, rng),
                place(candidates.scores, candidates.slots == slot, rng),
                place(counts, np.arange(len(counts)) == slot, rng),
            )
        )
        if done % 2_000 == 0:
            say(f"  {done:,} test rows ranked")
    people, seen, ranked, retrieved, popular = zip(*found, strict=True)
    return Places(*map(np.array, (people, seen, ranked, retrieved, popular)))


def place(scores: NDArray[Any], wanted: NDArray[np.bool_], rng: np.random.Generator) -> float:
    """Place, from 1, of the one wanted, ties in random order; 0 where it is not there.

    The mean place of a tie would favour or harm whoever ties often: counts do.
    """
    if not wanted.any():
        return 0.0
    own = scores[wanted][0]
    return float(1 + (scores > own).sum() + rng.integers((scores == own).sum()))


def popularity_before(cut: int, rentals: Rentals, live: Live) -> NDArray[np.int64]:
    """[slots] rentals of each garment in the last POPULAR_DAYS training days."""
    slots = [
        live.catalogue.slot_of(listing)
        for had in rentals.of_person.values()
        for t, listing in had
        if cut - POPULAR_DAYS * DAY_MS <= t < cut
    ]
    return np.bincount(slots, minlength=2 * len(live.catalogue))


def report(
    places: Places,
    ranker: str,
    benchmark: str = "spine",
    targets: Mapping[str, float] = TARGETS,
    pool: int = POOL,
) -> list[record.Row]:
    """The rows; `unseen` are those whose garment nobody rented in the training part."""
    everything, unseen = np.ones(len(places.people), np.bool_), ~places.seen
    asked = [
        ("hr10", partial(hit_rate, k=10), everything),
        ("hr100", partial(hit_rate, k=100), everything),
        ("ndcg10", partial(ndcg_of_one, k=10), everything),
        ("pool_recall", partial(hit_rate, k=pool), everything),
        ("unseen_hr10", partial(hit_rate, k=10), unseen),
        ("unseen_hr100", partial(hit_rate, k=100), unseen),
    ]
    return [
        row(
            f"{benchmark}.rtr_{name}", metric, places, kept, target=targets.get(name), ranker=ranker
        )
        for name, metric, kept in asked
    ]


def row(
    name: str,
    metric: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    places: Places,
    kept: NDArray[np.bool_],
    *,
    target: float | None,
    ranker: str,
) -> record.Row:
    """One metric over the rows kept, with a 95 % interval by bootstrap over people."""
    unit = "NDCG" if "ndcg" in name else "share"
    if not kept.any():
        return record.Row(
            id=name, value=None, unit=unit, better="higher", target=target, note="no such test rows"
        )
    interval = bootstrap(metric(places.ranked)[kept], places.people[kept], seed=SEED)
    return record.Row(
        id=name,
        value=round(interval.mean, 5),
        unit=unit,
        better="higher",
        target=target,
        peer=f"static popularity of the last {POPULAR_DAYS} training days, same rows",
        peer_value=round(float(metric(places.popular)[kept].mean()), 5),
        interval=(round(interval.low, 5), round(interval.high, 5)),
        note=(
            f"{int(kept.sum()):,} test rows of {interval.groups:,} people; 95 % bootstrap over "
            f"people; ranker {ranker}; retrieval's own order "
            f"{metric(places.retrieved)[kept].mean():.4f}"
        ),
    )


if __name__ == "__main__":
    main()
