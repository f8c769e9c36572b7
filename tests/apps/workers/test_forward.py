"""What a worker hands on is answered as the writer itself answers it, to the byte."""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.apps.conftest import LAPTOP, START_MS, Client, Clock, listings

from heirloom.apps import api as a
from heirloom.apps.build import System
from heirloom.apps.http import Shared, application
from heirloom.apps.security.guard import Guard
from heirloom.apps.server import Announced, Beside, Doors, bound_at, configured
from heirloom.apps.settings import load
from heirloom.apps.workers.forward import Forward, Sends, ingest_route
from heirloom.apps.workers.shared_visits import SharedVisits
from heirloom.core.event import Event

MAX_BODY = 4_000
KEY = b"k" * 32


@dataclass
class Pair:
    """A writer behind its own socket, a worker that hands on to it, and a client of each."""

    writer: System
    worker: System
    direct: Client
    through: Client
    path: Path
    server: Announced
    thread: threading.Thread


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder, run = tmp_path_factory.mktemp("system"), tmp_path_factory.mktemp("r")
    settings, clock = load(LAPTOP, folder=folder), Clock()
    writer = System(settings, clock=clock)
    listed = [
        Event(event_id=f"listed {x.listing_id}", kind="listed", t=clock(), listing=x.listing_id,
              data=x)
        for x in listings()
    ]  # fmt: skip
    assert writer.ingest(listed, source="test").taken == len(listed)
    path = run / "writer.sock"
    app = application(
        writer, max_body=MAX_BODY, shared=Shared(SharedVisits(run, -1, (1,), KEY), {})
    )
    app.router.routes.insert(0, ingest_route(app.state.desk))
    ready = threading.Event()
    inner = Doors(bound_at(path), Guard())
    server = Announced(
        configured(app, loop="asyncio"),  # uvloop closes its sockets after its end
        ready.set,
        beside=[Beside(app, inner.public, inner=True)],
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": []})
    thread.start()
    assert ready.wait(60)
    worker = System(settings, clock=clock, reader=True)
    worker.sends = Sends(path)
    forward = Forward(path, max_body=MAX_BODY)
    shared = Shared(SharedVisits(run, 1, (1,), KEY), {a.EVENTS: forward}, forward)
    clients = Client(app), Client(application(worker, max_body=MAX_BODY, shared=shared))
    yield Pair(writer, worker, *clients, path, server, thread)
    server.should_exit = True
    thread.join()
    for client in clients:
        client.close()
    worker.close()
    writer.close()


def click(event_id: str) -> dict[str, Any]:
    return {"kind": "click", "event_id": event_id, "user": "u", "listing": "l01", "slate": "x"}


def packed(content: bytes) -> dict[str, Any]:
    return {"content": gzip.compress(content), "headers": {"content-encoding": "gzip"}}


BODIES: dict[str, dict[str, Any]] = {
    "one event": {"json": [click("NAME")]},
    "a report of several fates": {
        "json": {"events": [click("NAME"), click("NAME"), {"kind": "hide", "user": "u"}]}
    },
    "no JSON": {"content": b"[{"},
    "another shape": {"json": [{"kind": "dance"}]},
    "packed": packed(b"[]"),
    "packed, and none": {"content": b"plain", "headers": {"content-encoding": "gzip"}},
    "packed, and far too large": packed(b" " * 100 * MAX_BODY),
    "packed otherwise": {"content": b"x", "headers": {"content-encoding": "br"}},
    "nothing": {"content": b""},
}


def same(mine: httpx.Response, other: httpx.Response) -> None:
    assert mine.status_code == other.status_code, (mine.text, other.text)
    assert mine.content == other.content
    changing = {"x-request-id", "date"}
    kept = [
        [(name, value) for name, value in answer.headers.multi_items() if name not in changing]
        for answer in (mine, other)
    ]
    assert sorted(kept[0]) == sorted(kept[1])
    assert len(mine.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize("name", BODIES)
def test_events_are_answered_alike(pair: Pair, name: str) -> None:
    def sent(by: str) -> dict[str, Any]:
        body = BODIES[name]
        if "json" not in body:
            return body
        return {"content": httpx.Request("POST", "x", json=body["json"]).content.replace(
            b"NAME", f"{name} {by}".encode())}  # fmt: skip

    same(pair.through.post("/v1/events", **sent("a")), pair.direct.post("/v1/events", **sent("b")))


def test_too_large_a_body_goes_no_further(pair: Pair) -> None:
    answer = pair.through.post("/v1/events", content=b" " * (MAX_BODY + 1))
    assert (answer.status_code, answer.json()["wanted"]) == (413, f"at most {MAX_BODY} bytes")


def test_a_form_is_the_writers_with_cookies_and_all(pair: Pair) -> None:
    form = {"department": "women", "brand": "prada"}
    ours = {"sec-fetch-site": "same-origin"}
    mine, other = (
        client.post("/become", data=form, headers=ours) for client in (pair.through, pair.direct)
    )
    assert mine.status_code == other.status_code == 303
    assert [sorted(answer.cookies) for answer in (mine, other)] == [["person", "stated"]] * 2
    assert len(mine.headers.get_list("set-cookie")) == 2
    theirs = {"sec-fetch-site": "cross-site"}
    same(
        pair.through.post("/become", data=form, headers=theirs),
        pair.direct.post("/become", data=form, headers=theirs),
    )


def test_a_worker_takes_events_in_by_its_writer(pair: Pair) -> None:
    hide = Event(event_id="sent", kind="hide", t=START_MS, user="u", listing="l02")
    report = pair.worker.ingest([hide, hide], source="window")
    assert (report.received, report.taken, report.duplicate) == (2, 1, 1), report
    sold = [Event(event_id=f"sold {i}", kind="sold", t=START_MS, listing="l03") for i in range(2)]
    report = pair.worker.ingest(sold, source="window")
    assert (report.taken, report.quarantined) == (1, 1), report
    assert report.reasons.keys() == report.examples.keys()
    assert report.reasons.total() == 1
    pair.worker.catch_up()
    assert pair.worker.live.n == pair.writer.live.n


def test_a_writer_that_is_away_took_nothing(pair: Pair, tmp_path: Path) -> None:
    forward = Forward(tmp_path / "writer.sock", max_body=MAX_BODY)
    visits = SharedVisits(tmp_path, 1, (1,), KEY)
    client = Client(application(pair.worker, shared=Shared(visits, {a.EVENTS: forward}, forward)))
    answer = client.post("/v1/events", json=[click("away")])
    client.close()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "nothing was taken" in answer.json()["detail"]
