"""The head of a request, bounded at the socket: in bytes and in time; and its body in time.

uvicorn with httptools has no limit on headers, and waits for their end, and a body's, for ever. Nor
does it limit how many connections one address opens.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from heirloom.apps.security.addresses import Connections

MAX_HEAD = 32 << 10
"""Bytes of the request line and all headers."""
HEAD_S = 10.0
"""Seconds in which they must have come."""
BODY_S = 60.0
"""Seconds in which a body must have come, from the end of its head."""
_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)


class _TooLargeError(ValueError):
    pass


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose request does not get to its body.

    Over MAX_HEAD bytes are answered 400; a head that takes longer than HEAD_S is not answered. A
    body that takes longer than BODY_S has ended too early, for who reads it.
    """

    door: Connections | None = None
    """Counts its connections."""
    given = b""
    """What another process, which let the connection in, has read of it."""
    _counted = ""

    _size = 0
    _complete = False
    _came = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: its first head is waited for."""
        super().connection_made(transport)
        if self.door is not None and self.client is not None:
            if not self.door.enter(self.client[0], anew=not self.given):
                transport.write(_TOO_MANY)
                transport.close()
                return
            self._counted = self.client[0]
        self._timer = self.loop.call_later(HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        if self.door is not None and self._counted:
            self.door.leave(self._counted)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body."""
        super().data_received(data)
        if self._complete or self.transport.is_closing():
            return
        self._came += len(data)
        if self._came > MAX_HEAD:
            self.send_400_response("The headers are too large.")
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def on_message_begin(self) -> None:
        """A new request."""
        self._size = self._came = 0
        self._complete = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._grow(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The body is next."""
        self._complete = True
        self._stop_waiting()
        super().on_headers_complete()
        self._timer = self.loop.call_later(BODY_S, self.transport.close)

    def on_message_complete(self) -> None:
        """Nothing more of it is to come."""
        self._stop_waiting()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, and close."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD:
            # httptools hands it to `data_received` as an error of the parser: 400, and closed.
            raise _TooLargeError(f"over {MAX_HEAD} bytes of headers")

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def counted(connections: Connections) -> type[BoundedHead]:
    """The protocol of a door that counts its connections."""
    return type("CountedHead", (BoundedHead,), {"door": connections})
