"""Client and AsyncClient: what is asked of a server, in words of the marketplace."""

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from heirloom.apps.wire import (
    EventIn,
    EventsOut,
    ListingOut,
    ReadyOut,
    RecommendIn,
    SearchIn,
    SearchOut,
    SlateOut,
)
from heirloom.client import calls
from heirloom.client.calls import Answer, Call, Send, Wait
from heirloom.client.retry import Budget, Retries

T = TypeVar("T")


class _Shared:
    """What both clients are made of."""

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        timeout_s: float = 2.0,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        connections: int = 16,
    ) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s}; wanted more than 0")
        self._timeout_s = timeout_s
        self._retries = retries
        self._budget = Budget(retries)
        self._settings: dict[str, Any] = {
            "base_url": address,
            "headers": {
                "accept": "application/json",
                "content-type": "application/json",
                **({"authorization": f"Bearer {key}"} if key else {}),
            },
            "limits": httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            "follow_redirects": False,  # a key goes to the address that was named, to no other
        }
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def _course(self, call: Call[T]) -> Generator[Send | Wait, Answer | None, T]:
        return calls.course(
            call, retries=self._retries, budget=self._budget, timeout_s=self._timeout_s
        )


class Client(_Shared):
    """A client that waits for each answer. It may be shared by threads; close it, or use `with`.

    Args:
        address: of the server: "https://heirloom.example".
        key: API key or token; '' where the door is open.
        timeout_s: of a call, with all its retries.
        retries: how it asks again.
        connections: kept open at most, and used at once.

    Every method raises DeniedError, RefusedError, UnavailableError, or StoreError where the server
    failed or is none that this version knows.
    """

    def _open(self) -> None:
        self._http = httpx.Client(**self._settings)

    def recommend(self, asked: RecommendIn | None = None, **fields: Any) -> SlateOut:
        """A page of the home feed or beside an item; fields are those of RecommendIn."""
        return self._run(calls.recommend(_made(RecommendIn, asked, fields)))

    def search(self, asked: SearchIn | None = None, **fields: Any) -> SearchOut:
        """A page of search results; fields are those of SearchIn."""
        return self._run(calls.search(_made(SearchIn, asked, fields)))

    def pages(self, asked: RecommendIn | SearchIn) -> Iterator[SlateOut]:
        """Page after page of one slate, to its end."""
        ask = self.search if isinstance(asked, SearchIn) else self.recommend
        page: SlateOut = ask(asked)  # type: ignore[arg-type]
        yield page
        while page.next:
            page = ask(next=page.next, k=asked.k, explain=asked.explain)
            yield page

    def events(self, events: Sequence[EventIn]) -> EventsOut:
        """Send events; they are durable when this returns. An event without an id is given one."""
        return self._run(calls.events(events))

    def listing(self, listing_id: str) -> ListingOut:
        """A listing as it stands now."""
        return self._run(calls.listing(listing_id))

    def ready(self) -> ReadyOut:
        """Whether the server can answer, and with what."""
        return self._run(calls.ready())

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        course = self._course(call)
        step = next(course)
        try:
            while True:
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    step = course.send(None)
                else:
                    step = course.send(self._send(call, step.seconds))
        except StopIteration as end:
            answer: T = end.value
            return answer

    def _send(self, call: Call[Any], seconds: float) -> Answer:
        try:
            return _answer(
                self._http.request(call.method, call.path, content=call.content, timeout=seconds)
            )
        except httpx.TransportError as error:
            return _nothing(error)


class AsyncClient(_Shared):
    """A client that is awaited; as Client in all else. Close it, or use `async with`."""

    def _open(self) -> None:
        self._http = httpx.AsyncClient(**self._settings)

    async def recommend(self, asked: RecommendIn | None = None, **fields: Any) -> SlateOut:
        """A page of the home feed or beside an item; fields are those of RecommendIn."""
        return await self._run(calls.recommend(_made(RecommendIn, asked, fields)))

    async def search(self, asked: SearchIn | None = None, **fields: Any) -> SearchOut:
        """A page of search results; fields are those of SearchIn."""
        return await self._run(calls.search(_made(SearchIn, asked, fields)))

    async def pages(self, asked: RecommendIn | SearchIn) -> AsyncIterator[SlateOut]:
        """Page after page of one slate, to its end."""
        ask = self.search if isinstance(asked, SearchIn) else self.recommend
        page: SlateOut = await ask(asked)  # type: ignore[arg-type]
        yield page
        while page.next:
            page = await ask(next=page.next, k=asked.k, explain=asked.explain)
            yield page

    async def events(self, events: Sequence[EventIn]) -> EventsOut:
        """Send events; they are durable when this returns. An event without an id is given one."""
        return await self._run(calls.events(events))

    async def listing(self, listing_id: str) -> ListingOut:
        """A listing as it stands now."""
        return await self._run(calls.listing(listing_id))

    async def ready(self) -> ReadyOut:
        """Whether the server can answer, and with what."""
        return await self._run(calls.ready())

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        course = self._course(call)
        step = next(course)
        try:
            while True:
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    step = course.send(None)
                else:
                    step = course.send(await self._send(call, step.seconds))
        except StopIteration as end:
            answer: T = end.value
            return answer

    async def _send(self, call: Call[Any], seconds: float) -> Answer:
        try:
            # httpx bounds each wait for bytes; a server that trickles is bounded here.
            async with asyncio.timeout(seconds):
                return _answer(
                    await self._http.request(
                        call.method, call.path, content=call.content, timeout=seconds
                    )
                )
        except (httpx.TransportError, TimeoutError) as error:
            return _nothing(error)


S = TypeVar("S", RecommendIn, SearchIn)


def _made(kind: type[S], asked: S | None, fields: dict[str, Any]) -> S:
    if asked is None:
        return kind(**fields)
    return msgspec.structs.replace(asked, **fields) if fields else asked


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.content, response.headers.get("retry-after", ""))


def _nothing(error: Exception) -> Answer:
    words = str(error) or type(error).__name__
    return Answer(0, f"no answer ({words})".encode())
