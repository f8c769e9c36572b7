"""The anteroom on SQLite: laws, and several processes at once."""

from pathlib import Path

import pytest

from heirloom.adapters.anteroom import SqliteAnteroom
from heirloom.adapters.sqlite import SqliteLog
from heirloom.core.errors import StoreError
from heirloom.core.event import Event
from heirloom.core.log import Anteroom
from heirloom.testing.event_log import START_MS, AnteroomLaws


class TestSqliteAnteroom(AnteroomLaws):
    def open_anteroom(self, folder: Path) -> SqliteAnteroom:
        return SqliteAnteroom(folder / "anteroom.sqlite")


def test_an_impression_waits_for_each_of_its_listings(tmp_path):
    shown = Event(event_id="i", kind="impression", t=START_MS, listings=("a/1", "🙂", "a/1"))
    click = Event(event_id="c", kind="click", t=START_MS, user="u", listing="🙂")
    with SqliteAnteroom(tmp_path / "anteroom") as opened:
        room: Anteroom = opened
        room.hold([shown, click])
        assert room.held_for(["a/1"]) == [shown]
        assert room.held_for(["🙂", "a/1"]) == [shown, click]
        room.release(["i", "never held"])
        assert room.held_for(["🙂", "a/1"]) == [click]
        assert room.held_for([]) == []


def test_two_processes_may_write(tmp_path):
    with SqliteAnteroom(tmp_path / "room") as one, SqliteAnteroom(tmp_path / "room") as two:
        one.hold([Event(event_id="a", kind="click", t=START_MS, user="u", listing="l")])
        two.hold([Event(event_id="b", kind="click", t=START_MS, user="u", listing="l")])
        assert [event.event_id for event in one.held_for(["l"])] == ["a", "b"]


def test_a_log_is_no_anteroom(tmp_path):
    SqliteLog(tmp_path / "log").close()
    with pytest.raises(StoreError, match="of something else"):
        SqliteAnteroom(tmp_path / "log")
