"""The head of a request, over real sockets: what is too large or too slow is cut off."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from itertools import repeat

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from heirloom.apps.security import head
from heirloom.apps.security.head import MAX_HEAD, BoundedHead


async def echo(request: Request) -> Response:
    size = sum(len(name) + len(value) for name, value in request.scope["headers"])
    return PlainTextResponse(f"{size} {len(await request.body())}")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(head, "HEAD_S", 0.3)
    monkeypatch.setattr(head, "BODY_S", 0.6)
    app = Starlette(routes=[Route("/{any:path}", echo, methods=["GET", "POST"])])
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedHead, log_level="critical", lifespan="off")
    )
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[door])))
        thread.start()
        yield door.getsockname()
        server.should_exit = True
        thread.join()


def answer(address: tuple[str, int], *parts: bytes) -> bytes:
    """What comes until the server closes, or has nothing more to say for a while."""
    with socket.create_connection(address, timeout=5) as client:
        came = b""
        try:
            for part in parts:
                client.sendall(part)
            while part := client.recv(65_536):
                came += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return came


GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"


def test_a_usual_head_passes_in_one_part_or_in_many(address: tuple[str, int]) -> None:
    whole = GET + b"x: " + b"y" * (MAX_HEAD // 2) + b"\r\n\r\n"
    for parts in ((whole,), tuple(whole[i : i + 1_000] for i in range(0, len(whole), 1_000))):
        assert answer(address, *parts).startswith(b"HTTP/1.1 200")


def test_a_large_body_is_no_head(address: tuple[str, int]) -> None:
    body = b"z" * (4 * MAX_HEAD)
    sent = GET.replace(b"GET", b"POST") + b"content-length: %d\r\n\r\n" % len(body)
    assert answer(
        address, sent, *(body[i : i + 9_999] for i in range(0, len(body), 9_999))
    ).endswith(b" %d" % len(body))


@pytest.mark.parametrize(
    "parts",
    [
        (GET + b"x: " + b"y" * MAX_HEAD + b"\r\n\r\n",),
        (GET, *repeat(b"x: " + b"y" * 500 + b"\r\n", 100)),
        (GET + b"x: ", *repeat(b"y" * 1_000, 100)),
        (b"GET /" + b"y" * (MAX_HEAD + 1) + b" HTTP/1.1\r\n\r\n",),
        (b"GET /", *repeat(b"y" * 1_000, 100)),
    ],
    ids=["one header", "many headers", "a header without end", "path", "a path without end"],
)
def test_a_head_that_is_too_large_is_cut_off(
    address: tuple[str, int], parts: tuple[bytes, ...]
) -> None:
    assert answer(address, *parts)[:12] in (b"HTTP/1.1 400", b"")


def test_who_sends_no_head_is_not_waited_for(address: tuple[str, int]) -> None:
    for parts in ((), (b"GET / HT",), (GET,)):
        assert answer(address, *parts) == b""


def test_a_body_that_never_ends_is_not_waited_for(address: tuple[str, int]) -> None:
    head = GET.replace(b"GET", b"POST") + b"content-length: 9\r\n\r\n"
    assert answer(address, head + b"12345678") == b""
    kept = head.replace(b"close", b"keep-alive")
    with socket.create_connection(address, timeout=5) as client:
        for _ in range(3):
            client.sendall(kept + b"123456789")
            came = b""
            while not came.endswith(b" 9"):
                part = client.recv(65_536)
                assert part, came
                came += part
