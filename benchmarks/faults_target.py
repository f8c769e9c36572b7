"""A small marketplace to be hurt: listings and a bundle, nothing to train; and its server."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from benchmarks import record
from benchmarks.serving_process import ONE_THREAD
from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.settings import load
from heirloom.core.bundle import DataWindow
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Ranker
from heirloom.simulator import Size, World

LAPTOP = record.ROOT / "systems" / "laptop.toml"
SERVE = "from heirloom.apps.main import main; main()"
_WAIT_S = 60


def linear(columns: Sequence[str], seed: int = 0) -> Linear:
    """A ranker of these columns with weights that were drawn."""
    draw, count = np.random.default_rng(seed), len(columns)
    weights = {
        "columns": list(columns),
        "logged": [False] * count,
        "centre": [0.0] * count,
        "scale": [1.0] * count,
        "weight": draw.normal(size=count).tolist(),
        "weight_if_missing": draw.normal(size=count).tolist(),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "linear.json").write_bytes(msgspec.json.encode(weights))
        return Linear.load(Path(folder))


def written(folder: Path, ranker: Ranker, kind: str, *, seed: int = 0) -> Path:
    """A bundle below a folder of bundles, in the folder of its id."""
    golden = np.random.default_rng(seed).normal(size=(20, len(ranker.columns)))
    draft = folder / "draft"
    bundle = bundles.write(
        draft,
        ranker,
        name="faults",
        kind=kind,
        data_window=DataWindow(from_offset=0, to_offset=1, from_t=0, to_t=1),
        metrics={"ndcg@10": 0.5},
        slices={"surface=home": {"ndcg@10": 0.5}},
        negatives="none",
        seed=seed,
        code_version="faults",
        golden=FeatureBatch(golden.astype(np.float32), ranker.columns, 0),
        retrievers={"takers": {"takers": np.arange(12, dtype=np.float32).reshape(3, 4)}},
        documents={"report.json": b'{"note": "for people"}'},
    )
    return draft.rename(folder / bundle.bundle_id)


def stocked(folder: Path, *, listings: int = 240, seed: int = 0) -> str:
    """A system's folder with that stock and a published bundle, whose id it gives."""
    system = System(load(LAPTOP, folder=folder))
    try:
        now = system.now_ms()
        world = World(Size(listings, people=10, days=1, sessions_per_day=0.1), seed, start_ms=now)
        opening = list(world.opening())
        report = system.ingest(opening, source="simulator")
        if report.taken != len(opening):
            raise RuntimeError(f"{report.taken} of {len(opening)} listings were taken: {report}")
        bundle = written(folder / "bundles", linear(system.live.view.columns), "linear").name
        system.publish(bundle)
        return bundle
    finally:
        system.close()


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers.

    Attributes:
        host, port: where.
        process: the first of its processes.
        said: the file of what it said on its standard error.
    """

    host: str
    port: int
    process: "subprocess.Popen[str]"
    said: Path

    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def accidents(self) -> list[str]:
        """Errors that it did not expect, as the last lines of their tracebacks."""
        text = self.said.read_text(errors="replace")
        parts = text.split("Traceback (most recent call last):\n")[1:]
        lines = [[line for line in part.splitlines() if line[:1] != " "] for part in parts]
        return [found[0] if found else "a traceback" for found in lines]


@contextmanager
def served(
    folder: Path,
    *options: str,
    system: Path = LAPTOP,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[Served]:
    """`heirloom serve` of a folder, until the end of the block, where it must end by itself.

    Args:
        folder: the system's.
        options: of the command, besides.
        system: its TOML.
        environment: variables beside ours.
        command: in place of all that; it says where it serves in the same words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = ["serve", "--port", "0", "--system", str(system), "--folder", str(folder), *options]
    said = folder.with_name(f"{folder.name}.said")
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *(command or given)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | ONE_THREAD | {"PYTHONUNBUFFERED": "1"} | dict(environment or {}),
        )
    try:
        host, port = _address(process, said)
        yield Served(host, port, process, said)
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {said.read_text()}")
        process.terminate()
        if status := process.wait(_WAIT_S):
            raise RuntimeError(f"the server ended with {status}: {said.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _address(process: "subprocess.Popen[str]", said: Path) -> tuple[str, int]:
    out: IO[str] | None = process.stdout
    line = out.readline() if out is not None else ""
    if "http://" not in line:
        raise RuntimeError(f"the server said {line!r}, and {said.read_text()}")
    host, _, port = line.split()[-1].removeprefix("http://").rpartition(":")
    return host, int(port)
