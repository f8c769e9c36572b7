"""Pages of one slate: a visit's pages never repeat a listing.

The first page asks for a long slate once; later pages are cut from the same order, by a token of
slate id, offset and position. Listings sold since are left out. An order is kept for a while
only: where it has gone, the token is answered with 410 and the client asks anew.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from heirloom.apps.problems import ProblemError
from heirloom.apps.visits import OwnVisits, Visits, packed, unpacked
from heirloom.core.query import Query
from heirloom.core.slate import Shown, Slate
from heirloom.pipelines.explain import Explained

DEPTH = 240
"""Listings of a slate that its pages are cut from."""
_SIGNATURE = 12
Fit = Callable[[Sequence[Shown]], Sequence[bool]]
"""Of listings of a slate, whether each may be shown now."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a slate, and the token of the next part.

    Attributes:
        query: the query that made the slate.
        slate: where it comes from; of its listings, `shown` is the part to show.
        shown: what this page shows, with positions counted over the visit.
        next_token: None on the last page.
        explained: of each of `shown`; None where nobody asked for it.
    """

    query: Query
    slate: Slate
    shown: tuple[Shown, ...]
    next_token: str | None
    explained: tuple[Explained, ...] | None = None


class _Bookmark(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins: in the slate's order, and counted over the visit.

    The order lies where process `by` has kept it.
    """

    slate_id: str
    offset: int = 0
    position: int = 0
    by: int = 0


class Pages:
    """Pages cut from the orders that visits keep, each for `keep_ms`.

    Times are passed in. Tokens are signed with the visits' key, so that nobody reads another visit
    by guessing. Not safe for several threads at once.
    """

    def __init__(self, visits: Visits | None = None, *, keep_ms: int = 30 * 60_000) -> None:
        self.keep_ms = keep_ms
        self._visits: Visits = OwnVisits() if visits is None else visits

    def first(self, query: Query, slate: Slate, k: int, fit: Fit) -> Page:
        """The first k listings of a new slate that are fit to be shown."""
        start = _Bookmark(slate.slate_id, by=self._visits.here)
        page = self._cut(query, slate, start, k, fit)
        if page.next_token is not None:
            light = replace(slate, features=None, why=replace(slate.why, contributions=None))
            self._visits.keep(slate.slate_id, packed(query, light))
        return page

    def later(self, token: str, k: int, now_ms: int, fit_for: Callable[[Query], Fit]) -> Page:
        """The k listings after those that the token's pages have shown.

        Raises:
            ProblemError: 410 where the order is no longer kept (or is of another server), 422
                where the token is none of ours.
        """
        start = self._read(token)
        order = self._visits.order(start.slate_id, start.by)
        if order is None:
            raise _expired(token)
        query, slate = unpacked(order)
        if query.t < now_ms - self.keep_ms:
            raise _expired(token)
        return self._cut(query, slate, start, k, fit_for(query))

    def _cut(
        self,
        query: Query,
        slate: Slate,
        start: _Bookmark,
        k: int,
        fit: Fit,
    ) -> Page:
        found = list(islice(_fitting(slate.shown, start.offset, k + 1, fit), k + 1))
        page = tuple(_at(shown, start.position + i) for i, (_, shown) in enumerate(found[:k]))
        rest = None
        if len(found) > k:
            offset = found[k - 1][0] + 1 if page else start.offset
            rest = _Bookmark(slate.slate_id, offset, start.position + len(page), start.by)
        return Page(query, slate, page, self._write(rest) if rest else None)

    def _write(self, bookmark: _Bookmark) -> str:
        content = msgspec.msgpack.encode(bookmark)
        return base64.urlsafe_b64encode(self._sign(content) + content).decode().rstrip("=")

    def _read(self, token: str) -> _Bookmark:
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            content = raw[_SIGNATURE:]
            read = msgspec.msgpack.decode(content, type=_Bookmark)
        except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
            raise ProblemError(
                422,
                "The page token is none that this service gives.",
                wanted="the value of `next` from a former page, unchanged",
                came=token,
            ) from error
        if not hmac.compare_digest(raw[:_SIGNATURE], self._sign(content)):
            raise _expired(token)
        return read

    def _sign(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=_SIGNATURE, key=self._visits.key).digest()


def _fitting(
    shown: Sequence[Shown], offset: int, piece: int, fit: Fit
) -> Iterator[tuple[int, Shown]]:
    """Those fit to be shown, and where they stand; asked a piece at a time."""
    for start in range(offset, len(shown), piece):
        part = shown[start : start + piece]
        for at, (each, fits) in enumerate(zip(part, fit(part), strict=True), start):
            if fits:
                yield at, each


def _at(shown: Shown, position: int) -> Shown:
    if shown.position == position:
        return shown
    return msgspec.structs.replace(shown, position=position)


def _expired(token: str) -> ProblemError:
    return ProblemError(
        410,
        "The order that this token pages through is no longer kept; ask anew without `next`.",
        wanted="a token of the last half hour, from this server",
        came=token,
    )
