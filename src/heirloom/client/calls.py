"""Calls: what is sent, what comes back, and the course of one call without its sockets.

The course is a generator, so that the client that waits and the one that is awaited share it: it
yields what to do, a request or a pause, and is sent what came of it.
"""

import secrets
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from heirloom.apps.wire import (
    MAX_EVENTS,
    EventIn,
    EventsOut,
    ListingOut,
    ProblemOut,
    ReadyOut,
    RecommendIn,
    SearchIn,
    SearchOut,
    SlateOut,
)
from heirloom.client.errors import DeniedError, RefusedError, UnavailableError
from heirloom.client.retry import PASSING, Budget, Retries, pause, retry_after
from heirloom.core.errors import InputError, StoreError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One thing asked of the server. All are safe to ask twice, so all may be retried.

    Attributes:
        method: GET or POST.
        path: with its ids quoted.
        gives: the struct of a good answer.
        content: the body as JSON; None for none.
        good: statuses whose body is the answer.
    """

    method: str
    path: str
    gives: type[T]
    content: bytes | None = None
    good: tuple[int, ...] = (200,)


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the server; it has so many seconds to answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came. Status 0: nothing, for the reason that `content` says in words."""

    status: int
    content: bytes
    retry_after: str = ""


def recommend(asked: RecommendIn) -> Call[SlateOut]:
    """A page of the home feed, or beside an item."""
    return Call("POST", "/v1/recommend", SlateOut, msgspec.json.encode(asked))


def search(asked: SearchIn) -> Call[SearchOut]:
    """A page of search results."""
    return Call("POST", "/v1/search", SearchOut, msgspec.json.encode(asked))


def listing(listing_id: str) -> Call[ListingOut]:
    """A listing as it stands now."""
    return Call("GET", f"/v1/listings/{quote(listing_id, safe='')}", ListingOut)


def ready() -> Call[ReadyOut]:
    """Whether the server can answer, and with what."""
    return Call("GET", "/readyz", ReadyOut, good=(200, 503))


def events(came: Sequence[EventIn]) -> Call[EventsOut]:
    """Events, each with an id from before the first try: sent twice, they count once.

    Raises:
        InputError: more than one request takes.
    """
    if len(came) > MAX_EVENTS:
        raise InputError(f"events: {len(came)} came; one request takes {MAX_EVENTS}, send several")
    named = [
        event
        if event.event_id is not UNSET
        else msgspec.structs.replace(event, event_id=f"c{secrets.token_hex(12)}")
        for event in came
    ]
    return Call("POST", "/v1/events", EventsOut, msgspec.json.encode(named))


def course(
    call: Call[T],
    *,
    retries: Retries,
    budget: Budget,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Send | Wait, Answer | None, T]:
    """The course of a call: asked, and asked again while that may help and time is left.

    Raises:
        RefusedError: the server will not; DeniedError where the key is why.
        UnavailableError: it could not, in the time that was given.
        StoreError: it answered what no heirloom of this version does.
    """
    what, tried, end = f"{call.method} {call.path[:200]}", 0, clock() + timeout_s
    budget.earn()
    while True:
        tried += 1
        answer = yield Send(max(end - clock(), 0.001))
        if answer is None:
            raise StoreError(f"{what}: nothing came of a try; this is a bug of the client")
        if answer.status in call.good and answer.status not in PASSING:
            return _decoded(what, answer, call.gives)
        if answer.status and answer.status not in PASSING:
            raise _refusal(what, answer)
        asked_s = retry_after(answer.retry_after) if answer.retry_after else None
        wait_s = pause(retries, tried, asked_s)
        if tried >= retries.tries or clock() + wait_s >= end or not budget.spend():
            if answer.status in call.good:
                return _decoded(what, answer, call.gives)
            why = f"answered {answer.status}" if answer.status else answer.content.decode()
            raise UnavailableError(
                what, why, status=answer.status or None, tries=tried, retry_after_s=asked_s
            )
        yield Wait(wait_s)


def _decoded(what: str, answer: Answer, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{what}: the answer is not what this version knows ({error}); is it a heirloom of "
            "another version, or something else at that address?"
        ) from error


def _refusal(what: str, answer: Answer) -> Exception:
    try:
        problem: Any = msgspec.json.decode(answer.content, type=ProblemOut)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = ProblemOut(type="", title="", status=answer.status, detail="said no more")
    if answer.status in (401, 403):
        return DeniedError(what, answer.status, problem)
    if 400 <= answer.status < 500:
        return RefusedError(what, answer.status, problem)
    return StoreError(f"{what}: {answer.status} {problem.detail} (request {problem.request_id})")
