"""A writer that sells in a process of its own, readers that answer meanwhile, and its sudden end.

What its writer acknowledged as sold is in no response that begins later: not where a reader follows
the log, and not where one stands still and has the mapped words of availability alone.
"""

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.apps.conftest import LAPTOP, START_MS, Client, Clock, listings
from tests.paths.test_readers import expect_same

from heirloom.apps.build import System
from heirloom.apps.http import application
from heirloom.apps.settings import load
from heirloom.core.errors import InputError, StoreError
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.slate import FeatureBatch

STOCK = 600
SOLD = 60
"""So many are acknowledged before the writer is killed."""
A_ROUND = 4
"""Sales that go on while readers answer once each."""


def stock() -> list[Listing]:
    made = listings()[:60]
    return [
        msgspec.structs.replace(made[i % 60], listing_id=f"s{i}", seller=f"seller{i}")
        for i in range(STOCK)
    ]


def opened(folder: Path, *, reader: bool = False) -> System:
    return System(load(LAPTOP, folder=folder), clock=Clock(), reader=reader)


def about(kind: str, listing: str, data: Listing | None = None) -> Event:
    return Event(event_id=f"{kind} {listing}", kind=kind, t=START_MS, listing=listing, data=data)


def sell(folder: str, told: Connection) -> None:
    """A process: sell what it is told to, one after the other, and tell each when it is sold."""
    writer = opened(Path(folder))
    told.send("")
    while True:
        for listing in told.recv():
            assert writer.ingest([about("sold", listing)], source="till").taken == 1
            told.send(listing)


