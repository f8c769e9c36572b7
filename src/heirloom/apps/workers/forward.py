"""Forward: what a worker hands on to the writer, over a socket that only this system can reach.

Requests that write go there whole, and its answer is given as it came. What reads leave behind (a
click, a search) goes there as events.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from heirloom.apps.desk import Desk
from heirloom.apps.problems import ProblemError, too_large
from heirloom.apps.tracing import TRACE
from heirloom.apps.workers.upstream import AwayError, Headers, Upstream, post
from heirloom.core.errors import StoreError
from heirloom.core.event import Event
from heirloom.core.log import Rejected
from heirloom.pipelines.ingest import Report

INGEST = "/ingest"
"""On the writer's own socket: events of a worker, as msgpack."""
WRITE_S = 5.0
"""So long a write may take."""
LEAVE_S = 2.0
"""So long a read waits for what it leaves behind to be durable."""
RETRY_S = 1
"""After so long a writer that died is there again, where the log is short."""

_NOT_FORWARDED = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade",
     b"proxy-authorization", b"authorization", b"content-length", b"expect",
     b"x-forwarded-for", b"x-forwarded-proto", b"traceparent", b"tracestate")
)  # fmt: skip
"""Of a connection, not of a request; and a key that the worker has asked for already."""
_NOT_RELAYED = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"date", b"server", b"content-length",
     b"content-security-policy", b"x-content-type-options", b"referrer-policy",
     b"cross-origin-opener-policy", b"cross-origin-resource-policy", b"x-request-id",
     b"traceresponse")
)  # fmt: skip
"""What the worker's own door says of every answer."""


class Forward:
    """A handler of requests that write: the writer's answer, or 503 where it is away.

    Args:
        writer: its socket.
        max_body: bytes of a request's body.
        timeout_s: for its answer.
    """

    def __init__(self, writer: Path, *, max_body: int, timeout_s: float = WRITE_S) -> None:
        self._upstream = Upstream(writer, timeout_s=timeout_s)
        self._max_body = max_body

    async def __call__(self, request: Request) -> Response:
        """The writer's answer.

        Raises:
            ProblemError: 413, 503.
        """
        body = await body_of(request, self._max_body)
        target = request.scope["raw_path"]
        if query := request.scope["query_string"]:
            target += b"?" + query
        try:
            answer = await self._upstream.ask(request.method, target, headers_of(request), body)
        except AwayError as error:
            raise away(error) from error
        response = Response(answer.body, answer.status)
        response.raw_headers = [
            *((name, value) for name, value in answer.headers if name not in _NOT_RELAYED),
            (b"content-length", str(len(answer.body)).encode()),
        ]
        return response


async def body_of(request: Request, limit: int) -> bytes:
    """A request's body as it came: who answers unpacks it, and holds it to a limit once more.

    Raises:
        ProblemError: 413.
    """
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large(limit, f"more than {limit} bytes")
            parts.append(part)
    except ClientDisconnect as error:
        raise ProblemError(400, "The client left before the body was complete.") from error
    return b"".join(parts)


def away(error: AwayError) -> ProblemError:
    """The problem of a writer that does not answer."""
    taken = (
        "it may have taken what was sent: an event that comes again with its event_id counts once"
        if error.sent
        else "nothing was taken"
    )
    return ProblemError(
        503,
        f"The process that takes events does not answer, and {taken}. Reads go on; send it again "
        "in a moment.",
        wanted=f"the same request after {RETRY_S} s",
        headers={"retry-after": str(RETRY_S)},
    )


def headers_of(request: Request, *, with_key: bool = False) -> Headers:
    """What is said of a request to who answers it.

    Args:
        request: as it came.
        with_key: the key too, for somebody who asks for it.
    """
    kept = [
        (name, value)
        for name, value in request.headers.raw
        if name not in _NOT_FORWARDED or (with_key and name == b"authorization")
    ]
    kept.append((b"x-forwarded-proto", request.scope["scheme"].encode()))
    if (trace := request.scope.get(TRACE)) is not None:
        kept += trace.headers
    if request.client is not None:
        kept.append((b"x-forwarded-for", request.client.host.encode()))
    return kept


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """A Report on its way."""

    received: int
    released: int
    taken: int
    duplicate: int
    held: int
    quarantined: int
    reasons: dict[str, int]
    examples: dict[str, str]


def ingest_route(desk: Desk) -> Route:
    """Where the writer takes the events of its workers."""

    async def ingest(request: Request) -> Response:
        events = msgspec.msgpack.decode(await request.body(), type=list[Event])
        source = request.query_params["source"]
        report = await desk.run(lambda: desk.ingest(events, source))
        told = _Told(
            report.received, report.released, report.taken, report.duplicate, report.held,
            report.quarantined, dict(report.reasons), report.examples,
        )  # fmt: skip
        return Response(msgspec.msgpack.encode(told))

    return Route(INGEST, ingest, methods=["POST"])


class Sends:
    """What a worker's System does with events: the writer takes them.

    Args:
        writer: its socket.
        timeout_s: for its answer; the worker answers nobody meanwhile.
    """

    def __init__(self, writer: Path, *, timeout_s: float = LEAVE_S) -> None:
        self._writer = writer
        self._timeout_s = timeout_s

    def __call__(self, events: Iterable[Event | Rejected], source: str) -> Report:
        """Durable on return.

        Raises:
            AwayError: the writer is away.
            StoreError: it refuses.
        """
        sent = msgspec.msgpack.encode(list(events))
        target = f"{INGEST}?source={source}"
        status, body = post(self._writer, target, sent, timeout_s=self._timeout_s)
        if status != 200:
            raise StoreError(f"the writer took no events: {body[:200].decode(errors='replace')}")
        told = msgspec.msgpack.decode(body, type=_Told)
        return Report(
            received=told.received,
            released=told.released,
            taken=told.taken,
            duplicate=told.duplicate,
            held=told.held,
            quarantined=told.quarantined,
            reasons=Counter(told.reasons),
            examples=told.examples,
        )
