"""One writer, a real Redis, and readers that fold no features: what they serve is replayed."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.adapters.conftest import Server, redis_cluster, redis_server  # noqa: F401  # fixtures
from tests.apps.conftest import LAPTOP, START_MS, Client, Clock, listings

from heirloom.apps.build import System
from heirloom.apps.cli import main
from heirloom.apps.http import application
from heirloom.apps.parity import check
from heirloom.apps.row_stores import URL_VARIABLE
from heirloom.apps.settings import Settings, load
from heirloom.core.errors import ConfigError, InputError, StoreError
from heirloom.core.event import Event
from heirloom.core.query import Query
from heirloom.core.row_store import EMPTY
from heirloom.core.slate import Slate
from heirloom.pipelines.breaker import SECOND

DAY_MS = 86_400_000


class Market:
    """A writer and its readers over one folder and one Redis."""

    def __init__(
        self, folder: Path, url: str, *, shards: int = 1, name: str = "", at: int = START_MS
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.toml = folder / "market.toml"
        features = f'[features]\nstore = "redis"\nurl = "{url}"\nshards = {shards}\n'
        self.toml.write_text(LAPTOP.read_text(encoding="utf-8") + features, encoding="utf-8")
        self.settings: Settings = load(self.toml, folder=folder / "data", name=name or folder.name)
        self.clock = Clock(at)
        self.opened: list[System] = []
        self.writer = self.open()
        self._stock = iter(listings())
        self._events = 0

    def open(self, *, reader: bool = False) -> System:
        self.opened.append(System(self.settings, clock=self.clock, reader=reader))
        return self.opened[-1]

    def trade(self, count: int) -> None:
        """So many listings more, each seen and opened by somebody, some of them new people."""
        for _ in range(count):
            listing, self.clock.ms = next(self._stock), self.clock.ms + 60_000
            user, self._events = f"user{self._events % 7}", self._events + 1
            who = {"user": user, "surface": "home", "listing": listing.listing_id}
            common = {"t": self.clock.ms, "slate": "s"}
            listed = Event(event_id=f"l{self._events}", kind="listed", t=self.clock.ms,
                           listing=listing.listing_id, data=listing)  # fmt: skip
            seen = Event(event_id=f"i{self._events}", kind="impression", **common,
                         **{**who, "listing": None}, listings=(listing.listing_id,),
                         positions=(0,))  # fmt: skip
            opened = Event(event_id=f"c{self._events}", kind="click", **common, **who,
                           text=f"{listing.brand} coat")  # fmt: skip
            assert self.writer.ingest([listed, seen, opened]).taken == 3

    def settle(self) -> None:
        """Until the store stands where the writer does, and the writer knows it."""
        store, behind, end = self.writer.store, self.writer.write_behind, time.monotonic() + 30
        assert store is not None
        assert behind is not None
        while time.monotonic() < end:
            try:
                mark = store.mark()
                if mark.n == self.writer.live.n and behind._left == mark:
                    return
            except StoreError:
                pass
            time.sleep(0.01)
        raise AssertionError(f"the store stands at {store.mark()}, not at {self.writer.live.n}")

    def asked(self) -> list[Query]:
        now = self.clock.ms + 1_000
        return [
            Query(t=now, user="user1", k=8),
            Query(t=now, session="nobody yet", k=8),
            Query(t=now + DAY_MS, user="user2", surface="search", text="prada coat", k=8),
            Query(t=now, user="user3", surface="similar", anchor="l01", k=8),
        ]

    def close(self) -> None:
        for system in reversed(self.opened):
            system.close()


def expect_same(mine: Slate, theirs: Slate) -> None:
    assert mine.n == theirs.n
    assert mine.slate_id == theirs.slate_id
    assert [shown.listing for shown in mine.shown] == [shown.listing for shown in theirs.shown]
    assert mine.features is not None
    assert theirs.features is not None
    assert mine.features.n == mine.n
    assert mine.features.values.tobytes() == theirs.features.values.tobytes()
    assert np.isfinite(mine.features.values).any()


@pytest.fixture(params=[("redis_server", 1), ("redis_cluster", 2)], ids=["server", "cluster"])
def market(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Market]:
    engine, shards = request.param
    market = Market(tmp_path, request.getfixturevalue(engine).url, shards=shards)
    yield market
    market.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Market, Server]]:
    """A market whose server can be stopped."""
    server = Server(tmp_path)
    market = Market(tmp_path, server.url)
    yield market, server
    market.close()
    server.stop()


@pytest.mark.engine("redis")
def test_what_a_reader_serves_is_what_the_writer_would_and_is_replayed(market: Market) -> None:
    market.trade(20)
    market.settle()
    readers = [market.open(reader=True) for _ in range(2)]
    slates = 0
    for _ in range(3):
        market.trade(10)
        for query in market.asked():  # while the writer may still be writing
            readers[0].recommend(query)
            slates += 1
        market.settle()
        for query in market.asked():
            mine = readers[1].recommend(query)
            expect_same(mine, market.writer.recommend(query))
            slates += 1
    for reader in readers:
        assert reader.live.features.n == 0, "a reader folds no features"
        assert reader.live.n > 60
    market.close()
    market.opened.clear()
    found = check(market.settings)
    assert found.holds, found.summary()
    assert not found.unpromised
    assert found.slates >= slates


@pytest.mark.engine("redis")
def test_a_wrong_value_served_through_redis_is_found(alone: tuple[Market, Server]) -> None:
    """The negative control: one count more in the store than in the log."""
    market, _ = alone
    market.trade(20)
    market.settle()
    reader = market.open(reader=True)
    state = market.writer.live.features
    state._memory.rows32[state._memory.rows32 == 1] = 2  # what was counted once, twice
    market.writer.write_behind._left = None  # type: ignore[union-attr]
    market.writer.store.put(np.zeros((0, 2), np.int64), [], EMPTY)  # type: ignore[union-attr]
    market.settle()
    reader.recommend(market.asked()[0])
    market.close()
    market.opened.clear()
    assert not check(market.settings).holds


@pytest.mark.engine("redis")
def test_redis_dies_and_comes_back_empty(
    alone: tuple[Market, Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Readers do without features and say so; the writer fills the store, and all is as before."""
    market, server = alone
    market.trade(20)
    market.settle()
    reader = market.open(reader=True)
    query = market.asked()[0]
    reader.recommend(query)
    server.stop()
    lower = reader.recommend(query)
    assert [(each.step, each.cause) for each in lower.degraded[:2]] == [
        ("follow", "failed"), ("features", "failed"),
    ]  # fmt: skip
    assert (len(lower.shown), lower.features) == (8, None)
    assert "nothing is lost, the log has it all" in caplog.text
    client = Client(application(reader))
    answer = client.post("/v1/recommend", json={"user": "user1"})
    client.close()
    assert (answer.status_code, answer.json()["rung"]) == (200, "order of retrieval")
    assert "127.0.0.1" not in answer.text
    with pytest.raises(StoreError):
        market.open(reader=True)
    market.trade(10)
    assert len(market.writer.recommend(query).shown) == 8
    server.start()
    market.settle()
    assert market.writer.write_behind is not None
    assert market.writer.write_behind.filled == 2
    recovered(reader, query)
    expect_same(reader.recommend(query), market.writer.recommend(query))
    market.close()
    market.opened.clear()
    assert check(market.settings).holds


