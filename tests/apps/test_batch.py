"""Pages for many people: the bytes that `recommend` gives, whole after any kill, of one state."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heirloom.adapters.batch_files import BatchFolder
from heirloom.apps.batch import Asked, Made, run
from heirloom.apps.build import System
from heirloom.core.errors import BundleError, InputError, NotFoundError, StoreError
from heirloom.core.event import Event
from heirloom.core.query import Query

from .batch_system import PEOPLE, history, publish_linear, settings_in, system_in
from .conftest import START_MS

K = 7
EVERYBODY = ("stranger 1", *PEOPLE, "stranger 2", "seller3")
"""seller3 sells, and never did anything as a person."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    built = system_in(tmp_path_factory.mktemp("system"))
    built.ingest_history(history(), source="test")
    publish_linear(built, 1)
    yield built
    built.close()


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.txt"
    path.write_text("\n".join([*EVERYBODY, PEOPLE[0]]) + "\n")
    return path


def made(
    system: System, people: Path, out: Path, *, now_ms: int = START_MS, **asked: object
) -> Made:
    wanted = Asked(people=people, out=out, **{"k": K, "rows_per_part": 4, **asked})  # type: ignore[arg-type]
    return run(settings_in(system.folder), wanted, clock=lambda: now_ms)


def parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*"))}


def rows(out: Path) -> list[dict[str, object]]:
    tables = [pq.read_table(path) for path in sorted(out.glob("part-*.parquet"))]
    found: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
    return found


def test_a_page_is_what_recommend_gives(system: System, people: Path, tmp_path: Path) -> None:
    done = made(system, people, tmp_path / "out")
    wanted = []
    for person in EVERYBODY:
        slate = system.recommend(Query(t=START_MS, user=person, k=K))
        assert slate.n == done.batch.n
        wanted += [
            (person, slate.slate_id, shown.position, shown.listing, shown.score, shown.sources)
            for shown in slate.shown
        ]
    found = [
        (row["person"], row["slate"], row["position"], row["listing"], row["score"],
         tuple(row["sources"]))  # type: ignore[arg-type]
        for row in rows(tmp_path / "out")
    ]  # fmt: skip
    assert found == wanted
    assert len({row[1] for row in found}) == len(EVERYBODY)


def test_rows_name_their_versions_and_strangers_are_counted(
    system: System, people: Path, tmp_path: Path
) -> None:
    done = made(system, people, tmp_path / "out")
    first = rows(tmp_path / "out")[0]
    assert (first["surface"], first["policy"], first["bundle"], first["n"], first["batch"]) == (
        "home", "first", system.policy.bundle, system.live.n, done.batch.run
    )  # fmt: skip
    assert first["stranger"] is True
    assert {row["person"] for row in rows(tmp_path / "out") if row["stranger"]} == {
        "stranger 1", "stranger 2", "seller3"
    }  # fmt: skip
    totals = done.totals
    assert (totals.persons, totals.strangers, totals.parts) == (len(EVERYBODY), 3, 4)
    assert totals.rows == K * len(EVERYBODY) == len(rows(tmp_path / "out"))


def test_a_seller_is_not_shown_what_is_his_own(
    system: System, people: Path, tmp_path: Path
) -> None:
    made(system, people, tmp_path / "out", k=60)
    catalogue = system.live.catalogue
    sellers = {
        catalogue.listing(catalogue.slot_of(str(row["listing"]))).seller
        for row in rows(tmp_path / "out")
        if row["person"] == "seller3"
    }
    assert sellers
    assert "seller3" not in sellers


def test_workers_write_the_bytes_of_one(system: System, people: Path, tmp_path: Path) -> None:
    made(system, people, tmp_path / "one")
    several = made(system, people, tmp_path / "three", workers=3)
    assert several.scored == len(EVERYBODY)
    assert several.cpu_s > 0
    assert parts(tmp_path / "three") == parts(tmp_path / "one")


