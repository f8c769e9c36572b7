"""Processes: where the console has its numbers from, one process or several."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from heirloom.apps.console.history import History
from heirloom.apps.workers.board import Told


class Processes(Protocol):
    """The processes of a system, as one of them sees all.

    Attributes:
        here: which of `history.names` this one is.
        writer: which of them takes events; its requests came by way of the others.
    """

    history: History
    here: int
    writer: int | None

    async def texts(self) -> Mapping[str, str | None]:
        """By name, what its metrics tell; None where it does not answer."""

    def told(self) -> Sequence[Told]:
        """What each says of itself."""


class OneProcess:
    """A process that answers alone. Implements Processes.

    Args:
        exposition: its metrics.
    """

    def __init__(self, exposition: Callable[[], bytes]) -> None:
        self.history = History(("server",))
        self.here = 0
        self.writer: int | None = None
        self._exposition = exposition
        self._since_ms = time.time_ns() // 1_000_000

    async def texts(self) -> dict[str, str | None]:
        """See Processes.texts."""
        return {"server": (await asyncio.to_thread(self._exposition)).decode()}

    def told(self) -> list[Told]:
        """See Processes.told."""
        return [Told("server", "ready", os.getpid(), 1, self._since_ms, 0, "", False)]
