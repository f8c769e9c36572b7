"""CatBoostExpected: what a listing is expected to gain, beside its place among the others."""

from pathlib import Path
from typing import Self

import numpy as np
from catboost import CatBoost, CatBoostError, Pool
from numpy.typing import NDArray

from heirloom.core.errors import BundleError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.catboost import (
    CatBoostListwise,
    training_settings,
    with_position,
    without_time,
)
from heirloom.ranking.examples import checked, with_gain
from heirloom.ranking.ranker import Examples

CHANCE_FILE, WORTH_FILE = "chance.cbm", "worth.cbm"


class CatBoostExpected:
    """listwise + log P(gain > 0) + log E[gain | gain > 0], one score, higher is better.

    Three ensembles of symmetric trees. The first lets a slate's rows compete (CatBoostListwise);
    the second (logistic loss) knows the chance of any action at all; the third (Poisson loss, on
    the rows that gained alone) what an action is worth. A rare dear action is one large label to
    a listwise loss: apart from whether anything happens, its worth is learned with less noise.
    The sum is the logarithm of a product of two views of the same thing.
    """

    def __init__(
        self,
        listwise: CatBoostListwise,
        chance: CatBoost,
        worth: CatBoost | None,
        *,
        threads: int = 1,
    ) -> None:
        self.columns = listwise.columns
        self.actions: tuple[str, ...] = ("gain",)
        self._listwise = listwise
        self._chance = chance
        self._worth = worth
        self._threads = threads

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        values = checked(batch, self.columns, "CatBoostExpected.score")
        if not len(values):
            return np.zeros((0, 1), np.float32)
        rows = with_position(values, None)
        chance = np.asarray(self._chance.predict(rows, thread_count=self._threads), np.float64)
        expected = -np.logaddexp(0.0, -chance)
        if self._worth is not None:
            expected += np.asarray(self._worth.predict(rows, thread_count=self._threads))
        scores: NDArray[np.float32] = expected.astype(np.float32).reshape(-1, 1)
        return self._listwise.score(batch) + scores

    def save(self, folder: Path) -> None:
        """Write what CatBoostListwise does, chance.cbm and, if gains differed, worth.cbm."""
        self._listwise.save(folder)
        self._chance.save_model(str(folder / CHANCE_FILE))
        if self._worth is not None:
            self._worth.save_model(str(folder / WORTH_FILE))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or is of other columns.
        """
        listwise = CatBoostListwise.load(folder)
        chance = _loaded(folder / CHANCE_FILE, listwise)
        worth = folder / WORTH_FILE
        return cls(listwise, chance, _loaded(worth, listwise) if worth.exists() else None)

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        iterations: int = 400,
        thread_count: int = 2,
    ) -> Self:
        """Fit the three, each stopped early on `validation`.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
        """
        listwise = CatBoostListwise.fit(train, validation, seed=seed, thread_count=thread_count)
        parts = [with_gain(part) for part in (train, validation)]
        settings = training_settings(seed, thread_count, iterations)

        def fitted(loss: str, rate: float, pools: list[Pool]) -> CatBoost:
            model = CatBoost({**settings, "loss_function": loss, "learning_rate": rate})
            model.fit(pools[0], eval_set=pools[1])
            return without_time(model)

        every = [_pool(part, (part.gains > 0).astype(np.float32)) for part in parts]
        chance, worth = fitted("Logloss", 0.1, every), None
        if all(len(np.unique(part.gains[part.gains > 0])) > 1 for part in parts):
            gained = [_pool(part, part.gains, part.gains > 0) for part in parts]
            worth = fitted("Poisson", 0.05, gained)
        return cls(listwise, chance, worth)


def _loaded(file: Path, listwise: CatBoostListwise) -> CatBoost:
    model = CatBoost()
    try:
        model.load_model(str(file))
    except (OSError, CatBoostError) as error:
        raise BundleError(f"CatBoostExpected.load: {file.name}: {error}") from error
    if len(model.feature_names_) != len(listwise.columns) + 1:
        raise BundleError(
            f"CatBoostExpected.load: {file.name} wants {len(model.feature_names_)} columns; "
            f"the bundle's ranker has {len(listwise.columns) + 1} with the position"
        )
    return model


def _pool(
    examples: Examples, label: NDArray[np.float32], rows: NDArray[np.bool_] | slice = slice(None)
) -> Pool:
    values = with_position(examples.values, examples.positions)
    return Pool(values[rows], label=label[rows])