def recovered(reader: System, query: Query) -> None:
    """Ask until nothing is left out: a breaker that opened lets a probe through when it rested."""
    for _ in range(1_000):
        left_out = {each.step for each in reader.recommend(query).degraded}
        if not left_out & {"follow", "features"}:
            return
        time.sleep(0.01)
    raise AssertionError("it never came back")


@pytest.mark.engine("redis")
def test_redis_hangs_and_goes_on(alone: tuple[Market, Server]) -> None:
    """Each request is answered; after three nobody waits for Redis, until it goes on."""
    market, server = alone
    market.trade(20)
    market.settle()
    reader = market.open(reader=True)
    query, now = market.asked()[0], [0]
    reader.ladder.clock = lambda: now[0]  # it stands still, so what rests goes on resting
    full = reader.recommend(query)
    os.kill(server.process_id, signal.SIGSTOP)
    try:
        lower = [reader.recommend(query) for _ in range(4)]
    finally:
        os.kill(server.process_id, signal.SIGCONT)
    assert [slate.degraded[0].cause for slate in lower] == ["failed"] * 3 + ["resting"]
    for slate in lower:
        assert [each.step for each in slate.degraded[:2]] == ["follow", "features"]
        assert len(slate.shown) == 8
    now[0] += 4 * SECOND
    for _ in range(100):
        if reader.recommend(query).degraded[0].step == "score":  # no ranker is trained here
            break
        now[0] += 4 * SECOND
    recovered(reader, query)
    expect_same(reader.recommend(query), full)


