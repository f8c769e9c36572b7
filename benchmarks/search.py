"""Lexical search and facets: CPU, memory, and what a search's slates are truly worth.

    python -m benchmarks.search cost [--listings 100000]
    python -m benchmarks.search facets [--listings 1000000]
    python -m benchmarks.search value [--seeds 1 2]
    python -m benchmarks.search floor [--seeds 1 2]
    python -m benchmarks.search intent [--listings 100000]

`cost` sets the indices against each other on the simulator's listings and searches, each in a
process of its own; `words` is the inverted index behind the retriever `search`. `value` lets one
trained system answer the same searches by the retriever `search` and by each of the others.
`floor` does so with and without the rule that shows first what a search asks for by name, and
`intent` measures how long it takes to read what that is.
"""

import argparse
import dataclasses
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.record import Row
from heirloom.adapters.tantivy_search import TantivyIndex
from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM, simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.query import Filters
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.candidates import retrieve
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend
from heirloom.retrieval.facets import facets
from heirloom.retrieval.lexical import LexicalIndex, fields_of, search
from heirloom.retrieval.top import best
from heirloom.retrieval.word_index import WordIndex
from heirloom.retrieval.words import Words, weighted_words
from heirloom.simulator import Mixed, Size, World, truth
from heirloom.simulator.queries import QueryColumns

PEER = "search"
OTHERS = ("lexical", "tantivy")
K, RUNS, EDITS = 150, 5, 20
TICKS = 150
_MS = 1e3


def searches(world: World, number: int) -> list[str]:
    """Texts of the searches that the simulator's people type next."""
    found: list[str] = []
    logging = Mixed(world)

    def listen(queries: QueryColumns) -> Any:
        found.extend(text for row in range(len(queries)) if (text := queries.text(row)))
        return logging(queries)

    while len(found) < number:
        world.step(listen)
    return found[:number]


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 1e6


def _words(listings: list[Listing]) -> tuple[Words, Callable[[str], Any], Callable[[int], None]]:
    words = Words()
    for slot, listing in enumerate(listings):
        words.put(slot, weighted_words(listing))

    def change(slot: int) -> None:
        words.put(slot, weighted_words(listings[slot]))

    return words, lambda text: best(words.match(text, len(listings)), K), change


def _index(
    index: LexicalIndex, listings: list[Listing]
) -> tuple[LexicalIndex, Callable[[str], Any], Callable[[int], None]]:
    for slot, listing in enumerate(listings):
        index.upsert(slot, fields_of(listing))
    allowed = np.ones(len(listings), np.bool_)

    def change(slot: int) -> None:
        index.upsert(slot, fields_of(listings[slot]))

    return index, lambda text: search(index, text, allowed, K), change


def measure(name: str, listings: list[Listing], texts: list[str]) -> dict[str, float]:
    """Build one index and ask it: CPU, memory, and the CPU of a change with the next search."""
    before, began = _resident_mb(), time.process_time()
    if name == "words":
        kept, ask, change = _words(listings)
    else:
        kept, ask, change = _index(WordIndex() if name == "lexical" else TantivyIndex(), listings)
    ask(texts[0])
    built, after = time.process_time() - began, _resident_mb()
    runs = []
    for _ in range(RUNS):
        began = time.process_time()
        for text in texts:
            ask(text)
        runs.append((time.process_time() - began) / len(texts) * _MS)
    changes = []
    for slot in range(EDITS):
        began = time.process_time()
        change(slot)
        ask("nobody has this")
        changes.append((time.process_time() - began) * _MS)
    del kept
    return {
        "query_cpu_ms": statistics.median(runs),
        "mb": after - before,
        "build_cpu_s": built,
        "change_cpu_ms": statistics.median(changes),
    }


def cost_rows(number: int) -> list[Row]:
    """CPU of a query and megabytes, each index in a process of its own."""
    world = World(Size(listings=number, people=2_000, days=1, sessions_per_day=2), seed=0)
    listings = [event.data for event in world.opening() if event.data is not None][:number]
    texts = searches(world, 400)
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, float]] = {}
    for name in ("words", *OTHERS):
        with spawn.Pool(1) as pool:
            found[name] = pool.apply(measure, (name, listings, texts))
    rows = []
    for name in OTHERS:
        for figure, unit in (
            ("query_cpu_ms", "ms"),
            ("mb", "MB"),
            ("build_cpu_s", "s"),
            ("change_cpu_ms", "ms"),
        ):
            rows.append(
                Row(
                    id=f"search.{name}_{figure}",
                    value=round(found[name][figure], 3),
                    unit=unit,
                    better="lower",
                    peer="inverted index of the retriever `search`",
                    peer_value=round(found["words"][figure], 3),
                    note=f"{len(listings):,} listings of the simulator, {len(texts)} of its "
                    f"searches, top {K}, median of {RUNS} runs, one thread; a change is an upsert "
                    "and the search that finds it",
                )
            )
    return rows


