"""A server in processes of its own: begun, asked whether it is ready, its CPU told, and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import record
from benchmarks.serving_stock import TOML

ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "NUMBA", "OPENBLAS", "MKL")
} | {"POLARS_MAX_THREADS": "1"}  # fmt: skip
_WAIT_S = 900


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers.

    Attributes:
        port: on loopback.
        pid: of the first process; others are its children.
        ready_s, ready_cpu_s: from its start until it said it was ready.
    """

    port: int
    pid: int
    ready_s: float
    ready_cpu_s: float

    def cpu_s(self) -> float:
        """CPU of all its processes up to now, to the nanosecond."""
        return sum(map(cpu_s, family(self.pid)))

    def rss_gib(self) -> float:
        """Resident memory of all its processes; what they share counts for each."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family(self.pid))
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**30


def cpu_s(pid: int) -> float:
    """CPU of all threads of a process: clock_getcpuclockid(3) as Linux encodes it."""
    return time.clock_gettime((~pid << 3) | 2)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        # One that writes a snapshot ends at any moment.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


@cache
def bytecode() -> dict[str, str]:
    """The environment in which all is compiled to bytecode, as it is where it was installed."""
    environment = {
        "PYTHONPYCACHEPREFIX": str(record.ROOT / "var" / "bytecode"),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import heirloom.apps.main, heirloom.apps.server, heirloom.apps.build",
        ],
        check=True,
        cwd=record.ROOT,
        env=os.environ | environment | {"PYTHONPATH": str(record.ROOT / "src")},
    )
    return environment


@contextmanager
def running(command: Sequence[str], port: int, path: str = "/readyz") -> Iterator[Served]:
    """A command's server, from when it says that it is ready until the end of the block."""
    source = str(record.ROOT / "src")
    path_of_ours = {"PYTHONPATH": f"{source}{os.pathsep}{record.ROOT}"}
    environment = os.environ | ONE_THREAD | path_of_ours | bytecode()
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=record.ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while not _ready(port, path):
            if process.poll() is not None or time.monotonic() - began > _WAIT_S:
                raise RuntimeError(f"{' '.join(command)}: not ready; it ended or took too long")
            time.sleep(0.02)
        ready = time.monotonic() - began
        yield Served(port, process.pid, ready, sum(map(cpu_s, family(process.pid))))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def ours(folder: Path, port: int, *more: str) -> list[str]:
    """The command that serves a stocked folder."""
    return [
        sys.executable, "-c", "from heirloom.apps.main import main; main()", "serve",
        "--system", str(TOML), "--folder", str(folder), "--port", str(port), *more,
    ]  # fmt: skip


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


def _ready(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
