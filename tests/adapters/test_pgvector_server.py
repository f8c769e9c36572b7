"""pgvector beside other processes, and a server that blocks, stops, or goes away."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pytest
from benchmarks.retrieval_data import COLUMNS, Vectors, vectors

from heirloom.adapters.pgvector import Graph, PgVectorIndex
from heirloom.core.errors import ConfigError, InputError, StoreError
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.where import Columns, Where

pytestmark = pytest.mark.engine("postgres")

SIZE = 1_000
EVERY = np.arange(SIZE, dtype=np.int32)
WALKING = "&options=" + "%20".join(
    f"-c%20enable_{way}%3Doff" for way in ("seqscan", "bitmapscan", "sort")
)
BY_GRAPH = Graph(exact_rows=0)
_numbers = count()
Make = Callable[..., PgVectorIndex]


@pytest.fixture(scope="module")
def world() -> Vectors:
    return vectors(SIZE, 20)


@pytest.fixture
def name() -> str:
    return f"server_{next(_numbers)}"


@pytest.fixture
def make(postgres_url: str, name: str) -> Iterator[Make]:
    """Opens the test's index; several of one name are as several processes'."""
    with ExitStack() as stack:

        def made(columns: Columns = COLUMNS, options: str = "", **given: object) -> PgVectorIndex:
            index = PgVectorIndex(postgres_url + options, "m", 64, columns, name=name, **given)  # type: ignore[arg-type]
            return stack.enter_context(index)

        yield made


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


def expect_same(index: PgVectorIndex, twin: ExactVectors, world: Vectors) -> None:
    for query in world.queries:
        for where in (Where(), world.filters()["50.0%"]):
            found, expected = index.find(query, where, 50), twin.find(query, where, 50)
            np.testing.assert_array_equal(found.slots, expected.slots)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_a_reader_sees_each_call_of_the_writer(make: Make, world: Vectors) -> None:
    writer, reader = make(), make()
    assert not len(reader.find(world.queries[0], k=10).slots)
    for part in np.array_split(EVERY, 4):
        writer.upsert(part, world.rows[part], world.columns(part))
        assert reader.find(world.rows[part[-1]], k=1).slots.tolist() == [part[-1]]
    writer.remove(EVERY[:10])
    assert not set(reader.find(world.rows[3], k=SIZE).slots.tolist()) & set(range(10))


@pytest.mark.parametrize("options", ["", WALKING])
def test_no_removed_or_double_listing_beside_a_writer(
    make: Make, world: Vectors, tmp_path: Path, options: str
) -> None:
    """From after its removal to before its return the removal's number stands for a listing."""
    index = make(graph=BY_GRAPH)
    index.load(EVERY, world.rows, world.columns())
    index.build()
    index.close()
    gone = np.memmap(tmp_path / "gone", np.int64, "w+", shape=SIZE)
    stop = np.memmap(tmp_path / "stop", np.uint8, "w+", shape=1)

    def churn() -> None:
        writer, rng = make(), np.random.default_rng(1)
        for removal in count(1):
            if stop[0]:
                return
            part = rng.choice(SIZE // 2, 40, replace=False).astype(np.int32)
            writer.remove(part[:20])
            gone[part[:20]] = removal
            gone[part[20:]] = 0
            writer.upsert(part[20:], world.rows[part[20:]], world.columns(part[20:]))

    child = in_a_process(churn)
    reader = make(options=options, graph=BY_GRAPH)
    removed = walked = 0
    try:
        for i in count():
            if (i >= 150 and removed > 100) or i >= 5_000:
                break
            before = gone.copy()
            answer = reader.find(world.rows[i % SIZE], k=30)
            found = answer.slots
            assert answer.complete
            assert len(found) == len(set(found.tolist())) == 30
            assert not ((before[found] != 0) & (before[found] == gone[found])).any()
            removed += int((before != gone).sum())
            walked += not answer.exact
    finally:
        stop[0] = 1
        assert ended(child) == 0
    assert removed > 100
    assert walked if options else not walked


def applied(index: PgVectorIndex | ExactVectors, world: Vectors, n: int, until: int) -> None:
    """Entries of a log: even ones upsert 100 listings, odd ones remove 30."""
    for at in range(n, until):
        slots = np.random.default_rng(at).choice(SIZE, 100, replace=False).astype(np.int32)
        if at % 2:
            index.remove(slots[:30])
        else:
            index.upsert(slots, world.rows[(slots + at) % SIZE], world.columns(slots))


@pytest.mark.parametrize("committed", [False, True])
def test_killed_in_a_batch_it_stands_where_its_rows_stand(
    make: Make, world: Vectors, committed: bool
) -> None:
    def written() -> None:
        index = make()
        with index.applied(8, "log-1"):
            applied(index, world, 0, 8)
        with index.applied(13, "log-1"):
            applied(index, world, 8, 13)
            if not committed:
                os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(in_a_process(written)) == -signal.SIGKILL
    index, twin = make(), ExactVectors(64, "m", COLUMNS)
    stands = index.stands()
    assert stands == ((13 if committed else 8), "log-1")
    applied(twin, world, 0, stands.n)
    expect_same(index, twin, world)
    applied(twin, world, stands.n, 20)
    with index.applied(20, "log-1"):
        applied(index, world, stands.n - 3, 20)  # some twice: that changes nothing
    expect_same(index, twin, world)


def test_an_offset_that_goes_back_or_another_log_is_refused(make: Make, world: Vectors) -> None:
    index = make()
    with index.applied(5, "log-1"):
        index.upsert(EVERY[:3], world.rows[:3])
    for n, mark in ((4, "log-1"), (9, "log-2")):
        with pytest.raises(InputError, match="call clear"), index.applied(n, mark):
            index.remove(EVERY[:3])
    assert len(index.find(world.queries[0], k=9).slots) == 3
    index.clear()
    assert index.stands() == (0, "")
    with index.applied(2, "log-2"):
        pass
    assert not len(index.find(world.queries[0], k=9).slots)


def test_a_call_that_fails_in_a_batch_leaves_the_others(make: Make, world: Vectors) -> None:
    index = make()
    index.upsert(EVERY[:1], world.rows[:1])
    with index.applied(1, "log"):
        index.upsert(EVERY[5:7], world.rows[5:7])
        with pytest.raises(InputError, match="already"):
            index.load(EVERY[:2], world.rows[:2])
    assert sorted(index.find(world.queries[0], k=9).slots.tolist()) == [0, 5, 6]


def test_a_load_is_an_upsert(make: Make, world: Vectors) -> None:
    index, twin = make(), ExactVectors(64, "m", COLUMNS)
    order = np.random.default_rng(1).permutation(EVERY)
    index.load(order, world.rows[order], world.columns(order))
    twin.upsert(EVERY, world.rows, world.columns())
    for slots in (EVERY[:2] + SIZE - 1, np.array([SIZE, SIZE], np.int32)):
        with pytest.raises(InputError, match="named twice or is there already"):
            index.load(slots, world.rows[:2])
    expect_same(index, twin, world)


def test_a_second_writer_is_refused_until_the_first_closes(make: Make, world: Vectors) -> None:
    first, second = make(), make()
    first.upsert(EVERY[:1], world.rows[:1])
    with pytest.raises(StoreError, match="another process writes it"):
        second.remove(EVERY[:1])
    assert len(second.find(world.queries[0], k=5).slots) == 1
    first.close()
    second.remove(EVERY[:1])


def test_made_by_many_at_once_it_is_made_once(postgres_url: str, name: str) -> None:
    def made(_: int) -> None:
        PgVectorIndex(postgres_url, "m", 64, COLUMNS, name=name).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(made, range(8)))
    with psycopg.connect(postgres_url) as connection:
        there = connection.execute(
            "select count(*) from heirloom_vectors where name = %s", [name]
        ).fetchone()
    assert there == (1,)