def facet_rows(number: int) -> list[Row]:
    """CPU of all facets over all live listings, and over a tenth that a text found."""
    rng, catalogue = np.random.default_rng(0), Catalogue(Vocabulary())
    for slot in range(number):
        listing = Listing(
            listing_id=str(slot),
            seller=f"s{slot % 50_000}",
            title="piece",
            brand=f"brand {int(rng.zipf(1.3)) % 5_000}",
            category=f"{('women', 'men')[slot % 2]}/{slot % 9}/{slot % 61}",
            size=str(slot % 40),
            colour=str(slot % 15),
            condition=str(slot % 5),
            price_minor=int(rng.lognormal(8, 1)),
        )
        event = Event(event_id=str(slot), kind="listed", t=slot, listing=str(slot), data=listing)
        catalogue.apply(event, slot)
    rows = []
    tenth = rng.random(number) < 0.1
    chosen = Filters(brands=("brand 1", "brand 2"), sizes=("3",), price_max_minor=20_000)
    for figure, filters, within in (
        ("facets_all_cpu_ms", Filters(), None),
        ("facets_filtered_cpu_ms", chosen, None),
        ("facets_tenth_cpu_ms", Filters(), tenth),
    ):
        facets(catalogue, filters, within=within)
        runs = []
        for _ in range(4 * RUNS):
            began = time.process_time()
            facets(catalogue, filters, within=within)
            runs.append((time.process_time() - began) * _MS)
        rows.append(
            Row(
                id=f"search.{figure}",
                value=round(statistics.median(runs), 3),
                unit="ms",
                better="lower",
                note=f"{number:,} live listings, exact counts of brand (5,000), size, colour, "
                f"condition, category and price, median of {4 * RUNS}, one thread",
            )
        )
    return rows


@dataclasses.dataclass
class Judged:
    """True values of the slates of each policy for the same searches, and of the oracle's."""

    values: dict[str, list[float]]
    oracle: list[float]
    recall: dict[str, list[float]]

    def ask(self, queries: QueryColumns, policies: dict[str, Policy], system: System) -> None:
        """Let each policy answer these searches, and judge it by the truth."""
        taste, goods, under = queries.people.taste, queries.stock.goods(), queries.stock.under
        asks, k = queries.asks, queries.k
        ideal = truth.best_slates(taste, goods, asks, under, queries.exclude, k)
        self.oracle += truth.slate_values(taste, goods, asks, under, ideal).tolist()
        for name, policy in policies.items():
            slates = np.full((len(queries), k), -1, np.int32)
            for row in range(len(queries)):
                query = queries.query(row)
                shown = recommend(query, policy, system.live).shown
                ids = [queries.stock.number_of(each.listing) for each in shown]
                slates[row, : len(ids)] = ids
                pool = retrieve(system.live.request(query), policy, system.live).slots.tolist()
                found = {
                    queries.stock.number_of(system.live.catalogue.listing(slot).listing_id)
                    for slot in pool
                }
                wanted = set(ideal[row][ideal[row] >= 0].tolist())
                if wanted:
                    self.recall[name].append(len(found & wanted) / len(wanted))
            self.values[name] += truth.slate_values(taste, goods, asks, under, slates).tolist()


Ways = Callable[[Policy], dict[str, Policy]]
"""From the trained policy to those that answer beside each other."""


def _by_retriever(trained: Policy) -> dict[str, Policy]:
    quota = trained.quotas["search"]
    others = {name: most for name, most in quota.items() if name not in (PEER, *OTHERS)}
    return {
        name: dataclasses.replace(
            trained, quotas={**trained.quotas, "search": {**others, name: quota[PEER]}}
        )
        for name in (PEER, *OTHERS)
    }


def _by_floor(trained: Policy) -> dict[str, Policy]:
    rules = trained.rules
    brand_first = ("brand", "category", *rules.floor[2:])
    return {
        "off": dataclasses.replace(trained, rules=dataclasses.replace(rules, floor=())),
        "on": trained,
        "brand_first": dataclasses.replace(
            trained, rules=dataclasses.replace(rules, floor=brand_first)
        ),
    }


