"""CatBoostListwise: symmetric trees under a listwise loss. The default ranker."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.examples import checked, difference, with_gain
from heirloom.ranking.ranker import POSITION, Correction, Examples

if TYPE_CHECKING:  # to import it takes half a second, which who answers by others need not wait
    from catboost import CatBoost, Pool

WEIGHTS_FILE = "model.cbm"
META_FILE = "ranker.json"
_VARYING = ("train_finish_time", "model_guid")


class _Meta(msgspec.Struct, frozen=True):
    columns: tuple[str, ...]
    actions: tuple[str, ...]


class CatBoostListwise:
    """One score: what the person is likely to do with a listing, by gain, relative to the slate.

    The position at which a listing was shown is a column of its own in training and 0 (the top)
    for all at scoring, so the trees can put into it what is due to the place. Rows of a slate
    compete by a softmax (`QuerySoftMax`) or in pairs (`YetiRank`); slates in which nothing was
    gained are left out.
    """

    corrections: ClassVar[tuple[Correction, ...]] = ("ips", "baseline")

    def __init__(
        self, model: "CatBoost", columns: tuple[str, ...], *, thread_count: int = 1
    ) -> None:
        self.columns = columns
        self.actions: tuple[str, ...] = ("gain",)
        self._model = model
        self._threads = thread_count

    @property
    def trees(self) -> int:
        """How many trees were kept by early stopping."""
        return int(self._model.tree_count_)

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        values = checked(batch, self.columns, "CatBoostListwise.score")
        if not len(values):
            return np.zeros((0, 1), np.float32)
        scores = self._model.predict(with_position(values, None), thread_count=self._threads)
        return np.asarray(scores, np.float32).reshape(-1, 1)

    def save(self, folder: Path) -> None:
        """Write model.cbm and ranker.json."""
        self._model.save_model(str(folder / WEIGHTS_FILE))
        meta = _Meta(self.columns, self.actions)
        (folder / META_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(meta)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or is of other columns.
        """
        from catboost import CatBoost, CatBoostError

        try:
            meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=_Meta)
            model = CatBoost()
            model.load_model(str(folder / WEIGHTS_FILE))
        except (OSError, msgspec.MsgspecError, CatBoostError) as error:
            raise BundleError(f"CatBoostListwise.load: {folder.name}: {error}") from error
        trained = tuple(model.feature_names_)
        if trained != (*meta.columns, POSITION):
            raise BundleError(
                f"CatBoostListwise.load: {WEIGHTS_FILE} and {META_FILE} disagree: "
                + difference(trained, (*meta.columns, POSITION))
            )
        return cls(model, meta.columns)

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        loss: str = "QuerySoftMax",
        iterations: int = 200,
        depth: int = 6,
        learning_rate: float = 0.15,
        l2_leaf_reg: float = 5.0,
        leaf_iterations: int = 5,
        patience: int = 40,
        thread_count: int = 2,
    ) -> Self:
        """Fit on `train`, stop when `validation` has not improved for `patience` trees.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
        """
        from catboost import CatBoost

        pools = [_pool(part, name) for name, part in (("train", train), ("validation", validation))]
        model = CatBoost(
            {
                **training_settings(seed, thread_count, iterations),
                "loss_function": loss,
                "depth": depth,
                "learning_rate": learning_rate,
                "l2_leaf_reg": l2_leaf_reg,
                # CatBoost's own 100 for QuerySoftMax overfits each tree and costs 5 times as much.
                "leaf_estimation_iterations": leaf_iterations,
                "od_wait": patience,
            }
        )
        model.fit(pools[0], eval_set=pools[1])
        return cls(without_time(model), train.columns)


def training_settings(seed: int, thread_count: int, iterations: int) -> dict[str, Any]:
    """What all our CatBoost models share: symmetric trees, stopped early, alike by seed."""
    return {
        "iterations": iterations,
        "depth": 6,
        "l2_leaf_reg": 5.0,
        "random_seed": seed,
        "od_type": "Iter",
        "od_wait": 40,
        "use_best_model": True,
        "thread_count": thread_count,
        "grow_policy": "SymmetricTree",
        "boosting_type": "Plain",
        "allow_writing_files": False,
        "verbose": False,
    }


def without_time(model: "CatBoost") -> "CatBoost":
    """The model without what differs between two fits on the same rows."""
    metadata = model.get_metadata()
    for name in _VARYING:
        if name in metadata:
            metadata[name] = ""
    return model


def _pool(examples: Examples, name: str) -> "Pool":
    from catboost import Pool

    kept = with_gain(examples)
    if not len(kept.values):
        raise InputError(
            f"CatBoostListwise.fit: no group of the {name} examples has a gain "
            f"({len(examples.values)} rows came); wanted at least one click, save or purchase"
        )
    return Pool(
        with_position(kept.values, kept.positions),
        label=kept.gains,
        group_id=kept.groups,
        baseline=kept.place_logits,
        feature_names=[*kept.columns, POSITION],
    )


def with_position(
    values: NDArray[np.float32], positions: NDArray[np.int16] | None
) -> NDArray[np.float32]:
    """[rows, features + 1] float32: the position as last column, 0 where there is none.

    Column by column in memory, as CatBoost reads it: a third less of the time to score.
    """
    whole = np.zeros((len(values), values.shape[1] + 1), np.float32, order="F")
    whole[:, :-1] = values
    if positions is not None:
        whole[:, -1] = positions
    return whole
