"""Slate records: all are written, in files that polars reads as they lie."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.adapters.slate_records import SCHEMA, ParquetRecords, read, table_of
from heirloom.core.slate import SlateRecord

T = 1_735_689_600_000


def a_record(number: int, t: int = T) -> SlateRecord:
    return SlateRecord(
        slate_id=f"s{number}",
        t=t + number,
        n=number,
        policy="first",
        bundle="",
        surface="home",
        user=None,
        session=None,
        text="",
        anchor=None,
        request=b"",
        candidates_hash="",
        listings=("a/1", "b"),
        positions=(0, 1),
        propensities=(1.0, 1.0),
        columns=("view@1.x",),
        features=b"\0" * 8,
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SOME = st.none() | TEXT
RECORDS = st.builds(
    SlateRecord,
    slate_id=TEXT,
    t=st.integers(0, 4_102_444_800_000),
    n=st.integers(-(2**63), 2**63 - 1),
    policy=TEXT,
    bundle=TEXT,
    surface=TEXT,
    user=SOME,
    session=SOME,
    text=TEXT,
    anchor=SOME,
    request=st.binary(max_size=5),
    candidates_hash=TEXT,
    listings=st.lists(TEXT, max_size=3).map(tuple),
    positions=st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple),
    propensities=st.lists(st.floats(), max_size=3).map(tuple),
    columns=st.lists(TEXT, max_size=3).map(tuple),
    features=st.binary(max_size=9),
    degraded=st.lists(TEXT, max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(RECORDS, max_size=12), st.integers(1, 3))
def test_the_table_is_what_arrow_makes_of_the_same_rows(
    records: list[SlateRecord], times: int
) -> None:
    records = records * times
    ours = table_of(records)
    ours.validate(full=True)
    theirs = pa.Table.from_pylist([msgspec.structs.asdict(each) for each in records], SCHEMA)
    assert repr(ours.to_pylist()) == repr(theirs.to_pylist())  # as text: NaN is NaN there
    assert ours.schema == theirs.schema
    assert [c.null_count for c in ours.columns] == [c.null_count for c in theirs.columns]


def test_what_counts_as_the_same_key_is_not_laid_out_as_one() -> None:
    zeros = [(0.0,), (-0.0,)] * 4
    records = [msgspec.structs.replace(a_record(1), propensities=each) for each in zeros]
    assert repr(table_of(records)["propensities"].to_pylist()) == repr([list(z) for z in zeros])


def test_writing_them_imports_no_pandas(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(msgspec.msgpack.encode(a_record(1)))
    script = (
        "import sys, msgspec\n"
        "from pathlib import Path\n"
        "from heirloom.adapters.slate_records import ParquetRecords, SlateRecord\n"
        "folder = Path(sys.argv[1])\n"
        "one = (folder / 'record').read_bytes()\n"
        "records = ParquetRecords(folder)\n"
        "records.write(msgspec.msgpack.decode(one, type=SlateRecord))\n"
        "records.close()\n"
        "assert not records.lost\n"
        "print('pandas' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    assert list(read(tmp_path)) == [a_record(1)]


def test_close_writes_what_is_queued(tmp_path: Path) -> None:
    records = ParquetRecords(tmp_path, seconds=60, rows=80)
    for number in range(100):
        records.write(a_record(number))
    records.close()
    assert sorted(read(tmp_path), key=lambda each: each.n) == [a_record(n) for n in range(100)]
    written = pl.scan_parquet(tmp_path / "day=2025-01-01" / "*.parquet").collect()
    assert sorted(written["slate_id"].to_list()) == sorted(f"s{number}" for number in range(100))
    assert written["listings"][0].to_list() == ["a/1", "b"]
    assert not list(tmp_path.rglob("*.tmp"))
    assert records.lost == 0


def test_the_same_slate_twice_is_two_records_and_days_are_kept_apart(tmp_path: Path) -> None:
    for _ in range(2):
        records = ParquetRecords(tmp_path, seconds=60)
        records.write(a_record(7))
        records.write(a_record(7, T + 86_400_000))
        records.close()
    for day in ("2025-01-01", "2025-01-02"):
        written = pl.scan_parquet(tmp_path / f"day={day}" / "*.parquet").collect()
        assert written["slate_id"].to_list() == ["s7", "s7"]


def test_what_the_disk_refuses_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder can stand here")
    records = ParquetRecords(tmp_path / "file", seconds=60)
    records.write(a_record(1))
    records.close()
    assert records.lost == 1


def test_what_no_file_takes_is_counted_and_what_follows_is_written(tmp_path: Path) -> None:
    records = ParquetRecords(tmp_path, seconds=60, rows=1)
    records.write(msgspec.structs.replace(a_record(1), text="half a pair: \ud83e"))
    until(lambda: records.lost == 1)
    records.write(a_record(2))
    records.close()
    written = pl.scan_parquet(tmp_path / "day=2025-01-01" / "*.parquet").collect()
    assert (written["slate_id"].to_list(), records.lost) == (["s2"], 1)


def test_what_finds_the_queue_full_is_counted_and_nothing_waits(tmp_path: Path) -> None:
    records = ParquetRecords(tmp_path, seconds=60, queue_bytes=30_000)
    for number in range(100):
        records.write(a_record(number))
    lost = records.lost
    records.close()
    written = pl.scan_parquet(tmp_path / "day=2025-01-01" / "*.parquet").collect()
    assert 0 < len(written) < 100
    assert len(written) + lost == 100
    records.write(a_record(100))
    assert records.lost == lost + 1, "after the end nothing is written, and it is said"


def test_the_queue_has_room_again_once_it_is_written(tmp_path: Path) -> None:
    records = ParquetRecords(tmp_path, seconds=0.01, queue_bytes=5_000)
    for number in range(3):
        records.write(a_record(number))
        until(lambda wanted=number + 1: len(ids(tmp_path)) == wanted)
    records.close()
    assert (ids(tmp_path), records.lost) == ({"s0", "s1", "s2"}, 0)


def test_a_share_of_the_slates_is_recorded_and_always_the_same(tmp_path: Path) -> None:
    chosen = []
    for name in ("first", "second"):
        records = ParquetRecords(tmp_path / name, seconds=60, share=0.25)
        for number in range(2_000):
            records.write(a_record(number))
        records.close()
        chosen.append(ids(tmp_path / name))
        assert records.lost == 0
    assert chosen[0] == chosen[1]
    assert 400 < len(chosen[0]) < 600


def ids(folder: Path) -> set[str]:
    return {record.slate_id for record in read(folder)} if folder.exists() else set()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
