"""An index that a real PostgreSQL holds, searched as of what a process has folded."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from heirloom.adapters import shared_index
from heirloom.adapters.pgvector import PgVectorIndex
from heirloom.adapters.shared_index import SharedIndex
from heirloom.core.errors import InputError, ShapeError, StoreError
from heirloom.core.event import Kind
from heirloom.core.facts import Facts
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.vectors.where import Where
from heirloom.testing.retrieval import World

pytestmark = pytest.mark.engine("postgres")

DIM = 16
_numbers = count()
Opened = Callable[[], PgVectorIndex]


class Shop:
    """A world folded into content that a server's index serves, and into a twin with its own."""

    def __init__(self, opened: Opened, world: World, *, writes: bool = True) -> None:
        self.world, self.n, self.told = world, 0, list[str]()
        self.content, self.twin = ContentIndex(Hashed(DIM)), ContentIndex(Hashed(DIM))
        self.index = SharedIndex(
            opened, lambda: self.content, self, lambda: self.n, threading.RLock(),
            model_id=self.content.model_id, dim=DIM, writes=writes, tell=self.told.append,
        )  # fmt: skip
        self.content.index = self.index
        self.fold()

    def fold(self) -> None:
        *_, (facts, listings) = self.world.parts([self.n] if self.n else [])
        for content in (self.content, self.twin):
            content.apply(facts, listings)
        self.n += len(facts)

    def facts(self, from_offset: int, to_offset: int) -> Facts:
        return next(self.world.parts())[0][from_offset:to_offset]

    def mark(self, n: int) -> str:
        return hashlib.sha256(self.facts(n - 1, n).events.tobytes()).hexdigest()

    def answers(self, k: int = 7) -> list[NDArray[np.int32]]:
        """What both find: the same, in the same order."""
        found = []
        brand = self.content.offers.column("brand")
        filters = (
            Where(), Where(among={"brand": brand[:1]}), Where(without={"seller": [1, 2]}),
            Where(between={"price_minor": (4_500, 6_500)}),
            Where(allowed=np.arange(len(brand)) % 3 > 0),
        )  # fmt: skip
        for slot in range(0, len(self.content.vectors), 5):
            for where in filters:
                vector = self.content.vectors[slot]
                mine, own = (each.nearest(vector, where, k) for each in (self.content, self.twin))
                np.testing.assert_array_equal(mine.slots, own.slots)
                np.testing.assert_allclose(mine.scores, own.scores, atol=1e-6)
                assert mine.complete
                found.append(mine.slots)
        return found


@pytest.fixture
def table() -> str:
    return f"shared_{next(_numbers)}"


@pytest.fixture
def opened(postgres_url: str, table: str) -> Iterator[Callable[..., PgVectorIndex]]:
    with ExitStack() as stack:

        def made(url: str = postgres_url, timeout_s: float = 5.0) -> PgVectorIndex:
            index = PgVectorIndex(url, Hashed(DIM).model_id, DIM, name=table, timeout_s=timeout_s)
            return stack.enter_context(index)

        yield made


@pytest.fixture
def stored(postgres_url: str, table: str) -> Callable[[], list[int]]:
    """The slots that the server holds."""

    def slots() -> list[int]:
        with psycopg.connect(postgres_url) as connection:
            rows = connection.execute(f"select slot from vectors_{table} order by slot")
            return [slot for (slot,) in rows.fetchall()]

    return slots


@pytest.fixture
def shop(opened: Opened) -> Iterator[Shop]:
    shop = Shop(opened, World())
    shop.index.begin()
    shop.index.flush()
    yield shop
    shop.index.close()


def test_the_server_holds_what_is_on_offer_and_answers_as_an_index_here(
    shop: Shop, opened: Opened, stored: Callable[[], list[int]]
) -> None:
    assert shop.index.trouble == ""
    assert stored() == np.flatnonzero(shop.content.offers.live).tolist()
    assert opened().stands() == (shop.n, shop.mark(shop.n))
    assert sum(map(len, shop.answers())) > 100


