"""What an address may do without a key: so many requests and connections, in bounded space."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.apps.conftest import LAPTOP, Client, Door, _opener
from tests.apps.on_loopback import on_loopback

from heirloom.apps.security.addresses import ELSEWHERE, Addresses, Connections, place_of
from heirloom.apps.security.caller import Allowance
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.head import counted
from heirloom.apps.security.keys import KeysFile, WatchedKeys
from heirloom.apps.security.opening import guard_of
from heirloom.apps.security.rate import Buckets
from heirloom.apps.security.settings import AddressesPart, AuthPart
from heirloom.apps.server import opened
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError

SLOW = Allowance(per_second=0.01, burst=3)
NO_LIMIT = Allowance()


def addresses(path: Path, free: Allowance = NO_LIMIT, wrong: Allowance = NO_LIMIT) -> Addresses:
    return Addresses(Buckets(path, sets=16, clock=lambda: 10**12), free=free, wrong=wrong)


class From(Client):
    """A client of an address; what it asks goes straight to the application."""

    def __init__(self, app: Starlette, host: str, **headers: str) -> None:
        async def told(scope: dict[str, object], receive: object, send: object) -> None:
            await app({**scope, "client": (host, 1)}, receive, send)  # type: ignore[arg-type]

        super().__init__(told, **headers)  # type: ignore[arg-type]


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[tuple[Door, str]]:
    """A door at which an address may be wrong three times, and a key for it."""
    _, key = KeysFile(tmp_path / "keys").add("shop", ["read"], now_ms=0)
    guard = Guard(
        WatchedKeys(KeysFile(tmp_path / "keys")),
        addresses=addresses(tmp_path / "addresses", wrong=SLOW),
    )
    opener = _opener(tmp_path / "system")
    yield next(opener)(guard=guard), key
    next(opener, None)


def test_who_tries_keys_is_told_to_wait_and_who_has_one_is_not(closed: tuple[Door, str]) -> None:
    door, key = closed
    guesser = From(door.app, "192.0.2.7", authorization="Bearer hlm_0123456789ab_x")
    nobody, owner = From(door.app, "192.0.2.7"), From(door.app, "192.0.2.7",
                                                      authorization=f"Bearer {key}")  # fmt: skip
    other = From(door.app, "192.0.2.8")
    tried = [guesser.get("/v1/listings/l01") for _ in range(4)]
    assert [answer.status_code for answer in tried] == [401, 401, 401, 429]
    assert int(tried[-1].headers["retry-after"]) == 100
    assert tried[-1].json()["came"] == "192.0.2.7"
    assert nobody.get("/metrics").status_code == 429
    for _ in range(5):
        assert owner.get("/v1/listings/l01").status_code == 200
        assert nobody.get("/healthz").status_code == 200, "it asks for no key"
    assert other.get("/metrics").status_code == 401
    for client in (guesser, nobody, owner, other):
        client.close()


def test_an_open_door_limits_each_address(tmp_path: Path) -> None:
    opener = _opener(tmp_path / "system")
    guard = Guard(addresses=addresses(tmp_path / "addresses", free=SLOW))
    door = next(opener)(guard=guard)
    one, other = From(door.app, "2001:db8::1"), From(door.app, "2001:db8:0:1::1")
    near = From(door.app, "2001:db8::2")
    assert [one.get("/v1/listings/l01").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert near.get("/healthz").status_code == 429, "of the same network"
    assert other.get("/v1/listings/l01").status_code == 200
    for client in (one, other, near):
        client.close()
    next(opener, None)


def test_settings_say_which_doors_count(tmp_path: Path) -> None:
    part = AddressesPart(per_second=1.0)
    assert guard_of(AuthPart(), folder=tmp_path, host="127.0.0.1")._addresses is None
    assert guard_of(AuthPart(), folder=tmp_path, host="::1", addresses=part)._addresses is not None
    KeysFile(tmp_path).add("shop", ["read"], now_ms=0)
    closed = guard_of(AuthPart(required=True), folder=tmp_path, host="127.0.0.1")
    assert closed._addresses is not None
    assert closed._addresses.wrong == Allowance(5.0, 200)
    toml = tmp_path / "system.toml"
    toml.write_text(LAPTOP.read_text().replace("port = 8080", 'proxies = ["10.0.0.1/8"]'))
    with pytest.raises(ConfigError, match="host bits"):
        load(toml)
    toml.write_text(LAPTOP.read_text().replace("port = 8080", 'proxies = ["10.0.0.0/8"]'))
    with opened(load(toml, folder=tmp_path), host="127.0.0.1", port=0).public:
        assert load(toml).http.proxies == ("10.0.0.0/8",)


@given(st.lists(st.ip_addresses(), max_size=200))
def test_what_is_kept_is_bounded_and_ends_with_the_connections(hosts: list[object]) -> None:
    connections = Connections(2, ["127.0.0.0/24"])
    entered = [str(host) for host in hosts if connections.enter(str(host))]
    assert len(connections) <= len(entered)
    for place in {place_of(host) for host in entered} - {f"127.0.0.{i}" for i in range(256)}:
        assert sum(place_of(host) == place for host in entered) <= 2
    for host in entered:
        connections.leave(host)
    assert len(connections) == 0


def test_proxies_and_what_is_no_address() -> None:
    connections = Connections(1, ["10.0.0.0/8"])
    assert all(connections.enter("10.1.2.3") for _ in range(9))
    assert len(connections) == 0
    assert connections.enter("not an address")
    assert not connections.enter("nor this"), "they count as one"
    assert place_of("x" * 10_000) == ELSEWHERE


async def who(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "nobody")


def asked(address: str, *headers: bytes) -> tuple[socket.socket, bytes]:
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(headers) + b"\r\n")
    return connection, connection.recv(65_536)


def test_connections_of_one_address_are_bounded_over_a_socket() -> None:
    connections = Connections(2)
    app = Starlette(routes=[Route("/", who)])
    with on_loopback(app, http=counted(connections)) as address:
        held = [asked(address) for _ in range(2)]
        assert all(came.startswith(b"HTTP/1.1 200") for _, came in held)
        with socket.create_connection(address.split(":"), timeout=30) as third:
            came = b"".join(iter(lambda: third.recv(1_000), b""))  # before it has asked anything
        assert came.startswith(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n")
        for connection, _ in held:
            connection.close()
        end = time.monotonic() + 60
        while len(connections):  # the server has still to hear of it
            assert time.monotonic() < end
            time.sleep(0.01)
        again, came = asked(address)
        assert came.startswith(b"HTTP/1.1 200")
        again.close()


@pytest.mark.parametrize(
    ("proxies", "told", "wanted"),
    [
        (["127.0.0.1"], b"192.0.2.7", b"192.0.2.7"),
        (["127.0.0.1"], b"192.0.2.66, 192.0.2.7", b"192.0.2.7"),
        (["127.0.0.1", "10.0.0.0/8"], b"192.0.2.7, 10.1.1.1", b"192.0.2.7"),
        (["10.0.0.0/8"], b"192.0.2.7", b"127.0.0.1"),
        ([], b"192.0.2.7", b"127.0.0.1"),
    ],
)
def test_only_a_proxy_that_is_named_says_who_asks(
    proxies: list[str], told: bytes, wanted: bytes
) -> None:
    app = Starlette(routes=[Route("/", who)])
    with on_loopback(app, forwarded_allow_ips=proxies) as address:
        connection, came = asked(address, b"x-forwarded-for: ", told, b"\r\n")
        connection.close()
    assert came.partition(b"\r\n\r\n")[2] == wanted


def test_the_settings_reach_uvicorn(tmp_path: Path) -> None:
    toml = tmp_path / "system.toml"
    toml.write_text(
        LAPTOP.read_text().replace("port = 8080", 'proxies = ["10.0.0.0/8"]')
        + "\n[http.addresses]\nconnections = 7\n"
    )
    doors = opened(load(toml, folder=tmp_path / "system"), host="127.0.0.1", port=0)
    try:
        config: uvicorn.Config = doors.config(Starlette())
        assert config.forwarded_allow_ips == ["10.0.0.0/8"]
        made = config.http
        assert isinstance(made, type)
        assert made.door._most == 7  # type: ignore[attr-defined]
    finally:
        doors.close()
