import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heirloom.core.errors import BundleError, ConfigError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.lightgbm import META_FILE, WEIGHTS_FILE, LightGBMLambdaMART
from heirloom.testing.ranking import COLUMNS, examples


@pytest.fixture(scope="module")
def fitted() -> LightGBMLambdaMART:
    return LightGBMLambdaMART.fit(examples(1), examples(2, groups=40), seed=3)


def test_early_stopping_keeps_the_best_trees_alone(fitted: LightGBMLambdaMART) -> None:
    assert 0 < fitted.trees < 500
    longer = LightGBMLambdaMART.fit(examples(1), examples(2, groups=40), seed=3, patience=120)
    assert longer.trees >= fitted.trees


@pytest.mark.parametrize("loss", ["lambdarank", "rank_xendcg"])
def test_gains_count_as_they_are(loss: str) -> None:
    """Where a is on, ten are gained where b alone gives one: the order of gains, not of labels."""
    rng = np.random.default_rng(0)
    values = (rng.random((4_000, 2)) < 0.3).astype(np.float32)
    gains = np.where(values[:, 0] > 0, 10.5, values[:, 1]).astype(np.float32)
    world = replace(examples(1, groups=500), values=values, columns=("v@1.a", "v@1.b"), gains=gains)
    fitted = LightGBMLambdaMART.fit(world, world, seed=0, loss=loss, iterations=20)
    corners = FeatureBatch(np.array([[0, 0], [0, 1], [1, 0]], np.float32), world.columns, n=0)
    nothing, little, much = fitted.score(corners)[:, 0]
    assert nothing < little < much


def test_the_place_explains_what_the_place_did() -> None:
    """The old ranking put the first feature on top, and the place alone decided the clicks."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 6, 1)).astype(np.float32)
    values = -np.sort(-values, axis=1)
    gains = (rng.random((400, 6)) < 0.8 * 0.4 ** np.arange(6)).astype(np.float32)
    aware = replace(
        examples(1, groups=400, shown=6),
        values=values.reshape(-1, 1), columns=("v@1.old_score",), gains=gains.reshape(-1),
    )  # fmt: skip
    blind = replace(aware, positions=0 * aware.positions)
    pair = FeatureBatch(np.array([[-1], [1]], np.float32), aware.columns, n=0)
    # Few trees: the blind ones find the logged order at once, and stop.
    belief = [
        float(np.diff(LightGBMLambdaMART.fit(log, log, seed=0, iterations=20).score(pair)[:, 0])[0])
        for log in (aware, blind)
    ]
    assert abs(belief[0]) < 0.5 * belief[1]


def test_another_seed_gives_other_trees(fitted: LightGBMLambdaMART) -> None:
    other = LightGBMLambdaMART.fit(examples(1), examples(2, groups=40), seed=4)
    batch = FeatureBatch(examples(4).values, COLUMNS, n=0)
    assert not np.array_equal(other.score(batch), fitted.score(batch))


def test_weights_of_other_columns_are_refused(fitted: LightGBMLambdaMART, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    meta = tmp_path / META_FILE
    meta.write_text(meta.read_text().replace("law@1.f0", "law@1.f9"))
    with pytest.raises(BundleError, match="disagree"):
        LightGBMLambdaMART.load(tmp_path)


def test_damaged_weights_are_refused(fitted: LightGBMLambdaMART, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"none of ours")
    with pytest.raises(BundleError):
        LightGBMLambdaMART.load(tmp_path)
    with pytest.raises(BundleError):
        LightGBMLambdaMART.load(tmp_path / "nowhere")


def test_without_lightgbm_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"heirloom\[lightgbm\]"):
        LightGBMLambdaMART.load(tmp_path)