def test_it_goes_on_where_it_stopped_as_of_where_it_began(
    system: System, people: Path, tmp_path: Path
) -> None:
    """The log goes on meanwhile, and a snapshot of later is written; neither is in a page."""
    folder = system.folder.parent / "goes-on"
    other = system_in(folder)
    try:
        other.ingest_history(history(), source="test")
        publish_linear(other, 1)
        begun = made(other, people, tmp_path / "out")
        whole = parts(tmp_path / "out")
        for name in ("part-00000001.parquet", "part-00000003.parquet"):
            (tmp_path / "out" / name).unlink()
        (tmp_path / "out" / "_report.json").unlink()
        (tmp_path / "out" / ".part-00000001.parquet.1.tmp").write_bytes(b"torn")
        other.ingest([
            Event(event_id=f"sold {i}", kind="sold", t=START_MS, listing=f"l{i:02d}")
            for i in range(0, 60, 2)
        ], source="test")  # fmt: skip
        other.ingest([
            Event(event_id="s1", kind="save", t=START_MS, listing="l01", user="stranger 1")
        ], source="test")  # fmt: skip
        other.snapshot()
        again = made(other, people, tmp_path / "out", workers=2, now_ms=START_MS + 9 * 86_400_000)
    finally:
        other.close()
    assert again.batch == begun.batch
    assert again.scored == 4 + 3
    assert parts(tmp_path / "out") == whole
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_a_finished_batch_is_left_as_it_is(system: System, people: Path, tmp_path: Path) -> None:
    first = made(system, people, tmp_path / "out")
    again = made(system, people, tmp_path / "out")
    assert (again.scored, again.totals) == (0, first.totals)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_ends_whole(
    workers: int, system: System, people: Path, tmp_path: Path
) -> None:
    """kill -9 when some parts stand, and again; then to its end: the bytes of one that lived."""
    made(system, people, tmp_path / "whole", rows_per_part=2)
    out = tmp_path / "out"
    asked = Asked(people=people, out=out, k=K, rows_per_part=2, workers=workers)

    def slowly() -> None:
        keep = BatchFolder.keep

        def slow(self: BatchFolder, batch, number, pages):
            time.sleep(0.1)
            return keep(self, batch, number, pages)

        BatchFolder.keep = slow  # type: ignore[method-assign]
        run(settings_in(system.folder), asked, clock=lambda: START_MS)

    for stands in (1, 4):
        process = multiprocessing.get_context("fork").Process(target=slowly)
        process.start()
        while len(list(out.glob("part-*"))) < stands and process.is_alive():
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not (out / "_report.json").exists()
    again = made(system, people, out, rows_per_part=2)
    assert 0 < again.scored <= len(EVERYBODY) - 8
    assert parts(out) == parts(tmp_path / "whole")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"k": 8}, "k was 7, now 8"),
        ({"rows_per_part": 5}, "rows_per_part was 4, now 5"),
        ({"at": 20}, "n was "),
        ({"bundle": "0" * 32}, "bundle was "),
    ],
)
def test_what_was_begun_otherwise_is_refused(
    asked: dict[str, object], told: str, system: System, people: Path, tmp_path: Path
) -> None:
    made(system, people, tmp_path / "out")
    before = parts(tmp_path / "out")
    with pytest.raises(InputError, match=told):
        made(system, people, tmp_path / "out", **asked)
    assert parts(tmp_path / "out") == before


def test_other_people_are_refused(system: System, people: Path, tmp_path: Path) -> None:
    made(system, people, tmp_path / "out")
    people.write_text(people.read_text() + "one more\n")
    with pytest.raises(InputError, match=r"people was \w+, now \w+; persons was 15, now 16"):
        made(system, people, tmp_path / "out")


def test_another_published_bundle_is_refused_unless_the_old_is_named(
    system: System, people: Path, tmp_path: Path
) -> None:
    first = made(system, people, tmp_path / "out")
    (tmp_path / "out" / "_report.json").unlink()
    try:
        publish_linear(system, 2)
        with pytest.raises(InputError, match="bundle was"):
            made(system, people, tmp_path / "out")
        again = made(system, people, tmp_path / "out", bundle=first.batch.bundle)
        assert again.totals == first.totals
    finally:
        system.publish(first.batch.bundle)


def test_what_lies_in_the_way_is_named(system: System, people: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds something that is no batch \(mine.txt\)"):
        made(system, people, tmp_path / "full")
    folder = BatchFolder(tmp_path / "out")
    try:
        with pytest.raises(StoreError, match="another process writes a batch there"):
            made(system, people, tmp_path / "out")
    finally:
        folder.close()
    with pytest.raises(NotFoundError, match="no bundle '0000"):
        made(system, people, tmp_path / "new", bundle="0" * 32)
    with pytest.raises(BundleError, match=r"'\.\./x': this is no bundle's id"):
        made(system, people, tmp_path / "newer", bundle="../x")
    with pytest.raises(InputError, match="log offset 9999"):
        made(system, people, tmp_path / "newer", at=9_999)


@pytest.mark.parametrize("content", [b"", b"PAR1 torn", None])
def test_a_damaged_or_foreign_part_is_named(
    content: bytes | None, system: System, people: Path, tmp_path: Path
) -> None:
    made(system, people, tmp_path / "out")
    made(system, people, tmp_path / "other", k=3)
    if content is None:
        content = (tmp_path / "other" / "part-00000002.parquet").read_bytes()
    (tmp_path / "out" / "part-00000002.parquet").write_bytes(content)
    with pytest.raises(StoreError, match="part-00000002"):
        made(system, people, tmp_path / "out")


def test_a_worker_that_dies_is_told_and_the_rest_goes_on_later(
    system: System, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = BatchFolder.keep

    def dies(self: BatchFolder, batch, number, pages):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return keep(self, batch, number, pages)

    with monkeypatch.context() as patched:
        patched.setattr(BatchFolder, "keep", dies)
        with pytest.raises(StoreError, match=r"a worker died \(exit code -9\)"):
            made(system, people, tmp_path / "out", workers=2)
    assert made(system, people, tmp_path / "out", workers=2).totals.parts == 4


def test_a_full_disk_is_told_by_the_worker_that_met_it(
    system: System, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("heirloom.adapters.batch_files.os.fsync", full)
        patched.setattr(BatchFolder, "begin", lambda *_: None)
        with pytest.raises(StoreError, match=r"part \d: .*No space left.*make room"):
            made(system, people, tmp_path / "out", workers=2)
    assert parts(tmp_path / "out") == {}


def test_the_report_is_json(system: System, people: Path, tmp_path: Path) -> None:
    done = made(system, people, tmp_path / "out")
    told = msgspec.json.decode((tmp_path / "out" / "_report.json").read_bytes())
    assert (told["batch"], told["persons"], told["empty"]) == (done.batch.run, len(EVERYBODY), 0)
