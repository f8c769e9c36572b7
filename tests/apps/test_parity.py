"""`heirloom parity` on a system with disk, restarts and a failed write."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heirloom.adapters import slate_records
from heirloom.apps.build import System
from heirloom.apps.cli import main
from heirloom.apps.parity import check
from heirloom.apps.settings import load
from heirloom.core.errors import StoreError
from heirloom.core.event import Event, Kind
from heirloom.core.query import Query

from .conftest import LAPTOP, START_MS, Clock, listings

DAY_MS = 86_400_000

GONE = "0123abcd" * 4
"""A bundle's id."""


def opened(folder: Path) -> System:
    return System(load(LAPTOP, folder=folder), clock=Clock())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system that served 30 slates to people it knew and did not, over three restarts."""
    folder = tmp_path_factory.mktemp("parity")
    stock = listings()
    for start in range(3):
        system = opened(folder)
        for i, listing in enumerate(stock[start::3]):
            event_id, t = f"listed {listing.listing_id}", START_MS - DAY_MS
            listed = Event(
                event_id=event_id, kind="listed", t=t, listing=listing.listing_id, data=listing
            )
            system.ingest([listed, listed])
            if i % 2:
                query = Query(
                    t=START_MS, user=f"user{i}", surface="search", text=f"{listing.brand} coat", k=5
                )
                shown = system.recommend(query).shown[0].listing
                system.ingest([click(f"{start}-{i}", shown, user=f"user{i}")])
        system.close()
    return folder


def click(event_id: str, listing: str, **fields: str) -> Event:
    return Event(
        event_id=f"click-{event_id}", kind=Kind.CLICK, t=START_MS, listing=listing, **fields
    )


def heirloom(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["heirloom", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


def flip_one_bit(folder: Path) -> Iterator[str]:
    """Change one served value where it lies; gives its column."""
    path = sorted((folder / "slates").glob("day=*/*.parquet"))[0]
    rows = pq.read_table(path).to_pylist()
    values = bytearray(rows[0]["features"])
    values[4 * 5] ^= 1
    rows[0]["features"] = bytes(values)
    before = path.read_bytes()
    pq.write_table(pa.Table.from_pylist(rows, slate_records.SCHEMA), path)
    yield rows[0]["columns"][5]
    path.write_bytes(before)


def test_parity_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--system", str(LAPTOP), "--folder", str(folder))
    assert heirloom(monkeypatch, "parity", *at) == 0
    assert "parity holds" in capsys.readouterr().out
    assert heirloom(monkeypatch, "parity", "--json", *at) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"]
    assert found["slates"] == 30
    assert found["rows"] == sum(each["compared"] for each in found["features"].values()) / len(
        found["features"]
    )
    assert found["not_promised"]["age_ms"]["p100"] == DAY_MS


def test_one_flipped_bit_makes_it_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--system", str(LAPTOP), "--folder", str(folder))
    for column in flip_one_bit(folder):
        assert heirloom(monkeypatch, "parity", *at) == 1
        out = "".join(capsys.readouterr().out.split())
        assert "paritydoesnothold" in out
        assert heirloom(monkeypatch, "parity", "--json", *at) == 1
        found = json.loads(capsys.readouterr().out)["features"]
        assert [name for name, each in found.items() if each["mismatched"]] == [column]


def test_of_slates_whose_bundle_is_gone_nobody_can_tell(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    at = ("--system", str(LAPTOP), "--folder", str(copied))
    files = sorted((copied / "slates").glob("day=*/*.parquet"))
    gone = served_by_another(files[0])  # with vectors that nobody has any more
    assert heirloom(monkeypatch, "parity", *at) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "parity holds for what can be compared" in out
    assert f"cannot tell: {gone} slates: served with bundle {GONE}, which is gone; put" in out
    found = check(load(LAPTOP, folder=copied))
    assert (found.holds, found.slates, sum(found.untold.values())) == (True, 30 - gone, gone)
    for file in files[1:]:
        gone += served_by_another(file)
    assert heirloom(monkeypatch, "parity", *at) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert f"nothing to compare in 30 records: {gone} served with bundle {GONE}" in err


def served_by_another(path: Path) -> int:
    """Say of each record that a bundle served it that is not there, and change a value of it."""
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        values = bytearray(row["features"])
        values[4 * 5] ^= 1
        row |= {"bundle": GONE, "features": bytes(values)}
    pq.write_table(pa.Table.from_pylist(rows, slate_records.SCHEMA), path)
    return len(rows)


def test_nothing_to_compare_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--system", str(LAPTOP), "--folder", str(folder))
    assert heirloom(monkeypatch, "parity", "--since", "2040-01-01", *at) == 2
    assert "no slate record" in capsys.readouterr().err
    assert heirloom(monkeypatch, "parity", "--sample", "0", *at) == 2
    assert "wanted a share" in capsys.readouterr().err


def test_it_runs_beside_the_server(folder: Path) -> None:
    system = opened(folder)
    try:
        assert check(system.settings).holds
    finally:
        system.close()


def test_a_damaged_file_of_records_is_refused(folder: Path) -> None:
    torn = folder / "slates" / "day=2025-06-15" / "part-torn.parquet"
    torn.parent.mkdir(exist_ok=True)
    torn.write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match="not a file of slate records"):
        check(load(LAPTOP, folder=folder))
    torn.unlink()


def test_what_is_served_after_a_failed_write_says_that_it_is_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = opened(tmp_path)
    listed = [
        Event(
            event_id=each.listing_id, kind="listed", t=START_MS, listing=each.listing_id, data=each
        )
        for each in listings()
    ]
    system.ingest(listed)
    assert not any(s.step == "state" for s in system.recommend(Query(t=START_MS)).degraded)

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(system.log, "append", full)
    cheaper = Event(
        event_id="c", kind="price_changed", t=START_MS, listing="l00", price_minor=1, currency="EUR"
    )
    with pytest.raises(StoreError, match="full"):
        system.ingest([cheaper])
    slate = system.recommend(Query(t=START_MS, k=60))
    assert [s.reason for s in slate.degraded if s.step == "state"]
    system.close()
    found = check(system.settings)
    assert found.holds
    assert sum(found.unpromised.values()) == 1
