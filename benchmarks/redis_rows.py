"""Features through Redis: one person and 500 listings, one MGET, the same kernel.

python -m benchmarks.redis_rows [--listings 100000] [--reads 500]

A log of clicks and impressions is folded, and its rows written to a redis-server that this starts
on a free port, without persistence. Then people ask, one after another, while the log goes on:
after every few reads some events are folded and written behind, which is not timed. Every value
read is compared, by bytes, with the whole state's. One JSON line on stdout.

The candidates are drawn evenly from the stock, so they share few sellers and brands: a retriever's
share more. The reader has answered before, and has seen every listing: it keeps the shared rows it
has read (brand, seller, brand in a category …) as long as they stand; rows of listings and of the
person are read each time. What a reader's very first read fetches is said beside it.
"""

import argparse
import json
import os
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

from benchmarks import feature_join, feature_online, record
from benchmarks.record import Row
from heirloom.adapters.redis_rows import RedisRows
from heirloom.adapters.write_behind import WriteBehind
from heirloom.core.errors import StoreError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.query import Query, Request
from heirloom.core.row_store import Mark, RowsRead
from heirloom.features.library import marketplace_view
from heirloom.features.rows import Packing
from heirloom.features.state import FeatureState
from heirloom.pipelines.stored import StoredFeatures

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
CODES = {"brand": 3_000, "category": 300, "size": 60, "colour": 20, "condition": 5}
SLATE = 24
CANDIDATES = 500
EVERY, EVENTS = 5, 20
"""After so many reads, so many events: at 50 reads a second, a write each 100 ms, 200 events/s."""
Asked = tuple[Request, NDArray[np.int32]]


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


class Counting:
    """A store that counts what is read of it."""

    def __init__(self, store: RedisRows) -> None:
        self.store = store
        self.calls, self.rows, self.bytes = 0, 0, 0

    def get(self, keys: NDArray[np.int64], since: Mark) -> RowsRead:
        """As the store's."""
        read = self.store.get(keys, since)
        self.calls += 1
        self.rows += len(keys)
        self.bytes += sum(len(row) for row in read.rows if row)
        return read


class Market:
    """A folded log in Redis, its writer, and people who ask."""

    def __init__(self, url: str, listings: int, people: int, events: int, ahead: int) -> None:
        self.view = marketplace_view()
        self.url, self.listings, self.people = url, listings, people
        self.log = log_of(listings, people, events)
        self.done = len(self.log) - ahead
        self.state = self.view.state()
        self.state.apply(self.log[: self.done])
        self.store = self.open()
        _reachable(self.store)
        packing = Packing(self.view, self.state)
        self.behind = WriteBehind(self.store, packing, threading.Lock())
        start = time.perf_counter()
        self.behind.flush()
        self.fill_rows_per_s = self.behind.written / (time.perf_counter() - start)

    def open(self) -> RedisRows:
        """A connection of its own to the rows."""
        return RedisRows(self.url, f"{self.view.name}@{self.view.version}", timeout_s=30.0)

    def go_on(self, events: int) -> None:
        """Fold so many events more, and write them behind."""
        part = self.log[self.done : self.done + events]
        self.state.apply(part)
        self.behind.applied(part)
        self.behind.flush()
        self.done += events

    def asked(self, reads: int, seed: int) -> list[Asked]:
        """So many requests, each with its candidates."""
        rng, t = np.random.default_rng(seed), int(self.log.events["t"].max())
        return [
            (
                request_of(int(1 + _zipf(rng, self.people, 1)[0]), t + i),
                rng.choice(self.listings, CANDIDATES, replace=False).astype(np.int32),
            )
            for i in range(reads)
        ]


