"""Over HTTP: steps that fail or hang, and more requests than can be answered."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette

from heirloom.apps.deadline import Limits
from heirloom.core.slate import FeatureBatch

from .conftest import Door

HURRY = {"x-request-timeout-ms": "200"}


def ids(slate: Any) -> list[str]:
    return [card["listing_id"] for card in slate["listings"]]


def counted(door: Door, name: str, **labels: str) -> float:
    """The value of a metric; 0 where it has no such line."""
    said = ",".join(f'{key}="{value}"' for key, value in labels.items())
    for line in door.client.get("/metrics").text.splitlines():
        if line.startswith(f"{name}{{{said}}} " if said else f"{name} "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def together(door: Door, count: int, body: Any, **headers: str) -> list[httpx.Response]:
    """So many requests at once."""

    async def send() -> list[httpx.Response]:
        client = door.client._client
        sent = [client.post("/v1/recommend", json=body, headers=headers) for _ in range(count)]
        return list(await asyncio.gather(*sent))

    return door.client._loop.run(send())


def fail(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("the secret")


class Hanging:
    """A step that comes to no end until it is let go."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step = step
        self.go = threading.Event()
        self.begun = 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.begun += 1
        self.go.wait()
        return self.step(*args, **named)


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Door], Hanging]]:
    """Lets every lookup of features hang, until the test lets go or ends."""
    made: list[Hanging] = []

    def begin(door: Door) -> Hanging:
        made.append(Hanging(door.system.live.look_up))
        monkeypatch.setattr(door.system.live, "look_up", made[-1])
        return made[-1]

    yield begin
    for each in made:
        each.go.set()


def warm(door: Door) -> None:
    """One full slate, and what is popular kept."""
    answer = door.post("/v1/recommend", {"k": 5})
    assert [step["step"] for step in answer["degraded"]] == ["score"]  # no ranker is trained here
    door.client.get("/readyz")  # stands in the same line: what is kept is kept before


