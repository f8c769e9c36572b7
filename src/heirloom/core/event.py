"""Event: an immutable fact with an id, a kind and an event time; and what makes one valid."""

import enum
import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from heirloom.core.errors import InputError
from heirloom.core.filters import Filters, filters_of
from heirloom.core.listing import Listing
from heirloom.core.words import words

MAX_ID = 256
MAX_TEXT = 20_000
MAX_SEARCH = 1_000
"""Characters of a search that is followed."""
MAX_LISTINGS = 1_000
MAX_POSITION = 32_767
MAX_PRICE_MINOR = 10**15
MAX_ATTRIBUTES = 64
MAX_EVENT_BYTES = 2 << 20
EARLIEST_MS = 946_684_800_000
"""2000-01-01: an earlier event time is a mistake of units, not a fact."""
LATEST_MS = 4_102_444_800_000
"""2100-01-01: a later event time is a mistake of units too."""
MAX_FUTURE_MS = 24 * 3_600_000
"""A clock up to a day ahead is clamped to ingestion time; further ahead is quarantined."""

ORIGINAL_PRICE = "original_price_minor"
ORIGINAL_CURRENCY = "original_currency"
"""Attributes in which ingestion keeps a price as it came, where it came in another currency than
the system's."""


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
ENGAGEMENT_KINDS = (Kind.CLICK, Kind.SAVE, Kind.MESSAGE, Kind.OFFER, Kind.PURCHASE)
"""What a person does with a listing that they may want, the weakest sign first."""
LETTER_KINDS = frozenset({Kind.MESSAGE, Kind.OFFER})
"""Kinds whose text is written to a person: never a query."""
_OF_PEOPLE = frozenset(Kind) - STOCK_KINDS - {Kind.IMPRESSION}
_OWN_PROBLEMS = frozenset(
    {
        Kind.LISTED,
        Kind.EDITED,
        Kind.PRICE_CHANGED,
        Kind.IMPRESSION,
        Kind.BLOCK,
        Kind.FOLLOW,
        Kind.UNFOLLOW,
    }
)
"""Kinds that must say more than any other."""
_IDS = ("event_id", "user", "session", "slate", "listing", "seller")
_IMPRESSION = Kind.IMPRESSION  # an enumeration's member is slow to reach, and events are many


class Surface(enum.StrEnum):
    """Where a slate is shown. The order, from 1, is the code in `EVENT_ROW`; 0 is none."""

    HOME = "home"
    SIMILAR = "similar"
    SEARCH = "search"


SURFACE_CODE: dict[str, int] = {surface.value: code for code, surface in enumerate(Surface, 1)}

Scalar = str | int | float | bool


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An immutable fact, as it crosses a wire.

    A `listed` or `edited` event carries the listing in `data`; `price_changed` its new
    `price_minor`; an `impression` is one per slate, with `listings` in the order shown and
    `positions` where they are not 0, 1, 2, …; `block` names a `seller`; `follow` and `unfollow`
    name a seller too, or else a search by its `text` and its filters in `attributes`; `prefer`
    states sizes, brands and the like in `attributes`, and any other event of a person may carry
    declared attributes there (size, occasion, locale).
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


def named(event: Event) -> tuple[str, ...]:
    """Ids of the listings that an event is about, in the order of its stamped rows.

    Those of an impression are the listings shown; its `listing` is the anchor beside which they
    stood.
    """
    if event.kind == _IMPRESSION:
        return event.listings
    return (event.listing,) if event.listing is not None else ()


def person_key(user: str | None, session: str | None) -> str:
    """The vocabulary's key of a person; a session stands for a person who is unknown.

    >>> person_key("anna", "s1"), person_key(None, "s1"), person_key(None, None)
    ('anna', 'session:s1', '')
    """
    return user or (f"session:{session}" if session else "")


def declared_text(value: Scalar | list[str] | None) -> str:
    """The vocabulary's text of a declared attribute; '' for none and for a list.

    A whole number is one text however it was written.

    >>> declared_text(38.0), declared_text(38), declared_text("38"), declared_text(["M", "L"])
    ('38', '38', '38', '')
    """
    if value is None or isinstance(value, list):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@lru_cache(maxsize=4_096)  # what is done on a slate comes soon after it was shown
