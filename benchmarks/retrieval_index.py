"""The vector index as served, from mapped files, beside its peers in one run; and under churn."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.record import Row
from benchmarks.retrieval_data import COLUMNS, Vectors, vectors
from heirloom.adapters.index_files import IndexFiles, IndexReader
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.where import EVERYTHING, Where

PEERS = record.ROOT / "var" / "peers" / "bin" / "python"
"""The interpreter of the peers' environment (`make peers`)."""
WORK = record.ROOT / "var" / "bench-retrieval"
_NONE = "none"
Truth = dict[str, NDArray[np.int64]]


def _truth(world: Vectors, filters: dict[str, Where], k: int) -> Truth:
    """[queries, k] the nearest by float32 products, -1 where fewer pass."""
    slots = np.arange(len(world.rows), dtype=np.int32)
    truth = {}
    for name, where in filters.items():
        passing = np.flatnonzero(where.passing(slots, world.columns()))
        rows, wanted = world.rows[passing], min(k, len(passing))
        truth[name] = np.full((len(world.queries), k), -1, np.int64)
        for place, query in enumerate(world.queries):
            best = np.argpartition(-(rows @ query), wanted - 1)[:wanted]
            truth[name][place, :wanted] = passing[best]
    return truth


def _written(folder: Path, world: Vectors, filters: dict[str, Where], truth: Truth) -> None:
    """What the peers are handed."""
    np.save(folder / "rows.npy", world.rows)
    np.save(folder / "queries.npy", world.queries)
    for name, column in world.columns().items():
        np.save(folder / f"{name}.npy", column.astype(np.int32))
    for name, wanted in truth.items():
        np.save(folder / f"truth-{name}.npy", wanted)
    said = {
        name: {
            "among": {c: np.asarray(v).tolist() for c, v in where.among.items()},
            "between": dict(where.between),
        }
        for name, where in filters.items()
        if name != _NONE
    }
    (folder / "filters.json").write_text(json.dumps(said))


