"""What crosses the HTTP door, as msgspec structs. The OpenAPI description is made from them.

Requests refuse unknown fields: a misspelt filter is an error, not an unfiltered slate.
"""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from heirloom.core.event import MAX_LISTINGS, Event, Scalar, derived_id
from heirloom.core.listing import Listing
from heirloom.core.query import Filters

MAX_BODY = 1 << 20
"""Bytes of a request's body."""
MAX_EVENTS = 5_000
"""Events of one request."""
MAX_K = 200
"""Listings of one page."""
MAX_INT = (1 << 53) - 1
"""The largest integer that every JSON reader keeps exactly."""

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Money = Annotated[int, Meta(ge=0, le=MAX_INT, description="Minor units (cents).")]
PageSize = Annotated[int, Meta(ge=1, le=MAX_K, description="Listings wanted on this page.")]


class ListingIn(Listing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listing, as its seller describes it."""

    price_minor: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] = 0
    photos: Annotated[int, Meta(ge=0, le=32_767)] = 0
    listed_at: Annotated[int, Meta(ge=0, le=MAX_INT)] = 0


class FiltersIn(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a listing must be to be shown. Empty fields ask for nothing."""

    price_min_minor: Money | None = None
    price_max_minor: Money | None = None
    listed_since: Annotated[int, Meta(ge=0, le=MAX_INT)] | None = None


class EventIn(Event, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event. Left out, `event_id` is derived from the content and `t` is the moment of arrival.

    Send your own `event_id` (or `t`) where a request may be sent twice: then it counts once.
    """

    event_id: Id | UnsetType = UNSET  # type: ignore[assignment] # `event_of` sets what is left out
    t: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] | UnsetType = UNSET  # type: ignore[assignment]
    listings: Annotated[tuple[str, ...], Meta(max_length=MAX_LISTINGS)] = ()
    positions: Annotated[tuple[int, ...], Meta(max_length=MAX_LISTINGS)] = ()
    position: Annotated[int, Meta(ge=0, le=32_767)] | None = None
    price_minor: Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)] | None = None
    data: ListingIn | None = None


EventList = Annotated[list[EventIn], Meta(max_length=MAX_EVENTS)]


class EventsIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events in an object; a bare list of them is taken too."""

    events: EventList


class ReasonOut(msgspec.Struct, frozen=True):
    """Why events were quarantined, how many, and the first of them."""

    reason: str
    count: int
    example: str


class EventsOut(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events. Those taken are durable."""

    received: int
    taken: int
    duplicate: int
    """Here before: not counted again."""
    held: int
    """They wait for a listing that is not known yet."""
    released: int
    """Held before, and let in since their listing came."""
    quarantined: int
    reasons: list[ReasonOut]


class RecommendIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A first page of the home feed or beside an item; or, with `next`, a later page.

    With `next`, the only other fields are `k` and `explain`: the query is the one that the token
    stands for.
    """

    surface: Literal["home", "similar"] = "home"
    user: Id | None = None
    session: Id | None = None
    anchor: Id | None = None
    """Listing id; wanted on surface `similar`."""
    filters: FiltersIn = FiltersIn()
    attributes: dict[str, Scalar | list[str]] = {}
    exclude: Annotated[tuple[str, ...], Meta(max_length=MAX_LISTINGS)] = ()
    k: PageSize = 24
    next: str | None = None
    explain: bool = False
    """Say with each listing who found it, what ranked it, and what moved it."""


FacetName = Literal["brand", "size", "colour", "condition", "category", "price"]


class SearchIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A first page of search results; or, with `next`, a later page (`k`, `explain` besides)."""

    text: Annotated[str, Meta(max_length=1_000)] = ""
    user: Id | None = None
    session: Id | None = None
    filters: FiltersIn = FiltersIn()
    attributes: dict[str, Scalar | list[str]] = {}
    exclude: Annotated[tuple[str, ...], Meta(max_length=MAX_LISTINGS)] = ()
    facets: Annotated[tuple[FacetName, ...], Meta(max_length=len(get_args(FacetName)))] = ()
    """Count what choosing these filters would leave. On the first page alone."""
    k: PageSize = 24
    next: str | None = None
    explain: bool = False
    """Say with each listing who found it, what ranked it, and what moved it."""


class ProposalOut(msgspec.Struct, frozen=True):
    """A retriever that proposed the listing."""

    source: str
    rank: int | None
    """Its place, from 0, among what the retriever gave; null where it would not be given now."""
    score: float | None
    """The retriever's own; comparable within one retriever only."""


class ContributionOut(msgspec.Struct, frozen=True):
    """What a group of features adds to the score, compared with the other candidates."""

    group: str
    about: str
    """What the group is, in words."""
    value: float
    """Score less the score with this group as is usual among the candidates."""


class WhyOut(msgspec.Struct, frozen=True):
    """A reason in words and what it rests on."""

    words: str
    group: str | None
    """A group of features that is among the three strongest for this listing."""
    source: str | None
    """The retriever that knows it."""


class MovedOut(msgspec.Struct, frozen=True):
    """A rule of the slate that moved the listing: places, from 0, in the order of candidates."""

    rule: str
    before: int
    after: int


class ExplanationOut(msgspec.Struct, frozen=True, kw_only=True):
    """Why a listing stands where it does."""

    found: list[ProposalOut]
    contributions: list[ContributionOut]
    """Greatest first. Empty where retrieval alone made the order, or another model answers now."""
    reasons: list[WhyOut]
    moved: list[MovedOut]
    propensity: float
    """Chance of this listing at this place, given the candidates and those shown above it."""
    n: int
    """Log offset that contributions and reasons are as of; on later pages past that of the slate.
    """


class ComparedOut(msgspec.Struct, frozen=True):
    """What the explanations of a page compare with."""

    candidates: int
    """So many were ranked; contributions are against what is usual among them."""
    worth: dict[str, float]
    """What the order is expected to gain by the scores, and after each rule of the slate."""


class CardOut(msgspec.Struct, frozen=True, kw_only=True):
    """One listing of a page."""

    listing_id: str
    title: str
    brand: str
    price_minor: int
    currency: str
    image: str
    position: int
    """Where it stands in the visit, from 0; later pages count on. Send it back with events."""
    score: float
    sources: tuple[str, ...]
    """The retrievers that proposed it."""
    reasons: list[str]
    """Why, in words: at most three, maybe none."""
    explanation: ExplanationOut | UnsetType = UNSET
    """Where `explain` was asked for."""


class DegradedOut(msgspec.Struct, frozen=True):
    """A step that answered with less than was asked of it, and why."""

    step: str
    reason: str


class SlateOut(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a slate."""

    slate_id: str
    listings: list[CardOut]
    next: str | None
    """Token of the next page; null on the last."""
    policy: str
    bundle: str
    degraded: list[DegradedOut]
    """What was left out to answer at all, or in time; empty where nothing was."""
    rung: str = "full"
    """What made this page: all of the system, or the lowest rung that had to answer instead."""
    t: int
    """As of when, ms since 1970 UTC."""
    n: int
    """Log offset applied to the state that answered."""
    compared: ComparedOut | UnsetType = UNSET
    """Where `explain` was asked for."""


class ChoiceOut(msgspec.Struct, frozen=True):
    """A value of a facet, and how many listings would be left by choosing it alone."""

    value: str
    count: int
    chosen: bool


class BandOut(msgspec.Struct, frozen=True, kw_only=True):
    """A price band, both ends included, as `filters` takes them; null: no upper end."""

    price_min_minor: int
    price_max_minor: int | None
    count: int
    chosen: bool


class FacetsOut(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the live listings that the words mean, exact. Those asked for alone are there.

    Under the filters chosen; a facet's own filter is lifted while it is counted. At most 100
    values of a facet, most frequent first.
    """

    total: int
    """Listings that pass all filters."""
    brand: list[ChoiceOut] | UnsetType = UNSET
    size: list[ChoiceOut] | UnsetType = UNSET
    colour: list[ChoiceOut] | UnsetType = UNSET
    condition: list[ChoiceOut] | UnsetType = UNSET
    category: list[ChoiceOut] | UnsetType = UNSET
    """Paths one step below the category chosen."""
    price: list[BandOut] | UnsetType = UNSET


class SearchOut(SlateOut, frozen=True, kw_only=True):
    """One page of search results."""

    facets: FacetsOut | UnsetType = UNSET
    """Where `facets` were asked for."""


class ListingOut(msgspec.Struct, frozen=True, kw_only=True):
    """A listing as it stands now."""

    listing_id: str
    seller: str
    title: str
    description: str
    hashtags: list[str]
    category: str
    brand: str
    size: str
    colour: str
    condition: str
    material: str
    price_minor: int
    first_price_minor: int
    currency: str
    country: str
    image: str
    photos: int
    listed_at: int
    status: Literal["live", "reserved", "sold", "removed"]


class HealthOut(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ReadyOut(msgspec.Struct, frozen=True):
    """Whether the system can serve, and with what."""

    ready: bool
    details: dict[str, Scalar]


class ProblemOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error, as application/problem+json (RFC 9457): what was wanted and what came."""

    type: str
    title: str
    status: int
    detail: str
    wanted: str = ""
    came: str = ""
    request_id: str = ""
    """Names the request in the server's log."""


def event_of(event: EventIn, now_ms: int) -> Event:
    """The core event of what came in at a moment: itself, where nothing was left out."""
    data = event.data
    if data is None and event.event_id is not UNSET and event.t is not UNSET:
        return event
    t = now_ms if event.t is UNSET else event.t
    return msgspec.structs.replace(
        event,
        event_id=_derived_id(event, t) if event.event_id is UNSET else event.event_id,
        t=t,
        data=None if data is None else Listing(**msgspec.structs.asdict(data)),
    )


def _derived_id(event: EventIn, t: int) -> str:
    content = msgspec.structs.asdict(event) | {"t": t}
    del content["event_id"]
    return derived_id("http", msgspec.json.encode(content).decode())
