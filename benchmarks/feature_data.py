"""Data for the feature store's benchmarks, drawn from a seed: logs, clicks, feature tables."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts

START_MS = 1_735_689_600_000
DAY_MS = 86_400_000


def zipf(rng: np.random.Generator, n: int, keys: int, exponent: float) -> NDArray[np.int64]:
    """[n] int64 from 0 to keys - 1, in no order of their frequency ~ rank^-exponent."""
    weights = np.arange(1, keys + 1) ** -exponent
    edges = np.cumsum(weights / weights.sum())
    ranks = np.minimum(np.searchsorted(edges, rng.random(n)), keys - 1)
    return rng.permutation(keys)[ranks]


@dataclass(frozen=True, slots=True)
class Clicks:
    """An in-order log of impressions and clicks, as columns [events]."""

    t: NDArray[np.int64]
    kind: NDArray[np.int8]
    listing: NDArray[np.int32]


def clicks(events: int, keys: int, seed: int) -> Clicks:
    """30 days, one event in five a click, listings ~ rank^-0.8, codes from 1."""
    rng = np.random.default_rng(seed)
    t = START_MS + np.sort(rng.integers(0, 30 * DAY_MS, events))
    kind = np.where(rng.random(events) < 0.2, KIND_CODE["click"], KIND_CODE["impression"])
    return Clicks(t, kind.astype(np.int8), (1 + zipf(rng, events, keys, 0.8)).astype(np.int32))


@dataclass(frozen=True, slots=True)
class Market:
    """How large a log is.

    Attributes:
        events: how many, each naming one listing.
        listings: the first events list them; nothing is listed later.
        people: who come, ~ rank^-0.5.
        late: share of events that come up to two hours late; a twentieth of them three days.
        days: the time that the log spans.
    """

    events: int
    listings: int
    people: int
    late: float = 0.05
    days: int = 30


KINDS = {"impression": 0.82, "click": 0.14, "save": 0.02, "message": 0.01, "purchase": 0.01}


def log(market: Market, seed: int, part: int = 250_000) -> Iterator[Facts]:
    """A marketplace's log, made part by part as it is read: it is never whole in memory."""
    rng = np.random.default_rng(seed)
    codes = {"seller": market.listings // 10 + 1, "brand": 2_000, "category": 200, "size": 30,
             "colour": 20, "condition": 6}  # fmt: skip
    stock = np.zeros(market.listings, LISTING_ROW)
    stock["slot"] = np.arange(market.listings)
    for name, count in codes.items():
        stock[name] = 1 + zipf(rng, market.listings, count, 0.8)
    stock["price_minor"] = np.exp(rng.normal(7.5, 0.8, market.listings)).astype(np.int64)
    stock["position"] = -1
    popular = zipf(rng, 1 << 22, market.listings, 0.7)
    coming = zipf(rng, 1 << 22, market.people, 0.5)
    names = np.array([KIND_CODE[name] for name in KINDS], np.int8)
    chances = np.cumsum(list(KINDS.values()))
    for first in range(0, market.events, part):
        n = min(part, market.events - first)
        place = np.arange(first, first + n)
        events = np.zeros(n, EVENT_ROW)
        events["seq"] = place
        late = np.where(rng.random(n) < market.late, rng.integers(0, DAY_MS // 12, n), 0)
        late = np.where(rng.random(n) < market.late / 20, rng.integers(0, 3 * DAY_MS, n), late)
        events["t"] = START_MS + place * market.days * DAY_MS // market.events - late
        listed = place < market.listings
        drawn = popular[rng.integers(0, len(popular), n)]
        kinds = names[np.minimum(np.searchsorted(chances, rng.random(n)), len(names) - 1)]
        events["kind"] = np.where(listed, KIND_CODE["listed"], kinds)
        events["person"] = np.where(listed, 0, 1 + coming[rng.integers(0, len(coming), n)])
        events["surface"] = np.where(listed, 0, rng.integers(1, 4, n))
        listings = stock[np.where(listed, np.minimum(place, market.listings - 1), drawn)]
        yield Facts(events, listings, np.arange(n + 1))


@dataclass(frozen=True, slots=True)
class Table:
    """Feature rows and the moments that are asked, for a point-in-time join.

    Attributes:
        listing, t, created: [rows] int64, in no order; `created` grows with the row.
        values: [features, rows] float32.
        asked_listing, asked_t: [asked] int64.
    """

    listing: NDArray[np.int64]
    t: NDArray[np.int64]
    created: NDArray[np.int64]
    values: NDArray[np.float32]
    asked_listing: NDArray[np.int64]
    asked_t: NDArray[np.int64]


def table(rows: int, asked: int, listings: int, features: int, seed: int) -> Table:
    """90 days in whole seconds, so that ties happen; some moments come before all rows."""
    rng = np.random.default_rng(seed)
    seconds = 90 * DAY_MS // 1_000
    return Table(
        listing=zipf(rng, rows, listings, 0.5),
        t=START_MS + rng.integers(0, seconds, rows) * 1_000,
        created=START_MS + 91 * DAY_MS + np.arange(rows),
        values=rng.random((features, rows), np.float32),
        asked_listing=zipf(rng, asked, listings, 0.5),
        asked_t=START_MS + rng.integers(0, seconds, asked) * 1_000,
    )
