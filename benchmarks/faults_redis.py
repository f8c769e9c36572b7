"""Features in Redis, and Redis is killed, hung or slow: what a reader and the writer answer.

A real redis-server; the way to it leads through a wire that can be made slow.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import faults_market as fm
from benchmarks.faults_load import Answer, Load, bodies_of
from benchmarks.faults_market import Market, copied, market, toml, until
from benchmarks.faults_wire import Wire, wire
from benchmarks.record import Row
from benchmarks.serving_process import free_port

BACK_S = 5.0
RATE = 20.0
_FULL = 10
"""So many pages in a row, all full: it is back."""


@dataclass(frozen=True, slots=True)
class Times:
    """Ms.

    Attributes:
        budget: a client waits so long, and says so less `margin`, which it keeps for the way.
        margin: see `budget`.
        redis: [features] timeout_ms.
        slow: what a slow way takes, each way.
    """

    budget: int = 300
    margin: int = 50
    redis: int = 50
    slow: int = 200


USUAL = Times()


class Redis:
    """A redis-server without files, on a port that it keeps.

    Raises:
        RuntimeError: there is none to start.
    """

    def __init__(self) -> None:
        if shutil.which("redis-server") is None:
            raise RuntimeError("no redis-server on the PATH; apt-get install redis-server")
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Empty."""
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def send(self, what: signal.Signals) -> None:
        """A signal to it."""
        os.kill(self._process.pid, what)

    def kill(self) -> None:
        """At once; returns when it is gone."""
        self.send(signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a server, and what ends it."""

    name: str
    begin: Callable[[Redis, Wire, Times], None]
    end: Callable[[Redis, Wire, Times], None]


FAULTS = (
    Fault("killed", lambda server, *_: server.kill(), lambda server, *_: server.start()),
    Fault(
        "hung",
        lambda server, *_: server.send(signal.SIGSTOP),
        lambda server, *_: server.send(signal.SIGCONT),
    ),
    Fault(
        "slow",
        lambda _, way, times: way.delay(times.slow / 1e3),
        lambda _, way, __: way.delay(0.0),
    ),
)


@dataclass(frozen=True, slots=True)
class Endured:
    """What became of the requests while a fault lasted, and until it was over for them.

    Attributes:
        fault: its name.
        asked: requests, of the reader and the writer in turn.
        answered: of those, 200.
        in_budget: and in the budget, from when they were due.
        rungs: of the reader's pages while it lasted, without the first second of it.
        back_s: from its end to the first of the full pages that went on.
        p99_ms: of all.
    """

    fault: str
    asked: int
    answered: int
    in_budget: int
    rungs: Counter[str]
    back_s: float
    p99_ms: float


def endured(stock: Path, lasts_s: float, *, times: Times = USUAL) -> list[Endured]:
    """One fault after the other, each when all is full again."""
    with copied(stock) as folder, _with_redis(folder, times) as (server, way, reader, writer):
        bodies, answers = bodies_of(fm.about(folder).people), list[Answer]()
        load = Load(
            [reader.port, writer.port], bodies, rate=RATE, connections=8,
            wait_ms=times.budget - times.margin, tell=answers.append,
        )  # fmt: skip
        found = []
        with load:
            for fault in FAULTS:
                until(lambda: _all_full(answers))
                began = time.monotonic()
                fault.begin(server, way, times)
                time.sleep(lasts_s)
                fault.end(server, way, times)
                ended = time.monotonic()
                until(lambda: _all_full(answers, since=ended))  # noqa: B023
                found.append(_endured(fault.name, answers, reader.port, (began, ended), times))
        return found


@contextmanager
def _with_redis(folder: Path, times: Times) -> Iterator[tuple[Redis, Wire, Market, Market]]:
    server = Redis()
    try:
        with wire(server.port) as way:
            until(lambda: _accepts(server.port))
            system = toml(
                folder,
                features=f'store = "redis"\nurl = "redis://127.0.0.1:{way.port}/0"\n'
                f"timeout_ms = {times.redis}",
                serving=f"deadline_ms = {times.budget}",
            )
            with market(folder, system) as writer:
                # A reader is refused until the writer has filled the store.
                until(lambda: "mark" in _keys(server.port))
                with market(folder, system, "--reader") as reader:
                    yield server, way, reader, writer
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send(signal.SIGCONT)
            server.kill()


def _keys(port: int) -> str:
    import redis

    with redis.Redis(port=port) as client:
        return " ".join(key.decode() for key in client.scan_iter("fs:*:mark"))


def _accepts(port: int) -> bool:
    import redis

    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _all_full(answers: list[Answer], since: float = 0.0) -> bool:
    last = answers[-_FULL:]
    return len(last) == _FULL and all(one.rung == "full" and one.due > since for one in last)


def _endured(
    fault: str, answers: list[Answer], reader: int, lasted: tuple[float, float], times: Times
) -> Endured:
    began, ended = lasted
    during = [one for one in answers if one.due >= began]
    lower = [one.due for one in during if one.due >= ended and one.rung != "full"]
    first = min(one.ended for one in during if one.due > max([ended, *lower]))
    waits = [one.took for one in during]
    return Endured(
        fault=fault,
        asked=len(during),
        answered=sum(one.status == 200 for one in during),
        in_budget=sum(one.status == 200 and 1e3 * one.took <= times.budget for one in during),
        rungs=Counter(
            one.rung for one in during if one.port == reader and began + 1.0 <= one.due < ended
        ),
        back_s=max(first - ended, 0.0),
        p99_ms=1e3 * float(np.percentile(waits, 99)),
    )


def rows(listings: int = 5_000, lasts_s: float = 60.0) -> list[Row]:
    """Killed, hung and slow, each for so long."""
    found = endured(fm.stocked(listings), lasts_s)
    asked = sum(each.asked for each in found)
    slowest = max(each.back_s for each in found)
    said = "; ".join(
        f"{each.fault}: {each.answered} of {each.asked} answered, {each.in_budget} in time, p99 "
        f"{each.p99_ms:.0f} ms, "
        + ", ".join(f"{count} {rung}" for rung, count in each.rungs.most_common())
        + f" of the reader, back after {each.back_s:.2f} s"
        for each in found
    )
    return [
        Row(id="faults.redis_answered", unit="share of requests", better="higher", target=1,
            value=round(sum(each.in_budget for each in found) / asked, 4),
            note=f"200 within {USUAL.budget} ms, of which the header names "
            f"{USUAL.budget - USUAL.margin}; a reader and the writer, {RATE:.0f} requests a "
            f"second, {lasts_s:.0f} s of each fault; Redis may take {USUAL.redis} ms, slow is "
            f"{USUAL.slow} ms each way; {said}"),
        Row(id="faults.redis_back_s", value=round(slowest, 2), unit="s", better="lower",
            target=BACK_S,
            note="from the end of the fault to pages that are full again and stay so, the longest; "
            "killed, it comes back empty and is filled anew"),
    ]  # fmt: skip
