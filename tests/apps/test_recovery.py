"""A system that starts from its snapshots answers as one that folds its whole log."""

import logging
from pathlib import Path

import pytest

from heirloom.apps.build import System
from heirloom.apps.parity import check
from heirloom.apps.settings import Settings, load
from heirloom.core.errors import StoreError
from heirloom.core.event import Event, Kind
from heirloom.core.query import Query
from heirloom.pipelines.live import Live
from heirloom.pipelines.recovery import Folded

from .conftest import LAPTOP, START_MS, Clock, listings


def settings(folder: Path, every: int) -> Settings:
    return load(LAPTOP, folder=folder, snapshot_every=every)


def opened(folder: Path, every: int = 40) -> System:
    return System(settings(folder, every), clock=Clock())


def listed() -> list[Event]:
    return [
        Event(
            event_id=each.listing_id, kind="listed", t=START_MS, listing=each.listing_id, data=each
        )
        for each in listings()
    ]


def clicks(start: int, count: int) -> list[Event]:
    return [
        Event(
            event_id=f"c{i}",
            kind=Kind.CLICK,
            t=START_MS,
            listing=f"l{i % 60:02d}",
            user=f"u{i % 9}",
        )
        for i in range(start, start + count)
    ]


def state_of(live: Live) -> dict[str, bytes]:
    return {
        name: array.tobytes() for name, array in Folded(live.features, live.people).arrays().items()
    }


def offsets(folder: Path) -> list[int]:
    return sorted(int(p.parent.name) for p in (folder / "snapshots").glob("*/*/manifest.json"))


def test_a_restart_goes_on_from_the_latest_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    system = opened(tmp_path)
    assert system.restored_to == 0
    system.ingest(listed())  # 63: due
    system.close()
    assert offsets(tmp_path) == [63]
    system = opened(tmp_path)
    assert system.restored_to == 63
    system.ingest(clicks(0, 30))  # not due
    query = Query(t=START_MS, user="u3", k=40)
    served = system.recommend(query)
    system.close()
    assert offsets(tmp_path) == [63]

    again = opened(tmp_path)
    assert again.restored_to == 63
    assert again.live.n == 93
    assert served.features is not None
    replayed = again.recommend(query).features
    assert replayed is not None
    assert replayed.values.tobytes() == served.features.values.tobytes()
    assert again.snapshot() == 93
    again.ingest(clicks(30, 50))  # due again
    again.close()
    assert offsets(tmp_path) == [93, 143]

    flipped = sorted((tmp_path / "snapshots").glob("*/*143/people.actions.npy"))[0]
    content = bytearray(flipped.read_bytes())
    content[-1] ^= 1
    flipped.write_bytes(content)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        older = opened(tmp_path)
    assert older.restored_to == 93
    assert "is not what was written" in caplog.text
    whole = older.empty_live(retrievers=False)
    whole.replay(older.log.read())
    assert state_of(whole) == state_of(older.live)
    older.close()
    assert check(settings(tmp_path, 40)).holds


def test_a_state_that_may_be_ahead_of_the_log_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = opened(tmp_path, every=10_000)
    system.ingest(listed())

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(system.log, "append", full)
    with pytest.raises(StoreError, match="full"):
        system.ingest(clicks(0, 3))
    with pytest.raises(StoreError, match="may be ahead"):
        system.snapshot()
    system.close()
    assert not (tmp_path / "snapshots").exists()


def test_a_disk_that_refuses_snapshots_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snapshots").write_text("no folder can stand here")
    system = opened(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert system.ingest(listed()).taken == 63
        system.close()
    assert "nothing is lost" in caplog.text
    again = opened(tmp_path)
    assert again.restored_to == 0
    again.close()
