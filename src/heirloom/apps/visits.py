"""Visits: what is remembered of the slates that were answered, for what comes after them.

Later pages are cut from the order of a slate, and what is done on the slate of a search was
searched for by its words. One process remembers both itself; workers share them
(`workers.shared_visits`).
"""

import secrets
from collections import OrderedDict
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from heirloom.core.query import Query
from heirloom.core.slate import Slate

K = TypeVar("K")
V = TypeVar("V")
ORDERS_KEPT = 2_000
SEARCHES_KEPT = 20_000


class Visits(Protocol):
    """Orders and words of the latest slates. Asked from one thread."""

    @property
    def key(self) -> bytes:
        """Signs the tokens of pages, in each process that reads them."""

    @property
    def here(self) -> int:
        """The number of this process among those that share."""

    def keep(self, slate_id: str, order: bytes) -> None:
        """Keep a slate's order; it may be gone later, oldest first."""

    def order(self, slate_id: str, by: int) -> bytes | None:
        """The order that process `by` kept; None where it is gone."""

    def searched(self, slate_id: str, text: str) -> None:
        """A search was answered by this slate."""

    def refresh(self) -> None:
        """Know what other processes were searched for up to now."""

    def words(self, slate_id: str) -> str | None:
        """The words of the search that a slate answered, as of the last `refresh`."""


class OwnVisits:
    """Visits of one process alone. Implements Visits."""

    here = 0

    def __init__(self, *, orders: int = ORDERS_KEPT, searches: int = SEARCHES_KEPT) -> None:
        self.key = secrets.token_bytes(32)
        self._orders: OrderedDict[str, bytes] = OrderedDict()
        self._words: OrderedDict[str, str] = OrderedDict()
        self._most = orders, searches

    def __len__(self) -> int:
        return len(self._orders)

    def keep(self, slate_id: str, order: bytes) -> None:
        """See Visits.keep."""
        put(self._orders, slate_id, order, self._most[0])

    def order(self, slate_id: str, by: int) -> bytes | None:  # noqa: ARG002
        """See Visits.order."""
        return self._orders.get(slate_id)

    def searched(self, slate_id: str, text: str) -> None:
        """See Visits.searched."""
        put(self._words, slate_id, text, self._most[1])

    def refresh(self) -> None:
        """See Visits.refresh."""

    def words(self, slate_id: str) -> str | None:
        """See Visits.words."""
        return self._words.get(slate_id)


def put(latest: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Put a value last; the first goes where there are more than so many.

    >>> latest = OrderedDict(a=1, b=2)
    >>> put(latest, "a", 3, 2)
    >>> put(latest, "c", 4, 2)
    >>> list(latest.items())
    [('a', 3), ('c', 4)]
    """
    latest[key] = value
    latest.move_to_end(key)
    if len(latest) > most:
        latest.popitem(last=False)


def packed(query: Query, slate: Slate) -> bytes:
    """A query and its slate as bytes: a slate of 240 takes 15 kB, and 100 as objects."""
    return msgspec.msgpack.encode((query, slate), enc_hook=_array_out)


def unpacked(order: bytes) -> tuple[Query, Slate]:
    """What `packed` was given.

    Raises:
        msgspec.MsgspecError: it is something else.
    """
    return msgspec.msgpack.decode(order, type=tuple[Query, Slate], dec_hook=_array_in)


def _array_out(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    raise NotImplementedError(f"{type(value)} has no form as bytes")


def _array_in(wanted: type, value: Any) -> Any:  # noqa: ARG001 - arrays alone come here
    dtype, shape, content = value
    return np.frombuffer(content, dtype).reshape(shape)
