"""Guard: lets a request in, or says why not. Around every route; one without a scope needs admin.

`Authorization: Bearer` carries a key or a token. A person's browser may send a key as the password
of `Basic`, to pages alone: a browser adds it by itself to what another site's page asks, and only
pages look where a form comes from. To the console a browser shows the cookie of a session.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heirloom.apps.problems import ProblemError
from heirloom.apps.security.addresses import Addresses, place_of
from heirloom.apps.security.caller import ANYONE, STRANGER, Allowance, Caller, Scope
from heirloom.apps.security.hosts import Hosts
from heirloom.apps.security.keys import WatchedKeys, id_of, is_key
from heirloom.apps.security.rate import Buckets
from heirloom.apps.security.sessions import COOKIE, Sessions
from heirloom.apps.security.tokens import UNKNOWN_KEY, Tokens

Handler = Callable[[Request], Awaitable[Response]]
_SAID = {
    "none": "This door asks for a key.",
    "unknown": "This key or token is not known here.",
    "expired": "This key or token has expired.",
    "revoked": "This key was revoked.",
    "audience": "This token is for another system.",
    "issuer": "This token is of another issuer.",
    "algorithm": "Tokens signed that way are not taken here.",
    "too long": "This token is too long.",
    UNKNOWN_KEY: "This token is signed with a key that its issuer does not name.",
    "form": "The header Authorization has another form than is taken here.",
    "session": "This session is over, or none of this server's; sign in again.",
}
Way = Literal["program", "page", "console"]
"""Who asks: a program; a person whose browser may send a key as a password; one who signed in."""


class Guard:
    """What stands before the routes of one system.

    Args:
        keys: the system's; None: the door is open to anyone.
        tokens: of its identity provider, if it has one.
        buckets: where requests are counted; None: nobody is limited.
        allowance: of those who have none of their own.
        addresses: where those are counted who ask without a key; None: they are not.
        hosts: the names that the door is asked under; None: any.
        strangers: whether what needs no scope needs no key either; a browser may send it as the
            password of `Basic` there, where it does.
        clock: ms since 1970 UTC.
    """

    def __init__(
        self,
        keys: WatchedKeys | None = None,
        *,
        tokens: Tokens | None = None,
        buckets: Buckets | None = None,
        allowance: Allowance = Allowance(),  # noqa: B008 - frozen
        addresses: Addresses | None = None,
        hosts: Hosts | None = None,
        strangers: bool = True,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._buckets = buckets
        self._allowance = allowance
        self._addresses = addresses
        self._hosts = hosts
        self._strangers = strangers
        self._clock = clock
        self.sessions = Sessions(lambda: clock() / 1e3)
        self._refused: Callable[[str], None] = lambda _: None

    @property
    def is_open(self) -> bool:
        """Whether anyone may do anything."""
        return self._keys is None

    def can_be_passed(self) -> bool:
        """Whether there is anything that opens the door."""
        if self._keys is None or self._tokens is not None:
            return True
        return self._keys.table().active(self._clock()) > 0

    def routes(
        self,
        routes: Sequence[Route],
        scopes: Mapping[str, Scope | None],
        *,
        pages: Sequence[Route],
        console: Sequence[Route] = (),
        count: Callable[[str], None],
    ) -> list[Route]:
        """The routes with this guard before them.

        Args:
            routes: of programs.
            scopes: by path, what a caller needs; None: nothing. A path that is not named needs
                admin, so a route that was forgotten is closed.
            pages: of persons; `scopes` holds for them too.
            console: of persons who sign in; the same.
            count: told the reason of each refusal.
        """
        self._refused = count
        groups: tuple[tuple[Way, Sequence[Route]], ...] = (
            ("program", routes), ("page", pages), ("console", console)
        )  # fmt: skip
        return [
            Route(
                route.path,
                self._guarded(route.endpoint, scopes.get(route.path, "admin"), way),
                methods=sorted(route.methods or ()),
            )
            for way, group in groups
            for route in group
        ]

    def sign_in(self, request: Request, key: str) -> str:
        """The cookie of a new session of whom a key with scope admin opens the console.

        Raises:
            ProblemError: 401, 403, 429.
        """
        found = self._find(key) if is_key(key) else "unknown"
        self._check(request, found, "admin", "console")
        return self.sessions.begin(id_of(key))

    def _guarded(self, handler: Handler, scope: Scope | None, way: Way) -> Handler:
        async def guarded(request: Request) -> Response:
            request.scope["caller"] = await self._admit(request, scope, way)
            return await handler(request)

        return guarded

    async def _admit(self, request: Request, scope: Scope | None, way: Way) -> Caller:
        if self._hosts is not None:
            self._hosts.check(request, self._refused)
        if self._keys is None:
            self._count_address(request, wrong=False)
            return ANYONE
        header = request.headers.get("authorization", "")
        cookie = request.cookies.get(COOKIE, "") if way == "console" and not header else ""
        if cookie:
            return self._check(request, self._in_session(cookie), scope, way)
        shown = shown_by(header, page=way == "page" or (scope is None and not self._strangers))
        found = self._find(shown)
        if found == UNKNOWN_KEY and self._tokens is not None and self._tokens.may_refresh():
            await asyncio.get_running_loop().run_in_executor(None, self._tokens.refresh)
            found = self._find(shown)
        return self._check(request, found, scope, way)

    def _in_session(self, cookie: str) -> Caller | str:
        key_id = self.sessions.key_id(cookie)
        if key_id is None or self._keys is None:
            return "session"
        return self._keys.table().of_id(key_id, self._clock())

    def _check(
        self, request: Request, found: Caller | str, scope: Scope | None, way: Way
    ) -> Caller:
        if scope is None and not isinstance(found, str):
            return found
        if scope is None and self._strangers:
            self._count_address(request, wrong=False)
            return STRANGER
        if isinstance(found, str):
            self._count_address(request, wrong=True)
            raise self._refusal(found, scope, way)
        if scope is not None and scope not in found.scopes:
            self._refused("scope")
            raise ProblemError(
                403,
                "This key may not do that.",
                wanted=f"a key with scope {scope}",
                came=f"{found.name}: {', '.join(sorted(found.scopes)) or 'no scope'}",
            )
        self._count(found)
        return found

    def _find(self, shown: str | None) -> Caller | str:
        if shown is None:
            return "form"
        if not shown:
            return "none"
        if is_key(shown) or self._tokens is None:
            keys = self._keys.table() if self._keys is not None else None
            return "unknown" if keys is None else keys.find(shown, self._clock())
        return self._tokens.find(shown)

    def _refusal(self, reason: str, scope: Scope | None, way: Way) -> ProblemError:
        self._refused(reason)
        challenge = 'Bearer realm="heirloom"'
        if way == "page":
            challenge = 'Basic realm="heirloom", charset="UTF-8"'
        elif reason not in ("none", "form"):
            challenge += ', error="invalid_token"'
        return ProblemError(
            401,
            _SAID[reason],
            wanted=f"Authorization: Bearer KEY, of a key with scope {scope or 'read'}",
            came="no key" if reason == "none" else "",
            headers={"www-authenticate": challenge},
        )

    def _count(self, caller: Caller) -> None:
        if self._buckets is None:
            return
        wait = self._buckets.take(caller.bucket, caller.allowance or self._allowance)
        if wait:
            self._refused("rate")
            raise too_often("This key asks too often.", caller.name, wait)

    def _count_address(self, request: Request, *, wrong: bool) -> None:
        if self._addresses is None or request.client is None:
            return
        host = request.client.host
        if wait := self._addresses.take(host, wrong=wrong):
            self._refused("address")
            said = "Too much comes from this address without a good key."
            raise too_often(said, place_of(host), wait)


def too_often(said: str, who: str, wait: int) -> ProblemError:
    """429, and when to come again: after `wait` ns."""
    seconds = -(-wait // 1_000_000_000)
    return ProblemError(
        429,
        said,
        wanted=f"the next request after {seconds} s",
        came=who,
        headers={"retry-after": str(seconds)},
    )


def shown_by(header: str, *, page: bool) -> str | None:
    """The key or token of an Authorization header: '' for none, None where it has another form.

    >>> shown_by("Bearer hlm_1_x", page=False), shown_by("", page=False)
    ('hlm_1_x', '')
    >>> basic = "Basic " + base64.b64encode(b"anyone:hlm_1_x").decode()
    >>> shown_by(basic, page=True), shown_by(basic, page=False) is None
    ('hlm_1_x', True)
    """
    scheme, _, rest = header.partition(" ")
    if not header:
        return ""
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if page and scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None