def slate_hash(slate: str | None) -> int:
    """64-bit blake2b of a slate's id, as EVENT_ROW keeps it; 0 for none.

    >>> slate_hash(None), slate_hash("a") == slate_hash("a"), slate_hash("a") == slate_hash("b")
    (0, True, False)
    """
    if not slate:
        return 0
    digest = hashlib.blake2b(slate.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


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
    try:
        length = len(msgspec.msgpack.encode(event))
    except UnicodeEncodeError as error:
        return f"the text {error.object[:40]!r} holds a lone surrogate; wanted valid Unicode"
    except OverflowError:
        return "a number is outside 64 bits"
    why = _problem_of_fields(event) or _problem_of_time(event, now_ms) or _problem_of_kind(event)
    if why is None and length > MAX_EVENT_BYTES:
        return f"the event is {length} bytes long; at most {MAX_EVENT_BYTES}"
    return why


def _problem_of_fields(event: Event) -> str | None:
    if not event.event_id:
        return "event_id is empty"
    ids = event.event_id, event.user, event.session, event.slate, event.listing, event.seller
    for value in ids:
        if value is not None and not (value and len(value) <= MAX_ID and "\x00" not in value):
            return f"{_IDS[ids.index(value)]} {problem_of_id(value)}"
    if event.listings and (why := _problem_of_listings(event.listings)):
        return why
    if event.text is not None and len(event.text) > MAX_TEXT:
        return f"text is {len(event.text)} characters long; at most {MAX_TEXT}"
    if event.price_minor is not None and not 0 <= event.price_minor <= MAX_PRICE_MINOR:
        return f"price_minor is {event.price_minor}; wanted 0 … 10^15"
    if event.position is not None and not 0 <= event.position <= MAX_POSITION:
        return f"position is {event.position}; wanted 0 … {MAX_POSITION}"
    positions = event.positions
    if positions and not (min(positions) >= 0 and max(positions) <= MAX_POSITION):
        return f"positions must lie in 0 … {MAX_POSITION}"
    if event.attributes and (why := _problem_of_attributes(event.attributes)):
        return why
    if event.surface is not None and event.surface not in SURFACE_CODE:
        return f"unknown surface {event.surface[:40]!r}; wanted one of {', '.join(Surface)}"
    if event.data is not None:
        return event.data.problem()
    return None


def _problem_of_listings(listings: tuple[str, ...]) -> str | None:
    if len(listings) > MAX_LISTINGS:
        return f"listings holds {len(listings)} ids; at most {MAX_LISTINGS}"
    if all(listings) and max(map(len, listings)) <= MAX_ID and "\x00" not in "".join(listings):
        return None
    return f"listings: an id {next(filter(None, map(problem_of_id, listings)))}"


def _problem_of_attributes(attributes: Mapping[str, Scalar | list[str]]) -> str | None:
    if len(attributes) > MAX_ATTRIBUTES:
        return f"attributes holds {len(attributes)} names; at most {MAX_ATTRIBUTES}"
    for name, value in attributes.items():
        if isinstance(value, str):  # as most are
            too_long = len(value) > MAX_ID
        else:
            texts = value if isinstance(value, list) else [str(value)]
            too_long = len(texts) > MAX_LISTINGS or any(len(text) > MAX_ID for text in texts)
        if too_long or len(name) > MAX_ID:
            return f"attributes: {name[:40]!r} is too long; at most {MAX_ID} characters"
        if isinstance(value, float) and not math.isfinite(value):
            return f"attributes: {name!r} is {value}; wanted a finite number"
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
    if event.t > LATEST_MS:
        return f"t is {event.t}: after 2100; wanted milliseconds since 1970 UTC"
    if event.t > now_ms + MAX_FUTURE_MS:
        return f"t is {event.t}: over a day in the future"  # nothing that differs on a retry
    listed_at = event.data.listed_at if event.data is not None else 0
    if listed_at and not EARLIEST_MS <= listed_at <= LATEST_MS:
        return f"data.listed_at is {listed_at}; wanted milliseconds since 1970 UTC"
    return None


def _problem_of_kind(event: Event) -> str | None:
    kind = event.kind
    if event.listing is None and (kind in STOCK_KINDS or kind in LISTING_KINDS):
        return f"a {kind} event needs a listing"
    if event.user is None and event.session is None and kind in _OF_PEOPLE:
        return _problem_of_its_own(event) or f"a {kind} event needs a user or a session"
    return _problem_of_its_own(event) if kind in _OWN_PROBLEMS else None


def _problem_of_its_own(event: Event) -> str | None:
    """What an event of its kind must say and does not."""
    kind = event.kind
    if kind == _IMPRESSION:
        if not event.listings:
            return "an impression event needs listings"
        if event.positions and len(event.positions) != len(event.listings):
            return f"{len(event.listings)} listings but {len(event.positions)} positions"
        return None
    if kind in (Kind.LISTED, Kind.EDITED):
        if event.data is None:
            return f"a {kind} event needs the listing's data"
        if event.data.listing_id != event.listing:
            return f"listing is {event.listing!r} but data.listing_id {event.data.listing_id!r}"
    if kind == Kind.PRICE_CHANGED and event.price_minor is None:
        return "a price_changed event needs price_minor"
    if kind == Kind.BLOCK and event.seller is None:
        return "a block event needs a seller"
    if kind in (Kind.FOLLOW, Kind.UNFOLLOW):
        return _problem_of_search(event)
    return None


def _problem_of_search(event: Event) -> str | None:
    if event.seller is not None:
        return None
    if event.text is not None and len(event.text) > MAX_SEARCH:
        return f"the search is {len(event.text)} characters long; at most {MAX_SEARCH}"
    try:
        filters = filters_of(event.attributes)
    except InputError as error:
        return f"a {event.kind} event without a seller is of a search: {error}"
    if not words(event.text or "") and filters == Filters():
        return f"a {event.kind} event needs a seller, or the text or filters of a search"
    return None
