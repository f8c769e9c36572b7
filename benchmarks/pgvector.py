"""pgvector beside the in-process index: recall, time and CPU under filters, and what writes cost.

    python -m benchmarks.pgvector [--size 50000] [--queries 40] [--m 16] [--ef-construction 64]

Prints the tables of docs/scaling.md. Three ways of asking the same data in one run: the adapter;
pgvector as it comes, with PostgreSQL's own choice of plan; VectorIndex in this process. CPU is the
server's process and the client's together; wall times hang on what else the machine does.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.postgres import postgres
from benchmarks.retrieval_data import COLUMNS, DIM, Vectors, vectors
from heirloom.adapters import postgres_binary as binary
from heirloom.adapters.pgvector import Graph, PgVectorIndex
from heirloom.adapters.pgvector_filter import condition
from heirloom.adapters.postgres_link import Link
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.where import Where

K = 100
RUNS = 3
SERVER = (
    "shared_buffers=512MB", "max_parallel_maintenance_workers=0",
    "max_parallel_workers_per_gather=0", "max_wal_size=4GB",
)  # fmt: skip
"""One process does the work of one client, so that its CPU time is the price."""
TABLE = "measured"
Slots = NDArray[np.int32]
Ask = Callable[[NDArray[np.float32], Where], tuple[Slots, bool]]
"""Slots of the K nearest that pass, and whether all were compared."""


class Measured(NamedTuple):
    """Of one way and one filter."""

    recall: float
    exact: float
    p50_ms: float
    cpu_ms: float


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--size", type=int, default=50_000)
    options.add_argument("--queries", type=int, default=40)
    options.add_argument("--m", type=int, default=Graph().m)
    options.add_argument("--ef-construction", type=int, default=Graph().ef_construction)
    chosen = options.parse_args()
    world = vectors(chosen.size, chosen.queries)
    filters = {"none": Where(), **world.filters()}
    slots = np.arange(chosen.size, dtype=np.int32)
    twin = ExactVectors(DIM, "m", COLUMNS)
    twin.upsert(slots, world.rows, world.columns())
    own = VectorIndex(Codebook.trained(world.rows, "m"), COLUMNS)
    own.upsert(slots, world.rows, world.columns())
    graph = Graph(m=chosen.m, ef_construction=chosen.ef_construction)
    with (
        postgres(*SERVER) as url,
        PgVectorIndex(url, "m", DIM, COLUMNS, name=TABLE, graph=graph, timeout_s=60) as index,
    ):
        write(index, world, slots, url)
        plain = Link(url, 60, {})
        ways: dict[str, Ask] = {
            "adapter": lambda q, w: _answered(index.find(q, w, K)),
            "as it comes": lambda q, w: (_plain(plain, q, w), False),
            "in process": lambda q, w: _answered(own.find(q, w, K)),
        }
        search(ways, world, filters, twin, url)
        for ef in (100, 400):
            wider = Graph(ef_search=ef, exact_rows=0)
            with PgVectorIndex(url, "m", DIM, COLUMNS, name=TABLE, graph=wider) as walked:
                walk: Ask = lambda q, w, i=walked: _answered(i.find(q, w, K))  # type: ignore[misc]  # noqa: E731
                one = {"none": Where(), "50.0%": filters["50.0%"], "category": filters["category"]}
                print(f"\ngraph alone, ef_search {ef}:")
                search({"adapter": walk}, world, one, twin, url)


def write(index: PgVectorIndex, world: Vectors, slots: Slots, url: str) -> None:
    """Load, build, upsert and remove; CPU seconds of the server."""
    some = slots[:: max(len(slots) // 1_000, 1)]
    steps: dict[str, tuple[int, Callable[[], Any]]] = {
        "load": (len(slots), lambda: index.load(slots, world.rows, world.columns())),
        "build": (len(slots), index.build),
        "upsert, 100 at a time": (len(some), lambda: _by_hundreds(index.upsert, some, world)),
        "remove, 100 at a time": (len(some), lambda: [
            index.remove(part) for part in np.array_split(some, len(some) // 100)
        ]),
    }  # fmt: skip
    print("| write | rows | rows a second of CPU | rows a second |\n|---|---|---|---|")
    for name, (rows, step) in steps.items():
        before, began = _server_cpu(url), time.perf_counter()
        step()
        cpu, wall = _server_cpu(url) - before, time.perf_counter() - began
        print(f"| {name} | {rows:,} | {rows / max(cpu, 0.01):,.0f} | {rows / wall:,.0f} |")
    index.upsert(some, world.rows[some], world.columns(some))


def _by_hundreds(upsert: Callable[..., None], some: Slots, world: Vectors) -> None:
    for part in np.array_split(some, len(some) // 100):
        upsert(part, world.rows[part], world.columns(part))


def search(
    ways: dict[str, Ask], world: Vectors, filters: dict[str, Where], twin: ExactVectors, url: str
) -> None:
    """Each way under each filter, medians of the runs, in turn."""
    print("\n| filter | passing | way | recall | compared all | CPU ms | p50 ms |")
    print("|---|---|---|---|---|---|---|")
    for name, where in filters.items():
        truth = [twin.find(query, where, K).slots for query in world.queries]
        passing = len(twin.find(world.queries[0], where, len(world.rows)).slots)
        runs: dict[str, list[Measured]] = {way: [] for way in ways}
        for _ in range(RUNS):
            for way, ask in ways.items():
                runs[way].append(_measured(ask, world, where, truth, url))
        for way, several in runs.items():
            one = Measured(*np.median(several, axis=0).tolist())
            print(
                f"| {name} | {passing:,} | {way} | {one.recall:.3f} | {one.exact:.0%} "
                f"| {one.cpu_ms:.2f} | {one.p50_ms:.2f} |",
                flush=True,
            )


def _measured(ask: Ask, world: Vectors, where: Where, truth: list[Slots], url: str) -> Measured:
    ask(world.queries[0], where)
    hits, exact, walls = [], 0, []
    server, client = _server_cpu(url), time.process_time()
    for query, nearest in zip(world.queries, truth, strict=True):
        began = time.perf_counter()
        slots, all_compared = ask(query, where)
        walls.append(time.perf_counter() - began)
        hits.append(len(np.intersect1d(slots, nearest)) / max(len(nearest), 1))
        exact += all_compared
    client, server = time.process_time() - client, _server_cpu(url) - server
    number = len(world.queries)
    p50 = float(np.median(walls))
    cpu = (server + client) / number
    return Measured(float(np.mean(hits)), exact / number, 1e3 * p50, 1e3 * cpu)


def _answered(answer: Any) -> tuple[Slots, bool]:
    return answer.slots, answer.exact


def _plain(link: Link, query: NDArray[np.float32], where: Where) -> Slots:
    asked = condition(where, COLUMNS, first=2)
    found = link.ask(
        f"select slot from vectors_{TABLE} where {asked.text} "
        f"order by vector <#> $1::vector limit {K}",
        [binary.vector(query), *asked.parameters],
    )
    raw = b"".join(found.get_value(row, 0) or b"" for row in range(found.ntuples))
    return np.frombuffer(raw, ">i4").astype(np.int32)


def _server_cpu(url: str) -> float:
    """CPU seconds of the server's processes for clients, the ones that are there now."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"
        ).fetchall()
    total = 0
    for (pid,) in rows:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