def judge(seed: int, ticks: int, ways: Ways, retrievers: Sequence[str] = ()) -> Judged:
    """Train one system on a small world, then let it answer that world's searches each way.

    Args:
        seed: of the world.
        ticks: how long it goes on.
        ways: of answering.
        retrievers: which must fold the log beside those of the settings.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = load(SYSTEM, folder=folder)
        plain = settings.policy.quotas["search"]  # type: ignore[index]
        every = {**plain, **dict.fromkeys(retrievers, plain[PEER])}
        part = settings.policy.model_copy(
            update={"quotas": {**settings.policy.quotas, "search": every}}
        )
        system = System(settings.model_copy(update={"policy": part}), answering=False)
        world = simulate_into(system, "small", seed, None, Silent())
        system.train()
        policies = ways(system.policy)
        judged = Judged({name: [] for name in policies}, [], {name: [] for name in policies})
        logging = Mixed(world)

        def listen(queries: QueryColumns) -> Any:
            rows = np.flatnonzero(queries.asks.surface == truth.SEARCH)
            if len(rows):
                judged.ask(queries.take(rows), policies, system)
            return logging(queries)

        for _ in range(ticks):
            system.ingest_history(world.step(listen).events(), source="simulator")
        system.close()
    return judged


def floor_rows(seeds: Sequence[int], ticks: int = TICKS) -> list[Row]:
    """Share of the oracle's value with the floor and by another order of it, beside none."""
    judged = [judge(seed, ticks, _by_floor) for seed in seeds]
    oracle, peer = _joined(judged, "oracle"), _joined(judged, "off")
    rows = []
    for name in ("on", "brand_first"):
        value = _joined(judged, name)
        rows.append(
            Row(
                id=f"search.floor_{name}_value",
                value=round(float(value.sum() / oracle.sum()), 4),
                unit="share",
                better="higher",
                peer="the same policy without a floor",
                peer_value=round(float(peer.sum() / oracle.sum()), 4),
                note=f"true value of slates over the oracle's, {len(oracle):,} searches, seeds "
                f"{', '.join(map(str, seeds))}; {_paired(value, peer, oracle)}; the floor moved "
                f"something on {float((value != peer).mean()):.2f} of them",
            )
        )
    return rows


def _joined(judged: Sequence[Judged], name: str) -> Any:
    """[searches] of all seeds: the oracle's values, or a policy's."""
    return np.concatenate([each.oracle if name == "oracle" else each.values[name]
                           for each in judged])  # fmt: skip


def _paired(value: Any, peer: Any, oracle: Any) -> str:
    more = value - peer
    gain, half = more.mean() / oracle.mean(), 1.96 * more.std() / len(more) ** 0.5 / oracle.mean()
    return f"paired difference {gain:+.4f} [{gain - half:+.4f}, {gain + half:+.4f}], 95 %"


def intent_rows(number: int) -> list[Row]:
    """CPU of reading what a search asks for, once every brand and category is known."""
    size = Size(listings=number, people=2_000, days=1, sessions_per_day=2)
    world = World(size, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(SYSTEM, folder=folder), answering=False)
        system.ingest_history(world.opening(), source="simulator")
        texts = searches(world, 400)
        runs = []
        for _ in range(RUNS + 1):
            began = time.process_time()
            for text in texts:
                system.live.intent(text)
            runs.append((time.process_time() - began) / len(texts) * _MS)
        system.close()
    return [
        Row(
            id="search.intent_cpu_ms",
            value=round(statistics.median(runs[1:]), 3),
            unit="ms",
            better="lower",
            target=0.2,
            note=f"{number:,} listings of the simulator, {len(texts)} of its searches, median of "
            f"{RUNS} runs after one to warm up, one thread",
        )
    ]


def value_rows(seeds: Sequence[int], ticks: int = TICKS) -> list[Row]:
    """Share of the oracle's value that each retriever's slates have, and how they differ."""
    judged = [judge(seed, ticks, _by_retriever, OTHERS) for seed in seeds]
    oracle, peer = _joined(judged, "oracle"), _joined(judged, PEER)
    rows = []
    for name in OTHERS:
        value = _joined(judged, name)
        recall = {
            which: float(np.mean(np.concatenate([each.recall[which] for each in judged])))
            for which in (name, PEER)
        }
        rows.append(
            Row(
                id=f"search.{name}_value",
                value=round(float(value.sum() / oracle.sum()), 4),
                unit="share",
                better="higher",
                peer="retriever `search`",
                peer_value=round(float(peer.sum() / oracle.sum()), 4),
                note=f"true value of slates over the oracle's, {len(oracle):,} searches, seeds "
                f"{', '.join(map(str, seeds))}; {_paired(value, peer, oracle)}; of the oracle's "
                "listings "
                f"{recall[name]:.3f} are among the candidates, by the peer {recall[PEER]:.3f}",
            )
        )
    return rows


def main() -> None:
    """Measure one part and print its rows."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("part", choices=("cost", "facets", "value", "floor", "intent"))
    options.add_argument("--listings", type=int)
    options.add_argument("--seeds", type=int, nargs="+", default=[1])
    options.add_argument("--out", type=Path, help="write the rows here as JSON too")
    chosen = options.parse_args()
    if chosen.part == "cost":
        found = cost_rows(chosen.listings or 100_000)
    elif chosen.part == "facets":
        found = facet_rows(chosen.listings or 1_000_000)
    elif chosen.part == "intent":
        found = intent_rows(chosen.listings or 100_000)
    else:
        found = (floor_rows if chosen.part == "floor" else value_rows)(chosen.seeds)
    text = json.dumps([msgspec.to_builtins(row) for row in found], indent=1)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
