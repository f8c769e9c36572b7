"""Index files: readers in processes of their own, beside a writer that changes or dies."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from benchmarks.retrieval_data import COLUMNS, Vectors, vectors

from heirloom.adapters.index_files import IndexFiles, IndexReader, restored, saved
from heirloom.adapters.snapshots import Snapshots
from heirloom.core.errors import StoreError
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.searcher import Settings
from heirloom.retrieval.vectors.where import Where

SIZE = 4_000
EVERY = np.arange(SIZE, dtype=np.int32)
BY_CODES = Settings(exact_rows=0, rows_share=0)
BY_ROWS = Settings(exact_rows=0, rows_share=1)


@pytest.fixture(scope="module")
def world() -> Vectors:
    return vectors(SIZE, 20)


@pytest.fixture(scope="module")
def codebook(world: Vectors) -> Codebook:
    return Codebook.trained(world.rows, "m", lists=16)


@pytest.fixture
def writer() -> Iterator[Callable[[Path], IndexFiles]]:
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(IndexFiles(folder))


Writer = Callable[[Path], IndexFiles]


def made(files: IndexFiles, codebook: Codebook, settings: Settings | None = None) -> VectorIndex:
    return files.published(lambda storage: VectorIndex(codebook, COLUMNS, settings, storage))


def in_a_process(work: Callable[[], None]) -> int:
    """Run something in a forked process; gives its id."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_reader_sees_each_call_of_the_writer(
    tmp_path: Path, writer: Writer, world: Vectors, codebook: Codebook
) -> None:
    index = made(writer(tmp_path), codebook)
    reader = IndexReader(tmp_path)
    assert not len(reader.find(world.queries[0], k=10).slots)
    for part in np.array_split(EVERY, 7):  # the files grow under the reader
        index.upsert(part, world.rows[part], world.columns(part))
        found = reader.find(world.rows[part[-1]], k=1)
        assert found.slots.tolist() == [part[-1]]
    index.remove(EVERY[:10])
    assert not set(reader.find(world.rows[3], k=100).slots.tolist()) & set(range(10))
    where = world.filters()["10.0%"]
    one, two = (i.find(world.queries[1], where, 20) for i in (index, reader))
    np.testing.assert_array_equal(one.slots, two.slots)
    assert reader.model_id == "m"


