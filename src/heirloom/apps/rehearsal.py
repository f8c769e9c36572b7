"""Rehearsal: what a system does is done once before it says that it is ready.

A kernel is compiled, or read from numba's cache, when it is called for the first time with such
arrays: tens of seconds for all of them on a new machine, which no request is to wait for. So pages
of every kind are answered before the door opens, on the way that requests go: through an
application of its own, whose counts nobody reads, over the system's own state, of which nothing is
changed or recorded. What takes events in is rehearsed in a small invented shop, in a folder that is
thrown away.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.types import Message, Scope

from heirloom.apps.build import System
from heirloom.apps.deadline import Limits
from heirloom.apps.http import application
from heirloom.apps.logs import REQUESTS
from heirloom.apps.registry import Registry
from heirloom.apps.settings import FeaturesPart, IndexPart, Settings
from heirloom.apps.shop import Live, Shop
from heirloom.apps.wire import FacetName
from heirloom.core.errors import HeirloomError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.slate import Slate
from heirloom.pipelines.ingest import Arrivals, Report
from heirloom.pipelines.ladder import Ladder
from heirloom.pipelines.serve import recommend

logger = logging.getLogger(__name__)

_PATIENCE = Limits(deadline_ms=3_600_000)
_LOOKED_AT = 1_000
"""People among whom those who did something are sought."""
_INVENTED = 24
_DAY_MS = 86_400_000


def rehearse(system: System) -> None:
    """Answer and take in what requests will ask for; nothing of it is kept. No thread is left.

    Where that fails the first requests wait instead, and a warning says so.
    """
    began = time.monotonic()
    try:
        with _unlogged():
            _invented_shop(system.settings, system.registry)
            _answered(cast("Shop", _Unrecorded(system)), system.settings)
    except (HeirloomError, OSError) as error:
        logger.warning("rehearsal: %s; the first requests wait until all is compiled", error)
    logger.debug("rehearsed in %.1f s", time.monotonic() - began)


def _invented_shop(settings: Settings, registry: Registry) -> None:
    """Take in and answer for a small invented shop of these settings, which is thrown away."""
    with tempfile.TemporaryDirectory(prefix="heirloom-") as folder:
        own = {
            "system": settings.system.model_copy(update={"folder": Path(folder)}),
            "features": FeaturesPart(),
            "index": IndexPart(),
        }
        system = System(settings.model_copy(update=own), registry=registry)
        try:
            now = system.now_ms()
            declared = dict.fromkeys(settings.system.declared, "M")
            system.ingest(_invented(now - _DAY_MS, declared), source="rehearsal")
            _answered(system, settings)
            # Once more on what stood there before: an array that has grown is of another make.
            system.ingest(_deeds(now, "later", declared), source="rehearsal")
        finally:
            system.close()


@contextmanager
def _unlogged() -> Iterator[None]:
    """No line is logged for each request."""
    level = REQUESTS.level
    REQUESTS.setLevel(logging.WARNING)
    try:
        yield
    finally:
        REQUESTS.setLevel(level)


class _Unrecorded:
    """A system's answers without their records. Implements Shop."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.ladder = Ladder(_PATIENCE.deadline_ms * 1_000_000)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def recommend(
        self, query: Query, *, reasons: int | None = None, deadline: int | None = None
    ) -> Slate:
        """See Shop.recommend."""
        system, steps = self._system, self.ladder.descent(deadline)
        return recommend(query, system.policy, system.live, reasons=reasons, steps=steps)

    def ingest_group(self, group: Sequence[Arrivals]) -> Sequence[Report]:
        """Taken by nobody."""
        return [Report() for _ in group]


def _answered(shop: Shop, settings: Settings) -> None:
    """Ask an application of its own for pages of every kind."""
    app = application(shop, currency=settings.system.currency, impressions="none", limits=_PATIENCE)
    try:
        asyncio.run(_ask_all(app, shop.live, settings.system.declared))
    finally:
        app.state.desk.close()


async def _ask_all(app: Starlette, live: Live, declared: Sequence[str]) -> None:
    later = False
    for path, body in _asked(live, declared):
        status, answer = await _ask(app, path, body)
        if status != 200:  # no reason not to start; the first request waits then
            logger.warning("rehearsal: %s answered %d: %s", path, status, answer[:300])
        elif body and not later and (token := msgspec.json.decode(answer).get("next")):
            later = True
            await _ask(app, path, {"next": token})


