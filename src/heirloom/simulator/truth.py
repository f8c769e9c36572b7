"""Truth: what a listing is worth to a person in a context, and a slate as their sum.

    value(slate) = Σ_i examination(i) · worth(person, listing_i, context)
    worth = P(click | examined) · (w_click + Σ_a w_a · P(a | click)),  a = save … purchase

Two scores decide: `appeal` (does one look closer?) and `conviction` (does one go on, having
looked?). The equations stand in docs/simulator.md. No noise per pair of person and listing enters:
chance acts in drawing the actions alone, so the oracle's value can be learned in principle.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import ENGAGEMENT_KINDS, Kind
from heirloom.simulator.people import Taste
from heirloom.simulator.stock import Goods

WEIGHTS: dict[str, float] = {
    Kind.CLICK.value: 1.0,
    Kind.SAVE.value: 2.0,
    Kind.MESSAGE.value: 3.0,
    Kind.OFFER.value: 4.0,
    Kind.PURCHASE.value: 10.0,
}
"""What one action is worth, in clicks."""
_WEIGHTS = np.array([WEIGHTS[kind.value] for kind in ENGAGEMENT_KINDS])

ROW_FADE, RIGHT_COLUMN = 0.10, 0.93
"""Examination falls by 10 % a row; the right column is seen 7 % less than the left."""

STYLE, NEED, CLICK_BASE = 1.1, 1.6, -3.9
SAME_SUB, SAME_FAMILY, ELSEWHERE, SAME_BRAND = 1.1, -0.3, -1.6, 0.6
SEARCH_LIFT, NOT_ASKED, NOT_BRAND, NOT_COLOUR = 0.9, -3.0, -2.2, -0.9
_AFTER_CLICK = np.array([[-2.0, 0.7], [-3.6, 0.6], [-4.1, 0.7], [-4.6, 1.0]])
"""Intercept and slope on conviction of save, message, offer and purchase."""
BOT_CLICK = 0.35
"""A bot clicks what it sees with this chance, whatever it is."""
SIMILAR, SEARCH = 1, 2
"""Surface codes within the simulator; 0 is home."""
HOUR_MS = 3_600_000.0


class Asks(NamedTuple):
    """Columns [queries] that the truth reads of a query; -1 where nothing is asked."""

    person: NDArray[np.int32]
    t: NDArray[np.int64]
    surface: NDArray[np.int8]
    anchor: NDArray[np.int32]
    want_path: NDArray[np.int32]
    want_brand: NDArray[np.int32]
    want_colour: NDArray[np.int32]
    filter_path: NDArray[np.int32]
    filter_size: NDArray[np.int32]

    def take(self, rows: NDArray[np.integer]) -> "Asks":
        """The queries at these rows, in their order."""
        columns: list[Any] = [column[rows] for column in self]
        return Asks(*columns)


def examination(k: int) -> NDArray[np.float64]:
    """Chance [k] that a position of the two-column grid is looked at.

    >>> examination(3).round(3).tolist()
    [1.0, 0.93, 0.905]
    """
    position = np.arange(k)
    chance: NDArray[np.float64] = np.exp(-ROW_FADE * (position // 2)) * np.where(
        position % 2, RIGHT_COLUMN, 1.0
    )
    return chance


Examined = Callable[[int], NDArray[np.float64]]
"""From k to the chance [k] that each position is looked at."""


def power_law(exponent: float) -> Examined:
    """Examination by rank alone: 1 / rank^exponent, rank from 1.

    The curve of which click models are tried by custom (Joachims, Swaminathan and Schnabel,
    "Unbiased learning-to-rank with biased feedback", WSDM 2017, section 6).

    >>> power_law(1.0)(3).round(3).tolist()
    [1.0, 0.5, 0.333]
    """

    def examined(k: int) -> NDArray[np.float64]:
        chance: NDArray[np.float64] = np.arange(1.0, k + 1) ** -exponent
        return chance

    return examined


def scores(
    taste: Taste,
    goods: Goods,
    asks: Asks,
    under: NDArray[np.bool_],
    q: NDArray[np.integer],
    x: NDArray[np.integer],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Appeal and conviction of listings `x` for the queries `q`, two shapes that broadcast."""
    p, sub = asks.person[q], goods.sub[x]
    misfit = np.abs(goods.fit[x] - taste.fit[p, goods.group[x]])
    misfit = np.where(misfit > 0.25, np.minimum(misfit, 3.0), 0.0)  # NaN: no size, no misfit
    over = goods.log_price[x] - goods.base_log_price[x] - taste.price_level[p]
    deal = np.clip(goods.usual_log_price[x] - goods.log_price[x], -1.0, 1.0)
    age_h = np.maximum(asks.t[q] - goods.listed_at[x], 0) / HOUR_MS
    brand = goods.brand[x]
    fondness = sum(
        np.where(taste.favourite[p, i] == brand, taste.fondness[p, i], 0.0)
        for i in range(taste.favourite.shape[1])
    )
    wanted = np.zeros(sub.shape, np.bool_)
    for i in range(taste.need.shape[1]):
        wanted = wanted | (taste.need[p, i] == sub)
    need = np.where(wanted, NEED, 0.0)
    match = STYLE * _dot(taste.taste[p], goods.style[x])
    sense = taste.price_sense[p]

    appeal = CLICK_BASE + taste.department[p, goods.department[x]] + taste.category[p, sub]
    appeal = appeal + need + fondness + match + goods.quality[x]
    appeal = appeal - np.where(misfit > 0.0, 0.4 + 0.6 * misfit, 0.0)
    appeal = appeal - sense * np.minimum(0.35 * over * over, 2.0) + 0.7 * np.exp(-age_h / 72.0)
    appeal = appeal + 0.6 * deal
    appeal = appeal + _context(goods, asks, under, q, x)
    conviction = 0.5 * need + 0.5 * fondness + 0.6 * match + goods.reliability[x] + 0.8 * deal
    conviction = conviction - 1.1 * misfit - sense * np.clip(0.9 * over, -0.5, 2.5)
    return appeal, conviction