def test_what_changed_is_seen_before_it_is_written(
    shop: Shop, stored: Callable[[], list[int]]
) -> None:
    near = shop.content.nearest(shop.content.vectors[0], k=3).slots
    before = stored()
    for slot in near.tolist():
        shop.world.end(slot)
    new = shop.world.list("new", 0)
    shop.fold()
    assert stored() == before
    found = shop.content.nearest(shop.content.vectors[0], k=50).slots
    assert not set(near.tolist()) & set(found.tolist())
    assert new in found
    shop.answers()
    shop.index.flush()
    assert stored() == np.flatnonzero(shop.content.offers.live).tolist()
    shop.answers()


def test_after_a_restart_only_what_changed_is_written(
    shop: Shop, opened: Opened, stored: Callable[[], list[int]]
) -> None:
    shop.world.end(4)
    shop.index.close()  # it is never told of the sale
    again = Shop(opened, shop.world)
    again.index.begin()
    again.answers()  # the sale is known before anything is written
    again.index.flush()
    assert again.index.written == 1
    assert 4 not in stored()
    again.answers()
    again.index.close()


def test_an_index_of_another_log_is_filled_anew(shop: Shop, opened: Opened) -> None:
    shop.index.close()
    other = Shop(opened, World(listings=25, seed=1))
    other.index.begin()
    assert "is being filled" in other.index.trouble
    other.answers()
    other.index.flush()
    assert other.index.trouble == ""
    assert opened().stands() == (other.n, other.mark(other.n))
    other.answers()
    reader = Shop(opened, shop.world, writes=False)
    reader.index.begin()
    assert "it is being filled, or holds another log" in reader.index.trouble
    reader.answers()
    for each in (other, reader):
        each.index.close()


def test_a_reader_never_shows_what_it_knows_is_gone(
    shop: Shop, opened: Opened, stored: Callable[[], list[int]]
) -> None:
    reader = Shop(opened, shop.world, writes=False)
    reader.index.begin()
    assert reader.index.trouble == ""
    reader.answers()
    near = reader.content.nearest(reader.content.vectors[0], k=3).slots
    shop.world.end(int(near[0]))
    reader.fold()  # the reader has heard of it, the server has not
    assert near[0] in stored()
    found = reader.content.nearest(reader.content.vectors[0], k=3).slots
    assert near[0] not in found
    reader.index.flush()
    assert near[0] in stored()  # a reader writes nothing
    shop.fold()
    shop.index.flush()
    assert near[0] not in stored()
    reader.answers()
    reader.index.close()


def test_while_the_server_is_away_all_is_compared_here(
    opened: Callable[..., PgVectorIndex], postgres_url: str, tmp_path: Path,
    stored: Callable[[], list[int]],
) -> None:  # fmt: skip
    home = Path(postgres_url.partition("host=")[2])
    road = Path("/tmp") / f"road-{tmp_path.name[-20:]}-{next(_numbers)}"
    url = postgres_url.replace(str(home), str(road))
    shop = Shop(lambda: opened(url), World())
    shop.index.begin()
    assert "see whether the server runs" in shop.index.trouble
    shop.answers()
    road.symlink_to(home)
    try:
        shop.index.flush()
        assert shop.index.trouble == ""
        shop.answers()
        road.unlink()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
                "where pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
        shop.world.end(2)
        shop.world.list("meanwhile", 1)
        shop.fold()
        shop.answers()
        assert "see whether the server runs" in shop.index.trouble
        with pytest.raises(StoreError, match="see whether the server runs"):
            shop.index.flush()
        shop.answers()
        road.symlink_to(home)
        with pytest.raises(StoreError, match="terminating connection"):
            shop.index.flush()  # the writer's connection was cut too, and is made anew then
        shop.index.flush()
        assert shop.index.trouble == ""
        assert stored() == np.flatnonzero(shop.content.offers.live).tolist()
        shop.answers()
        assert ["compared in this process" in told for told in shop.told] == [
            True, False, True, False
        ]  # fmt: skip
        assert "it answers again" in shop.told[-1]
    finally:
        shop.index.close()
        road.unlink(missing_ok=True)


