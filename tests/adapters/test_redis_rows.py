"""Features through a real Redis: what is looked up there is what the writer's state gives."""

import threading
import time
from itertools import count, pairwise

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heirloom.adapters.redis_rows import RedisRows
from heirloom.adapters.write_behind import WriteBehind
from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.facts import Facts
from heirloom.core.row_store import EMPTY, UNFINISHED, Mark, fingerprints
from heirloom.features.library import marketplace_view
from heirloom.features.rows import Packing
from heirloom.pipelines.stored import StoredFeatures
from heirloom.testing.features import HOUR_MS, random_log, random_request, same_bytes

pytestmark = pytest.mark.engine("redis")

VIEW = marketplace_view()
CANDIDATES = np.array([0, 3, 1, 4, 2, 3, 99, -1], np.int32)
NUMBERS = count()


def named() -> str:
    """A view's name that no other test uses."""
    return f"marketplace{next(NUMBERS)}@{VIEW.version}"


class Writer:
    """A state, and what it writes behind."""

    def __init__(self, store: RedisRows, **options: float) -> None:
        self.state = VIEW.state()
        self.lock = threading.Lock()
        self.behind = WriteBehind(store, Packing(VIEW, self.state), self.lock, **options)

    def take(self, log: Facts) -> None:
        with self.lock:
            self.state.apply(log)
            self.behind.applied(log)


def expect_same(reader: StoredFeatures, writer: Writer, seed: int, log: Facts) -> None:
    newest = int(log.events["t"].max())
    for t in (newest, newest + 30 * HOUR_MS):
        request = random_request(seed, t)
        read = reader.lookup(request, CANDIDATES)
        assert read.n == writer.state.n
        assert read.columns == VIEW.columns
        assert same_bytes(read.values, writer.state.lookup(request, CANDIDATES).values)


FEW = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize(("engine", "shards"), [("redis_server", 1), ("redis_cluster", 3)])
@FEW
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 150), max_size=4))
def test_stored_is_whole(request, engine: str, shards: int, seed: int, cuts: list[int]) -> None:
    """Any log, any cuts; three shards in a cluster, which refuses calls across hash slots."""
    url, name = request.getfixturevalue(engine).url, named()
    log = random_log(seed, 150)
    writer = Writer(RedisRows(url, name, shards=shards))
    reader = StoredFeatures(VIEW, RedisRows(url, name, shards=shards))
    for start, stop in pairwise([0, *sorted(cuts), len(log)]):
        writer.take(log[start:stop])
        writer.behind.flush()
        expect_same(reader, writer, seed + stop, log)


def test_given_columns_are_taken_over(redis_server) -> None:
    store = RedisRows(redis_server.url, named())
    column = np.arange(len(CANDIDATES), dtype=np.float32)
    batch = StoredFeatures(VIEW, store).lookup(
        random_request(1, 1), CANDIDATES, {"text_match": column}
    )
    at = batch.columns.index(f"marketplace@{VIEW.version}.text_match")
    assert batch.values[:, at].tolist() == column.tolist()


def test_a_lookup_is_one_mget(redis_server) -> None:
    name, log = named(), random_log(2, 200)
    writer = Writer(RedisRows(redis_server.url, name))
    writer.take(log)
    writer.behind.flush()
    reader = StoredFeatures(VIEW, RedisRows(redis_server.url, name))
    reader.lookup(random_request(2, int(log.events["t"].max())), CANDIDATES)
    with redis.Redis(port=redis_server.port) as client:
        client.config_resetstat()
        reader.lookup(random_request(3, int(log.events["t"].max())), CANDIDATES)
        calls = {k: v["calls"] for k, v in client.info("commandstats").items()}
    calls = {name: n for name, n in calls.items() if not name.startswith("cmdstat_config")}
    assert calls == {"cmdstat_mget": 1}


def test_an_empty_store_knows_nothing(redis_server) -> None:
    reader = StoredFeatures(VIEW, RedisRows(redis_server.url, named()))
    request = random_request(1, 1_700_000_000_000)
    read = reader.lookup(request, CANDIDATES)
    assert read.n == 0
    assert same_bytes(read.values, VIEW.state().lookup(request, CANDIDATES).values)


def test_a_row_of_another_version_is_refused(redis_server) -> None:
    name, log = named(), random_log(4, 100)
    store = RedisRows(redis_server.url, name)
    writer = Writer(store)
    writer.take(log)
    keys = writer.behind._packer.keys()
    rows = writer.behind._packer.packed(keys)
    other = np.uint32(int(VIEW.version, 16) ^ 1).tobytes()
    mark = Mark(writer.state.n, 0, 1, 1)
    store.put(keys, [row[:4] + other + row[8:] for row in rows], mark)
    with pytest.raises(StoreError, match=f"wanted marketplace@{VIEW.version}"):
        StoredFeatures(VIEW, store).lookup(random_request(4, 1), CANDIDATES)


@pytest.mark.parametrize(("engine", "shards"), [("redis_server", 1), ("redis_cluster", 3)])
def test_an_empty_row_takes_away_what_stood_there(request, engine: str, shards: int) -> None:
    store = RedisRows(request.getfixturevalue(engine).url, named(), shards=shards)
    keys = np.array([[7, 0], [7, 1], [0, 0]], np.int64)
    store.put(keys[:2], [b"seven", b"eight"], Mark(3, 30, 5, 1))
    assert store.get(keys).rows == [b"seven", b"eight", None]
    store.put(keys[:1], [b""], Mark(4, 40, 5, 2))
    read = store.get(keys)
    assert (read.rows, read.mark) == ([None, b"eight", None], Mark(4, 40, 5, 2))
    assert store.mark() == read.mark


