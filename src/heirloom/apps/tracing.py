"""Tracing: one span a request, of those that are sampled; OpenTelemetry is loaded for nobody else.

Whether a request is sampled is decided before anything is made for it, by the caller's
`traceparent` (W3C Trace Context, https://www.w3.org/TR/trace-context/) or by chance. A span says
which stages a slate went through and how long each took, and never whose it was.
"""

import os
import random
import re
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.types import Scope

from heirloom import __version__
from heirloom.apps.answering import Turn
from heirloom.core.errors import ConfigError
from heirloom.pipelines.ladder import rung_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TRACE: Final = "trace"
"""Where in a request's scope its Trace is, if it has one."""
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
CLOSING_S: Final = 2.0
_EXPORT_S = 5.0
"""So long the collector may take; what waits meanwhile is bounded, and dropped beyond."""


class TelemetryPart(BaseModel):
    """Where traces go, and of how many requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    traces: str = ""
    """Of the collector, OTLP over HTTP: http://127.0.0.1:4318/v1/traces. Empty: none are made. Its
    headers, keys among them, are the environment's: OTEL_EXPORTER_OTLP_HEADERS."""
    share: float = Field(default=0.01, ge=0, le=1)
    """Of the requests whose caller did not decide."""
    parents: bool = True
    """Whether a caller's `traceparent` decides; false where strangers may send one."""
    service: str = "heirloom"

    @field_validator("traces")
    @classmethod
    def _of_http(cls, traces: str) -> str:
        if traces and not traces.startswith(("http://", "https://")):
            raise ValueError("wanted http://HOST:4318/v1/traces, or https://…")
        return traces


def check(part: TelemetryPart) -> None:
    """Refuse to trace without the library.

    Raises:
        ConfigError: the extra `otel` is not installed.
    """
    if not part.traces:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401
    except ImportError:
        raise ConfigError(
            "telemetry", ["traces need a library: pip install 'heirloom[otel]'"]
        ) from None


def is_sampled_by(header: bytes) -> bool | None:
    """What a caller's `traceparent` decided; None where it is none, or breaks the form.

    >>> is_sampled_by(b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")
    True
    >>> is_sampled_by(b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00"), is_sampled_by(b"00-1-2-01")
    (False, None)
    """
    found = _PARENT.fullmatch(header)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or not trace.strip(b"0") or not span.strip(b"0"):
        return None
    if version == b"00" and more:
        return None
    return bool(int(flags, 16) & 1)


class Trace:
    """The span of one request.

    Attributes:
        headers: what a server that is asked for this request is to be told.
    """

    def __init__(self, span: "Span", headers: list[tuple[bytes, bytes]]) -> None:
        self._span = span
        self.headers = headers

    @property
    def parent(self) -> bytes:
        """The `traceparent` of what is done for this request."""
        return self.headers[0][1]

    def end(self, scope: Scope, route: str, status: int, process: str) -> None:
        """It was answered."""
        from opentelemetry.trace import Status, StatusCode

        span, turn = self._span, scope.get("turn")
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes(
            {
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "heirloom.request_id": scope["request_id"],
                "heirloom.process": process,
                **(_of_turn(turn) if isinstance(turn, Turn) else {}),
            }
        )
        if status >= 500 or not status:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class Tracer:
    """What makes spans of a process and sends them. Made after the fork: it has a thread.

    Args:
        part: where to, and of how many requests. Its `traces` is not empty.
        process: what this one is called.
        roots: whether a request without a caller's decision may be sampled here; a process behind
            another leaves that to it.
        draw: a number from 0 to 1.

    Raises:
        ConfigError: the extra `otel` is not installed.
    """

    def __init__(
        self,
        part: TelemetryPart,
        *,
        process: str = "server",
        roots: bool = True,
        draw: Callable[[], float] = random.random,
    ) -> None:
        check(part)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        resource = Resource.create(
            {
                "service.name": part.service,
                "service.version": __version__,
                "service.instance.id": f"{process}-{os.getpid()}",
            }
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=part.traces, timeout=_EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("heirloom", __version__)
        self._share = part.share if roots else 0.0
        self._parents = part.parents or not roots
        self._process = process
        self._draw = draw

    def begin(self, scope: Scope) -> Trace | None:
        """The trace of a request that came; None where it is not sampled, and nothing was made."""
        header = b""
        for name, value in scope["headers"]:
            if name == b"traceparent":
                header = value
                break
        decided = is_sampled_by(header) if header and self._parents else None
        sampled = self._draw() < self._share if decided is None else decided
        return self._trace(scope["headers"]) if sampled else None

    def end(self, trace: Trace, scope: Scope, route: str, status: int) -> None:
        """Its request was answered."""
        trace.end(scope, route, status, self._process)

    def close(self) -> None:
        """Send what is finished; what the collector has not taken in CLOSING_S is lost."""
        # Without a collector the library tries again for longer than a process has to end.
        last = threading.Thread(target=self._provider.shutdown, name="last-traces", daemon=True)
        last.start()
        last.join(CLOSING_S)

    def _trace(self, headers: Iterable[tuple[bytes, bytes]]) -> Trace:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers
                   if name in (b"traceparent", b"tracestate")}  # fmt: skip
        context = TraceContextTextMapPropagator().extract(carried)
        span = self._tracer.start_span("request", context=context, kind=SpanKind.SERVER)
        mine = span.get_span_context()
        parent = f"00-{mine.trace_id:032x}-{mine.span_id:016x}-01".encode()
        state = mine.trace_state.to_header().encode("latin-1")
        told = [(b"traceparent", parent), *([(b"tracestate", state)] if state else [])]
        return Trace(span, told)


def _of_turn(turn: Turn) -> dict[str, Any]:
    """What is told of a slate: how it was made, and nothing of who asked."""
    told: dict[str, Any] = {}
    if turn.instead is not None:
        told["heirloom.instead"] = turn.instead.cause
    slate = turn.made
    if slate is None:
        return told
    stages = {f"heirloom.stage.{name}_us": took for name, took in slate.timings_us.items()}
    return {
        **told,
        **stages,
        "heirloom.slate_id": slate.slate_id,
        "heirloom.rung": rung_of(slate.degraded),
        "heirloom.degraded": [f"{step.step}: {step.cause}" for step in slate.degraded],
        "heirloom.policy": slate.policy,
        "heirloom.bundle": slate.bundle,
        "heirloom.n": slate.n,
        "heirloom.candidates": slate.why.candidates,
    }
