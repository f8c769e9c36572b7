"""CatBoostActions: a calibrated probability of each action, given that a listing is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.calibrators import IDENTITY, Beta, calibrated, fitted
from heirloom.ranking.catboost import training_settings, with_position, without_time
from heirloom.ranking.examples import check, checked, difference
from heirloom.ranking.expected import SHALLOW
from heirloom.ranking.ranker import POSITION, Correction, Examples

if TYPE_CHECKING:
    from catboost import CatBoost, Pool

ANY_FILE, GIVEN_FILE, META_FILE = "any.cbm", "given.cbm", "ranker.json"
RARE = 50
"""With fewer rows acted on in which an action was done, or not done, its share among them is one
number: P(action) = P(any) · share."""


class _Meta(msgspec.Struct, frozen=True):
    columns: tuple[str, ...]
    actions: tuple[str, ...]
    learned: tuple[int, ...]
    """Columns of actions that the second ensemble tells."""
    shares: tuple[float, ...]
    """Of each action among the rows acted on."""
    betas: tuple[Beta, ...]


class CatBoostActions:
    """P(action) = P(anything is done) · P(action | something is done), each action calibrated.

    Two ensembles of symmetric trees. The first learns from all rows; the second tells all actions
    at once and learns from the few rows that were acted on, so that a rare action is learned
    beside others of its kind, and not as one row in a thousand. Rows that the slate did not
    show teach as passed over, and never calibrate. Where a row was shown is a column in training,
    or a baseline of logits where they are given; scores are as if shown on top.
    """

    corrections: ClassVar[tuple[Correction, ...]] = ("baseline",)

    def __init__(self, some: "CatBoost", given: "CatBoost | None", meta: _Meta) -> None:
        self.columns, self.actions = meta.columns, meta.actions
        self._any, self._given, self._meta = some, given, meta
        self._learned = list(meta.learned)

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        """[candidates, actions] float32, probabilities, as if shown on top."""
        values = checked(batch, self.columns, "CatBoostActions.score")
        return self._calibrated(self._raw(with_position(values, None), None))

    def chances(self, examples: Examples) -> NDArray[np.float32]:
        """[rows, actions] float32, probabilities, given shown where they were shown."""
        batch = FeatureBatch(examples.values, examples.columns, 0)
        values = checked(batch, self.columns, "CatBoostActions.chances")
        rows = with_position(values, examples.positions)
        return self._calibrated(self._raw(rows, examples.place_logits))

    def _raw(
        self, rows: NDArray[np.float32], logits: NDArray[np.float32] | None
    ) -> NDArray[np.float64]:
        """[rows, actions] float64, before calibration."""
        result = np.zeros((len(rows), len(self.actions)))
        if not len(rows):
            return result
        some = np.asarray(self._any.predict(rows, thread_count=1), np.float64)
        chance = _sigmoid(some if logits is None else some + logits)
        for action, share in enumerate(self._meta.shares):
            result[:, action] = chance * share
        if self._given is not None:
            told = np.asarray(self._given.predict(rows, thread_count=1), np.float64)
            result[:, self._learned] = chance[:, None] * _sigmoid(told.reshape(len(rows), -1))
        return result

    def _calibrated(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        maps = zip(raw.T, self._meta.betas, strict=True)
        return np.stack([calibrated(column, beta) for column, beta in maps], 1).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write any.cbm, given.cbm if there is one, and ranker.json."""
        self._any.save_model(str(folder / ANY_FILE))
        if self._given is not None:
            self._given.save_model(str(folder / GIVEN_FILE))
        text = msgspec.json.format(msgspec.json.encode(self._meta))
        (folder / META_FILE).write_bytes(text)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing, is none of ours, or does not fit the others.
        """
        try:
            meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=_Meta)
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"CatBoostActions.load: {META_FILE}: {error}") from error
        some = _loaded(folder / ANY_FILE, meta)
        given = _loaded(folder / GIVEN_FILE, meta) if meta.learned else None
        actions = len(meta.actions)
        if len(meta.shares) != actions or len(meta.betas) != actions:
            raise BundleError(
                f"CatBoostActions.load: {META_FILE} has {actions} actions, {len(meta.shares)} "
                f"shares and {len(meta.betas)} calibrators; wanted as many of each"
            )
        return cls(some, given, meta)

    @classmethod
    def fit(
        cls,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        iterations: int = 1_200,
        patience: int = 60,
        thread_count: int = 2,
    ) -> Self:
        """Fit both, each stopped when `validation` has not improved, and calibrate on it.

        Raises:
            InputError: if the examples do not say what was done, or nothing was.
            ShapeError: if their arrays do not fit each other.
        """
        for name, part in (("train", train), ("validation", validation)):
            _check(part, name)
        settings = {**training_settings(seed, thread_count, iterations), "od_wait": patience}
        some = _fitted(settings, "Logloss", _any(train), _any(validation))
        acted, judged = _acted(train), _acted(validation)
        learned = _enough(acted, judged)
        given = None
        if learned:
            settings = {**settings, "learning_rate": 0.05}
            given = _fitted(settings, "MultiLogloss", acted.only(learned), judged.only(learned))
        actions = len(train.actions)
        meta = _Meta(train.columns, train.actions, learned, _shares(acted), (IDENTITY,) * actions)
        return cls(some, given, meta)._calibrated_on(validation)

    def refit(self, examples: Examples, *, seed: int, thread_count: int = 2) -> Self:
        """Both fitted on all examples, each with as many trees as it has here; calibrated as here.

        The calibrators stay those of rows held out: on what it was fitted on a model is too sure.
        """
        _check(examples, "all")

        def again(model: "CatBoost") -> dict[str, Any]:
            settings = training_settings(seed, thread_count, max(model.tree_count_, 1))
            return {**settings, "use_best_model": False}

        some = _fitted(again(self._any), "Logloss", _any(examples), None)
        acted, given = _acted(examples), None
        if self._given is not None:
            settings = {**again(self._given), "learning_rate": 0.05}
            given = _fitted(settings, "MultiLogloss", acted.only(self._meta.learned), None)
        return type(self)(some, given, msgspec.structs.replace(self._meta, shares=_shares(acted)))

    def _calibrated_on(self, examples: Examples) -> Self:
        """Calibrated on the rows that were shown, where they were shown."""
        rows = with_position(examples.values, examples.positions)
        raw, done = self._raw(rows, examples.place_logits), _done(examples)
        shown = np.ones(len(raw), np.bool_) if examples.drawn is None else ~examples.drawn
        betas = tuple(fitted(raw[shown, i], done[shown, i]) for i in range(raw.shape[1]))
        return type(self)(self._any, self._given, msgspec.structs.replace(self._meta, betas=betas))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows to learn from, with their labels [rows] or [rows, actions], and logits or None."""

    examples: Examples
    rows: NDArray[np.intp]
    labels: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None

    def only(self, actions: Sequence[int]) -> "_Rows":
        """Labels of these actions, and the rows in which all of them are known."""
        labels = self.labels[:, list(actions)]
        known = ~np.isnan(labels).any(axis=1)
        return _Rows(self.examples, self.rows[known], labels[known])

    def pool(self) -> "Pool":
        from catboost import Pool

        positions = self.examples.positions[self.rows]
        return Pool(
            with_position(self.examples.values[self.rows], positions),
            label=self.labels,
            baseline=self.logits,
            feature_names=[*self.examples.columns, POSITION],
        )


