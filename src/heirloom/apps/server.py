"""uvicorn around the application, on a free port if asked, with a graceful end."""

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from heirloom.apps.build import System
from heirloom.apps.deadline import Limits
from heirloom.apps.http import Shared, application
from heirloom.apps.publication import Publication
from heirloom.apps.rehearsal import rehearse
from heirloom.apps.security.addresses import Connections
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.head import BoundedHead, counted
from heirloom.apps.security.opening import guard_of
from heirloom.apps.settings import HttpPart, Settings
from heirloom.core.errors import StoreError

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104
GRACE_S = 5
"""So long a request under way may still take when the server is told to end."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOK_EVERY = 5
"""Ticks of uvicorn, of 0.1 s."""
_INNER: dict[str, Any] = {"forwarded_allow_ips": "*", "timeout_keep_alive": 3_600}
"""Where processes of ours alone ask, who say for whom, on connections that they keep open."""


def announce_on_stdout(address: str) -> None:
    """Say where the system answers."""
    print(f"serving on {address}", flush=True)


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a system listens, and what stands before it.

    Attributes:
        public: bound, not listening yet.
        guard: before it.
        admin: the same on the loopback for metrics and health; None: they are told at `public`.
        admin_guard: before it.
        http: what the settings say of the public one; None: it stands open within the system.
    """

    public: socket.socket
    guard: Guard
    admin: socket.socket | None = None
    admin_guard: Guard | None = None
    http: HttpPart | None = None

    def config(self, app: Any) -> uvicorn.Config:
        """Of what answers at the public door."""
        if self.http is None:
            return configured(app)
        if self.public.family == socket.AF_UNIX:
            return configured(app, **_INNER)
        most = Connections(self.http.addresses.connections, self.http.proxies)
        return configured(app, connections=most, forwarded_allow_ips=list(self.http.proxies))

    @property
    def address(self) -> str:
        """Of the public door."""
        if self.public.family == socket.AF_UNIX:
            return f"unix:{self.public.getsockname()}"
        host, port = self.public.getsockname()[:2]
        return f"http://{host}:{port}"

    @property
    def sockets(self) -> list[socket.socket]:
        """All of them."""
        return [self.public, *([self.admin] if self.admin is not None else [])]

    def close(self) -> None:
        """Listen no more; twice does no harm."""
        for door in self.sockets:
            door.close()


def opened(
    settings: Settings,
    *,
    host: str,
    port: int,
    admin_port: int | None = None,
    unguarded: bool = False,
    at: Path | None = None,
) -> Doors:
    """The doors of a system, bound.

    Args:
        settings: of the system.
        host: where it listens.
        port: 0 picks a free one.
        admin_port: of the loopback, for metrics and health; None: the settings' own.
        unguarded: ask for no key, wherever it listens.
        at: a path at which to listen, in place of host and port; keys are asked for there.

    Raises:
        StoreError: a port is taken.
        ConfigError: others than this machine could ask, and no key is there to ask for.
    """
    http = settings.http
    host = host if at is None else EVERYWHERE
    guard = guard_of(
        http.auth,
        folder=settings.system.folder,
        host=host,
        unguarded=unguarded,
        addresses=http.addresses,
        hosts=http.hosts,
        strangers=at is None,  # there a key says whose system is asked, whatever is asked
    )
    public = bound(host, port, "--port") if at is None else bound_at(at)
    admin_port = http.admin_port if admin_port is None else admin_port
    if admin_port is None:
        return Doors(public, guard, http=http)
    try:
        admin = bound(LOOPBACK, admin_port, "[http] admin_port")
        inner = guard_of(
            http.auth,
            folder=settings.system.folder,
            host=LOOPBACK,
            unguarded=unguarded,
            addresses=http.addresses,
            hosts=http.hosts,
            admin=True,
        )
    except BaseException:
        public.close()
        raise
    return Doors(public, guard, admin, inner, http)