def _asked(live: Live, declared: Sequence[str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Paths, and the bodies of those that take one."""
    catalogue = live.catalogue
    on_sale = catalogue.live.nonzero()[0]
    anchor = catalogue.listing(int(on_sale[-1])) if len(on_sale) else None
    words = " ".join(anchor.title.split()[:2]) if anchor else "silk dress"
    stated = dict.fromkeys(declared, "M")
    newcomer: dict[str, Any] = {"attributes": stated} if stated else {}
    more = {"explain": True, "filters": {"price_min_minor": 1, "price_max_minor": 10**9}}
    for who in (newcomer, {**next(_people(live), newcomer), **more}):
        yield "/v1/recommend", who
        yield "/v1/search", {**who, "text": f"{words} qzx", "facets": get_args(FacetName)}
        if anchor is not None:
            yield "/v1/recommend", {**who, "surface": "similar", "anchor": anchor.listing_id}
    if anchor is not None:
        yield f"/v1/listings/{quote(anchor.listing_id, safe='')}", None


def _people(live: Live) -> Iterator[dict[str, Any]]:
    """Some who did something, as those who ask."""
    for code, name in enumerate(live.vocabulary.texts("person")[:_LOOKED_AT]):
        if code and len(live.people.recent(code)[0]):
            session = name.removeprefix("session:")
            yield {"user": name} if session == name else {"session": session}


async def _ask(app: Starlette, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    """One request, without a socket; its status and body."""
    sent = b"" if body is None else msgspec.json.encode(body)
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Message) -> None:
        told.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET" if body is None else "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(sent)).encode()),
        ],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return told[0]["status"], b"".join(each.get("body", b"") for each in told)


def _invented(t: int, declared: dict[str, str]) -> Iterator[Event]:
    """Listings of a few sellers, and what two people do."""
    for i in range(_INVENTED):
        listing = Listing(
            listing_id=f"r{i}",
            seller=f"seller{i % 5}",
            title=f"Silk dress {i}",
            description="Worn once, as new",
            hashtags=("vintage",),
            category=("women/dresses/midi", "women/shoes", "men/coats")[i % 3],
            brand=("Arket", "Cos")[i % 2],
            size=("S", "M", "38")[i % 3],
            colour="blue",
            condition="good",
            material="silk",
            price_minor=1_000 * (i + 1),
            country="DE",
            photos=2,
        )
        yield Event(
            event_id=f"listed {i}", kind=Kind.LISTED.value, t=t, listing=f"r{i}", data=listing
        )
    yield from _deeds(t + 1_000, "first", declared)


def _deeds(t: int, name: str, declared: dict[str, str]) -> Iterator[Event]:
    """One of each kind, of somebody known and of a session."""
    shown = tuple(f"r{i}" for i in range(12))
    for user, session in (("anna", None), (None, "s1")):
        who: dict[str, Any] = {"user": user, "session": session}
        made: list[tuple[Kind, dict[str, Any]]] = [
            (Kind.PREFER, {"attributes": declared | {"brand": "Arket"}}),
            (Kind.IMPRESSION, {"slate": name, "listings": shown, "surface": "home"}),
            *(
                (kind, {"slate": name, "listing": shown[i], "position": i, "surface": "home"})
                for i, kind in enumerate((Kind.CLICK, Kind.SAVE, Kind.UNSAVE, Kind.HIDE))
            ),
            (Kind.MESSAGE, {"listing": shown[4], "text": "still there?"}),
            (Kind.OFFER, {"listing": shown[5], "price_minor": 500}),
            (Kind.SEARCH, {"text": "silk dress", "surface": "search"}),
            (Kind.FOLLOW, {"seller": "seller1"}),
            (Kind.FOLLOW, {"text": "silk dress", "attributes": {"brand": "Arket"}}),
            (Kind.UNFOLLOW, {"seller": "seller1"}),
            (Kind.BLOCK, {"seller": "seller4"}),
            (Kind.PURCHASE, {"listing": shown[6]}),
        ]
        for i, (kind, more) in enumerate(made):
            event_id = f"{name} {user} {i}"
            yield Event(event_id=event_id, kind=kind.value, t=t + i, **who, **more)
    for i, kind in enumerate((Kind.PRICE_CHANGED, Kind.RESERVED, Kind.RELEASED, Kind.SOLD)):
        price = 900 if kind is Kind.PRICE_CHANGED else None
        yield Event(
            event_id=f"{name} {kind}", kind=kind.value, t=t + 100 + i, listing="r7",
            price_minor=price,
        )  # fmt: skip
