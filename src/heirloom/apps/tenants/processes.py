"""Processes: each tenant's `heirloom serve` beside the front, started again when it ends."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

FIRST_S, LONGEST_S = 0.5, 30.0
"""Before a tenant that ended is started again: twice as long each time."""
GRACE_S = 20.0
_SERVE = "from heirloom.apps.main import main; main()"
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Tenant:
    """One tenant's processes: a server that listens at a socket of the file system.

    Attributes:
        name: of the tenant.
        options: of `heirloom serve`, besides where it listens.
        path: of the socket.
        told: set once it answers, or has ended for the first time.
    """

    name: str
    options: list[str]
    path: Path
    told: asyncio.Event = field(default_factory=asyncio.Event)
    _process: Process | None = None

    async def keep(self) -> None:
        """Run it, again and again, until this is cancelled."""
        wait = FIRST_S
        while True:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _SERVE, "serve", "--at", str(self.path), *self.options,
                stdin=DEVNULL, stdout=PIPE,
            )  # fmt: skip
            if self._process.stdout is not None and await self._process.stdout.readline():
                wait = FIRST_S
                self.told.set()
            status = await self._process.wait()
            self.told.set()
            log.warning(
                "tenant %s ended with %s; it is started again in %.1f s", self.name, status, wait
            )
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_S)

    async def end(self) -> None:
        """Ask it to end; kill it where it does not in time."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), GRACE_S)
            except TimeoutError:
                process.kill()
                await process.wait()


def end_with_parent() -> None:
    """Have the system end this process when the one that started it is gone (prctl(2))."""
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):  # other systems than Linux have no such call
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
