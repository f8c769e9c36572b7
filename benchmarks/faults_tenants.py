"""Every route through the door of two tenants, with credentials of the right and the wrong one.

    python -m benchmarks.faults_tenants

Two systems stand behind one `heirloom serve --tenants`. What opens nothing at the one's own door is
to open nothing at this, also what a system of its own answers to all; what does is answered by
whose it is: while one's credentials ask, the other counts no request and its log does not grow.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults_auth import (
    HIDDEN,
    OF_PAGES,
    Asked,
    Door,
    Holes,
    Ring,
    asked_of,
    bearer,
    ring_of,
)
from benchmarks.faults_target import served, stocked
from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.server import application_of, opened
from heirloom.apps.settings import load

OPEN = {"/healthz", "/openapi.json"}
"""What this door answers to all: it is the same for every tenant."""
STOCK = {"anna": 40, "berta": 60}
"""Tenants, and how many listings tell their answers apart."""
METRICS = "/metrics"

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of the two."""

    name: str
    ring: Ring
    toml: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Counted:
    """What a tenant says that it was asked, but for metrics; and how far its log is."""

    requests: float
    offset: float


def tenants(folder: Path) -> list[Tenant]:
    """Both, each with stock, keys and tokens of its own."""
    made = []
    for seed, (name, listings) in enumerate(STOCK.items()):
        place = folder / name / "system"
        stocked(place, listings=listings, seed=seed)
        ring, toml = ring_of(place, f"shop of {name}")
        made.append(Tenant(name, ring, toml, place))
    return made


def list_of(folder: Path, both: Sequence[Tenant]) -> Path:
    """The file that lists them; the second has workers."""
    toml = folder / "tenants.toml"
    parts = ["[http.addresses]\nwrong_per_second = 0\n"]
    for workers, each in enumerate(both, start=1):
        parts.append(f'[tenants.{each.name}]\nsystem = "{each.toml}"\nfolder = "{each.folder}"\n')
        parts.append(f"workers = {workers}\n" if workers > 1 else "")
    toml.write_text("".join(parts))
    return toml


def routes_of(tenant: Tenant) -> list[Asked]:
    """All that a tenant's own application takes."""
    settings = load(tenant.toml, folder=tenant.folder)
    with ExitStack() as stack:
        system = System(settings, reader=True)
        stack.callback(system.close)
        doors = opened(settings, host="127.0.0.1", port=0)
        stack.callback(doors.close)
        return asked_of(application_of(system, doors))


def mixed(mine: Ring, theirs: Ring) -> dict[str, Headers]:
    """What is of both tenants, and opens neither."""
    own, other = (ring.good["admin"]["authorization"] for ring in (mine, theirs))
    prefix, key_id, secret = own.split("_", 2)
    _, other_id, other_secret = other.split("_", 2)
    return {
        "id of one, secret of the other": [("authorization", f"{prefix}_{key_id}_{other_secret}")],
        "secret of one, id of the other": [("authorization", f"{prefix}_{other_id}_{secret}")],
        "two keys in one header": [("authorization", f"{own}, {other}")],
        "two keys, one scheme": [("authorization", f"{own} {other.split()[1]}")],
        "keys everywhere else": [("cookie", f"key={own}"), ("x-api-key", other),
                                 ("proxy-authorization", own)],
    }  # fmt: skip


def disguised(mine: Ring, theirs: Ring, other: str) -> dict[str, Headers]:
    """A tenant's own key of admin, beside what speaks of the other: its own it stays."""
    own, key = (ring.good["admin"]["authorization"] for ring in (mine, theirs))
    shown = ("authorization", own)
    return {
        "the other's key behind it": [shown, ("authorization", key)],
        "the other's key beside it": [shown, ("x-api-key", key), ("cookie", f"key={key}")],
        "the other's name": [shown, ("x-tenant", other), ("x-forwarded-host", f"{other}.test"),
                             ("x-original-url", f"/{other}"), ("x-forwarded-for", "127.0.0.1")],
        "headers of a connection": [shown, ("connection", "authorization, x-a"), ("x-a", "1")],
        "a token of two audiences": [
            *bearer(mine.token(aud=["elsewhere", _audience(mine), _audience(theirs)])).items()
        ],
    }  # fmt: skip


def misled(mine: Ring, theirs: Ring) -> dict[str, Headers]:
    """Tokens that one tenant's provider signed, and that name the other, who refuses them."""
    told = {
        "a token for the other": _audience(theirs),
        "a token for the other first": [_audience(theirs), _audience(mine)],
    }
    return {what: [*bearer(mine.token(aud=aud)).items()] for what, aud in told.items()}


def _audience(ring: Ring) -> str:
    import jwt

    claims = jwt.decode(ring.token(), options={"verify_signature": False})
    return str(claims["aud"])


def counted(door: Door, tenant: Tenant) -> Counted:
    """As its metrics tell it."""
    status, body = door.answer("GET", METRICS, tenant.ring.good["admin"].items())
    if status != 200:
        raise RuntimeError(f"{tenant.name} does not tell its metrics: {status}")
    text = body.decode()
    lines = re.findall(r"(?m)^heirloom_requests_total\{(.*)\} (\S+)$", text)
    offsets = re.findall(r"(?m)^heirloom_log_offset(?:\{.*\})? (\S+)$", text)
    return Counted(
        sum(float(value) for labels, value in lines if f'route="{METRICS}"' not in labels),
        max(float(value) for value in offsets),
    )


