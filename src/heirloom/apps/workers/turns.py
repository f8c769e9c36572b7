"""Turns: workers that share a socket take connections by turns, so that each holds about as many.

The kernel wakes all of them for a connection, and an event loop then takes all that wait. So one
that wakes first would hold nearly all of those that come at once (56 of 64 were seen), and be full
while the others idle. Here a process takes one at a time, and none while another holds fewer; and
those that another one gives it (`handing`), at once.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from heirloom.apps.workers.handing import Box

logger = logging.getLogger(__name__)

WAIT_S = 0.02
"""So long a connection waits for who holds fewer, which is longer than a request takes. Then
whoever saw it takes it: the other may be at something slow."""
_PAUSE_S = 1.0
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Answering(asyncio.Protocol):
    """What Turns asks of the protocol of a connection: uvicorn's, made by `handing.moving`."""

    given = b""
    """What was read of it elsewhere: the beginning of a request."""

    def shutdown(self) -> None:
        """Answer what is under way, and close."""


class Turns:
    """Takes connections at a socket, while it is this process's turn, and those given to it.

    Args:
        door: bound; it listens from now on. It is not closed here.
        made: gives the protocol of a connection.
        box: of this process.
        hold: told 1 for a connection taken, -1 for one that could not be answered.
        is_turn: whether no other process holds fewer.
        backlog: connections that may wait at the socket.
    """

    def __init__(
        self,
        door: socket.socket,
        made: Callable[[], Answering],
        *,
        box: Box,
        hold: Callable[[int], None],
        is_turn: Callable[[], bool],
        backlog: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._door = door
        self._made = made
        self._box = box
        self._hold = hold
        self._is_turn = is_turn
        self._later: asyncio.TimerHandle | None = None
        self._coming = set[asyncio.Task[None]]()
        self._closed = False
        door.setblocking(False)
        door.listen(backlog)
        self._listen()
        self._loop.add_reader(box.out.fileno(), self._take_given)

    def close(self) -> None:
        """Take no more, but for what was given by those who did not know yet."""
        self._closed = True
        self._loop.remove_reader(self._box.out.fileno())
        while self._take_given():
            pass
        self._loop.remove_reader(self._door.fileno())
        if self._later is not None:
            self._later.cancel()

    async def wait_closed(self) -> None:
        """What was taken has its protocol."""
        await asyncio.gather(*self._coming)

    def _listen(self) -> None:
        self._later = None
        self._loop.add_reader(self._door.fileno(), self._look)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        """Not woken meanwhile: the socket stays readable as long as a connection waits."""
        self._loop.remove_reader(self._door.fileno())
        self._later = self._loop.call_later(seconds, then)

    def _look(self) -> None:
        if self._is_turn():
            self._take()
        else:
            self._rest(WAIT_S, self._again)

    def _again(self) -> None:
        self._listen()
        self._take()

    def _take(self) -> None:
        try:
            taken, _ = self._door.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                logger.error("no connection can be taken: %s; asked again in a second", error)
                self._rest(_PAUSE_S, self._listen)
            return  # or another process was first, or who came is gone
        self._hold_on(taken)

    def _take_given(self) -> bool:
        given = self._box.take()
        if given is not None:
            self._hold_on(*given)
        return given is not None

    def _hold_on(self, taken: socket.socket, given: bytes = b"") -> None:
        taken.setblocking(False)
        self._hold(1)
        task = self._loop.create_task(self._begin(taken, given))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _begin(self, taken: socket.socket, given: bytes) -> None:
        def made() -> Answering:
            answering = self._made()
            answering.given = given
            return answering

        try:
            _, answering = await self._loop.connect_accepted_socket(made, taken)
        except OSError:
            self._hold(-1)
            taken.close()
            return
        if self._closed:  # it was not there yet when all others were told
            answering.shutdown()
