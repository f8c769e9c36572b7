"""Handing: a connection on which a request comes goes to another worker, where that is free.

Connections last for many requests, and requests do not come evenly: by turns alone (`turns`) one
worker has a line while another idles, and a request waits for the worker that its connection fell
to. So the connection itself moves, with what was read of its request: a descriptor sent over a
socket that the processes share (unix(7), SCM_RIGHTS). Nothing is relayed, and all that follows on
it is answered there.
"""

import asyncio
import errno
import fcntl
import logging
import socket
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from heirloom.apps.security.head import BoundedHead
from heirloom.apps.workers.board import Board

logger = logging.getLogger(__name__)

MOST = 64 << 10
"""Bytes that go with a connection; one that more was read of stays. A message in one piece, since a
stream could be torn by who dies."""
_FOR_NOW = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS}
_UNREAD = struct.Struct("i")


@dataclass(frozen=True, slots=True)
class Box:
    """Where connections for one worker wait: made before the fork, so it outlives each of them."""

    out: socket.socket
    into: socket.socket

    @classmethod
    def made(cls) -> Self:
        """An empty one."""
        box = cls(*socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        for end in (box.out, box.into):
            end.setblocking(False)
        return box

    def put(self, connection: int, data: bytes) -> bool:
        """A connection's descriptor and what was read of it; False: one waits there already.

        Raises:
            OSError: it cannot go, now or ever.
        """
        unread = fcntl.ioctl(self.into, termios.TIOCOUTQ, bytes(_UNREAD.size))
        if _UNREAD.unpack(unread)[0]:
            return False
        socket.send_fds(self.into, [data], [connection])
        return True

    def take(self) -> tuple[socket.socket, bytes] | None:
        """A connection, and what was read of it; None: there is none."""
        try:
            data, connections, _, _ = socket.recv_fds(self.out, MOST, 1)
        except BlockingIOError:
            return None
        if not connections:
            logger.error("a connection given to this worker is lost: no descriptor is free")
            return None
        return socket.socket(fileno=connections[0]), data

    def close(self) -> None:
        """Both ends."""
        self.out.close()
        self.into.close()


class Giving:
    """Gives a connection of a worker away, where another would answer its request sooner.

    Args:
        board: where their lines are told.
        here: this one's place on it.
        boxes: of all workers, by their places.
    """

    def __init__(self, board: Board, here: int, boxes: Mapping[int, Box]) -> None:
        self._board = board
        self._here = here
        self._boxes = boxes
        self._others: Sequence[int] = [each for each in boxes if each != here]
        self._kept = 0

    def __call__(self, transport: asyncio.Transport, data: bytes) -> bool:
        """Whether a connection went, with `data` as what is to be read of it; it is closed here."""
        if self._goes(transport, data):
            return True
        # Many are read at once after the loop had to wait, and none of them is in the line yet.
        if not self._kept:
            asyncio.get_running_loop().call_soon(self._in_line)
        self._kept += 1
        return False

    def _in_line(self) -> None:
        self._kept = 0

    def _goes(self, transport: asyncio.Transport, data: bytes) -> bool:
        to = self._board.freer(self._here, self._others, self._kept)
        if to is None or len(data) > MOST or transport.get_write_buffer_size():
            return False
        try:
            if not self._boxes[to].put(transport.get_extra_info("socket").fileno(), data):
                return False
        except OSError as error:
            if error.errno not in _FOR_NOW:
                logger.warning("connections stay where they are: none could be given: %s", error)
                self._others = ()
            return False
        self._board.gives(self._here)
        transport.close()
        return True


class Moving(BoundedHead):
    """The protocol of a connection that may go to another worker between two requests."""

    give: Callable[[asyncio.Transport, bytes], bool]
    leave: Callable[[], None]
    _within = False
    """A part of a message was read, and not all of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection, new or given."""
        super().connection_made(transport)
        if self.given and not transport.is_closing():
            super().data_received(self.given)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, or goes on elsewhere."""
        super().connection_lost(exc)
        self.leave()

    def data_received(self, data: bytes) -> None:
        """Bytes; where they begin a request, it may be for another worker to answer."""
        is_between = not self._within and (self.cycle is None or self.cycle.response_complete)
        if not (is_between and self.give(self.transport, data)):
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A new request."""
        self._within = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Nothing more of it is to come."""
        self._within = False
        super().on_message_complete()


def moving(
    made: type[Any], give: Callable[[asyncio.Transport, bytes], bool], leave: Callable[[], None]
) -> type[Any]:
    """A class of protocols like `made`, the door's own, whose connections may move.

    Args:
        made: BoundedHead, or a class of its kind.
        give: told the transport, and the bytes that begin a request; whether it took both.
        leave: told when a connection is gone.
    """
    how = {"give": staticmethod(give), "leave": staticmethod(leave)}
    return type("MovingHead", (Moving, made), how)
