"""World: the marketplace, driven tick by tick by any policy.

    world = World(Size.SMALL, seed=1)
    log = world.opening()
    while world.day < 4:
        log += world.step(Mixed(world)).events()

A tick has one window for what happens to the stock, then rounds: in each, every active session
asks once, all slates are shown, and only then people act and sales take effect. So a slate never
follows a sale that its policy could not have heard of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError
from heirloom.core.event import Event, Kind, Scalar
from heirloom.core.listing import Listing, Status
from heirloom.simulator import fitted, supply
from heirloom.simulator.batch import (
    Batch,
    Listener,
    Round,
    StockChanges,
    first_purchases,
    stock_events,
)
from heirloom.simulator.behaviour import Sessions, act, ask, go_on, open_sessions
from heirloom.simulator.observed import Observed
from heirloom.simulator.people import draw_people, renew_needs
from heirloom.simulator.policies import Oracle, Popular
from heirloom.simulator.queries import Policy, QueryColumns
from heirloom.simulator.stock import DAY_MS, Space, Stock, draw_sellers
from heirloom.simulator.trial import Trial
from heirloom.simulator.truth import Examined, action_chances, examination, slate_values

VERSION = 1
"""Frozen: any change of what a seed gives is a new version, and earlier rows are run again."""
START_MS = 1_735_689_600_000
"""2025-01-01 00:00 UTC."""
ROUNDS = 8


@dataclass(frozen=True)
class Size:
    """How large a world is, and how long it runs."""

    listings: int
    people: int
    days: float
    sessions_per_day: float
    """Per person; the mean of a skew distribution."""
    tick_ms: int = 20 * 60_000
    k: int = 24
    """Listings per slate."""

    SMALL: ClassVar["Size"]
    DEMO: ClassVar["Size"]
    LOAD: ClassVar["Size"]


Size.SMALL = Size(listings=3_000, people=600, days=4, sessions_per_day=0.5)
Size.DEMO = Size(listings=20_000, people=2_000, days=14, sessions_per_day=0.5, tick_ms=40 * 60_000)
Size.LOAD = Size(listings=50_000, people=50_000, days=7, sessions_per_day=1.0)


class World:
    """A marketplace with known truth, deterministic by size, seed, start and given listings.

    `examined` replaces the truth's chance that a position is looked at, to try estimators of it;
    a world with another than the default is no version of the frozen simulator.
    """

    def __init__(
        self,
        size: Size,
        seed: int,
        start_ms: int = START_MS,
        listings: Sequence[Listing] | None = None,
        examined: Examined = examination,
    ) -> None:
        self.size, self.seed, self.start_ms = size, seed, start_ms
        self._examined = examined
        self._given = listings is not None
        space = Space(seed)
        rng = np.random.default_rng([seed, 1])
        count = len(listings) if listings is not None else size.listings
        self.stock = Stock(space, draw_sellers(rng, max(count // 6, 5)))
        if listings is not None:
            supply.take_listings(self.stock, rng, listings, start_ms)
        else:
            supply.vocabulary_of(self.stock)
            age_ms = supply.stationary_ages(rng, count) * DAY_MS
            listed_at = np.sort(start_ms - 60_000 - age_ms.astype(np.int64))
            supply.draw_listings(self.stock, rng, listed_at, start_ms)
        self.people = draw_people(
            np.random.default_rng([seed, 2]), self.stock, size.people, size.sessions_per_day
        )
        self.observed = Observed(self.stock, self.people)
        self.tick = 0
        self._opening = len(self.stock)
        self._sessions = 0
        self._keys = 0

    @property
    def now_ms(self) -> int:
        """Start of the next tick."""
        return self.start_ms + self.tick * self.size.tick_ms

    @property
    def day(self) -> float:
        """Days since the start."""
        return (self.now_ms - self.start_ms) / DAY_MS

    def opening(self) -> list[Event]:
        """`listed` events of the first stock and `prefer` events of those who state their tastes.

        Call it before the first step: a `listed` event carries the present price.
        """
        numbers = np.arange(self._opening)
        listed_at = self.stock.column("listed_at")[: self._opening]
        order = np.argsort(listed_at, kind="stable")
        changes = StockChanges(
            numbers[order], (Kind.LISTED,) * self._opening,
            np.zeros(self._opening, np.int64), listed_at[order],
        )  # fmt: skip
        events = stock_events(self.stock, changes, self.seed, "o")
        for person in np.flatnonzero(self.people.declared).tolist():
            stated = self.people.attributes(person, self.stock)
            brands = self.people.taste.favourite[person, :2]
            names: list[str] = [self.stock.brands.texts[b] for b in brands if b >= 0]
            stated_all: dict[str, Scalar | list[str]] = {
                **stated, "sizes": [str(stated["clothing_size"]), str(stated["shoe_size"])],
                "brands": names}  # fmt: skip
            events.append(
                Event(
                    event_id=f"p{self.seed}.{person}",
                    kind=Kind.PREFER.value,
                    t=self.start_ms - 30_000,
                    user=self.people.user(person),
                    attributes=stated_all,
                )
            )
        return events

    def step(self, policy: Policy, listener: Listener | None = None) -> Batch:
        """Advance by a tick under a policy.

        A listener hears the stock's events before the first query, and each round's events
        before the next round's queries: what a live system would have been told by then.
        """
        rng = np.random.default_rng([self.seed, 3, self.tick])
        batch = Batch(self.tick, self.seed, self.stock, self._move_stock(rng))
        if listener is not None:
            listener(batch.made())
        sessions = self._begin_sessions(rng)
        length = self.size.tick_ms // (ROUNDS + 1)
        for r in range(ROUNDS):
            rows = np.flatnonzero(sessions.active)
            if not len(rows):
                break
            self._round(rng, policy, batch, sessions, rows, (r + 1) * length, length)
            if listener is not None:
                listener(batch.made())
        self.observed.age(self.size.tick_ms)
        self.tick += 1
        return batch

    def value(self, queries: QueryColumns, slates: NDArray[np.int32]) -> NDArray[np.float64]:
        """True expected value [queries] of slates [queries, k] in the present state, in clicks."""
        values: NDArray[np.float64] = slate_values(
            self.people.taste, self.stock.goods(), queries.asks, self.stock.under, slates,
            self._examined,
        )  # fmt: skip
        return values

    def trial(
        self,
        policies: Mapping[str, Policy],
        ticks: int,
        *,
        driver: str | None = None,
        listener: Listener | None = None,
    ) -> Trial:
        """Compare policies on the same queries in the same state over some ticks.

        `popular` and `oracle` are added. `driver` names the policy whose slates are really shown
        (default: the first); the others answer the same queries beside it.
        """
        everyone: dict[str, Policy] = {
            "popular": Popular(self), "oracle": Oracle(self), **policies}  # fmt: skip
        shown = driver or next(iter(policies))
        rows: list[tuple[NDArray[np.int32], NDArray[np.int8]]] = []
        values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in everyone}
        sold = dict.fromkeys(everyone, 0)

        def paired(queries: QueryColumns) -> NDArray[np.int32]:
            counted = ~self.people.taste.bot[queries.asks.person]
            rows.append((queries.asks.person[counted], queries.asks.surface[counted]))
            answers = {name: policy(queries) for name, policy in everyone.items()}
            for name, slates in answers.items():
                values[name].append(self.value(queries, slates)[counted])
                sold[name] += self._dead(slates)
            return answers[shown]

        for _ in range(ticks):
            self.step(paired, listener)
        return Trial(
            np.concatenate([person for person, _ in rows] or [np.zeros(0, np.int32)]),
            np.concatenate([surface for _, surface in rows] or [np.zeros(0, np.int8)]),
            {name: np.concatenate(parts or [np.zeros(0)]) for name, parts in values.items()},
            sold,
        )

    def _round(
        self,
        rng: np.random.Generator,
        policy: Policy,
        batch: Batch,
        sessions: Sessions,
        rows: NDArray[np.intp],
        offset: int,
        length: int,
    ) -> None:
        begin = self.now_ms + offset
        asked_at = begin + (rng.random(len(rows)) * 0.25 * length).astype(np.int64)
        sessions.asks.t[rows] = asked_at
        keys = np.arange(self._keys, self._keys + len(rows))
        self._keys += len(rows)
        queries = ask(sessions, rows, keys, self.size.k, self.stock, self.people)
        slates = self._answer(policy, queries)
        batch.sold_shown += self._dead(slates)
        chances = action_chances(
            self.people.taste, self.stock.goods(), queries.asks, self.stock.under, slates
        )
        actions = act(rng, chances, begin, length, self._examined)
        bought = first_purchases(slates, actions, self.stock.column("status"))
        taken = slates[actions.row[bought], actions.position[bought]]
        self.stock.end(taken, Status.SOLD, actions.t[bought])
        self.observed.fold(queries, slates, actions)
        batch.rounds.append(Round(queries, slates, actions, bought))

        last = np.full(len(rows), -1, np.int32)
        clicks = actions.action == 0
        last[actions.row[clicks]] = slates[actions.row[clicks], actions.position[clicks]]
        go_on(rng, self.people, self.stock, sessions, rows, slates, last)

    def _answer(self, policy: Policy, queries: QueryColumns) -> NDArray[np.int32]:
        slates = np.asarray(policy(queries))
        wanted = (len(queries), queries.k)
        if slates.shape != wanted or slates.dtype != np.int32:
            raise ShapeError(
                f"simulator: the policy answered {slates.dtype}{list(slates.shape)}; "
                f"wanted int32 [queries={wanted[0]}, k={wanted[1]}]"
            )
        if slates.size and (slates.max() >= len(self.stock) or slates.min() < -1):
            raise ShapeError(
                f"simulator: the policy answered listing numbers {slates.min()} … {slates.max()}; "
                f"wanted -1 … {len(self.stock) - 1}"
            )
        return slates

    def _dead(self, slates: NDArray[np.int32]) -> int:
        shown = slates[slates >= 0]
        return int((self.stock.column("status")[shown] != Status.LIVE).sum())

    def _begin_sessions(self, rng: np.random.Generator) -> Sessions:
        hour = (self.now_ms // 3_600_000) % 24
        expected = self.people.sessions_per_day * fitted.HOURS[hour] * self.size.tick_ms / 3.6e6
        person = np.flatnonzero(rng.random(len(expected)) < -np.expm1(-expected))
        sessions = open_sessions(
            rng, self.people, self.stock, person.astype(np.int32), self._sessions
        )
        self._sessions += len(person)
        return sessions

    def _move_stock(self, rng: np.random.Generator) -> StockChanges:
        """Sales elsewhere, removals, price drops and arrivals, in the tick's first window."""
        days = self.size.tick_ms / DAY_MS
        stock, now = self.stock, self.now_ms
        renew_needs(rng, self.people, stock, days)
        if self._given:
            none = np.zeros(0, np.int64)
            return StockChanges(none, (), none, none)
        live = np.flatnonzero(stock.live)
        age = (now - stock.column("listed_at")[live]) / DAY_MS
        u = rng.random(len(live))
        hazard = supply.sale_hazard(age, days)
        sold = live[u < hazard]
        gone = live[(u >= hazard) & ((u < hazard + fitted.REMOVAL_PER_DAY * days)
                                     | (age > fitted.EXPIRY_DAYS))]  # fmt: skip
        dropped, price = supply.draw_drops(stock, rng, now, days)
        keep = ~np.isin(dropped, np.concatenate([sold, gone]))
        dropped, price = dropped[keep], price[keep]

        count = rng.poisson(
            supply.arrivals_per_day(self.size.listings) * fitted.HOURS[(now // 3_600_000) % 24]
            * 24 * days
        )  # fmt: skip
        window = self.size.tick_ms // (ROUNDS + 1)
        arrive = np.sort(now + rng.integers(0, window, count))
        new = supply.draw_listings(stock, rng, arrive, now) if count else np.zeros(0, np.int64)
        number = np.concatenate([sold, gone, dropped, new])
        t = np.concatenate([now + rng.integers(0, window, len(number) - count), arrive])
        kinds = [Kind.SOLD] * len(sold) + [Kind.REMOVED] * len(gone)
        kinds += [Kind.PRICE_CHANGED] * len(dropped) + [Kind.LISTED] * count
        prices = np.zeros(len(number), np.int64)
        prices[len(sold) + len(gone) : len(number) - count] = price
        stock.end(sold, Status.SOLD, t[: len(sold)])
        stock.end(gone, Status.REMOVED, t[len(sold) : len(sold) + len(gone)])
        stock.reprice(dropped, price)
        order = np.argsort(t, kind="stable")
        return StockChanges(number[order], tuple(kinds[i] for i in order), prices[order], t[order])
