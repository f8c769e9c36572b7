"""Benchmark rows on disk: what was measured, on which machine, at which commit, by which command.

`write` is the one way into `benchmarks/results/`; a row that says too little is refused.
"""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Literal

import msgspec

from heirloom.core.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_WRITTEN_BY_US = ("benchmarks/results/", "docs/benchmarks.md")


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured figure, named `benchmark.figure`."""

    id: str
    value: float | int | None
    """None: could not be measured; `note` says why."""
    unit: str
    better: Literal["higher", "lower", "equal"]
    target: float | int | None = None
    """The least bar. None: reported for orientation."""
    peer: str | None = None
    """The named thing measured beside it in the same run, with its version."""
    peer_value: float | int | None = None
    interval: tuple[float, float] | None = None
    """Low and high; `note` says of what kind (95 % bootstrap over people, spread of runs)."""
    note: str = ""

    def reached(self) -> bool | None:
        """Whether the bar is reached; None without a bar or a value.

        >>> Row(id="spine.sold_leaks", value=0, unit="listings", better="equal", target=0).reached()
        True
        >>> Row(id="x.cpu_ms", value=1.2, unit="ms", better="lower", target=1).reached()
        False
        """
        if self.target is None or self.value is None:
            return None
        if self.better == "equal":
            return self.value == self.target
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    def problem(self) -> str | None:
        """Why this row says too little, as a sentence; None if it will do."""
        if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", self.id):
            return f"id is {self.id!r}; wanted benchmark.figure in lower case"
        if self.value is None and not self.note:
            return "value is null and note does not say why"
        numbers = (self.value, self.target, self.peer_value, *(self.interval or ()))
        if not all(isfinite(number) for number in numbers if number is not None):
            return "holds a number that is NaN or infinite; write null and say why in note"
        if self.interval is not None and self.interval[0] > self.interval[1]:
            return f"interval is {list(self.interval)}; wanted [low, high]"
        if self.peer_value is not None and not self.peer:
            return "has a peer_value but names no peer"
        return None


class Machine(msgspec.Struct, frozen=True):
    """What it was measured on."""

    cpu: str
    cores: int
    """Cores this process may use."""
    memory_gib: float


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of `benchmarks/results/`."""

    name: str
    date: str
    """When it was written, UTC, ISO 8601."""
    commit: str | None
    """None: not in a git repository."""
    dirty: bool
    """Whether the tree differed from the commit, in more than what benchmarks write."""
    command: str
    machine: Machine
    rows: tuple[Row, ...]


def write(name: str, rows: Iterable[Row], *, command: str, path: Path | None = None) -> Path:
    """Write a result whole or not at all, and say where it lies.

    Args:
        name: the benchmark; each row's id begins with it and a dot.
        rows: what was measured, in the order in which to show it.
        command: what to type to measure it again, `make bench-NAME`.
        path: the file; `RESULTS / NAME.json` unless it is one part of several.

    Raises:
        InputError: if rows say too little, with all that is wrong.
    """
    rows = tuple(rows)
    problems = [f"{row.id}: {why}" for row in rows if (why := row.problem())]
    ids = [row.id for row in rows]
    problems += [
        f"{id}: does not begin with {name}." for id in ids if not id.startswith(f"{name}.")
    ]
    problems += [
        f"{id}: stands {ids.count(id)} times" for id in sorted(set(ids)) if ids.count(id) > 1
    ]
    if not rows:
        problems.append("no rows")
    if problems:
        raise InputError(f"benchmark {name!r} cannot be recorded:\n  - " + "\n  - ".join(problems))
    at, dirty = version()
    result = Result(
        name=name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=at,
        dirty=dirty,
        command=command,
        machine=machine(),
        rows=rows,
    )
    text = msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            part.write(text)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).chmod(0o644)
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return path


def read(path: Path) -> Result:
    """What `write` wrote.

    Raises:
        InputError: if the file is not of that form; the message names it.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path.name}: {error}; measure it again: make bench-{path.stem}"
        ) from error


def machine() -> Machine:
    """This machine, as far as it tells."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bytes_of_memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(cpu=_cpu(), cores=cores or 1, memory_gib=round(bytes_of_memory / 2**30, 1))


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*: (.+)$", info.read_text(), re.M)):
        return found[1].strip()
    return platform.processor() or platform.machine()


def version() -> tuple[str | None, bool]:
    """The commit that stands here, and whether the tree differs from it in what matters."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    except (OSError, subprocess.CalledProcessError):
        return None, False
    return commit, any(not path.startswith(_WRITTEN_BY_US) for path in changed)
