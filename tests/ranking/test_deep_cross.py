import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heirloom.core.errors import BundleError, ConfigError, InputError, ShapeError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.deep_cross import META_FILE, DeepCross, Labels
from heirloom.ranking.ranker import Examples
from heirloom.testing.ranking import COLUMNS, examples

ACTIONS = ("click", "save")


def world(seed: int, groups: int = 1_000, shown: int = 8) -> tuple[Examples, np.ndarray]:
    """Clicks go by a times b and by the place's examination, saves by c alone, and none is free.

    Examined with probability 1 / (place + 1); a click then by sigmoid(2ab), a save by sigmoid(c).
    """
    rng = np.random.default_rng(seed)
    rows = groups * shown
    values = rng.normal(size=(rows, 3)).astype(np.float32)
    places = np.tile(np.arange(shown), groups)
    seen = rng.random(rows) < 1 / (places + 1)
    chances = 1 / (1 + np.exp(-np.stack([2 * values[:, 0] * values[:, 1], values[:, 2]], axis=1)))
    done = (seen[:, None] & (rng.random((rows, 2)) < chances)).astype(np.float32)
    member = np.repeat(np.arange(groups), shown)
    columns = ("v@1.a", "v@1.b", "v@1.c")
    gains = done @ np.array([1, 2], np.float32)
    return Examples(values, columns, member, gains, places.astype(np.int16), member), done


def chances_of(ranker: DeepCross, values: list[list[float]]) -> np.ndarray:
    return ranker.score(FeatureBatch(np.array(values, np.float32), ranker.columns, n=0))


@pytest.fixture(scope="module")
def fitted() -> DeepCross:
    (train, done), (late, done_late) = world(1), world(2, 300)
    labels = Labels(ACTIONS, done, done_late)
    return DeepCross.fit(train, late, seed=0, labels=labels, place="examined", experts=2)


def test_each_action_has_a_probability_as_if_on_top(fitted: DeepCross) -> None:
    assert fitted.actions == ACTIONS
    values = np.random.default_rng(5).normal(size=(2_000, 3)).astype(np.float32)
    logits = np.stack([2 * values[:, 0] * values[:, 1], values[:, 2]], axis=1)
    came = fitted.score(FeatureBatch(values, fitted.columns, n=0))
    np.testing.assert_allclose(came.mean(axis=0), [0.5, 0.5], atol=0.06)
    for action in range(2):
        truth = 1 / (1 + np.exp(-logits[:, action]))
        assert np.corrcoef(came[:, action], truth)[0, 1] > 0.9


def test_a_network_blind_to_places_believes_less(fitted: DeepCross) -> None:
    (train, done), (late, done_late) = world(1), world(2, 300)
    blind = DeepCross.fit(
        train, late, seed=0, labels=Labels(ACTIONS, done, done_late), place="none"
    )
    batch = FeatureBatch(late.values, late.columns, n=0)
    np.testing.assert_allclose(blind.score(batch).mean(axis=0), done_late.mean(axis=0), atol=0.03)
    assert (fitted.score(batch).mean(axis=0) > 2 * done_late.mean(axis=0)).all()


def test_labels_that_are_not_known_yet_teach_nothing() -> None:
    (train, done), (late, done_late) = world(1, 300), world(2, 100)
    unknown = done.copy()
    unknown[::2, 1] = np.nan
    hidden = unknown.copy()
    lies = replace(train, gains=train.gains[::-1].copy())
    one, two = (
        DeepCross.fit(part, late, seed=0, labels=Labels(ACTIONS, hidden, done_late), least_steps=30)
        for part in (train, lies)
    )
    assert one.score(FeatureBatch(late.values, late.columns, 0)).tobytes() == two.score(
        FeatureBatch(late.values, late.columns, 0)
    ).tobytes()  # fmt: skip


