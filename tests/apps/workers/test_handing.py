"""Handing: connections that move between two event loops, as they do between two workers."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from heirloom.apps.security.addresses import Connections
from heirloom.apps.security.head import counted
from heirloom.apps.shedding import Line
from heirloom.apps.workers.board import _SEEN, DRAINING, READY, Board
from heirloom.apps.workers.handing import MOST, Box, Giving, moving
from heirloom.apps.workers.turns import Turns

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)
HEAD = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n"


@pytest.fixture
def box() -> Iterator[Box]:
    with Closing(Box.made()) as box:
        yield box


class Closing(ExitStack):
    """A context of what can be closed."""

    def __init__(self, closed: Any) -> None:
        super().__init__()
        self._closed = closed
        self.callback(closed.close)

    def __enter__(self) -> Any:
        return self._closed


def test_a_connection_goes_with_what_was_read_of_it(box: Box) -> None:
    assert box.take() is None
    here, there = socket.socketpair()
    with here:
        assert box.put(there.fileno(), b"x" * MOST)
        there.close()
        taken = box.take()
        assert taken is not None
        moved, data = taken
        with moved:
            assert data == b"x" * MOST
            moved.sendall(b"of the same")
            assert here.recv(100) == b"of the same"
    assert box.take() is None


def test_one_waits_at_most(box: Box) -> None:
    here, there = socket.socketpair()
    with here, there:
        assert box.put(there.fileno(), b"a")
        assert not box.put(there.fileno(), b"b")
        taken = box.take()
        assert taken is not None
        taken[0].close()
        assert box.put(there.fileno(), b"c")


def lines(board: Board, *present: int) -> None:
    """So many stand in the line of each."""
    for at, count in enumerate(present):
        board.line(at)[:] = memoryview(bytes(8 * 4)).cast("q")
        line = Line(100, board.line(at))
        for _ in range(count + 2):
            line.enter()
        line.leave()
        line.begin()
        line.end(1)


@pytest.mark.parametrize(
    ("present", "to"),
    [
        ((0, 0, 0), None),
        ((1, 1, 1), None),
        ((1, 1, 0), 2),
        ((1, 0, 1), 1),
        ((2, 1, 1), None),
        ((3, 2, 1), 2),
        ((0, 3, 3), None),
    ],
)
def test_who_idles_or_has_two_fewer_is_freer(present: tuple[int, ...], to: int | None) -> None:
    board = Board(["a", "b", "c"])
    for at in range(3):
        board.enter(at, READY)
        board.beat(at)
    lines(board, *present)
    assert board.freer(0, [1, 2]) == to


def test_who_is_away_or_hangs_is_given_nothing() -> None:
    board = Board(["a", "b"])
    lines(board, 5, 0)
    for at in (0, 1):
        board.enter(at, READY)
        board.beat(at)
    assert board.freer(0, [1]) == 1
    board._rows[1, _SEEN] = 0
    assert board.freer(0, [1]) is None
    board.beat(1)
    board.enter(1, DRAINING)
    assert board.freer(0, [1]) is None


def test_who_is_started_again_has_nobody_in_line() -> None:
    board = Board(["a", "b"])
    lines(board, 0, 4)
    board.started(1, 123)
    assert list(board.line(1)) == [0, 0, 0, 0]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with who it is, and the body; a slow one later."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if body == b"slow":
        await asyncio.sleep(0.2)
    said = scope["state"]["name"] + b":" + body
    length = str(len(said)).encode()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    await send(start)
    await send({"type": "http.response.body", "body": said})


class Worker:
    """One that answers in a thread, at a socket of its own, and gives and takes connections."""

    def __init__(
        self, board: Board, at: int, boxes: dict[int, Box], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self.door = socket.create_server(("127.0.0.1", 0))
        self.state = ServerState()
        self.open = Connections(2)
        config = uvicorn.Config(app, http=counted(self.open), log_config=None, lifespan="off")
        config.load()
        hold = partial(board.hold, at)
        made = moving(config.http_protocol_class, Giving(board, at, boxes), partial(hold, -1))

        async def listen() -> Turns:
            return Turns(
                self.door,
                lambda: made(config, self.state, {"name": str(at).encode()}, loop),
                box=boxes[at], hold=hold, is_turn=lambda: True, backlog=128,
            )  # fmt: skip

        self.turns = loop.run_until_complete(listen())
        board.enter(at, READY)
        board.beat(at)
        self._thread = threading.Thread(target=loop.run_forever)
        self._thread.start()

    def do(self, what: Callable[[], Any]) -> Any:
        """In its thread."""

        async def done() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(10)

    def protocol(self) -> Any:
        """Of its one connection."""
        (protocol,) = self.do(lambda: list(self.state.connections))
        return protocol

    def is_left(self) -> None:
        """Wait until no connection is open."""
        until(lambda: not self.do(lambda: len(self.open)))

    def end(self) -> None:
        self.do(self.turns.close)
        asyncio.run_coroutine_threadsafe(self.turns.wait_closed(), self.loop).result(10)
        self.do(self._abort)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.door.close()

    def _abort(self) -> None:
        for each in list(self.state.connections):
            each.transport.abort()


class Two:
    """Two workers, and clients of the first."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.board = Board(["a", "b"])
        self.boxes = {at: Box.made() for at in (0, 1)}
        self.workers = [Worker(self.board, at, self.boxes, new_loop()) for at in (0, 1)]

    def client(self) -> socket.socket:
        return socket.create_connection(self.workers[0].door.getsockname(), timeout=10)

    def has_given(self, count: int) -> None:
        """Wait until the first has given so many connections away."""
        until(lambda: self.board.told()[0].given >= count)

    def end(self) -> None:
        for worker in self.workers:
            worker.end()
        for box in self.boxes.values():
            box.close()


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    two = Two(request.param)
    try:
        yield two
    finally:
        two.end()


