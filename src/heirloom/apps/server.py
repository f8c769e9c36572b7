"""uvicorn around the application, on a free port if asked, with a graceful end."""

import socket
from collections.abc import Callable

import uvicorn

from heirloom.apps.build import System
from heirloom.apps.http import application
from heirloom.core.errors import StoreError


def run(
    system: System,
    *,
    host: str,
    port: int,
    announce: Callable[[str], None] = lambda address: print(f"serving on {address}"),
) -> None:
    """Serve until a signal; requests under way are answered, then the system is closed.

    Raises:
        StoreError: if the port is taken.
    """
    settings = system.settings
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError as error:
            raise StoreError(
                f"serve: cannot listen on {host}:{port} ({error.strerror}); "
                "choose another with --port, or 0 for a free one"
            ) from None
        server = uvicorn.Server(
            uvicorn.Config(
                application(
                    system,
                    name=settings.system.name,
                    currency=settings.system.currency,
                    max_body=settings.http.max_body_bytes,
                    impressions=settings.system.impressions,
                    artist=system.photos.picture,
                ),
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        announce(f"http://{host}:{door.getsockname()[1]}")
        try:
            server.run(sockets=[door])
        except KeyboardInterrupt:
            pass  # uvicorn ends gracefully on Ctrl-C, and then raises it once more
        finally:
            system.close()
