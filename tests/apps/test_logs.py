"""Logs: one line for each thing, whose request it is about, and nothing that opens a door."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.logs import REQUESTS, LogPart, about, begin, redacted

from .conftest import Door

SECRETS = {
    "key": ("Authorization: Bearer {}", "hlm_0123456789ab_c2VjcmV0LXNlY3JldA"),
    "bare key": ("no key {} here", "hlm_0123456789ab_c2VjcmV0LXNlY3JldA"),
    "token": ("refused {}", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"),
    "basic": ("('authorization', 'Basic {}')", "bWU6aGxtX3NlY3JldA=="),
    "cookie": ("Cookie: x=1; heirloom_console={}; person=w12", "0123.99.ab.cdef"),
    "cookie alone": ("came with heirloom_console={}", "0123456789ab.99.ab.cdef"),
    "person": ("headers {{'cookie': 'person={}'}}", "w0123456789abcdef01234567"),
    "dsn": ("cannot reach postgresql://me:{}@host:5432/db", "p4ssw0rd"),
    "redis": ("redis://:{}@host:6379/0 is away", "p4ssw0rd"),
    "password": ('{{"password": "{}"}}', "p4ssw0rd"),
}
Read = Callable[[], list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[LogPart], Read]]:
    """Begins to log as asked; gives what reads the lines so far. All is as before at the end."""
    root, ours = logging.getLogger(), logging.getLogger("heirloom")
    before = root.handlers[:], root.level, ours.level, REQUESTS.level

    def begun(part: LogPart) -> Read:
        begin(part, process="worker-1")

        def read() -> list[str]:
            return capsys.readouterr().err.splitlines()

        return read

    yield begun
    root.handlers[:] = before[0]
    for logger, level in zip((root, ours, REQUESTS), before[1:], strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("what", SECRETS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_gets_in(what: str, form: Any, lines: Callable[[LogPart], Read]) -> None:
    template, secret = SECRETS[what]
    said = template.format(secret)
    read = lines(LogPart(format=form))
    try:
        raise RuntimeError(said)
    except RuntimeError:
        logging.getLogger("heirloom.test").exception("it failed: %s", said)
    text = "\n".join(read())
    assert "it failed" in text
    assert "RuntimeError" in text
    assert secret not in text
    assert "removed" in text


@given(st.from_regex(r"hlm_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True), st.text(max_size=20))
def test_no_key_gets_in_whatever_stands_around_it(key: str, around: str) -> None:
    assert key.split("_", 2)[2] not in redacted(f"{around} {key} {around}")


def test_what_holds_no_secret_stays_as_it_is() -> None:
    for said in ("POST /v1/search failed", "token of a page expired", "50 % of 3:2 at 10:30",
                 "see https://host:8080/path", "the person is unknown", "2026-11-22"):  # fmt: skip
        assert redacted(said) == said


def test_what_came_from_outside_begins_no_line_of_its_own(
    lines: Callable[[LogPart], Read],
) -> None:
    for form in ("text", "json"):
        read = lines(LogPart(format=form))
        logging.getLogger("heirloom.test").warning("came %s", "a\nERROR forged\r\nline")
        assert len(read()) == 1


def test_a_line_says_whose_request_failed_and_where(
    door: Door, lines: Callable[[LogPart], Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no disk")

    read = lines(LogPart(format="json", requests=True))
    monkeypatch.setattr(door.system.live, "look_up", broken)
    answer = door.client.post("/v1/recommend", json={"user": "anna secret", "k": 5})
    search = door.client.get("/search?q=private+words", headers={"accept": "text/html"})
    assert answer.status_code == search.status_code == 200
    told = [json.loads(line) for line in read()]
    mine = [line for line in told if line["request_id"] == answer.headers["x-request-id"]]
    failed, asked = mine
    assert failed["level"] == "error"
    assert failed["process"] == "worker-1"
    assert "no disk" in failed["stack"]
    assert asked["logger"] == "heirloom.requests"
    assert (asked["method"], asked["route"], asked["status"]) == ("POST", "/v1/recommend", 200)
    assert asked["caller"] == "anyone"
    assert asked["ms"] > 0
    last = told[-1]
    assert (last["route"], last["request_id"]) == ("/search", search.headers["x-request-id"])
    assert "anna" not in str(told)
    assert "private" not in str(told)
    monkeypatch.setattr(door.system, "recommend", broken)  # nothing can be made at all
    fallen = door.client.post("/v1/recommend", json={})
    (line,) = [each for each in map(json.loads, read()) if "another rung" in each["message"]]
    assert line["request_id"] == fallen.headers["x-request-id"]


def test_requests_are_logged_only_where_that_is_asked(
    door: Door, lines: Callable[[LogPart], Read]
) -> None:
    read = lines(LogPart())
    door.post("/v1/recommend", {"k": 5})
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("heirloom.test").info("ours")
    with about("0123"):
        logging.getLogger("heirloom.test").warning("mine")
    ours, mine = read()
    assert ours.endswith("INFO worker-1 heirloom.test ours")
    assert mine.endswith("WARNING worker-1 heirloom.test [0123] mine")