def test_what_does_not_fit_is_refused(make: Make, postgres_url: str, name: str) -> None:
    make()
    with pytest.raises(InputError, match=r"model 'other'.*holds those of 'm'"):
        PgVectorIndex(postgres_url, "other", 64, COLUMNS, name=name)
    with pytest.raises(InputError, match="build another index beside it"):
        PgVectorIndex(postgres_url, "m", 32, COLUMNS, name=name)
    with pytest.raises(InputError, match="build another index beside it"):
        make(Columns(codes=("brand",)))
    with psycopg.connect(postgres_url) as connection:
        connection.execute("update heirloom_vectors set format = 9 where name = %s", [name])
    with pytest.raises(StoreError, match="format 9; wanted 1"):
        make()
    with pytest.raises(ConfigError, match=r"name 'X;'(.|\n)*dim 0(.|\n)*column 'slot'"):
        PgVectorIndex(postgres_url, "m", 0, Columns(codes=("slot",)), name="X;")
    with pytest.raises(StoreError, match="see whether the server runs"):
        PgVectorIndex("postgresql://nobody@/nowhere?host=/nowhere", "m", 64)


def test_a_column_may_be_called_anything(make: Make, world: Vectors) -> None:
    odd = 'x"; drop table heirloom_vectors; -- $1 %s'
    index = make(Columns(codes=(odd,), numbers=()))
    index.upsert(EVERY[:2], world.rows[:2], {odd: np.array([1, 2])})
    assert index.find(world.rows[0], Where(among={odd: [2]}), 5).slots.tolist() == [1]
    assert index.find(world.rows[0], Where(between={odd: (None, 1)}), 5).slots.tolist() == [0]


