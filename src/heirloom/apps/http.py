"""The HTTP door: a Starlette application over a System. `application` is where to begin."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heirloom.apps import api as a
from heirloom.apps import inference as v2
from heirloom.apps import sagemaker_http as container
from heirloom.apps.console.pages import OPEN, Console, keep_history
from heirloom.apps.console.processes import OneProcess, Processes
from heirloom.apps.deadline import Limits
from heirloom.apps.desk import Desk
from heirloom.apps.doorman import Doorman
from heirloom.apps.images import Artist, Images
from heirloom.apps.intake import Room
from heirloom.apps.metrics import Metrics
from heirloom.apps.openapi import describe
from heirloom.apps.problems import ProblemError, problem_response
from heirloom.apps.security.guard import Guard
from heirloom.apps.shedding import Counts
from heirloom.apps.shop import Shop
from heirloom.apps.tracing import TelemetryPart, Tracer
from heirloom.apps.visits import Visits
from heirloom.apps.web.pages import Window
from heirloom.apps.wire import MAX_BODY, ProblemOut
from heirloom.core.errors import InputError, StoreError
from heirloom.core.money import digits
from heirloom.simulator.picture import draw

log = logging.getLogger(__name__)

ENDPOINTS = (*a.ENDPOINTS, *v2.ENDPOINTS)
"""What programs may ask."""
ADMIN = (a.HEALTH, a.READY, a.METRICS)
"""What the admin door answers, where there is one; the console stands there too then."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What one application of several shares with the others.

    Attributes:
        visits: pages begun at one go on at another.
        instead: what answers an endpoint here.
        forms: what answers the forms of the shop window here; None: this application.
        processes: all of them, for the console; None: this one.
        is_behind: this one is asked by the others alone, on behalf of whom they answer.
        counts: of the line before the system's thread, where others see them.
    """

    visits: Visits
    instead: Mapping[a.Endpoint, a.Handler]
    forms: a.Handler | None = None
    processes: Processes | None = None
    is_behind: bool = False
    counts: Counts | None = None


def application(
    shop: Shop,
    *,
    name: str = "heirloom",
    currency: str = "EUR",
    max_body: int = MAX_BODY,
    impressions: Literal["client", "server", "none"] = "client",
    artist: Artist = draw,
    guard: Guard | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    room: Room = Room(),  # noqa: B008 - frozen
    sagemaker: bool = False,
    admin: Guard | None = None,
    telemetry: TelemetryPart = TelemetryPart(),  # noqa: B008 - frozen
    shared: Shared | None = None,
) -> Starlette:
    """The application: JSON API, shop window, health and metrics.

    Its `state` holds the `desk` behind it, the `tracer` if there is one, and `admin`: an
    application of the endpoints ADMIN.

    Args:
        shop: the running system.
        name: what the shop window is called.
        currency: of all prices, as in ISO 4217: ingestion converts to it.
        max_body: bytes of a request's body.
        impressions: who writes them. `server`: each page is written as it is answered.
        artist: makes the pictures of listings whose `image` is no URL.
        guard: stands before every route; None: the door is open.
        limits: how long an answer may take, and how many may wait.
        room: for events that wait to be written.
        sagemaker: answer what SageMaker asks of a container, and nothing else.
        admin: stands before the admin door; None: there is none, and metrics are told here, and the
            console is shown.
        telemetry: where traces go, and of how many requests.
        shared: what is shared with other processes; None: this one answers alone.
    """
    guard = guard or Guard()
    metrics = Metrics(shop)
    visits = shared.visits if shared else None
    desk = Desk(
        shop,
        metrics,
        impressions=impressions,
        limits=limits,
        room=room,
        visits=visits,
        counts=shared.counts if shared else None,
    )
    api = a.Api(desk, max_body=max_body, minor_per_major=10 ** digits(currency))
    images = Images(desk, artist=artist)
    window = Window(desk, name=name, currency=currency)
    processes = (shared.processes if shared else None) or OneProcess(desk.exposition)
    tracer = None
    if telemetry.traces:
        own_name = processes.history.names[processes.here]
        tracer = Tracer(telemetry, process=own_name, roots=not (shared and shared.is_behind))
    console = Console(processes, admin or guard, name=name)
    inference = v2.Inference(desk, max_body=max_body)
    told = [point for point in ENDPOINTS if admin is None or point is not a.METRICS]
    points = container.ENDPOINTS if sagemaker else told
    pages = [] if sagemaker else _pages(window, shared.forms if shared else None)
    description = msgspec.json.encode(describe(told))

    async def openapi(request: Request) -> Response:  # noqa: ARG001
        return Response(description, media_type="application/json")

    handlers: Mapping[a.Endpoint, a.Handler] = {
        a.EVENTS: api.events,
        a.RECOMMEND: api.recommend,
        a.SEARCH: api.search,
        a.LISTING: api.listing,
        a.HEALTH: api.health,
        a.READY: api.ready,
        a.METRICS: api.metrics,
        a.OPENAPI: openapi,
        a.IMAGE: images.picture,
        **inference.handlers(),
        **container.Container(desk, api, inference, max_body=max_body).handlers(),
        **(shared.instead if shared else {}),
    }

    async def on_problem(request: Request, error: Exception) -> Response:
        if not isinstance(error, ProblemError):
            raise error
        if v2.speaks_of(request.scope["path"]):
            return v2.error_response(error.problem, error.headers)
        if console.speaks_of(request):
            return console.error_page(request, error.problem)
        if window.wants_html(request):
            page = window.error_page(request, error.problem)
            page.headers.update(error.headers)
            return page
        return problem_response(error.problem, error.headers)

    async def on_input_error(request: Request, error: Exception) -> Response:
        return await on_problem(request, ProblemError(422, str(error)))

    async def on_store_error(request: Request, error: Exception) -> Response:
        log.error("%s %s: %s", request.method, request.scope["path"], error)
        detail = "What this server answers from cannot be reached now; try again in a moment."
        return await on_problem(request, ProblemError(503, detail))

    async def on_http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        problem = _problem_of_routing(request, error)
        if v2.speaks_of(request.scope["path"]):
            return v2.error_response(problem, dict(error.headers or {}))
        if console.speaks_of(request):
            return console.error_page(request, problem)
        if window.wants_html(request):
            return window.error_page(request, problem)
        return problem_response(problem, dict(error.headers or {}))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        kept = asyncio.create_task(keep_history(processes, desk.exposition))
        yield
        kept.cancel()
        desk.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)

    def built(
        guard: Guard,
        points: Sequence[a.Endpoint],
        pages: Sequence[Route],
        console: Sequence[Route],
        *,
        ends: bool,
    ) -> Starlette:
        scopes = {point.path: point.scope for point in points}
        app = Starlette(
            routes=guard.routes(
                [Route(point.path, handlers[point], methods=[point.method]) for point in points],
                scopes | {window.STATIC: None} | OPEN,
                pages=pages,
                console=console,
                count=metrics.refused,
            ),
            exception_handlers={
                ProblemError: on_problem,
                InputError: on_input_error,
                StoreError: on_store_error,
                HTTPException: on_http_error,
            },
            lifespan=lifespan if ends else None,
        )
        app.middleware_stack = Doorman(app, metrics, tracer)
        return app

    told_here = admin is None and not sagemaker
    app = built(guard, points, pages, console.routes() if told_here else (), ends=True)
    app.state.desk = desk
    app.state.tracer = tracer
    app.state.admin = built(admin or guard, ADMIN, (), console.routes(), ends=False)
    return app


def _pages(window: Window, forms: a.Handler | None) -> list[Route]:
    """The window's routes; forms go where they are taken."""
    return [
        Route(page.path, forms, methods=["POST"])
        if forms is not None and "POST" in (page.methods or ())
        else page
        for page in window.routes()
    ]


def _problem_of_routing(request: Request, error: HTTPException) -> ProblemOut:
    path, status = request.scope["path"], error.status_code
    came = f"{request.method} {path}"[:200]
    if status == 404:
        detail, wanted = f"No page at {path[:200]}.", "a path of /openapi.json"
    elif status == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail, wanted = f"{path[:200]} does not take {request.method}.", f"method {allowed}"
    else:
        detail, wanted = str(error.detail), ""
    return ProblemOut(
        type=f"/problems/{status}",
        title={404: "Not found", 405: "Method not allowed"}.get(status, "The request failed"),
        status=status,
        detail=detail,
        wanted=wanted,
        came=came,
    )
