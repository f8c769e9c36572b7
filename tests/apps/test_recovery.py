"""A system that starts from its snapshots answers as one that folds its whole log."""

import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from heirloom.adapters.snapshots import Snapshots
from heirloom.apps import kept, snapshot
from heirloom.apps.build import System
from heirloom.apps.parity import check
from heirloom.apps.settings import Settings, load
from heirloom.core.errors import NotFoundError, StoreError
from heirloom.core.event import Event, Kind, Surface
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
    states = (folder / "snapshots").iterdir()
    found = [sorted(int(p.parent.name) for p in s.glob("*/manifest.json")) for s in states]
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    return found[0]


def test_a_restart_goes_on_from_the_latest_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    system = opened(tmp_path)
    assert system.began_at == 0
    system.ingest(listed())  # 63: due
    system.close()
    assert offsets(tmp_path) == [63]
    system = opened(tmp_path)
    assert system.began_at == 63
    system.ingest(clicks(0, 30))  # not due
    query = Query(t=START_MS, user="u3", k=40)
    served = system.recommend(query)
    system.close()
    assert offsets(tmp_path) == [63]

    again = opened(tmp_path)
    assert again.began_at == 63
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
    assert older.began_at == 93
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
    assert again.began_at == 0
    again.close()


QUERIES = [
    Query(t=START_MS, user="u3", k=40),
    Query(t=START_MS, user="u5", surface=Surface.SEARCH.value, text="red dress", k=40),
    Query(t=START_MS, user="u7", surface=Surface.SIMILAR.value, anchor="l07", k=40),
]


def answers(system: System) -> list[bytes]:
    """All that these requests are answered with: slates, reasons, features."""
    found = []
    for query in QUERIES:
        slate = system.recommend(query)
        assert slate.features is not None
        told = repr([(each, slate.n) for each in slate.shown])
        found.append(told.encode() + slate.features.values.tobytes())
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A system with two snapshots and some events since, and what it answers."""
    folder = tmp_path_factory.mktemp("base") / "system"
    system = opened(folder, every=10_000)
    system.ingest(listed())
    system.snapshot()
    system.ingest(clicks(0, 30))
    system.snapshot()
    system.ingest(clicks(30, 20))
    expected = answers(system)
    system.close()
    return folder, expected


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("slates", "availability"))
    return to


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_what_is_damaged_is_never_used_and_the_answers_are_the_same(
    tmp_path: Path, base: tuple[Path, list[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    folder, expected = base
    files = [path for path in sorted((folder / "snapshots").glob("*/*93/*")) if path.stat().st_size]
    assert len(files) > 100
    rng = np.random.default_rng(0)
    for at, damage in enumerate([cut, flip, Path.unlink] * 2):
        here = copied(folder, tmp_path / str(at))
        for path in rng.choice(np.array(files), 4, replace=False):
            damage(here / path.relative_to(folder))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            system = opened(here, every=10_000)
        assert system.began_at == 63
        assert "it is not used and may be deleted" in caplog.text
        assert answers(system) == expected
        system.close()


def test_nothing_left_of_the_snapshots_is_the_log_alone(
    tmp_path: Path, base: tuple[Path, list[bytes]]
) -> None:
    folder, expected = base
    here = copied(folder, tmp_path / "here")
    shutil.rmtree(here / "snapshots")
    system = opened(here, every=10_000)
    assert system.began_at == 0
    assert answers(system) == expected
    system.close()


def test_a_child_killed_at_any_statement_harms_nothing(
    tmp_path: Path, base: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes beside the system, which takes events and answers on; a start finds the same."""
    folder, expected = base
    write = kept._write

    def killing(snapshots: Snapshots, live: Live, mark: str) -> None:
        done = 0

        def reached(_: str) -> None:
            nonlocal done
            done += 1
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)

        write(Snapshots(snapshots.folder, reached=reached), live, mark)

    monkeypatch.setattr("heirloom.apps.kept._write", killing)
    stood = set()
    for at in (1, 9, 20, 27, 28, 29, 40, 60, 10_000):
        here = copied(folder, tmp_path / str(at))
        system = opened(here, every=20)
        system.ingest(clicks(50, 20))
        assert system._writing
        system.ingest(clicks(70, 5))
        served = answers(system)
        system.close()
        again = opened(here, every=10_000)
        stood.add(again.began_at)
        assert again.live.n == 138
        assert answers(again) == served
        again.close()
        assert len(set(served) & set(expected)) == 0  # the clicks are seen
    assert stood == {93, 133}


def test_a_snapshot_is_made_beside_the_server_or_without_one(tmp_path: Path) -> None:
    system = opened(tmp_path, every=10_000)
    with pytest.raises(NotFoundError, match="is empty"):
        snapshot.run(settings(tmp_path, 10_000))
    system.ingest(listed())
    made = snapshot.run(settings(tmp_path, 10_000))
    assert (made.from_offset, made.to_offset, made.listings) == (0, 63, 63)
    system.ingest(clicks(0, 7))
    served = answers(system)
    system.close()
    made = snapshot.run(settings(tmp_path, 10_000))
    assert (made.from_offset, made.to_offset) == (63, 70)
    made = snapshot.run(settings(tmp_path, 10_000))  # nothing came
    assert (made.from_offset, made.to_offset) == (70, 70)
    assert offsets(tmp_path) == [63, 70]
    again = opened(tmp_path, every=10_000)
    assert again.began_at == 70
    assert answers(again) == served
    again.close()


def test_a_reader_takes_no_snapshot_of_what_is_not_announced(tmp_path: Path) -> None:
    """Its writer may have died between the disk and the acknowledgement."""
    writer = opened(tmp_path, every=10_000)
    writer.ingest(listed())
    writer.snapshot()
    (announced,) = [writer.availability]
    writer.availability = None
    writer.ingest(clicks(0, 7))
    writer.snapshot()
    reader = System(settings(tmp_path, 10_000), clock=Clock(), reader=True)
    assert reader.began_at == reader.live.n == 63
    reader.close()
    writer.availability = announced
    writer.close()