class Reader:
    """A reader behind its door, and what it has shown although that was sold before."""

    def __init__(self, folder: Path, *, follows: bool = True, looks: bool = True) -> None:
        self.system = opened(folder, reader=True)
        if not follows:
            self.system._read_on = lambda: None  # type: ignore[method-assign]
        if not looks:
            self.system.live.availability = None
        self.client = Client(application(self.system))
        self.leaks = 0

    def shown(self) -> list[str]:
        answer = self.client.post("/v1/recommend", json={"user": "somebody", "k": 48})
        assert answer.status_code == 200, answer.text
        first = answer.json()
        later = self.client.post("/v1/recommend", json={"next": first["next"], "k": 48})
        assert later.status_code == 200, later.text
        cards = [*first["listings"], *later.json()["listings"]]
        return [card["listing_id"] for card in cards]

    def answers(self, sold: set[str]) -> list[str]:
        shown = self.shown()
        assert len(shown) > 48
        self.leaks += len(sold.intersection(shown))
        return shown

    def counted(self) -> float:
        text = self.client.get("/metrics").text
        found = re.search(r"^heirloom_sold_leak_total (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])

    def close(self) -> None:
        self.client.close()
        self.system.close()


def all_answer(readers: dict[str, Reader], sold: set[str]) -> list[str]:
    """What the one that follows has shown; each is asked, knowing what was sold before."""
    return {name: reader.answers(sold) for name, reader in readers.items()}["follows"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = opened(tmp_path)
    listed = [about("listed", each.listing_id, each) for each in stock()]
    assert writer.ingest(listed, source="test").taken == STOCK
    writer.close()
    return tmp_path


@pytest.fixture
def readers(folder: Path) -> Iterator[dict[str, Reader]]:
    made = {
        "follows": Reader(folder),
        "stands still": Reader(folder, follows=False),
        "blind": Reader(folder, follows=False, looks=False),
    }
    yield made
    for reader in made.values():
        reader.close()


def test_what_was_acknowledged_as_sold_is_in_no_later_response(
    folder: Path, readers: dict[str, Reader]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    heard, told = spawn.Pipe()
    process = spawn.Process(target=sell, args=(str(folder), told), daemon=True)
    process.start()
    told.close()
    sold: set[str] = set()
    assert heard.recv() == ""
    assert process.pid is not None
    shown = all_answer(readers, sold)
    while len(sold) < SOLD:
        heard.send(shown[:A_ROUND])
        sold.add(heard.recv())  # at least one sale between two rounds
        while heard.poll():
            sold.add(heard.recv())
        shown = all_answer(readers, sold)
        while len(sold) % A_ROUND:
            sold.add(heard.recv())
        shown = [listing for listing in shown if listing not in sold]
    heard.send(shown)  # it is killed in the midst of many
    sold.add(heard.recv())
    alive = readers["follows"].client.get("/readyz").json()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    try:
        while True:
            sold.add(heard.recv())
    except (EOFError, OSError):
        heard.close()
    all_answer(readers, sold)
    dead = readers["follows"].client.get("/readyz").json()
    assert (alive["details"]["writer"], dead["details"]["writer"]) == (True, False)
    assert dead["ready"], "reads go on"
    assert {name: reader.leaks for name, reader in readers.items() if name != "blind"} == {
        "follows": 0,
        "stands still": 0,
    }
    assert readers["stands still"].system.live.n == STOCK
    assert readers["follows"].system.live.n >= STOCK + len(sold)
    assert readers["blind"].leaks > 0, "without the words there is something to leak"
    assert {name: reader.counted() for name, reader in readers.items() if name != "blind"} == {
        "follows": 0.0,
        "stands still": 0.0,
    }
    _goes_on(folder, readers, sold)


def _goes_on(folder: Path, readers: dict[str, Reader], sold: set[str]) -> None:
    """Another writer, from the log: nothing acknowledged comes back, and it sells on."""
    writer = opened(folder)
    unsold = next(id for id in readers["stands still"].shown() if id not in sold)
    assert not any(writer.live.stands(writer.live.catalogue.slot_of(id)) for id in sold)
    assert writer.ingest([about("sold", unsold)], source="till").taken == 1
    for reader in ("follows", "stands still"):
        readers[reader].answers({*sold, unsold})
        assert readers[reader].leaks == 0
    assert readers["follows"].client.get("/readyz").json()["details"]["writer"]
    writer.close()


def test_a_sale_is_seen_at_retrieval_at_the_end_and_on_later_pages(
    folder: Path, readers: dict[str, Reader]
) -> None:
    """Each check alone, in a reader that has not read of the sale in the log."""
    reader, writer = readers["stands still"], opened(folder)
    live, catalogue = reader.system.live, reader.system.live.catalogue
    asked = Query(t=START_MS, user="somebody", k=24)
    before = [shown.listing for shown in reader.system.recommend(asked).shown]
    look_up = live.look_up
    retrieved: list[str] = []

    def meanwhile(request: Request, slots: NDArray[np.int32]) -> FeatureBatch:
        retrieved.extend(catalogue.listing(slot).listing_id for slot in slots.tolist())
        writer.ingest([about("sold", before[1])], source="till")
        return look_up(request, slots)

    writer.ingest([about("sold", before[0])], source="till")
    live.look_up = meanwhile  # type: ignore[method-assign]
    shown = [shown.listing for shown in reader.system.recommend(asked).shown]
    live.look_up = look_up  # type: ignore[method-assign]
    assert before[0] not in retrieved
    assert before[1] in retrieved
    assert not {*before[:2]}.intersection(shown)
    assert before[2] in shown
    first = reader.client.post("/v1/recommend", json={"user": "somebody", "k": 24}).json()
    cards = reader.client.post("/v1/recommend", json={"next": first["next"], "k": 5}).json()
    later = [card["listing_id"] for card in cards["listings"]]
    writer.ingest([about("reserved", later[0]), about("removed", later[1])], source="till")
    cards = reader.client.post("/v1/recommend", json={"next": first["next"], "k": 5}).json()
    again = [card["listing_id"] for card in cards["listings"]]
    assert again[:3] == later[2:]
    assert not {*later[:2]}.intersection(again)
    assert reader.counted() == 0
    writer.close()


def test_a_leak_is_counted(folder: Path, readers: dict[str, Reader]) -> None:
    """The measure's own control: a reader whose checks are off, but whose counter is not."""
    reader = readers["stands still"]
    live, writer = reader.system.live, opened(folder)
    first = reader.shown()[:3]
    live.stands = lambda slot: slot >= 0  # type: ignore[method-assign]
    live.standing = lambda slots: slots >= 0  # type: ignore[method-assign]
    writer.ingest([about("sold", listing) for listing in first], source="till")
    assert reader.counted() == 0
    assert set(first) <= set(reader.shown())
    assert reader.counted() == 3
    writer.close()


def test_a_reader_answers_as_the_writer_from_what_was_just_acknowledged(folder: Path) -> None:
    """Its own fold of the log gives the writer's bytes, with no moment between."""
    writer, reader = opened(folder), opened(folder, reader=True)
    for i in range(12):
        writer.now_ms.ms += 60_000  # type: ignore[attr-defined]
        now = writer.now_ms()
        click = Event(event_id=f"c{i}", kind="click", t=now, slate="x", user="user1",
                      listing=f"s{7 * i}", surface="home")  # fmt: skip
        price = Event(event_id=f"p{i}", kind="price_changed", t=now, listing=f"s{i}",
                      price_minor=900 + i, currency="EUR")  # fmt: skip
        new = msgspec.structs.replace(stock()[i], listing_id=f"new{i}", brand=f"a brand of {i}")
        listed = Event(event_id=f"n{i}", kind="listed", t=now, listing=new.listing_id, data=new)
        assert writer.ingest([click, price, listed, about("sold", f"s{i}")], source="t").taken == 4
        for asked in (
            Query(t=now + 1, user="user1", k=12),
            Query(t=now + 1, surface="search", text=f"a brand of {i} coat", k=12),
        ):
            expect_same(reader.recommend(asked), writer.recommend(asked))
    with pytest.raises(InputError, match="send them to its writer"):
        reader.ingest([], source="test")
    reader.close()
    writer.close()


def test_a_log_that_was_replaced_is_not_answered_from(folder: Path) -> None:
    reader = opened(folder, reader=True)
    for name in ("events.sqlite", "events.sqlite-wal", "events.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    writer = opened(folder)
    with pytest.raises(StoreError, match="replaced by another: start again"):
        reader.recommend(Query(t=START_MS, k=5))
    writer.close()
    reader.close()
