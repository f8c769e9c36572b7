"""Desk: what the API and the shop window both ask of the system, on the system's one thread.

A slate is CPU-bound and an event waits for the disk, so neither may run on the event loop:
health, images and static files are answered meanwhile. Both run on one thread, not many: the
system takes one lock for either, so a second thread would only wait, and on one thread a page
reads the live state without tearing.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, TypeVar

import msgspec
import numpy as np

from heirloom.apps.metrics import Metrics
from heirloom.apps.paging import DEPTH, Page, Pages
from heirloom.apps.problems import ProblemError
from heirloom.apps.shop import Report, Shop
from heirloom.apps.visits import OwnVisits, Visits
from heirloom.core.errors import StoreError
from heirloom.core.event import Event, Kind, Surface, derived_id, person_key
from heirloom.core.query import Filters, Query
from heirloom.core.slate import Reason, Shown
from heirloom.retrieval.facets import Facets, facets

T = TypeVar("T")
log = logging.getLogger(__name__)


class Desk:
    """The system behind its door: pages of slates, events, and reads of the live state."""

    def __init__(
        self,
        shop: Shop,
        metrics: Metrics,
        *,
        impressions: Literal["client", "server", "none"],
        visits: Visits | None = None,
    ) -> None:
        self.shop = shop
        self.metrics = metrics
        self.impressions = impressions
        self._visits: Visits = OwnVisits() if visits is None else visits
        self._pages = Pages(self._visits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="system")

    async def run(self, step: Callable[[], T]) -> T:
        """A step on the system's thread, which knows all that is acknowledged when it begins."""

        def caught_up() -> T:
            self.shop.catch_up()
            return step()

        return await self.run_apart(caught_up)

    async def run_apart(self, step: Callable[[], T]) -> T:
        """A step on the system's thread, as the state is."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)

    def close(self) -> None:
        """Finish what is under way."""
        self._thread.shutdown()

    def page(self, query: Query, *, explain: bool = False) -> Page:
        """The first page of a new slate; explained where that is asked for."""
        if query.anchor is not None and self.shop.live.catalogue.slot_of(query.anchor) < 0:
            raise ProblemError(
                422,
                "The anchor is no listing known here.",
                wanted="the id of a listing",
                came=query.anchor,
            )
        if query.surface == Surface.SEARCH and not query.text:
            # Without words there is nothing to match: it is the feed, under the filters.
            query = msgspec.structs.replace(query, surface=Surface.HOME.value)
        epoch = self.shop.live.epoch()
        deep = msgspec.structs.replace(query, k=max(DEPTH, query.k))
        slate = self.shop.recommend(deep, reasons=query.k)
        self.metrics.slate(query.surface, slate)
        if query.text:
            self._visits.searched(slate.slate_id, query.text)
        page = self._pages.first(query, slate, query.k, self._fit(query))
        if explain:
            page = self._explained(page)
        self._compare(page, epoch)
        self._impress(page)
        return page

    def later_page(self, token: str, k: int, *, explain: bool = False) -> Page:
        """A later page, by token; its reasons are as of now."""
        epoch = self.shop.live.epoch()
        page = self._pages.later(token, k, self.shop.now_ms(), self._fit)
        if explain:
            page = self._explained(page)
        else:
            page = _with(page, self.shop.reasons(page.query, page.slate, page.shown))
        self._compare(page, epoch)
        self._impress(page)
        return page

    def _explained(self, page: Page) -> Page:
        found = self.shop.explain(page.query, page.slate, page.shown)
        return replace(_with(page, [each.reasons for each in found]), explained=tuple(found))

    def facets(
        self, page: Page, filters: Filters, *, minor_per_major: int, most: int = 14
    ) -> Facets:
        """What each choice of a filter would leave of the listings that a page's words mean.

        Where no listing has the words, what the slate shows instead is counted.
        """
        catalogue, within = self.shop.live.catalogue, None
        if page.query.text:
            within = self.shop.matching(page.query.text)
            if not within.any():
                within = np.zeros(len(catalogue), np.bool_)
                within[page.slate.slots[page.slate.slots < len(within)]] = True
        return facets(catalogue, filters, within=within, minor_per_major=minor_per_major, most=most)

    def ingest(self, events: Sequence[Event], source: str) -> Report:
        """Take events in; durable on return.

        What is done on the slate of a search says what was searched for: where the client did
        not, the words are those of the slate, if it is one of the latest answered here.
        """
        self._visits.refresh()
        report = self.shop.ingest([self._with_words(event) for event in events], source=source)
        self.metrics.ingested(report)
        return report

    def leave(self, events: Sequence[Event], source: str) -> None:
        """Take in what a read leaves behind. The read is answered also where that fails.

        What is lost then is counted, and logged with its reason.
        """
        try:
            self.ingest(events, source)
        except StoreError as error:
            self.metrics.lost(len(events))
            log.warning("%d events of %s are lost: %s", len(events), source, error)

    def _with_words(self, event: Event) -> Event:
        if event.text or event.slate is None or event.kind in (Kind.MESSAGE, Kind.OFFER):
            return event
        asked = self._visits.words(event.slate)
        return event if asked is None else msgspec.structs.replace(event, text=asked)

    def _fit(self, query: Query) -> Callable[[Shown], bool]:
        """Whether a listing may be shown now: live, and neither it nor its seller unwanted."""
        live = self.shop.live
        catalogue = live.catalogue
        person = person_code(self.shop, query.user, query.session)
        hidden, blocked = live.people.hidden(person), live.people.blocked(person)
        sellers = catalogue.column("seller")

        def fit(shown: Shown) -> bool:
            slot = catalogue.slot_of(shown.listing)
            if slot < 0 or not live.stands(slot):
                return False
            return slot not in hidden and int(sellers[slot]) not in blocked

        return fit

    def _compare(self, page: Page, epoch: int) -> None:
        """Count what a page shows although it was acknowledged as gone before it was begun."""
        slots = self.shop.live.catalogue.slots_of([shown.listing for shown in page.shown])
        known = slots[slots >= 0]
        self.metrics.leaked(len(slots) - len(known) + self.shop.live.gone(known, epoch))

    def _impress(self, page: Page) -> None:
        """Write a page's impression here, where the TOML says that the client writes none."""
        if self.impressions != "server" or not page.shown:
            return
        query, slate_id = page.query, page.slate.slate_id
        positions = tuple(shown.position for shown in page.shown)
        event = Event(
            event_id=derived_id("impression", slate_id, positions[0]),
            kind=Kind.IMPRESSION.value,
            t=self.shop.now_ms(),
            user=query.user,
            session=query.session,
            surface=query.surface,
            text=query.text or None,
            slate=slate_id,
            listing=query.anchor,
            listings=tuple(shown.listing for shown in page.shown),
            positions=positions,
            attributes=query.attributes,
        )
        self.leave([event], "server")


def _with(page: Page, reasons: Sequence[tuple[Reason, ...]]) -> Page:
    """The page with these reasons, one tuple for each listing."""
    pairs = zip(page.shown, reasons, strict=True)
    shown = tuple(msgspec.structs.replace(each, reasons=words) for each, words in pairs)
    return replace(page, shown=shown)


def person_code(shop: Shop, user: str | None, session: str | None = None) -> int:
    """Vocabulary code of a person, or of a session where no user is known; 0 for a newcomer."""
    return shop.live.vocabulary.find("person", person_key(user, session))
