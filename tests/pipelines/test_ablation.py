"""What columns and groups are worth: a column that decides, noise, and what all slates share."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.pipelines.ablation import (
    Label,
    groups_by_first_word,
    importance,
    labels_of_gains,
    retrained_without,
)
from heirloom.pipelines.training_report import Drops, Fitted, TrainingReport
from heirloom.ranking.examples import take
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.testing.ranking import COLUMNS, examples

F = COLUMNS
GROUPS = {"deciding": F[:1], "noise": F[1:]}


class Given:
    """A ranker of known weights; the second score is a chance."""

    actions = ("gain", "click")

    def __init__(self, columns: tuple[str, ...], weights: list[float]) -> None:
        self.columns, self.weights = columns, np.array(weights, np.float32)

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        each = np.nan_to_num(batch.values) @ self.weights
        return np.stack([each, 1 / (1 + np.exp(-each))], axis=1).astype(np.float32)


def held_out(seed: int = 7, groups: int = 200) -> Examples:
    return examples(seed, groups=groups)


def measured(ranker: Ranker, on: Examples, labels: tuple[Label, ...] = (), rows: int = 10**9):
    surfaces = np.where(on.groups % 2 == 0, 1, 3).astype(np.int8)
    labels = labels or (Label("gain", on.gains),)
    return importance(ranker, on, surfaces, labels, GROUPS, rows=rows, seed=5)


def table(found: tuple[Drops, ...], of: str, surface: str = "all", label: str = "gain") -> Drops:
    (one,) = (d for d in found if (d.of, d.surface, d.label) == (of, surface, label))
    return one


def test_what_decides_is_worth_something_and_noise_nothing() -> None:
    ranker = Given(F, [2.0, 0.0, 0.0, 0.0, 0.1])
    found = measured(ranker, held_out())
    columns = table(found, "column")
    assert columns.drops[0].name == F[0]
    assert columns.drops[0].low > 0.1
    unused = [drop for drop in columns.drops if drop.name in F[1:4]]
    assert [(drop.mean, drop.low, drop.high) for drop in unused] == [(0.0, 0.0, 0.0)] * 3
    weak = next(drop for drop in columns.drops if drop.name == F[4])
    assert weak.low <= 0 <= weak.high
    assert [drop.name for drop in table(found, "group").drops] == ["deciding", "noise"]
    assert {d.surface for d in found} == {"all", "home", "search"}
    assert table(found, "column", "home").slates + table(found, "column", "search").slates == (
        columns.slates
    )


def test_a_drop_is_the_metric_before_minus_after() -> None:
    on, ranker = held_out(), Given(F, [2.0, 0.0, 0.0, 0.0, 0.0])
    found = table(measured(ranker, on), "column")
    # All that decides is gone: what is left is the order of a permutation, chance.
    before = grouped_ndcg(
        ranker.score(FeatureBatch(on.values, F, 0))[:, 0], on.gains, on.groups, 10
    )
    assert found.value == round(float(before.mean()), 6)
    shuffled = on.values.copy()
    rng = np.random.default_rng(1)
    for group in np.unique(on.groups):
        rows = np.flatnonzero(on.groups == group)
        shuffled[rows, 0] = on.values[rng.permutation(rows), 0]
    after = grouped_ndcg(ranker.score(FeatureBatch(shuffled, F, 0))[:, 0], on.gains, on.groups, 10)
    naive = float((before - after).mean())
    assert found.drops[0].mean == pytest.approx(naive, abs=0.05)
    assert found.drops[0].low < naive < found.drops[0].high


def test_a_column_that_slates_share_goes_to_another_slate() -> None:
    on = held_out()
    shared = on.values.copy()
    shared[:, 1] = np.where(on.groups % 2 == 0, -1, 1)
    on = replace(on, values=shared)

    class Interacts(Given):
        def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
            each = np.nan_to_num(batch.values)
            return (each[:, :1] * each[:, 1:2]).astype(np.float32)

    flipped = replace(on, gains=np.where(on.values[:, 0] * on.values[:, 1] > 1, 1, 0))
    drops = {d.name: d for d in table(measured(Interacts(F, [0.0] * 5), flipped), "column").drops}
    # Half of the slates get the sign of the others, and their order is turned round.
    assert drops[F[1]].low > 0.1
    assert drops[F[0]].low > 0.1


def test_chances_are_judged_by_their_log_likelihood() -> None:
    on, ranker = held_out(), Given(F, [1.5, 0.0, 0.0, 0.0, 0.0])
    p = ranker.score(FeatureBatch(on.values, F, 0))[:, 1].astype(np.float64)
    done = (np.random.default_rng(0).random(len(p)) < p).astype(np.float32)
    done[on.groups % 4 == 3] = np.nan  # not known yet
    found = table(measured(ranker, on, (Label("click", done, 1),)), "column", label="click")
    known = ~np.isnan(done)
    wanted = np.where(done[known] > 0, np.log(p[known]), np.log(1 - p[known])).mean()
    assert found.metric == "log_likelihood"
    assert found.slates == 150
    assert found.value == pytest.approx(wanted, abs=1e-6)
    assert found.drops[0].name == F[0]
    assert found.drops[0].low > 0.1


def test_the_budget_is_kept_and_the_same_training_gives_the_same_bytes() -> None:
    ranker, on = Given(F, [2.0, 0.0, 0.0, 0.0, 0.0]), held_out()
    variants = 1 + len(F) + len(GROUPS)
    found = measured(ranker, on, rows=variants * 400)  # 8 rows a slate
    again = measured(ranker, on, rows=variants * 400)
    assert 40 <= table(found, "column").slates <= 50
    first, second = (TrainingReport(drops=each).encode() for each in (found, again))
    assert first == second
    assert TrainingReport.decode(first).drops == found


def test_groups_that_cannot_be_are_refused() -> None:
    on, ranker = held_out(), Given(F, [1.0] * 5)
    surfaces, labels = np.ones(len(on.t), np.int8), (Label("gain", on.gains),)
    with pytest.raises(InputError, match="'nobody', which the ranker was not trained on"):
        importance(ranker, on, surfaces, labels, {"a": ["nobody"]}, rows=10_000, seed=0)
    with pytest.raises(InputError, match="in groups 'a' and 'b'"):
        importance(ranker, on, surfaces, labels, {"a": [F[0]], "b": [F[0]]}, rows=10_000, seed=0)


def fitted() -> Fitted:
    on = examples(3, groups=400)
    t = on.groups
    learn, validation, test = (
        np.flatnonzero((t >= low) & (t < high)) for low, high in ((0, 200), (200, 250), (250, 400))
    )
    ranker = Linear.fit(take(on, learn), take(on, validation), seed=0)
    return Fitted(
        kind=Linear, settings={}, ranker=ranker, examples=on, surfaces=np.ones(len(t), np.int8),
        learn=learn, validation=validation, test=test, gains={"click": 1.0}, seed=0,
    )  # fmt: skip


def test_fitted_again_without_a_group() -> None:
    of = fitted()
    labels = (Label("gain", of.examples.gains[of.test]),)
    found = table(retrained_without(of, labels, GROUPS), "retrained")
    drops = {drop.name: drop for drop in found.drops}
    assert drops["deciding"].low > 0.05
    assert abs(drops["noise"].mean) < 0.05
    with pytest.raises(InputError, match="nothing to fit"):
        retrained_without(of, labels, {"all": F})


def test_what_gains_tell_of_actions() -> None:
    gains = np.array([0, 1, 3, 6], np.float32)
    names = [label.name for label in labels_of_gains(gains, {"click": 1.0, "save": 2.0})]
    assert names == ["gain", "any_action", "beyond_click"]
    # A save is worth less than a click: 1.5 may be a click and a save, or a click alone.
    names = [label.name for label in labels_of_gains(gains, {"click": 1.0, "save": 0.5})]
    assert names == ["gain", "any_action"]


def test_groups_by_the_first_word() -> None:
    assert groups_by_first_word(F) == {f"f{i}": [F[i]] for i in range(5)}
