"""Launch: a system is loaded once, then answered by a writer and N workers forked from it."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from heirloom.apps import tracing
from heirloom.apps.build import System
from heirloom.apps.console.history import History
from heirloom.apps.rehearsal import rehearse
from heirloom.apps.server import announce_on_stdout, opened
from heirloom.apps.settings import FeaturesPart, Settings
from heirloom.apps.workers.board import Board
from heirloom.apps.workers.handing import Box
from heirloom.apps.workers.process import WRITER, Run, work, write
from heirloom.apps.workers.supervisor import Patience, Supervisor, check_threads, freeze
from heirloom.core.errors import ConfigError

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of ours is made in it
LEAST_FREE = 256 << 20
"""Bytes; with fewer, what visits leave goes to the disk."""


def serve(
    settings: Settings,
    *,
    workers: int,
    reader: bool = False,
    host: str,
    port: int,
    admin_port: int | None = None,
    unguarded: bool = False,
    at: Path | None = None,
    announce: Callable[[str], None] = announce_on_stdout,
    patience: Patience | None = None,
) -> int:
    """Serve by `workers` processes and a writer until a signal; gives the exit status.

    As a reader, without a writer: beside one that runs elsewhere on this machine, and which takes
    the events. Features are folded by each process then, whatever store the settings name.

    Raises:
        ConfigError, StoreError: as of System and `server.opened`, or it cannot be forked.
    """
    _check(settings)
    tracing.check(settings.telemetry)
    doors = opened(
        settings, host=host, port=port, admin_port=admin_port, unguarded=unguarded, at=at
    )
    try:
        if reader:
            settings = settings.model_copy(update={"features": FeaturesPart()})
        system = System(settings, reader=reader)
        try:
            rehearse(system)  # what is compiled or loaded then, is so before the fork
        finally:
            system.close()
        check_threads()
        writers = [] if reader else [WRITER]
        board = Board([*writers, *(f"worker-{i}" for i in range(1, workers + 1))])
        with run_folder() as folder, contextlib.ExitStack() as stack:
            boxes = {at: Box.made() for at in range(len(writers), len(board.names))}
            for box in boxes.values():
                stack.callback(box.close)
            history, key = History(board.names), secrets.token_bytes(32)
            run = Run(system, doors, board, history, folder, key, boxes)
            freeze()

            def become(at: int) -> int:
                return (write if at == run.writer else work)(run, at, supervisor.alive)

            supervisor = Supervisor(
                board,
                become,
                last=range(len(writers)),
                before_fork=partial(catch_up, system),
                announce=partial(announce, doors.address),
                closing=doors.close,
                patience=patience or Patience(silent_s=settings.http.silent_s),
            )
            return supervisor.supervise()
    finally:
        doors.close()


def catch_up(system: System) -> None:
    """Fold what came since the system was loaded, so that a process forked now need not.

    Raises:
        StoreError: the log cannot be read; the state stays as of some offset of it.
    """
    try:
        system.resume(reader=True)
        system.catch_up()
    finally:
        system.close()
    freeze()


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder that this user alone can read, in memory where there is room; gone at the end."""
    within = None
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        within = MEMORY if shutil.disk_usage(MEMORY).free >= LEAST_FREE else None
    folder = Path(tempfile.mkdtemp(prefix="heirloom-", dir=within))
    owner = os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _check(settings: Settings) -> None:
    """Refuse what no fork survives."""
    problems = [
        f"[policy.quotas.{surface}] names tantivy, whose index has threads that a fork would lose; "
        "name `lexical`, or use --workers 1 and readers beside it"
        for surface, quota in settings.policy.quotas.items()
        if "tantivy" in quota
    ]
    if problems:
        raise ConfigError("workers", problems)
