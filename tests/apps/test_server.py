"""A server says that it answers when it does."""

import socket
from typing import Any

from starlette.applications import Starlette

from heirloom.apps.server import Announced, configured


def test_who_is_told_of_a_server_can_connect_at_once() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # bound, and not listening: who comes now is refused
        address, reached = door.getsockname(), list[Any]()

        def told() -> None:
            with socket.create_connection(address, timeout=30) as caller:
                reached.append(caller.getpeername())
            server.should_exit = True

        server = Announced(configured(Starlette(), lifespan="off"), told)
        server.run(sockets=[door])
    assert reached == [address]
