"""uvicorn around the application, on a free port if asked, with a graceful end."""

import socket
from collections.abc import Callable
from functools import partial

import uvicorn

from heirloom.apps.build import System
from heirloom.apps.deadline import Limits
from heirloom.apps.http import application
from heirloom.apps.security.head import BoundedHead
from heirloom.apps.security.opening import guard_of
from heirloom.core.errors import ConfigError, StoreError


class Announced(uvicorn.Server):
    """A server that tells when it answers: not before it listens and knows its signals."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell so."""
        await super().startup(sockets)
        if self.started:
            self._announce()


def run(
    system: System,
    *,
    host: str,
    port: int,
    unguarded: bool = False,
    announce: Callable[[str], None] = lambda address: print(f"serving on {address}"),
) -> None:
    """Serve until a signal; requests under way are answered, then the system is closed.

    Args:
        system: what answers.
        host: where it listens.
        port: 0 picks a free one.
        unguarded: ask for no key, wherever it listens.
        announce: told the address, once it answers.

    Raises:
        StoreError: if the port is taken.
        ConfigError: others than this machine could ask, and no key is there to ask for.
    """
    settings = system.settings
    try:
        guard = guard_of(
            settings.http.auth, folder=settings.system.folder, host=host, unguarded=unguarded
        )
    except ConfigError:
        system.close()
        raise
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError as error:
            raise StoreError(
                f"serve: cannot listen on {host}:{port} ({error.strerror}); "
                "choose another with --port, or 0 for a free one"
            ) from None
        address = f"http://{host}:{door.getsockname()[1]}"
        server = Announced(
            uvicorn.Config(
                application(
                    system,
                    name=settings.system.name,
                    currency=settings.system.currency,
                    max_body=settings.http.max_body_bytes,
                    impressions=settings.system.impressions,
                    artist=system.photos.picture,
                    guard=guard,
                    limits=Limits(**settings.serving.model_dump()),
                ),
                http=BoundedHead,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=5,
            ),
            partial(announce, address),
        )
        try:
            server.run(sockets=[door])
        except KeyboardInterrupt:
            pass  # uvicorn ends gracefully on Ctrl-C, and then raises it once more
        finally:
            system.close()
