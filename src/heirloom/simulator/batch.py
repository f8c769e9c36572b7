"""Batch: what happened in one tick, as columns and, when asked, as events."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import ENGAGEMENT_KINDS, Event, Kind, Scalar
from heirloom.core.listing import Status
from heirloom.simulator.behaviour import Actions
from heirloom.simulator.queries import SURFACES, QueryColumns
from heirloom.simulator.stock import Stock
from heirloom.simulator.truth import SEARCH
from heirloom.simulator.words import listing_of


@dataclass(frozen=True)
class StockChanges:
    """What happened to listings by themselves, in time order: columns [changes]."""

    number: NDArray[np.int64]
    kind: tuple[Kind, ...]
    price_minor: NDArray[np.int64]
    """The new price of a price_changed; 0 for others."""
    t: NDArray[np.int64]


@dataclass(frozen=True)
class Round:
    """One query of each active session, its slate, and what was done with it.

    Attributes:
        queries: the queries.
        slates: [queries, k] int32 listing numbers, -1 = empty.
        actions: by time.
        bought: [actions] bool, the purchases that took the listing; a later purchase of the same
            listing in the round came too late and is no event.
    """

    queries: QueryColumns
    slates: NDArray[np.int32]
    actions: Actions
    bought: NDArray[np.bool_]


@dataclass
class Batch:
    """One tick of the world.

    Attributes:
        tick: its number.
        changes: what happened to the stock before the tick's first query.
        rounds: the queries and what followed, in time order.
        sold_shown: how many listings that were sold or removed a policy showed.
    """

    tick: int
    seed: int
    stock: Stock
    changes: StockChanges
    rounds: list[Round] = field(default_factory=list)
    sold_shown: int = 0
    _parts: list[list[Event]] = field(default_factory=list)

    @property
    def queries(self) -> int:
        """Slates shown."""
        return sum(len(part.queries) for part in self.rounds)

    @property
    def impressions(self) -> int:
        """Listings shown."""
        return int(sum((part.slates >= 0).sum() for part in self.rounds))

    def events(self) -> list[Event]:
        """All events of the tick in time order.

        Prices in `listed` are those at the time of making: call it before the next step.
        """
        self.made()
        return [event for part in self._parts for event in part]

    def made(self) -> list[Event]:
        """The events since the last call of `made`, for a listener that goes along."""
        new: list[list[Event]] = []
        if not self._parts:
            new.append(stock_events(self.stock, self.changes, self.seed, f"{self.tick}"))
        while len(self._parts) + len(new) < len(self.rounds) + 1:
            i = len(self._parts) + len(new) - 1
            new.append(round_events(self.rounds[i], self.seed, f"{self.tick}.{i}"))
        self._parts.extend(new)
        return [event for part in new for event in part]


Listener = Callable[[list[Event]], None]


def stock_events(stock: Stock, changes: StockChanges, seed: int, mark: str) -> list[Event]:
    """Events of what happened to listings by themselves."""
    events = []
    for i, kind in enumerate(changes.kind):
        number, t = int(changes.number[i]), int(changes.t[i])
        price = int(changes.price_minor[i])
        events.append(
            Event(
                event_id=f"k{seed}.{mark}.{i}",
                kind=kind.value,
                t=t,
                listing=stock.listing_id(number),
                data=listing_of(stock, number, seed) if kind is Kind.LISTED else None,
                price_minor=price if kind is Kind.PRICE_CHANGED else None,
                currency="EUR" if kind is Kind.PRICE_CHANGED else None,
            )
        )
    return events


def round_events(part: Round, seed: int, mark: str) -> list[Event]:
    """The events of a round in time order: searches and impressions, then actions and sales."""
    queries, asks, actions = part.queries, part.queries.asks, part.actions
    stock, people = queries.stock, queries.people
    users = [people.user(int(p)) for p in asks.person]
    sessions = [f"v{number}" for number in queries.session]
    events: list[Event] = []
    for row in np.argsort(asks.t, kind="stable").tolist():
        shown = part.slates[row]
        ids = tuple(stock.listing_id(x) for x in shown[shown >= 0].tolist())
        t, surface, text = int(asks.t[row]), SURFACES[asks.surface[row]], queries.text(row)
        said: dict[str, Scalar | list[str]] = {
            **queries.attributes(row), **_shown_with(queries, row)}  # fmt: skip
        if asks.surface[row] == SEARCH:
            events.append(
                Event(
                    event_id=f"q{seed}.{mark}.{row}",
                    kind=Kind.SEARCH.value,
                    t=t,
                    text=text,
                    user=users[row],
                    session=sessions[row],
                    surface=surface,
                    attributes=said,
                )
            )
        if ids:
            events.append(
                Event(
                    event_id=f"i{seed}.{mark}.{row}",
                    kind=Kind.IMPRESSION.value,
                    t=t,
                    user=users[row],
                    session=sessions[row],
                    surface=surface,
                    text=text or None,
                    slate=f"z{seed}.{mark}.{row}",
                    listings=ids,
                    attributes=said,
                )
            )
    late = _too_late(part)
    for i in np.flatnonzero(~late).tolist():
        row, position = int(actions.row[i]), int(actions.position[i])
        t, kind = int(actions.t[i]), ENGAGEMENT_KINDS[actions.action[i]]
        listing = stock.listing_id(int(part.slates[row, position]))
        events.append(
            Event(
                event_id=f"a{seed}.{mark}.{i}",
                kind=kind.value,
                t=t,
                user=users[row],
                session=sessions[row],
                surface=SURFACES[asks.surface[row]],
                text=None if kind in (Kind.MESSAGE, Kind.OFFER) else queries.text(row) or None,
                listing=listing,
                slate=f"z{seed}.{mark}.{row}",
                position=position,
            )
        )
        if part.bought[i]:
            sold = Event(event_id=f"x{seed}.{mark}.{i}", kind=Kind.SOLD.value, t=t, listing=listing)
            events.append(sold)
    return events


def _shown_with(queries: QueryColumns, row: int) -> dict[str, Scalar | list[str]]:
    """Anchor and filters, which an impression needs to be understood later."""
    filters, anchor = queries.filters(row), int(queries.asks.anchor[row])
    shown: dict[str, Scalar | list[str]] = {}
    if anchor >= 0:
        shown["anchor"] = queries.stock.listing_id(anchor)
    if filters.category:
        shown["filter_category"] = filters.category
    if filters.sizes:
        shown["filter_size"] = filters.sizes[0]
    return shown


def _too_late(part: Round) -> NDArray[np.bool_]:
    late: NDArray[np.bool_] = (part.actions.action == len(ENGAGEMENT_KINDS) - 1) & ~part.bought
    return late


def first_purchases(
    slates: NDArray[np.int32], actions: Actions, status: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """[actions] True for the purchase that takes each listing: the first, if it was live."""
    buys = np.flatnonzero(actions.action == len(ENGAGEMENT_KINDS) - 1)
    number = slates[actions.row[buys], actions.position[buys]]
    _, first = np.unique(number, return_index=True)
    bought = np.zeros(len(actions.action), np.bool_)
    taken = buys[first]
    bought[taken] = status[number[first]] == Status.LIVE
    return bought
