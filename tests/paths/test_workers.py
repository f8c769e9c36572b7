"""Real processes: a writer and two workers, killed, stopped, drained, and given other bundles."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.paths.workers import WORKERS, Market, made

from heirloom.adapters.sqlite import SqliteLog

ONE, OTHER = WORKERS


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    market = made(tmp_path_factory.mktemp("market"))
    market.serve()
    yield market
    if market.process is not None and market.process.poll() is None:
        assert market.end() == 0


def log_of(market: Market) -> list[Any]:
    with SqliteLog(market.folder / "events.sqlite", read_only=True) as log:
        return [entry.event for entry in log.read()]


def shown(slate: dict[str, Any]) -> list[str]:
    return [card["listing_id"] for card in slate["listings"]]


def test_what_one_worker_acknowledged_the_other_knows_at_once(market: Market) -> None:
    with market.only(ONE):
        first = market.ask(user="anna", k=24)
        hidden, sold, *_ = shown(first)
        behind = shown(market.ask(next=first["next"], k=1))[0]
        market.take(
            {"kind": "hide", "event_id": "h1", "user": "anna", "listing": hidden},
            {"kind": "sold", "event_id": "x1", "listing": sold},
            {"kind": "hide", "event_id": "h0", "user": "anna", "listing": behind},
        )
    with market.only(OTHER):
        page = market.ask(next=first["next"], k=200)  # before anything else has caught up
        assert behind not in shown(page)
        later = market.ask(user="anna", k=24)
        assert not {hidden, sold}.intersection(shown(later))
        assert hidden in shown(market.ask(user="berta", k=24))
        assert sold not in shown(market.ask(user="berta", k=24))
    assert later["n"] > first["n"]


def test_what_is_sold_is_shown_by_no_worker_afterwards(market: Market) -> None:
    gone: set[str] = set()
    for i in range(10):
        listing = shown(market.ask(user=f"buyer{i}", k=5))[0]
        with market.only(WORKERS[i % 2]):
            market.take({"kind": "sold", "event_id": f"sale {i}", "listing": listing})
        gone.add(listing)
        with market.only(WORKERS[(i + 1) % 2]):
            assert not gone.intersection(shown(market.ask(user="buyer", k=100)))
    text = httpx.get(market.admin + "/metrics", timeout=60).text
    for worker in WORKERS:
        assert f'heirloom_sold_leak_total{{process="{worker}"}} 0.0' in text


def test_a_page_goes_on_at_another_worker(market: Market) -> None:
    with market.only(ONE):
        first = market.ask(user="carla", k=20)
    with market.only(OTHER):
        second = market.ask(next=first["next"], k=20, explain=True)
        of_other = market.ask(user="dora", k=20)
    with market.only(ONE):
        third = market.ask(next=second["next"], k=20)
        assert shown(market.ask(next=of_other["next"], k=20))
    pages = [*shown(first), *shown(second), *shown(third)]
    assert len(set(pages)) == len(pages) == 60
    positions = [card["position"] for page in (first, second, third) for card in page["listings"]]
    assert positions == list(range(60))
    assert second["slate_id"] == first["slate_id"]
    assert all(card["explanation"]["contributions"] for card in second["listings"])


def test_an_event_on_the_slate_of_a_search_has_its_words(market: Market) -> None:
    """Answered by one worker, acted on at another, written by a third process."""
    with market.only(ONE):
        slate = market.ask(user="emma", text="silk dress", k=5)
    with market.only(OTHER):
        market.take(
            {"kind": "click", "event_id": "words", "user": "emma", "slate": slate["slate_id"],
             "listing": shown(slate)[0], "surface": "search"},
        )  # fmt: skip
    (event,) = [event for event in log_of(market) if event.event_id == "words"]
    assert event.text == "silk dress"


def test_pages_of_the_shop_window_write_through_any_worker(market: Market) -> None:
    """A page that is read leaves a search behind; a button is the writer's to press."""
    same_origin = {"sec-fetch-site": "same-origin"}
    with (
        market.only(OTHER),
        httpx.Client(base_url=market.address, headers=same_origin, timeout=60) as browser,
    ):
        assert browser.get("/search", params={"q": "wool coat"}).status_code == 200
        form = {"button": "save", "listing": "s7"}
        pressed = browser.post("/act", data=form)
        strange = browser.post("/act", data=form, headers={"sec-fetch-site": "cross-site"})
    assert (pressed.status_code, strange.status_code) == (303, 403)
    events = log_of(market)
    user = next(event.user for event in events if event.kind == "search")
    assert [event.listing for event in events if event.kind == "save" and event.user == user]


