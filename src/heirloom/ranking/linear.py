"""Linear: a listwise softmax over weighted features. The light ranker, in numpy alone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.examples import checked, starts_of, with_gain
from heirloom.ranking.ranker import Examples

WEIGHTS_FILE = "linear.json"
RIDGES = (1.0, 10.0, 100.0, 1_000.0)
_MAX_STEPS = 50


class _Weights(msgspec.Struct, frozen=True):
    columns: tuple[str, ...]
    logged: tuple[bool, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weight: tuple[float, ...]
    weight_if_missing: tuple[float, ...]


class Linear:
    """score = sum over features of weight · (value - centre) / scale, or the weight of missing.

    A feature that is never negative in training (a count, a rate, hours) enters as log(1 + value):
    its tail is long, and twice as often means the same from 1 to 2 as from 50 to 100.
    Fitted by Newton's method on the listwise softmax loss with a ridge, the ridge chosen on
    the validation part. The place shown is one more feature in training, and no part of the
    score.
    """

    def __init__(self, weights: _Weights) -> None:
        self.columns = weights.columns
        self.actions: tuple[str, ...] = ("gain",)
        self._weights = weights
        self._slope = np.array(weights.weight) / np.array(weights.scale)
        self._logged = np.array(weights.logged)
        self._centre = np.array(weights.centre)
        self._missing = np.array(weights.weight_if_missing)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each feature in units of its standard deviation."""
        return dict(zip(self.columns, self._weights.weight, strict=True))

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        values = checked(batch, self.columns, "Linear.score")
        values = _with_logs(values, self._logged).astype(np.float64)
        parts = (values - self._centre) * self._slope
        parts = np.where(np.isnan(values), self._missing, parts)
        # Summed row by row, not by a matrix product, whose order depends on the batch.
        scores: NDArray[np.float32] = parts.sum(axis=1, keepdims=True).astype(np.float32)
        return scores

    def save(self, folder: Path) -> None:
        """Write linear.json."""
        text = msgspec.json.format(msgspec.json.encode(self._weights))
        (folder / WEIGHTS_FILE).write_bytes(text)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if the file is missing or is none of ours.
        """
        try:
            return cls(msgspec.json.decode((folder / WEIGHTS_FILE).read_bytes(), type=_Weights))
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"Linear.load: {folder.name}/{WEIGHTS_FILE}: {error}") from error

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,  # noqa: ARG003 the loss is convex: there is nothing to draw
        ridges: tuple[float, ...] = RIDGES,
    ) -> Self:
        """Fit on `train` for each ridge, the strongest first, and keep the best on `validation`.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
        """
        kept = _with_gain(train, "train")
        judge = _with_gain(validation, "validation")
        logged: NDArray[np.bool_] = np.all(~(kept.values < 0), axis=0)
        kept = replace(kept, values=_with_logs(kept.values, logged))
        judge = replace(judge, values=_with_logs(judge.values, logged))
        centre, scale = _standard(kept.values)
        lists = _lists(kept, centre, scale)
        judged = _lists(judge, centre, scale)
        weights = np.zeros(lists.x.shape[1])
        chosen, least = weights, np.inf
        for ridge in sorted(ridges, reverse=True):
            weights = _newton(lists, weights, ridge)
            loss = _loss(judged, weights)
            if loss < least:
                chosen, least = weights, loss
        features = len(train.columns)
        return cls(
            _Weights(
                columns=train.columns,
                logged=tuple(logged.tolist()),
                centre=tuple(centre.tolist()),
                scale=tuple(scale.tolist()),
                weight=tuple(chosen[:features].tolist()),
                weight_if_missing=tuple(chosen[features : 2 * features].tolist()),
            )
        )


@dataclass(frozen=True, slots=True)
class _Lists:
    """x [rows, 2 · features + 1]: standardised, missing, position; target sums to 1 per group."""

    x: NDArray[np.float64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    target: NDArray[np.float64]


def _with_gain(examples: Examples, name: str) -> Examples:
    kept = with_gain(examples)
    if not len(kept.values):
        raise InputError(
            f"Linear.fit: no group of the {name} examples has a gain "
            f"({len(examples.values)} rows came); wanted at least one click, save or purchase"
        )
    return kept


def _with_logs(values: NDArray[np.float32], logged: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[rows, features] float32, log(1 + value) in the columns that are logged; NaN stays."""
    result = values.copy()
    result[:, logged] = np.log1p(np.maximum(values[:, logged], 0))
    return result


def _standard(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation [features] of what is not missing; 0 and 1 for nothing."""
    known = ~np.isnan(values)
    number = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0).astype(np.float64)
    centre = filled.sum(axis=0) / number
    spread = np.where(known, filled - centre, 0)
    deviation = np.sqrt((spread**2).sum(axis=0) / number)
    return centre, np.where(deviation > 1e-12, deviation, 1.0)


def _lists(examples: Examples, centre: NDArray[np.float64], scale: NDArray[np.float64]) -> _Lists:
    values = examples.values.astype(np.float64)
    missing = np.isnan(values)
    place = np.log1p(examples.positions.astype(np.float64))
    x = np.column_stack([np.where(missing, 0, (values - centre) / scale), missing, place])
    starts = starts_of(examples.groups)
    sizes = np.diff(np.append(starts, len(values)))
    total = np.repeat(np.add.reduceat(examples.gains.astype(np.float64), starts), sizes)
    return _Lists(x, starts, sizes, examples.gains / total)


def _softmax(lists: _Lists, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows] float64, each group's softmax of its scores."""
    top = np.repeat(np.maximum.reduceat(scores, lists.starts), lists.sizes)
    powers = np.exp(scores - top)
    whole = np.repeat(np.add.reduceat(powers, lists.starts), lists.sizes)
    chances: NDArray[np.float64] = powers / whole
    return chances


def _loss(lists: _Lists, weights: NDArray[np.float64]) -> float:
    """Mean over groups of -sum target · log softmax.

    Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML 2007 (ListNet,
    top one), with the shares of gain as target.
    """
    chances = np.maximum(_softmax(lists, lists.x @ weights), 1e-300)
    return float(-(lists.target * np.log(chances)).sum() / len(lists.starts))


def _newton(lists: _Lists, weights: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Weights at the minimum of groups · loss + ridge / 2 · |weights|², by damped Newton steps."""
    groups = len(lists.starts)

    def objective(at: NDArray[np.float64]) -> float:
        return groups * _loss(lists, at) + ridge / 2 * float(at @ at)

    value = objective(weights)
    for _ in range(_MAX_STEPS):
        p = _softmax(lists, lists.x @ weights)
        gradient = lists.x.T @ (p - lists.target) + ridge * weights
        means = np.add.reduceat(lists.x * p[:, None], lists.starts, axis=0)
        curvature = lists.x.T @ (lists.x * p[:, None]) - means.T @ means
        step = np.linalg.solve(curvature + ridge * np.eye(len(weights)), gradient)
        size = 1.0
        while size > 1e-6 and (smaller := objective(weights - size * step)) > value:
            size /= 2
        if size <= 1e-6 or value - smaller <= 1e-9 * max(1.0, abs(value)):
            break
        weights, value = weights - size * step, smaller
    return weights
