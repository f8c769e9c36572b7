"""Visitor: whose page this is, by two cookies; and whether a form comes from our own page."""

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from heirloom.apps.problems import ProblemError
from heirloom.core.event import problem_of_id

PERSON = "person"
STATED = "stated"
_YEAR_S = 365 * 24 * 3600


class Stated(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a visitor said about themselves; also in the log, as a `prefer` event."""

    department: str = ""
    clothing_size: str = ""
    shoe_size: str = ""
    brands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Visitor:
    """The person before the window.

    Attributes:
        user: a random token; nothing in it says who it is.
        stated: what they said.
        is_new: the token was made for this very request and the response must set it.
    """

    user: str
    stated: Stated
    is_new: bool


def visitor_of(request: HTTPConnection) -> Visitor:
    """The visitor, by cookie; a new one where there is none."""
    user = request.cookies.get(PERSON, "")
    if problem_of_id(user) or not user.isascii():
        return Visitor(new_token(), Stated(), is_new=True)
    return Visitor(user, _stated(request.cookies.get(STATED, "")), is_new=False)


def new_token() -> str:
    """A token for a new person."""
    return "w" + secrets.token_hex(12)


def remember(response: Response, request: Request, user: str, stated: Stated) -> None:
    """Set both cookies: unreadable to scripts, not sent along from other sites' forms."""
    said = msgspec.json.encode(stated).hex()
    for name, value in ((PERSON, user), (STATED, said)):
        response.set_cookie(
            name,
            value,
            max_age=_YEAR_S,
            httponly=True,
            samesite="lax",
            secure=request.scope["scheme"] == "https",
        )


def check_same_origin(request: Request) -> None:
    """Refuse what another site's page makes a browser send.

    Raises:
        ProblemError: 403.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "")
    # Browsers send Sec-Fetch-Site to https and localhost only; Origin with every POST.
    if site is not None:
        ours = site == "same-origin"
    else:
        ours = bool(origin) and _authority(origin) == request.headers.get("host")
    if not ours:
        raise ProblemError(
            403,
            "Buttons work from this shop's own pages only.",
            wanted="Sec-Fetch-Site: same-origin, or an Origin equal to the Host",
            came=f"Sec-Fetch-Site: {site}, Origin: {origin or None}",
        )


def _authority(origin: str) -> str:
    """Host and port of an address; '' of what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # http://[::
        return ""


def is_from_elsewhere(request: Request) -> bool:
    """Whether a link on another site, or a browser's guess ahead, led here: no click of ours."""
    purpose = request.headers.get("sec-purpose", request.headers.get("purpose", ""))
    return request.headers.get("sec-fetch-site") == "cross-site" or "prefetch" in purpose


def _stated(cookie: str) -> Stated:
    try:
        return msgspec.json.decode(bytes.fromhex(cookie), type=Stated)
    except (ValueError, msgspec.MsgspecError):
        # An old or edited cookie: the visitor says it again if they like.
        return Stated()