def _any(examples: Examples) -> _Rows:
    """Whether anything was done in each row; an action not known yet counts for nothing."""
    done = _done(examples)
    rows = np.flatnonzero(~np.isnan(done).all(axis=1))
    labels = (done[rows] == 1).any(axis=1).astype(np.float32)
    logits = None if examples.place_logits is None else examples.place_logits[rows]
    return _Rows(examples, rows, labels, logits)


def _acted(examples: Examples) -> _Rows:
    """The rows in which something was done, and what."""
    done = _done(examples)
    rows = np.flatnonzero((done == 1).any(axis=1))
    return _Rows(examples, rows, done[rows])


def _enough(*parts: _Rows) -> tuple[int, ...]:
    """Columns of the actions done, and not done, often enough to be told apart.

    `RARE` times in the first part, and once in the others.
    """
    enough = np.ones(parts[0].labels.shape[1], np.bool_)
    for part, least in zip(parts, (RARE, *(1,) * len(parts)), strict=False):
        for value in (0, 1):
            enough &= (part.labels == value).sum(axis=0) >= least
    return tuple(np.flatnonzero(enough).tolist())


def _shares(acted: _Rows) -> tuple[float, ...]:
    """Of each action among the rows acted on; half a row is added, for none is impossible."""
    known = (~np.isnan(acted.labels)).sum(axis=0)
    shares = ((acted.labels == 1).sum(axis=0) + 0.5) / (known + 1)
    return tuple(shares.tolist())


def _check(examples: Examples, name: str) -> None:
    check(examples)
    if examples.done is None:
        raise InputError(
            f"CatBoostActions.fit: the {name} examples do not say what was done with what was "
            "shown, by action; wanted a log with impressions. For one without, name a ranker of "
            "the gain: expected, catboost"
        )
    if not (_done(examples) == 1).any():
        raise InputError(
            f"CatBoostActions.fit: none of {', '.join(examples.actions)} was done in any of the "
            f"{len(examples.values)} {name} rows; wanted at least one that is mature"
        )


def _done(examples: Examples) -> NDArray[np.float32]:
    """[rows, actions] float32; `_check` has seen that there are some."""
    return np.zeros((0, 0), np.float32) if examples.done is None else examples.done


def _fitted(settings: dict[str, Any], loss: str, learn: _Rows, judge: _Rows | None) -> "CatBoost":
    from catboost import CatBoost

    model = CatBoost({"learning_rate": 0.1, **settings, **SHALLOW, "loss_function": loss})
    model.fit(learn.pool(), eval_set=None if judge is None else judge.pool())
    return without_time(model)


def _loaded(file: Path, meta: _Meta) -> "CatBoost":
    from catboost import CatBoost, CatBoostError

    model = CatBoost()
    try:
        model.load_model(str(file))
    except (OSError, CatBoostError) as error:
        raise BundleError(f"CatBoostActions.load: {file.name}: {error}") from error
    trained, wanted = tuple(model.feature_names_), (*meta.columns, POSITION)
    if trained != wanted:
        raise BundleError(
            f"CatBoostActions.load: {file.name} is of other columns than {META_FILE}: "
            + difference(trained, wanted)
        )
    return model


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    chance: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-logits))
    return chance
