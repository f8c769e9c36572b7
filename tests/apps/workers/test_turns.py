"""Turns: two event loops that share a socket, as two workers do."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from heirloom.apps.workers.board import _SEEN, DOWN, READY, Board
from heirloom.apps.workers.handing import Box
from heirloom.apps.workers.turns import WAIT_S, Answering, Turns


class Named(Answering):
    """Says who answers, and goes on listening."""

    name = b""
    hold: Callable[[int], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.name)

    def connection_lost(self, exc: Exception | None) -> None:
        self.hold(-1)


@contextmanager
def worker(
    door: socket.socket, board: Board, at: int, begin: threading.Event | None = None
) -> Iterator[None]:
    """One that takes its turns, in a thread; its loop stands still until `begin`."""
    loop = asyncio.new_event_loop()
    hold = partial(board.hold, at)
    made = type("NamedAt", (Named,), {"name": str(at).encode(), "hold": staticmethod(hold)})
    box = Box.made()
    turn = partial(board.has_fewest, at, range(len(board.names)))

    async def listen() -> Turns:
        return Turns(door, made, box=box, hold=hold, is_turn=turn, backlog=128)

    server = loop.run_until_complete(listen())
    if begin is not None:
        loop.call_soon(begin.wait)
    board.enter(at, READY)
    board.beat(at)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(server.wait_closed())
        loop.close()
        box.close()


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door


def connections(door: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(door.getsockname(), timeout=10) for _ in range(count)]


def answered(each: socket.socket) -> int:
    return int(each.recv(1))


def test_connections_that_came_at_once_are_shared_out(door: socket.socket) -> None:
    board, begin = Board(["a", "b"]), threading.Event()
    with ExitStack() as stack:
        for at in (0, 1):
            stack.enter_context(worker(door, board, at, begin))
        came = [stack.enter_context(each) for each in connections(door, 64)]
        begin.set()
        by = [answered(each) for each in came]
        assert [told.held for told in board.told()] == [by.count(0), by.count(1)]
        assert 24 <= by.count(0) <= 40


def test_who_holds_fewer_takes_the_next(door: socket.socket) -> None:
    board = Board(["a", "b"])
    board.hold(0, 10)
    with ExitStack() as stack:
        for at in (0, 1):
            stack.enter_context(worker(door, board, at))
        came = [stack.enter_context(each) for each in connections(door, 10)]
        assert [answered(each) for each in came].count(1) >= 9


def test_who_is_away_or_hangs_is_not_waited_for(door: socket.socket) -> None:
    board = Board(["a", "b"])
    board.hold(0, 10)
    with worker(door, board, 0):
        for state, seen in ((DOWN, True), (READY, False)):
            board.enter(1, state)
            if seen:
                board.beat(1)
            else:
                board._rows[1, _SEEN] = 0
            began = time.monotonic()
            came = connections(door, 20)
            assert [answered(each) for each in came] == [0] * 20
            assert time.monotonic() - began < 20 * WAIT_S
            for each in came:
                each.close()


def test_who_is_busy_is_waited_for_a_while(door: socket.socket) -> None:
    board = Board(["a", "b"])
    board.hold(0, 10)
    with ExitStack() as stack:
        stack.enter_context(worker(door, board, 0))
        board.enter(1, READY)
        board.beat(1)  # ready, holds none, and takes none
        began = time.monotonic()
        (came,) = (stack.enter_context(each) for each in connections(door, 1))
        assert answered(came) == 0
        assert time.monotonic() - began >= WAIT_S


def test_what_is_gone_is_held_no_more(door: socket.socket) -> None:
    board = Board(["a", "b"])
    with worker(door, board, 0):
        came = connections(door, 5)
        assert [answered(each) for each in came] == [0] * 5
        assert board.told()[0].held == 5
        for each in came:
            each.close()
        end = time.monotonic() + 10
        while board.told()[0].held and time.monotonic() < end:
            time.sleep(0.01)
        assert board.told()[0].held == 0
    board.hold(0, 3)
    board.started(0, 123)
    assert board.told()[0].held == 0
