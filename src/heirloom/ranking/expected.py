"""CatBoostExpected: what a listing is expected to gain, and whether anything happens at all."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from catboost import CatBoost, CatBoostError, Pool
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.catboost import training_settings, with_position, without_time
from heirloom.ranking.examples import checked, with_gain
from heirloom.ranking.ranker import POSITION, Examples

GAIN_FILE, CHANCE_FILE = "gain.cbm", "chance.cbm"
TWEEDIE = "Tweedie:variance_power=1.8"
"""Most rows gain nothing and a few gain much: a compound of counts and sizes. Source: Jørgensen,
"Exponential dispersion models", JRSS B 1987; between 1 (Poisson) and 2 (gamma) both are present."""
LOSSES = (TWEEDIE, "Logloss")
"""Of what is gained, and of whether anything is."""
LEARNING_RATE = 0.08


class CatBoostExpected:
    """log E[gain] + log P(gain > 0), one score, higher is better.

    Two ensembles of symmetric trees over single rows. The first (Tweedie loss) knows what a listing
    brings; the second (logistic loss) the chance of any action at all. A rare dear action is one
    large label to the first; the second has less noise, and the sum is the logarithm of a product
    of two views of the same thing.
    """

    def __init__(self, gain: CatBoost, chance: CatBoost, *, threads: int = 1) -> None:
        self.columns = tuple(gain.feature_names_[:-1])
        self.actions: tuple[str, ...] = ("gain",)
        self._gain = gain
        self._chance = chance
        self._threads = threads

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, 1] float32; higher is better."""
        values = checked(batch, self.columns, "CatBoostExpected.score")
        if not len(values):
            return np.zeros((0, 1), np.float32)
        rows = with_position(values, None)
        gain, chance = (
            np.asarray(model.predict(rows, thread_count=self._threads), np.float64)
            for model in (self._gain, self._chance)
        )
        scores: NDArray[np.float32] = (gain - np.logaddexp(0.0, -chance)).astype(np.float32)
        return scores.reshape(-1, 1)

    def save(self, folder: Path) -> None:
        """Write gain.cbm and chance.cbm."""
        self._gain.save_model(str(folder / GAIN_FILE))
        self._chance.save_model(str(folder / CHANCE_FILE))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or is of other columns.
        """
        gain, chance = _loaded(folder / GAIN_FILE), _loaded(folder / CHANCE_FILE)
        names = gain.feature_names_
        if names != chance.feature_names_ or names[-1:] != [POSITION]:
            raise BundleError(
                f"CatBoostExpected.load: {GAIN_FILE} wants {len(names)} columns and {CHANCE_FILE} "
                f"{len(chance.feature_names_)}; wanted the same of both, {POSITION!r} the last"
            )
        return cls(gain, chance)

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        iterations: int = 1_200,
        learning_rate: float = LEARNING_RATE,
        patience: int = 60,
        thread_count: int = 2,
    ) -> Self:
        """Fit both, each stopped when `validation` has not improved for `patience` trees.

        Raises:
            InputError: if nothing was gained in any group of either.
            ShapeError: if the examples' arrays do not fit each other.
        """
        parts = [with_gain(part) for part in (train, validation)]
        for name, part in zip(("train", "validation"), parts, strict=True):
            if not len(part.values):
                raise InputError(
                    f"CatBoostExpected.fit: no group of the {name} examples has a gain; wanted at "
                    "least one click, save or purchase"
                )
        settings = training_settings(seed, thread_count, iterations)
        settings |= {"learning_rate": learning_rate, "od_wait": patience}
        return cls(*(_fitted(loss, settings, *parts) for loss in LOSSES))

    def refit(
        self,
        examples: Examples,
        *,
        seed: int,
        learning_rate: float = LEARNING_RATE,
        thread_count: int = 2,
    ) -> Self:
        """Both fitted on all examples, each with as many trees as it has here."""
        part = with_gain(examples)
        models = []
        for loss, model in zip(LOSSES, (self._gain, self._chance), strict=True):
            settings = training_settings(seed, thread_count, max(model.tree_count_, 1))
            settings |= {"learning_rate": learning_rate, "use_best_model": False}
            models.append(_fitted(loss, settings, part))
        return type(self)(*models, threads=self._threads)


def _fitted(
    loss: str, settings: dict[str, Any], train: Examples, validation: Examples | None = None
) -> CatBoost:
    def pool(part: Examples) -> Pool:
        label = part.gains if loss == TWEEDIE else (part.gains > 0).astype(np.float32)
        return _pool(part, label)

    model = CatBoost({**settings, "loss_function": loss})
    model.fit(pool(train), eval_set=None if validation is None else pool(validation))
    return without_time(model)


def _loaded(file: Path) -> CatBoost:
    model = CatBoost()
    try:
        model.load_model(str(file))
    except (OSError, CatBoostError) as error:
        raise BundleError(f"CatBoostExpected.load: {file.name}: {error}") from error
    return model


def _pool(examples: Examples, label: NDArray[np.float32]) -> Pool:
    values = with_position(examples.values, examples.positions)
    return Pool(values, label=label, feature_names=[*examples.columns, POSITION])