@pytest.mark.parametrize("settings", [BY_CODES, BY_ROWS, Settings()])
def test_no_removed_or_double_listing_beside_a_writer(
    tmp_path: Path, writer: Writer, world: Vectors, codebook: Codebook, settings: Settings
) -> None:
    """Half of the listings come, change and go; the others are written anew as they were.

    What stays is always found, what is gone never.

    From after its removal to before its return the number of the removal stands for a listing in
    a shared array.
    """
    index = made(writer(tmp_path), codebook)
    index.upsert(EVERY, world.rows, world.columns())
    gone = np.memmap(tmp_path / "gone", np.int64, "w+", shape=SIZE)
    stop = np.memmap(tmp_path / "stop", np.uint8, "w+", shape=1)

    def churn() -> None:
        rng = np.random.default_rng(1)
        for removal in count(1):
            if stop[0]:
                return
            part = rng.choice(SIZE // 2, 300, replace=False).astype(np.int32)
            gone[part[200:]] = 0
            index.upsert(part[200:], world.rows[part[200:]][::-1], world.columns(part[200:]))
            index.remove(part[:100])
            gone[part[:100]] = removal
            gone[part[100:200]] = 0
            index.upsert(part[100:200], world.rows[part[100:200]], world.columns(part[100:200]))
            same = rng.choice(np.arange(SIZE // 2, SIZE), 200, replace=False).astype(np.int32)
            index.upsert(same, world.rows[same], world.columns(same))  # moved, and the same
            index.repack(lists=2, least=0.9)

    child = in_a_process(churn)
    reader = IndexReader(tmp_path, settings)
    lasting = world.rows[SIZE // 2 :]
    missed = written = 0
    try:
        for i in count():
            if i >= 1_500 and written:
                break
            before = gone.copy()
            query = lasting[i % len(lasting)]
            found = reader.find(query, k=30).slots
            assert len(found) == 30
            assert len(set(found.tolist())) == 30
            # Gone before the search and by the same removal after it: it was not there meanwhile.
            assert not ((before[found] != 0) & (before[found] == gone[found])).any()
            missed += SIZE // 2 + i % len(lasting) not in found
            written += int((before != gone).any())
    finally:
        stop[0] = 1
        assert ended(child) == 0
    assert missed <= (0 if settings == Settings() else 3)


def test_two_writers_are_refused(tmp_path: Path) -> None:
    with IndexFiles(tmp_path), pytest.raises(StoreError, match="another process writes it"):
        IndexFiles(tmp_path)
    IndexFiles(tmp_path).close()


def test_a_reader_of_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="start its writer first"):
        IndexReader(tmp_path)


STEPS = ("folder", "filled", "described", "named", "shown", "closed", "cleared")


def stops_at(step: str) -> Callable[[str], None]:
    return lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == step else None


def applied(index: VectorIndex | ExactVectors, world: Vectors, n: int, until: int) -> None:
    """A log of 40 entries: even ones upsert 200 listings, odd ones remove 60."""
    for at in range(n, until):
        rng = np.random.default_rng(at)
        slots = rng.choice(SIZE, 200, replace=False).astype(np.int32)
        if at % 2:
            index.remove(slots[:60])
        else:
            index.upsert(slots, world.rows[(slots + at) % SIZE], world.columns(slots))


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_publishing_readers_have_the_old_or_the_new(
    tmp_path: Path, writer: Writer, world: Vectors, codebook: Codebook, step: str
) -> None:
    with IndexFiles(tmp_path) as files:
        made(files, codebook).upsert(EVERY[:100], world.rows[:100])
    reader = IndexReader(tmp_path)

    def again() -> None:
        def make(storage: object) -> VectorIndex:
            index = VectorIndex(codebook, COLUMNS, storage=storage)  # type: ignore[arg-type]
            index.upsert(EVERY[:200], world.rows[:200])
            return index

        IndexFiles(tmp_path, reached=stops_at(step)).published(make)

    assert ended(in_a_process(again)) == -signal.SIGKILL
    shown = STEPS.index(step) >= STEPS.index("shown")
    for one in (reader, IndexReader(tmp_path)):
        held = len(one.find(world.queries[0], k=1_000).slots)
        assert held == 200 if shown and one is not reader else held in (100, 200)
    made(writer(tmp_path), codebook)
    assert [p.name for p in tmp_path.glob("generation-*")] == [(tmp_path / "current").read_text()]
    assert not len(reader.find(world.queries[0], k=5).slots)  # it moved to the newest


SAVING = ("draft", "array rows", "manifest", "synced", "renamed", "durable", "pruned")


@pytest.mark.parametrize("step", SAVING)
def test_killed_while_saving_it_recovers_from_snapshot_and_log(
    tmp_path: Path, writer: Writer, world: Vectors, codebook: Codebook, step: str
) -> None:
    """Snapshot at 11, then at 25 of the log's 40; the second one is cut off anywhere."""
    home, kept = tmp_path / "index", tmp_path / "snapshots"

    def written() -> None:
        index = made(IndexFiles(home), codebook)
        applied(index, world, 0, 11)
        saved(index, Snapshots(kept), 11, "log-1")
        applied(index, world, 11, 25)
        saved(index, Snapshots(kept, reached=stops_at(step)), 25, "log-1")

    assert ended(in_a_process(written)) == -signal.SIGKILL
    begun: list[int] = []

    def replay(index: VectorIndex, n: int) -> None:
        begun.append(n)
        applied(index, world, max(n - 2, 0), 40)  # some entries twice: that changes nothing

    refused: list[str] = []
    index = restored(writer(home), Snapshots(kept), "m", "log-1", replay, refused.append, COLUMNS)
    assert index is not None
    assert not refused
    assert begun == [25 if SAVING.index(step) >= SAVING.index("renamed") else 11]
    twin = ExactVectors(64, "m", COLUMNS)
    applied(twin, world, 0, 40)
    reader = IndexReader(home, Settings(exact_rows=1e9))
    for query in world.queries:
        for where in (Where(), world.filters()["50.0%"]):
            expected, found = twin.find(query, where, 100), reader.find(query, where, 100)
            np.testing.assert_array_equal(found.slots, expected.slots)


def test_snapshots_of_another_log_or_of_other_columns_are_refused(
    tmp_path: Path, writer: Writer, world: Vectors, codebook: Codebook
) -> None:
    files, snapshots, refused = writer(tmp_path / "i"), Snapshots(tmp_path / "s"), list[str]()
    index = made(files, codebook)
    index.upsert(EVERY, world.rows)
    saved(index, snapshots, 5, "log-1")

    def nothing(_: VectorIndex, __: int) -> None:
        raise AssertionError("nothing to replay on")

    assert restored(files, snapshots, "m", "log-2", nothing, refused.append, COLUMNS) is None
    assert restored(files, snapshots, "m", "log-1", nothing, refused.append) is None
    assert restored(files, snapshots, "m2", "log-1", nothing, refused.append) is None
    assert ["another log" in refused[0], "do not fit" in refused[1]] == [True, True]
    assert len(refused) == 2
    assert len(IndexReader(tmp_path / "i").find(world.queries[0], k=5).slots) == 5
