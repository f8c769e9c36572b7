"""Compiled trees give what CatBoost gives, to the last digit, and losses of groups beside."""

from pathlib import Path

import numpy as np
import pytest
from catboost import CatBoost, Pool
from numpy.typing import NDArray

from heirloom.core.errors import BundleError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.cbm import Cbm
from heirloom.ranking.contributions import contributions, lost
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.ranker import Examples

FEATURES, GROUPS = 12, 4
GROUP_OF = np.arange(FEATURES, dtype=np.int64) % GROUPS


def rows(count: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, FEATURES)).astype(np.float32)
    values[:, 3] = rng.integers(0, 3, count)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


def told(values: NDArray[np.float32]) -> NDArray[np.float32]:
    known = np.nan_to_num(values)
    chance = 1 / (1 + np.exp(-known[:, 0] - known[:, 1] * (known[:, 3] > 1)))
    labels: NDArray[np.float32] = (chance > np.random.default_rng(7).random(len(values))).astype(
        np.float32
    )
    return labels


def model(depth: int, nan_mode: str) -> CatBoost:
    values = rows(600, 1)
    settings = {
        "iterations": 40, "depth": depth, "loss_function": "Logloss", "nan_mode": nan_mode,
        "verbose": False, "allow_writing_files": False, "thread_count": 1, "random_seed": 3,
    }  # fmt: skip
    return CatBoost(settings).fit(Pool(values, label=told(values)))


@pytest.mark.parametrize("nan_mode", ["Min", "Max"])
@pytest.mark.parametrize("depth", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("count", [0, 1, 37, 500])
def test_compiled_trees_are_the_models(depth: int, nan_mode: str, count: int) -> None:
    made, asked = model(depth, nan_mode), rows(count, 2)
    ours = Cbm.of(made).trees.predict(asked)
    theirs = np.asarray(made.predict(asked, thread_count=1)) if count else np.zeros(0)
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("nan_mode", ["Min", "Max"])
@pytest.mark.parametrize("depth", [1, 4, 6])
def test_what_is_lost_is_what_asking_again_tells(depth: int, nan_mode: str) -> None:
    trees, asked = Cbm.of(model(depth, nan_mode)).trees, rows(50, 4)
    instead = rows(1, 5)[0]
    instead[2] = np.nan
    of = GROUP_OF.copy()
    of[5] = -1
    found = trees.lost(asked, instead, of, GROUPS)
    for group in range(GROUPS):
        changed = np.where(of == group, instead, asked)
        expected = trees.predict(asked) - trees.predict(changed)
        np.testing.assert_allclose(found[:, group], expected, atol=1e-12)
    assert np.abs(found).max() > 0.01
    kept = trees.lost(asked[:1], asked[0], of, GROUPS)
    assert not kept.any()


def test_another_kind_of_model_is_refused() -> None:
    values = rows(300, 1)
    settings = {
        "iterations": 3, "grow_policy": "Depthwise", "verbose": False,
        "allow_writing_files": False, "thread_count": 1,
    }  # fmt: skip
    uneven = CatBoost(settings).fit(Pool(values, label=told(values)))
    with pytest.raises(BundleError, match="symmetric"):
        Cbm.of(uneven)


def test_a_file_that_was_cut_or_changed_is_refused_or_read(tmp_path: Path) -> None:
    """Whatever is in it: an error of ours, and no other."""
    whole, file = Cbm.of(model(4, "Min")).file, tmp_path / "model.cbm"
    rng, refused = np.random.default_rng(0), 0
    for at in rng.integers(0, len(whole), 400).tolist():
        for bytes_ in (whole[:at], whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :]):
            file.write_bytes(bytes_)
            try:
                Cbm.read(file)
            except BundleError:
                refused += 1
    assert refused > 400
    file.unlink()
    with pytest.raises(BundleError, match=r"model\.cbm"):
        Cbm.read(file)


def test_contributions_of_a_ranker_are_those_of_asking_it_again() -> None:
    values = rows(1_200, 6)
    gains = told(values) * np.random.default_rng(1).integers(1, 4, 1_200).astype(np.float32)
    columns = tuple(f"view@1.f{i}" for i in range(FEATURES))
    examples = Examples(
        values=values,
        columns=columns,
        groups=np.arange(1_200) // 12,
        gains=gains,
        positions=np.tile(np.arange(12, dtype=np.int16), 100),
        t=np.arange(1_200, dtype=np.int64),
    )
    ranker = CatBoostExpected.fit(examples, examples, seed=0, iterations=30, thread_count=1)
    shown, instead = FeatureBatch(rows(40, 8), columns, 0), rows(1, 9)[0]
    without = ranker.without(shown, instead, GROUP_OF, GROUPS)[:, :, 0]
    expected = contributions(
        lambda asked: ranker.score(FeatureBatch(asked, columns, 0))[:, 0],
        shown.values, instead, GROUP_OF, GROUPS,
    )  # fmt: skip
    np.testing.assert_allclose(lost(ranker.score(shown), without), expected, atol=2e-6)
    assert np.abs(expected).max() > 0.01
