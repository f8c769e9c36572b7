"""DeepCross: crossed features and experts, a score for each action. Served without torch."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, ConfigError, InputError, ShapeError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.examples import checked, with_gain
from heirloom.ranking.ranker import Examples

MODEL_FILE = "deep_cross.onnx"
META_FILE = "ranker.json"
_AT_ONCE = 4_096
"""Rows in one run of the graph: more would not fit the processor's caches."""


class _Meta(msgspec.Struct, frozen=True):
    columns: tuple[str, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """What was done with each row of the examples, by action.

    Attributes:
        actions: names, in the order of the columns.
        train, validation: [rows, actions] float32, 1 done, 0 not, NaN not known (yet).
    """

    actions: tuple[str, ...]
    train: NDArray[np.float32]
    validation: NDArray[np.float32]


class DeepCross:
    """A network of cross layers and experts (`training.network`), run by ONNX Runtime.

    Given labels of actions, each score is the probability of one, given that the listing is shown
    on top. Without them there is one score, learned from the gains by a listwise or pairwise loss
    (`training.losses`), from the groups in which something was gained. Where the listing was shown
    is a tower of its own in training, and no part of the score.
    """

    def __init__(self, model: bytes, columns: tuple[str, ...], actions: tuple[str, ...]) -> None:
        import onnxruntime

        self.columns = columns
        self.actions = actions
        self._model = model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base class
            raise BundleError(f"DeepCross: the ONNX graph cannot be read: {error}") from error
        (read,), (given,) = self._session.get_inputs(), self._session.get_outputs()
        if (read.shape[1:], given.shape[1:]) != ([len(columns)], [len(actions)]):
            raise BundleError(
                f"DeepCross: the graph reads {read.shape} and gives {given.shape}; wanted "
                f"[rows, {len(columns)}] and [rows, {len(actions)}]; the two are of other bundles"
            )

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, actions] float32; higher is better."""
        values = checked(batch, self.columns, "DeepCross.score").astype(np.float32, copy=False)
        if not len(values):
            return np.zeros((0, len(self.actions)), np.float32)
        parts = range(0, len(values), _AT_ONCE)
        return np.concatenate([self._run(values[at : at + _AT_ONCE]) for at in parts])

    def _run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        # A row by itself is added up in another order than one of several: it goes in twice.
        rows = np.repeat(values, 2, axis=0) if len(values) == 1 else values
        (scores,) = self._session.run(None, {"features": rows})
        found: NDArray[np.float32] = scores[: len(values)]
        return found

    def save(self, folder: Path) -> None:
        """Write deep_cross.onnx and ranker.json."""
        (folder / MODEL_FILE).write_bytes(self._model)
        meta = _Meta(self.columns, self.actions)
        (folder / META_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(meta)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or does not fit the other.
        """
        try:
            meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=_Meta)
            model = (folder / MODEL_FILE).read_bytes()
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"DeepCross.load: {folder.name}: {error}") from error
        return cls(model, meta.columns, meta.actions)

    @classmethod
    def fit_settings(cls) -> dict[str, bool | int | float | str | tuple[float, ...]]:
        """Settings of `training.fit.Recipe`, with their defaults.

        Raises:
            ConfigError: if torch or onnx is not installed.
        """
        try:
            from heirloom.ranking.training.fit import Recipe
        except ImportError as error:
            raise _missing(error) from error
        recipe = Recipe()
        return {each.name: getattr(recipe, each.name) for each in fields(recipe)}

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        labels: Labels | None = None,
        weights: NDArray[np.float32] | None = None,
        **recipe: Any,
    ) -> Self:
        """Fit on `train`, keep what it was after its best epoch on `validation`.

        Args:
            train: examples to learn from.
            validation: examples that say when to stop.
            seed: of the first weights, the order of the groups and what is dropped.
            labels: of actions; without them it learns the gains.
            weights: [rows] of the train examples, 1 / propensity for instance; 1 each without.
            recipe: settings of `training.fit.Recipe`, by name.

        Raises:
            InputError: if nothing was gained in any group of either, or nothing done.
            ShapeError: if the arrays do not fit each other.
            ConfigError: if torch or onnx is not installed, or a setting cannot be.
        """
        try:
            from heirloom.ranking.training.fit import Recipe, Rows, fitted
            from heirloom.ranking.training.graph import deep_cross_graph
            from heirloom.ranking.training.inputs import Inputs
        except ImportError as error:
            raise _missing(error) from error
        settings = Recipe(**recipe)
        parts = [
            _Part.of("train", train, None if labels is None else labels.train, weights),
            _Part.of("validation", validation, None if labels is None else labels.validation, None),
        ]
        inputs = Inputs.of(parts[0].examples.values, settings.knots)
        learn, judge = (
            Rows.of(inputs(part.examples.values), part.examples, part.labels, part.weights)
            for part in parts
        )
        network = fitted(learn, judge, inputs, settings, seed)
        model = deep_cross_graph(network, inputs, chances=labels is not None)
        return cls(model, train.columns, labels.actions if labels else ("gain",))


def _missing(error: ImportError) -> ConfigError:
    install = f"{error.name} is not installed: pip install 'heirloom[train]'"
    return ConfigError("ranker deep_cross", [install])


@dataclass(frozen=True, slots=True)
class _Part:
    """Examples with their labels and weights, those that teach nothing left out."""

    examples: Examples
    labels: NDArray[np.float32] | None
    weights: NDArray[np.float32] | None

    @classmethod
    def of(
        cls,
        name: str,
        examples: Examples,
        labels: NDArray[np.float32] | None,
        weights: NDArray[np.float32] | None,
    ) -> "_Part":
        rows = len(examples.values)
        for what, array in (("labels", labels), ("weights", weights)):
            if array is not None and len(array) != rows:
                raise ShapeError(
                    f"DeepCross.fit: {len(array)} {what} of {rows} {name} rows; wanted one each"
                )
        if labels is not None:
            with_gain(examples)  # its checks
            if not (labels == 1).any(axis=0).all():
                raise InputError(
                    f"DeepCross.fit: an action was done in none of the {rows} {name} rows; wanted "
                    f"each at least once; leave out those of columns "
                    f"{np.flatnonzero(~(labels == 1).any(axis=0)).tolist()}"
                )
            return cls(examples, labels, weights)
        kept = with_gain(examples)
        if not len(kept.values):
            raise InputError(
                f"DeepCross.fit: no group of the {name} examples has a gain ({rows} rows came); "
                "wanted at least one click, save or purchase"
            )
        if weights is not None:
            weights = weights[np.isin(examples.groups, kept.groups)]
        return cls(kept, None, weights)