def measured(*, listings: int, people: int, events: int, reads: int) -> dict[str, float]:
    """Fold, write, read while it is written."""
    with redis_server() as url:
        market = Market(url, listings, people, events, ahead=10_000 + reads // EVERY * EVENTS)
        counting = Counting(market.open())
        reader = StoredFeatures(market.view, counting)  # type: ignore[arg-type]
        start_cpu = time.process_time()
        for _ in range(10):
            market.go_on(1_000)
        behind_s = time.process_time() - start_cpu
        request, slots = market.asked(1, seed=1)[0]
        reader.lookup(request, slots)
        first_rows = counting.rows
        for first in range(0, listings, CANDIDATES):
            reader.lookup(request, np.arange(first, first + CANDIDATES, dtype=np.int32) % listings)
        asked = market.asked(reads, seed=2)
        at_rest = _server_cpu_ms(url)
        for request, slots in asked:
            reader.lookup(request, slots)
        server_cpu = (_server_cpu_ms(url) - at_rest) / reads
        wall, cpu, whole, whole_cpu = (np.zeros(reads) for _ in range(4))
        counting.calls = counting.rows = counting.bytes = different = 0
        for i, (request, slots) in enumerate(market.asked(reads, seed=3)):
            if i % EVERY == 0:
                market.go_on(EVENTS)
            wall[i], cpu[i], theirs = _timed(reader, request, slots)
            whole[i], whole_cpu[i], mine = _timed(market.state, request, slots)
            different += int((mine != theirs).any(axis=1).sum())
    return {
        "features": len(market.view.columns),
        "p5_ms": float(np.percentile(wall, 5)),
        "p50_ms": float(np.median(wall)),
        "p95_ms": float(np.percentile(wall, 95)),
        "cpu_ms": float(np.median(cpu)),
        "server_cpu_ms": server_cpu,
        "in_process_p50_ms": float(np.median(whole)),
        "in_process_cpu_ms": float(np.median(whole_cpu)),
        "calls_a_read": counting.calls / reads,
        "rows_a_read": counting.rows / reads,
        "kb_a_read": counting.bytes / reads / 1000,
        "rows_of_the_first_read": first_rows,
        "different_rows": different,
        "fill_rows_per_s": market.fill_rows_per_s,
        "write_behind_events_per_cpu_s": 10_000 / behind_s,
        "load": os.getloadavg()[0],
    }


def rows(runs: int = 3) -> list[Row]:
    """The rows of part `redis`."""
    done = [measured(listings=100_000, people=20_000, events=200_000, reads=400)
            for _ in range(runs)]  # fmt: skip
    best = sorted(done, key=lambda run: run["p50_ms"])[runs // 2]
    if any(run["different_rows"] for run in done):
        raise SystemExit(f"features.redis_p50_ms: values differ from the whole state's: {done}")
    ms = best["p50_ms"]
    each = ", ".join(f"{run['p50_ms']:.2f}" for run in done)
    what = (
        f"1 person + {CANDIDATES} listings x {best['features']:.0f} columns, {EVENTS} events "
        f"written behind before every {EVERY}th read, values equal to the whole state's by bytes"
    )
    return [
        Row(
            id="features.redis_p50_ms", value=round(ms, 3), unit="ms", better="lower", target=4,
            interval=(round(best["p5_ms"], 3), round(best["p95_ms"], 3)),
            note=f"wall time, 5th to 95th percentile, the median of {runs} runs by p50 "
            f"({each}); CPU {best['cpu_ms']:.2f} ms "
            f"of the reader + {best['server_cpu_ms']:.2f} ms of the server (the same lookup in "
            f"process {best['in_process_cpu_ms']:.2f}); {what}; {best['calls_a_read']:.2f} MGETs "
            f"and {best['rows_a_read']:.0f} rows a read, {best['rows_of_the_first_read']:.0f} rows "
            f"for a reader's first; load average {best['load']:.1f}",
        ),
        _against_feast(ms, what),
    ]  # fmt: skip


def _against_feast(ms: float, what: str) -> Row:
    name, target = "features.redis_vs_feast", 25
    if not feature_join.FEAST.exists():
        return Row(id=name, value=None, unit="x", better="higher", target=target,
                   note=f"no Feast here: make feast; ours {ms:.3f} ms, {what}")  # fmt: skip
    theirs = feature_online.feast(record.ROOT / "var" / "bench-features" / "online")
    p50 = theirs["60"]["p50_ms"]
    return Row(
        id=name, value=round(p50 / ms, 1), unit="x", better="higher", target=target,
        peer=str(theirs["peer"]), peer_value=round(p50, 2),
        note=f"wall time, both through Redis; ours {ms:.3f} ms for {what}; Feast 60 features of "
        f"500 listings and 10 of the person; with 20 features {theirs['20']['p50_ms']:.1f} ms",
    )  # fmt: skip


def _server_cpu_ms(url: str) -> float:
    with redis.Redis.from_url(url) as client:
        used = client.info("cpu")
    return 1000 * float(used["used_cpu_user"] + used["used_cpu_sys"])


def _timed(
    features: StoredFeatures | FeatureState, request: Request, slots: NDArray[np.int32]
) -> tuple[float, float, NDArray[np.uint32]]:
    """(wall ms, CPU ms of this process, the values' bits)."""
    start, start_cpu = time.perf_counter(), time.process_time()
    batch = features.lookup(request, slots)
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - start
    return wall * 1000, cpu * 1000, batch.values.view(np.uint32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--listings", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--reads", type=int, default=500)
    print(json.dumps(measured(**vars(parser.parse_args()))))
