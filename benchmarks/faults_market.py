"""A small marketplace in real processes, to be hurt: built once, copied for each fault, watched.

People, listings and what happened to them are a simulated world. Its three bundles are rankers
fitted to noise, each of its own seed, so that their scores differ everywhere and a page tells which
made it; the third has other encoders too, so that publishing it changes the vectors' index.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import record
from benchmarks.serving_process import Served, free_port, running
from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.settings import load
from heirloom.core.bundle import DataWindow
from heirloom.core.slate import FeatureBatch
from heirloom.encoders.pair import HASHED, Encoders
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples
from heirloom.simulator import Mixed, Size, World

KEPT = record.ROOT / "var" / "bench-faults"
LAPTOP = record.ROOT / "systems" / "laptop.toml"
ABOUT = "about.json"
DAY_MS = 86_400_000
SEED = 0
WAIT_S = 300.0
"""For what is to come about; a machine that is busy takes long."""
SERVE = "from heirloom.apps.main import main; main()"
_PROCESS = re.compile(r"(\w+), pid (\d+), started (\d+) x,.* n (\d+), bundle (\w+)")


class About(msgspec.Struct, frozen=True):
    """What a stocked folder says of itself.

    Attributes:
        people: of its world, u000000 and on.
        bundles: two with the hashed encoders, the first of them published, and one with others.
    """

    people: int
    bundles: tuple[str, str, str]


def about(folder: Path) -> About:
    """Of a stocked folder."""
    return msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)


def toml(folder: Path, *, snapshot_every: int = 500_000, **tables: str) -> Path:
    """The laptop's system with further tables, as a file in a folder; gives its path."""
    every = f"[system]\nsnapshot_every = {snapshot_every}\n"
    text = LAPTOP.read_text(encoding="utf-8").replace("[system]\n", every, 1)
    text += "".join(f"\n[{name}]\n{lines}\n" for name, lines in tables.items())
    path = folder / "system.toml"
    path.write_text(text, encoding="utf-8")
    return path


