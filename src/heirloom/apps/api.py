"""The JSON API: bytes in, bytes out. Each handler is thin; the work is behind the Desk.

`ENDPOINTS` is the one table from which both the routes and the OpenAPI description are made.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NoReturn, cast
from urllib.parse import quote

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from heirloom.apps.answering import Turn
from heirloom.apps.desk import Desk
from heirloom.apps.paging import Page
from heirloom.apps.problems import ProblemError, decode, read_body
from heirloom.apps.security.caller import ANYONE, Caller, Scope
from heirloom.apps.wire import (
    BandOut,
    CardOut,
    ChoiceOut,
    ComparedOut,
    ContributionOut,
    DegradedOut,
    EventList,
    EventsIn,
    EventsOut,
    ExplanationOut,
    FacetName,
    FacetsOut,
    HealthOut,
    ListingOut,
    MovedOut,
    ProblemOut,
    ProposalOut,
    ReadyOut,
    ReasonOut,
    RecommendIn,
    SearchIn,
    SearchOut,
    SlateOut,
    WhyOut,
    event_of,
)
from heirloom.core.event import Scalar, Surface
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.slate import Degraded, Shown
from heirloom.pipelines.explain import Explained
from heirloom.pipelines.ladder import rung_of
from heirloom.retrieval.facets import Facets

Handler = Callable[[Request], Awaitable[Response]]
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
_json = msgspec.json.Encoder().encode
_JSON_HEADERS = ((b"cache-control", b"no-store"),)
_JSON_TYPE = (b"content-type", b"application/json")
MOST_CHOICES = 100
"""Values of one facet that are answered."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One route, and what is said of it.

    Attributes:
        method: GET or POST.
        path: as Starlette writes it; `{x:path}` takes slashes.
        summary: one line.
        takes: the body's type; None for none.
        gives: for each status, the body's type, or a media type for what is not JSON.
        query: names of query parameters, and what each is for.
        scope: what a caller needs, where the door is closed; None: nothing.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    takes: Any
    gives: dict[int, Any]
    query: tuple[tuple[str, str], ...] = ()
    scope: Scope | None = "admin"


WAIT = "x-request-timeout-ms"
"""The header by which a client says how long it can wait."""
_BODY_PROBLEMS: dict[int, Any] = dict.fromkeys((400, 413, 415, 422), ProblemOut)
EVENTS = Endpoint(
    "POST",
    "/v1/events",
    "Take events in. They are durable when this answers.",
    EventList | EventsIn,
    {200: EventsOut, 429: ProblemOut, **_BODY_PROBLEMS},
    scope="events",
)
RECOMMEND = Endpoint(
    "POST",
    "/v1/recommend",
    "A page of the home feed, or of listings similar to one.",
    RecommendIn,
    {200: SlateOut, 410: ProblemOut, 503: ProblemOut, **_BODY_PROBLEMS},
    scope="read",
)
SEARCH = Endpoint(
    "POST",
    "/v1/search",
    "A page of search results.",
    SearchIn,
    {200: SearchOut, 410: ProblemOut, 503: ProblemOut, **_BODY_PROBLEMS},
    scope="read",
)
LISTING = Endpoint(
    "GET",
    "/v1/listings/{listing_id:path}",
    "A listing as it stands now.",
    None,
    {200: ListingOut, 404: ProblemOut, 503: ProblemOut},
    scope="read",
)
HEALTH = Endpoint("GET", "/healthz", "The process answers.", None, {200: HealthOut}, scope=None)
READY = Endpoint(
    "GET",
    "/readyz",
    "Whether it can serve slates, and with what: the latter for admin alone.",
    None,
    {200: ReadyOut, 503: ReadyOut},
    scope=None,
)
METRICS = Endpoint(
    "GET", "/metrics", "Counters for Prometheus.", None, {200: "text/plain; version=1.0.0"}
)
OPENAPI = Endpoint(
    "GET", "/openapi.json", "This description.", None, {200: "application/json"}, scope=None
)
IMAGE = Endpoint(
    "GET",
    "/images/{listing_id:path}.png",
    "A listing's picture, drawn from its attributes.",
    None,
    {200: "image/png", 304: "image/png", 404: ProblemOut, 422: ProblemOut},
    query=(("size", "`large` for 600 x 800 pixels; else 300 x 400."),),
    scope=None,  # a marketplace's page shows it, and an <img> sends no key
)
ENDPOINTS = (EVENTS, RECOMMEND, SEARCH, LISTING, HEALTH, READY, METRICS, OPENAPI, IMAGE)


