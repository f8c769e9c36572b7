"""A closed door: every route of the application against every kind of wrong credentials."""

import base64
import gzip
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from typer.testing import CliRunner

from heirloom.apps.cli import app as commands
from heirloom.apps.console.pages import SIGN_IN, SIGN_OUT
from heirloom.apps.http import ENDPOINTS, application
from heirloom.apps.problems import ProblemError, _Unpacked
from heirloom.apps.security.caller import Allowance, Scope
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.keys import KeysFile, WatchedKeys
from heirloom.apps.security.opening import guard_of
from heirloom.apps.security.rate import Buckets
from heirloom.apps.security.settings import AuthPart, TokensPart
from heirloom.apps.security.tokens import Tokens
from heirloom.core.errors import ConfigError

from .conftest import LAPTOP, Client, Door, _opener

NOW = 1_750_000_000_000
OPEN = {
    "/healthz", "/readyz", "/openapi.json", "/images/{listing_id:path}.png", "/static/{file}",
    "/v2/health/live", "/v2/health/ready", "/console/static/{file}",
}  # fmt: skip
"""What needs no key, each for a reason that `docs/security.md` gives. Extend it with care."""


def unsigned(**claims: Any) -> str:
    """A token that says of itself that it needs no signature."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "eve", "scope": "read events admin", **claims})
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
    return b".".join([*encoded, b""]).decode()


@dataclass(frozen=True)
class Closed:
    """A closed door, and keys of each scope."""

    door: Door
    folder: Path
    keys: dict[str, str]

    def ask(self, route: Route, headers: dict[str, str]) -> httpx.Response:
        """A request to a route as its path stands, with a body where it takes one."""
        path = route.path.replace("{listing_id:path}", "l01").replace("{file}", "shop.css")
        path = path.replace("{name}", "ranker").replace("{version}", "x")
        if "POST" in (route.methods or ()):
            return self.door.client.post(path, content=b"{}", headers=headers)
        return self.door.client.get(path, headers=headers)

    def routes(self) -> Iterator[Route]:
        """Every route of the application."""
        for route in self.door.app.routes:
            assert isinstance(route, Route), f"{route}: the test does not know how to ask it"
            yield route


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"me:{key}".encode()).decode()}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    tmp_path = tmp_path_factory.mktemp("closed")
    folder, other = tmp_path / "ours", tmp_path / "another tenant's"
    scopes: list[Scope] = ["read", "events", "admin"]
    keys = {scope: KeysFile(folder).add(scope, [scope], now_ms=NOW)[1] for scope in scopes}
    keys["expired"] = KeysFile(folder).add("old", scopes, now_ms=0, expires_at=NOW)[1]
    keys["revoked"] = KeysFile(folder).add("lost", scopes, now_ms=NOW)[1]
    KeysFile(folder).revoke("lost", now_ms=NOW)
    keys["other tenant"] = KeysFile(other).add("them", scopes, now_ms=NOW)[1]
    guard = Guard(
        WatchedKeys(KeysFile(folder)), buckets=Buckets(tmp_path / "buckets"), clock=lambda: NOW
    )
    opener = _opener(tmp_path / "system")
    yield Closed(next(opener)(guard=guard), folder, keys)
    next(opener, None)


def test_no_route_is_open_to_wrong_credentials(closed: Closed) -> None:
    wrong = {
        "no key": {},
        "wrong": bearer("hlm_0123456789ab_" + "x" * 43),
        "expired": bearer(closed.keys["expired"]),
        "revoked": bearer(closed.keys["revoked"]),
        "other tenant": bearer(closed.keys["other tenant"]),
        "alg=none": bearer(unsigned()),
        "empty": {"authorization": ""},
        "bearer of nothing": {"authorization": "Bearer "},
        "another scheme": {"authorization": f"Token {closed.keys['admin']}"},
        "no scheme": {"authorization": closed.keys["admin"]},
        "not ASCII": {"authorization": "Bearer hlm_é_ü"},
    }
    before = closed.door.system.log.end()
    asked = 0
    for route in closed.routes():
        for name, headers in wrong.items():
            encoded = {key: value.encode("latin-1") for key, value in headers.items()}
            answer = closed.ask(route, encoded)  # type: ignore[arg-type]
            if route.path in OPEN:
                assert answer.status_code not in (401, 403), (route.path, name)
                continue
            if route.path == SIGN_IN:  # its form comes with a page of ours, and with a key
                assert answer.status_code == 403, name
                continue
            asked += 1
            assert answer.status_code == 401, (route.path, name, answer.status_code)
            assert answer.json()["status"] == 401
            assert "heirloom" in answer.headers["www-authenticate"]
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert asked > 100
    assert closed.door.system.log.end() == before


@pytest.mark.engine("jwt")
def test_no_route_is_open_to_wrong_tokens(closed: Closed, tmp_path: Path) -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec

    ours, theirs = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = jwt.algorithms.ECAlgorithm.to_jwk(ours.public_key(), as_dict=True)
    (tmp_path / "set.json").write_text(json.dumps({"keys": [{**public, "kid": "1"}]}))
    part = TokensPart(issuer="us", audience="shop", keys=str(tmp_path / "set.json"))
    app = application(
        closed.door.system,
        guard=Guard(WatchedKeys(KeysFile(closed.folder)), tokens=Tokens(part), clock=lambda: NOW),
    )

    def token(key: Any = ours, **claims: Any) -> str:
        whole = {"iss": "us", "aud": "shop", "sub": "a", "exp": 4e9, "scope": "read events admin"}
        return jwt.encode({**whole, **claims}, key, algorithm="ES256", headers={"kid": "1"})

    wrong = {
        "alg=none": unsigned(iss="us", aud="shop", exp=4e9),
        "expired": token(exp=1e9),
        "other tenant": token(aud="another shop"),
        "other issuer": token(iss="them"),
        "other key": token(theirs),
    }
    door = Door(closed.door.system, closed.door.clock, app, Client(app))
    tried = Closed(door, closed.folder, closed.keys)
    for route in tried.routes():
        for name, shown in wrong.items():
            status = tried.ask(route, bearer(shown)).status_code
            is_open = route.path in OPEN or route.path == SIGN_IN
            assert (status == 401) == (not is_open), (route.path, name, status)
    good = door.client.get("/v1/listings/l01", headers=bearer(token()))
    assert good.status_code == 200, good.text
    little = door.client.get("/metrics", headers=bearer(token(scope="read")))
    assert little.status_code == 403
    assert door.client.get("/metrics", headers=bearer(closed.keys["admin"])).status_code == 200
    door.client.close()


def test_each_scope_opens_its_own_routes_and_no_other(closed: Closed) -> None:
    scope_of = {point.path: point.scope for point in ENDPOINTS}
    for route in closed.routes():
        needed = scope_of.get(route.path, "admin")  # what nobody thought of needs admin
        if route.path in OPEN or route.path == SIGN_IN:
            continue
        assert needed is not None, route.path
        for scope in ("read", "events", "admin"):
            status = closed.ask(route, bearer(closed.keys[scope])).status_code
            if scope != needed:
                assert status == 403, (route.path, scope)
            elif route.path not in (
                "/become",
                "/act",
                "/seen",
                SIGN_OUT,
            ):  # which refuse other sites: 403
                assert status not in (401, 403), (route.path, scope)


def test_a_route_that_is_new_and_forgotten_is_closed() -> None:
    async def handler(request: Any) -> Any:
        raise AssertionError("never reached")

    guard = Guard(WatchedKeys(KeysFile(Path("nowhere"))))
    made = guard.routes([Route("/v1/new", handler)], {}, pages=[], count=lambda _: None)
    client = Client(Starlette(routes=made))
    with pytest.raises(ProblemError, match="401"):
        client.get("/v1/new")
    client.close()


def test_a_browser_shows_a_key_to_pages_and_not_to_the_api(closed: Closed) -> None:
    client, admin = closed.door.client, closed.keys["admin"]
    page = client.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert page.headers["www-authenticate"].startswith("Basic")
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/", headers=basic(admin)).status_code == 200
    assert client.get("/", headers=basic(closed.keys["read"])).status_code == 403
    # What a browser adds by itself opens nothing that does not look where a form comes from.
    for path in ("/metrics", "/v1/listings/l01"):
        assert client.get(path, headers=basic(admin)).status_code == 401
    forged = {**basic(admin), "sec-fetch-site": "cross-site"}
    assert client.post("/act", data={"listing": "l01"}, headers=forged).status_code == 403
    assert client.get("/", headers={"authorization": "Basic ?"}).status_code == 401


def test_what_stands_open_tells_strangers_little(closed: Closed) -> None:
    client = closed.door.client
    assert client.get("/readyz").json() == {"ready": True, "details": {}}
    told = client.get("/readyz", headers=bearer(closed.keys["admin"])).json()
    assert told["details"]["listings"] == 63


def test_a_key_is_rotated_while_the_server_runs(closed: Closed) -> None:
    client, file = closed.door.client, KeysFile(closed.folder)
    _, older = file.add("app 1", ["read"], now_ms=NOW)
    _, newer = file.add("app 2", ["read"], now_ms=NOW)
    for key in (older, newer):
        assert client.get("/v1/listings/l01", headers=bearer(key)).status_code == 200
    file.revoke("app 1", now_ms=NOW)
    assert client.get("/v1/listings/l01", headers=bearer(older)).status_code == 401
    assert client.get("/v1/listings/l01", headers=bearer(newer)).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(closed: Closed) -> None:
    slow = Allowance(per_second=0.01, burst=3)
    _, key = KeysFile(closed.folder).add("slow", ["read"], now_ms=NOW, allowance=slow)
    client = closed.door.client
    answers = [client.get("/v1/listings/l01", headers=bearer(key)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 90 <= int(answers[-1].headers["retry-after"]) <= 100
    assert answers[-1].json()["came"] == "slow"
    other = client.get("/v1/listings/l01", headers=bearer(closed.keys["read"]))
    assert other.status_code == 200
    text = client.get("/metrics", headers=bearer(closed.keys["admin"])).text
    assert 'heirloom_refused_total{reason="rate"} 1.0' in text


def test_no_secret_reaches_the_log_or_an_answer(
    closed: Closed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise ZeroDivisionError("an accident")

    caplog.set_level(logging.DEBUG, "heirloom")
    monkeypatch.setattr(closed.door.system, "now_ms", fail)
    secrets = {name: key.split("_", 2)[2] for name, key in closed.keys.items()}
    answers = ""
    for name, key in closed.keys.items():
        for path in ("/v1/search", "/v1/events"):
            answer = closed.door.client.post(path, json={}, headers=bearer(key))
            answers += answer.text + str(answer.headers)
            if (name, path) == ("read", "/v1/search"):
                assert answer.status_code == 500
    assert "an accident" in caplog.text
    for secret in secrets.values():
        assert secret not in caplog.text
        assert secret not in answers


# ── opening ────────────────────────────────────────────────────────────────────────────────────


def test_this_machine_alone_needs_no_key_and_others_do(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert guard_of(AuthPart(), folder=tmp_path, host=host).is_open
    for auth, host in ((AuthPart(), "0.0.0.0"), (AuthPart(required=True), "127.0.0.1")):
        with pytest.raises(ConfigError, match="heirloom keys add"):
            guard_of(auth, folder=tmp_path, host=host)
        assert guard_of(auth, folder=tmp_path, host=host, unguarded=True).is_open
    file = KeysFile(tmp_path)
    file.add("old", ["read"], now_ms=0, expires_at=1)
    with pytest.raises(ConfigError, match="there is none"):
        guard_of(AuthPart(), folder=tmp_path, host="0.0.0.0")
    file.add("shop", ["read"], now_ms=0)
    assert not guard_of(AuthPart(), folder=tmp_path, host="0.0.0.0").is_open


def test_a_server_that_nobody_guards_does_not_start(tmp_path: Path) -> None:
    where = ["--system", str(LAPTOP), "--folder", str(tmp_path / "system")]
    ran = CliRunner().invoke(commands, ["serve", "--host", "0.0.0.0", "--port", "0", *where])
    assert isinstance(ran.exception, ConfigError)
    added = CliRunner().invoke(commands, ["keys", "add", "shop", "--scope", "read,events", *where])
    assert added.exit_code == 0, added.output
    key = added.stdout.strip()
    assert key.startswith("hlm_")
    listed = CliRunner().invoke(commands, ["keys", "list", *where])
    assert "shop" in listed.stdout
    assert key.split("_", 2)[2] not in listed.stdout
    assert CliRunner().invoke(commands, ["keys", "revoke", "shop", *where]).exit_code == 0
    assert "revoked" in CliRunner().invoke(commands, ["keys", "list", *where]).stdout


# ── bodies ─────────────────────────────────────────────────────────────────────────────────────


def test_a_packed_body_is_read(door: Door) -> None:
    body = gzip.compress(json.dumps([{"kind": "click", "listing": "l03", "user": "a"}]).encode())
    for content in (body, (body[i : i + 1] for i in range(len(body)))):
        sent = content if isinstance(content, bytes) else _stream(content)
        answer = door.client.post("/v1/events", content=sent, headers={"content-encoding": "gzip"})
        assert answer.status_code == 200, answer.text


async def _stream(parts: Iterator[bytes]) -> Any:
    for part in parts:
        yield part


BOMB = gzip.compress(b"[" + b" " * (64 << 20), compresslevel=9)


@pytest.mark.parametrize(
    ("content", "packing", "status", "came"),
    [
        (BOMB, "gzip", 413, "more than 1048576 bytes"),
        (BOMB[:60_000], "gzip", 413, "more than 1048576 bytes"),
        (gzip.compress(b"[]")[:-4], "gzip", 400, "too early"),
        (gzip.compress(b"[]") * 2, "gzip", 400, "behind its end"),
        (b"[]", "gzip", 400, "incorrect header"),
        (b"", "gzip", 400, "too early"),
        (b"[]", "br", 415, "br"),
        (gzip.compress(gzip.compress(b"[]")), "gzip, gzip", 415, "gzip, gzip"),
    ],
)
def test_a_body_that_cannot_be_unpacked_within_bounds_is_refused(
    door_of_module: Door, content: bytes, packing: str, status: int, came: str
) -> None:
    answer = door_of_module.client.post(
        "/v1/events", content=content, headers={"content-encoding": packing}
    )
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert came in answer.json()["came"]


def test_of_a_bomb_no_more_is_unpacked_than_one_byte_over_the_limit() -> None:
    unpacked = _Unpacked(1_000)
    assert [len(unpacked.more(part)) for part in (BOMB[:30_000], BOMB[30_000:])] == [1_001, 0]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/recommend", "/v1/search"])
def test_deep_json_is_refused_in_every_place(door_of_module: Door, path: str) -> None:
    for opening in (b"[", b'{"attributes":', b'{"filters":', b'{"attributes":{"a":[', b'[{"data":'):
        body = opening * 20_000
        assert door_of_module.client.post(path, content=body).status_code in (400, 422)
        whole = opening + b"[" * 50_000 + b"]" * 50_000
        assert door_of_module.client.post(path, content=whole).status_code in (400, 422)