def counted(market: Market, name: str) -> dict[str, float]:
    """By process, a counter without its other labels, or of the outcome `taken`."""
    text = httpx.get(market.admin + "/metrics", timeout=60).text
    line = rf'^{name}{{process="([^"]+)"(?:,outcome="taken")?}} (\S+)$'
    return {process: float(value) for process, value in re.findall(line, text, re.MULTILINE)}


def test_an_event_is_counted_once_by_whom_ever_it_comes(market: Market) -> None:
    """A search that a read leaves behind is sent by a worker, written by the writer, folded by all.

    So is an event of a program, and one that a form's button makes.
    """
    same_origin = {"sec-fetch-site": "same-origin"}
    entries = len(log_of(market))
    taken = counted(market, "heirloom_events_total")
    folded = counted(market, "heirloom_log_folded_total")
    for i, worker in enumerate(WORKERS):
        with (
            market.only(worker),
            httpx.Client(base_url=market.address, headers=same_origin, timeout=60) as browser,
        ):
            assert browser.get("/search", params={"q": f"warm hat {i}"}).status_code == 200
            form = {"button": "save", "listing": "s9"}
            assert browser.post("/act", data=form).status_code == 303
            market.take({"kind": "hide", "event_id": f"count {i}", "user": "otto", "listing": "s2"})
    for worker in WORKERS:
        with market.only(worker):
            market.ask(user="otto", k=1)  # it folds what came
    written = len(log_of(market)) - entries
    assert written >= 3 * len(WORKERS)
    now = counted(market, "heirloom_events_total")
    assert now["writer"] - taken.get("writer", 0.0) == written
    assert not set(now) & set(WORKERS), "who does not write counts nothing as taken"
    for worker in WORKERS:
        grown = counted(market, "heirloom_log_folded_total")[worker] - folded[worker]
        assert grown >= written, "what came before may have waited for it"


def test_health_and_metrics_are_told_at_the_admin_door(market: Market) -> None:
    assert httpx.get(market.address + "/metrics", timeout=60).status_code == 404
    assert httpx.get(market.admin + "/v1/listings/s1", timeout=60).status_code == 404
    told = httpx.get(market.admin + "/readyz", timeout=60).json()
    assert told["ready"]
    for address in (
        market.address + "/readyz",
        market.admin + "/metrics",
        market.admin + "/console",
    ):
        rebound = httpx.get(address, headers={"host": "evil.test"}, timeout=60)
        assert rebound.status_code == 421, address
    written = market.post("/v1/events", [], headers={"origin": "https://evil.test"})
    assert written.status_code == 403
    assert {f"process.{name}" for name in ("writer", *WORKERS)} <= told["details"].keys()
    text = httpx.get(market.admin + "/metrics", timeout=60).text
    for name in ("writer", *WORKERS):
        assert f'heirloom_process_up{{process="{name}"}} 1.0' in text
        assert f'heirloom_log_offset{{process="{name}"}}' in text