class Looks:
    """Asks a door, and keeps what is not as it must be."""

    def __init__(self, door: Door, holes: Holes) -> None:
        self.door, self._holes = door, holes

    def expect(self, one: Asked, what: str, headers: Headers, wanted: set[int]) -> bytes:
        """One request; its body."""
        self._holes.asked += 1
        status, body = self.door.answer(one.method, one.path, headers)
        if status not in wanted:
            self.hole(f"{one.method} {one.route} with {what}: {status}")
        return body

    def hole(self, what: str) -> None:
        """One was found."""
        self._holes.found.append(f"tenants: {what}")


ANSWERED = set(range(200, 600)) - {401, 403, 502, 503}


def shut(looks: Looks, routes: Sequence[Asked], mine: Tenant, theirs: Tenant) -> None:
    """What opens nothing at a tenant's own door, or is of two tenants."""
    wrong = {what: [*headers.items()] for what, headers in mine.ring.wrong.items()}
    for one in routes:
        wanted = ANSWERED if one.route in OPEN else {401}
        for what, headers in {**wrong, **mixed(mine.ring, theirs.ring)}.items():
            looks.expect(one, what, headers, wanted)
        page = ("accept", "text/html"), ("sec-fetch-site", "same-origin")
        looks.expect(one, "no key, from a page", page, wanted)
    for path in HIDDEN:
        for method in ("GET", "POST"):
            one = Asked(path, path, method, "admin")
            for what in ("no key", "wrong key", "token: alg=none"):
                looks.expect(one, what, wrong[what], set(range(300, 500)))


def own(looks: Looks, routes: Sequence[Asked], mine: Tenant, theirs: Tenant) -> None:
    """A tenant's good credentials: each opens what it may, of that tenant and of no other."""
    shown = disguised(mine.ring, theirs.ring, theirs.name)
    for one in routes:
        for what, (scope, headers) in mine.ring.small.items():
            fits = one.scope is None or scope == one.scope or one.route in OPEN
            said = _of_page(one) if fits else {403}
            looks.expect(one, f"{mine.name}'s {what}", [*headers.items()], said)
        for what, pairs in shown.items():
            fits = one.scope in (None, "admin") or what.startswith("a token")
            said = _of_page(one) if fits else {403}
            body = looks.expect(one, f"{mine.name}'s key and {what}", pairs, said)
            if one.path == METRICS and one.method == "GET":
                live = set(re.findall(rb"(?m)^heirloom_live_listings\S* (\S+)$", body))
                if live != {str(float(STOCK[mine.name])).encode()}:
                    looks.hole(f"{METRICS} with {mine.name}'s key and {what} tells of {live}")
    for path in HIDDEN:
        for method in ("GET", "POST"):
            if path != "/console":
                one = Asked(path, path, method, "admin")
                looks.expect(one, "the key of admin", [*mine.ring.good["admin"].items()],
                             set(range(300, 500)))  # fmt: skip


def _of_page(one: Asked) -> set[int]:
    """A form that another site sends is 403 for whoever sends it."""
    return ANSWERED | {403} if one.route in OF_PAGES else ANSWERED


def matrix(folder: Path, *, both_ways: bool = True) -> Holes:
    """Ask everything of two tenants that are made in an empty folder.

    Args:
        folder: empty.
        both_ways: each tenant's credentials; else the first one's.
    """
    holes, both = Holes(), tenants(folder)
    routes = routes_of(both[0])
    command = ["serve", "--tenants", str(list_of(folder, both)), "--port", "0"]
    with served(folder / "front", command=command) as server:
        pairs = [(both[0], both[1]), (both[1], both[0])]
        with closing(Door(server.host, server.port)) as door:
            looks = Looks(door, holes)
            for mine, theirs in pairs if both_ways else pairs[:1]:
                before = counted(door, theirs)
                shut(looks, routes, mine, theirs)
                own(looks, routes, mine, theirs)
                if (after := counted(door, theirs)) != before:
                    looks.hole(f"{theirs.name} was asked with {mine.name}'s: {before}, {after}")
                for one in routes:
                    for what, headers in misled(mine.ring, theirs.ring).items():
                        wanted = ANSWERED if one.route in OPEN else {401}
                        looks.expect(one, f"{mine.name}'s {what}", headers, wanted)
        holes.found += [f"tenants: {error}" for error in server.accidents()]
    return holes


def rows() -> list[Row]:
    """The row of the table."""
    folder = Path(tempfile.mkdtemp(prefix="faults-tenants-"))
    try:
        holes = matrix(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for hole in holes.found[:40]:
        print(hole)
    return [
        Row(id="faults.tenants_holes", value=len(holes.found), unit="holes", better="equal",
            target=0, note=f"{holes.asked:,} requests through one door of two tenants: every route "
            "and method, with what opens nothing, with each one's keys and tokens, with both's "
            "mixed; the other tenant counts no request"),
    ]  # fmt: skip


if __name__ == "__main__":
    for row in rows():
        print(row.id, row.value, row.note)