def test_weights_say_whose_clicks_count() -> None:
    """Half the groups like a, half dislike it; those that weigh ten decide."""
    rng = np.random.default_rng(0)
    train = examples(1, groups=400)
    liked = np.where(np.repeat(rng.random(400) < 0.5, 8), 1, -1)
    gains = (liked * train.values[:, 0] > 0.8).astype(np.float32)
    train = replace(train, gains=np.nan_to_num(gains), positions=0 * train.positions)
    pair = [[-1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0]]
    for loved in (1, -1):
        weights = np.where(liked == loved, 10, 1).astype(np.float32)
        ranker = DeepCross.fit(train, train, seed=0, weights=weights, least_steps=100)
        low, high = chances_of(ranker, pair)[:, 0]
        assert (high > low) == (loved > 0)


def test_the_served_graph_is_the_trained_network() -> None:
    torch = pytest.importorskip("torch")
    from heirloom.ranking.training.graph import deep_cross_graph
    from heirloom.ranking.training.inputs import Inputs
    from heirloom.ranking.training.network import DeepCrossNetwork, Shape

    values = examples(4, groups=20).values
    inputs = Inputs.of(values, 8)
    for experts in (1, 3):
        torch.manual_seed(0)
        network = DeepCrossNetwork(Shape(inputs.width, actions=2, experts=experts)).eval()
        for part in network.parameters():
            torch.nn.init.normal_(part, std=0.3)
        graph = deep_cross_graph(network, inputs, chances=True)
        with torch.no_grad():
            wanted = torch.sigmoid(network(torch.from_numpy(inputs(values)))).numpy()
        came = DeepCross(graph, COLUMNS, ACTIONS).score(FeatureBatch(values, COLUMNS, 0))
        np.testing.assert_allclose(came, wanted, atol=2e-6)
        assert np.ptp(came, axis=0).min() > 0.1


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -3e38])
def test_values_beyond_all_sense_give_finite_scores(fitted: DeepCross, value: float) -> None:
    assert np.isfinite(chances_of(fitted, [[value, 0, 0], [value] * 3])).all()


def test_what_serves_does_not_import_torch(fitted: DeepCross, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from heirloom.core.slate import FeatureBatch\n"
        "from heirloom.ranking.deep_cross import DeepCross\n"
        f"ranker = DeepCross.load(Path({str(tmp_path)!r}))\n"
        "ranker.score(FeatureBatch(np.zeros((2, 3), np.float32), ranker.columns, 0))\n"
        "print('torch' in sys.modules, 'onnx' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["False", "False"]


def test_labels_that_do_not_fit_are_refused() -> None:
    (train, done), (late, done_late) = world(1, 50), world(2, 50)
    with pytest.raises(ShapeError, match="399 labels of 400 train rows"):
        DeepCross.fit(train, late, seed=0, labels=Labels(ACTIONS, done[1:], done_late))
    never = done_late.copy()
    never[:, 1] = 0
    with pytest.raises(InputError, match=r"validation rows.*columns \[1\]"):
        DeepCross.fit(train, late, seed=0, labels=Labels(ACTIONS, done, never))


def test_settings_that_cannot_be_are_gathered() -> None:
    train = examples(1, groups=20)
    with pytest.raises(ConfigError, match=r"(?s)loss is 'hinge'.*knots is 1"):
        DeepCross.fit(train, train, seed=0, loss="hinge", knots=1)
    with pytest.raises(ConfigError, match="place is 'somewhere'"):
        DeepCross.fit(train, train, seed=0, place="somewhere")


def test_a_graph_of_another_bundle_is_refused(fitted: DeepCross, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    meta = tmp_path / META_FILE
    meta.write_text(meta.read_text().replace('"save"', '"save","offer"'))
    with pytest.raises(BundleError, match="other bundles"):
        DeepCross.load(tmp_path)
    (tmp_path / "deep_cross.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="cannot be read"):
        DeepCross.load(tmp_path)
