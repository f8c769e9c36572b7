"""What comes in by query strings and forms, read with care."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request

from heirloom.apps.problems import ProblemError, read_body
from heirloom.apps.web.cards import item_href
from heirloom.apps.web.deeds import Place
from heirloom.core.event import SURFACE_CODE, problem_of_id
from heirloom.core.query import Filters

MAX_FORM = 64 * 1024
MOST_CHOICES = 50

Form = Mapping[str, Sequence[str]]


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a urlencoded form.

    Raises:
        ProblemError: 413 where it is too large, 422 where it is no such form.
    """
    body = await read_body(request, MAX_FORM)
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise ProblemError(422, "The form cannot be read.", wanted="a urlencoded form") from error


def last_choice(form: QueryParams | Form, name: str) -> str:
    """The value of a field that has one; '' where it is not there."""
    values = form.getlist(name) if isinstance(form, QueryParams) else form.get(name, ())
    return values[-1].strip() if values else ""


def place_of(form: QueryParams | Form) -> Place:
    """Where on which slate; nothing where it is not said or makes no sense."""
    slate, surface = last_choice(form, "slate"), last_choice(form, "surface")
    position = last_choice(form, "position")
    if problem_of_id(slate) or surface not in SURFACE_CODE:
        return Place()
    fits = position.isascii() and position.isdecimal() and len(position) <= 5
    at = int(position) if fits and int(position) < 32_768 else None
    return Place(slate, at, surface)


def where_of(listing_id: str, place: Place, done: str) -> str:
    """The item page to return to after a deed, still knowing its place on the slate."""
    where: dict[str, str | int] = {"done": done}
    if place.slate:
        where |= {"slate": place.slate, "surface": place.surface}
        if place.position is not None:
            where["position"] = place.position
    return item_href(listing_id, **where)


def filters_of(asked: QueryParams, minor_per_major: int) -> tuple[Filters, list[str]]:
    """Filters from a query string, and a sentence about each part that makes no sense.

    >>> filters, complaints = filters_of(QueryParams("price_min=20&price_max=x&brand=a"), 100)
    >>> filters.brands, filters.price_min_minor, filters.price_max_minor, complaints
    (('a',), 2000, None, ['“x” is no price; write a whole number.'])
    """
    complaints: list[str] = []

    def money(name: str) -> int | None:
        text = asked.get(name, "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            complaints.append(f"“{text[:20]}” is no price; write a whole number.")
            return None
        return int(text) * minor_per_major

    def many(name: str) -> tuple[str, ...]:
        return tuple(v for v in asked.getlist(name) if v)[:MOST_CHOICES]

    filters = Filters(
        category=asked.get("category", "").strip("/")[:256],
        brands=many("brand"),
        sizes=many("size"),
        colours=many("colour"),
        conditions=many("condition"),
        sellers=many("seller"),
        price_min_minor=money("price_min"),
        price_max_minor=money("price_max"),
    )
    return filters, complaints


def address(path: str, asked: QueryParams, **changes: str | int | None) -> str:
    """The same address with some parameters changed; None takes one away.

    >>> address("/search", QueryParams("q=coat&brand=a&brand=b"), q="hat", brand=None, size="m")
    '/search?q=hat&size=m'
    """
    kept = [(k, v) for k, v in asked.multi_items() if v and k not in changes]
    changed = [(k, str(v)) for k, v in changes.items() if v is not None and v != ""]
    order = list(dict.fromkeys(asked.keys()))
    pairs = sorted(
        kept + changed, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order)
    )
    return f"{path}?{urlencode(pairs)}" if pairs else path