@pytest.mark.parametrize("full", [0, 1])  # whom the kernel wakes first is one of them, always
def test_who_holds_fewer_connections_takes_the_next(market: Market, full: int) -> None:
    def held() -> list[int]:
        told = market.details()
        found = [re.search(r"connections (\d+)", told[f"process.{name}"]) for name in WORKERS]
        return [int(each[1]) for each in found if each]

    address = urlsplit(market.address)
    before = sum(held())
    with contextlib.ExitStack() as stack:

        def come(count: int) -> None:
            for _ in range(count):
                door = socket.create_connection((address.hostname, address.port), timeout=60)
                stack.enter_context(door)

        with market.only(WORKERS[full]):
            come(16)
            market.until(lambda: held()[full] >= 16)
        time.sleep(1)  # the other says again that it lives
        come(16)
        market.until(lambda: sum(held()) >= before + 32)
        one, other = held()
        assert abs(one - other) <= 8
    market.until(lambda: sum(held()) <= before + 1)


def test_connections_move_to_the_worker_that_is_free(market: Market) -> None:
    """All wait at one worker; when they ask at once, the other answers some of them."""

    def told(name: str) -> tuple[int, int, int]:
        line = market.details()[f"process.{name}"]
        found = re.search(r"connections (\d+), gave (\d+), answered (\d+)", line)
        assert found, line
        return int(found[1]), int(found[2]), int(found[3])

    address = urlsplit(market.address)
    body, failed = json.dumps({"user": "u1", "k": 8}), []

    def ask(door: http.client.HTTPConnection) -> None:
        for _ in range(20):
            door.request("POST", "/v1/recommend", body, {"Content-Type": "application/json"})
            answer = door.getresponse()
            if not answer.read() or answer.status != 200:
                failed.append(answer.status)

    gave, answered = told(WORKERS[0])[1], [told(name)[2] for name in WORKERS]
    doors = [http.client.HTTPConnection(address.hostname or "", address.port) for _ in range(6)]
    with market.only(WORKERS[0]):
        for door in doors:
            door.connect()
        market.until(lambda: told(WORKERS[0])[0] >= len(doors))
    time.sleep(1)  # the other says again that it lives
    threads = [threading.Thread(target=ask, args=(door,)) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert told(WORKERS[0])[1] > gave
    # Each line is counted where the others see it.
    now = [told(name)[2] for name in WORKERS]
    assert sum(now) == sum(answered) + 20 * len(doors)
    assert now[1] > answered[1]
    for door in doors:
        door.close()


class Load:
    """Clients that ask without end, each on connections of its own; and what came of it."""

    def __init__(self, market: Market, clients: int = 2) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(market, i)) for i in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, market: Market, i: int) -> None:
        while not self._over.is_set():
            answer = market.post("/v1/recommend", {"user": f"load{i}", "k": 8})
            if answer.status_code != 200:
                self.failed.append(answer.text)
            self.answers.append(answer.json())


def test_bundles_are_swapped_under_load_and_none_is_mixed(market: Market) -> None:
    def answered_with(bundle: str) -> bool:
        details = market.details()
        told = [details[f"process.{name}"] for name in ("writer", *WORKERS)]
        return all(each.endswith(f"bundle {bundle[:12]}") for each in told)

    with Load(market) as load:
        for bundle in (market.minus, market.plus) * 2:
            market.publish(bundle)
            market.until(lambda bundle=bundle: answered_with(bundle))  # type: ignore[misc]
    assert not load.failed
    made_by = {answer["bundle"] for answer in load.answers}
    assert made_by == {market.plus, market.minus}
    for answer in load.answers:
        sign = 1 if answer["bundle"] == market.plus else -1
        assert answer["listings"]
        assert all(card["score"] * sign > 0 for card in answer["listings"])


def test_a_bundle_that_is_damaged_is_refused_and_the_one_before_answers(market: Market) -> None:
    (weights,) = (market.folder / "bundles" / market.minus).rglob("linear.json")
    whole = weights.read_bytes()
    content = bytearray(whole)
    content[-2] ^= 1
    weights.write_bytes(content)
    market.publish(market.minus)
    market.until(lambda: all("refuses" in market.details()[f"process.{name}"] for name in WORKERS))
    for worker in WORKERS:
        with market.only(worker):
            assert market.ask(user="flora", k=3)["bundle"] == market.plus
    weights.write_bytes(whole)
    market.publish(market.plus)
    market.until(
        lambda: not any("refuses" in market.details()[f"process.{name}"] for name in WORKERS)
    )


