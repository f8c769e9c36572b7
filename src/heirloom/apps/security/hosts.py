"""Hosts: the names that a door is asked under, against DNS rebinding.

A page of another site may have that site's own name resolve to this machine. A browser then takes
our answers for that site's own, and only the header Host says which name it asked for. An address
in it instead of a name is nobody's to resolve, so a request by address is none of these.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

from heirloom.apps.problems import ProblemError

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]*)?", re.IGNORECASE)
_LISTED = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of a door, beside `localhost`, what ends in `.localhost`, and any IP address.

    Attributes:
        names: in lower case, without a port; `*.shop.example` is all below that name, `*` any.
    """

    names: tuple[str, ...] = ()

    def check(self, request: Request, count: Callable[[str], None] = lambda _: None) -> None:
        """Refuse what was asked under a name of others, or is a write from others' pages.

        Args:
            request: as it came.
            count: told the reason of a refusal: `host` or `origin`.

        Raises:
            ProblemError: 400 where it does not say one host, 421 where that is none of ours, 403
                where a browser says that another site's page sends it.
        """
        try:
            host = _host(request)
            if not self._serves(host):
                raise ProblemError(
                    421,
                    "This door is not served under that name. If it is yours, name it in the "
                    "TOML: [http] hosts.",
                    wanted=", ".join(("localhost", "an IP address", *self.names)),
                    came=host,
                )
        except ProblemError:
            count("host")
            raise
        if request.method not in _SAFE and self._is_from_others(request):
            count("origin")
            raise ProblemError(
                403,
                "A page of another site may not write here. If it is yours, name its host in the "
                "TOML: [http] hosts.",
                wanted="no Origin, or one of this door's own names",
                came=f"Origin: {request.headers.get('origin')}",
            )

    def _serves(self, host: str) -> bool:
        return self._lists(host) or _is_local(host) or _is_address(host)

    def _lists(self, host: str) -> bool:
        return any(
            name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))
            for name in self.names
        )

    def _is_from_others(self, request: Request) -> bool:
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site == "same-origin" or (site is None and origin is None):
            return False  # a page of ours, or no browser
        try:
            parts = urlsplit(origin or "")
            host, authority = parts.hostname or "", parts.netloc
        except ValueError:  # http://[::
            return True
        own = authority.lower() == request.headers.get("host", "").lower()
        return not (host and (own or self._lists(host) or _is_local(host)))


def _host(request: Request) -> str:
    """The host that a request names, in lower case; `localhost` where HTTP/1.0 names none."""
    came = request.headers.getlist("host")
    if not came and request.scope.get("http_version") == "1.0":
        return "localhost"
    found = _HOST.fullmatch(came[0]) if len(came) == 1 else None
    if found is None:
        raise ProblemError(
            400,
            "A request says one host.",
            wanted="Host: NAME or Host: NAME:PORT, once",
            came=", ".join(came) or "no Host",
        )
    return found[1].lower().strip("[]").rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    """Whether a browser finds it on its own machine, whatever a name server says."""
    if _is_address(host):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def check_names(names: tuple[str, ...]) -> None:
    """Refuse what is no name of a host.

    Raises:
        ValueError: naming it.

    >>> check_names(("shop.example", "*.shop.example", "heirloom"))
    >>> check_names(("https://shop.example",))
    Traceback (most recent call last):
    ...
    ValueError: 'https://shop.example' is no host; wanted shop.example, *.shop.example, or *
    """
    for name in names:
        if not _LISTED.fullmatch(name):
            raise ValueError(f"{name!r} is no host; wanted shop.example, *.shop.example, or *")
