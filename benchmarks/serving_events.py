"""Events in over HTTP: how many are durable a second on one core, and when they are seen.

    python -m benchmarks.serving_events [--events 40000] [--listings 20000] [--rounds 200]

The server is the one that `heirloom serve` runs, in a process of its own that is held to one core,
on `systems/laptop.toml`; SQLite writes with synchronous=FULL. Traffic is the simulator's: clicks,
impressions of 24 listings, searches, sales. CPU is that of the server's process, all threads: what
a core that does nothing else could take. Wall time is beside it, and is the scheduler's too.
"""

import argparse
import http.client
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from benchmarks.parts import measured
from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM
from heirloom.apps.server import run
from heirloom.apps.settings import load
from heirloom.core.event import Event
from heirloom.simulator import Mixed, Size, World

DAY_MS = 86_400_000
RATE, SEEN_MS = 20_000, 100.0
PEOPLE = 4_000
SHAPES = ((1, 1), (1, 32), (10, 8), (100, 8), (1_000, 4))
"""(events of a request, connections)."""
BEHIND = 100
"""Events of each request that goes on while it is measured when an event is seen."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run of requests cost.

    Attributes:
        batch: events of a request.
        connections: so many requests at once.
        events: acknowledged.
        wall_s: from the first request to the last answer.
        cpu_s: of the server's process.
    """

    batch: int
    connections: int
    events: int
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return (
            f"{self.batch:>5} events a request, {self.connections:>2} connections: "
            f"{1e6 * self.cpu_s / self.events:6.1f} us CPU an event, "
            f"{self.events / self.cpu_s:7,.0f}/s of CPU, "
            f"{self.events / self.wall_s:7,.0f}/s by clock"
        )