def _context(
    goods: Goods,
    asks: Asks,
    under: NDArray[np.bool_],
    q: NDArray[np.integer],
    x: NDArray[np.integer],
) -> NDArray[np.float64]:
    """What the surface adds: likeness to the anchor, or what the search asked for."""
    surface = asks.surface[q]
    added = np.where(surface == SEARCH, SEARCH_LIFT, 0.0)
    sub, brand = goods.sub[x], goods.brand[x]
    if (surface == SIMILAR).any():
        a = np.maximum(asks.anchor[q], 0)
        family = np.where(goods.family[x] == goods.family[a], SAME_FAMILY, ELSEWHERE)
        like = np.where(sub == goods.sub[a], SAME_SUB, family)
        like = like + np.where(brand == goods.brand[a], SAME_BRAND, 0.0)
        like = like + 0.7 * _dot(goods.style[a], goods.style[x])
        like = like - 0.25 * np.minimum(np.abs(goods.log_price[x] - goods.log_price[a]), 2.0)
        added = np.where(surface == SIMILAR, like, added)
    if (surface == SEARCH).any():
        path, wanted, colour = asks.want_path[q], asks.want_brand[q], asks.want_colour[q]
        added = added + np.where((path >= 0) & ~under[path, sub], NOT_ASKED, 0.0)
        added = added + np.where((wanted >= 0) & (wanted != brand), NOT_BRAND, 0.0)
        missed = (colour >= 0) & (colour != goods.colour[x])
        added = added + np.where(missed, NOT_COLOUR, 0.0)
    return added


