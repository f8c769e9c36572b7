"""The console behind its door: who is let in, and that its numbers are those of /metrics."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apps.conftest import Client, Door, _opener

from heirloom.apps.console.numbers import Numbers
from heirloom.apps.console.pages import HOME, PAGES, SIGN_IN, SIGN_OUT
from heirloom.apps.http import application
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.keys import KeysFile, WatchedKeys
from heirloom.apps.security.sessions import COOKIE, LASTS_S

NOW = 1_750_000_000_000
LIVE = "/console/live"


class Gate:
    """A closed door, its keys, and a browser before it."""

    def __init__(self, folder: Path, opened: Any) -> None:
        self.now = NOW
        self.keys = KeysFile(folder)
        self.admin = self.keys.add("me", ["admin"], now_ms=NOW)[1]
        self.reader = self.keys.add("shop", ["read"], now_ms=NOW)[1]
        self.guard = Guard(WatchedKeys(self.keys), clock=lambda: self.now)
        self.door: Door = opened(guard=self.guard)

    def browser(self) -> Client:
        return self.door.browser()

    def signed_in(self) -> Client:
        browser = self.browser()
        answer = browser.post(SIGN_IN, data={"key": self.admin, "next": LIVE})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == LIVE
        return browser


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    opener = _opener(tmp_path / "system")
    yield Gate(tmp_path / "keys", next(opener))
    next(opener, None)


def token_in(html: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', html)
    assert found
    return found[1]


def test_a_person_without_a_session_is_asked_for_a_key(gate: Gate) -> None:
    for path in (HOME, *(page.path for page in PAGES)):
        answer = gate.browser().get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="heirloom"'  # no box of its own
        assert f'name="next" value="{path}"' in answer.text
        assert 'role="alert"' not in answer.text
        assert "listings on sale" not in answer.text


def test_the_cookie_of_a_session_is_for_the_console_alone(gate: Gate) -> None:
    browser = gate.browser()
    answer = browser.post(SIGN_IN, data={"key": gate.admin})
    (cookie,) = answer.headers.get_list("set-cookie")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/console", f"max-age={LASTS_S}"} <= parts
    assert gate.admin.split("_", 2)[2] not in cookie
    page = browser.get(LIVE)
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert browser.get("/metrics").status_code == 401
    assert browser.get("/").status_code == 401


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [("hlm_0123456789ab_x", 401, "not known here"), ("", 401, "not known here"),
     ("reader", 403, "may not do that")],
)  # fmt: skip
def test_a_wrong_key_opens_nothing_and_is_told_so(
    gate: Gate, key: str, status: int, said: str
) -> None:
    browser = gate.browser()
    answer = browser.post(SIGN_IN, data={"key": gate.reader if key == "reader" else key})
    assert answer.status_code == status
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers
    assert browser.get(LIVE).status_code == 401


def test_forms_of_other_sites_are_refused(gate: Gate) -> None:
    browser = gate.signed_in()
    elsewhere = {"sec-fetch-site": "cross-site"}
    told = browser.post(SIGN_IN, data={"key": gate.admin}, headers=elsewhere)
    assert told.status_code == 403
    token = token_in(browser.get(LIVE).text)
    assert browser.post(SIGN_OUT, data={"token": token}, headers=elsewhere).status_code == 403
    assert browser.post(SIGN_OUT, data={"token": "0" * 64}).status_code == 403
    assert browser.post(SIGN_OUT).status_code == 403
    assert browser.get(LIVE).status_code == 200


def test_next_leads_nowhere_else(gate: Gate) -> None:
    for wanted in ("https://evil.example/", "//evil.example", "/metrics", "", "/console/../"):
        answer = gate.browser().post(SIGN_IN, data={"key": gate.admin, "next": wanted})
        assert (answer.status_code, answer.headers["location"]) == (303, HOME)


def test_who_signs_out_is_out_also_with_a_copy_of_the_cookie(gate: Gate) -> None:
    browser = gate.signed_in()
    copy = browser.cookies[COOKIE]
    answer = browser.post(SIGN_OUT, data={"token": token_in(browser.get(LIVE).text)})
    assert answer.status_code == 303
    thief = gate.browser()
    thief.cookies.set(COOKIE, copy, path="/console")
    assert thief.get(LIVE).status_code == 401
    assert "This session is over" in thief.get(LIVE).text


def test_a_session_ends_with_its_time_and_with_its_key(gate: Gate) -> None:
    browser = gate.signed_in()
    gate.now += LASTS_S * 1_000
    assert browser.get(LIVE).status_code == 401
    browser = gate.signed_in()
    assert browser.get(LIVE).status_code == 200
    gate.keys.revoke("me", now_ms=gate.now)
    assert browser.get(LIVE).status_code == 401


def test_a_program_asks_with_its_key(gate: Gate) -> None:
    client = gate.door.client
    told = client.get(f"{LIVE}.json", headers={"authorization": f"Bearer {gate.admin}"})
    assert told.status_code == 200
    assert told.json()["processes"][0]["name"] == "server"
    for key in (gate.reader, "hlm_0123456789ab_x"):
        refused = client.get(f"{LIVE}.json", headers={"authorization": f"Bearer {key}"})
        assert refused.status_code in (401, 403)
        assert refused.headers["content-type"] == "application/problem+json"


def test_an_open_door_has_an_open_console(door: Door) -> None:
    browser = door.browser()
    page = browser.get(HOME)
    assert page.status_code == 200
    assert "Sign out" not in page.text
    assert browser.post(SIGN_IN, data={"key": ""}).status_code == 303


def test_with_an_admin_door_the_console_stands_there_alone(door: Door) -> None:
    app = application(door.system, admin=Guard())
    public, admin = Client(app), Client(app.state.admin, accept="text/html")
    try:
        for path in (HOME, LIVE, f"{LIVE}.json", "/console/static/console.css"):
            assert public.get(path).status_code == 404, path
            assert admin.get(path).status_code == 200, path
    finally:
        public.close()
        admin.close()


def test_the_numbers_are_those_of_metrics(door: Door) -> None:
    for i in range(3):
        door.post("/v1/recommend", {"user": f"u{i}", "k": 5})
    door.post("/v1/search", {"text": "silk dress"})
    door.post("/v1/events", [{"kind": "sold", "event_id": "s", "listing": "l05"}])
    door.post("/v1/events", [{"kind": "sold", "event_id": "s", "listing": "l05"}])
    told = door.client.get(f"{LIVE}.json").json()
    metrics = Numbers(door.client.get("/metrics").text)
    flows = {name: {row["name"]: row["total"] for row in told[name]}
             for name in ("surfaces", "statuses", "events")}  # fmt: skip
    assert flows["surfaces"] == {"home": 3, "similar": 0, "search": 1}
    assert flows["surfaces"]["home"] == metrics.by("heirloom_slates_total", "surface")["home"]
    assert flows["statuses"]["2xx"] == 6  # who watches is no traffic
    assert flows["events"] == {
        "taken": 1, "duplicate": 1, "held": 0, "quarantined": 0, "lost": 0
    }  # fmt: skip
    assert {row["name"]: row["slates"] for row in told["rungs"]}["order of retrieval"] == 4
    (process,) = told["processes"]
    assert process["offset"] == told["offset"] == metrics.total("heirloom_log_offset") == 64
    assert (process["behind"], told["listings"], told["sold_leak"]) == (0, 62, 0)
    assert process["index"] == door.system.encoders.listings.model_id
    assert told["left_out"][0] == {"step": "score", "cause": "absent", "total": 4}


def test_what_failed_is_on_the_page(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no disk")

    monkeypatch.setattr(door.system.live, "look_up", broken)
    for _ in range(3):
        door.post("/v1/recommend", {"k": 5})
    told = door.client.get(f"{LIVE}.json").json()
    assert {(row["step"], row["state"]) for row in told["breakers"]} == {("features", "open")}
    assert {"step": "features", "cause": "failed", "total": 3} in told["left_out"]
    page = door.browser().get(LIVE).text
    assert "1 breakers not closed" in page
    assert "no disk" not in page


def test_the_script_is_given_the_changing_part_alone(door: Door) -> None:
    browser = door.browser()
    part = browser.get(LIVE, headers={"x-part": "1"}).text
    assert "<html" not in part
    assert part.strip() in browser.get(LIVE).text or "data-at" in part
    for file in ("console.css", "console.js", "icon.svg"):
        assert browser.get(f"/console/static/{file}").status_code == 200
    assert browser.get("/console/static/pages.py").status_code == 404
