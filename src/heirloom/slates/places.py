"""Places: one after another, by an order, under caps, and some of them drawn."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.slates.luck import gumbel

Array = NDArray[Any]
CAUSES = ("", "seller_cap", "category_cap", "price_cap", "exploration")
"""What `Placed.causes` are codes of."""
_SELLER, _CATEGORY, _PRICE, _DRAWN = range(1, 5)


@dataclass(frozen=True, slots=True)
class Caps:
    """At most so many listings that share a code; 0 for no cap.

    `seller` holds for the whole slate and is raised by itself once every seller's are shown;
    `category` and `price` hold for each page, as far as candidates within reach allow.
    """

    seller: int = 0
    category: int = 0
    price: int = 0


@dataclass(frozen=True, slots=True)
class Draws:
    """Which places are drawn, and by which luck.

    Attributes:
        share: of the places, evenly spread (`is_drawn`).
        temperature: of the draws.
        key: 64 bits of the slate's; the same slate draws the same.
        names: [candidates] int32, what tells them apart, in whatever order they come.
    """

    share: float
    temperature: float
    key: int
    names: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tiers:
    """Where an order is cut: who stands in a tier comes before all of the next.

    Attributes:
        ends: [tiers] int64, rising, the last the number of candidates.
        drawn: [tiers] bool, whether its places may be drawn: candidates of finite relevance.
    """

    ends: NDArray[np.int64]
    drawn: NDArray[np.bool_]

    @classmethod
    def of(cls, groups: NDArray[np.int64], drawn: NDArray[np.bool_]) -> "Tiers":
        """From what each candidate belongs to [candidates], in order, equal ones side by side.

        >>> Tiers.of(np.array([4, 4, 2]), np.array([True, True, False])).ends.tolist()
        [2, 3]
        """
        if not len(groups):
            return cls(np.zeros(0, np.int64), drawn)
        cuts = np.flatnonzero(groups[1:] != groups[:-1])
        ends = np.empty(len(cuts) + 1, np.int64)
        ends[:-1], ends[-1] = cuts + 1, len(groups)
        return cls(ends, drawn[ends - 1])


@dataclass(frozen=True, slots=True)
class Placed:
    """Who came where, and why.

    Attributes:
        rows: [places] intp, of the candidates in the order given.
        propensities: [places] float64, the chance of each given those above it.
        causes: [places] int8, of CAUSES: what drew it, or refused it a place further up.
    """

    rows: NDArray[np.intp]
    propensities: NDArray[np.float64]
    causes: NDArray[np.int8]


def placed(
    relevance: NDArray[np.float64],
    sellers: NDArray[np.int32],
    categories: NDArray[np.int32],
    bands: NDArray[np.int8],
    *,
    k: int,
    page: int,
    reach: int,
    tiers: Tiers,
    caps: Caps,
    draws: Draws | None = None,
) -> Placed:
    """Fill places from the top, each by the first candidate in order that no cap refuses.

    A tier's candidates are all placed before any of the next. Where all within reach are refused,
    the price's cap yields first, then the category's, then the seller's, by another round for
    every seller as in `compose.cap_sellers`. At a drawn place
    the candidates within reach that no cap refuses are drawn from by a Plackett-Luce model of
    relevance / temperature: chance exp(r_i / τ) / Σ_j exp(r_j / τ) over these. Whoever has most
    relevance / τ + luck is drawn, which has just this chance where luck is Gumbel's. Each place
    has luck of its own: with one luck for all, a candidate that a cap kept from an earlier draw
    would be drawn too often. Sources: Plackett, "The analysis of permutations", Applied Statistics
    24 (1975); Luce, "Individual choice behavior", 1959; Kool, van Hoof & Welling, "Stochastic
    beams and where to find them", ICML 2019, section 2, for the Gumbel-max trick.

    Args:
        relevance: [candidates] float64, finite in tiers that are drawn; the candidates in order.
        sellers: [candidates] int32.
        categories: [candidates] int32.
        bands: [candidates] int8, of price.
        k: at most so many places.
        page: caps of a page hold for each so many places.
        reach: so many of those not shown yet are looked at for a place.
        tiers: see there. Where one begins that may be drawn, the seller's cap is as at first.
        caps: see there.
        draws: none for an order without chance.

    >>> same, one = np.zeros(4, np.int32), Tiers(np.array([4]), np.array([True]))
    >>> placed(np.arange(4.0), np.array([7, 7, 7, 8], np.int32), same, same.astype(np.int8),
    ...     k=3, page=3, reach=4, tiers=one, caps=Caps(seller=1)).rows.tolist()
    [0, 3, 1]
    """
    drawn = draws or Draws(0.0, 1.0, 0, np.zeros(0, np.int32))
    return Placed(
        *_place(
            relevance, sellers, categories, bands, min(k, len(relevance)), page, reach,
            tiers.ends, tiers.drawn, caps.seller, caps.category, caps.price, drawn.share,
            drawn.temperature, np.uint64(drawn.key), drawn.names,
        )
    )  # fmt: skip


@njit(cache=True, nogil=True)
def is_drawn(place: int, share: float) -> bool:
    """Whether a place, counted from 0, is one of those drawn: every 1/share-th.

    >>> [place for place in range(24) if is_drawn(place, 0.1)]
    [9, 19]
    """
    return math.floor((place + 1) * share) > math.floor(place * share)


@njit(cache=True, nogil=True)
def _place(
    relevance: Array, sellers: Array, categories: Array, bands: Array, k: int, page: int,
    reach: int, ends: Array, drawn: Array, seller_cap: int, category_cap: int, price_cap: int,
    share: float, temperature: float, key: Any, names: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    n = len(relevance)
    rows, propensities = np.empty(k, np.intp), np.ones(k)
    refused = np.zeros(n, np.int8)
    left = np.ones(n, np.bool_)
    # How many with the same code were placed: on the slate, and twice on the page.
    of_seller, of_category, of_band = (
        np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int32)
    )  # fmt: skip
    most = seller_cap if seller_cap > 0 else n + 1
    category_most = category_cap if category_cap > 0 else n + 1
    price_most = price_cap if price_cap > 0 else n + 1
    first = tier = 0
    for place in range(k):
        if place % page == 0:
            of_category[:] = 0
            of_band[:] = 0
        while not left[first]:
            first += 1
        while first >= ends[tier]:
            tier += 1
            if drawn[tier] and seller_cap > 0:
                most = seller_cap
        end, best = ends[tier], -1
        if share > 0 and drawn[tier] and is_drawn(place, share):
            best, chance = _draw(
                relevance, place, key, names, temperature, left, first, end, reach, of_seller,
                most, of_category, category_most, of_band, price_most,
            )  # fmt: skip
            if best >= 0:
                propensities[place], refused[best] = chance, _DRAWN
        while best < 0:
            best = _first_fit(
                left, refused, first, end, reach, of_seller, most, of_category, category_most,
                of_band, price_most,
            )  # fmt: skip
            if best < 0:
                most += seller_cap
        rows[place] = best
        left[best] = False
        _count(sellers, sellers[best], of_seller, seller_cap)
        _count(categories, categories[best], of_category, category_cap)
        _count(bands, bands[best], of_band, price_cap)
    return rows, propensities, refused[rows]


@njit(cache=True, nogil=True)
def _count(codes: Array, code: int, counts: Array, cap: int) -> None:
    if cap > 0:
        for i in range(len(codes)):
            if codes[i] == code:
                counts[i] += 1


@njit(cache=True, nogil=True)
def _draw(
    relevance: Array, place: int, key: Any, names: Array, temperature: float, left: Array,
    first: int, end: int, reach: int, of_seller: Array, most: int, of_category: Array,
    category_most: int, of_band: Array, price_most: int,
) -> tuple[int, float]:  # fmt: skip
    """Who is drawn among those within reach that no cap refuses, and its chance; -1 for nobody."""
    best, looked, stop, top, luckiest = -1, 0, end, -np.inf, 0.0
    for i in range(first, end):
        if not left[i]:
            continue
        if looked == reach:
            stop = i
            break
        looked += 1
        if of_seller[i] < most and of_category[i] < category_most and of_band[i] < price_most:
            top = max(top, relevance[i])
            luck = relevance[i] / temperature + gumbel(key, names[i], place)
            if best < 0 or luck > luckiest:
                best, luckiest = i, luck
    if best < 0:
        return best, 1.0
    total = 0.0
    for i in range(first, stop):
        if not left[i]:
            continue
        if of_seller[i] < most and of_category[i] < category_most and of_band[i] < price_most:
            total += math.exp((relevance[i] - top) / temperature)
    return best, math.exp((relevance[best] - top) / temperature) / total


@njit(cache=True, nogil=True)
def _first_fit(
    left: Array, refused: Array, first: int, end: int, reach: int, of_seller: Array, most: int,
    of_category: Array, category_most: int, of_band: Array, price_most: int,
) -> int:  # fmt: skip
    """The first that no cap refuses, else whom fewest refuse; -1 where the seller's refuses all."""
    of_price, of_both, looked = -1, -1, 0
    for i in range(first, end):
        if not left[i]:
            continue
        # Past reach a listing is taken only where nobody before it would do at all.
        if looked >= reach and (of_price >= 0 or of_both >= 0):
            break
        looked += 1
        if of_seller[i] >= most:
            refused[i] = refused[i] or _SELLER
        elif of_category[i] >= category_most:
            refused[i] = refused[i] or _CATEGORY
            of_both = i if of_both < 0 else of_both
        elif of_band[i] >= price_most:
            refused[i] = refused[i] or _PRICE
            of_price = i if of_price < 0 else of_price
        else:
            return i
    return of_price if of_price >= 0 else of_both