def bound_at(path: Path) -> socket.socket:
    """A socket that other processes find by its path, in place of a dead one's."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(path))
    return door


def bound(host: str, port: int, option: str) -> socket.socket:
    """A socket of an address.

    Raises:
        StoreError: it is taken; `option` is how to choose another.
    """
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise StoreError(
            f"serve: cannot listen on {host}:{port} ({error.strerror}); "
            f"choose another with {option}, or 0 for a free one"
        ) from None
    return door


Sharing = Callable[[socket.socket, Callable[[], asyncio.Protocol]], Any]
"""Begins to take connections at a socket, each with a protocol made for it; an asyncio server."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Another application of the same process, at a socket of its own.

    Attributes:
        app: what answers.
        door: bound.
        inner: other processes of this system alone reach it: they keep connections open, and tell
            who asked them.
    """

    app: Any
    door: socket.socket
    inner: bool = False

    def config(self) -> uvicorn.Config:
        """For uvicorn; loaded."""
        more: dict[str, Any] = {}
        if self.inner:
            more = _INNER
        config = configured(self.app, lifespan="off", **more)
        config.load()
        return config


def configured(app: Any, *, connections: Connections | None = None, **more: Any) -> uvicorn.Config:
    """How every server of ours is run.

    Args:
        app: what answers.
        connections: counts those that are open; None: there is no limit.
        more: of uvicorn.
    """
    return uvicorn.Config(
        app,
        http=BoundedHead if connections is None else counted(connections),
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        **more,
    )


class Announced(uvicorn.Server):
    """A server that tells when it answers: not before it listens and knows its signals.

    Args:
        config: of what it answers with.
        announce: told once it answers.
        beside: what else answers in this process.
        publication: looked at now and then, and on SIGHUP at once.
        tick: called now and then.
        alive: a descriptor whose end (EOF) ends the server; None for none.
        sharing: makes what takes connections at sockets that other processes share; None: they are
            this one's own.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        announce: Callable[[], None],
        *,
        beside: Sequence[Beside] = (),
        publication: Publication | None = None,
        tick: Callable[[], None] = lambda: None,
        alive: int | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._beside = beside
        self._publication = publication
        self._tick = tick
        self._alive = alive
        self._sharing = sharing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell so."""
        if self._sharing is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            for door in sockets or ():
                self.servers.append(self._sharing(door, self._maker(self.config)))
        loop = asyncio.get_running_loop()
        for each in self._beside:
            self.servers.append(
                await loop.create_server(self._maker(each.config()), sock=each.door)
            )
        if self._publication is not None:
            loop.add_signal_handler(signal.SIGHUP, self._publication.again)
        if self._alive is not None:
            loop.add_reader(self._alive, self._left_alone, loop, self._alive)
        if self.started:
            self._tick()
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and listen no more."""
        doors = [*(sockets or ()), *(each.door for each in self._beside)]
        await super().shutdown(sockets=doors)
        if self._publication is not None:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % _LOOK_EVERY == 0:
            if self._publication is not None:
                self._publication.look()
            self._tick()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which raises them anew at the end: nobody would close the system then."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only there can they be asked for
            return
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _maker(self, config: uvicorn.Config) -> Callable[[], asyncio.Protocol]:
        made: Any = config.http_protocol_class
        return lambda: made(
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _left_alone(self, loop: asyncio.AbstractEventLoop, alive: int) -> None:
        loop.remove_reader(alive)
        self.should_exit = True


def application_of(
    system: System, doors: Doors, shared: Shared | None = None, *, sagemaker: bool = False
) -> Starlette:
    """The application as a system's settings say."""
    settings = system.settings
    return application(
        system,
        name=settings.system.name,
        currency=settings.system.currency,
        max_body=settings.http.max_body_bytes,
        impressions=settings.system.impressions,
        artist=system.photos.picture,
        guard=doors.guard,
        admin=doors.admin_guard,
        shared=shared,
        limits=Limits(**settings.serving.model_dump()),
        room=settings.events.room,
        telemetry=settings.telemetry,
        sagemaker=sagemaker,
    )


def admin_of(app: Starlette, doors: Doors) -> list[Beside]:
    """What answers at the admin door, where there is one."""
    return [] if doors.admin is None else [Beside(app.state.admin, doors.admin)]


def run(
    system: System,
    *,
    host: str,
    port: int,
    unguarded: bool = False,
    sagemaker: bool = False,
    admin_port: int | None = None,
    at: Path | None = None,
    announce: Callable[[str], None] = announce_on_stdout,
) -> None:
    """Serve in this process until a signal; what is under way is answered, then all is closed.

    Args:
        system: what answers.
        host: where it listens.
        port: 0 picks a free one.
        unguarded: ask for no key, wherever it listens.
        sagemaker: answer what SageMaker asks of a container, and nothing else.
        admin_port: of the loopback, for metrics and health; None: the settings' own.
        at: a path at which to listen, in place of host and port.
        announce: told the address, once it answers.

    Raises:
        StoreError: if a port is taken.
        ConfigError: others than this machine could ask, and no key is there to ask for.
    """
    publication = Publication(system)
    try:
        doors = opened(
            system.settings, host=host, port=port, admin_port=admin_port, unguarded=unguarded, at=at
        )
        app = application_of(system, doors, sagemaker=sagemaker)
        rehearse(system)
        server = Announced(
            doors.config(app),
            partial(announce, doors.address),
            beside=admin_of(app, doors),
            publication=publication,
        )
        gc.freeze()  # what was loaded stays: no collection walks through it any more
        gc.enable()
        server.run(sockets=[doors.public])
        system.keep()
    finally:
        publication.close()
        system.close()