class Served:
    """A server in another process, and the events that are still to be sent to it."""

    def __init__(self, address: str, pid: int, events: Sequence[Event]) -> None:
        self.address, self._pid = urlsplit(address), pid
        self._events = iter(events)
        self.people = [f"u{number:06d}" for number in range(PEOPLE)]

    def cpu_s(self) -> float:
        """Seconds of CPU that the server's process used, all threads."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bodies(self, events: int, batch: int) -> list[bytes]:
        """So many of the next events, in requests."""
        parts = [[next(self._events) for _ in range(batch)] for _ in range(events // batch)]
        return [msgspec.json.encode(part) for part in parts]

    def post(self, door: http.client.HTTPConnection, path: str, body: bytes) -> Any:
        """The answer, as Python objects.

        Raises:
            RuntimeError: it is not 200.
        """
        door.request("POST", path, body, {"content-type": "application/json"})
        answer = door.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
        return msgspec.json.decode(content)

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """One that is kept."""
        door = http.client.HTTPConnection(self.address.hostname or "", self.address.port)
        try:
            yield door
        finally:
            door.close()


@contextmanager
def served(listings: int, events: int) -> Iterator[Served]:
    """A server of so many listings, on one core, and so many events to come."""
    size = Size(listings=listings, people=PEOPLE, days=2, sessions_per_day=1.5)
    world = World(size, 7, start_ms=time.time_ns() // 1_000_000 - 4 * DAY_MS)
    opening, policy, traffic = world.opening(), Mixed(world), list[Event]()
    while len(traffic) < events:
        traffic += world.step(policy).events()
    spawn = multiprocessing.get_context("spawn")
    heard, told = spawn.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = spawn.Process(target=_serve, args=(folder, opening, told), daemon=True)
        process.start()
        told.close()
        try:
            yield Served(heard.recv(), process.pid or 0, traffic)
        finally:
            process.terminate()
            process.join()


def _serve(folder: str, opening: list[Event], told: Connection) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    system = System(load(SYSTEM, folder=folder))
    system.ingest_history(opening, source="simulator")
    run(system, host="127.0.0.1", port=0, announce=told.send)


def taken(server: Served, events: int, batch: int, connections: int) -> Taken:
    """Send events in requests of `batch`, over so many connections at once."""
    bodies = server.bodies(events, batch)
    counts: list[int] = []

    def send(part: Sequence[bytes]) -> None:
        with server.connection() as door:
            for body in part:
                answer = server.post(door, "/v1/events", body)
                counts.append(answer["received"] - answer["quarantined"])

    threads = [
        threading.Thread(target=send, args=(bodies[first::connections],))
        for first in range(connections)
    ]
    cpu, began = server.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    if len(counts) != len(bodies):
        raise RuntimeError(f"{len(counts)} of {len(bodies)} requests were answered")
    return Taken(batch, connections, sum(counts), wall, server.cpu_s() - cpu)


def seen_ms(server: Served, rounds: int, *, behind: int = 0) -> list[float]:
    """[rounds] ms from the acknowledgement of an event to the end of an answer that shows it.

    A person hides what stands first on their page, and asks again: the first page without it has
    seen the event. Pages that still have it are asked for again, and their time counts.

    Args:
        server: with events left to send.
        rounds: so many people.
        behind: events that others send meanwhile, as fast as they are answered.
    """
    over = threading.Event()
    found: list[float] = []
    other = threading.Thread(target=_go_on, args=(server, server.bodies(behind, BEHIND), over))
    other.start()
    with server.connection() as door:
        for number in range(rounds):
            ask = {"user": server.people[number % PEOPLE], "k": 24}
            body = msgspec.json.encode(ask)
            first = server.post(door, "/v1/recommend", body)["listings"][0]["listing_id"]
            hide = [{"kind": "hide", "user": ask["user"], "listing": first}]
            server.post(door, "/v1/events", msgspec.json.encode(hide))
            acknowledged = time.perf_counter()
            while True:
                page = server.post(door, "/v1/recommend", body)["listings"]
                if all(card["listing_id"] != first for card in page):
                    break
            found.append(1e3 * (time.perf_counter() - acknowledged))
    over.set()
    other.join()
    return found


def _go_on(server: Served, bodies: Sequence[bytes], over: threading.Event) -> None:
    with server.connection() as door:
        for body in bodies:
            if over.is_set():
                return
            server.post(door, "/v1/events", body)


def rows(listings: int = 20_000, events: int = 40_000, rounds: int = 200) -> list[Row]:
    """Events a second in requests of 1,000, the median of three runs; and when one is seen."""
    runs = 3
    few = {1: events // 40, 10: events // 10, 100: events // 4}
    more = sum(few[batch] for batch, _ in SHAPES if batch in few)
    behind = rounds * 5 * BEHIND
    with served(listings, events * (runs + 1) + more + behind) as server:
        for batch, connections in SHAPES:
            print(taken(server, few.get(batch, events), batch, connections))
        rates = [taken(server, events, *SHAPES[-1]) for _ in range(runs)]
        for each in rates:
            print(each)
        quiet = seen_ms(server, rounds)
        busy = seen_ms(server, rounds, behind=behind)
    by_cpu = sorted(each.events / each.cpu_s for each in rates)
    by_clock = sorted(each.events / each.wall_s for each in rates)
    for name, found in (("quiet", quiet), ("while others send", busy)):
        print(f"seen, {name}: p50 {_at(found, 50):.1f}, p99 {_at(found, 99):.1f} ms")
    return [
        Row(
            id="serving.events_per_s",
            value=round(statistics.median(by_cpu)),
            unit="events/s of one core's CPU",
            better="higher",
            target=RATE,
            interval=(round(by_cpu[0]), round(by_cpu[-1])),
            note=f"requests of {SHAPES[-1][0]:,} on {SHAPES[-1][1]} connections, fsync before each "
            f"answer; median and range of {runs} runs of {events:,} events, {listings:,} listings; "
            f"by clock {statistics.median(by_clock):,.0f}/s with the server held to one core that "
            "others use too",
        ),
        Row(
            id="serving.read_your_writes_p99_ms",
            value=round(_at(busy, 99), 1),
            unit="ms",
            better="lower",
            target=SEEN_MS,
            note=f"by clock, from acknowledgement to the end of the first page that shows it, "
            f"{rounds} people, while another connection sends {BEHIND} events a request without "
            f"pause; p50 {_at(busy, 50):.1f}; quiet p50 {_at(quiet, 50):.1f}, "
            f"p99 {_at(quiet, 99):.1f}; no ranker, {listings:,} listings",
        ),
    ]


def _at(found: Sequence[float], percent: float) -> float:
    return float(np.percentile(found, percent))


def main() -> None:
    """Measure; rows go to `var/bench-serving/events.json`."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--listings", type=int, default=20_000)
    options.add_argument("--events", type=int, default=40_000, help="of each run")
    options.add_argument("--rounds", type=int, default=200, help="people who look for their event")
    chosen = options.parse_args()
    measure = partial(rows, chosen.listings, chosen.events, chosen.rounds)
    for row in measured("serving", "events", measure):
        print(row)


if __name__ == "__main__":
    main()