@pytest.mark.engine("redis")
def test_a_writer_that_died_writes_what_the_store_missed(alone: tuple[Market, Server]) -> None:
    """Events that came after the last write, and no close: the rows that they changed, no more."""
    market, _ = alone
    market.trade(30)
    market.settle()
    reader = market.open(reader=True)
    behind = market.writer.write_behind
    assert behind is not None
    behind._stop.set()
    behind._thread.join()
    market.trade(2)
    market.opened.remove(market.writer)
    market.writer.store.close()  # type: ignore[union-attr]
    market.writer.write_behind = market.writer.store = None
    market.writer.close()
    market.writer = market.open()
    market.settle()
    again = market.writer.write_behind
    assert again is not None
    assert (again.filled, again.written > 0) == (0, True)
    assert again.written < len(again._packer.keys()) / 2
    for query in market.asked():
        expect_same(reader.recommend(query), market.writer.recommend(query))


@pytest.mark.engine("redis")
def test_rows_of_another_log_are_not_taken_for_ours(alone: tuple[Market, Server]) -> None:
    """The same name and server, another folder: its writer fills anew, a reader of ours refuses."""
    market, server = alone
    market.trade(20)
    market.settle()
    reader = market.open(reader=True)
    market.opened.remove(market.writer)
    market.writer.close()
    name = market.settings.system.name
    other = Market(market.toml.parent / "other", server.url, name=name, at=START_MS + 7)
    other.trade(25)
    other.settle()
    assert other.writer.write_behind is not None
    assert other.writer.write_behind.filled == 1
    try:
        with pytest.raises(StoreError, match="features of another log"):
            reader.recommend(market.asked()[0])
    finally:
        other.close()


@pytest.mark.engine("redis")
def test_a_writer_that_starts_again_goes_on(
    alone: tuple[Market, Server],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It writes nothing twice; a reader beside it is not disturbed; the command line reads too."""
    market, server = alone
    market.trade(20)
    market.settle()
    reader = market.open(reader=True)
    reader.recommend(market.asked()[0])
    market.opened.remove(market.writer)
    market.writer.close()
    market.writer = market.open()
    market.trade(5)
    market.settle()
    assert market.writer.write_behind is not None
    assert market.writer.write_behind.filled == 0
    for query in market.asked():
        expect_same(reader.recommend(query), market.writer.recommend(query))
    with pytest.raises(InputError, match="send them to its writer"):
        reader.ingest([], source="test")
    text = market.toml.read_text(encoding="utf-8").replace(
        '"heirloom"', f'"{market.toml.parent.name}"', 1
    )
    market.toml.write_text(
        text.replace(server.url, "redis://nowhere.invalid:1/0"), encoding="utf-8"
    )
    monkeypatch.setenv(URL_VARIABLE, server.url)
    arguments = ["--system", str(market.toml), "--folder", str(market.settings.system.folder)]
    monkeypatch.setattr(sys, "argv", ["heirloom", "recommend", "user1", "--reader", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    printed = capsys.readouterr()
    assert exit_.value.code == 0, printed.err
    assert "policy first" in printed.out


def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = tmp_path / "wrong.toml"
    wrong = '[features]\nstore = "memcached"\nurl = "http://x"\nwrite_every_ms = 5\n'
    toml.write_text(LAPTOP.read_text(encoding="utf-8") + wrong, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(toml)
    assert len(refused.value.problems) == 3
    embedded = load(LAPTOP, folder=tmp_path / "data")
    serving = embedded.system.model_copy(update={"impressions": "server"})
    with pytest.raises(ConfigError, match=r'impressions is "server"'):
        System(embedded.model_copy(update={"system": serving}), reader=True)
    toml.write_text(
        LAPTOP.read_text(encoding="utf-8") + '[features]\nstore = "redis"\n', encoding="utf-8"
    )
    monkeypatch.delitem(sys.modules, "heirloom.adapters.redis_rows", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r'pip install "heirloom\[redis\]"'):
        System(load(toml, folder=tmp_path / "data"))
