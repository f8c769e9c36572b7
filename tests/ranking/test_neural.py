from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heirloom.core.errors import BundleError, InputError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.examples import with_gain
from heirloom.ranking.linear import Linear
from heirloom.ranking.network import Groups, first_weights, forward, gradient, softmax
from heirloom.ranking.neural import META_FILE, WEIGHTS_FILE, Neural, _Inputs, _standard
from heirloom.ranking.ranker import Examples
from heirloom.testing.ranking import examples


def crossed_world(seed: int, groups: int = 1_500, shown: int = 6) -> Examples:
    """What is taken is where two features have one sign: no linear score can say so."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(groups, shown, 2)).astype(np.float32)
    appeal = 2 * values[..., 0] * values[..., 1] + rng.gumbel(size=(groups, shown))
    gains = np.zeros((groups, shown), np.float32)
    gains[np.arange(groups), appeal.argmax(axis=1)] = 1
    member = np.repeat(np.arange(groups), shown)
    return Examples(
        values.reshape(-1, 2), ("v@1.a", "v@1.b"), member, gains.reshape(-1),
        np.zeros(groups * shown, np.int16), member,
    )  # fmt: skip


def found(ranker: Linear | Neural, world: Examples) -> float:
    """Share of groups whose taken listing has the highest score."""
    scores = ranker.score(FeatureBatch(world.values, world.columns, 0))[:, 0].reshape(-1, 6)
    return float((scores.argmax(axis=1) == world.gains.reshape(-1, 6).argmax(axis=1)).mean())


def test_it_learns_what_no_linear_score_can() -> None:
    train, validation, test = (crossed_world(seed) for seed in (0, 1, 2))
    linear = found(Linear.fit(train, validation, seed=0), test)
    neural = found(Neural.fit(train, validation, seed=0, members=1, hidden=16, batch=32), test)
    best = found_by_truth(test)
    assert neural > best - 0.06  # standard error .013
    assert linear < best - 0.15


def found_by_truth(world: Examples) -> float:
    truth = (world.values[:, 0] * world.values[:, 1]).reshape(-1, 6)
    return float((truth.argmax(axis=1) == world.gains.reshape(-1, 6).argmax(axis=1)).mean())


def data_and_weights(hidden: int = 4) -> tuple[Groups, list[np.ndarray]]:
    shown = with_gain(examples(1, groups=12))
    data = Groups.of(_Inputs.of(_standard(shown, 1, hidden)).of_values(shown.values), shown)
    rng = np.random.default_rng(0)
    weights = [each + rng.normal(0, 0.3, each.shape).astype(np.float32)
               for each in first_weights(data.x.shape[1], hidden, rng)]  # fmt: skip
    return data, weights


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    data, weights = data_and_weights()
    data = replace(data, x=data.x.astype(np.float64), target=data.target.astype(np.float64))
    wide = [each.astype(np.float64) for each in weights]

    def loss() -> float:
        chances = softmax(forward(wide, data)[0], data)
        return float(-(data.target * np.log(chances)).sum() / len(data.starts))

    for array, slope in zip(wide, gradient(wide, data), strict=True):
        for at in list(np.ndindex(array.shape))[::7]:
            kept, step = array[at], 1e-6
            array[at] = kept + step
            above = loss()
            array[at] = kept - step
            below = loss()
            array[at] = kept
            np.testing.assert_allclose(slope[at], (above - below) / (2 * step), atol=1e-6)


def test_the_kernel_scores_as_the_networks_say() -> None:
    train = examples(1)
    fitted = Neural.fit(train, examples(2, groups=40), seed=3, members=2, hidden=8, epochs=1)
    values = examples(4, groups=5).values
    x = fitted._inputs.of_values(values)
    naive = [
        np.maximum(np.maximum(x @ n.first + n.first_bias, 0) @ n.second + n.second_bias, 0) @ n.out
        + x @ n.direct
        for n in fitted._networks
    ]
    scores = fitted.score(FeatureBatch(values, train.columns, 0))[:, 0]
    np.testing.assert_allclose(scores, np.mean(naive, axis=0), rtol=1e-4, atol=1e-5)


def test_what_was_never_missing_counts_as_the_mean_when_it_is() -> None:
    world = crossed_world(0, groups=200)
    fitted = Neural.fit(world, world, seed=0, members=1, hidden=8, batch=32)
    mean = np.array([fitted._meta.centre], np.float32)
    gone = FeatureBatch(np.full((1, 2), np.nan, np.float32), world.columns, 0)
    there = FeatureBatch(mean, world.columns, 0)
    np.testing.assert_allclose(fitted.score(gone), fitted.score(there), atol=1e-5)


def test_nothing_gained_is_refused() -> None:
    world = examples(1)
    nothing = replace(world, gains=np.zeros_like(world.gains))
    with pytest.raises(InputError, match="validation examples has a gain"):
        Neural.fit(world, nothing, seed=0)


def test_parts_of_two_bundles_are_refused(tmp_path: Path) -> None:
    for hidden in (4, 8):
        folder = tmp_path / str(hidden)
        folder.mkdir()
        Neural.fit(
            examples(1), examples(2), seed=0, members=1, hidden=hidden, epochs=1
        ).save(folder)  # fmt: skip
    (tmp_path / "4" / WEIGHTS_FILE).replace(tmp_path / "8" / WEIGHTS_FILE)
    with pytest.raises(BundleError, match="different bundles"):
        Neural.load(tmp_path / "8")
    (tmp_path / "8" / META_FILE).write_text("{}")
    with pytest.raises(BundleError, match=r"Neural\.load"):
        Neural.load(tmp_path / "8")
