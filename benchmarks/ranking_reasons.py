"""Reasons: whether the groups they name are among a listing's three strongest, and what they cost.

    python -m benchmarks.ranking_reasons [--seeds 2 3] [--out FILE]

A world is simulated and a ranker trained (`systems/laptop.toml`); then people go on asking under
its policy. The reasons of a slate are chosen by comparing each listing with the one usual listing
of its candidates. They are judged by another ablation: the group's values are those of other
candidates of the same request, drawn at random, all of the group from one of them, and the loss of
score is the mean over DRAWS of these (the interventional value of Janzing, Minorics & Blöbaum,
"Feature relevance quantification in explainable AI", AISTATS 2020, with one group left out). A
listing is faithful if every group named is among its three greatest by that, and raises it.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM, simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.core.event import Event
from heirloom.core.query import Query, Request
from heirloom.core.slate import FeatureBatch, Slate
from heirloom.features.view import FeatureView
from heirloom.pipelines.candidates import retrieve
from heirloom.pipelines.explain import explain
from heirloom.pipelines.live import Live
from heirloom.pipelines.scoring import scorer
from heirloom.pipelines.serve import recommend
from heirloom.pipelines.why import Score
from heirloom.simulator import VERSION, by_query
from heirloom.slates.words import NO_SIZES

SEEDS = (2, 3)
"""Margins (`ranking.contributions.SURE`) were set on seed 1."""
SIZE = "small"
SLATES, SHARE = 150, 0.1
"""So many slates of a seed are judged, drawn from those asked for."""
DRAWS = 64
STRONGEST = 3
DEPTH = 240
"""Listings of a slate as the server asks for it; a page of them is shown with reasons."""
PAGE = 36
RESAMPLES = 2_000
T = TypeVar("T")
Say = Callable[[str], None]
Named = list[set[str]]
"""For each listing shown, the groups that its reasons name."""


@dataclass
class Judged:
    """What was found, listing by listing of each slate.

    Attributes:
        right: by rule ("ours", and "old": by sources), for each slate: how many listings are
            faithful, and how many have a reason that names a group.
        told: for each slate, listings with any reason, those whose reasons name no group, and all.
        cost_ms: CPU of a page's reasons, of explaining it, and of the slate without either.
    """

    right: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"ours": [], "old": []})
    told: list[tuple[int, int, int]] = field(default_factory=list)
    cost_ms: list[tuple[float, float, float]] = field(default_factory=list)

    def faithful(self, name: str) -> float:
        """Share of the listings that name a group."""
        right, of = np.array(self.right[name]).reshape(-1, 2).sum(axis=0)
        return float(right / of) if of else 0.0

    def interval(self, name: str) -> tuple[float, float]:
        """95 %, slates drawn again with replacement."""
        counts, rng = np.array(self.right[name]), np.random.default_rng(0)
        drawn = counts[rng.integers(0, len(counts), (RESAMPLES, len(counts)))].sum(axis=1)
        low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
        return round(float(low), 4), round(float(high), 4)


def ablated(
    score: Score, batch: FeatureBatch, shown: NDArray[np.float32], view: FeatureView, seed: int
) -> NDArray[np.float64]:
    """[shown, groups] mean loss of score with each group as other candidates have it."""
    rng, groups = np.random.default_rng(seed), len(view.groups)
    members = view.group_of == np.arange(groups)[:, None]
    lost = np.zeros((len(shown), groups))
    whole = score(FeatureBatch(shown, batch.columns, batch.n)).astype(np.float64)
    for _ in range(DRAWS):
        other = batch.values[rng.integers(0, len(batch.values), len(shown))]
        mixed = np.where(members, other[:, None], shown[:, None]).reshape(-1, shown.shape[1])
        without = score(FeatureBatch(mixed, batch.columns, batch.n)).reshape(-1, groups)
        lost += whole[:, None] - without
    return lost / DRAWS


def faithful(named: Named, lost: NDArray[np.float64], groups: Sequence[str]) -> tuple[int, int]:
    """How many listings name only groups that are among their strongest, of how many name any."""
    right = of = 0
    for mine, losses in zip(named, lost, strict=True):
        if mine:
            best = np.argsort(-losses, kind="stable")[:STRONGEST]
            of, right = of + 1, right + (mine <= {groups[g] for g in best if losses[g] > 0})
    return right, of


def by_sources(request: Request, slate: Slate, live: Live) -> Named:
    """The groups named by reasons as they were before: of sources and single values, no ranking."""
    assert slate.features is not None
    names = [column.partition(".")[2] for column in slate.features.columns]
    catalogue, found = live.catalogue, []
    listed = catalogue.column("listed_at")
    for i, slot in enumerate(slate.slots[:PAGE].tolist()):
        values = dict(zip(names, slate.features.values[i].tolist(), strict=True))
        texts = {
            name: catalogue.vocabulary.text(name, int(catalogue.column(name)[slot]))
            for name in ("brand", "size")
        }
        sources = slate.shown[i].sources
        wears = bool(texts["size"]) and texts["size"].lower() not in NO_SIZES
        rules = (
            ("words", "search" in sources),
            ("anchor", "similar" in sources),
            ("seller", "followed" in sources),
            ("taste", "taste" in sources),
            ("brand", bool(texts["brand"]) and values["person_brand_share_4w"] >= 0.2),
            ("size", wears and values["size_gap"] <= 0.5),
            ("price", values["price_to_kind_12w"] <= np.log(0.8)),
            ("freshness", "recent" in sources
             and request.query.t - int(listed[slot]) < 7 * 86_400_000),
            ("popularity", "popular" in sources),
        )  # fmt: skip
        found.append(set([group for group, holds in rules if holds][:3]))
    return found


def judge(system: System, query: Query, judged: Judged) -> Slate:
    """A slate, its reasons judged."""
    live, policy = system.live, system.policy
    score = scorer(policy, query.surface)
    assert score is not None
    deep = msgspec.structs.replace(query, k=DEPTH)
    bare_ms, _ = _cpu_ms(lambda: recommend(deep, policy, live, reasons=0))
    told_ms, slate = _cpu_ms(lambda: recommend(deep, policy, live, reasons=PAGE))
    page = slate.shown[:PAGE]
    explain_ms, _ = _cpu_ms(lambda: explain(deep, slate, page, policy, live))
    judged.cost_ms.append((told_ms - bare_ms, explain_ms, bare_ms))
    request = live.request(deep)
    batch = live.look_up(request, retrieve(request, policy, live).slots)
    assert slate.features is not None
    lost = ablated(score, batch, slate.features.values[:PAGE], live.view, len(judged.told))
    groups = [group.name for group in live.view.groups]
    ours = [{reason.group for reason in shown.reasons} - {""} for shown in page]
    judged.right["ours"].append(faithful(ours, lost, groups))
    judged.right["old"].append(faithful(by_sources(request, slate, live), lost, groups))
    any_reason = sum(bool(shown.reasons) for shown in page)
    alone = sum(bool(s.reasons) and not mine for s, mine in zip(page, ours, strict=True))
    judged.told.append((any_reason, alone, len(page)))
    return slate


def _cpu_ms(work: Callable[[], T]) -> tuple[float, T]:
    """The median of three times, and what was made."""
    times = []
    for _ in range(3):
        begin = time.process_time_ns()
        made = work()
        times.append((time.process_time_ns() - begin) / 1e6)
    return statistics.median(times), made


def judged_of_seed(seed: int, judged: Judged, say: Say = print) -> None:
    """Train on a world, let it go on, and judge slates as they are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(SYSTEM, folder=folder), answering=False)
        try:
            world = simulate_into(system, SIZE, seed, None, Silent())
            system.train()
            say(f"seed {seed}: trained")
            rng, begin = np.random.default_rng(seed), len(judged.told)

            def answer(query: Query) -> list[str]:
                if len(judged.told) - begin < SLATES and rng.random() < SHARE:
                    slate = judge(system, query, judged)
                else:
                    slate = recommend(query, system.policy, system.live, reasons=0)
                return [shown.listing for shown in slate.shown[: query.k]]

            def hear(events: list[Event]) -> None:
                system.ingest_history(events, source="simulator")

            while len(judged.told) - begin < SLATES:
                world.step(by_query(answer), hear)
                say(
                    f"seed {seed}: {len(judged.told) - begin} slates, {judged.faithful('ours'):.3f}"
                )
        finally:
            system.close()


