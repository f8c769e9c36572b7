"""LightGBMLambdaMART: trees grown leaf by leaf under LambdaRank. The standard to compare with."""

from pathlib import Path
from types import ModuleType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, ConfigError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.catboost import with_position
from heirloom.ranking.examples import checked, difference, starts_of, with_gain
from heirloom.ranking.ranker import POSITION, Examples

WEIGHTS_FILE = "model.txt"
META_FILE = "ranker.json"


class _Meta(msgspec.Struct, frozen=True):
    columns: tuple[str, ...]
    actions: tuple[str, ...]


class LightGBMLambdaMART:
    """One score: what the person is likely to do with a listing, by gain, relative to the slate.

    Burges, "From RankNet to LambdaRank to LambdaMART: an overview", MSR-TR-2010-82, on LightGBM's
    trees (Ke et al., NIPS 2017). A gain counts in NDCG as what it is, not as 2^gain - 1. The
    position at which a listing was shown is a column of its own in training and 0 (the top) for all
    at scoring, as in `catboost` (LightGBM's own `position` is not seen by what stops it early, and
    so stops before it is learned); slates in which nothing was gained are left out.
    """

    def __init__(self, model: Any, columns: tuple[str, ...], *, thread_count: int = 1) -> None:
        self.columns = columns
        self.actions: tuple[str, ...] = ("gain",)
        self._model = model
        self._threads = thread_count

    @property
    def trees(self) -> int:
        """How many trees were kept by early stopping."""
        return int(self._model.num_trees())

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        values = checked(batch, self.columns, "LightGBMLambdaMART.score")
        if not len(values):
            return np.zeros((0, 1), np.float32)
        scores = self._model.predict(with_position(values, None), num_threads=self._threads)
        return np.asarray(scores, np.float32).reshape(-1, 1)

    def save(self, folder: Path) -> None:
        """Write model.txt and ranker.json."""
        self._model.save_model(folder / WEIGHTS_FILE)
        meta = _Meta(self.columns, self.actions)
        (folder / META_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(meta)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or is of other columns.
            ConfigError: if LightGBM is not installed.
        """
        lightgbm = _lightgbm()
        try:
            meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=_Meta)
            model = lightgbm.Booster(model_str=(folder / WEIGHTS_FILE).read_text("utf-8"))
        except (OSError, ValueError, msgspec.MsgspecError, lightgbm.basic.LightGBMError) as error:
            raise BundleError(f"LightGBMLambdaMART.load: {folder.name}: {error}") from error
        trained, wanted = tuple(model.feature_name()), _names(meta.columns)
        if trained != wanted:
            raise BundleError(
                f"LightGBMLambdaMART.load: {WEIGHTS_FILE} and {META_FILE} disagree: "
                + difference(trained, wanted)
            )
        return cls(model, meta.columns)

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        loss: str = "lambdarank",
        iterations: int = 500,
        leaves: int = 15,
        learning_rate: float = 0.05,
        least_rows: int = 20,
        l2_leaf_reg: float = 5.0,
        column_share: float = 0.8,
        patience: int = 60,
        thread_count: int = 1,
    ) -> Self:
        """Fit on `train`, stop when NDCG@10 of `validation` has not risen for `patience` trees.

        Args:
            train: examples to learn from.
            validation: examples that say when to stop.
            seed: of the columns drawn for each tree.
            loss: `lambdarank`, or `rank_xendcg` (Bruch, "An alternative cross entropy loss for
                learning-to-rank", WWW 2021).
            iterations: at most so many trees.
            leaves: of a tree, at most.
            learning_rate: of a tree.
            least_rows: in a leaf.
            l2_leaf_reg: ridge on the leaves' values.
            column_share: of the features each tree may read.
            patience: trees without a rise before it stops.
            thread_count: of the fit; another number may give other weights. LightGBM's threads wait
                actively: several, beside other work on the same cores, cost more than one.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
            ConfigError: if LightGBM is not installed.
        """
        lightgbm = _lightgbm()
        kept = _with_gain(train, "train"), _with_gain(validation, "validation")
        worths = np.unique(np.concatenate([[0], *(part.gains for part in kept)]))
        learn = _dataset(lightgbm, kept[0], worths)
        judge = _dataset(lightgbm, kept[1], worths, reference=learn)
        settings = {
            "objective": loss,
            "label_gain": worths.tolist(),
            "metric": "ndcg",
            "eval_at": [10],
            "num_leaves": leaves,
            "learning_rate": learning_rate,
            "min_data_in_leaf": least_rows,
            "lambda_l2": l2_leaf_reg,
            "feature_fraction": column_share,
            "seed": seed,
            "num_threads": thread_count,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        stop = lightgbm.early_stopping(patience, verbose=False)
        model = lightgbm.train(settings, learn, iterations, valid_sets=[judge], callbacks=[stop])
        # Read again: what serves is what is saved, the best trees and no training data.
        text = model.model_to_string(num_iteration=model.best_iteration)
        return cls(lightgbm.Booster(model_str=text), train.columns)


def _lightgbm() -> ModuleType:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            "ranker lightgbm", ["LightGBM is not installed: pip install 'heirloom[lightgbm]'"]
        ) from error
    module: ModuleType = lightgbm
    return module


def _with_gain(examples: Examples, name: str) -> Examples:
    kept = with_gain(examples)
    if not len(kept.values):
        raise InputError(
            f"LightGBMLambdaMART.fit: no group of the {name} examples has a gain "
            f"({len(examples.values)} rows came); wanted at least one click, save or purchase"
        )
    return kept


def _dataset(
    lightgbm: ModuleType, part: Examples, worths: NDArray[Any], reference: Any = None
) -> Any:
    """Rows with the place in `worths` of their gain as label: LightGBM's labels are integers."""
    starts = starts_of(part.groups)
    return lightgbm.Dataset(
        with_position(part.values, part.positions),
        label=np.searchsorted(worths, part.gains),
        group=np.diff(np.append(starts, len(part.groups))),
        feature_name=list(_names(part.columns)),
        reference=reference,
        params={"verbosity": -1},
    )


def _names(columns: tuple[str, ...]) -> tuple[str, ...]:
    """What the trees read, as LightGBM writes it."""
    return tuple(name.replace(" ", "_") for name in (*columns, POSITION))