class _Json(Response):
    """A struct as JSON."""

    def render(self, content: object) -> bytes:
        return _json(content)

    def init_headers(self, headers: object = None) -> None:  # noqa: ARG002 - always these
        length = b"%d" % len(self.body)
        self.raw_headers = [*_JSON_HEADERS, (b"content-length", length), _JSON_TYPE]


def json_response(content: object, status: int = 200) -> Response:
    """A struct as JSON."""
    return _Json(content, status)


class Api:
    """Handlers of the JSON API."""

    def __init__(self, desk: Desk, *, max_body: int, minor_per_major: int = 100) -> None:
        self._desk = desk
        self._minor = minor_per_major
        self._max_body = max_body

    async def events(self, request: Request) -> Response:
        """POST /v1/events."""
        body = await read_body(request, self._max_body)
        # Known by its first byte, so that an error's path is within the shape that was sent.
        wanted = EventList if body.lstrip()[:1] == b"[" else EventsIn
        sent: Any = decode(body, cast("type[Any]", wanted))
        events = sent.events if isinstance(sent, EventsIn) else sent
        now = self._desk.shop.now_ms()
        made = [event_of(event, now) for event in events]
        report = await self._desk.accept(made, size=len(body), source="http")
        return json_response(
            EventsOut(
                received=report.received,
                taken=report.taken,
                duplicate=report.duplicate,
                held=report.held,
                released=report.released,
                quarantined=report.quarantined,
                reasons=[
                    ReasonOut(reason, count, report.examples.get(reason, ""))
                    for reason, count in report.reasons.most_common(20)
                ],
            )
        )

    async def recommend(self, request: Request) -> Response:
        """POST /v1/recommend."""
        turn = self.turn(request)
        body = await read_body(request, self._max_body)
        asked = decode(body, RecommendIn)
        if asked.next is not None:
            return await self._later(asked.next, asked.k, asked, turn)
        if asked.surface == "similar" and asked.anchor is None:
            raise ProblemError(
                422,
                "Surface `similar` needs an anchor.",
                wanted="anchor: the id of the listing to be similar to",
                came="no anchor",
            )
        if asked.surface == "home" and asked.anchor is not None:
            raise ProblemError(
                422,
                "Surface `home` has no anchor.",
                wanted='surface "similar" with an anchor, or no anchor',
                came=asked.anchor,
            )
        return await self._first(
            Query(
                surface=asked.surface,
                t=self._desk.shop.now_ms(),
                user=asked.user,
                session=asked.session,
                anchor=asked.anchor,
                filters=asked.filters,
                attributes=asked.attributes,
                exclude=asked.exclude,
                k=asked.k,
            ),
            turn,
            explain=asked.explain,
        )

    async def search(self, request: Request) -> Response:
        """POST /v1/search."""
        turn = self.turn(request)
        body = await read_body(request, self._max_body)
        asked = decode(body, SearchIn)
        if asked.next is not None:
            return await self._later(asked.next, asked.k, asked, turn)
        query = Query(
            surface=Surface.SEARCH.value,
            t=self._desk.shop.now_ms(),
            user=asked.user,
            session=asked.session,
            text=asked.text,
            filters=asked.filters,
            attributes=asked.attributes,
            exclude=asked.exclude,
            k=asked.k,
        )
        if not asked.facets:
            return await self._first(query, turn, explain=asked.explain)

        def look() -> SlateOut:
            page = self._desk.page(query, explain=asked.explain, turn=turn)
            first = page
            page, counted = self._desk.beside(
                page,
                "facets",
                lambda: self._desk.facets(
                    first, query.filters, minor_per_major=self._minor, most=MOST_CHOICES
                ),
                turn,
            )
            fields = msgspec.structs.asdict(slate_out(self._desk, page))
            out = UNSET if counted is None else facets_out(counted, asked.facets, self._minor)
            return SearchOut(**fields, facets=out)

        return json_response(await self._desk.answer(turn, look, self._standby(query)))

    async def listing(self, request: Request) -> Response:
        """GET /v1/listings/{listing_id}."""
        listing_id = request.path_params["listing_id"]
        look = partial(listing_out, self._desk, listing_id)
        found = await self._desk.answer(self.turn(request), look, self._none)
        return json_response(found)

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """GET /healthz."""
        return json_response(HealthOut())

    async def ready(self, request: Request) -> Response:
        """GET /readyz."""
        caller: Caller = request.scope.get("caller", ANYONE)
        if self._desk.answers.is_stuck():
            return json_response(ReadyOut(False, {}), 503)
        details = await self._desk.run_apart(self._desk.shop.ready)
        plain: dict[str, Scalar] = {
            name: value if isinstance(value, str | int | float | bool) else str(value)
            for name, value in details.items()
        }
        ready = bool(details.get("listings"))
        told = plain if "admin" in caller.scopes else {}
        return json_response(ReadyOut(ready, told), 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """GET /metrics."""
        text = await asyncio.to_thread(self._desk.exposition)
        return Response(text, headers={"content-type": self._desk.metrics.content_type})

    def turn(self, request: Request) -> Turn:
        """A place in the line, before the body is read.

        Raises:
            ProblemError: 503 where the line is full.
        """
        return turn_of(self._desk, request, request.headers.get(WAIT))

    def _standby(self, query: Query) -> Callable[[Degraded], SlateOut]:
        """What answers where no slate can be made."""
        return lambda why: slate_out(self._desk, self._desk.standby(query, why))

    def _none(self, why: Degraded) -> NoReturn:
        raise self._desk.answers.sent_away(why)

    async def _first(self, query: Query, turn: Turn, *, explain: bool) -> Response:
        def look() -> SlateOut:
            return slate_out(self._desk, self._desk.page(query, explain=explain, turn=turn))

        return json_response(await self._desk.answer(turn, look, self._standby(query)))

    async def _later(
        self, token: str, k: int, asked: RecommendIn | SearchIn, turn: Turn
    ) -> Response:
        extra = msgspec.structs.replace(asked, next=None, k=24, explain=False) != type(asked)()
        if extra:
            raise ProblemError(
                422,
                "A later page is asked for by `next` (with `k`, `explain`) alone: the query is the "
                "token's.",
                wanted="fields next, k, explain",
                came="other fields besides",
            )

        def look() -> SlateOut:
            page = self._desk.later_page(token, k, explain=asked.explain, turn=turn)
            return slate_out(self._desk, page)

        return json_response(await self._desk.answer(turn, look, self._none))


def turn_of(desk: Desk, request: Request, wait_ms: str | None = None) -> Turn:
    """A request's place in the line, which its scope names as `turn`.

    Raises:
        ProblemError: 503 where the line is full, 422 where the header says no time.
    """
    turn = desk.answers.turn(wait_ms, request.scope.get("request_id", ""))
    request.scope["turn"] = turn
    return turn


def slate_out(desk: Desk, page: Page) -> SlateOut:
    """A page of a slate, as it crosses the wire."""
    catalogue = desk.shop.live.catalogue
    cards = []
    for place, shown in enumerate(page.shown):
        listing = catalogue.listing(catalogue.slot_of(shown.listing))
        cards.append(
            CardOut(
                listing_id=listing.listing_id,
                title=listing.title,
                brand=listing.brand,
                price_minor=listing.price_minor,
                currency=listing.currency,
                image=image_of(listing),
                position=shown.position,
                score=shown.score,
                sources=shown.sources,
                reasons=[reason.words for reason in shown.reasons],
                explanation=explanation_out(shown, page.explained[place])
                if page.explained is not None
                else UNSET,
            )
        )
    slate = page.slate
    return SlateOut(
        slate_id=slate.slate_id,
        listings=cards,
        next=page.next_token,
        policy=slate.policy,
        bundle=slate.bundle,
        degraded=[DegradedOut(step.step, step.reason) for step in slate.degraded],
        rung=rung_of(slate.degraded),
        t=slate.t,
        n=slate.n,
        compared=ComparedOut(slate.why.candidates, slate.worth)
        if page.explained is not None
        else UNSET,
    )


def explanation_out(shown: Shown, explained: Explained) -> ExplanationOut:
    """Why a listing stands where it does, as it crosses the wire."""
    return ExplanationOut(
        found=[ProposalOut(each.source, each.rank, each.score) for each in explained.proposals],
        contributions=[
            ContributionOut(each.group, each.about, each.value) for each in explained.contributions
        ],
        reasons=[
            WhyOut(each.words, each.group or None, each.source or None)
            for each in explained.reasons
        ],
        moved=[MovedOut(each.rule, each.before, each.after) for each in shown.moved],
        propensity=shown.propensity,
        n=explained.n,
    )


def facets_out(counted: Facets, asked: Sequence[FacetName], minor: int) -> FacetsOut:
    """The counts that were asked for, as they cross the wire."""
    fields = {**counted.fields, "category": counted.categories}
    choices = {
        name: [ChoiceOut(choice.value, choice.count, choice.chosen) for choice in fields[name]]
        for name in asked
        if name != "price"
    }
    bands = [
        BandOut(
            price_min_minor=band.low * minor,
            price_max_minor=None if band.high is None else band.high * minor,
            count=band.count,
            chosen=band.chosen,
        )
        for band in counted.bands
    ]
    price = bands if "price" in asked else UNSET
    return FacetsOut(total=counted.total, price=price, **choices)


def listing_out(desk: Desk, listing_id: str) -> ListingOut:
    """A listing with its status.

    Raises:
        ProblemError: 404.
    """
    catalogue = desk.shop.live.catalogue
    slot = catalogue.slot_of(listing_id)
    if slot < 0:
        raise ProblemError(
            404,
            "No such listing: it never was here, or is gone long since.",
            wanted="the id of a listing",
            came=listing_id,
        )
    listing = catalogue.listing(slot)
    fields = msgspec.structs.asdict(listing)
    fields["hashtags"] = list(listing.hashtags)
    fields["image"] = image_of(listing)
    fields["listed_at"] = int(catalogue.column("listed_at")[slot])
    fields["first_price_minor"] = int(catalogue.column("first_price_minor")[slot])
    status = cast("Any", catalogue.status(slot).name.lower())
    return ListingOut(**fields, status=status)


def image_of(listing: Listing) -> str:
    """Where a listing's picture is: the seller's photo where that is a URL, else drawn by us."""
    if listing.image.startswith(("https://", "http://")):
        return listing.image
    return picture_path(listing.listing_id)


@lru_cache(1 << 14)
def picture_path(listing_id: str) -> str:
    """The path of the picture that we draw.

    >>> picture_path("a/b?")
    '/images/a%2Fb%3F.png'
    """
    plain = _PLAIN.fullmatch(listing_id)  # most are, and quoting takes ten times as long
    return f"/images/{listing_id if plain else quote(listing_id, safe='')}.png"
