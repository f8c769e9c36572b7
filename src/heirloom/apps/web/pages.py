"""The shop window's pages: home, search, item, and who one is."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from heirloom.apps.answering import Turn
from heirloom.apps.api import picture_path, turn_of
from heirloom.apps.desk import Desk, person_code
from heirloom.apps.paging import Page
from heirloom.apps.problems import ProblemError, decode, read_body
from heirloom.apps.web import deeds
from heirloom.apps.web.cards import card, cards, category_name, known, price
from heirloom.apps.web.form import (
    address,
    filters_of,
    last_choice,
    place_of,
    read_form,
    where_of,
)
from heirloom.apps.web.visitor import (
    Stated,
    Visitor,
    check_same_origin,
    is_from_elsewhere,
    new_token,
    remember,
    visitor_of,
)
from heirloom.apps.wire import Id, ProblemOut
from heirloom.core.event import Surface
from heirloom.core.listing import Status
from heirloom.core.money import digits
from heirloom.core.query import Filters, Query
from heirloom.core.slate import Degraded
from heirloom.retrieval.facets import facets

HERE = Path(__file__).parent
PAGE = 36
"""Listings of one page: whole rows of two, three, four and six."""
MOST_SIMILAR = 12
_STATIC = {
    "shop.css": "text/css",
    "shop.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page's script reports: listings of a slate that came into view."""

    slate: Id
    surface: str
    listings: tuple[Id, ...]
    positions: tuple[int, ...]


