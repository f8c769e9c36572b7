"""Slates done plainly: what the compiled rules must equal, row by row."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from heirloom.slates.luck import gumbel
from heirloom.slates.places import CAUSES, Caps, Draws, Placed, Tiers


def mmr(
    relevance: NDArray[np.float64], codes: NDArray[np.int8], k: int, weight: float
) -> NDArray[np.intp]:
    """What `slates.diversity.mmr` gives, in numpy, the nearest chosen one kept up to date."""
    inverse = _inverse(codes)
    wide = codes.astype(np.float32)
    chosen: list[int] = []
    nearest = np.zeros(len(relevance))
    values = (1.0 - weight) * relevance - weight * nearest
    for _ in range(min(k, len(relevance))):
        values[chosen] = -np.inf
        best = int(np.argmax(values))
        chosen.append(best)
        cosine = (wide @ wide[best]).astype(np.float64) * inverse * inverse[best]
        nearest = cosine if len(chosen) == 1 else np.maximum(nearest, cosine)
        values = (1.0 - weight) * relevance - weight * nearest
    return np.array(chosen, np.intp)


def dpp(
    relevance: NDArray[np.float64], codes: NDArray[np.int8], k: int, weight: float
) -> NDArray[np.intp]:
    """What `slates.diversity.dpp` gives: each time the row that adds most, from the whole matrix.

    The factor that a row adds to a determinant is what is left of it beside its projection on the
    chosen ones, here by solving the linear system anew.
    """
    inverse = _inverse(codes)
    whole = codes.astype(np.int64)
    like = (1.0 + (whole @ whole.T) * inverse[:, None] * inverse) / 2.0
    np.fill_diagonal(like, 1.0)
    chosen: list[int] = []
    for _ in range(min(k, len(relevance))):
        left = [i for i in range(len(relevance)) if i not in chosen]
        among = like[np.ix_(chosen, chosen)]
        values = []
        for i in left:
            beside = like[i, chosen]
            factor = 1.0 - beside @ np.linalg.lstsq(among, beside, rcond=None)[0]
            values.append(
                (1.0 - weight) * relevance[i] + weight * math.log(factor)
                if factor > 1e-9
                else -np.inf
            )
        chosen.append(left[int(np.argmax(values))])
    return np.array(chosen, np.intp)


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
    """What `slates.places.placed` gives, place by place, counting anew what stands above."""
    rows: list[int] = []
    chances: list[float] = []
    cause = dict.fromkeys(range(len(relevance)), "")
    seller_cap, ends, tier = caps.seller or len(relevance), tiers.ends.tolist(), 0
    for place in range(min(k, len(relevance))):
        above, on_page = rows, rows[place - place % page :]
        left = [i for i in range(len(relevance)) if i not in above]
        now = next(i for i, end in enumerate(ends) if left[0] < end)
        if now != tier and tiers.drawn[tier + 1 : now + 1].any():
            seller_cap = caps.seller or len(relevance)
        tier = now
        left = [i for i in left if i < ends[tier]]
        shelf = _Shelf(sellers, categories, bands, caps, above, on_page)
        refused = partial(shelf.refusal, seller_cap=seller_cap)
        fit = [i for i in left[:reach] if not refused(i)]
        if draws and fit and tiers.drawn[tier] and _is_drawn(place, draws.share):
            luck = {
                i: relevance[i] / draws.temperature
                + gumbel(np.uint64(draws.key), draws.names[i], place)
                for i in fit
            }
            best = max(fit, key=lambda i: luck[i])
            top = max(relevance[i] for i in fit)
            weights = {i: math.exp((relevance[i] - top) / draws.temperature) for i in fit}
            chances.append(weights[best] / sum(weights.values()))
            cause[best] = "exploration"
        else:
            while all(refused(i) == "seller_cap" for i in left):
                for i in left:
                    cause[i] = cause[i] or "seller_cap"
                seller_cap += caps.seller
                refused = partial(shelf.refusal, seller_cap=seller_cap)
            best = _first(left, reach, refused, cause)
            chances.append(1.0)
        rows.append(best)
    causes = np.array([CAUSES.index(cause[i]) for i in rows], np.int8)
    return Placed(np.array(rows, np.intp), np.array(chances), causes)


@dataclass(frozen=True)
class _Shelf:
    """What stands above a place, on the slate and on the page."""

    sellers: NDArray[np.int32]
    categories: NDArray[np.int32]
    bands: NDArray[np.int8]
    caps: Caps
    above: list[int]
    on_page: list[int]

    def refusal(self, i: int, *, seller_cap: int) -> str:
        """The cap that refuses a candidate; empty for none."""
        if sum(self.sellers[j] == self.sellers[i] for j in self.above) >= seller_cap:
            return "seller_cap"
        for name, codes, cap in (
            ("category_cap", self.categories, self.caps.category),
            ("price_cap", self.bands, self.caps.price),
        ):
            if cap and sum(codes[j] == codes[i] for j in self.on_page) >= cap:
                return name
        return ""


def _first(
    left: list[int], reach: int, refused: Callable[[int], str], cause: dict[int, str]
) -> int:
    """The first that nothing refuses, else the first refused by price, else by category."""
    waiting: dict[str, int] = {}
    for looked, i in enumerate(left):
        if looked >= reach and waiting:
            break
        why = refused(i)
        if not why:
            return i
        cause[i] = cause[i] or why
        if why != "seller_cap":
            waiting.setdefault(why, i)
    return waiting.get("price_cap", waiting.get("category_cap", -1))


def _is_drawn(place: int, share: float) -> bool:
    return math.floor((place + 1) * share) > math.floor(place * share)


def _inverse(codes: NDArray[np.int8]) -> NDArray[np.float64]:
    squares = (codes.astype(np.int64) ** 2).sum(axis=1).astype(np.float64)
    inverse = np.zeros(len(codes))
    np.divide(1.0, np.sqrt(squares), out=inverse, where=squares > 0)
    return inverse
