"""Upstream: HTTP to another process of this system, over a socket of the file system."""

import asyncio
import http.client
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httptools

from heirloom.core.errors import StoreError

Headers = Sequence[tuple[bytes, bytes]]
_CHUNK = 1 << 16
_IDLE = 32
"""Connections that are kept open for the next request."""


class AwayError(StoreError):
    """The process does not answer.

    Attributes:
        sent: whether the request may have reached it before.
    """

    def __init__(self, path: Path, why: object, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(f"{path.stem} does not answer ({why or 'in time'})")


@dataclass(slots=True)
class Answer:
    """What it answered."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class Upstream:
    """A process that listens at a path. Its connections belong to one event loop.

    Args:
        path: of its socket.
        timeout_s: for a whole answer.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._most = _IDLE

    def close(self) -> None:
        """Keep no connection open; requests under way are answered."""
        self._most = 0
        while self._idle:
            self._idle.pop()[1].close()

    async def ask(self, method: str, target: bytes, headers: Headers, body: bytes = b"") -> Answer:
        """One request, and its answer.

        Args:
            method: of HTTP.
            target: path and query, as it came.
            headers: without those of the connection and the body's length.
            body: as it came.

        Raises:
            AwayError: it does not listen, does not answer in time, or ends meanwhile.
        """
        sent = False
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await self._connection()
                sent = True
                writer.write(_head(method, target, headers, len(body)) + body)
                read = _Read()
                while not read.complete:
                    if not (data := await reader.read(_CHUNK)):
                        raise ConnectionResetError("it closed the connection")
                    read.parser.feed_data(data)
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            if writer is not None:
                writer.close()
            raise AwayError(self.path, error, sent=sent) from error
        except BaseException:
            if writer is not None:
                writer.close()
            raise
        if read.parser.should_keep_alive() and len(self._idle) < self._most:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return read.answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # it went on living
                return reader, writer
            writer.close()
        return await asyncio.open_unix_connection(self.path)


class _Read:
    """An answer while it comes."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.answer = Answer()
        self.complete = False
        self._parts: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers.append((name.lower(), value))

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.answer.status = self.parser.get_status_code()
        self.answer.body = b"".join(self._parts)
        self.complete = True


def _head(method: str, target: bytes, headers: Headers, length: int) -> bytes:
    lines = [f"{method} ".encode() + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    lines.append(f"content-length: {length}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(path: Path, target: str, body: bytes, *, timeout_s: float) -> tuple[int, bytes]:
    """One request of a thread that waits for it; the status and body of its answer.

    Raises:
        AwayError: as `Upstream.ask`.
    """
    connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
    sent = False
    try:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(timeout_s)
            connected.connect(str(path))
            connection.sock, sent = connected, True
            connection.request("POST", target, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise AwayError(path, error, sent=sent) from error
    finally:
        connection.close()