def test_where_the_graph_ends_early_all_that_pass_are_compared(make: Make, world: Vectors) -> None:
    index = make(options=WALKING, graph=Graph(exact_rows=0, ef_search=1, max_scan_tuples=1))
    index.load(EVERY, world.rows, world.columns())
    index.build()
    twin = ExactVectors(64, "m", COLUMNS)
    twin.upsert(EVERY, world.rows, world.columns())
    where, query = world.filters()["1.0%"], world.queries[0]
    found, expected = (i.find(query, where, 5) for i in (index, twin))
    assert found.exact
    assert len(found.slots) == 5
    np.testing.assert_array_equal(found.slots, expected.slots)


def test_few_rows_that_pass_are_compared_and_many_are_not(make: Make, world: Vectors) -> None:
    index = make(options=WALKING, graph=Graph(exact_rows=300))
    index.load(EVERY, world.rows, world.columns())
    index.build()
    filters, mask = world.filters(), np.ones(SIZE, np.bool_)
    assert not index.find(world.queries[0], Where(), 10).exact
    assert not index.find(world.queries[0], filters["50.0%"], 10).exact
    assert index.find(world.queries[0], filters["10.0%"], 10).exact
    assert not index.find(world.queries[0], Where(allowed=mask), 10).exact
    mask[200:] = False
    assert index.find(world.queries[0], Where(allowed=mask), 10).exact


def test_out_of_time_in_the_graph_it_gives_the_best_so_far(make: Make, world: Vectors) -> None:
    index = make(options=WALKING, graph=BY_GRAPH)
    index.load(EVERY, world.rows, world.columns())
    index.build()

    def between_two_steps() -> bool:  # and not while an answer is waited for, however long
        return sys._getframe(1).f_code.co_name == "_walked"

    for query in world.queries:
        answer = index.find(query, k=300, out_of_time=between_two_steps)
        assert (answer.complete, answer.exact, len(answer.slots)) == (False, False, 32)
        scores = world.rows @ query
        np.testing.assert_allclose(answer.scores, scores[answer.slots], atol=1e-5)
        assert answer.scores[0] >= np.sort(scores)[-32]  # the best so far, not any
    whole = index.find(world.queries[0], k=300, out_of_time=lambda: False)
    assert (whole.complete, len(whole.slots)) == (True, 300)


def test_a_blocked_table_is_not_waited_for(
    make: Make, world: Vectors, postgres_url: str, name: str
) -> None:
    index, impatient = make(timeout_s=30.0), make(timeout_s=0.05)
    index.upsert(EVERY[:5], world.rows[:5])
    with psycopg.connect(postgres_url) as other:
        other.execute(f"lock table vectors_{name} in access exclusive mode")
        asked = count()
        answer = index.find(world.queries[0], k=3, out_of_time=lambda: next(asked) >= 20)
        assert (answer.complete, answer.exact, len(answer.slots)) == (False, False, 0)
        answer = impatient.find(world.queries[0], k=3)  # its own limit, without any clock asked
        assert (answer.complete, answer.exact, len(answer.slots)) == (False, False, 0)
        other.rollback()
    for each in (index, impatient):
        assert each.find(world.queries[0], k=3).complete


def backends(url: str) -> list[int]:
    """Process ids of all that is connected, but for this call."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"
        ).fetchall()
    return [pid for (pid,) in rows]


def test_a_server_that_hangs_is_not_waited_for(
    make: Make, world: Vectors, postgres_url: str
) -> None:
    index = make(timeout_s=30.0)
    index.upsert(EVERY[:5], world.rows[:5])
    others = set(backends(postgres_url))
    index.find(world.queries[0], k=3)
    (pid,) = set(backends(postgres_url)) - others
    os.kill(pid, signal.SIGSTOP)
    try:
        asked = count()
        answer = index.find(world.queries[0], k=3, out_of_time=lambda: next(asked) >= 20)
        assert (answer.complete, len(answer.slots)) == (False, 0)
        assert index.find(world.queries[0], k=3).complete  # by another connection
    finally:
        os.kill(pid, signal.SIGCONT)


def test_connections_that_were_cut_are_made_anew(
    make: Make, world: Vectors, postgres_url: str
) -> None:
    index = make()
    index.upsert(EVERY[:5], world.rows[:5])
    assert len(index.find(world.queries[0], k=9).slots) == 5

    def cut_in_a_batch() -> None:
        with index.applied(1, "log"):
            index.upsert(EVERY[5:7], world.rows[5:7])
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                for pid in set(backends(postgres_url)) - {connection.info.backend_pid}:
                    connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
            for _ in range(2):  # the second finds the connection closed: it opens none for itself
                with suppress(StoreError):
                    index.upsert(EVERY[7:9], world.rows[7:9])
                    went_in.append(True)

    went_in: list[bool] = []
    with pytest.raises(StoreError, match="send the call again"):
        cut_in_a_batch()
    assert not went_in
    assert len(index.find(world.queries[0], k=9).slots) == 5
    assert index.stands() == (0, "")
    index.upsert(EVERY[7:9], world.rows[7:9])
    assert len(index.find(world.queries[0], k=9).slots) == 7