def test_a_worker_that_is_killed_is_started_again(market: Market) -> None:
    with market.only(ONE):
        first = market.ask(user="gina", k=20)
    market.take({"kind": "hide", "event_id": "h2", "user": "gina", "listing": shown(first)[0]})
    market.kill(ONE)
    with market.only(ONE):
        assert shown(first)[0] not in shown(market.ask(user="gina", k=20)), "it has caught up"
        assert shown(market.ask(next=first["next"], k=20)), "it finds what it kept before"
    assert market.told(OTHER)[2] == 1


def test_the_writer_is_killed_reads_go_on_and_nothing_acknowledged_is_lost(market: Market) -> None:
    acknowledged: list[str] = []
    refused: list[httpx.Response] = []
    over = threading.Event()

    def write() -> None:
        i = 0
        while not over.is_set():
            sent = {"kind": "click", "event_id": f"kill {i}", "user": "hanna", "listing": "s3",
                    "slate": "x"}  # fmt: skip
            answer = market.post("/v1/events", [sent])
            if answer.status_code == 200:
                acknowledged.append(sent["event_id"])
                i += 1
            else:
                refused.append(answer)  # the same is sent again

    writing = threading.Thread(target=write)
    with Load(market, 1) as load:
        writing.start()
        for _ in range(2):
            before = len(acknowledged)
            market.until(lambda before=before: len(acknowledged) > before + 5)  # type: ignore[misc]
            market.kill("writer")
        before = len(acknowledged)
        market.until(lambda: len(acknowledged) > before)
        over.set()
        writing.join()
    assert not load.failed
    assert {answer.status_code for answer in refused} == {503}
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    written = [event.event_id for event in log_of(market) if event.user == "hanna"]
    assert written == list(dict.fromkeys(acknowledged))


def test_a_writer_that_is_away_is_said_so_and_reads_leave_nothing_behind(market: Market) -> None:
    writer = market.pid("writer")
    os.kill(writer, signal.SIGSTOP)  # hung, which is worse than dead
    try:
        with httpx.Client(base_url=market.address, timeout=60) as browser:
            page = browser.get("/search", params={"q": "wool coat"})
        assert page.status_code == 200
        assert market.ask(user="ida", k=3)["listings"]
        answer = market.post("/v1/events", [{"kind": "hide", "user": "ida", "listing": "s1"}])
    finally:
        os.kill(writer, signal.SIGCONT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "may have taken" in answer.json()["detail"]
    text = httpx.get(market.admin + "/metrics", timeout=60).text
    assert 'outcome="lost"} 1.0' in text


def test_it_drains(market: Market) -> None:
    """The last of this file: what is under way is answered, new connections are refused."""
    assert market.process is not None
    where = urlsplit(market.address)
    assert where.hostname is not None
    assert where.port is not None
    body = b'{"user": "jana", "k": 3}'
    head = (
        "POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    processes = [market.pid(name) for name in ("writer", *WORKERS)]
    with socket.create_connection((where.hostname, where.port), timeout=60) as under_way:
        under_way.sendall(head.encode())
        assert under_way.recv(1_000).startswith(b"HTTP/1.1 100 "), "it waits for the body"
        under_way.sendall(body[:5])
        market.process.terminate()

        def refused() -> bool:
            try:
                socket.create_connection((where.hostname, where.port), timeout=60).close()
            except ConnectionError:
                return True
            return False

        market.until(refused)
        under_way.sendall(body[5:])
        answer = b""
        while part := under_way.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"slate_id"' in answer
    assert market.left() == 0
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise AssertionError(f"process {pid} is left")