def built(folder: Path, listings: int) -> Path:
    """Fill a folder that does not exist: a world's stock and half a day of it, three bundles."""
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    system = System(load(LAPTOP, folder=draft))
    try:
        size = Size(listings, people=max(listings // 10, 20), days=0.5, sessions_per_day=1.0)
        world = World(size, SEED, start_ms=system.now_ms() - DAY_MS)
        system.ingest_history(world.opening(), source="simulator")
        while world.day < size.days:
            system.ingest_history(world.step(Mixed(world)).events(), source="simulator")
        ids = (_bundle(system, 1), _bundle(system, 2), _bundle(system, 3, _tower()))
        system.publish(ids[0])
        system.snapshot()
        (draft / ABOUT).write_bytes(msgspec.json.encode(About(size.people, ids)))
    finally:
        system.close()
    draft.rename(folder)
    return folder


def stocked(listings: int) -> Path:
    """The same under KEPT, built where it is missing."""
    KEPT.mkdir(parents=True, exist_ok=True)
    folder = KEPT / f"stock-{listings}"
    return folder if folder.exists() else built(folder, listings)


@contextmanager
def copied(stock: Path) -> Iterator[Path]:
    """A copy of a stocked folder beside it, and gone at the end."""
    folder = stock.with_name(f"{stock.name}-{os.getpid()}-{time.time_ns()}")
    shutil.copytree(stock, folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bundle(system: System, seed: int, encoders: Encoders = HASHED) -> str:
    columns = system.live.view.columns
    rng, rows = np.random.default_rng(seed), 400
    noise = Examples(
        values=rng.normal(size=(rows, len(columns))).astype(np.float32),
        columns=columns,
        groups=np.repeat(np.arange(rows // 10), 10),
        gains=rng.integers(0, 3, rows).astype(np.float32),
        positions=np.tile(np.arange(10, dtype=np.int16), rows // 10),
        t=np.zeros(rows, np.int64),
    )
    ranker = Linear.fit(noise, noise, seed=seed)
    draft = system.folder / "bundles" / f"draft{seed}"
    made = bundles.write(
        draft, ranker, name="faults", kind="linear",
        data_window=DataWindow(from_offset=0, to_offset=1, from_t=0, to_t=1),
        metrics={}, slices={}, negatives="none", seed=seed, code_version="faults",
        golden=FeatureBatch(noise.values[:8], columns, 0), encoders=encoders,
    )  # fmt: skip
    draft.rename(draft.with_name(made.bundle_id))
    return made.bundle_id


def _tower() -> Encoders:
    """A listing tower that learned nothing: its vectors are others than the hashed ones."""
    import torch

    from heirloom.encoders.listing import About, ListingEncoder
    from heirloom.encoders.pair import GOLDEN
    from heirloom.encoders.tokens import PriceRanks, tokens_of
    from heirloom.encoders.training.graph import listing_graph
    from heirloom.encoders.training.listing import ListingTower

    buckets, dim, prices = 4_096, 32, PriceRanks({})
    torch.manual_seed(SEED)
    tower = ListingTower(tokens_of(GOLDEN, buckets, prices), buckets, dim)
    for weights in tower.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    about = About(dim=dim, buckets=buckets, deciles=prices.deciles)
    return Encoders(ListingEncoder(listing_graph(tower.eval()), about))


@dataclass(frozen=True, slots=True)
class Process:
    """What one process of a server says of itself.

    Attributes:
        state: ready, starting, draining or down.
        pid: of the process that it is now.
        starts: how often it was started.
        n: log offset folded.
        bundle: the first digits of the one that it answers with.
    """

    state: str
    pid: int
    starts: int
    n: int
    bundle: str


@dataclass(frozen=True, slots=True)
class Market:
    """A system's folder and the server that answers from it."""

    folder: Path
    served: Served

    @property
    def port(self) -> int:
        """Of its public door, on loopback."""
        return self.served.port

    def publish(self, bundle: str) -> None:
        """Move the pointer, as any process does it."""
        draft = self.folder / "current.new"
        draft.write_text(bundle + "\n")
        draft.replace(self.folder / "current.txt")

    def post(self, path: str, body: object, timeout_s: float = 60.0) -> tuple[int, Any]:
        """Status and JSON of an answer, on a connection of its own; (0, None) for none."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", content, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None
        except (OSError, ValueError):
            return 0, None

    def get(self, path: str) -> str:
        """The text of an answer; "" where there is none."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=30
            ) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def processes(self) -> dict[str, Process]:
        """What all say of themselves, by name; empty where nobody answers."""
        text = self.get("/readyz")
        told = json.loads(text)["details"] if text else {}
        found = {}
        for name, said in told.items():
            if name.startswith("process.") and (parts := _PROCESS.match(said)):
                state, pid, starts, n, bundle = parts.groups()
                made = Process(state, int(pid), int(starts), int(n), bundle)
                found[name.removeprefix("process.")] = made
        return found

    def until_all(self, holds: Callable[[Process], bool]) -> None:
        """Wait for what all processes are to say."""
        until(lambda: bool(found := self.processes()) and all(map(holds, found.values())))

    def counted(self, metric: str) -> float:
        """A metric, summed over all its labels."""
        lines = re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics"), re.M)
        return sum(map(float, lines))


def until(holds: Callable[[], bool], *, every_s: float = 0.02) -> float:
    """Wait for it; gives when it was seen to hold, s of the monotonic clock.

    Raises:
        TimeoutError: it did not come about in WAIT_S.
    """
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError):
            if holds():
                return time.monotonic()
        time.sleep(every_s)
    raise TimeoutError(f"it did not come about in {WAIT_S:.0f} s")


@contextmanager
def market(
    folder: Path, system: Path, *more: str, code: str = SERVE, workers: int = 0
) -> Iterator[Market]:
    """A folder served until the end of the block, all processes ready.

    Args:
        folder: the system's.
        system: its TOML.
        more: options of `heirloom serve`.
        code: what python runs instead of it.
        workers: beside a writer; 0: one process.
    """
    port = free_port()
    options = ["--workers", str(workers)] if workers else []
    command = [
        sys.executable, "-c", code, "serve", "--system", str(system), "--folder", str(folder),
        "--port", str(port), *options, *more,
    ]  # fmt: skip
    with running(command, port) as served:
        made = Market(folder, served)
        if workers:
            made.until_all(lambda one: one.state == "ready")
        yield made


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """What this thread starts meanwhile runs on these cores alone; on all where it may on none."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores) & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def kill(pid: int) -> None:
    """At once and without warning."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
