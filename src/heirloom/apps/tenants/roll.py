"""Roll: the tenants that run, kept as their file lists them while it changes.

A tenant that is new in the file is started. One that is gone is asked nothing more, answers what it
was asked before, and ends. One whose lines, or whose system's TOML, are others is both.
"""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from heirloom.apps.settings import HttpPart, Settings
from heirloom.apps.tenants.directory import Directory
from heirloom.apps.tenants.front import Front
from heirloom.apps.tenants.listed import TenantPart, Tenants, read
from heirloom.apps.tenants.processes import Tenant
from heirloom.core.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""So often the file is looked at; it is read once it is the same twice, and so no half of it."""


@dataclass(slots=True)
class _Running:
    """A tenant that runs, and what it was started with."""

    path: Path
    part: TenantPart
    settings: Settings
    tenant: Tenant
    task: "asyncio.Task[None]"


@dataclass(slots=True)
class Roll:
    """Tenants by name.

    Args:
        toml: lists them.
        folder: of sockets, for this run alone.
        front: told who stands where.
    """

    toml: Path
    folder: Path
    front: Front
    _http: HttpPart | None = None
    _seen: tuple[int, int, int] | None = None
    _running: dict[str, _Running] = field(default_factory=dict)
    _starts: int = 0
    _again: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def kept(self, listed: Tenants, settings: Mapping[str, Settings]) -> AsyncIterator[None]:
        """Within it all run, and the file is followed; it begins when each was up once, or down.

        Args:
            listed: what `read` gave of the file.
            settings: of each system.
        """
        self._http = listed.http
        await self._change(listed, settings)
        following = asyncio.create_task(self._follow())
        loop = asyncio.get_running_loop()
        heard = threading.current_thread() is threading.main_thread()
        if heard:
            loop.add_signal_handler(signal.SIGHUP, self.again)
        try:
            await asyncio.gather(*(each.tenant.told.wait() for each in self._running.values()))
            yield
        finally:
            if heard:
                loop.remove_signal_handler(signal.SIGHUP)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await _end(list(self._running.values()))

    def again(self) -> None:
        """Read the file and the systems' own, at once, also where the file is the same."""
        self._again.set()

    async def _follow(self) -> None:
        looked = self._seen
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), LOOK_S)
            before, looked = looked, _look(self.toml)
            if self._again.is_set() or (looked == before and looked != self._seen):
                self._again.clear()
                self._seen = looked
                try:
                    await self._read()
                except Exception:
                    log.exception("%s cannot be followed; tenants stay as they are", self.toml)

    async def _read(self) -> None:
        try:
            listed, settings = await asyncio.to_thread(read, self.toml)
        except ConfigError as error:
            log.error("%s; tenants stay as they are", error)
            return
        if listed.http != self._http:
            log.warning("%s: [http] is another, which asks for a restart", self.toml)
        await self._change(listed, settings)

    async def _change(self, listed: Tenants, settings: Mapping[str, Settings]) -> None:
        """Have those run that are listed, as they are listed."""
        gone = [
            name
            for name, each in self._running.items()
            if (listed.tenants.get(name), settings.get(name)) != (each.part, each.settings)
        ]
        paths = {name: each.path for name, each in self._running.items() if name not in gone}
        new = [name for name in listed.tenants if name not in paths]
        for name in new:
            # Each start has a socket of its own: nobody is answered by who was there before.
            self._starts += 1
            paths[name] = self.folder / f"{name}-{self._starts}.sock"
        self.front.stand(Directory(settings), paths)
        # Who goes has left a folder before who comes is started in it.
        await _end([self._running[name] for name in gone])
        for name in gone:
            del self._running[name]
        for name in new:
            self._begin(name, listed.tenants[name], settings[name], paths[name])

    def _begin(self, name: str, part: TenantPart, settings: Settings, path: Path) -> None:
        options = ["--system", str(self.toml.parent / part.system), "--folder", str(part.folder)]
        if part.workers:
            options += ["--workers", str(part.workers)]
        tenant = Tenant(name, options, path)
        task = asyncio.create_task(tenant.keep())
        self._running[name] = _Running(path, part, settings, tenant, task)


async def _end(ended: Sequence[_Running]) -> None:
    for each in ended:
        each.task.cancel()
    await asyncio.gather(*(each.task for each in ended), return_exceptions=True)
    await asyncio.gather(*(each.tenant.end() for each in ended))


def _look(file: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None where it is not there."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
