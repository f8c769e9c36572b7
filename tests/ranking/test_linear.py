import numpy as np

from heirloom.core.slate import FeatureBatch
from heirloom.ranking.examples import with_gain
from heirloom.ranking.linear import Linear, _lists, _loss, _newton, _softmax
from heirloom.ranking.ranker import Examples
from heirloom.testing.ranking import examples


def softmax_world(weights: list[float], groups: int = 3_000, shown: int = 5) -> Examples:
    """Exactly one listing of each slate is taken, with chance softmax(values @ weights)."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(groups, shown, len(weights))).astype(np.float32)
    taken = (values @ np.array(weights) + rng.gumbel(size=(groups, shown))).argmax(axis=1)
    gains = np.zeros((groups, shown), np.float32)
    gains[np.arange(groups), taken] = 1
    member = np.repeat(np.arange(groups), shown)
    return Examples(
        values.reshape(-1, len(weights)), ("v@1.a", "v@1.b"), member, gains.reshape(-1),
        np.zeros(groups * shown, np.int16), member,
    )  # fmt: skip


def test_the_true_weights_are_found() -> None:
    world = softmax_world([1.0, -0.5])
    found = Linear.fit(world, world, seed=0).weights
    # Standard error of a weight here is about 0.02 per standard deviation of the feature.
    np.testing.assert_allclose(list(found.values()), [1.0, -0.5], atol=0.08)


def test_the_loss_is_its_definition() -> None:
    lists = _lists(with_gain(examples(1, groups=2, shown=3)), np.zeros(5), np.ones(5))
    weights = np.linspace(-1, 1, lists.x.shape[1])
    total = 0.0
    for start in (0, 3):
        scores = lists.x[start : start + 3] @ weights
        chances = np.exp(scores) / np.exp(scores).sum()
        total -= (lists.target[start : start + 3] * np.log(chances)).sum()
    np.testing.assert_allclose(_loss(lists, weights), total / 2)
    np.testing.assert_allclose(np.add.reduceat(_softmax(lists, lists.x @ weights), [0, 3]), 1)


def test_newton_ends_where_the_slope_is_zero() -> None:
    lists = _lists(with_gain(examples(1)), np.zeros(5), np.ones(5))
    ridge = 5.0
    weights = _newton(lists, np.zeros(lists.x.shape[1]), ridge)

    def objective(at: np.ndarray) -> float:
        return len(lists.starts) * _loss(lists, at) + ridge / 2 * float(at @ at)

    for i in range(len(weights)):
        step = np.zeros(len(weights))
        step[i] = 1e-4
        slope = (objective(weights + step) - objective(weights - step)) / 2e-4
        assert abs(slope) < 1e-2


def test_a_missing_value_has_a_weight_of_its_own() -> None:
    world = softmax_world([2.0, 0.0])
    gone = world.values.copy()
    low = gone[:, 0] < -0.5
    gone[low, 0] = np.nan  # missing exactly where the listing is unattractive
    missing = Examples(gone, world.columns, world.groups, world.gains, world.positions, world.t)
    model = Linear.fit(missing, missing, seed=0)
    batch = FeatureBatch(np.array([[np.nan, 0], [0, 0]], np.float32), world.columns, n=0)
    scores = model.score(batch)[:, 0]
    assert scores[0] < scores[1] - 0.5
