"""Features through Redis: one person and 500 listings, one MGET, the same kernel.

python -m benchmarks.redis_rows [--listings 100000] [--reads 500]

A log of clicks and impressions is folded, and its rows written to a redis-server that this starts
on a free port, without persistence. One JSON line on stdout: ms of wall time of a read (p50, p95),
its CPU ms in this process and in the server, the same lookup in process, what a read fetches, what
writing costs. The candidates are drawn evenly from the stock, so they share few sellers and brands:
a retriever's share more, and need fewer rows.
"""

import argparse
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import redis
from numpy.typing import NDArray

from heirloom.adapters.redis_rows import RedisRows
from heirloom.adapters.write_behind import WriteBehind
from heirloom.core.errors import StoreError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.query import Query, Request
from heirloom.features.library import marketplace_view
from heirloom.features.rows import Packing
from heirloom.features.view import FeatureView
from heirloom.pipelines.stored import StoredFeatures

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
CODES = {"brand": 3_000, "category": 300, "size": 60, "colour": 20, "condition": 5}
SLATE = 24
CANDIDATES = 500


def log_of(listings: int, people: int, events: int, seed: int = 0) -> Facts:
    """All listings listed, then events over 30 days: half slates of 24, half actions on one.

    Listings, brands and people are met as often as 1 / rank^0.8; a seller has five listings.
    """
    rng = np.random.default_rng(seed)
    total = listings + events
    rows = np.zeros(total, EVENT_ROW)
    rows["seq"] = np.arange(total)
    rows["t"][:listings] = START_MS
    rows["t"][listings:] = START_MS + np.sort(rng.integers(0, 30 * DAY_MS, events))
    kinds = np.array([KIND_CODE[kind] for kind in ("impression", "click", "save")], np.int8)
    rows["kind"][:listings] = KIND_CODE["listed"]
    rows["kind"][listings:] = rng.choice(kinds, events, p=[0.5, 0.45, 0.05])
    rows["person"][listings:] = 1 + _zipf(rng, people, events)
    sizes = np.where(rows["kind"] == kinds[0], SLATE, 1)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    stock = np.zeros(listings, LISTING_ROW)
    stock["slot"] = np.arange(listings)
    stock["seller"] = 1 + rng.integers(0, max(listings // 5, 1), listings)
    for name, codes in CODES.items():
        stock[name] = 1 + _zipf(rng, codes, listings)
    stock["price_minor"] = rng.integers(500, 50_000, listings)
    met = np.concatenate([np.arange(listings), _zipf(rng, listings, int(starts[-1]) - listings)])
    return Facts(rows, stock[met], starts)


def _zipf(rng: np.random.Generator, codes: int, size: int) -> NDArray[np.int64]:
    weights = np.cumsum(np.arange(1, codes + 1, dtype=np.float64) ** -0.8)
    return np.searchsorted(weights, rng.random(size) * weights[-1]).astype(np.int64)


def request_of(person: int, t: int) -> Request:
    """A person on the home feed."""
    nothing = np.zeros(0, np.int32)
    return Request(
        query=Query(t=t),
        person=person,
        surface=1,
        declared=np.zeros(MAX_DECLARED, np.int32),
        anchor=-1,
        recent=nothing,
        recent_kinds=nothing.astype(np.int8),
        recent_t=nothing.astype(np.int64),
        text_vector=np.zeros(0, np.float32),
    )


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a server that is gone afterwards."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("no redis-server on the PATH; apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = subprocess.Popen([program, *options, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def _reachable(store: RedisRows) -> None:
    for _ in range(100):
        try:
            store.mark()
            return
        except StoreError:
            time.sleep(0.05)
    raise SystemExit("redis-server does not answer")


def measured(
    *, listings: int, people: int, events: int, reads: int, view: FeatureView | None = None
) -> dict[str, object]:
    """Fold, write, read. Every value read is compared, by bytes, with the whole state's."""
    view = view or marketplace_view()
    log = log_of(listings, people, events)
    state = view.state()
    state.apply(log[: len(log) - 10_000])
    packing = Packing(view, state)
    with redis_server() as url:
        store = RedisRows(url, f"{view.name}@{view.version}", timeout_s=30.0)
        _reachable(store)
        behind = WriteBehind(store, packing, threading.Lock())
        start = time.perf_counter()
        behind.flush()
        fill_s = time.perf_counter() - start
        filled = behind.written
        start_cpu = time.process_time()
        for first in range(len(log) - 10_000, len(log), 1_000):
            part = log[first : first + 1_000]
            state.apply(part)
            behind.applied(part)
            behind.flush()
        behind_s = time.process_time() - start_cpu
        reader = StoredFeatures(view, store)
        t = int(log.events["t"].max())
        rng = np.random.default_rng(1)
        asked = [
            (
                request_of(int(1 + _zipf(rng, people, 1)[0]), t + i),
                rng.choice(listings, CANDIDATES, replace=False).astype(np.int32),
            )
            for i in range(reads)
        ]
        different, rows, size = 0, 0, 0
        for request, slots in asked:  # the first look at a slot takes a second read
            mine = state.lookup(request, slots).values
            theirs = reader.lookup(request, slots).values
            different += int((mine.view(np.uint32) != theirs.view(np.uint32)).any(axis=1).sum())
            reader._unpacking.ask(request, slots)
            keys = reader._unpacking.lacking()
            rows += len(keys)
            size += sum(len(row) for row in store.get(keys).rows if row)
        whole, whole_cpu = _timed(state.lookup, asked)
        before = _server_cpu_ms(url)
        stored, stored_cpu = _timed(reader.lookup, asked)
        server_cpu = (_server_cpu_ms(url) - before) / reads
    return {
        "features": len(view.columns),
        "listings": listings,
        "reads": reads,
        "p50_ms": float(np.median(stored)),
        "p95_ms": float(np.percentile(stored, 95)),
        "cpu_ms": stored_cpu,
        "server_cpu_ms": server_cpu,
        "in_process_p50_ms": float(np.median(whole)),
        "in_process_cpu_ms": whole_cpu,
        "rows_a_read": rows / reads,
        "kb_a_read": size / reads / 1000,
        "different_rows": different,
        "fill_rows_per_s": filled / fill_s,
        "write_behind_events_per_cpu_s": 10_000 / behind_s,
    }


def _server_cpu_ms(url: str) -> float:
    with redis.Redis.from_url(url) as client:
        used = client.info("cpu")
    return 1000 * float(used["used_cpu_user"] + used["used_cpu_sys"])


def _timed(lookup, asked) -> tuple[NDArray[np.float64], float]:  # type: ignore[no-untyped-def]
    wall, start_cpu = np.zeros(len(asked)), time.process_time()
    for i, (request, slots) in enumerate(asked):
        start = time.perf_counter()
        lookup(request, slots)
        wall[i] = (time.perf_counter() - start) * 1000
    return wall, (time.process_time() - start_cpu) * 1000 / len(asked)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--listings", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--reads", type=int, default=500)
    print(json.dumps(measured(**vars(parser.parse_args()))))
