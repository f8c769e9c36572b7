"""A tiny marketplace served by a writer and two workers in real processes, and two bundles."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from tests.apps.conftest import LAPTOP, Clock, listings

from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.settings import load
from heirloom.core.bundle import DataWindow
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.linear import Linear, _Weights

WORKERS = ("worker-1", "worker-2")
WAIT_S = 120
SERVE = "from heirloom.apps.main import main; main()"


def stock(count: int = 240) -> list[Listing]:
    made = listings()[:60]
    return [
        msgspec.structs.replace(made[i % 60], listing_id=f"s{i}", seller=f"seller{i}")
        for i in range(count)
    ]


def bundle_of(system: System, sign: float) -> str:
    """A bundle whose every score has this sign; gives its id."""
    columns = system.live.view.columns
    count = len(columns)
    ranker = Linear(
        _Weights(
            columns=columns,
            logged=(False,) * count,
            centre=(0.0,) * count,
            scale=(1.0,) * count,
            weight=(0.0,) * count,
            weight_if_missing=(0.0,) * count,
        )
    )
    ranker = Linear(
        msgspec.structs.replace(
            ranker._weights,
            # (0 · value - centre) · weight: the same for each listing, missing or not.
            centre=(-1e12,) + (0.0,) * (count - 1),
            weight=(sign,) + (0.0,) * (count - 1),
            weight_if_missing=(sign,) + (0.0,) * (count - 1),
        )
    )
    draft = system.folder / "bundles" / f"draft{sign}"
    made = bundles.write(
        draft,
        ranker,
        name="test",
        kind="linear",
        data_window=DataWindow(from_offset=0, to_offset=1, from_t=0, to_t=1),
        metrics={},
        slices={},
        negatives="none",
        seed=0,
        code_version="test",
        golden=FeatureBatch(np.zeros((2, count), np.float32), columns, 0),
    )
    draft.rename(draft.with_name(made.bundle_id))
    return made.bundle_id


@dataclass
class Market:
    """A system's folder, its server, and how to ask it."""

    folder: Path
    plus: str
    minus: str
    process: subprocess.Popen[str] | None = None
    address: str = ""
    admin: str = ""

    def serve(
        self,
        workers: int = len(WORKERS),
        system: Path = LAPTOP,
        log: Path | None = None,
        more: tuple[str, ...] = (),
    ) -> None:
        """Start it; returns when it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            admin = free.getsockname()[1]
        stderr = None if log is None else log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "serve", "--workers", str(workers), "--port", "0",
             "--admin-port", str(admin), "--system", str(system), "--folder", str(self.folder),
             *more],
            stdout=subprocess.PIPE, stderr=stderr, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        if stderr is not None:
            stderr.close()  # it is the server's now
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("serving on http://"), line
        self.address, self.admin = line.split()[-1], f"http://127.0.0.1:{admin}"

    def post(self, path: str, body: Any, **sent: Any) -> httpx.Response:
        """On a connection of its own."""
        return httpx.post(self.address + path, json=body, timeout=60, **sent)

    def ask(self, **asked: Any) -> dict[str, Any]:
        path = "/v1/search" if "text" in asked else "/v1/recommend"
        answer = self.post(path, asked)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def take(self, *events: dict[str, Any]) -> None:
        """All of them are acknowledged."""
        answer = self.post("/v1/events", list(events))
        assert answer.status_code == 200, answer.text
        assert answer.json()["taken"] == len(events), answer.text

    def details(self) -> dict[str, Any]:
        """What a worker says of all."""
        told: dict[str, Any] = httpx.get(self.address + "/readyz", timeout=60).json()["details"]
        return told

    def told(self, name: str) -> tuple[str, int, int]:
        """State, pid and starts of a process."""
        found = re.match(r"(\w+), pid (\d+), started (\d+) x", self.details()[f"process.{name}"])
        assert found
        return found[1], int(found[2]), int(found[3])

    def pid(self, name: str) -> int:
        return self.told(name)[1]

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what was announced for no moment."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if holds():
                    return
            time.sleep(0.02)
        raise AssertionError(f"it did not come about: {self.details()}")

    def kill(self, name: str) -> None:
        """Without warning; returns when another is ready in its place."""
        _, pid, starts = self.told(name)
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: self.told(name)[::2] == ("ready", starts + 1))
        assert self.pid(name) != pid

    @contextlib.contextmanager
    def only(self, worker: str) -> Iterator[None]:
        """The others stand still, so that this one answers."""
        still = [self.pid(name) for name in WORKERS if name != worker]
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in still:
                os.kill(pid, signal.SIGCONT)

    def publish(self, bundle_id: str) -> None:
        """As any process does it."""
        draft = self.folder / "current.new"
        draft.write_text(bundle_id + "\n")
        draft.replace(self.folder / "current.txt")

    def end(self) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.left()

    def left(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(timeout=WAIT_S)
        self.process.stdout.close()
        return status


def made(folder: Path) -> Market:
    """A folder with stock, in which one of two bundles is published; it is not served yet."""
    system = System(load(LAPTOP, folder=folder), clock=Clock(time.time_ns() // 1_000_000))
    now = system.now_ms()
    listed = [
        Event(event_id=f"listed {x.listing_id}", kind="listed", t=now, listing=x.listing_id, data=x)
        for x in stock()
    ]
    assert system.ingest(listed, source="test").taken == len(listed)
    market = Market(folder, bundle_of(system, 1.0), bundle_of(system, -1.0))
    system.publish(market.plus)
    system.close()
    return market
