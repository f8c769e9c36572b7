"""Query: who asks, on which surface, with which text, anchor and filters, as of when."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import Scalar, Surface


class Filters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a listing must be to be shown. Empty fields ask for nothing."""

    category: str = ""
    """A category path or the beginning of one, whole steps: `women/dresses`."""
    brands: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    sellers: tuple[str, ...] = ()
    price_min_minor: int | None = None
    price_max_minor: int | None = None
    listed_since: int | None = None
    """Listed at this time or later, ms since 1970 UTC."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a slate. It carries its own time: no step reads the clock."""

    surface: str = Surface.HOME.value
    t: int
    """ms since 1970 UTC."""
    user: str | None = None
    session: str | None = None
    text: str = ""
    anchor: str | None = None
    """Listing id beside which the slate stands (surface `similar`)."""
    filters: Filters = Filters()
    attributes: dict[str, Scalar | list[str]] = {}
    """Declared with this request: size, occasion, locale."""
    exclude: tuple[str, ...] = ()
    """Listing ids already shown on this visit's pages."""
    k: int = 24
    """How many listings are wanted."""


@dataclass(frozen=True, slots=True)
class Request:
    """A query made ready for the hot path: strings as codes, listings as slots.

    Attributes:
        query: the query itself.
        person: vocabulary code of the person (or of the session, where no user is known);
            0 for a newcomer.
        surface: code of the surface, as in core.event.SURFACE_CODE.
        declared: [MAX_DECLARED] int32, codes of the declared attributes, 0 where not stated.
        anchor: slot of the anchor; -1 for none.
        recent: [events] int32, slots of the person's latest events that still hold the listing
            they held then, newest first.
        recent_kinds: [events] int8, codes of the kinds of those events.
        recent_t: [events] int64, their times in ms.
        text_vector: [dim] float32 of unit length, from the query's text; zeros for none.
        text: vocabulary code of the query's words (`core.words.query_key`); 0 for none and for
            words that nobody used before.
    """

    query: Query
    person: int
    surface: int
    declared: NDArray[np.int32]
    anchor: int
    recent: NDArray[np.int32]
    recent_kinds: NDArray[np.int8]
    recent_t: NDArray[np.int64]
    text_vector: NDArray[np.float32]
    text: int = 0
