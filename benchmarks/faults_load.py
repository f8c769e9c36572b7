"""Requests at a rate, whatever becomes of them: each answer is told, and so is that there is none.

Arrivals do not wait for answers: they are a Poisson process, and a request's time runs from when it
was due. A connection that breaks is opened again.
"""

import asyncio
import contextlib
import json
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

PATH = "/v1/recommend"
GIVE_UP_S = 30.0
"""So long a client waits for an answer that does not come."""
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_RETRY = re.compile(rb"(?i)\r\nretry-after: (\d+)")


class Card(msgspec.Struct):
    """A listing of a page, as far as faults ask for it."""

    listing_id: str
    score: float | None = None


class Page(msgspec.Struct):
    """A page of a slate, as far as faults ask for it."""

    slate_id: str
    bundle: str
    rung: str
    n: int
    listings: list[Card]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request.

    Attributes:
        port: who was asked.
        due: when it was to leave, s of the loop's clock, which is the monotonic one.
        sent: when it left.
        ended: when its answer was whole.
        status: 0 where none came.
        retry_after: s; 0 where it does not say.
        page: of an answer 200.
    """

    port: int
    due: float
    sent: float
    ended: float
    status: int
    retry_after: int = 0
    page: Page | None = None

    @property
    def took(self) -> float:
        """S from when it was due."""
        return self.ended - self.due

    @property
    def rung(self) -> str:
        """Of its page; "" without one."""
        return self.page.rung if self.page else ""


def bodies_of(people: int, *, k: int = 24, count: int = 1_000) -> list[str]:
    """Requests for the home feed, of people of a simulated world and a tenth of newcomers."""
    rng = random.Random(0)
    asked = []
    for number in range(count):
        who = (
            {"session": f"new-{number}"}
            if rng.random() < 0.1
            else {"user": f"u{rng.randrange(people):06d}"}
        )
        asked.append(json.dumps({"surface": "home", "k": k, **who}))
    return asked


class Load:
    """Clients that ask in a thread of their own, from when it is entered until it is left.

    Args:
        ports: asked in turn.
        bodies: drawn with replacement.
        rate: requests a second; None: each connection asks as soon as it was answered.
        connections: as many requests may be under way.
        wait_ms: what the header X-Request-Timeout-Ms says; None: nothing.
        tell: told every answer, in the load's thread; None: they are kept in `answers`.
    """

    def __init__(
        self,
        ports: Sequence[int],
        bodies: Sequence[str],
        *,
        rate: float | None,
        connections: int = 32,
        wait_ms: int | None = None,
        tell: Callable[[Answer], None] | None = None,
        seed: int = 0,
    ) -> None:
        self.answers: list[Answer] = []
        self._ports, self._bodies, self._rate = ports, bodies, rate
        self._lanes = connections
        self._head = {} if wait_ms is None else {"X-Request-Timeout-Ms": str(wait_ms)}
        self._tell = tell or self.answers.append
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        due: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()
        lanes = [asyncio.create_task(self._lane(due, lane)) for lane in range(self._lanes)]
        clock = asyncio.get_running_loop().time
        at, number = clock(), 0
        while not self._over.is_set():
            if self._rate is None:
                await asyncio.sleep(0.01)
                continue
            at += self._rng.expovariate(self._rate)
            while (wait := at - clock()) > 0 and not self._over.is_set():
                await asyncio.sleep(min(wait, 0.1))
            due.put_nowait((at, self._ports[number % len(self._ports)]))
            number += 1
        for _ in lanes:
            due.put_nowait(None)
        await asyncio.gather(*lanes)

    async def _lane(self, due: "asyncio.Queue[tuple[float, int] | None]", lane: int) -> None:
        doors: dict[int, _Door] = {}
        clock = asyncio.get_running_loop().time
        while not (self._rate is None and self._over.is_set()):
            if self._rate is None:
                next_one = clock(), self._ports[lane % len(self._ports)]
            elif (asked := await due.get()) is None:
                break
            else:
                next_one = asked
            at, port = next_one
            if (wait := at - clock()) > 0:
                await asyncio.sleep(wait)
            door = doors.setdefault(port, _Door(port))
            body = self._rng.choice(self._bodies)
            sent = clock()
            status, retry, content = await door.ask(body, self._head)
            ended = clock()
            page = msgspec.json.decode(content, type=Page) if status == 200 else None
            self._tell(Answer(port, at, sent, ended, status, retry, page))
        for door in doors.values():
            door.close()


class _Door:
    """One connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: str, head: Mapping[str, str]) -> tuple[int, int, bytes]:
        """Status, seconds of Retry-After, and body; 0 where no answer came."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        asked = (
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        try:
            async with asyncio.timeout(GIVE_UP_S):
                return await self._asked(asked)
        except (OSError, EOFError, TimeoutError):
            self.close()
            return 0, 0, b""

    async def _asked(self, asked: bytes) -> tuple[int, int, bytes]:
        if self._streams is None or self._streams[0].at_eof():  # it was kept open too long
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        length, retry = _LENGTH.search(head), _RETRY.search(head)
        content = await reader.readexactly(int(length[1])) if length else b""
        if b"\r\nconnection: close" in head.lower():
            self.close()
        return int(head[9:12]), int(retry[1]) if retry else 0, content

    def close(self) -> None:
        if self._streams is not None:
            with contextlib.suppress(OSError):
                self._streams[1].close()
        self._streams = None
