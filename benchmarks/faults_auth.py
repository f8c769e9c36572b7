"""Every route of the application, by every method, with every kind of credentials that opens none.

    python -m benchmarks.faults_auth

Routes are those that the application has, so that none is forgotten. A hole is an answer other than
401 or 403 where a key is asked for; for a method that a route does not take, one that is below 400.
The application is asked over a socket: behind one process, behind two workers and their admin door,
and as a SageMaker container with a guard before it.
"""

import base64
import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.routing import Route

from benchmarks.faults_target import LAPTOP, served, stocked
from benchmarks.record import Row
from benchmarks.serving_process import free_port
from heirloom.apps.build import System
from heirloom.apps.http import ENDPOINTS
from heirloom.apps.sagemaker_http import ENDPOINTS as OF_CONTAINER
from heirloom.apps.security.caller import SCOPES, Scope
from heirloom.apps.security.keys import KeysFile
from heirloom.apps.server import Announced, application_of, configured, opened
from heirloom.apps.settings import load

PUBLIC = {
    "/healthz", "/readyz", "/openapi.json", "/images/{listing_id:path}.png", "/static/{file}",
    "/v2/health/live", "/v2/health/ready", "/ping", "/console/static/{file}", "/console/sign-in",
}  # fmt: skip
"""What asks for no key, each for a reason that docs/security.md gives. Extend it with care."""
OF_PAGES = {"/become", "/act", "/seen", "/console/sign-in", "/console/sign-out"}
"""Forms, which refuse what comes from other sites with 403, whatever the key."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
HIDDEN = (
    "/ingest", "/ingest?source=http", "//v1/recommend", "/v1/recommend/", "/V1/recommend",
    "/v1/./recommend", "/v1//recommend", "/v1/recommend;x", "/v1/recommend%00", "/v1%2frecommend",
    "/static/../metrics", "/static/%2e%2e/metrics", "/healthz/../metrics", "/metrics/", "/admin",
    "/images/../../keys.json", "/static/keys.json", "/console", "/docs",
)  # fmt: skip
"""Ways around a route's path, and what only other processes of the system may ask."""
_TOKENS = """
[http.addresses]
wrong_per_second = 0          # all of it comes from one address, which is to be answered 401

[http.auth]
required = true

[http.auth.tokens]
issuer = "https://id.test/"
audience = "{audience}"
algorithms = ["ES256"]
keys = "{keys}"
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a route is asked with: a path that fits it, by a method that it takes."""

    route: str
    path: str
    method: str
    scope: Scope | None


@dataclass
class Holes:
    """What came of all that was asked.

    Attributes:
        asked: so many requests.
        found: those that were let in, or refused though they may.
    """

    asked: int = 0
    found: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ring:
    """Keys and tokens of one system.

    Attributes:
        good: by scope, what opens the door.
        wrong: by what is wrong with them, headers that open nothing.
        small: by scope, headers that open what asks for that scope, and nothing else.
        token: signed as good ones are, with these claims in place of theirs.
    """

    good: Mapping[Scope, dict[str, str]]
    wrong: Mapping[str, dict[str, str]]
    small: Mapping[str, tuple[Scope, dict[str, str]]]
    token: Callable[..., str]


def bearer(shown: str) -> dict[str, str]:
    """A header that shows it."""
    return {"authorization": f"Bearer {shown}"}