def worth(appeal: NDArray[np.float64], conviction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected points of a listing that is looked at, in clicks."""
    after = np.full(np.shape(conviction), _WEIGHTS[0])
    for weight, (base, slope) in zip(_WEIGHTS[1:], _AFTER_CLICK, strict=True):
        after += weight * _sigmoid(base + slope * conviction)
    expected: NDArray[np.float64] = _sigmoid(appeal) * after
    return expected


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    chance: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-z))
    return chance


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = np.einsum("...d,...d->...", a, b)
    return product


def allowed(
    goods: Goods,
    asks: Asks,
    under: NDArray[np.bool_],
    q: NDArray[np.integer],
    x: NDArray[np.integer],
) -> NDArray[np.bool_]:
    """Whether a listing is live, the filters let it through, and it is not the anchor itself."""
    path, size = asks.filter_path[q], asks.filter_size[q]
    keep: NDArray[np.bool_] = goods.live[x] & ((path < 0) | under[path, goods.sub[x]])
    keep = keep & ((size < 0) | (size == goods.size[x]))
    other: NDArray[np.bool_] = (asks.surface[q] != SIMILAR) | (asks.anchor[q] != x)
    return keep & other


def action_chances(
    taste: Taste, goods: Goods, asks: Asks, under: NDArray[np.bool_], slates: NDArray[np.int32]
) -> NDArray[np.float64]:
    """P(click | examined), then P(save … purchase | click): [queries, k, actions].

    Zero where a slate is empty or shows what is sold. `slates` [queries, k] listing numbers.
    """
    chances = np.zeros((*slates.shape, len(ENGAGEMENT_KINDS)))
    q, i = np.nonzero((slates >= 0) & goods.live[slates])
    appeal, conviction = scores(taste, goods, asks, under, q, slates[q, i])
    bot = taste.bot[asks.person[q]]
    chances[q, i, 0] = np.where(bot, BOT_CLICK, _sigmoid(appeal))
    for a, (base, slope) in enumerate(_AFTER_CLICK, 1):
        chances[q, i, a] = np.where(bot, 0.0, _sigmoid(base + slope * conviction))
    return chances


def slate_values(
    taste: Taste, goods: Goods, asks: Asks, under: NDArray[np.bool_], slates: NDArray[np.int32],
    examined: Examined = examination,
) -> NDArray[np.float64]:  # fmt: skip
    """True expected value [queries] of slates [queries, k], in clicks; 0 for bots.

    A listing that is sold, that the filters exclude, or that stands in a slate for the second
    time, is worth nothing there. `examined` must not rise from the left.
    """
    k = slates.shape[1]
    earlier = np.tril(np.ones((k, k), np.bool_), -1)
    again = ((slates[:, :, None] == slates[:, None, :]) & earlier).any(axis=2)
    every = np.arange(len(slates))[:, None]
    counted = (slates >= 0) & ~again & ~taste.bot[asks.person][:, None]
    q, i = np.nonzero(counted & allowed(goods, asks, under, every, slates))
    appeal, conviction = scores(taste, goods, asks, under, q, slates[q, i])
    points = examined(k)[i] * worth(appeal, conviction)
    return np.bincount(q, points, len(slates)).astype(np.float64)


def best_slates(
    taste: Taste,
    goods: Goods,
    asks: Asks,
    under: NDArray[np.bool_],
    exclude: NDArray[np.int32],
    k: int,
) -> NDArray[np.int32]:
    """The oracle: per query the k live, allowed listings of greatest worth, best first.

    `exclude` [queries, excluded] are listings of the visit's earlier pages, -1 for none. As
    worth does not depend on the rest of the slate and examination falls with the position, the
    greedy slate is the best slate. Ties go to the lower number.
    """
    slates = np.full((len(exclude), k), -1, np.int32)
    everything = np.arange(len(goods.live))
    for row in range(len(exclude)):
        q = np.array([row])
        keep = allowed(goods, asks, under, q, everything)
        keep[exclude[row, exclude[row] >= 0]] = False
        x = np.flatnonzero(keep)
        appeal, conviction = scores(taste, goods, asks, under, q, x)
        if len(x) > 4 * k:
            # Below `least` even the surest of buyers is worth less than k of the most appealing.
            top = np.argpartition(-appeal, 4 * k)[: 4 * k]
            share = np.partition(worth(appeal[top], conviction[top]), -k)[-k] / _WEIGHTS.sum()
            near = appeal >= np.log(share / (1.0 - share))
            x, appeal, conviction = x[near], appeal[near], conviction[near]
        best = np.argsort(-worth(appeal, conviction), kind="stable")[:k]
        slates[row, : len(best)] = x[best]
    return slates
