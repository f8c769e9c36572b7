"""An application behind a real socket, in a thread of the tests' process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from heirloom.apps.security.head import BoundedHead


class _Told(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@contextmanager
def on_loopback(app: Any, **more: Any) -> Iterator[str]:
    """Its address as host:port; `more` is for uvicorn."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        settings = {"http": BoundedHead, "log_level": "warning", "lifespan": "off", **more}
        server = _Told(uvicorn.Config(app, **settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            assert server.listens.wait(60)
            yield f"127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
