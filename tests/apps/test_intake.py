"""Intake: requests share a write, each hears of its own events, and what waits is bounded."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.apps.conftest import Door

from heirloom.apps.intake import FullError, Intake, Room
from heirloom.apps.shop import Report
from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import StoreError
from heirloom.core.event import Event
from heirloom.pipelines.ingest import Arrivals, Ingest
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

NOON = 1_700_000_000_000


class Log(MemoryLog):
    """A log that cannot be asked for one id."""

    def seen(self, event_ids: Sequence[str]) -> set[str]:
        if "unreadable" in event_ids:
            raise StoreError("the disk gives no answer")
        return super().seen(event_ids)


class Writer:
    """One log, its ingestion on a thread of its own, and the intake before it."""

    def __init__(self, room: Room) -> None:
        self.log = Log()
        self.groups: list[int] = []
        self.thread = ThreadPoolExecutor(1)
        self.intake = Intake(self._take, self.thread.submit, room)
        self._ingest = Ingest(
            log=self.log,
            anteroom=MemoryAnteroom(),
            catalogue=Catalogue(self.log.vocabulary()),
            currency="EUR",
            rates={},
            apply=lambda _: None,
        )

    def _take(self, group: Sequence[Arrivals]) -> list[Report]:
        self.groups.append(sum(len(sent.events) for sent in group))
        return list(self._ingest.ingest_group(group, now_ms=NOON))

    def offer(self, *ids: str, size: int = 1) -> "Future[Report]":
        return self.intake.offer([search(one) for one in ids], size=size, source="test")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The thread does something else meanwhile, as it answers a page."""
        done = threading.Event()
        self.thread.submit(done.wait)
        try:
            yield
        finally:
            done.set()

    def close(self) -> None:
        self.intake.close()
        self.thread.shutdown()

    def ids(self) -> list[str]:
        return [entry.event.event_id for entry in self.log.read()]


@contextmanager
def opened(**limits: int) -> Iterator[Writer]:
    writer = Writer(Room(**limits))
    try:
        yield writer
    finally:
        writer.close()


def search(event_id: str) -> Event:
    return Event(event_id=event_id, kind="search", t=NOON, user="bo", text="coat")


REQUESTS = st.lists(st.lists(st.integers(0, 12).map(str), max_size=5), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(REQUESTS, st.integers(1, 8), st.integers(1, 4))
def test_however_requests_meet_each_event_counts_once_and_each_hears_of_its_own(
    requests: list[list[str]], group: int, senders: int
) -> None:
    with opened(group=group) as writer:
        with ThreadPoolExecutor(senders) as pool:
            offered = list(pool.map(lambda ids: writer.offer(*ids), requests))
        reports = [each.result(30) for each in offered]
        log, held = writer.ids(), writer.intake.waiting
    sent = Counter(itertools.chain(*requests))
    assert sorted(log) == sorted(sent)
    assert [report.received for report in reports] == [len(ids) for ids in requests]
    assert all(report.taken + report.duplicate == report.received for report in reports)
    assert sum(report.taken for report in reports) == len(log)
    assert held == (0, 0)
    assert all(size <= max(group, *map(len, requests)) for size in writer.groups)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=10), st.integers(1, 9))
def test_the_order_within_a_request_and_of_requests_is_kept(sizes: list[int], group: int) -> None:
    requests = [[f"{i}.{k}" for k in range(size)] for i, size in enumerate(sizes)]
    with opened(group=group) as writer:
        with writer.busy():
            offered = [writer.offer(*ids) for ids in requests]
        for each in offered:
            each.result(30)
        assert writer.ids() == list(itertools.chain(*requests))


def test_what_comes_while_the_writer_is_busy_shares_a_write() -> None:
    with opened(group=4) as writer:
        with writer.busy():
            offered = [writer.offer(str(i)) for i in range(6)]
        assert [each.result(30).taken for each in offered] == [1] * 6
        assert writer.groups == [4, 2]


def test_the_failure_of_one_does_not_fail_those_beside_it() -> None:
    with opened() as writer:
        with writer.busy():
            before, bad, after = writer.offer("a"), writer.offer("unreadable"), writer.offer("b")
        assert (before.result(30).taken, after.result(30).taken) == (1, 1)
        with pytest.raises(StoreError, match="no answer"):
            bad.result(30)
        assert writer.ids() == ["a", "b"]
        assert writer.groups == [3, 1, 1, 1]


@pytest.mark.parametrize(("limits", "size"), [({"events": 3}, 1), ({"bytes": 30}, 10)])
def test_beyond_what_may_wait_a_request_is_refused_whole_until_there_is_room(
    limits: dict[str, int], size: int
) -> None:
    with opened(**limits) as writer:
        with writer.busy():
            offered = [writer.offer("a", size=size), writer.offer("b", "c", size=2 * size)]
            with pytest.raises(FullError, match="nothing of this request was kept") as caught:
                writer.offer("d", size=size)
        assert caught.value.retry_after >= 1
        assert [each.result(30).taken for each in offered] == [1, 2]
        writer.thread.submit(lambda: None).result(30)
        assert writer.offer("d", size=size).result(30).taken == 1
        assert writer.offer(*"efghi", size=100).result(30).taken == 5, "alone, whatever its size"


def test_a_request_given_up_while_it_waits_is_not_taken() -> None:
    with opened() as writer:
        with writer.busy():
            gone, other = writer.offer("gone"), writer.offer("other")
            assert gone.cancel()
        assert other.result(30).taken == 1
        assert writer.ids() == ["other"]


def test_closing_writes_what_waits() -> None:
    with opened(group=1) as writer, writer.busy():
        offered = [writer.offer(str(i)) for i in range(3)]
        closing = threading.Thread(target=writer.close)
        closing.start()
    closing.join(30)
    assert [each.result(0).taken for each in offered] == [1] * 3


def test_at_the_door_the_full_queue_says_429_and_when_to_come_again(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    door = open_door(room=Room(events=2))
    free, real = threading.Event(), door.system.ingest_group

    def slow(group: Sequence[Arrivals]) -> list[Any]:
        assert free.wait(30)
        return real(group)

    monkeypatch.setattr(door.system, "ingest_group", slow)

    async def post(client: httpx.AsyncClient, number: int) -> httpx.Response:
        event = {"kind": "click", "user": "anna", "listing": "l01", "event_id": f"c{number}"}
        response = await client.post("/v1/events", json=[event])
        if response.status_code == 429:
            free.set()  # the others are answered only now
        return response

    async def all_at_once() -> list[httpx.Response]:
        transport = httpx.ASGITransport(door.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            return await asyncio.gather(*(post(client, number) for number in range(3)))

    answers = asyncio.run(all_at_once())
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    (refused,) = (answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"
    assert "2 events" in refused.json()["detail"]
    taken = {entry.event.event_id for entry in door.system.log.read()}
    assert len(taken & {"c0", "c1", "c2"}) == 2
    metrics = door.client.get("/metrics").text
    assert 'heirloom_refused_total{reason="events queue full"} 1.0' in metrics
    assert "heirloom_events_waiting 0.0" in metrics
