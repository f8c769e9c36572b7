"""A real server behind a closed door, and a proxy that stumbles as it is told."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from heirloom.apps.security.keys import KeysFile
from heirloom.apps.wire import EventIn, ListingIn
from heirloom.client import Client

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"


@dataclass(frozen=True)
class Served:
    """A server of its own process, and keys of it."""

    address: str
    keys: dict[str, str]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with 40 listings that asks for keys, on a free port."""
    folder = tmp_path_factory.mktemp("served")
    text = LAPTOP.read_text().replace("[http]\n", "[http]\nauth = { required = true }\n")
    (folder / "system.toml").write_text(text)
    keys = {
        name: KeysFile(folder / "data").add(name, scopes, now_ms=0)[1]
        for name, scopes in (("all", ("read", "events", "admin")), ("reader", ("read",)))
    }
    command = ["serve", "--port", "0", "--system", str(folder / "system.toml")]
    server = subprocess.Popen(
        [sys.executable, "-c", "from heirloom.apps.main import main; main()", *command,
         "--folder", str(folder / "data")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line.startswith("serving on http://"), line
        address = line.split()[-1]
        with Client(address, key=keys["all"], timeout_s=60) as client:
            report = client.events([listed(i) for i in range(40)])
        assert report.taken == 40, report
        yield Served(address, keys)
    finally:
        server.terminate()
        server.wait(timeout=60)
        server.stdout.close()


def listed(i: int) -> EventIn:
    data = ListingIn(
        listing_id=f"l/{i}",
        seller=f"seller{i % 7}",
        title=f"{('wool coat', 'silk dress')[i % 2]} {i}",
        category="women/clothing",
        brand=("prada", "cos")[i % 2],
        price_minor=1_000 + i,
    )
    return EventIn(kind="listed", event_id=f"listed {i}", listing=data.listing_id, data=data)


@dataclass
class Stumbling:
    """A proxy. Each entry of `script` is what happens to one request; then all goes through.

    `(status, headers)` answers itself; "drop" closes the connection before asking the server;
    "lose" asks it and closes before answering.
    """

    target: str
    script: list[Any] = field(default_factory=list)
    asked: int = 0
    connections: int = 0
    address: str = ""


@pytest.fixture
def stumbling(served: Served) -> Iterator[Stumbling]:
    """A proxy before the server, which stumbles as its script says."""
    proxy = Stumbling(served.address)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            proxy.connections += 1
            super().setup()

        def do_POST(self) -> None:
            proxy.asked += 1
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            step = proxy.script.pop(0) if proxy.script else None
            if isinstance(step, tuple):
                self._answer(step[0], b"{}", step[1])
                return
            if step != "drop":
                names = ("authorization", "content-type")
                sent = {name: self.headers[name] for name in names if name in self.headers}
                url = proxy.target + self.path
                answer = httpx.request(self.command, url, content=content, headers=sent, timeout=60)
            if step is not None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._answer(answer.status_code, answer.content, {})

        do_GET = do_POST

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    proxy.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield proxy
    server.shutdown()
    thread.join()
    server.server_close()