@pytest.mark.parametrize(("engine", "shards"), [("redis_server", 1), ("redis_cluster", 3)])
def test_a_read_says_what_changed_since(request, engine: str, shards: int) -> None:
    """Since the last turn, since one long ago, and not at all where nobody can know."""
    store = RedisRows(request.getfixturevalue(engine).url, named(), shards=shards)
    keys = np.array([[7 + i, i % 3] for i in range(40)], np.int64)
    marks = [Mark(turn, 1, 9, turn) for turn in range(1, 41)]
    for mark in marks:
        store.put(keys[mark.turn - 1 : mark.turn], [b"row"], mark)
    for since in (39, 36, 31, 1):
        changed = store.get(keys[:1], marks[since]).changed
        assert changed is not None
        assert sorted(changed) == sorted(fingerprints(keys[since + 1 :]))
    assert store.get(keys[:1], Mark(39, 1, 8, 39)).changed is None
    assert store.get(keys[:1], EMPTY).changed is None
    assert store.get(keys[:1], Mark(50, 1, 9, 50)).changed is None


def test_redis_gone_and_back(tmp_path_factory) -> None:
    """Nothing marked is lost; a server that comes back empty is filled anew."""
    from .conftest import Server

    server = Server(tmp_path_factory.mktemp("gone"))
    name, log = named(), random_log(6, 200)
    writer = Writer(RedisRows(server.url, name))
    reader = StoredFeatures(VIEW, RedisRows(server.url, name))
    writer.take(log[:100])
    writer.behind.flush()
    server.stop()
    writer.take(log[100:])
    waiting = writer.behind.behind
    assert waiting > 0
    with pytest.raises(StoreError, match="nothing is lost"):
        writer.behind.flush()
    assert writer.behind.behind == waiting
    with pytest.raises(StoreError, match="Redis rows of marketplace"):
        reader.lookup(random_request(6, 1), CANDIDATES)
    server.start()
    try:
        writer.behind.flush()
        assert writer.behind.behind == 0
        expect_same(reader, writer, 6, log)
    finally:
        server.stop()


def test_a_store_being_filled_says_so(redis_server) -> None:
    """Written in parts, it has an offset only once the last part stands."""
    store, told = RedisRows(redis_server.url, named()), []
    reader = StoredFeatures(VIEW, RedisRows(redis_server.url, store._where.split()[-1]))
    put = store.put

    def telling(keys, rows, mark) -> None:
        put(keys, rows, mark)
        told.append((len(keys), mark.n))
        if mark.n == UNFINISHED:
            with pytest.raises(StoreError, match="is filling it"):
                reader.lookup(random_request(8, 1), CANDIDATES)

    store.put = telling  # type: ignore[method-assign]
    writer = Writer(store, rows=10)
    log = random_log(8, 200)
    writer.take(log)
    writer.behind.flush()
    assert len(told) > 2
    assert all((rows, n) == (10, UNFINISHED) for rows, n in told[:-1])
    assert told[-1][1] == store.mark().n == writer.state.n
    expect_same(StoredFeatures(VIEW, store), writer, 8, log)


def test_a_writer_that_starts_again_goes_on_where_the_store_stands(redis_server) -> None:
    name, log = named(), random_log(9, 200)
    first = Writer(RedisRows(redis_server.url, name))
    first.take(log[:150])
    first.behind.flush()
    store = RedisRows(redis_server.url, name)
    again = Writer(store)
    with again.lock:
        again.state.apply(log[:150])
    again.behind = WriteBehind(store, Packing(VIEW, again.state), again.lock)
    again.behind.flush()
    assert again.behind.written == 0
    again.take(log[150:])
    again.behind.flush()
    assert again.behind.written > 0
    expect_same(StoredFeatures(VIEW, store), again, 9, log)


def test_it_writes_by_itself(redis_server) -> None:
    name, log = named(), random_log(10, 200)
    store = RedisRows(redis_server.url, name)
    writer = Writer(store, seconds=0.05)
    writer.behind.start()
    for start in range(0, 200, 20):
        writer.take(log[start : start + 20])
    deadline = time.monotonic() + 30
    while store.mark().n != writer.state.n and time.monotonic() < deadline:
        time.sleep(0.01)
    expect_same(StoredFeatures(VIEW, store), writer, 10, log)
    writer.take(random_log_after(log))
    writer.behind.close()
    assert store.mark().n == writer.state.n == len(log) + 1
    assert writer.behind.trouble == ""


def random_log_after(log: Facts) -> Facts:
    """One more event."""
    last = log[len(log) - 1 : len(log)]
    events = last.events.copy()
    events["seq"] += 1
    return Facts(events, last.listings, last.starts)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"(?s)0 shards.*url: "):
        RedisRows("http://nowhere", "a@b", shards=0)
    with pytest.raises(ConfigError, match=r"(?s)seconds=5; wanted.*rows=0"):
        WriteBehind(None, None, threading.Lock(), seconds=5, rows=0)  # type: ignore[arg-type]
