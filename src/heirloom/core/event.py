"""Event: an immutable fact with an id, a kind and an event time; and what makes one valid."""

import enum
import hashlib

import msgspec

from heirloom.core.listing import Listing

MAX_ID = 256
MAX_TEXT = 20_000
MAX_LISTINGS = 1_000
EARLIEST_MS = 946_684_800_000
"""2000-01-01: an earlier event time is a mistake of units, not a fact."""
MAX_FUTURE_MS = 24 * 3_600_000
"""A clock up to a day ahead is clamped to ingestion time; further ahead is quarantined."""


class Kind(enum.StrEnum):
    """What happened. The order is the code in `EVENT_ROW`: append only."""

    LISTED = "listed"
    EDITED = "edited"
    PRICE_CHANGED = "price_changed"
    RESERVED = "reserved"
    RELEASED = "released"
    SOLD = "sold"
    REMOVED = "removed"
    IMPRESSION = "impression"
    CLICK = "click"
    SAVE = "save"
    UNSAVE = "unsave"
    MESSAGE = "message"
    OFFER = "offer"
    PURCHASE = "purchase"
    HIDE = "hide"
    BLOCK = "block"
    SEARCH = "search"
    FOLLOW = "follow"
    UNFOLLOW = "unfollow"
    PREFER = "prefer"


KIND_CODE: dict[str, int] = {kind.value: code for code, kind in enumerate(Kind)}
STOCK_KINDS = frozenset(Kind) & {
    Kind.LISTED,
    Kind.EDITED,
    Kind.PRICE_CHANGED,
    Kind.RESERVED,
    Kind.RELEASED,
    Kind.SOLD,
    Kind.REMOVED,
}
LISTING_KINDS = frozenset(
    {Kind.CLICK, Kind.SAVE, Kind.UNSAVE, Kind.MESSAGE, Kind.OFFER, Kind.PURCHASE, Kind.HIDE}
)
"""What a person does to one listing."""


class Surface(enum.StrEnum):
    """Where a slate is shown. The order, from 1, is the code in `EVENT_ROW`; 0 is none."""

    HOME = "home"
    SIMILAR = "similar"
    SEARCH = "search"


SURFACE_CODE: dict[str, int] = {surface.value: code for code, surface in enumerate(Surface, 1)}

Scalar = str | int | float | bool


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An immutable fact, as it crosses a wire.

    A `listed` or `edited` event carries the listing in `data`; `price_changed` its new
    `price_minor`; an `impression` is one per slate, with `listings` in the order shown and
    `positions` where they are not 0, 1, 2, …; `follow`, `unfollow` and `block` name a `seller`;
    `prefer` states sizes, brands and the like in `attributes`, and any event of a person may
    carry declared attributes there (size, occasion, locale).
    """

    event_id: str
    kind: str
    t: int
    """Event time, ms since 1970 UTC."""
    user: str | None = None
    """A random token for a person, never the person's own id. None: unknown."""
    session: str | None = None
    surface: str | None = None
    text: str | None = None
    """The words of a search or a message."""
    slate: str | None = None
    """Id of the slate on which it happened."""
    listing: str | None = None
    listings: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()
    position: int | None = None
    seller: str | None = None
    price_minor: int | None = None
    currency: str | None = None
    attributes: dict[str, Scalar | list[str]] = {}
    data: Listing | None = None


def derived_id(*parts: object) -> str:
    """An event id made of the event's own content, so that sending it again is no second event.

    >>> derived_id("shop", 17, "click") == derived_id("shop", 17, "click")
    True
    >>> derived_id("a", "b/c") == derived_id("a/b", "c")
    False
    """
    content = msgspec.msgpack.encode([str(part) for part in parts])
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def problem(event: Event, now_ms: int) -> str | None:
    """Why an event cannot enter the log, as a sentence; None if it can.

    `now_ms` is the moment of ingestion: a time over a day ahead of it is impossible.
    """
    if event.kind not in KIND_CODE:
        return f"unknown kind {event.kind[:40]!r}; wanted one of {', '.join(Kind)}"
    return _problem_of_fields(event) or _problem_of_time(event, now_ms) or _problem_of_kind(event)


def _problem_of_fields(event: Event) -> str | None:
    if not event.event_id:
        return "event_id is empty"
    ids = {
        "event_id": event.event_id,
        "user": event.user,
        "session": event.session,
        "slate": event.slate,
        "listing": event.listing,
        "seller": event.seller,
    }
    for name, value in ids.items():
        if value is not None and (why := problem_of_id(value)):
            return f"{name} {why}"
    if len(event.listings) > MAX_LISTINGS:
        return f"listings holds {len(event.listings)} ids; at most {MAX_LISTINGS}"
    for value in event.listings:
        if why := problem_of_id(value):
            return f"listings: an id {why}"
    if event.text is not None and len(event.text) > MAX_TEXT:
        return f"text is {len(event.text)} characters long; at most {MAX_TEXT}"
    if event.price_minor is not None and event.price_minor < 0:
        return f"price_minor is negative ({event.price_minor})"
    if event.surface is not None and event.surface not in SURFACE_CODE:
        return f"unknown surface {event.surface[:40]!r}; wanted one of {', '.join(Surface)}"
    if event.data is not None:
        return event.data.problem()
    return None


def problem_of_id(value: str) -> str | None:
    """Why a string cannot be an id; None if it can.

    >>> problem_of_id("ok/🙂"), problem_of_id("")
    (None, 'is empty')
    """
    if not value:
        return "is empty"
    if len(value) > MAX_ID:
        return f"is {len(value)} characters long; at most {MAX_ID}"
    if "\x00" in value:
        return "holds a NUL character"
    return None


def _problem_of_time(event: Event, now_ms: int) -> str | None:
    if event.t < EARLIEST_MS:
        return f"t is {event.t}: before 2000; wanted milliseconds since 1970 UTC"
    if event.t > now_ms + MAX_FUTURE_MS:
        return f"t is {event.t}: {(event.t - now_ms) // 1000} s in the future"
    return None


def _problem_of_kind(event: Event) -> str | None:
    kind = Kind(event.kind)
    if (kind in STOCK_KINDS or kind in LISTING_KINDS) and event.listing is None:
        return f"a {kind} event needs a listing"
    if kind in (Kind.LISTED, Kind.EDITED):
        if event.data is None:
            return f"a {kind} event needs the listing's data"
        if event.data.listing_id != event.listing:
            return f"listing is {event.listing!r} but data.listing_id {event.data.listing_id!r}"
    if kind is Kind.PRICE_CHANGED and event.price_minor is None:
        return "a price_changed event needs price_minor"
    if kind is Kind.IMPRESSION:
        if not event.listings:
            return "an impression event needs listings"
        if event.positions and len(event.positions) != len(event.listings):
            return f"{len(event.listings)} listings but {len(event.positions)} positions"
        if any(not 0 <= position < 32_768 for position in event.positions):
            return "positions must lie in 0 … 32767"
    if kind in (Kind.FOLLOW, Kind.UNFOLLOW, Kind.BLOCK) and event.seller is None:
        return f"a {kind} event needs a seller"
    person = kind not in STOCK_KINDS and kind is not Kind.IMPRESSION
    if person and event.user is None and event.session is None:
        return f"a {kind} event needs a user or a session"
    return None