def _loaded(folder: Path, world: Vectors) -> tuple[float, float]:
    """Fill index files; gives the CPU seconds of training and of loading."""
    start = time.process_time()
    codebook = Codebook.trained(world.rows, "benchmark")
    trained = time.process_time() - start

    def make(storage: Any) -> VectorIndex:
        index = VectorIndex(codebook, COLUMNS, storage=storage)
        slots = np.arange(len(world.rows), dtype=np.int32)
        for part in np.array_split(slots, max(len(slots) // 50_000, 1)):
            index.upsert(part, world.rows[part], world.columns(part))
        index.repack(least=0.95)
        return index

    start = time.process_time()
    with IndexFiles(folder) as files:
        files.published(make)
    return trained, time.process_time() - start


def _ours(
    reader: IndexReader, world: Vectors, filters: dict[str, Where], truth: Truth, k: int
) -> dict[str, tuple[float, list[float]]]:
    """For each filter: recall, and CPU ms of each search. The first round only warms."""
    found = {}
    for name, where in filters.items():
        hits, times = [], []
        for turn in range(4):
            for query, wanted in zip(world.queries, truth[name], strict=True):
                start = time.process_time_ns()
                answer = reader.find(query, where, k)
                if turn:
                    times.append((time.process_time_ns() - start) / 1e6)
                else:
                    known = wanted[wanted >= 0]
                    hits.append(len(np.intersect1d(answer.slots, known)) / len(known))
        found[name] = (float(np.mean(hits)), times)
    return found


def _peers(folder: Path, k: int, *, graphs: bool) -> list[dict[str, Any]]:
    """What `benchmarks/peers/vectors.py` says, in its own environment."""
    script = record.ROOT / "benchmarks" / "peers" / "vectors.py"
    command = [str(PEERS), str(script), str(folder), str(k), *(["hnsw"] if graphs else [])]
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=single)
    said = json.loads(done.stdout.splitlines()[-1])
    lines: list[dict[str, Any]] = said["lines"]
    (folder / "peers.json").write_text(json.dumps(said, indent=1))
    for line in lines:
        line["library"] = line["library"].replace("faiss ", f"faiss {said['faiss']} ")
    return lines


def _best(lines: list[dict[str, Any]], name: str, least: float) -> dict[str, Any] | None:
    """The cheapest setting of any peer that reaches a recall under a filter."""
    fit = [x for x in lines if x["filter"] == name and x.get("recall", 0) >= least]
    return min(fit, key=lambda line: float(line["cpu_ms"])) if fit else None


def _measured(size: int, queries: int, k: int, *, graphs: bool) -> dict[str, Any]:
    folder = WORK / str(size)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world = vectors(size, queries)
    filters = {_NONE: EVERYTHING, **world.filters()}
    truth = _truth(world, filters, k)
    built = _loaded(folder / "index", world)
    reader = IndexReader(folder / "index")
    before = _ours(reader, world, filters, truth, k)
    lines: list[dict[str, Any]] = []
    if PEERS.exists():
        _written(folder, world, filters, truth)
        lines = _peers(folder, k, graphs=graphs)
    after = _ours(reader, world, filters, truth, k)
    ours = {
        name: {"recall": recall, "cpu_ms": float(np.median(times + after[name][1])),
               "parts": [float(np.median(times)), float(np.median(after[name][1]))]}
        for name, (recall, times) in before.items()
    }  # fmt: skip
    shutil.rmtree(folder / "index")
    for path in folder.glob("*.npy"):
        path.unlink()
    result = {"ours": ours, "peers": lines, "built_s": built}
    (folder / "measured.json").write_text(json.dumps(result, indent=1))
    return result


def _unfiltered(prefix: str, size: int, k: int, limit: float, result: dict[str, Any]) -> list[Row]:
    ours, trained, loaded = result["ours"][_NONE], *result["built_s"]
    what = f"{size:,} x 64, top {k:,}, one thread, a query at a time, from mapped files"
    low, high = sorted(ours["parts"])
    best = _best(result["peers"], _NONE, ours["recall"])
    return [
        Row(id=f"retrieval.{prefix}_recall", value=round(ours["recall"], 4), unit="share",
            better="higher", target=0.98, note=f"recall@{k}; {what}"),
        Row(id=f"retrieval.{prefix}_cpu_ms", value=round(ours["cpu_ms"], 3), unit="ms",
            better="lower", target=limit, interval=(round(low, 3), round(high, 3)),
            note=f"CPU time, medians before and after the peers; {what}; trained in {trained:.1f} "
            f"and loaded in {loaded:.1f} s of CPU"),
        _against(f"retrieval.{prefix}_vs_best_peer", ours, best, result["peers"]),
    ]  # fmt: skip


def _against(
    name: str, ours: dict[str, Any], best: dict[str, Any] | None, lines: list[dict[str, Any]]
) -> Row:
    if best is None:
        why = "no peers here: make peers" if not lines else "no peer reaches our recall"
        return Row(id=name, value=None, unit="x", better="higher", target=1.2, note=why)
    return Row(
        id=name, value=round(best["cpu_ms"] / ours["cpu_ms"], 2), unit="x", better="higher",
        target=1.2, peer=best["library"], peer_value=round(best["cpu_ms"], 3),
        note=f"CPU ms of the cheapest setting of {len(lines)} that reaches our recall "
        f"(its {best['recall']:.4f}, ours {ours['recall']:.4f} at {ours['cpu_ms']:.3f} ms)",
    )  # fmt: skip


def flat_rows(size: int = 100_000) -> list[Row]:
    """The rows of part `flat`: 100,000 vectors."""
    return _unfiltered("flat_100k", size, 100, 0.2, _measured(size, 200, 100, graphs=True))


def million_rows(size: int = 1_000_000) -> list[Row]:
    """The rows of part `million`: unfiltered, and under each filter."""
    result = _measured(size, 100, 1_000, graphs=False)
    ours, peers = result["ours"], result["peers"]
    named = [name for name in ours if name != _NONE]
    told = "; ".join(f"{n} {ours[n]['recall']:.4f} at {ours[n]['cpu_ms']:.2f} ms" for n in named)
    dearest = max(named, key=lambda n: float(ours[n]["cpu_ms"]))
    return [
        *_unfiltered("m1", size, 1_000, 1.3, result),
        Row(id="retrieval.filter_recall_min", value=round(min(ours[n]["recall"] for n in named), 4),
            unit="share", better="higher", target=0.98, note=f"1 M, top 1,000: {told}"),
        Row(id="retrieval.filter_cpu_ms_max", value=round(ours[dearest]["cpu_ms"], 3), unit="ms",
            better="lower", target=2.5,
            note=f"CPU time with the predicate's evaluation over int32 columns; the dearest is "
            f"{dearest}: {told}"),
        _filtered_row(named, ours, peers),
    ]  # fmt: skip


def _filtered_row(named: list[str], ours: dict[str, Any], peers: list[dict[str, Any]]) -> Row:
    name, target = "retrieval.filtered_vs_best_peer", 3
    best = {n: _best(peers, n, 0.98) for n in named}
    if not all(best.values()):
        why = "no peers here: make peers" if not peers else "under a filter no peer reaches .98"
        return Row(id=name, value=None, unit="x", better="higher", target=target, note=why)
    ratios, searches, told = [], [], []
    for n in named:
        peer = best[n]
        if peer is not None:
            ratios.append(peer["cpu_ms"] / ours[n]["cpu_ms"])
            searches.append(peer["search_ms"] / ours[n]["cpu_ms"])
            told.append(f"{n} {peer['library']} {peer['cpu_ms']:.2f}")
    mean, bare = (float(np.exp(np.mean(np.log(r)))) for r in (ratios, searches))
    return Row(
        id=name, value=round(mean, 2), unit="x", better="higher", target=target,
        peer="the cheapest faiss setting at recall >= .98 for each filter",
        note=f"geometric mean; the peer's predicate evaluated in numpy and counted, without it "
        f"{bare:.2f} x; CPU ms: {'; '.join(told)}",
    )  # fmt: skip


# --- churn ----------------------------------------------------------------------------------------


def churn_rows(size: int = 100_000, searches: int = 1_000_000, k: int = 100) -> list[Row]:
    """The rows of part `churn`: a process writes while this one searches."""
    folder = WORK / "churn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world = vectors(size + size * 3 // 10, 200)
    codebook = Codebook.trained(world.rows[:size], "benchmark")
    shared = np.memmap(folder / "shared", np.int64, "w+", shape=8 + len(world.rows))
    with IndexFiles(folder / "index") as files:
        index = files.published(lambda storage: VectorIndex(codebook, COLUMNS, storage=storage))
        first = np.arange(size, dtype=np.int32)
        index.upsert(first, world.rows[:size], world.columns(slice(size)))
        before = _recall_of(index, world, k)
        child = _forked(lambda: _churn(index, world, size, shared))
        removed, doubled, short, cpu = _watched(folder / "index", world, shared, searches, k)
        shared[0] = 1
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise RuntimeError("the writing process failed")
        ops, wall_ms, cpu_ms, won = shared[2:6].tolist()
        after = _churned_recall(folder / "index", world, shared, k)
    shutil.rmtree(folder)
    what = (
        f"{size:,} live of {len(world.rows):,}, batches of 500 removals, returns and moves, lists "
        f"re-packed meanwhile ({won:,} chunks won), {searches:,} searches by another process at "
        f"{cpu:.3f} ms CPU"
    )
    return [
        Row(id="retrieval.churn_ops_per_s", value=round(ops / wall_ms * 1_000), unit="operations/s",
            better="higher", target=50_000,
            note=f"wall time; {ops / cpu_ms * 1_000:,.0f} a second of CPU; {what}; recall@{k} "
            f"{before:.4f} before, {after:.4f} after"),
        Row(id="retrieval.removed_returned", value=removed, unit="listings", better="equal",
            target=0, note=f"{what}; {doubled} returned twice, {short} answers short"),
    ]  # fmt: skip


def _forked(work: Callable[[], None]) -> int:
    if (child := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def _churn(index: VectorIndex, world: Vectors, live: int, shared: NDArray[np.int64]) -> None:
    """Replace listings until told to stop: [0] stop, [1] batches done, [2:6] totals, [8:] removals.

    From before its return to after its removal, 0 stands for a listing; else the batch that
    removed it.
    """
    rng, gone = np.random.default_rng(3), shared[8:]
    inside = rng.permutation(len(world.rows)).astype(np.int32)
    inside = np.concatenate([inside[inside < live], inside[inside >= live]])
    gone[live:] = 1
    start, start_cpu, batch = time.perf_counter(), time.process_time(), 1
    while not shared[0]:
        batch += 1
        out = rng.choice(live, 500, replace=False)
        back = live + rng.choice(len(inside) - live, 500, replace=False)
        moved = inside[rng.choice(live, 500)]
        index.remove(inside[out])
        gone[inside[out]] = batch
        shared[1] = batch
        gone[inside[back]] = 0
        index.upsert(inside[back], world.rows[inside[back]], world.columns(inside[back]))
        inside[out], inside[back] = inside[back], inside[out]
        moved = moved[gone[moved] == 0]
        index.upsert(moved, world.rows[moved], world.columns(moved))
        shared[2] += 1_000 + len(moved)
        shared[5] += index.repack(lists=2)
    shared[3] = round((time.perf_counter() - start) * 1_000)
    shared[4] = round((time.process_time() - start_cpu) * 1_000)


def _watched(
    folder: Path, world: Vectors, shared: NDArray[np.int64], searches: int, k: int
) -> tuple[int, int, int, float]:
    """Removed and doubled listings and short answers among all searches, and CPU ms of one."""
    reader, gone = IndexReader(folder), shared[8:]
    removed = doubled = short = 0
    start = time.process_time()
    for i in range(searches):
        done = shared[1]
        found = reader.find(world.queries[i % len(world.queries)], k=k).slots
        batch = gone[found]
        removed += int(np.count_nonzero((batch > 0) & (batch <= done)))
        if i % 16 == 0:
            doubled += len(found) - len(set(found.tolist()))
        short += len(found) < k
    return removed, doubled, short, (time.process_time() - start) / searches * 1_000


def _recall_of(index: VectorIndex, world: Vectors, k: int) -> float:
    live = np.arange(len(index), dtype=np.int32)
    return _shares(index, world, live, k)


def _churned_recall(folder: Path, world: Vectors, shared: NDArray[np.int64], k: int) -> float:
    return _shares(IndexReader(folder), world, np.flatnonzero(shared[8:] == 0), k)


def _shares(index: VectorIndex | IndexReader, world: Vectors, live: NDArray[Any], k: int) -> float:
    rows, hits = world.rows[live], []
    for query in world.queries:
        best = live[np.argpartition(-(rows @ query), k - 1)[:k]]
        hits.append(len(np.intersect1d(index.find(query, k=k).slots, best)) / k)
    return float(np.mean(hits))
