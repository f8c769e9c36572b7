"""Events in, over a real server that is killed: what was acknowledged is in the log, and once."""

import http.client
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from tests.apps.conftest import LAPTOP, listings

from heirloom.adapters.sqlite import SqliteLog
from heirloom.apps.build import System
from heirloom.apps.server import run
from heirloom.apps.settings import load
from heirloom.core.event import Event

SENDERS = 8
ENOUGH = 60
"""Acknowledged requests, after which the server is killed in the midst of the others."""
NOON = 1_750_000_000_000


def serve(folder: str, told: Connection) -> None:
    system = System(load(LAPTOP, folder=folder))
    if not system.live.n:
        listed = [
            Event(event_id=f"listed {one.listing_id}", kind="listed", t=NOON,
                  listing=one.listing_id, data=one)
            for one in listings()
        ]  # fmt: skip
        system.ingest(listed, source="test")
    run(system, host="127.0.0.1", port=0, announce=told.send)


class Server:
    """A writer in a process of its own."""

    def __init__(self, folder: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        heard, told = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(str(folder), told), daemon=True)
        self.process.start()
        told.close()
        self.address = urlsplit(heard.recv())

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


class Sender(threading.Thread):
    """Sends requests one after the other, and remembers whose events were acknowledged."""

    def __init__(self, server: Server, name: str, acknowledged: "list[list[str]]") -> None:
        super().__init__()
        self._server, self._name, self._acknowledged = server, name, acknowledged
        self.sent: list[list[str]] = []

    def run(self) -> None:
        address = self._server.address
        door = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        try:
            for number in range(100_000):
                ids = [f"{self._name}.{number}.{i}" for i in range(1 + number % 7)]
                self.sent.append(ids)
                if answer(door, ids)["taken"] == len(ids):
                    self._acknowledged.append(ids)
        except (OSError, http.client.HTTPException):
            pass  # it was killed
        finally:
            door.close()


def answer(door: http.client.HTTPConnection, ids: list[str]) -> dict[str, int]:
    clicks = [
        {"kind": "click", "event_id": one, "t": NOON, "user": "anna", "listing": "l01"}
        for one in ids
    ]
    door.request("POST", "/v1/events", json.dumps(clicks), {"content-type": "application/json"})
    response = door.getresponse()
    told: dict[str, int] = json.loads(response.read())
    assert response.status == 200, told
    return told


def kept_in(folder: Path) -> Counter[str]:
    with SqliteLog(folder / "events.sqlite") as log:
        assert log.facts().events["seq"].tolist() == list(range(log.end()))
        return Counter(entry.event.event_id for entry in log.read())


def test_killed_between_writes_of_groups_nothing_acknowledged_is_lost_or_twice(
    tmp_path: Path,
) -> None:
    acknowledged: list[list[str]] = []
    server = Server(tmp_path)
    senders = [Sender(server, str(i), acknowledged) for i in range(SENDERS)]
    for sender in senders:
        sender.start()
    while len(acknowledged) < ENOUGH:
        assert any(sender.is_alive() for sender in senders)
        senders[0].join(0.002)
    server.kill()
    for sender in senders:
        sender.join()
    kept = kept_in(tmp_path)
    assert {one for ids in acknowledged for one in ids} <= set(kept)
    assert max(kept.values()) == 1
    # Whoever heard nothing sends again: a request is in the log whole or not at all.
    unheard = [ids for sender in senders for ids in sender.sent if ids not in acknowledged]
    assert unheard, "it was killed while requests were under way"
    server = Server(tmp_path)
    door = http.client.HTTPConnection(server.address.hostname or "", server.address.port)
    for ids in [*unheard, *acknowledged[-5:]]:
        there = {one in kept for one in ids}
        assert len(there) == 1
        told = answer(door, ids)
        new = 0 if kept[ids[0]] else len(ids)
        assert (told["taken"], told["duplicate"]) == (new, len(ids) - new)
    door.close()
    server.kill()
    kept = kept_in(tmp_path)
    assert {one for ids in [*unheard, *acknowledged] for one in ids} <= set(kept)
    assert max(kept.values()) == 1
