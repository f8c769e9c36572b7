"""The Parquet lake: laws after compaction, kill at every step, other readers, damage."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from heirloom.adapters import lake as lake_module
from heirloom.adapters.lake import ParquetLake, compact
from heirloom.adapters.sqlite import SqliteLog
from heirloom.core.columns import LOG_SCHEMA
from heirloom.core.errors import StoreError
from heirloom.core.event import Event
from heirloom.core.log import Lake
from heirloom.core.vocabulary import Vocabulary
from heirloom.testing.event_log import DAY_MS, START_MS, EventLogLaws, content, entry


class TestSqliteLogWithLake(EventLogLaws):
    """After every append, all but the last day's entries are moved: a log in two places."""

    def open_log(self, folder: Path) -> SqliteLog:
        return SqliteLog(folder / "log.sqlite", lake=ParquetLake(folder / "lake"))

    def settle(self, log: SqliteLog) -> None:
        compact(log, log.lake, START_MS + 2 * DAY_MS)


class TestSqliteLogAllInLake(TestSqliteLogWithLake):
    """After every append, nothing stays in SQLite but ids and vocabulary."""

    def settle(self, log: SqliteLog) -> None:
        compact(log, log.lake, START_MS + 9 * DAY_MS)


def three_days(path: Path, lake: ParquetLake | None) -> SqliteLog:
    """A log of 30 events, ten a day; the clock steps back a day once, at offset 25."""
    log = SqliteLog(path, lake=lake)
    vocabulary = Vocabulary()
    sent = [
        entry(
            Event(event_id=f"e/{i}", kind="impression", t=START_MS, listings=("a", f"b🙂{i}")),
            vocabulary,
            START_MS + (i // 10 - (i == 25)) * DAY_MS + i,
        )
        for i in range(30)
    ]
    log.append(sent, vocabulary)
    return log


def test_a_file_for_each_run_of_a_day(tmp_path):
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        as_lake: Lake = lake
        before = content(log)
        assert compact(log, lake, START_MS + DAY_MS) == 10
        assert (as_lake.end(), log.compacted_to(), log.end()) == (10, 10, 30)
        assert compact(log, lake, START_MS + DAY_MS) == 0
        assert compact(log, lake, START_MS + 9 * DAY_MS) == 20
        names = [str(part.path.relative_to(lake.folder)) for part in lake.parts()]
        assert names == [
            "day=2024-10-04/part-000000000000-000000000010.parquet",
            "day=2024-10-05/part-000000000010-000000000020.parquet",
            "day=2024-10-06/part-000000000020-000000000025.parquet",
            "day=2024-10-05/part-000000000025-000000000026.parquet",
            "day=2024-10-06/part-000000000026-000000000030.parquet",
        ]
        assert content(log) == before
        assert log._db.execute("SELECT count(*) FROM events").fetchone() == (0,)
        assert log._db.execute("SELECT count(*) FROM stamps").fetchone() == (0,)
        vocabulary = log.vocabulary()
        again = entry(Event(event_id="e/3", kind="search", t=START_MS, user="u"), vocabulary)
        new = entry(Event(event_id="new", kind="search", t=START_MS, user="u"), vocabulary)
        assert log.append([again, new], vocabulary) == [None, 30]


def test_ids_outlive_rows_that_moved_before_they_were_indexed(tmp_path):
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        ids = [each.event.event_id for each in log.read()]
        assert compact(log, lake, START_MS + DAY_MS) == 10
    with SqliteLog(tmp_path / "log", lake=lake) as log:
        vocabulary = log.vocabulary()
        assert log.seen([*ids, "new"]) == set(ids)
        again = [entry(each.event, vocabulary) for each in log.read()]
        assert log.append(again, vocabulary) == [None] * 30


def test_parts_and_row_groups_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(lake_module, "PART_ROWS", 7)
    monkeypatch.setattr(lake_module, "_GROUP_ROWS", 3)
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        before = content(log)
        compact(log, lake, START_MS + 9 * DAY_MS)
        assert len(lake.parts()) == 7
        for start in (0, 1, 6, 7, 9, 10, 29):
            for stop in (start, start + 1, 14, 21, 30):
                assert content(log, start, stop) == before[start:stop]
                assert log.facts(start, stop).events["seq"].tolist() == list(range(start, stop))


def test_polars_and_duckdb_read_it_as_it_lies(tmp_path):
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        compact(log, lake, START_MS + 9 * DAY_MS)
    glob = f"{lake.folder}/**/*.parquet"
    frame = pl.scan_parquet(glob, hive_partitioning=True).sort("seq").collect()
    assert frame.columns == [*LOG_SCHEMA.names, "day"]
    assert frame["event_id"].to_list() == [f"e/{i}" for i in range(30)]
    assert frame["listings"].to_list()[7] == ["a", "b🙂7"]
    assert frame["ingested_at"].dt.date().to_list() == frame["day"].to_list()
    rows = duckdb.sql(
        "SELECT day::text, count(*), min(seq), max(epoch_ms(ingested_at)), any_value(kind) "
        f"FROM read_parquet('{glob}', hive_partitioning = true) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("2024-10-04", 10, 0, START_MS + 9, "impression"),
        ("2024-10-05", 11, 10, START_MS + DAY_MS + 25, "impression"),
        ("2024-10-06", 9, 20, START_MS + 2 * DAY_MS + 29, "impression"),
    ]
    for part in lake.parts():
        assert pq.ParquetFile(part.path).schema_arrow.equals(LOG_SCHEMA)
        assert pq.ParquetFile(part.path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_reader_goes_on_while_rows_move(tmp_path, monkeypatch):
    monkeypatch.setattr("heirloom.adapters.sqlite._PAGE", 4)
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        before = content(log)
        reading = SqliteLog(tmp_path / "log", lake=ParquetLake(lake.folder), read_only=True)
        with reading:
            entries = reading.read()
            first = [next(entries) for _ in range(5)]
            compact(log, lake, START_MS + 9 * DAY_MS)
            assert [msgspec.msgpack.encode(e) for e in [*first, *entries]] == before


def test_a_crash_at_any_step_of_compaction_leaves_the_whole_log(tmp_path, monkeypatch):
    """At each step the folder is copied as it lies on disk: what kill -9 would leave there."""
    home, steps = tmp_path / "home", 0
    lake = ParquetLake(home / "lake")
    log = three_days(home / "log", lake)
    before = content(log)

    def photographed(function):
        def step(*args, **kwargs):
            nonlocal steps
            shutil.copytree(home, tmp_path / f"step {steps}")
            steps += 1
            return function(*args, **kwargs)

        return step

    monkeypatch.setattr("heirloom.adapters.sqlite._PAGE", 8)
    monkeypatch.setattr(os, "replace", photographed(os.replace))
    monkeypatch.setattr(os, "fsync", photographed(os.fsync))
    monkeypatch.setattr(pq, "write_table", photographed(pq.write_table))
    log._db.set_trace_callback(photographed(lambda statement: None))
    compact(log, lake, START_MS + 2 * DAY_MS)
    log._db.set_trace_callback(None)
    log.close()
    monkeypatch.undo()
    assert steps > 20
    seen_leftover = False
    for at in range(steps):
        folder = tmp_path / f"step {at}"
        seen_leftover |= bool(list(folder.glob("lake/**/*.tmp")))
        again = ParquetLake(folder / "lake")
        with SqliteLog(folder / "log", lake=again) as crashed:
            assert content(crashed) == before, f"step {at} of {steps}"
            compact(crashed, again, START_MS + 2 * DAY_MS)
            assert (crashed.compacted_to(), again.end(), crashed.end()) == (20, 20, 30)
            assert crashed.facts().events["seq"].tolist() == list(range(30))
            assert content(crashed) == before
        assert not list(folder.glob("lake/**/*.tmp"))
    assert seen_leftover


_COMPACTOR = """
import os, signal, sys
from heirloom.adapters.lake import ParquetLake, compact
from heirloom.adapters.sqlite import SqliteLog
lake = ParquetLake(sys.argv[2])
log = SqliteLog(sys.argv[1], lake=lake)
log.forget_before = lambda offset: os.kill(os.getpid(), signal.SIGKILL)
compact(log, lake, int(sys.argv[3]))
"""


def test_kill_9_between_the_lake_and_the_log(tmp_path):
    with three_days(tmp_path / "log", None) as log:
        before = content(log)
    paths = [str(tmp_path / "log"), str(tmp_path / "lake"), str(START_MS + 2 * DAY_MS)]
    child = subprocess.run([sys.executable, "-c", _COMPACTOR, *paths], check=False)
    assert child.returncode == -signal.SIGKILL
    lake = ParquetLake(tmp_path / "lake")
    with SqliteLog(tmp_path / "log", lake=lake) as log:
        assert (log.compacted_to(), lake.end()) == (0, 20)
        assert content(log) == before
        compact(log, lake, START_MS + DAY_MS)
        assert (log.compacted_to(), lake.end()) == (20, 20)
        assert content(log) == before


@pytest.mark.parametrize("cut", [0, 3, 1_000, -1])
def test_a_truncated_file_is_named(tmp_path, cut):
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        compact(log, lake, START_MS + 2 * DAY_MS)
        path = lake.parts()[1].path
        os.truncate(path, cut if cut >= 0 else path.stat().st_size - 1)
        assert len(list(log.read(0, 10))) == 10
        for read in (lambda: list(log.read()), log.facts):
            with pytest.raises(StoreError, match=f"{path.name}: cannot be read"):
                read()


def test_a_missing_part_is_named(tmp_path):
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        compact(log, lake, START_MS + 9 * DAY_MS)
        lake.parts()[1].path.unlink()
        with pytest.raises(StoreError, match="the part with offset 10 is missing"):
            list(log.read())
        first = lake.parts()[0].path
        shutil.copy(first, first.with_name("part-000000000003-000000000013.parquet"))
        with pytest.raises(StoreError, match="starts at offset 3, but all below 10"):
            log.facts()
        (lake.folder / "day=2024-10-05" / "mine.parquet").touch()
        with pytest.raises(StoreError, match="no part of this lake"):
            log.facts()


def test_a_log_and_its_lake_belong_together(tmp_path):
    lake = ParquetLake(tmp_path / "lake")
    with three_days(tmp_path / "log", lake) as log:
        with pytest.raises(StoreError, match="opened with lake="):
            compact(log, ParquetLake(tmp_path / "lake"), START_MS)
        compact(log, lake, START_MS + DAY_MS)
        with pytest.raises(StoreError, match="wanted consecutive ones from 10"):
            lake.write(list(log.read(11, 13)))
    for wrong in (None, ParquetLake(tmp_path / "other")):
        with pytest.raises(StoreError, match="offsets below 10 were moved to a lake"):
            SqliteLog(tmp_path / "log", lake=wrong)
    with pytest.raises(StoreError, match="before its lake"):
        SqliteLog(tmp_path / "new log", lake=lake)


def test_nothing_is_forgotten_that_the_lake_does_not_hold(tmp_path):
    with three_days(tmp_path / "log", ParquetLake(tmp_path / "lake")) as log:
        with pytest.raises(StoreError, match="not all in its lake"):
            log.forget_before(1)
        assert len(content(log)) == 30