def ring_of(folder: Path, audience: str = "shop") -> tuple[Ring, Path]:
    """Keys of a system's folder, tokens for it, and a TOML beside it that asks for them."""
    now = time.time_ns() // 1_000_000
    file, everything = KeysFile(folder), list(SCOPES)
    keys = {scope: file.add(f"only {scope}", [scope], now_ms=now)[1] for scope in SCOPES}
    expired = file.add("old", everything, now_ms=now, expires_at=now)[1]
    revoked = file.add("lost", everything, now_ms=now)[1]
    file.revoke("lost", now_ms=now)
    theirs = KeysFile(folder.with_name("theirs")).add("them", everything, now_ms=now)[1]
    prefix, key_id, secret = keys["admin"].split("_", 2)
    private, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    strange = jwt.algorithms.ECAlgorithm.to_jwk(other.public_key(), as_dict=True)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def token(signer: Any = private, header: Mapping[str, Any] | None = None, **other: Any) -> str:
        claims = {"iss": "https://id.test/", "aud": audience, "sub": "eve",
                  "exp": now // 1_000 + 900, "scope": "read events admin", **other}  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, signer, algorithm="ES256", headers={"kid": "1", **(header or {})})

    def forged(alg: str, signature: bytes = b"") -> str:
        head, claims, _ = token().split(".")
        head = _b64(json.dumps({"alg": alg, "kid": "1", "typ": "JWT"}).encode())
        return ".".join((head, claims, _b64(signature)))

    tokens = {
        "expired": token(exp=now // 1_000 - 3_600),
        "not valid yet": token(nbf=now // 1_000 + 3_600),
        "alg=none": forged("none"),
        "alg=None": forged("None"),
        "alg of nothing": forged(""),
        "HS256 with the public key": _hmac_of(forged("HS256"), pem),
        "other issuer": token(iss="https://evil.test/"),
        "other audience": token(aud="another shop"),
        "other signature": token(other),
        "its own key": token(other, {"jwk": strange, "kid": "2"}),
        "its own address of keys": token(other, {"jku": "http://169.254.169.254/", "kid": "2"}),
        "no expiry": token(exp=None),
        "no subject": token(sub=None),
        "no audience": token(aud=None),
        "cut off": token()[:-8],
        "changed": token()[:-30] + ("A" if token()[-30] != "A" else "B") + token()[-29:],
    }
    wrong = {
        "no key": {},
        "empty": {"authorization": ""},
        "bearer of nothing": {"authorization": "Bearer "},
        "another scheme": {"authorization": f"Token {keys['admin']}"},
        "no scheme": {"authorization": keys["admin"]},
        "wrong key": bearer(f"{prefix}_{key_id}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}"),
        "unknown key": bearer(f"{prefix}_0123456789ab_{secret}"),
        "key with more behind": bearer(keys["admin"] + "A"),
        "key of no secret": bearer(f"{prefix}_{key_id}_"),
        "expired key": bearer(expired),
        "revoked key": bearer(revoked),
        "other tenant's key": bearer(theirs),
        "key in another header": {"x-api-key": keys["admin"], "cookie": f"key={keys['admin']}"},
        **{f"token: {name}": bearer(each) for name, each in tokens.items()},
    }
    small = {f"key of {scope}": (scope, bearer(keys[scope])) for scope in SCOPES} | {
        f"token of {scope}": (scope, bearer(token(scope=scope))) for scope in SCOPES
    }
    (folder.parent / "set.json").write_text(json.dumps({"keys": [{**public, "kid": "1"}]}))
    toml = folder.parent / "closed.toml"
    told = _TOKENS.format(keys=folder.parent / "set.json", audience=audience)
    toml.write_text(LAPTOP.read_text() + told)
    good = {scope: bearer(keys[scope]) for scope in SCOPES}
    return Ring(good, wrong, small, token), toml


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _hmac_of(token: str, key: bytes) -> str:
    """Signed with the public key as if it were a secret: RFC 8725 section 2.1."""
    import hashlib
    import hmac

    signed = token.rpartition(".")[0]
    return f"{signed}.{_b64(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def asked_of(app: Starlette) -> list[Asked]:
    """All that an application's routes take.

    Raises:
        TypeError: it has something else than routes, which nobody here knows how to ask.
    """
    scopes = {point.path: point.scope for point in (*ENDPOINTS, *OF_CONTAINER)}
    found = []
    for route in app.routes:
        if not isinstance(route, Route):
            raise TypeError(f"{route} is no Route; teach this how to ask it")
        path = route.path.replace("{listing_id:path}", "l0000001").replace("{file}", "shop.css")
        path = path.replace("{name}", "ranker").replace("{version}", "x")
        if "{" in path:
            raise TypeError(f"{route.path} has a part that is not known here; give it a value")
        scope = None if route.path in PUBLIC else scopes.get(route.path) or "admin"
        found += [Asked(route.path, path, m, scope) for m in sorted(route.methods or ())]
    return found


class Door:
    """A server to ask, on one connection that is opened anew where it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)

    def status(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """What it answers."""
        return self.answer(method, path, headers.items())[0]

    def answer(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes = b"{}"
    ) -> tuple[int, bytes]:
        """Status and body; a header may come twice, and a body goes with what has one."""
        sent = body if method in ("POST", "PUT", "PATCH") else None
        try:
            return self._ask(method, path, headers, sent)
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            return self._ask(method, path, headers, sent)

    def _ask(
        self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes | None
    ) -> tuple[int, bytes]:
        self._connection.putrequest(method, path)
        for name, value in headers:
            self._connection.putheader(name, value.encode())
        if body is not None:
            self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


def look(name: str, door: Door, asked: Sequence[Asked], ring: Ring, holes: Holes) -> None:
    """Ask a door everything."""
    taken: dict[str, set[str]] = {}

    def expect(one: Asked, what: str, headers: Mapping[str, str], wanted: set[int]) -> None:
        holes.asked += 1
        status = door.status(one.method, one.path, headers)
        if status not in wanted:
            holes.found.append(f"{name}: {one.method} {one.route} with {what}: {status}")

    for one in asked:
        taken.setdefault(one.path, set()).add(one.method)
        for what, headers in ring.wrong.items():
            if one.scope is not None:
                expect(one, what, headers, {401})
                if one.method in ("GET", "POST"):
                    expect(one, f"{what}, from a page", {**headers, "accept": "text/html",
                           "sec-fetch-site": "same-origin"}, {401})  # fmt: skip
        for what, (scope, headers) in ring.small.items():
            if one.scope is not None and scope != one.scope:
                expect(one, what, headers, {403})
        # What should open does: else all of this would hold of a door that opens to nobody.
        good = ring.good[one.scope] if one.scope is not None else {}
        if one.route not in OF_PAGES:
            expect(one, "what opens it", good, set(range(200, 600)) - {401, 403})
    others = [Asked(path, path, method, "admin") for path, methods in taken.items()
              for method in METHODS if method not in methods]  # fmt: skip
    others += [Asked(path, path, method, "admin") for path in HIDDEN for method in ("GET", "POST")]
    for one in others:
        for what in ("no key", "wrong key", "token: alg=none"):
            expect(one, what, ring.wrong[what], set(range(300, 500)))


def absent(name: str, door: Door, asked: Sequence[Asked], ring: Ring, holes: Holes) -> None:
    """Ask a door what another door tells: nobody finds it here, a key of admin least of all."""
    for one in asked:
        shown = {"no key": {}, "the key of admin": ring.good["admin"]}
        for what, headers in shown.items():
            holes.asked += 1
            if (status := door.status(one.method, one.path, headers)) != 404:
                holes.found.append(f"{name}: {one.method} {one.route} with {what}: {status}")


@contextmanager
def inside(app: Starlette) -> Iterator[Door]:
    """An application behind a socket, in a thread of this process."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        ready = threading.Event()
        server = Announced(configured(app, loop="asyncio"), ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            if not ready.wait(60):
                raise RuntimeError("the application did not start")
            with closing(Door(*door.getsockname()[:2])) as asked:
                yield asked
        finally:
            server.should_exit = True
            thread.join()


def auth(folder: Path, *, servers: Sequence[str] = ("one", "workers", "container")) -> Holes:
    """Ask everything of servers of a system that is made in an empty folder.

    Args:
        folder: empty.
        servers: some of `one`, `workers`, `container`.
    """
    holes, place = Holes(), folder / "system"
    stocked(place)
    ring, toml = ring_of(place)
    settings = load(toml, folder=place)
    with ExitStack() as stack:
        system = System(settings, reader=True)
        stack.callback(system.close)
        doors = opened(settings, host="127.0.0.1", port=0)
        stack.callback(doors.close)
        app = application_of(system, doors)
        whole, admin = asked_of(app), asked_of(app.state.admin)
        container = application_of(system, doors, sagemaker=True)
        if "container" in servers:
            with inside(container) as door:
                look("container", door, asked_of(container), ring, holes)
    for name, options in (("one", ()), ("workers", ("--workers", "2"))):
        if name in servers:
            port = free_port()
            told = ("--admin-port", str(port)) if name == "workers" else ()
            with served(place, *options, *told, system=toml) as server:
                # Where there is an admin door, metrics and the console are at that alone.
                own = ("/metrics", "/console")
                here = [one for one in whole if not told or not one.route.startswith(own)]
                with closing(Door(server.host, server.port)) as door:
                    look(name, door, here, ring, holes)
                    absent(name, door, [one for one in whole if one not in here], ring, holes)
                if told:
                    with closing(Door(server.host, port)) as door:
                        look(f"{name}' admin", door, admin, ring, holes)
                holes.found += [f"{name}: {error}" for error in server.accidents()]
    return holes


def rows() -> list[Row]:
    """The row of the table."""
    folder = Path(tempfile.mkdtemp(prefix="faults-auth-"))
    try:
        holes = auth(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for hole in holes.found[:40]:
        print(hole)
    return [
        Row(id="faults.auth_holes", value=len(holes.found), unit="holes", better="equal", target=0,
            note=f"{holes.asked:,} requests: every route and method, with wrong keys and tokens of "
            "29 kinds, and keys of other scopes; one process, two workers, the admin door, a "
            "SageMaker container"),
    ]  # fmt: skip


if __name__ == "__main__":
    for row in rows():
        print(row.id, row.value, row.note)