class Window:
    """Renders the pages and takes their forms. Everything but `seen` works without script."""

    STATIC = "/static/{file}"

    def __init__(self, desk: Desk, *, name: str, currency: str) -> None:
        self._desk = desk
        self._currency = currency
        self._files = {file: (HERE / "static" / file).read_bytes() for file in _STATIC}
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["category_name"] = category_name
        self._templates.globals.update(
            shop_name=name,
            version={
                file: hashlib.blake2b(content, digest_size=6).hexdigest()
                for file, content in self._files.items()
            },
            picture=picture_path,
        )

    def routes(self) -> list[Route]:
        """The window's routes."""
        return [
            Route("/", self.home),
            Route("/search", self.search),
            Route("/item/{listing_id:path}", self.item),
            Route("/you", self.you),
            Route("/become", self.become, methods=["POST"]),
            Route("/act", self.act, methods=["POST"]),
            Route("/seen", self.seen, methods=["POST"]),
            Route(self.STATIC, self.static),
        ]

    async def home(self, request: Request) -> Response:
        """GET /: the feed of whoever looks."""
        turn = turn_of(self._desk, request)
        visitor = visitor_of(request)

        def look() -> dict[str, Any]:
            page = self._page(
                request,
                Query(
                    t=self._desk.shop.now_ms(),
                    user=visitor.user,
                    attributes=_attributes(visitor.stated),
                    filters=Filters(category=visitor.stated.department),
                    k=PAGE,
                ),
                turn,
            )
            shop = self._desk.shop
            everything = facets(shop.live.catalogue, Filters())
            return {
                **self._feed(page, visitor, "/"),
                "known": known(shop, visitor.user),
                "departments": everything.categories,
                "total": everything.total,
                "first_page": "next" not in request.query_params,
            }

        context = await self._desk.answer(turn, look, self._none)
        return self._answer(request, "home.html", visitor, context)

    async def search(self, request: Request) -> Response:
        """GET /search: words and filters."""
        turn = turn_of(self._desk, request)
        visitor, asked = visitor_of(request), request.query_params
        text = asked.get("q", "").strip()[:1_000]
        filters, complaints = filters_of(asked, self._minor())

        def look() -> dict[str, Any]:
            page = self._page(
                request,
                Query(
                    surface=Surface.SEARCH.value,
                    t=self._desk.shop.now_ms(),
                    user=visitor.user,
                    text=text,
                    attributes=_attributes(visitor.stated),
                    filters=filters,
                    k=PAGE,
                ),
                turn,
            )
            if text and "next" not in asked:
                deeds.search(self._desk, visitor.user, text, page.slate.slate_id)
            counted = self._desk.facets(page, filters, minor_per_major=self._minor())
            return {
                **self._feed(page, visitor, address("/search", asked, next=None)),
                "facets": counted,
                "filters": filters,
                "text": text,
                "asked": asked,
                "complaints": complaints,
                "address": lambda **changes: address("/search", asked, next=None, **changes),
                "crumbs": _crumbs(filters.category),
                "sign": price(0, self._currency).rstrip("0"),
            }

        context = await self._desk.answer(turn, look, self._none)
        return self._answer(request, "search.html", visitor, context)

    async def item(self, request: Request) -> Response:
        """GET /item/{id}: a listing, and what is similar. From a slate, this is its click."""
        turn = turn_of(self._desk, request)
        visitor, listing_id = visitor_of(request), request.path_params["listing_id"]
        place = place_of(request.query_params)

        def look() -> dict[str, Any]:
            shop = self._desk.shop
            catalogue = shop.live.catalogue
            slot = catalogue.slot_of(listing_id)
            if slot < 0:
                raise ProblemError(404, "This piece is gone, or never was here.", came=listing_id)
            if request.method == "GET" and not is_from_elsewhere(request):
                deeds.click(self._desk, visitor.user, listing_id, place)
            query = Query(
                surface=Surface.SIMILAR.value,
                t=shop.now_ms(),
                user=visitor.user,
                anchor=listing_id,
                attributes=_attributes(visitor.stated),
                k=MOST_SIMILAR,
            )
            page = self._desk.page(query, explain=True, turn=turn)
            code = person_code(shop, visitor.user)
            listing = catalogue.listing(slot)
            wardrobe = Filters(sellers=(listing.seller,))
            return {
                "item": card(catalogue, slot, saved=slot in shop.live.people.saved(code)),
                "listing": listing,
                "crumbs": _crumbs(listing.category),
                "available": catalogue.status(slot) is Status.LIVE,
                "status": catalogue.status(slot).name.lower(),
                "of_seller": int(catalogue.mask(wardrobe).sum()),
                "cards": cards(shop, page, visitor.user),
                "place": place,
                "done": deeds.DONE.get(request.query_params.get("done", ""), ""),
            }

        context = await self._desk.answer(turn, look, self._none)
        return self._answer(request, "item.html", visitor, context)

    async def you(self, request: Request) -> Response:
        """GET /you: become one of the buyers of the log, or a new one."""
        visitor = visitor_of(request)

        def look() -> dict[str, Any]:
            shop = self._desk.shop
            catalogue = shop.live.catalogue
            everything = facets(catalogue, Filters(), most=18)
            return {
                "buyers": [
                    (user, sentence, known(shop, user, most=4))
                    for user, sentence in shop.people_examples()
                ],
                "departments": everything.categories,
                "brands": everything.fields["brand"],
                "sizes": facets(catalogue, Filters(), most=60).fields["size"],
                "known": known(shop, visitor.user),
                "stated": visitor.stated,
            }

        return self._answer(request, "you.html", visitor, await self._desk.run(look))

    async def become(self, request: Request) -> Response:
        """POST /become: change who looks."""
        check_same_origin(request)
        form = await read_form(request)
        wanted = last_choice(form, "user")
        if wanted:
            examples = await self._desk.run(lambda: dict(self._desk.shop.people_examples()))
            if wanted not in examples:
                raise ProblemError(422, "No such buyer to become.", came=wanted)
            user, stated = wanted, Stated()
        else:
            user = new_token()
            stated = Stated(
                department=last_choice(form, "department"),
                clothing_size=last_choice(form, "clothing_size"),
                shoe_size=last_choice(form, "shoe_size"),
                brands=tuple(form.get("brand", ())[:20]),
            )
            if said := _attributes(stated):
                await self._desk.run(lambda: deeds.prefer(self._desk, user, said))
        response = RedirectResponse("/", 303)
        remember(response, request, user, stated)
        return response

    async def act(self, request: Request) -> Response:
        """POST /act: a button beside a listing."""
        check_same_origin(request)
        visitor = visitor_of(request)
        form = await read_form(request)
        listing_id, place = last_choice(form, "listing"), place_of(form)
        button, text = last_choice(form, "button"), last_choice(form, "text")
        done = await self._desk.run(
            lambda: deeds.press(
                self._desk, visitor.user, button, listing_id, place, text=text[:2_000]
            )
        )
        if request.headers.get("x-part"):
            response = Response(status_code=204)
        elif done in ("hide", "block"):
            response = RedirectResponse("/", 303)
        else:
            response = RedirectResponse(where_of(listing_id, place, done), 303)
        if visitor.is_new:
            remember(response, request, visitor.user, visitor.stated)
        return response

    async def seen(self, request: Request) -> Response:
        """POST /seen: what came into view, from the page's script."""
        check_same_origin(request)
        visitor = visitor_of(request)
        report = decode(await read_body(request), Seen)
        place = deeds.Place(slate=report.slate, surface=report.surface)
        await self._desk.run(
            lambda: deeds.seen(self._desk, visitor.user, place, report.listings, report.positions)
        )
        return Response(status_code=204)

    async def static(self, request: Request) -> Response:
        """GET /static/{file}: the style sheet and the script."""
        file = request.path_params["file"]
        if file not in self._files:
            raise ProblemError(404, "No such file.", wanted=", ".join(_STATIC), came=file)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self._files[file], media_type=_STATIC[file], headers=headers)

    @staticmethod
    def wants_html(request: Request) -> bool:
        """Whether a person reads the answer, not a program."""
        api = re.match(r"/(v1|healthz|readyz|metrics|openapi|images)\b", request.scope["path"])
        return not api and "text/html" in request.headers.get("accept", "")

    def error_page(self, request: Request, problem: ProblemOut) -> Response:
        """An error, for a person."""
        return self._answer(
            request, "error.html", visitor_of(request), {"problem": problem}, problem.status
        )

    def _none(self, why: Degraded) -> NoReturn:
        raise self._desk.answers.sent_away(why)

    def _page(self, request: Request, query: Query, turn: Turn) -> Page:
        token = request.query_params.get("next")
        if token:
            return self._desk.later_page(token, query.k, explain=True, turn=turn)
        return self._desk.page(query, explain=True, turn=turn)

    def _feed(self, page: Page, visitor: Visitor, here: str) -> dict[str, Any]:
        more = None
        if page.next_token:
            more = f"{here}{'&' if '?' in here else '?'}next={page.next_token}"
        return {
            "cards": cards(self._desk.shop, page, visitor.user),
            "more": more,
            "degraded": [step.reason for step in page.slate.degraded],
        }

    def _minor(self) -> int:
        """Minor units of the currency that all of the catalogue is in."""
        return int(10 ** digits(self._currency))

    def _answer(
        self,
        request: Request,
        template: str,
        visitor: Visitor,
        context: Mapping[str, Any],
        status: int = 200,
    ) -> Response:
        # With x-part, the script asks for the cards alone, to put them below those it has.
        name = "cards.html" if request.headers.get("x-part") and "more" in context else template
        page = self._templates.get_template(name).render(
            {"text": "", "visitor": visitor, **context}
        )
        # An old page would show sold pieces, so a browser may not keep one.
        response = HTMLResponse(page, status, headers={"cache-control": "no-store"})
        if visitor.is_new:
            remember(response, request, visitor.user, visitor.stated)
        return response


def _attributes(stated: Stated) -> dict[str, Any]:
    said: dict[str, Any] = {
        "department": stated.department,
        "clothing_size": stated.clothing_size,
        "shoe_size": stated.shoe_size,
        "sizes": [size for size in (stated.clothing_size, stated.shoe_size) if size],
        "brands": list(stated.brands),
    }
    return {name: value for name, value in said.items() if value}


def _crumbs(path: str) -> Sequence[str]:
    steps = [step for step in path.strip("/").split("/") if step]
    return ["/".join(steps[: i + 1]) for i in range(len(steps))]
