"""Observed: what a log would show so far. The built-in policies read this, never the truth."""

import numpy as np
from numpy.typing import NDArray

from heirloom.simulator.behaviour import Actions
from heirloom.simulator.people import People
from heirloom.simulator.queries import QueryColumns
from heirloom.simulator.stock import DAY_MS, Stock

HALF_LIFE_DAYS = 5.0
POINTS = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
"""What an action counts for, as truth.WEIGHTS states it openly."""


class Observed:
    """Decayed attention and engagement by listing, and the departments that people click."""

    def __init__(self, stock: Stock, people: People) -> None:
        self.stock, self.people = stock, people
        self.attention = np.zeros(len(stock))
        """[listings] impressions, each weighed by its position's click rate against the first's."""
        self.engagement = np.zeros(len(stock))
        """[listings] points."""
        self.departments = np.zeros((len(people.declared), len(stock.paths)))
        """[people, paths] clicks."""
        self.departments[people.declared, people.own_department[people.declared]] = 5.0
        self._shown_at = np.ones(1)
        self._clicked_at = np.ones(1)

    def fold(self, queries: QueryColumns, slates: NDArray[np.int32], actions: Actions) -> None:
        """Take over one round."""
        self._grow(len(self.stock), slates.shape[1])
        shown = slates >= 0
        k = slates.shape[1]
        self._shown_at[:k] += shown.sum(axis=0)
        clicks = actions.action == 0
        self._clicked_at[:k] += np.bincount(actions.position[clicks], minlength=k)
        rate = self._clicked_at / self._shown_at
        seen = np.minimum(rate / rate[0], 1.0)
        attention = np.broadcast_to(seen[:k], slates.shape)[shown]
        self.attention += np.bincount(slates[shown], attention, len(self.attention))
        touched = slates[actions.row, actions.position]
        self.engagement += np.bincount(touched, POINTS[actions.action], len(self.engagement))
        person = queries.asks.person[actions.row[clicks]]
        department = self.stock.of_sub["department"][self.stock.column("sub")[touched[clicks]]]
        np.add.at(self.departments, (person, department), 1.0)

    def age(self, ms: int) -> None:
        """Let the counts fade as time goes by."""
        kept = 0.5 ** (ms / (HALF_LIFE_DAYS * DAY_MS))
        self.attention *= kept
        self.engagement *= kept

    def known_department(self, person: NDArray[np.int32]) -> NDArray[np.int32]:
        """[rows] path code: the department declared, or of two thirds of two clicks or more; -1."""
        counts = self.departments[person]
        best = counts.argmax(axis=1)
        top = counts[np.arange(len(best)), best]
        sure = (top >= 2) & (top * 3 >= counts.sum(axis=1) * 2)
        return np.where(sure, best, -1).astype(np.int32)

    def popularity(self, smoothing: float = 8.0) -> NDArray[np.float64]:
        """Points per attention [listings], smoothed to the brand's rate, that to the world's."""
        self._grow(len(self.stock), 1)
        brand = self.stock.column("brand")
        seen = np.bincount(brand, self.attention)
        points = np.bincount(brand, self.engagement)
        world = (points.sum() + 1.0) / (seen.sum() + 10.0)
        of_brand = (points + 100.0 * world) / (seen + 100.0)
        rate: NDArray[np.float64] = (self.engagement + smoothing * of_brand[brand]) / (
            self.attention + smoothing
        )
        return rate

    def _grow(self, listings: int, k: int) -> None:
        if len(self.attention) < listings:
            new = np.zeros(listings - len(self.attention))
            self.attention = np.concatenate([self.attention, new])
            self.engagement = np.concatenate([self.engagement, new])
        if len(self._shown_at) < k:
            # A prior of 100 impressions at a click rate of one in ten everywhere.
            self._shown_at = np.full(k, 100.0)
            self._clicked_at = np.full(k, 10.0)
