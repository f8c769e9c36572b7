"""Rate: engagement per day on offer, of listings, groups of the like, categories and all."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, joined, within
from heirloom.retrieval.decayed import Decayed, read_at
from heirloom.retrieval.top import fitted

DAY_MS = 86_400_000
_NOTHING = np.zeros(0, np.int64)
_LEAST = 1e-9
"""A rate before anybody engaged with anything: the same for all."""

Rows = NDArray[Any]
Times = NDArray[np.int64]


class Rate:
    """Decayed engagement over decayed days on offer, each level shrunk to the one above.

    rate = (E + prior · rate above) / (X + prior), the posterior mean of a Poisson rate under a
    Gamma prior worth `prior_days` on offer (Gelman et al., "Bayesian data analysis", 3rd ed.,
    section 2.6). X of a listing on offer since t0 is the integral of the decay,
    (1 - 2^-((t - t0) / half_life)) · half_life / ln 2. Its sum over a group is kept as the number
    on offer and one decayed sum of the moments at which listings came and went.
    """

    def __init__(self, half_life_ms: int, prior_days: float) -> None:
        self.counts = Decayed(half_life_ms)
        self.prior_days = prior_days
        self._life_days = half_life_ms / DAY_MS / math.log(2)
        self._on_offer: dict[str, NDArray[np.int64]] = {}

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return joined({"counts": self.counts.arrays(), "on_offer": self._on_offer})

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self.counts.restore(within(arrays, "counts"))
        self._on_offer = within(arrays, "on_offer")

    def move(self, level: str, rows: Rows, t: Times, signs: NDArray[np.int64]) -> None:
        """Listings that come on offer (sign 1) or go (-1) at t, by their row of a level."""
        if not len(rows):
            return
        self.counts.add(("moved", level), rows, signs * self.counts.decay.weight(t))
        kept = self._on_offer.get(level, np.zeros(0, np.int64))
        self._on_offer[level] = fitted(kept, int(rows.max()) + 1)
        np.add.at(self._on_offer[level], rows, signs)

    def open(self, slots: Rows, t: Times) -> None:
        """New listings in slots, whatever they held forgotten before."""
        self.counts.add(("since", "slot"), slots, self.counts.decay.weight(t))

    def engage(self, level: str, rows: Rows, weighted: NDArray[np.float64]) -> None:
        """Engagement, already weighted by time (`counts.decay.weight`), by row of a level."""
        self.counts.add(("engaged", level), rows, weighted)

    def by_category(self, size: int, t: int) -> NDArray[np.float64]:
        """[size] float64, engagement a day of each category as of t, above them that of all."""
        counts, none = self.counts, _NOTHING
        kept, on_offer = counts.kept, self._on_offer
        rates: NDArray[np.float64] = _by_category(
            size,
            (on_offer.get("all", none), kept(("moved", "all")), kept(("engaged", "all"))),
            (
                on_offer.get("category", none),
                kept(("moved", "category")),
                kept(("engaged", "category")),
            ),
            (counts.decay.scale(t), self._life_days, self.prior_days),
        )
        return rates

    def of_listings(
        self,
        rows: Rows,
        columns: tuple[Rows, Rows, Rows],
        category: NDArray[np.int64],
        t: int,
        by_category: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """[rows] float64, engagement a day of each listing as of t.

        Args:
            rows: of the columns, where the listings stand.
            columns: each one's row of its group of the like; and `per_listing`, of the same rows.
            category: [groups] each one's category.
            t: as of when, ms.
            by_category: [categories] float64, their rates.
        """
        counts, none = self.counts, _NOTHING
        rates: NDArray[np.float64] = _of_listings(
            rows,
            columns,
            category,
            by_category,
            (
                self._on_offer.get("group", none),
                counts.kept(("moved", "group")),
                counts.kept(("engaged", "group")),
            ),
            (counts.decay.scale(t), self._life_days, self.prior_days),
        )
        return rates

    @property
    def per_listing(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[slots] the decayed moments at which each was listed, and each one's engagement.

        As they are kept: where nothing was counted they end, which reads as 0.
        """
        return self.counts.kept(("since", "slot")), self.counts.kept(("engaged", "slot"))


@njit(cache=True)
def _one(engaged: float, days: float, above: float, prior: float) -> float:
    """(E + prior · rate above) / (X + prior); a clock a little behind the log would make X < 0."""
    return max((engaged + prior * above) / (max(days, 0.0) + prior), _LEAST)


@njit(cache=True)
def _at_level(
    counts: tuple[Rows, Rows, Rows], row: int, above: float, constants: tuple[float, float, float]
) -> float:
    """The rate of one row of a level: `counts` are on offer, moved and engaged."""
    on_offer, moved, engaged = counts
    scale, life, prior = constants
    number = on_offer[row] if row < len(on_offer) else 0
    days = (number - read_at(moved, row, scale)) * life
    return _one(read_at(engaged, row, scale), days, above, prior)


@njit(cache=True)
def _by_category(
    size: int,
    all_counts: tuple[Rows, Rows, Rows],
    counts: tuple[Rows, Rows, Rows],
    constants: tuple[float, float, float],
) -> Rows:
    """Each category's rate, shrunk to that of all."""
    everything = _at_level(all_counts, 0, 0.0, constants)
    rates = np.empty(size)
    for row in range(size):
        rates[row] = _at_level(counts, row, everything, constants)
    return rates


@njit(cache=True)
def _of_listings(
    rows: Rows,
    columns: tuple[Rows, Rows, Rows],
    category: Rows,
    by_category: Rows,
    group_counts: tuple[Rows, Rows, Rows],
    constants: tuple[float, float, float],
) -> Rows:
    """Each listing's rate, shrunk to its group's, that to its category's; a group's made once."""
    group, since, engaged = columns
    scale, life, prior = constants
    rates, by_group = np.empty(len(rows)), np.zeros(len(category))
    for i in range(len(rows)):
        row = rows[i]
        of = group[row]
        if by_group[of] == 0.0:  # a rate never is
            above = by_category[category[of]]
            by_group[of] = _at_level(group_counts, of, above, constants)
        days = (1 - read_at(since, row, scale)) * life
        rates[i] = _one(read_at(engaged, row, scale), days, by_group[of], prior)
    return rates
