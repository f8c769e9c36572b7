"""Deeds: what a visitor does, as events in the log."""

from dataclasses import dataclass

from heirloom.apps.desk import Desk
from heirloom.apps.problems import ProblemError
from heirloom.core.event import Event, Kind, Scalar, derived_id
from heirloom.core.listing import Status

BUTTONS = frozenset({"save", "unsave", "buy", "hide", "message", "follow", "block"})
DONE = {
    "save": "Saved.",
    "unsave": "No longer saved.",
    "buy": "It is yours. Nobody else will see it on sale any more.",
    "hide": "Hidden. You will not see it again.",
    "message": "Your message is on its way.",
    "follow": "You follow this seller.",
    "block": "You will not see this seller again.",
    "late": "Someone was faster: this piece has just been sold.",
}
"""What a page says after a deed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where on which slate a deed was done; empty where on none."""

    slate: str = ""
    position: int | None = None
    surface: str = ""


def click(desk: Desk, user: str, listing_id: str, place: Place) -> None:
    """A listing was opened from a slate. A reload of its page is no second click."""
    if not place.slate:
        return
    event_id = derived_id("click", user, place.slate, listing_id)
    desk.leave([_event(desk, Kind.CLICK, user, listing_id, place, event_id=event_id)], "window")


def press(
    desk: Desk, user: str, button: str, listing_id: str, place: Place, *, text: str = ""
) -> str:
    """A button beside a listing was pressed; gives the key of DONE that tells what came of it.

    Raises:
        ProblemError: 404 for an unknown listing, 422 for an unknown button.
    """
    if button not in BUTTONS:
        raise ProblemError(422, "No such button.", wanted=", ".join(sorted(BUTTONS)), came=button)
    catalogue = desk.shop.live.catalogue
    slot = catalogue.slot_of(listing_id)
    if slot < 0:
        raise ProblemError(404, "No such listing.", wanted="a listing's id", came=listing_id)
    if button == "buy":
        return _buy(desk, user, listing_id, slot, place)
    if button in ("follow", "block"):
        seller = catalogue.listing(slot).seller
        event = _event(desk, Kind(button), user, None, Place(), seller=seller)
    else:
        event = _event(desk, Kind(button), user, listing_id, place, text=text or None)
    desk.ingest([event], "window")
    return button


def _buy(desk: Desk, user: str, listing_id: str, slot: int, place: Place) -> str:
    """The purchase and the sale, in one breath: the system's thread runs nothing in between."""
    catalogue = desk.shop.live.catalogue
    if catalogue.status(slot) is not Status.LIVE:
        return "late"
    price, since = int(catalogue.column("price_minor")[slot]), catalogue.column("listed_at")[slot]
    purchase = _event(
        desk,
        Kind.PURCHASE,
        user,
        listing_id,
        place,
        event_id=derived_id("purchase", listing_id, since),
        price_minor=price,
        currency=catalogue.listing(slot).currency,
    )
    sold = Event(
        event_id=derived_id("sold", listing_id, since),
        kind=Kind.SOLD.value,
        t=purchase.t,
        listing=listing_id,
        price_minor=price,
        currency=purchase.currency,
    )
    desk.ingest([purchase, sold], "window")
    return "buy"


def search(desk: Desk, user: str, text: str, slate: str) -> None:
    """A person searched, and was answered by a slate."""
    event_id = derived_id("search", user, slate)
    place = Place(slate=slate, surface="search")
    desk.leave(
        [_event(desk, Kind.SEARCH, user, None, place, event_id=event_id, text=text)], "window"
    )


def seen(
    desk: Desk, user: str, place: Place, listings: tuple[str, ...], positions: tuple[int, ...]
) -> None:
    """Listings of a slate came into view. A batch that is sent again is counted once."""
    if desk.impressions != "client":
        return
    event = Event(
        event_id=derived_id("impression", user, place.slate, *positions),
        kind=Kind.IMPRESSION.value,
        t=desk.shop.now_ms(),
        user=user,
        surface=place.surface or None,
        slate=place.slate,
        listings=listings,
        positions=positions,
    )
    desk.ingest([event], "window")


def prefer(desk: Desk, user: str, attributes: dict[str, Scalar | list[str]]) -> None:
    """A person said something about themselves."""
    event = Event(
        event_id=derived_id("prefer", user, desk.shop.now_ms()),
        kind=Kind.PREFER.value,
        t=desk.shop.now_ms(),
        user=user,
        attributes=attributes,
    )
    desk.ingest([event], "window")


def _event(
    desk: Desk,
    kind: Kind,
    user: str,
    listing: str | None,
    place: Place,
    *,
    event_id: str = "",
    text: str | None = None,
    seller: str | None = None,
    price_minor: int | None = None,
    currency: str | None = None,
) -> Event:
    now = desk.shop.now_ms()
    return Event(
        event_id=event_id or derived_id(kind, user, listing, seller, now),
        kind=kind.value,
        t=now,
        user=user,
        surface=place.surface or None,
        slate=place.slate or None,
        listing=listing,
        position=place.position,
        text=text,
        seller=seller,
        price_minor=price_minor,
        currency=currency,
    )