def reason_rows(seeds: Sequence[int] = SEEDS, say: Say = print) -> list[Row]:
    """`ranking.reasons_faithful`, and what reasons cost."""
    judged = Judged()
    for seed in seeds:
        judged_of_seed(seed, judged, say)
    told, alone, listings = np.array(judged.told).sum(axis=0).tolist()
    cost, explained, bare = (statistics.median(each) for each in zip(*judged.cost_ms, strict=True))
    named = np.array(judged.right["ours"]).sum(axis=0)[1]
    said = (
        f"simulator version {VERSION}, {SIZE}, seeds {', '.join(map(str, seeds))}, "
        f"{len(judged.told)} slates, systems/laptop.toml"
    )
    return [
        Row(
            id="ranking.reasons_faithful", value=round(judged.faithful("ours"), 4),
            unit="of listings", better="higher", target=0.9,
            peer="reasons by sources and single values, as before",
            peer_value=round(judged.faithful("old"), 4), interval=judged.interval("ours"),
            note="listings of which every group named is among the three greatest, and raises the "
            f"score, by an ablation against {DRAWS} draws of other candidates (reasons are chosen "
            f"against the usual one); {named:,.0f} listings that name a group; "
            f"{told / listings:.3f} of {listings:,} have a reason, {alone / listings:.3f} one of a "
            f"retriever alone; 95 % bootstrap over slates; {said}",
        ),
        Row(
            id="ranking.reasons_cpu_ms", value=round(cost, 2), unit="ms CPU", better="lower",
            note=f"of the reasons of a first page of {PAGE}, beside {bare:.2f} ms for its slate of "
            f"{DEPTH} without; median; {said}",
        ),
        Row(
            id="ranking.explain_cpu_ms", value=round(explained, 2), unit="ms CPU", better="lower",
            note=f"`explain` of that page besides: retrievers asked again; median; {said}",
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure and print the rows."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options.add_argument("--out", type=Path, help="write the rows here as JSON too")
    chosen = options.parse_args()
    text = json.dumps([msgspec.to_builtins(row) for row in reason_rows(chosen.seeds)], indent=1)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
