from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from catboost import CatBoost

from heirloom.core.errors import BundleError, InputError, ShapeError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.catboost import META_FILE, WEIGHTS_FILE, CatBoostListwise
from heirloom.ranking.deep_cross import DeepCross
from heirloom.ranking.expected import FILES, CatBoostExpected
from heirloom.ranking.lightgbm import LightGBMLambdaMART
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.testing.ranking import COLUMNS, examples

RANKERS: list[type[Ranker]] = [
    CatBoostListwise, CatBoostExpected, DeepCross, LightGBMLambdaMART, Linear
]  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> CatBoostListwise:
    return CatBoostListwise.fit(examples(1), examples(2, groups=40), seed=3, iterations=60)


def shown_by_appeal(seed: int, groups: int = 400, shown: int = 6) -> Examples:
    """The place decides all clicks, and the old ranking put the first feature on top."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(groups, shown, 2)).astype(np.float32)
    order = np.argsort(-values[:, :, 0], axis=1)
    values = np.take_along_axis(values, order[:, :, None], axis=1)
    positions = np.broadcast_to(np.arange(shown), (groups, shown))
    gains = rng.random((groups, shown)) < 0.8 * 0.4**positions
    member = np.repeat(np.arange(groups), shown)
    return Examples(
        values.reshape(-1, 2), ("v@1.old_score", "v@1.noise"), member,
        gains.reshape(-1).astype(np.float32), positions.reshape(-1).astype(np.int16), member,
    )  # fmt: skip


@pytest.mark.parametrize("ranker", [each for each in RANKERS if each is not LightGBMLambdaMART])
def test_the_place_explains_what_the_place_did(ranker: type[Ranker]) -> None:
    train, validation = shown_by_appeal(1), shown_by_appeal(2)
    aware = ranker.fit(train, validation, seed=0)
    blind = ranker.fit(
        replace(train, positions=0 * train.positions),
        replace(validation, positions=0 * validation.positions),
        seed=0,
    )
    pair = FeatureBatch(np.array([[-1, 0], [1, 0]], np.float32), train.columns, n=0)
    belief = [float(np.diff(model.score(pair)[:, 0])[0]) for model in (aware, blind)]
    assert abs(belief[0]) < 0.5 * belief[1]


@pytest.mark.parametrize("ranker", RANKERS)
def test_groups_without_a_gain_teach_nothing(ranker: type[Ranker]) -> None:
    train, validation = examples(1), examples(2, groups=40)
    silent = examples(9, groups=30)
    more = Examples(
        np.concatenate([train.values, silent.values]),
        COLUMNS,
        np.concatenate([train.groups, silent.groups + 1_000]),
        np.concatenate([train.gains, 0 * silent.gains]),
        np.concatenate([train.positions, silent.positions]),
        np.concatenate([train.t, silent.t + 10**6]),
    )
    batch = FeatureBatch(examples(4, groups=5).values, COLUMNS, n=0)
    one, two = (ranker.fit(part, validation, seed=0).score(batch) for part in (train, more))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("ranker", RANKERS)
def test_nothing_gained_at_all_is_refused(ranker: type[Ranker]) -> None:
    train = examples(1)
    with pytest.raises(InputError, match="validation examples has a gain"):
        ranker.fit(train, replace(train, gains=0 * train.gains), seed=0)


@pytest.mark.parametrize("ranker", RANKERS)
def test_torn_groups_are_refused(ranker: type[Ranker]) -> None:
    train = examples(1)
    with pytest.raises(ShapeError, match="not adjacent"):
        ranker.fit(replace(train, groups=train.groups % 7), train, seed=0)
    with pytest.raises(ShapeError, match="gains"):
        ranker.fit(replace(train, gains=train.gains[1:]), train, seed=0)


def test_yeti_rank_is_a_loss_too() -> None:
    model = CatBoostListwise.fit(
        examples(1), examples(2, groups=40), seed=3, iterations=30, loss="YetiRank"
    )
    pair = FeatureBatch(np.array([[-2] + [0] * 4, [2] + [0] * 4], np.float32), COLUMNS, n=0)
    assert np.diff(model.score(pair)[:, 0]) > 0


def test_early_stopping_keeps_fewer_trees() -> None:
    model = CatBoostListwise.fit(
        examples(1), examples(2, groups=40), seed=3, iterations=2_000, patience=10
    )
    assert 0 < model.trees < 500


def test_weights_of_other_columns_are_refused(fitted: CatBoostListwise, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    meta = tmp_path / META_FILE
    meta.write_text(meta.read_text().replace("law@1.f0", "law@1.f9"))
    with pytest.raises(BundleError, match="disagree"):
        CatBoostListwise.load(tmp_path)


def test_damaged_weights_are_refused(fitted: CatBoostListwise, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"none of ours")
    with pytest.raises(BundleError):
        CatBoostListwise.load(tmp_path)
    with pytest.raises(BundleError):
        Linear.load(tmp_path)


def test_a_dear_action_weighs_by_its_worth_and_its_chance() -> None:
    """Where a is on, something is gained twice as often; where b is, it is worth eight times."""

    def slates(seed: int) -> Examples:
        rng = np.random.default_rng(seed)
        values = (rng.random((6_000, 2)) < 0.5).astype(np.float32)
        acted = rng.random(6_000) < np.where(values[:, 0] > 0, 0.2, 0.1)
        gains = np.where(acted, np.where(values[:, 1] > 0, 8.0, 1.0), 0.0).astype(np.float32)
        groups = np.repeat(np.arange(600, dtype=np.int64), 10)
        columns = ("v@1.a", "v@1.b")
        return Examples(values, columns, groups, gains, np.zeros(6_000, np.int16), groups)

    fitted = CatBoostExpected.fit(slates(1), slates(2), seed=0)
    corners = FeatureBatch(
        np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32), ("v@1.a", "v@1.b"), n=0
    )
    neither, often, dear, both = fitted.score(corners)[:, 0]
    assert neither < often < dear < both


def test_the_parts_of_another_bundle_are_refused(tmp_path: Path) -> None:
    CatBoostExpected.fit(examples(1), examples(2, groups=40), seed=3).save(tmp_path)
    (tmp_path / FILES[1]).write_bytes(b"no model")
    with pytest.raises(BundleError, match=FILES[1]):
        CatBoostExpected.load(tmp_path)


def test_a_refit_learns_from_all_for_as_long_and_is_the_same_again() -> None:
    train, late = examples(1), examples(2, groups=40)
    first = CatBoostExpected.fit(train, late, seed=3, iterations=60)
    more = examples(5, groups=300)
    again, once_more = (first.refit(more, seed=3) for _ in range(2))
    batch = FeatureBatch(examples(4).values, COLUMNS, n=0)
    assert [part.size for part in again._parts] == [part.size for part in first._parts]
    assert np.array_equal(again.score(batch), once_more.score(batch))
    assert not np.array_equal(again.score(batch), first.score(batch))


def by_catboost(file: bytes, folder: Path) -> CatBoost:
    path = folder / "part.cbm"
    path.write_bytes(file)
    return CatBoost().load_model(str(path))


def test_the_score_is_the_gain_told_at_once_and_as_a_hurdle(tmp_path: Path) -> None:
    fitted = CatBoostExpected.fit(examples(1), examples(2, groups=40), seed=3, iterations=60)
    values = examples(4).values
    rows = np.column_stack([values, np.zeros(len(values), np.float32)])
    gain, chance, worth = (
        by_catboost(part.file, tmp_path).predict(rows, prediction_type=kind)
        for part, kind in zip(fitted._parts, ("Exponent", "Probability", "Exponent"), strict=True)
    )
    wanted = np.log(gain) + np.log(chance[:, 1]) + np.log(worth)
    scores = fitted.score(FeatureBatch(values, COLUMNS, n=0))[:, 0]
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    assert np.ptp(worth) > 0.1


def test_where_all_gains_are_alike_the_chance_of_one_decides() -> None:
    train, late = (replace(e, gains=np.sign(e.gains)) for e in (examples(1), examples(2, 40)))
    fitted = CatBoostExpected.fit(train, late, seed=3, iterations=60)
    batch = FeatureBatch(examples(4).values, COLUMNS, n=0)
    scores = fitted.refit(train, seed=3).score(batch)[:, 0]
    known = ~np.isnan(batch.values[:, 0])
    assert np.corrcoef(scores[known], batch.values[known, 0])[0, 1] > 0.8
