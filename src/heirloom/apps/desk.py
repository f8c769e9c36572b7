"""Desk: what the API and the shop window both ask of the system, on the system's one thread."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar

import msgspec
import numpy as np

from heirloom.apps.answering import Answers, Turn
from heirloom.apps.deadline import Limits
from heirloom.apps.intake import FullError, Intake, Room
from heirloom.apps.metrics import Metrics
from heirloom.apps.paging import DEPTH, Fit, Page, Pages
from heirloom.apps.problems import ProblemError
from heirloom.apps.shedding import Counts
from heirloom.apps.shop import Report, Shop
from heirloom.apps.standby import KEPT, Standby, category_of, standby_slate
from heirloom.apps.visits import OwnVisits, Visits
from heirloom.core.errors import StoreError
from heirloom.core.event import LETTER_KINDS, Event, Kind, Surface, derived_id, person_key
from heirloom.core.log import Rejected
from heirloom.core.query import Filters, Query
from heirloom.core.slate import Degraded, Reason, Shown
from heirloom.pipelines.ingest import Arrivals
from heirloom.pipelines.ladder import Ladder
from heirloom.retrieval.facets import Facets, facets

log = logging.getLogger(__name__)
T = TypeVar("T")


class Desk:
    """The system behind its door: pages of slates, events, and reads of the live state."""

    def __init__(
        self,
        shop: Shop,
        metrics: Metrics,
        *,
        impressions: Literal["client", "server", "none"],
        limits: Limits = Limits(),  # noqa: B008 - frozen
        room: Room = Room(),  # noqa: B008 - frozen
        visits: Visits | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.shop = shop
        self.metrics = metrics
        self.impressions = impressions
        self._visits: Visits = OwnVisits() if visits is None else visits
        self._pages = Pages(self._visits)
        self._ladder = Ladder(limits.deadline_ms * 1_000_000)
        self._standby = Standby()
        self.answers = Answers(limits, metrics.shed, counts)
        self.answers.submit(partial(self._stand_by, ""))
        self._intake = Intake(self._take, self.answers.submit, room)
        metrics.watch(self._intake)

    async def run(self, step: Callable[[], T]) -> T:
        """A step on the system's thread, which knows all that is acknowledged when it begins."""

        def caught_up() -> T:
            self.shop.catch_up()
            return step()

        return await self.run_apart(caught_up)

    async def run_apart(self, step: Callable[[], T]) -> T:
        """A step on the system's thread, as the state is."""
        return await self.answers.run(step)

    async def answer(
        self, turn: Turn, step: Callable[[], T], instead: Callable[[Degraded], T]
    ) -> T:
        """The same by a deadline, or what answers instead; of an earlier state if need be."""

        def caught_up() -> T:
            steps = self._ladder.descent(turn.until)
            steps.attempt("follow", self._caught_up, otherwise="behind")
            self.metrics.degraded(steps.degraded)
            return step()

        return await self.answers.answer(turn, caught_up, instead)

    def _caught_up(self) -> bool:
        self.shop.catch_up()
        return True

    def close(self) -> None:
        """Finish what is under way."""
        self._intake.close()
        self.answers.close()

    def exposition(self) -> bytes:
        """All that is counted; also while the system's thread is busy or stuck."""
        breakers = {**self.shop.ladder.breakers, **self._ladder.breakers}
        answers = {("answer", ""): self.answers.breaker}
        self.metrics.standing(self.answers.waiting, {**breakers, **answers})
        return self.metrics.exposition()

    def standby(self, query: Query, why: Degraded) -> Page:
        """A page of what is popular in the query's context, as it was kept; maybe an empty one."""
        epoch = self.shop.live.epoch()
        slate = standby_slate(query, self.shop.live, self._standby, self._fit(query), (why,))
        self.metrics.slate(query.surface, slate)
        page = Page(query, slate, tuple(slate.shown), None)
        self._compare(page, epoch)
        return page

    def _stand_by(self, category: str) -> None:
        """Keep what is popular in a context; on the system's thread."""
        try:
            found = self.shop.popular(category, KEPT)
        except Exception:
            log.exception("what is popular in %r cannot be asked; what was kept stays", category)
            return
        self._standby.keep(category, found, time.monotonic_ns())

    def page(self, query: Query, *, explain: bool = False, turn: Turn | None = None) -> Page:
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
        until = turn.until if turn else None
        slate = self.shop.recommend(deep, reasons=query.k, deadline=until)
        self.metrics.slate(query.surface, slate)
        if turn is not None:
            turn.made = slate
        if query.text:
            self._visits.searched(slate.slate_id, query.text)
        page = self._pages.first(query, slate, query.k, self._fit(query))
        if explain:
            page = self._with_explanations(page, turn)
        self._compare(page, epoch)
        if turn is None or not turn.late:
            self._impress(page)
        category = category_of(query, self.shop.live)
        if self._standby.due(category, time.monotonic_ns()):
            self.answers.submit(partial(self._stand_by, category))
        return page

    def later_page(
        self, token: str, k: int, *, explain: bool = False, turn: Turn | None = None
    ) -> Page:
        """A later page, by token; its reasons are as of now."""
        epoch = self.shop.live.epoch()
        page = self._pages.later(token, k, self.shop.now_ms(), self._fit)
        if explain:
            page = self._with_explanations(page, turn)
        else:
            given = page
            page, words = self.beside(
                page, "reasons", lambda: self.shop.reasons(given.query, given.slate, given.shown),
                turn,
            )  # fmt: skip
            page = page if words is None else _with(page, words)
        self._compare(page, epoch)
        if turn is None or not turn.late:
            self._impress(page)
        return page

    def beside(
        self, page: Page, step: str, work: Callable[[], T], turn: Turn | None
    ) -> tuple[Page, T | None]:
        """What a page is answered with besides; where that fails, None, and the page says so."""
        steps = self._ladder.descent(turn.until if turn else None)
        made = steps.attempt(step, work, otherwise="bare")
        if steps.degraded:
            self.metrics.degraded(steps.degraded)
            degraded = (*page.slate.degraded, *steps.degraded)
            page = replace(page, slate=replace(page.slate, degraded=degraded))
        return page, made

    def _with_explanations(self, page: Page, turn: Turn | None) -> Page:
        said, explained = self.beside(page, "explain", lambda: self._explained(page), turn)
        return said if explained is None else explained

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
        return self._take([Arrivals(events, source)])[0]

    async def accept(self, events: Sequence[Event], *, size: int, source: str) -> Report:
        """The same of a request, in one write with those that wait beside it.

        Raises:
            ProblemError: 429, where too many wait.
        """
        try:
            waiting = self._intake.offer(events, size=size, source=source)
        except FullError as error:
            self.metrics.refused("events queue full")
            raise ProblemError(
                429,
                str(error),
                wanted=f"the same request again in {error.retry_after} s",
                headers={"retry-after": str(error.retry_after)},
            ) from error
        return await asyncio.wrap_future(waiting)

    def leave(self, events: Sequence[Event], source: str) -> None:
        """Take in what a read leaves behind. The read is answered also where that fails.

        What is lost then is counted, and logged with its reason.
        """
        try:
            self.ingest(events, source)
        except StoreError as error:
            self.metrics.lost(len(events))
            log.warning("%d events of %s are lost: %s", len(events), source, error)

    def _take(self, group: Sequence[Arrivals]) -> Sequence[Report]:
        self._visits.refresh()
        worded = [
            Arrivals([self._with_words(event) for event in sent.events], sent.source)
            for sent in group
        ]
        reports = self.shop.ingest_group(worded)
        if self.shop.writes:  # else the writer counts them
            for report in reports:
                self.metrics.ingested(report)
        return reports

    def _with_words(self, event: Event | Rejected) -> Event | Rejected:
        if isinstance(event, Rejected):
            return event
        if event.text or event.slate is None or event.kind in LETTER_KINDS:
            return event
        asked = self._visits.words(event.slate)
        return event if asked is None else msgspec.structs.replace(event, text=asked)

    def _fit(self, query: Query) -> Fit:
        """Whether listings may be shown now: live, and neither they nor their seller unwanted."""
        live = self.shop.live
        catalogue = live.catalogue
        person = person_code(self.shop, query.user, query.session)
        hidden, blocked = live.people.hidden(person), live.people.blocked(person)

        def fit(shown: Sequence[Shown]) -> Sequence[bool]:
            slots = catalogue.slots_of([each.listing for each in shown])
            fits = slots >= 0
            fits[fits] = live.standing(slots[fits])
            if hidden:
                fits &= ~np.isin(slots, list(hidden))
            if blocked:
                fits[fits] = ~np.isin(catalogue.column("seller")[slots[fits]], list(blocked))
            told: list[bool] = fits.tolist()
            return told

        return fit

    def _compare(self, page: Page, epoch: int) -> None:
        """Count what a page shows although it was acknowledged as gone before it was begun."""
        slots = self.shop.live.catalogue.slots_of([shown.listing for shown in page.shown])
        known = slots[slots >= 0]
        self.metrics.leaked(len(slots) - len(known) + self.shop.live.gone(known, epoch))

    def _impress(self, page: Page) -> None:
        """Write a page's impression here, where the TOML says that the client writes none.

        One event for the page, after the page is answered and before this thread's next step of
        the same person. What is not written is counted.
        """
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
        try:
            size = len(msgspec.json.encode(event))
            self._intake.offer([event], size=size, source="server").add_done_callback(self._written)
        except FullError:
            self.metrics.impression_lost()

    def _written(self, waiting: Future[Report]) -> None:
        if (error := waiting.exception()) is not None:
            log.error("an impression was not written: %s", error)
            self.metrics.impression_lost()


def _with(page: Page, reasons: Sequence[tuple[Reason, ...]]) -> Page:
    """The page with these reasons, one tuple for each listing."""
    pairs = zip(page.shown, reasons, strict=True)
    shown = tuple(msgspec.structs.replace(each, reasons=words) for each, words in pairs)
    return replace(page, shown=shown)


def person_code(shop: Shop, user: str | None, session: str | None = None) -> int:
    """Vocabulary code of a person, or of a session where no user is known; 0 for a newcomer."""
    return shop.live.vocabulary.find("person", person_key(user, session))