def until(what: Callable[[], Any]) -> None:
    """Wait for it."""
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end, "it did not come about"


def answer(client: socket.socket) -> bytes:
    """The next whole answer's body."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += received(client)
    head, _, body = said.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-l")
    )
    while len(body) < length:
        body += received(client)
    assert len(body) == length
    return body


def received(client: socket.socket) -> bytes:
    came = client.recv(1 << 16)
    assert came, "closed"
    return came


def asked(client: socket.socket, body: bytes = b"hello") -> bytes:
    client.sendall(HEAD % len(body) + body)
    return answer(client)


def test_a_request_is_answered_where_nobody_waits(two: Two) -> None:
    with two.client() as client:
        assert asked(client) == b"0:hello"
        lines(two.board, 1, 0)
        assert asked(client) == b"1:hello"
        assert asked(client) == b"1:hello"  # it stays there
        lines(two.board, 0, 1)
        assert asked(client) == b"0:hello"
        until(lambda: [each.given for each in two.board.told()] == [1, 1])
        until(lambda: [each.held for each in two.board.told()] == [1, 0])


def test_what_comes_later_of_a_request_is_read_where_it_went(two: Two) -> None:
    whole = HEAD % 6 + b"hello!"
    for cut in range(1, len(whole)):
        lines(two.board, 1, 0)
        with two.client() as client:
            client.sendall(whole[:cut])
            two.has_given(cut)
            lines(two.board, 0, 1)  # one under way goes nowhere
            client.sendall(whole[cut:])
            assert answer(client) == b"1:hello!"


def test_a_request_of_which_a_part_was_read_stays(two: Two) -> None:
    whole = HEAD % 6 + b"hello!"
    for cut in (5, len(whole) - 3):
        with two.client() as client:
            assert asked(client) == b"0:hello"
            client.sendall(whole[:cut])
            until(lambda: two.workers[0].protocol()._within)
            lines(two.board, 1, 0)
            client.sendall(whole[cut:])
            assert answer(client) == b"0:hello!"
        lines(two.board, 0, 0)


def test_requests_sent_in_one_go_are_answered_in_their_order(two: Two) -> None:
    lines(two.board, 1, 0)
    with two.client() as client:
        client.sendall(b"".join(HEAD % 1 + str(n).encode() for n in range(3)))
        said = b""
        while said.count(b"200 OK") < 3 or not said.endswith(b":2"):
            said += received(client)
        assert [said.find(b"1:%d" % n) for n in range(3)] == sorted(
            said.find(b"1:%d" % n) for n in range(3)
        )
        assert b"0:" not in said


def test_a_large_body_stays_or_goes_and_is_whole(two: Two) -> None:
    body = bytes(range(256)) * 4_096
    for busy in ((0, 0), (1, 0)):
        lines(two.board, *busy)
        with two.client() as client:
            assert asked(client, body)[2:] == body


def test_a_connection_stays_while_an_answer_is_made(two: Two) -> None:
    with two.client() as client:
        client.sendall(HEAD % 4 + b"slow")
        until(lambda: two.workers[0].state.tasks)
        lines(two.board, 1, 0)
        client.sendall(HEAD % 1 + b"a")
        said = b""
        while said.count(b"200 OK") < 2 or not said.endswith(b":a"):
            said += received(client)
        assert said.count(b"0:slowHTTP") == said.count(b"0:a") == 1


def test_a_connection_stays_until_its_last_answer_is_out(two: Two) -> None:
    body = b"x" * (8 << 20)
    with two.client() as client:
        client.sendall(HEAD % len(body) + body)
        until(lambda: two.workers[0].protocol().cycle)
        until(lambda: two.workers[0].protocol().cycle.response_complete)
        lines(two.board, 1, 0)
        client.sendall(HEAD % 1 + b"a")
        said = bytearray()
        while not said.endswith(b":a"):
            said += received(client)
        assert said.count(b"0:" + body + b"HTTP/1.1 200") == 1
        assert said.endswith(b"\r\n0:a")


def test_who_was_let_in_is_not_sent_away_where_it_goes(two: Two) -> None:
    with ExitStack() as stack:
        lines(two.board, 1, 0)
        clients = [stack.enter_context(two.client()) for _ in range(2)]
        assert [asked(each) for each in clients] == [b"1:hello"] * 2
        more = [stack.enter_context(two.client()) for _ in range(2)]
        assert [asked(each) for each in more] == [b"1:hello"] * 2
        lines(two.board, 0, 0)
        for each in clients + more:
            each.close()
        for worker in two.workers:
            worker.is_left()


def test_where_the_other_does_not_take_it_nothing_is_given(two: Two) -> None:
    lines(two.board, 1, 0)
    with standing(two.workers[1]), two.client() as first, two.client() as second:
        first.sendall(HEAD % 1 + b"a")
        two.has_given(1)
        assert asked(second) == b"0:hello"
        assert two.board.told()[0].given == 1
    with two.client() as third:
        assert asked(third) == b"1:hello"


def test_of_those_that_came_at_once_one_is_kept(two: Two) -> None:
    lines(two.board, 0, 0)
    with ExitStack() as stack:
        clients = [stack.enter_context(two.client()) for _ in range(2)]
        for each in clients:
            assert asked(each) == b"0:hello"
        with standing(two.workers[0]):
            for each in clients:
                each.sendall(HEAD % 1 + b"a")
        assert sorted(map(answer, clients)) == [b"0:a", b"1:a"]
        two.has_given(1)


def test_where_none_can_be_given_it_is_said_once_and_all_stay(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    lines(two.board, 1, 0)
    whole = two.boxes[1]
    with socket.create_server(("127.0.0.1", 0)) as wrong, two.client() as client:
        two.boxes[1] = Box(whole.out, wrong)
        for _ in range(3):
            assert asked(client) == b"0:hello"
    two.boxes[1] = whole
    assert caplog.text.count("connections stay where they are") == 1


@contextmanager
def standing(worker: Worker) -> Iterator[None]:
    """Its loop does nothing meanwhile."""
    begun, over = threading.Event(), threading.Event()

    def stand() -> None:
        begun.set()
        over.wait()

    worker.loop.call_soon_threadsafe(stand)
    assert begun.wait(10)
    try:
        yield
    finally:
        over.set()


def test_what_was_given_before_the_end_is_answered_and_closed(two: Two) -> None:
    lines(two.board, 1, 0)
    other = two.workers[1]
    with two.client() as client:
        with standing(other):
            client.sendall(HEAD % 1 + b"a")
            two.has_given(1)
            closed = asyncio.run_coroutine_threadsafe(_close(other.turns), other.loop)
        closed.result(10)
        assert answer(client) == b"1:a"
        client.settimeout(2)  # sooner than a connection that is kept is closed
        assert client.recv(1) == b""


async def _close(turns: Turns) -> None:
    turns.close()
