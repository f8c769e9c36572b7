"""Sessions: what a cookie opens, until when, and in which process."""

import os
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.security.sessions import LASTS_S, Sessions

KEY = "0123456789ab"


@dataclass
class Clock:
    s: float = 1_750_000_000.0

    def __call__(self) -> float:
        return self.s


def test_a_session_is_its_keys_until_its_time_is_over() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    cookie = sessions.begin(KEY)
    assert sessions.key_id(cookie) == KEY
    clock.s += LASTS_S - 1
    assert sessions.key_id(cookie) == KEY
    clock.s += 1
    assert sessions.key_id(cookie) is None


def test_an_ended_session_opens_nothing_and_others_go_on() -> None:
    sessions = Sessions(Clock())
    mine, other = sessions.begin(KEY), sessions.begin(KEY)
    assert mine != other
    sessions.end(mine)
    sessions.end("nonsense")
    assert sessions.key_id(mine) is None
    assert sessions.key_id(other) == KEY


def test_another_run_knows_no_session_of_this_one() -> None:
    assert Sessions(Clock()).key_id(Sessions(Clock()).begin(KEY)) is None


def test_a_session_that_one_process_ended_is_over_in_all() -> None:
    sessions = Sessions(Clock())
    cookie = sessions.begin(KEY)
    pid = os.fork()
    if pid == 0:
        knew = sessions.key_id(cookie) == KEY
        sessions.end(cookie)
        os._exit(0 if knew else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert sessions.key_id(cookie) is None


@given(at=st.integers(0, 200), byte=st.characters(codec="ascii"))
def test_a_cookie_with_any_other_character_is_none(at: int, byte: str) -> None:
    sessions = Sessions(Clock())
    cookie = sessions.begin(KEY)
    at %= len(cookie)
    changed = cookie[:at] + byte + cookie[at + 1 :]
    assert (sessions.key_id(changed) == KEY) == (changed == cookie)


@pytest.mark.parametrize(
    "cookie", ["", "...", "a.b.c.d", "ü" * 200, f"{KEY}.99999999999.{'0' * 16}."]
)
def test_what_is_no_cookie_opens_nothing(cookie: str) -> None:
    assert Sessions(Clock()).key_id(cookie) is None


def test_a_forms_token_is_of_one_session() -> None:
    sessions = Sessions(Clock())
    mine, other = sessions.begin(KEY), sessions.begin(KEY)
    assert sessions.is_form_of(mine, sessions.form_token(mine))
    assert not sessions.is_form_of(mine, sessions.form_token(other))
    assert not sessions.is_form_of(mine, "")
    assert not sessions.is_form_of(mine, "ü")
    assert sessions.form_token(mine) not in mine