def test_a_source_that_fails_is_left_out_and_counted(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warm(door)
    monkeypatch.setattr(door.system.live.retrievers["popular"], "sift", fail)
    slate = door.post("/v1/recommend", {"k": 5})
    assert {"step": "retrieve", "reason": "popular failed"} in slate["degraded"]
    assert len(slate["listings"]) == 5
    assert "the secret" in caplog.text
    assert "secret" not in str(slate)
    assert counted(door, "heirloom_degraded_total", cause="failed", step="retrieve") == 1
    assert counted(door, "heirloom_rung_total", rung="order of retrieval") == 2
    assert counted(door, "heirloom_breaker_state", part="popular", step="retrieve") == 0
    for _ in range(3):
        door.post("/v1/recommend", {"k": 5})
    assert counted(door, "heirloom_breaker_state", part="popular", step="retrieve") == 2


def test_where_nothing_can_be_made_the_page_that_was_kept_answers(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warm(door)
    monkeypatch.setattr(door.system, "recommend", fail)
    slate = door.post("/v1/recommend", {"k": 5})
    assert (slate["rung"], slate["policy"], slate["next"]) == ("popular", "standby", None)
    assert slate["degraded"] == [{"step": "answer", "reason": "making this page failed"}]
    shown = ids(slate)
    assert len(shown) == 5
    assert "the secret" in caplog.text
    # What was sold, is excluded, hidden or other than was asked for is not on it.
    door.post("/v1/events", [{"kind": "sold", "listing": shown[0]},
                             {"kind": "hide", "listing": shown[1], "user": "anna"}])  # fmt: skip
    own = door.system.live.catalogue.listing(door.system.live.catalogue.slot_of(shown[3])).seller
    asked = {"user": "anna", "exclude": [shown[2]], "k": 200}
    rest = set(ids(door.post("/v1/recommend", asked)))
    assert rest
    assert not rest & set(shown[:3])
    assert shown[3] not in ids(door.post("/v1/recommend", {"user": own, "k": 200}))
    filtered = door.post("/v1/recommend", {"filters": {"brands": ["prada"]}, "k": 200})
    assert {card["brand"] for card in filtered["listings"]} == {"prada"}
    beside = door.post("/v1/recommend", {"surface": "similar", "anchor": shown[4], "k": 200})
    assert shown[4] not in ids(beside)
    assert ids(beside)
    words = door.post("/v1/search", {"text": "silk dress", "facets": ["brand"], "k": 200})
    assert words["listings"]
    assert all("silk dress" in card["title"] for card in words["listings"])
    nothing = door.post("/v1/search", {"text": "no such words"})
    assert (nothing["listings"], nothing["rung"]) == ([], "empty")
    assert counted(door, "heirloom_rung_total", rung="empty") == 1


def test_a_step_that_hangs_is_not_waited_for_and_what_was_sold_stays_gone(
    door: Door, hang: Callable[[Door], Hanging]
) -> None:
    warm(door)
    before = door.post("/v1/recommend", {"k": 5})
    first = ids(before)[0]
    door.post("/v1/events", [{"kind": "sold", "listing": first}])
    stuck = hang(door)
    for body in ({"k": 200}, {"k": 200, "user": "anna"}):
        answer = door.client.post("/v1/recommend", json=body, headers=HURRY)
        assert (answer.status_code, answer.json()["rung"]) == (200, "popular")
        assert answer.json()["degraded"] == [{"step": "answer", "reason": "out of time"}]
        assert first not in ids(answer.json())
        assert len(ids(answer.json())) == 62
    assert stuck.begun == 1, "the second waited behind the first, and was never begun"
    assert counted(door, "heirloom_waiting") == 0
    later = door.client.post("/v1/recommend", json={"next": before["next"]}, headers=HURRY)
    assert (later.status_code, later.headers["retry-after"]) == (503, "1")
    assert door.client.get("/healthz").status_code == 200
    assert counted(door, "heirloom_breaker_state", part="", step="answer") == 0, "they hurried"
    stuck.go.set()
    again = door.post("/v1/recommend", {"k": 5})
    assert again["rung"] == "order of retrieval"
    assert first not in ids(again)


def test_while_the_thread_is_stuck_others_are_answered_at_once_until_it_goes_on(
    open_door: Callable[..., Door], hang: Callable[[Door], Hanging]
) -> None:
    door = open_door(limits=Limits(deadline_ms=1_000))
    warm_until_full(door)
    stuck = hang(door)
    late = together(door, 3, {"k": 5})
    assert [answer.json()["rung"] for answer in late] == ["popular"] * 3
    assert counted(door, "heirloom_breaker_state", part="", step="answer") == 2
    at_once = door.post("/v1/recommend", {"k": 5})
    assert at_once["degraded"] == [{"step": "answer", "reason": "answers rest: they were late"}]
    assert len(at_once["listings"]) == 5
    assert door.client.get("/readyz").status_code == 503
    assert stuck.begun == 1
    stuck.go.set()
    warm_until_full(door)
    assert counted(door, "heirloom_breaker_state", part="", step="answer") == 0
    assert door.client.get("/readyz").status_code == 200


def test_a_long_line_is_no_thread_that_is_stuck(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late behind one that was answered: the others are not kept from the thread for that."""
    door = open_door(limits=Limits(deadline_ms=3_000))
    warm_until_full(door)
    look_up, begun, go = door.system.live.look_up, 0, threading.Event()

    def all_but_the_first_hang(*args: Any) -> FeatureBatch:
        nonlocal begun
        begun += 1
        while begun == 1 and door.app.state.desk.answers.waiting < 5:
            time.sleep(0.001)  # all others have come before it is answered
        if begun > 1:
            go.wait()
        return look_up(*args)

    monkeypatch.setattr(door.system.live, "look_up", all_but_the_first_hang)
    rungs = [answer.json()["rung"] for answer in together(door, 6, {"k": 5})]
    assert sorted(rungs) == ["order of retrieval", *["popular"] * 5]
    assert counted(door, "heirloom_breaker_state", part="", step="answer") == 0
    go.set()
    assert door.client.get("/readyz").status_code == 200
    warm_until_full(door)


def warm_until_full(door: Door) -> None:
    """Ask until all but the ranker, which is not there, answers: a probe is let through in time."""
    for _ in range(3_000):
        if door.post("/v1/recommend", {"k": 5})["rung"] == "order of retrieval":
            door.client.get("/readyz")
            return
        time.sleep(0.01)
    raise AssertionError("it never came back")


@pytest.mark.parametrize("said", ["0", "-5", "1.5", "soon", "9" * 12, "²"])
def test_a_header_that_says_no_time_is_refused(door: Door, said: str) -> None:
    headers = {"x-request-timeout-ms": said.encode("latin-1")}
    answer = door.client.post("/v1/recommend", json={}, headers=headers)
    assert (answer.status_code, answer.json()["came"]) == (422, said)


def test_who_may_wait_is_bounded_and_the_others_are_sent_away_before_any_work(
    open_door: Callable[..., Door], hang: Callable[[Door], Hanging]
) -> None:
    door = open_door(limits=Limits(waiting=2))
    warm(door)
    stuck = hang(door)

    async def flood() -> list[httpx.Response]:
        client = door.client._client
        let_in = []
        for waiting in range(3):
            sent = client.post("/v1/recommend", json={"k": 5})
            let_in.append(asyncio.ensure_future(sent))
            line = f"heirloom_waiting {waiting}.0"
            while not stuck.begun or line not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.001)
        refused = [
            await client.post("/v1/recommend", content=body) for body in (b"no JSON", b'{"k": 5}')
        ]
        stuck.go.set()
        return [*await asyncio.gather(*let_in), *refused]

    answers = door.client._loop.run(flood())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 503]
    for answer in answers[3:]:
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "/problems/503"
    assert counted(door, "heirloom_shed_total", reason="full") == 2
    assert counted(door, "heirloom_waiting") == 0
    door.post("/v1/recommend", {"k": 5})


def test_who_comes_at_once_with_others_is_counted_among_them(
    open_door: Callable[..., Door], hang: Callable[[Door], Hanging]
) -> None:
    """All are let in before any body is read; no more than may wait do, all the same."""
    door = open_door(limits=Limits(waiting=2))
    warm(door)
    stuck = hang(door)

    async def flood() -> list[int]:
        client, reading = door.client._client, 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal reading
            reading += 1
            while reading < 8:
                await asyncio.sleep(0.001)
            yield b"{}"

        sent = [
            asyncio.ensure_future(client.post("/v1/recommend", content=body())) for _ in range(8)
        ]
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        while len([each for each in sent if each.done()]) < 5:
            await asyncio.sleep(0.001)
        stuck.go.set()
        return [answer.status_code for answer in await asyncio.gather(*sent)]

    answered = door.client._loop.run(flood())
    assert set(answered) == {200, 503}
    assert answered.count(200) in (2, 3)  # one more where the thread took the first at once
    assert stuck.begun == answered.count(200)


def test_a_new_bundle_keeps_the_one_before_it_to_fall_back_on(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = door.system
    columns = system.live.view.columns

    class Even:
        def __init__(self) -> None:
            self.columns, self.actions = columns, ("gain",)

        def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
            return np.ones((len(batch.values), 1), np.float32)

    class Broken(Even):
        def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
            return np.full((len(batch.values), 1), np.nan, np.float32)

    first, second, third = (32 * digit for digit in "123")
    kinds: dict[str, Any] = {first: Even(), second: Broken(), third: Broken()}
    monkeypatch.setattr(system, "_policy_with", lambda b: system._policy_of(kinds[b], b))
    monkeypatch.setattr(system, "_encoders_in", lambda _: system.encoders)
    monkeypatch.setattr("heirloom.apps.build.learned_in", lambda _: {})
    system.publish(first)
    slate = door.post("/v1/recommend", {"k": 5})
    assert (slate["rung"], slate["bundle"]) == ("full", first)
    system.publish(second)
    slate = door.post("/v1/recommend", {"k": 5})
    assert (slate["rung"], slate["bundle"]) == ("spare ranker", first)
    assert all(card["score"] is not None for card in slate["listings"])
    system.publish(second)
    assert system.policy.spare is None, "a bundle is no spare of its own"
    system.publish(third)
    assert door.post("/v1/recommend", {"k": 5})["rung"] == "order of retrieval"


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The application behind a real server, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_at_twice_its_capacity_every_answer_is_a_slate_or_a_quick_503(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work has a floor, so that capacity is known: one slate in `takes` seconds."""
    takes, wait = 0.05, 4
    door = open_door(limits=Limits(waiting=wait))
    warm(door)
    recommend, made = door.system.recommend, 0

    def slow(query: Any, **named: Any) -> Any:
        nonlocal made
        made += 1
        time.sleep(takes)
        return recommend(query, **named)

    monkeypatch.setattr(door.system, "recommend", slow)

    async def load(address: str, count: int) -> list[tuple[int, float, str]]:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:

            async def one(number: int) -> tuple[int, float, str]:
                await asyncio.sleep(number * takes / 2)  # they come twice as fast as they are done
                began = time.perf_counter()
                answer = await client.post("/v1/recommend", json={"k": 5, "user": f"u{number}"})
                waits = answer.headers.get("retry-after", "")
                return answer.status_code, time.perf_counter() - began, waits

            return list(await asyncio.gather(*(one(number) for number in range(count))))

    with served(door.app) as address:
        answers = asyncio.run(load(address, 60))
        alone = asyncio.run(load(address, 1))
    good = [took for status, took, _ in answers if status == 200]
    away = [(took, waits) for status, took, waits in answers if status == 503]
    assert len(good) + len(away) == len(answers), [status for status, *_ in answers]
    assert away
    assert len(good) > wait
    assert made == len(good) + 1, "a request that was sent away cost no slate"
    assert all(waits == "1" for _, waits in away)
    assert median(took for took, _ in away) < median(good)
    assert alone[0][0] == 200
