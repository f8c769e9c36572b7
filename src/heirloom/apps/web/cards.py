"""What the templates show of a listing, a slate and a person: plain strings, made here."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from heirloom.apps.api import picture_path
from heirloom.apps.desk import person_code
from heirloom.apps.paging import Page
from heirloom.apps.shop import Shop
from heirloom.apps.web.bars import Picture, picture
from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Kind
from heirloom.core.listing import Listing, Status
from heirloom.core.money import digits
from heirloom.core.slate import Shown

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥"}
_DEEDS = {
    Kind.CLICK: "looked at",
    Kind.SAVE: "saved",
    Kind.MESSAGE: "asked about",
    Kind.OFFER: "offered for",
    Kind.PURCHASE: "bought",
}
_KINDS = tuple(Kind)


@dataclass(frozen=True, slots=True)
class Card:
    """One listing, as a template shows it.

    `was` is the first price where it has dropped since, else ''. `slate`, `position` and
    `surface` go back with every event; `why`, `sources` and `picture` say how it came here,
    compared with `candidates`.
    """

    listing_id: str
    href: str
    image: str
    title: str
    brand: str
    price: str
    was: str
    meta: str
    alt: str
    saved: bool
    slate: str = ""
    position: int = 0
    surface: str = ""
    why: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    picture: Picture | None = None
    candidates: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing a person did lately."""

    deed: str
    card: Card


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a person: the strip on the home page."""

    traces: tuple[Trace, ...]
    brands: tuple[str, ...]
    saved: int
    hidden: int


def price(minor: int, currency: str) -> str:
    r"""A price as people write it.

    >>> price(4500, "EUR"), price(4550, "EUR"), price(123456789, "JPY"), price(990, "CHF")
    ('€45', '€45.50', '¥123,456,789', 'CHF\xa09.90')
    """
    places = digits(currency)
    whole, part = divmod(minor, 10**places)
    amount = f"{whole:,}" + (f".{part:0{places}d}" if part else "")
    symbol = _SYMBOLS.get(currency)
    return f"{symbol}{amount}" if symbol else f"{currency}\xa0{amount}"


def category_name(path: str) -> str:
    """The last step of a category path, in words.

    >>> category_name("women/shoes/ankle-boots"), category_name("")
    ('Ankle boots', 'Everything')
    """
    last = path.rsplit("/", 1)[-1].replace("-", " ").strip()
    return last[:1].upper() + last[1:] if last else "Everything"


def item_href(listing_id: str, **where: str | int) -> str:
    """The address of an item page.

    >>> item_href("a/b", slate="s", position=3)
    '/item/a%2Fb?slate=s&position=3'
    """
    path = f"/item/{quote(listing_id, safe='')}"
    return f"{path}?{urlencode(where)}" if where else path


def card(catalogue: Catalogue, slot: int, *, saved: bool = False) -> Card:
    """A listing outside any slate."""
    listing = catalogue.listing(slot)
    first = int(catalogue.column("first_price_minor")[slot])
    return Card(
        listing_id=listing.listing_id,
        href=item_href(listing.listing_id),
        image=picture_path(listing.listing_id),
        title=listing.title or category_name(listing.category),
        brand=listing.brand,
        price=price(listing.price_minor, listing.currency),
        was=price(first, listing.currency) if first > listing.price_minor else "",
        meta=" · ".join(_meta(listing)),
        alt=_alt(listing),
        saved=saved,
    )


def cards(shop: Shop, page: Page, user: str) -> list[Card]:
    """The listings of a page of a slate."""
    catalogue = shop.live.catalogue
    saved = set(shop.live.people.saved(person_code(shop, user)).tolist())
    made = []
    for place, shown in enumerate(page.shown):
        slot = catalogue.slot_of(shown.listing)
        drawn = picture(page.explained[place].contributions) if page.explained else None
        made.append(_shown_card(card(catalogue, slot, saved=slot in saved), shown, page, drawn))
    return made


def _shown_card(plain: Card, shown: Shown, page: Page, drawn: Picture | None) -> Card:
    surface = page.query.surface
    where: dict[str, str | int] = {
        "slate": page.slate.slate_id,
        "position": shown.position,
        "surface": surface,
    }
    return Card(
        listing_id=plain.listing_id,
        href=item_href(plain.listing_id, **where),
        image=plain.image,
        title=plain.title,
        brand=plain.brand,
        price=plain.price,
        was=plain.was,
        meta=plain.meta,
        alt=plain.alt,
        saved=plain.saved,
        slate=page.slate.slate_id,
        position=shown.position,
        surface=surface,
        why=tuple(reason.words for reason in shown.reasons),
        sources=shown.sources,
        picture=drawn,
        candidates=page.slate.why.candidates,
    )


def known(shop: Shop, user: str, most: int = 10) -> Known:
    """What is known of a person, newest first, each listing once."""
    catalogue, people = shop.live.catalogue, shop.live.people
    code = person_code(shop, user)
    slots, kinds, _ = people.recent(code)
    traces: dict[int, Trace] = {}
    brands: Counter[str] = Counter()
    for slot, kind_code in zip(slots.tolist(), kinds.tolist(), strict=True):
        deed = _DEEDS.get(_KINDS[kind_code])
        if slot < 0 or deed is None or _is_gone(catalogue, slot):
            continue
        made = card(catalogue, slot)
        brands[made.brand] += 1
        if len(traces) < most:
            traces.setdefault(slot, Trace(deed, made))
    del brands[""]
    return Known(
        traces=tuple(traces.values()),
        brands=tuple(brand for brand, _ in brands.most_common(4)),
        saved=len(people.saved(code)),
        hidden=len(people.hidden(code)),
    )


def _is_gone(catalogue: Catalogue, slot: int) -> bool:
    return catalogue.status(slot) is Status.REMOVED


def _meta(listing: Listing) -> Iterable[str]:
    if listing.size:
        plain = len(listing.size) > 3 and not listing.size[0].isdigit()
        yield listing.size.capitalize() if plain else f"Size {listing.size.upper()}"
    if listing.condition:
        yield listing.condition.capitalize()


def _alt(listing: Listing) -> str:
    words = (listing.colour, category_name(listing.category).lower() if listing.category else "")
    what = " ".join(word for word in words if word) or listing.title
    return f"{what}, {listing.brand}" if listing.brand else what
