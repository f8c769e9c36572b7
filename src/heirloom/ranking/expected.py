"""CatBoostExpected: what a listing is expected to gain, told in two ways that err apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.catboost import training_settings, with_position, without_time
from heirloom.ranking.cbm import Cbm
from heirloom.ranking.examples import checked, take, with_gain
from heirloom.ranking.ranker import POSITION, Correction, Examples

if TYPE_CHECKING:
    from catboost import Pool

FILES = ("gain.cbm", "chance.cbm", "worth.cbm")
TWEEDIE = "Tweedie:variance_power=1.8"
"""Most rows gain nothing and a few gain much: a compound of counts and sizes. Source: Jørgensen,
"Exponential dispersion models", JRSS B 1987; between 1 (Poisson) and 2 (gamma) both are present."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the ensembles.

    Attributes:
        loss: what it is fitted by.
        label: what it foretells, by the gains [rows].
        acted: only from rows that gained something.
        rate: of its trees, as a multiple of the ranker's learning rate.
    """

    loss: str
    label: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    acted: bool = False
    rate: float = 1.0


PARTS = (
    Part(TWEEDIE, lambda gains: gains),
    Part("Logloss", lambda gains: (gains > 0).astype(np.float32)),
    Part("Poisson", lambda gains: gains, acted=True, rate=0.5),
)
"""The gain; the chance of any; and the gain where there is one."""


SHALLOW: dict[str, Any] = {"depth": 4, "l2_leaf_reg": 20.0, "rsm": 0.25}
"""Gains are mostly chance: deeper trees, or freer ones, learn it. Each split chooses among a fourth
of the features: many say much the same, and so none is trusted alone."""


@dataclass(frozen=True, slots=True)
class Trees:
    """What trees of all ensembles are like."""

    depth: int = SHALLOW["depth"]
    learning_rate: float = 0.1
    l2_leaf_reg: float = SHALLOW["l2_leaf_reg"]
    column_share: float = SHALLOW["rsm"]

    def of(self, part: Part) -> dict[str, Any]:
        """As CatBoost calls them."""
        return {
            "depth": self.depth,
            "learning_rate": self.learning_rate * part.rate,
            "l2_leaf_reg": self.l2_leaf_reg,
            "rsm": self.column_share,
        }


TREES = Trees()


class CatBoostExpected:
    """log E[gain] + log P(gain > 0) + log E[gain | gain > 0], one score, higher is better.

    Three ensembles of symmetric trees over single rows. The first foretells the gain at once, the
    others as a hurdle model does, whether and then how much (Cragg, "Some statistical models for
    limited dependent variables", Econometrica 1971). Both are of the same thing and err apart: the
    sum is twice the log of their geometric mean. A rare dear action is one large label to the
    first; a hurdle keeps it from telling chances. Where all gains are alike there is no third.
    """

    corrections: ClassVar[tuple[Correction, ...]] = ("baseline",)
    """Log chances of the places: exact under the log links of two parts, near it for rare actions
    under the logit of the third. Weights of gains would not be seen by that one."""

    def __init__(
        self,
        parts: Sequence[Cbm],
        *,
        threads: int = 1,
        trees: Trees = TREES,
    ) -> None:
        self.columns = parts[0].columns[:-1]
        self.actions: tuple[str, ...] = ("gain",)
        self._parts = tuple(parts)
        self._threads = threads
        self._trees = trees

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        values = checked(batch, self.columns, "CatBoostExpected.score")
        if not len(values):
            return np.zeros((0, 1), np.float32)
        rows = with_position(values, None)
        return _logs([part.trees.predict(rows) for part in self._parts])[:, None]

    def without(
        self,
        batch: FeatureBatch,
        instead: NDArray[np.float32],
        group_of: NDArray[np.int64],
        groups: int,
    ) -> NDArray[np.float32]:
        """[candidates, groups, 1] float32, as LeavesOut says."""
        values = checked(batch, self.columns, "CatBoostExpected.without")
        rows = with_position(values, None)
        other, of = with_position(instead[None], None)[0], np.full(rows.shape[1], -1, np.int64)
        of[:-1] = group_of
        parts = [part.trees.without(rows, other, of, groups) for part in self._parts]
        return _logs(parts)[:, :, None]

    def save(self, folder: Path) -> None:
        """Write gain.cbm, chance.cbm and, if there is one, worth.cbm."""
        for file, part in zip(FILES, self._parts, strict=False):
            (folder / file).write_bytes(part.file)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or is of other columns.
        """
        files = FILES if (folder / FILES[2]).exists() else FILES[:2]
        parts = [Cbm.read(folder / file) for file in files]
        names = parts[0].columns
        for file, part in zip(files, parts, strict=True):
            if part.columns != names or names[-1:] != (POSITION,):
                raise BundleError(
                    f"CatBoostExpected.load: {file} wants {len(part.columns)} columns and "
                    f"{FILES[0]} {len(names)}; wanted the same of all, {POSITION!r} the last"
                )
        return cls(parts)

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        iterations: int = 1_200,
        depth: int = TREES.depth,
        learning_rate: float = TREES.learning_rate,
        l2_leaf_reg: float = TREES.l2_leaf_reg,
        column_share: float = TREES.column_share,
        patience: int = 60,
        thread_count: int = 2,
    ) -> Self:
        """Fit all three, each stopped when `validation` has not improved for `patience` trees.

        The third learns at half the learning rate: it has few rows.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
        """
        for name, part in (("train", train), ("validation", validation)):
            if not len(with_gain(part).values):
                raise InputError(
                    f"CatBoostExpected.fit: no group of the {name} examples has a gain; wanted at "
                    "least one click, save or purchase"
                )
        settings = {**training_settings(seed, thread_count, iterations), "od_wait": patience}
        trees = Trees(depth, learning_rate, l2_leaf_reg, column_share)
        fitted = (
            _fitted(part, {**settings, **trees.of(part)}, train, validation) for part in PARTS
        )
        return cls([part for part in fitted if part is not None], trees=trees)

    def refit(self, examples: Examples, *, seed: int, thread_count: int = 2) -> Self:
        """All three fitted on all examples, each with as many trees as it has here, and alike."""
        fitted = []
        for part, before in zip(PARTS, self._parts, strict=False):
            settings = training_settings(seed, thread_count, max(before.size, 1))
            settings |= {"use_best_model": False, **self._trees.of(part)}
            fitted.append(_fitted(part, settings, examples))
        kept = [part for part in fitted if part is not None]
        return type(self)(kept, threads=self._threads, trees=self._trees)


def _logs(raw: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """The score of what the parts foretell, all of one shape."""
    gain, chance, *worth = raw
    logs = gain - np.logaddexp(0.0, -chance) + (worth[0] if worth else 0.0)
    scores: NDArray[np.float32] = logs.astype(np.float32)
    return scores


def _fitted(
    part: Part, settings: dict[str, Any], train: Examples, validation: Examples | None = None
) -> Cbm | None:
    """None where there is nothing to tell apart: an ensemble of equal labels is a constant."""
    from catboost import CatBoost, Pool

    if part.acted and len(np.unique(train.gains[train.gains > 0])) < 2:
        return None

    def pool(examples: Examples) -> "Pool":
        kept = with_gain(examples)
        if part.acted:
            kept = take(kept, np.flatnonzero(kept.gains > 0))
        values = with_position(kept.values, kept.positions)
        columns = [*kept.columns, POSITION]
        # What is gained once somebody acts is no matter of the place.
        logits = None if part.acted else kept.place_logits
        return Pool(values, label=part.label(kept.gains), baseline=logits, feature_names=columns)

    model = CatBoost({**settings, "loss_function": part.loss})
    model.fit(pool(train), eval_set=None if validation is None else pool(validation))
    return Cbm.of(without_time(model))
