"""A wire between a client and a server on loopback, that can be made slow."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Wire:
    """Hands bytes on both ways, each piece a while after it came.

    Attributes:
        port: where it listens, on loopback.
    """

    def __init__(self, to: int) -> None:
        self.port = 0
        self._delay_s = 0.0
        self._to = to
        self._began = threading.Event()
        self._over: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def delay(self, seconds: float) -> None:
        """From now on, each way."""
        self._delay_s = seconds

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._began.set()
        await self._over.wait()
        server.close()

    async def _accepted(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, forth = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # as if it had been asked itself
            back.close()
            return
        async with asyncio.TaskGroup() as both:
            both.create_task(self._handed_on(near, forth))
            both.create_task(self._handed_on(far, back))

    async def _handed_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 << 16):
                await asyncio.sleep(self._delay_s)
                writer.write(piece)
                await writer.drain()
        writer.close()


@contextmanager
def wire(to: int) -> Iterator[Wire]:
    """A wire to a port, until the end of the block."""
    made = Wire(to)
    thread = threading.Thread(target=lambda: asyncio.run(made._run()))
    thread.start()
    made._began.wait()
    try:
        yield made
    finally:
        if made._loop is not None and made._over is not None:
            made._loop.call_soon_threadsafe(made._over.set)
        thread.join()