def test_a_server_that_does_not_answer_in_time_is_left_alone(
    opened: Callable[..., PgVectorIndex], postgres_url: str, table: str
) -> None:
    shop = Shop(lambda: opened(timeout_s=0.05), World())
    shop.index.begin()
    shop.index.flush()
    with psycopg.connect(postgres_url) as other:
        other.execute(f"lock table vectors_{table} in access exclusive mode")
        shop.answers()
        assert "it gave nothing in the time" in shop.index.trouble
        other.rollback()
    shop.index.flush()
    assert shop.index.trouble == ""
    shop.answers()
    shop.index.close()


def test_alone_it_gives_the_best_so_far_when_time_runs_out(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[..., PgVectorIndex]
) -> None:
    monkeypatch.setattr(shared_index, "PART", 10)
    shop = Shop(lambda: opened("postgresql://nobody@/nowhere?host=/nowhere"), World())
    shop.index.begin()
    vector = shop.content.vectors[39]
    asked = count()
    answer = shop.index.find(vector, k=50, out_of_time=lambda: next(asked) >= 2)
    assert (answer.complete, answer.exact) == (False, False)
    assert set(answer.slots.tolist()) == set(range(20, 40))  # the latest
    none = shop.index.find(vector, k=50, out_of_time=lambda: True)
    assert (none.complete, len(none.slots)) == (False, 0)
    monkeypatch.setattr(shared_index, "MOST_ALONE", 15)
    cut = shop.index.find(vector, k=50)
    assert (cut.complete, len(cut.slots)) == (False, 15)
    shop.index.close()


def test_a_graph_is_built_when_it_pays_and_anew_when_a_third_is_replaced(
    monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setattr(shared_index, "GRAPH_FROM", 40)
    world = World(listings=39)
    shop = Shop(opened, world)
    shop.index.begin()
    shop.index.flush()
    server = opened()
    assert not server.built()
    world.list("one more", 0)
    shop.fold()
    shop.index.flush()
    assert server.built()
    with psycopg.connect(server._url, autocommit=True) as connection:
        connection.execute(f"drop index {server._table.graph}")
    for i in range(12):
        world.list(f"later-{i}", i % 2)
    shop.fold()
    shop.index.flush()
    assert not server.built()  # 12 of 52 are less than a third
    for i in range(8):
        world.list(f"latest-{i}", i % 2)
    shop.fold()
    shop.index.flush()
    assert server.built()
    shop.answers()
    shop.index.close()


def test_its_thread_writes_and_closing_writes_the_rest(
    shop: Shop, stored: Callable[[], list[int]]
) -> None:
    shop.index.start()
    for step in range(20):
        shop.world.list(f"busy-{step}", step % 2)
        shop.world.end(step)
        shop.world.act(Kind.CLICK, 1, 30)
        with shop.index._lock:
            shop.fold()
        shop.answers()
    shop.index.close()
    assert stored() == np.flatnonzero(shop.content.offers.live).tolist()


def test_what_cannot_be_asked_is_refused(shop: Shop) -> None:
    with pytest.raises(ShapeError, match=r"dim=16"):
        shop.index.find(np.zeros(8, np.float32))
    with pytest.raises(InputError, match="no column 'colours'"):
        shop.index.find(np.zeros(DIM, np.float32), Where(among={"colours": [1]}))
    with pytest.raises(InputError, match="model 'other'"):
        shop.index.find(np.zeros(DIM, np.float32), model_id="other")
    assert not len(shop.index.find(np.zeros(DIM, np.float32), k=0).slots)
