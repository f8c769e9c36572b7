"""Slate records: all are written, in files that polars reads as they lie."""

from pathlib import Path

import polars as pl

from heirloom.adapters.slate_records import ParquetRecords
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


def test_close_writes_what_is_queued(tmp_path: Path) -> None:
    records = ParquetRecords(tmp_path, seconds=60, rows=40)
    for number in range(100):
        records.write(a_record(number))
    records.close()
    written = pl.scan_parquet(tmp_path / "day=2025-01-01" / "*.parquet").collect()
    assert sorted(written["slate_id"].to_list()) == sorted(f"s{number}" for number in range(100))
    assert written["listings"][0].to_list() == ["a/1", "b"]
    assert not list(tmp_path.rglob("*.tmp"))
    assert records.dropped == 0


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
    assert records.dropped == 1
