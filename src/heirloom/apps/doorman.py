"""Doorman: around every request of an application, and the short way to a route without a pattern.

Starlette asks one route after the other whether it matches, through a layer of its own for errors
at each turn. A path that is one route's alone is found in a table; all else goes that way.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heirloom.apps.logs import REQUESTS, about
from heirloom.apps.metrics import Metrics
from heirloom.apps.problems import problem_response
from heirloom.apps.tracing import TRACE, Tracer
from heirloom.apps.wire import ProblemOut

log = logging.getLogger(__name__)

Explained = Callable[[Request, Exception], Awaitable[Response]]
"""What answers where an error was raised."""
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
        b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # `same-origin`, not `no-referrer`: under the latter a form's Origin header would be `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Doorman:
    """Around every request: an id, security headers, a count, and no traceback to the client.

    Args:
        app: with all its routes, and what answers its errors.
        metrics: where answers are counted.
        tracer: of requests; None: none is traced.
    """

    def __init__(self, app: Starlette, metrics: Metrics, tracer: Tracer | None) -> None:
        self._explained: Mapping[Any, Any] = app.exception_handlers
        self._any = ExceptionMiddleware(app.router, handlers=self._explained)
        self._plain = plain(app.routes)
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI says."""
        if scope["type"] != "http":
            await self._any(scope, receive, send)
            return
        request_id = scope["request_id"] = secrets.token_hex(8)
        with about(request_id):
            await self._answer(request_id, scope, receive, send)

    async def _answer(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0
        trace = None if self._tracer is None else self._tracer.begin(scope)
        said = [*_HEADERS, (b"x-request-id", request_id.encode())]
        if trace is not None:
            scope[TRACE] = trace
            said.append((b"traceresponse", trace.parent))

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *said]
            await send(message)

        try:
            await self._inner(scope)(scope, receive, answer)
        except Exception:
            # The last door: whatever went wrong is logged whole and told to nobody outside.
            log.exception("request %s: %s %s failed", request_id, scope["method"], scope["path"])
            if status:
                raise
            await problem_response(_accident(request_id))(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            took = time.perf_counter() - began
            self._metrics.answered(route, status, took)
            if self._tracer is not None and trace is not None:
                self._tracer.end(trace, scope, route, status)
            if REQUESTS.isEnabledFor(logging.INFO):
                _log_request(scope, route, status, took)

    def _inner(self, scope: Scope) -> ASGIApp:
        """What answers a request: its route, where the path says which, or all that look for it."""
        route = self._plain.get((scope["method"], scope["path"]))
        if route is None or scope.get("root_path"):
            return self._any
        scope.update(route=route, endpoint=route.endpoint, path_params={})
        return self._straight

    async def _straight(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As Starlette answers by the scope's route."""
        request = Request(scope, receive, send)
        try:
            response: Response = await scope["endpoint"](request)
        except Exception as error:
            kinds = (kind for kind in type(error).__mro__ if kind in self._explained)
            explained: Explained | None = self._explained.get(next(kinds, None))
            if explained is None:
                raise
            response = await explained(request, error)
        await response(scope, receive, send)


def plain(routes: Sequence[BaseRoute]) -> dict[tuple[str, str], Route]:
    """By method and path, the routes without a pattern whose path no route before them takes.

    >>> async def answer(request: Request) -> Response: return Response()
    >>> sorted(plain([Route("/a", answer), Route("/{b}", answer), Route("/c", answer)]))
    [('GET', '/a'), ('HEAD', '/a')]
    """
    found: dict[tuple[str, str], Route] = {}
    for place, route in enumerate(routes):
        if not isinstance(route, Route) or "{" in route.path:
            continue
        others = [each for each in routes[:place] if getattr(each, "path", None) != route.path]
        if any(not isinstance(each, Route) or each.path_regex.match(route.path) for each in others):
            continue
        for method in route.methods or ():
            found.setdefault((method, route.path), route)
    return found


def _log_request(scope: Scope, route: str, status: int, took: float) -> None:
    """One line, of the route and not of the address: that may say what somebody looks for."""
    caller = getattr(scope.get("caller"), "name", "")
    ms = round(took * 1e3, 3)
    told = {"method": scope["method"], "route": route, "status": status, "ms": ms, "caller": caller}
    REQUESTS.info("%s %s %d in %s ms", scope["method"], route, status, ms, extra=told)


def _accident(request_id: str) -> ProblemOut:
    return ProblemOut(
        type="/problems/500",
        title="An error of the server",
        status=500,
        detail="Something went wrong here; it is in the server's log under this request id.",
        request_id=request_id,
    )
