"""CatBoostActions: probabilities that hold, of rare actions too, wherever a row was shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heirloom.core.errors import BundleError, InputError, ShapeError
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.calibration import calibration
from heirloom.ranking.by_action import GIVEN_FILE, META_FILE, CatBoostActions
from heirloom.ranking.examples import take
from heirloom.ranking.ranker import Examples

ACTIONS = ("click", "save", "purchase", "hide")
PLACES = 1 / (1 + 0.5 * np.arange(8))


def truth(values: np.ndarray) -> np.ndarray:
    """[rows, 4] chances of what is looked at: a click by a, a save of those by b, few purchases."""
    click = 1 / (1 + np.exp(2.5 - 1.5 * values[:, 0]))
    save = click / (1 + np.exp(1.5 - 1.5 * values[:, 1]))
    return np.stack([click, save, 0.004 * click, 0 * click], axis=1)


def world(seed: int, groups: int = 1_500, shown: int = 8, drawn: int = 4) -> Examples:
    """Slates of 8 looked at by place, and 4 that were not shown."""
    rng = np.random.default_rng(seed)
    wide = shown + drawn
    values = rng.normal(size=(groups * wide, 3)).astype(np.float32)
    at = np.concatenate([np.arange(shown), rng.integers(0, shown, drawn)])
    positions, unseen = np.tile(at, groups), np.tile(np.arange(wide) >= shown, groups)
    looked = (rng.random(groups * wide) < PLACES[positions]) & ~unseen
    chances = truth(values)
    click = looked & (rng.random(len(chances)) < chances[:, 0])
    after = rng.random((len(chances), 3)) < chances[:, 1:] / chances[:, :1]
    done = np.column_stack([click, after & click[:, None]]).astype(np.float32)
    member = np.repeat(np.arange(groups), wide)
    return Examples(
        values, ("v@1.a", "v@1.b", "v@1.c"), member, done @ np.array([1, 2, 10, 0], np.float32),
        positions.astype(np.int16), member, ACTIONS, done, unseen,
    )  # fmt: skip


TRAIN, LATE, TEST = world(1), world(2, 600), world(3, 1_500)


def fit(train: Examples = TRAIN, late: Examples = LATE) -> CatBoostActions:
    return CatBoostActions.fit(train, late, seed=0, iterations=150, thread_count=1)


@pytest.fixture(scope="module")
def fitted() -> CatBoostActions:
    return fit()


def test_probabilities_hold_where_rows_were_shown(fitted: CatBoostActions) -> None:
    shown = take(TEST, np.flatnonzero(~TEST.drawn))
    chances = fitted.chances(shown)
    for action in range(3):
        told = calibration(chances[:, action], shown.done[:, action], shown.groups)
        assert told.ece < max(3 * told.noise, 0.01)
        assert told.all.agrees(0.1)
        assert sum(part.agrees(0.1) for part in told.bins) >= 8


def test_scores_are_as_if_shown_on_top(fitted: CatBoostActions) -> None:
    batch = FeatureBatch(TEST.values, TEST.columns, 0)
    on_top = fitted.chances(replace(TEST, positions=0 * TEST.positions))
    assert fitted.score(batch).tobytes() == on_top.tobytes()
    expected, came = truth(TEST.values)[:, :2], fitted.score(batch)[:, :2]
    assert np.abs(came.mean(axis=0) / expected.mean(axis=0) - 1).max() < 0.3
    for action in range(2):
        assert np.corrcoef(came[:, action], expected[:, action])[0, 1] > 0.9
    last = fitted.chances(replace(TEST, positions=0 * TEST.positions + 7))
    assert last[:, 0].mean() < 0.4 * on_top[:, 0].mean()


def test_a_rare_action_is_a_share_of_any_and_one_never_done_stays_possible(
    fitted: CatBoostActions,
) -> None:
    bought = TRAIN.done[:, 2].sum()
    assert 0 < bought < 50
    scores = fitted.score(FeatureBatch(TEST.values, TEST.columns, 0))
    order = np.argsort(scores[:, 0], kind="stable")
    assert (np.diff(scores[order, 2]) >= -1e-9).all()
    assert (scores[:, 3] > 0).all()
    assert scores[:, 3].max() < 0.001
    assert fitted.actions == ACTIONS


def test_what_is_not_known_yet_is_left_out_of_one_action_and_not_of_others() -> None:
    young = TRAIN.groups > 900
    done = TRAIN.done.copy()
    done[young, 1] = np.nan
    batch = FeatureBatch(TEST.values, TEST.columns, 0)
    whole = fit().score(batch).mean(axis=0)
    waited = fit(replace(TRAIN, done=done)).score(batch).mean(axis=0)
    done[young, 1] = 0
    as_zero = fit(replace(TRAIN, done=done), LATE)
    assert waited[:2] == pytest.approx(whole[:2], rel=0.1)
    # Taken for not done, the raw belief sinks; only the rows held out call it back.
    assert as_zero._meta.shares[1] < 0.75 * fit()._meta.shares[1]


def test_rows_that_were_not_shown_teach_and_do_not_calibrate(fitted: CatBoostActions) -> None:
    """Drawn rows in plenty among those held out leave the calibrators as they are."""
    many = take(LATE, np.repeat(np.arange(len(LATE.groups)), np.where(LATE.drawn, 9, 1)))
    maps = [fitted._calibrated_on(part)._meta.betas for part in (LATE, many)]
    np.testing.assert_allclose(maps[0], maps[1])
    as_shown = fitted._calibrated_on(replace(LATE, drawn=None))._meta.betas
    assert as_shown[0] != pytest.approx(maps[0][0])


def test_logits_of_the_places_stand_for_the_place() -> None:
    def told(examples: Examples) -> Examples:
        logits = np.log(PLACES[examples.positions]).astype(np.float32)
        return replace(examples, positions=0 * examples.positions, place_logits=logits)

    model = fit(told(TRAIN), told(LATE))
    shown = told(take(TEST, np.flatnonzero(~TEST.drawn)))
    logged = model.chances(shown)[:, 0]
    assert calibration(logged, shown.done[:, 0], shown.groups).all.agrees(0.1)
    came = model.score(FeatureBatch(TEST.values, TEST.columns, 0))[:, 0]
    assert came.mean() == pytest.approx(truth(TEST.values)[:, 0].mean(), rel=0.15)


def test_it_learns_from_all_there_is_and_stays_calibrated_as_it_was(
    fitted: CatBoostActions,
) -> None:
    again = fitted.refit(TEST, seed=0, thread_count=1)
    assert again._meta.betas == fitted._meta.betas
    assert again._any.tree_count_ == fitted._any.tree_count_
    assert again._meta.shares != fitted._meta.shares


def test_a_log_that_says_no_actions_is_refused() -> None:
    with pytest.raises(InputError, match=r"do not say what was done.*expected, catboost"):
        fit(replace(TRAIN, done=None))
    with pytest.raises(InputError, match="none of click, save, purchase, hide was done"):
        fit(TRAIN, replace(LATE, done=0 * LATE.done))
    with pytest.raises(InputError, match="validation rows"):
        fit(TRAIN, replace(LATE, done=np.nan * LATE.done))
    with pytest.raises(ShapeError, match="done has shape"):
        fit(replace(TRAIN, done=TRAIN.done[:, :2]))


def test_files_that_do_not_fit_are_refused(fitted: CatBoostActions, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    meta = (tmp_path / META_FILE).read_text()
    (tmp_path / META_FILE).write_text(meta.replace("v@1.b", "v@2.b"))
    with pytest.raises(BundleError, match=r"any\.cbm is of other columns"):
        CatBoostActions.load(tmp_path)
    (tmp_path / META_FILE).write_text(meta.replace('"hide"', '"hide", "block"'))
    with pytest.raises(BundleError, match="5 actions, 4 shares"):
        CatBoostActions.load(tmp_path)
    (tmp_path / META_FILE).write_text(meta)
    (tmp_path / GIVEN_FILE).unlink()
    with pytest.raises(BundleError, match=GIVEN_FILE):
        CatBoostActions.load(tmp_path)
