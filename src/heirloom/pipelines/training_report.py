"""TrainingReport: what a training found out about its features, and whether it can be believed.

It lies in the bundle as `report.json`, so nothing in it depends on the clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.intervals import Interval
from heirloom.ranking.examples import take
from heirloom.ranking.ranker import Examples, Ranker

REPORT_FILE = "report.json"


class Drop(msgspec.Struct, frozen=True):
    """How much worse a metric is without what a column or a group of columns says.

    Attributes:
        name: the column's or the group's.
        mean: metric with it minus metric without it; above 0, it helps.
        low, high: ends of the 95 % interval, by a paired bootstrap over slates.
    """

    name: str
    mean: float
    low: float
    high: float


class Drops(msgspec.Struct, frozen=True, kw_only=True):
    """Drops for one action on one surface, the largest first.

    Attributes:
        of: "column", "group", or "retrained": fitted again without the group.
        label: what the scores are held against: the gain, or an action.
        metric: ndcg@10, or log_likelihood (mean of a row, natural logarithm).
        surface: a surface's name, or "all".
        slates: so many it was measured on.
        value: the metric as it is.
        drops: one for each column or group.
    """

    of: str
    label: str
    metric: str
    surface: str
    slates: int
    value: float
    drops: tuple[Drop, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check of leakage came to.

    Attributes:
        check: its name.
        holds: None where it could not be made; the text says why.
        text: one sentence for a person, with what to do.
        columns: those under suspicion.
        numbers: what it rests on.
    """

    check: str
    holds: bool | None
    text: str
    columns: tuple[str, ...] = ()
    numbers: dict[str, float] = {}


class TrainingReport(msgspec.Struct, frozen=True, kw_only=True):
    """Importance of features and checks of leakage, of one training."""

    drops: tuple[Drops, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def refused(self) -> tuple[str, ...]:
        """Why a bundle with this report must not be published."""
        return tuple(f"{each.check}: {each.text}" for each in self.findings if each.holds is False)

    def encode(self) -> bytes:
        """As JSON, the same bytes for the same report."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @classmethod
    def decode(cls, text: bytes) -> "TrainingReport":
        """What `encode` wrote."""
        return msgspec.json.decode(text, type=cls)


Orders = Callable[[Ranker, Examples, NDArray[np.int8]], NDArray[np.float32]]
"""(ranker, examples, surface codes [rows]) → [rows] float32, what each surface orders by."""


Prepare = Callable[[Examples, NDArray[np.int8]], Examples]
"""(examples, surface codes [rows]) → what is fitted on: weighed, or with logits of the place."""


def as_they_are(examples: Examples, surfaces: NDArray[np.int8]) -> Examples:
    """The examples: nothing is done to them before a fit."""
    del surfaces
    return examples


def by_first_score(
    ranker: Ranker, examples: Examples, surfaces: NDArray[np.int8]
) -> NDArray[np.float32]:
    """[rows] float32, the first of the ranker's scores: of one that has one, the order."""
    del surfaces
    return ranker.score(FeatureBatch(examples.values, examples.columns, 0))[:, 0]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training hands over to be looked into.

    Attributes:
        kind: the ranker's class.
        settings: of its `fit`, by name; what is not named has its default.
        ranker: fitted on `learn`, stopped by `validation`; it has not seen `test`.
        examples: all of them, in the order of the log.
        surfaces: [rows] int8, their surface codes.
        learn, validation, test: rows of each part.
        gains: worth of each action, by event kind.
        seed: of the training.
        orders: what the ranker's scores order by, surface by surface.
        prepare: what was done with examples before `ranker` was fitted on them.
    """

    kind: type[Ranker]
    settings: Mapping[str, Any]
    ranker: Ranker
    examples: Examples
    surfaces: NDArray[np.int8]
    learn: NDArray[np.intp]
    validation: NDArray[np.intp]
    test: NDArray[np.intp]
    gains: Mapping[str, float]
    seed: int
    orders: Orders = by_first_score
    prepare: Prepare = as_they_are

    def fit(
        self, examples: Examples, learn: NDArray[np.intp], validation: NDArray[np.intp]
    ) -> Ranker:
        """Another ranker of the same class, settings and seed.

        Args:
            examples: in place of this one's, row by row: with other gains or columns.
            learn: rows to learn from.
            validation: rows to stop by.
        """
        fit: Callable[..., Ranker] = self.kind.fit
        parts = (
            self.prepare(take(examples, rows), self.surfaces[rows]) for rows in (learn, validation)
        )
        return fit(*parts, seed=self.seed, **self.settings)


Audit = Callable[[Fitted], TrainingReport]
"""Looks into a training before its bundle is written."""


def dropped(name: str, interval: Interval) -> Drop:
    """An interval of paired differences, to six digits: more would be noise in the file."""
    return Drop(name, round(interval.mean, 6), round(interval.low, 6), round(interval.high, 6))
