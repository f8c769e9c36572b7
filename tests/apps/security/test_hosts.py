"""Under which names a door is asked: an open one tells nothing to another site's page."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.requests import Request
from tests.apps.conftest import Client, Door

from heirloom.apps.http import application
from heirloom.apps.problems import ProblemError
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.hosts import Hosts
from heirloom.apps.security.keys import KeysFile
from heirloom.apps.security.opening import guard_of
from heirloom.apps.security.settings import AuthPart
from heirloom.apps.settings import HttpPart

OURS = ("127.0.0.1:8080", "127.0.0.1", "localhost:9999", "LOCALHOST.", "shop.localhost:80",
        "[::1]:8080", "192.168.1.7:8080", "[2001:db8::7]")  # fmt: skip
OTHERS = ("evil.test", "evil.test:8080", "localhost.evil.test", "127.0.0.1.evil.test",
          "notlocalhost", "2130706433", "0x7f000001", "shop.example.evil.test",
          "xshop.example")  # fmt: skip
NO_HOST = ("", " ", "a b", "a/b", "user@localhost", "localhost:80:80", "localhost:x", "[::1", "é",
           "http://localhost", "localhost, evil.test")  # fmt: skip


def asked(*hosts: str, method: str = "GET", version: str = "1.1", **headers: str) -> Request:
    sent = [(b"host", host.encode("latin-1")) for host in hosts]
    sent += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": "/", "http_version": version,
                    "headers": sent})  # fmt: skip


def status(request: Request, *names: str) -> tuple[int, list[str]]:
    """The refusal's status, 200 for none; and what was counted."""
    counted: list[str] = []
    try:
        Hosts(names).check(request, counted.append)
    except ProblemError as error:
        return error.problem.status, counted
    return 200, counted


@pytest.mark.parametrize("host", OURS)
def test_this_machine_and_addresses_are_names_of_any_door(host: str) -> None:
    assert status(asked(host)) == (200, [])


@pytest.mark.parametrize("host", OTHERS)
def test_a_name_of_others_is_refused(host: str) -> None:
    assert status(asked(host)) == (421, ["host"])
    assert status(asked(host), "shop.example", "*.shop.example") == (421, ["host"])
    assert status(asked(host), "*") == (200, [])


@pytest.mark.parametrize("host", NO_HOST)
def test_what_is_no_host_is_refused(host: str) -> None:
    assert status(asked(host), "*") == (400, ["host"])


def test_one_host_is_said() -> None:
    assert status(asked())[0] == 400
    assert status(asked(version="1.0"))[0] == 200, "which browsers do not speak"
    assert status(asked("localhost", "localhost"))[0] == 400


def test_names_can_be_added() -> None:
    for host, names in (("shop.example:443", ["shop.example"]), ("a.b.example", ["*.b.example"]),
                        ("Shop.Example", ["x", "shop.example"])):  # fmt: skip
        assert status(asked(host))[0] == 421
        assert status(asked(host), *names)[0] == 200
    assert status(asked("b.example"), "*.b.example")[0] == 421


@given(st.text("ab.*-:_/ Aé", min_size=1, max_size=8))
def test_what_is_no_name_cannot_be_added(text: str) -> None:
    """A setting is taken or refused whole: what is taken lets just that name in."""
    try:
        (name,) = HttpPart(hosts=(text,)).hosts
    except ValidationError:
        return
    host = name.replace("*", "below")
    assert status(asked(host), name) == (200, [])


@pytest.mark.parametrize("setting", ["https://shop.example", "shop.example:80", "a b", "", "*.*"])
def test_a_setting_that_is_no_name_is_refused(setting: str) -> None:
    with pytest.raises(ValidationError, match="is no host"):
        HttpPart(hosts=(setting,))


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8080"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 200),
        ({"origin": "http://192.168.1.7:8080"}, 200),
        ({"origin": "https://shop.example"}, 200),
        ({"origin": "https://shop.example", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "https://any.test", "sec_fetch_site": "same-origin"}, 200),
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "https://evil.test", "sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"origin": "http://192.168.1.8:8080"}, 403),
        ({"origin": "http://203.0.113.5"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://[::"}, 403),
        ({"origin": "http://localhost.evil.test"}, 403),
    ],
)
def test_a_page_of_others_reads_by_its_own_rules_and_writes_nothing(
    headers: dict[str, str], wanted: int
) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        request = asked("192.168.1.7:8080", method=method, **headers)
        assert status(request, "shop.example") == (wanted, ["origin"] * (wanted == 403)), method
    assert status(asked("192.168.1.7:8080", **headers), "shop.example") == (200, [])


def test_which_doors_look(tmp_path: Path) -> None:
    KeysFile(tmp_path).add("one", ["read"], now_ms=0)
    open_, closed = AuthPart(), AuthPart(required=True)

    def looks(auth: AuthPart, host: str, **more: bool | tuple[str, ...]) -> bool:
        return guard_of(auth, folder=tmp_path, host=host, **more)._hosts is not None  # type: ignore[arg-type]

    assert looks(open_, "127.0.0.1")
    assert looks(open_, "localhost", unguarded=True)
    assert looks(closed, "127.0.0.1", admin=True)
    assert not looks(closed, "127.0.0.1"), "a proxy stands before it, under whatever name"
    assert not looks(open_, "0.0.0.0")
    assert not looks(open_, "0.0.0.0", unguarded=True), "something else guards it"
    assert looks(open_, "0.0.0.0", unguarded=True, hosts=("shop.example",))
    assert looks(closed, "127.0.0.1", hosts=("shop.example",))


def test_no_route_answers_to_a_name_of_others(door: Door) -> None:
    """Every one of the application, also those that need no key."""
    app = application(door.system, guard=Guard(hosts=Hosts()))
    for served in (app.state.admin, app):
        client = Client(served)
        for route in served.routes:
            path = route.path.replace("{listing_id:path}", "l01").replace("{file}", "shop.css")  # type: ignore[attr-defined]
            path = path.replace("{name}", "ranker").replace("{version}", "x")
            for method in route.methods:  # type: ignore[attr-defined]
                ask = client.post if method == "POST" else client.get
                if method in ("GET", "POST"):
                    refused = ask(path, headers={"host": "evil.test:80"}).status_code
                    other = ask(path, headers={"host": "127.0.0.1:80"}).status_code
                    assert (refused, other == 421) == (421, False), (method, path)
        text = client.get("/metrics", headers={"host": "localhost"}).text
        assert 'heirloom_refused_total{reason="host"}' in text
        client.close()
