"""Neural: a small network under the listwise softmax, several of them averaged."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.examples import checked, with_gain
from heirloom.ranking.network import Floats, Groups, Network, Training, cut, fitted, shapes
from heirloom.ranking.ranker import Examples

META_FILE = "neural.json"
WEIGHTS_FILE = "neural.npy"
_FURTHEST = 6.0
"""Standard deviations from the mean at which an input is cut off."""


class _Meta(msgspec.Struct, frozen=True):
    columns: tuple[str, ...]
    logged: tuple[bool, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    flagged: tuple[int, ...]
    members: int
    hidden: int


class Neural:
    """Mean of the scores of several small networks, each with a linear part of its own.

    A feature that is never negative in training enters as log(1 + value), standardised; a missing
    one is 0, the mean, and raises an input of its own if it was ever missing in training. Each
    network has two hidden layers of rectified units. It is fitted by AdamW (Loshchilov, Hutter,
    "Decoupled weight decay regularization", ICLR 2019, algorithm 2) on the listwise softmax loss
    (ListNet, top one, as `linear`), and what it was after its best epoch on the validation part is
    kept. The place shown is one more feature of the linear part in training, and no part of the
    score.

    Networks from different seeds agree on what the log says often and differ on what it says
    rarely; their mean is better than each (Lakshminarayanan, Pritzel, Blundell, "Simple and
    scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017).
    """

    def __init__(self, meta: _Meta, networks: tuple[Network, ...]) -> None:
        self.columns = meta.columns
        self.actions: tuple[str, ...] = ("gain",)
        self._meta = meta
        self._networks = networks
        self._inputs = _Inputs.of(meta)

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        x = self._inputs.of_values(checked(batch, self.columns, "Neural.score"))
        total = np.zeros(len(x), np.float32)
        for each in self._networks:
            _add_scores(
                x, each.direct, each.first, each.first_bias, each.second, each.second_bias,
                each.out, total,
            )  # fmt: skip
        return (total / np.float32(len(self._networks)))[:, None]

    def save(self, folder: Path) -> None:
        """Write neural.json and neural.npy."""
        (folder / META_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self._meta)))
        flat = [array.ravel() for each in self._networks for array in each.arrays()]
        np.save(folder / WEIGHTS_FILE, np.concatenate(flat), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or does not fit the other.
        """
        try:
            meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=_Meta)
            flat = np.load(folder / WEIGHTS_FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError, msgspec.MsgspecError) as error:
            raise BundleError(f"Neural.load: {folder.name}: {error}") from error
        each = shapes(len(meta.columns) + len(meta.flagged), meta.hidden)
        wanted = meta.members * sum(int(np.prod(shape)) for shape in each)
        if flat.shape != (wanted,) or flat.dtype != np.float32:
            raise BundleError(
                f"Neural.load: {WEIGHTS_FILE} holds {flat.dtype} {list(flat.shape)}; {META_FILE} "
                f"wants float32 [{wanted}]; the two are of different bundles"
            )
        parts = iter(np.split(flat, meta.members))
        return cls(meta, tuple(Network(*cut(part, each)) for part in parts))

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        members: int = 3,
        hidden: int = 64,
        epochs: int = 2,
        batch: int = 64,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
    ) -> Self:
        """Fit `members` networks on `train`, each as it was after its best epoch on `validation`.

        Args:
            train: examples to learn from.
            validation: examples that say when to stop.
            seed: of the members' first weights and the order of the groups.
            members: how many networks.
            hidden: units of each of the two layers.
            epochs: passes over the training part; more where that makes few steps.
            batch: groups a step.
            learning_rate: at its highest; it rises over the first steps and falls to 0.
            weight_decay: share of the learning rate by which a weight shrinks each step.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
        """
        learn, judge = _with_gain(train, "train"), _with_gain(validation, "validation")
        meta = _standard(learn, members, hidden)
        inputs = _Inputs.of(meta)
        settings = Training(epochs, batch, learning_rate, weight_decay)
        learned, judged = (
            Groups.of(inputs.of_values(part.values), part) for part in (learn, judge)
        )
        networks = tuple(
            fitted(learned, judged, hidden, settings, np.random.default_rng([seed, member]))
            for member in range(members)
        )
        return cls(meta, networks)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """From features to what the networks are given.

    `flagged` are the columns that are missing now and then in training.
    """

    logged: NDArray[np.bool_]
    centre: Floats
    scale: Floats
    flagged: NDArray[np.intp]

    @classmethod
    def of(cls, meta: _Meta) -> "_Inputs":
        return cls(
            np.array(meta.logged, np.bool_),
            np.array(meta.centre, np.float32),
            np.array(meta.scale, np.float32),
            np.array(meta.flagged, np.intp),
        )

    def of_values(self, values: Floats) -> Floats:
        """[rows, inputs] float32: features standardised, then 1 where a flagged one is missing."""
        features = values.shape[1]
        whole = np.zeros((len(values), features + len(self.flagged)), np.float32)
        x = _with_logs(values, self.logged)
        missing = np.isnan(x)
        x -= self.centre
        x /= self.scale
        np.clip(x, -_FURTHEST, _FURTHEST, out=whole[:, :features])
        whole[:, :features][missing] = 0
        whole[:, features:] = missing[:, self.flagged]
        return whole


def _with_gain(examples: Examples, name: str) -> Examples:
    kept = with_gain(examples)
    if not len(kept.values):
        raise InputError(
            f"Neural.fit: no group of the {name} examples has a gain "
            f"({len(examples.values)} rows came); wanted at least one click, save or purchase"
        )
    return kept


def _with_logs(values: Floats, logged: NDArray[np.bool_]) -> Floats:
    result = values.copy()
    result[:, logged] = np.log1p(np.maximum(values[:, logged], 0))
    return result


def _standard(examples: Examples, members: int, hidden: int) -> _Meta:
    """Which features are logged, and mean and standard deviation [features] of what is known."""
    logged, centre, scale, flagged = [], [], [], []
    for i, column in enumerate(examples.values.T):  # one by one: all at once would be several GB
        logged.append(not bool((column < 0).any()))
        known = column[~np.isnan(column)].astype(np.float64)
        known = np.log1p(known) if logged[-1] else known
        deviation = float(known.std()) if len(known) else 0.0
        centre.append(float(known.mean()) if len(known) else 0.0)
        scale.append(deviation if deviation > 1e-6 else 1.0)
        if len(known) < len(column):
            flagged.append(i)
    return _Meta(
        columns=examples.columns,
        logged=tuple(logged),
        centre=tuple(centre),
        scale=tuple(scale),
        flagged=tuple(flagged),
        members=members,
        hidden=hidden,
    )


@njit(cache=True, nogil=True)
def _add_scores(
    x: Any,
    direct: Any,
    first: Any,
    first_bias: Any,
    second: Any,
    second_bias: Any,
    out: Any,
    total: Any,
) -> None:
    """Add one network's scores [rows]. Row by row: a product's order depends on the batch."""
    hidden = len(out)
    one, two = np.empty(hidden, np.float32), np.empty(hidden, np.float32)
    for row in range(len(x)):
        score = np.float32(0.0)
        one[:] = first_bias
        for i in range(x.shape[1]):
            value = x[row, i]
            if value != 0:
                score += value * direct[i]
                for unit in range(hidden):
                    one[unit] += value * first[i, unit]
        two[:] = second_bias
        for i in range(hidden):
            value = one[i]
            if value > 0:
                for unit in range(hidden):
                    two[unit] += value * second[i, unit]
        for unit in range(hidden):
            if two[unit] > 0:
                score += two[unit] * out[unit]
        total[row] += score
