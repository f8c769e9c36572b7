"""Rate: engagement per day on offer, of listings, groups of the like, categories and all."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.kept import Arrays, Given, joined, within
from heirloom.retrieval.decayed import Decayed
from heirloom.retrieval.top import at_rows, fitted

DAY_MS = 86_400_000
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

    def of_level(
        self, level: str, size: int, t: int, above: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """[size] float64, engagement a day of each row of a level as of t.

        `above` is the rate of the level above it, [size] or one for all.
        """
        return self.of_rows(level, np.arange(size), t, above)

    def of_rows(
        self, level: str, rows: Rows, t: int, above: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """[rows] float64, the same of some rows of a level; `above` is [rows] or one for all."""
        number = at_rows(self._on_offer.get(level, np.zeros(0, np.int64)), rows)
        days = (number - self.counts.read(("moved", level), rows, t)) * self._life_days
        return self._shrunk(self.counts.read(("engaged", level), rows, t), days, above)

    def of_slots(
        self, slots: Rows, t: int, above: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """[slots] float64, engagement a day of each listing as of t."""
        days = (1 - self.counts.read(("since", "slot"), slots, t)) * self._life_days
        return self._shrunk(self.counts.read(("engaged", "slot"), slots, t), days, above)

    def _shrunk(
        self,
        engaged: NDArray[np.float64],
        days: NDArray[np.float64],
        above: NDArray[np.float64] | float,
    ) -> NDArray[np.float64]:
        # A clock a little behind the log would make days negative.
        days = np.maximum(days, 0)
        rate = (engaged + self.prior_days * above) / (days + self.prior_days)
        return np.maximum(rate, _LEAST)
