"""Leaks that are planted are found, and what is clean passes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.pipelines.ablation import Label, importance
from heirloom.pipelines.leakage import Limits, shuffled_labels, too_good, with_labels_dealt
from heirloom.pipelines.training_report import Finding, Fitted, TrainingReport
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.examples import take
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.testing.ranking import examples

SLATES = 600


def with_column(of: Examples, values: np.ndarray, name: str = "law@1.later") -> Examples:
    return replace(
        of,
        values=np.column_stack([of.values, values.astype(np.float32)]),
        columns=(*of.columns, name),
    )


def fitted(of: Examples, kind: type[Ranker] = Linear, learned: int = 300) -> Fitted:
    slate = np.unique(of.groups, return_inverse=True)[1]
    learn, validation = (
        np.flatnonzero(slate < learned),
        np.flatnonzero((slate >= 300) & (slate < 400)),
    )
    test = np.flatnonzero(slate >= 400)
    ranker = kind.fit(take(of, learn), take(of, validation), seed=0)
    return Fitted(
        kind=kind, settings={}, ranker=ranker, examples=of, surfaces=np.ones(len(of.t), np.int8),
        learn=learn, validation=validation, test=test, gains={"click": 1.0}, seed=0,
    )  # fmt: skip


def looked_at(of: Fitted, limits: Limits | None = None) -> Finding:
    test = take(of.examples, of.test)
    drops = importance(
        of.ranker, test, of.surfaces[of.test], (Label("gain", test.gains),), {}, rows=10**9, seed=0
    )
    return too_good(of, drops, limits or Limits(), slates=1_000)


@pytest.fixture(scope="module")
def clean() -> Examples:
    """Slates in which one column says much and no column says all."""
    of = examples(11, groups=SLATES)
    rng = np.random.default_rng(0)
    worth = 0.8 * np.nan_to_num(of.values[:, :3]).sum(axis=1) + rng.gumbel(size=len(of.t))
    return replace(of, gains=(worth > 2).astype(np.float32))


@pytest.mark.parametrize("kind", [Linear, CatBoostListwise])
def test_clean_examples_pass(clean: Examples, kind: type[Ranker]) -> None:
    of = fitted(clean, kind)
    dealt = shuffled_labels(of, slates=500)
    assert dealt.holds, dealt.text
    assert abs(dealt.numbers["gap"]) < dealt.numbers["wide"]
    assert dealt.numbers["wide"] < 0.12
    assert looked_at(of).holds, looked_at(of).text
    assert TrainingReport(findings=(dealt, looked_at(of))).refused == ()


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20)
def test_dealing_keeps_the_gains_of_each_slate(seed: int) -> None:
    of = examples(5, groups=30)
    dealt = with_labels_dealt(of, seed)
    for group in np.unique(of.groups):
        rows = of.groups == group
        assert sorted(dealt.gains[rows]) == sorted(of.gains[rows])
    assert dealt.gains.tolist() != of.gains.tolist()
    assert dealt.values is of.values


def test_labels_that_are_dealt_at_random_are_no_better_than_chance(clean: Examples) -> None:
    """The planted shuffled label: what was trained on it ranks by chance, and the check says so."""
    of = fitted(with_labels_dealt(clean, 4))
    assert shuffled_labels(of, slates=500).holds
    real = fitted(clean)
    gap = {name: looked_at(each).numbers["lift"] for name, each in (("dealt", of), ("real", real))}
    assert abs(gap["dealt"]) < 0.05
    assert gap["real"] > 0.15


def test_a_column_made_of_labels_does_not_fall_to_chance(clean: Examples) -> None:
    def encoded(of: Examples) -> Examples:
        noise = np.random.default_rng(3).normal(size=len(of.t))
        return with_column(of, of.gains + noise)

    of = fitted(encoded(clean))
    # The column is made again of the labels dealt, as the pipeline that made it would.
    bare = replace(of, examples=clean)
    found = shuffled_labels(bare, slates=500, derive=encoded)
    assert found.holds is False
    assert found.numbers["gap"] > found.numbers["wide"]
    (refused,) = TrainingReport(findings=(found,)).refused
    assert "stays above chance" in refused
    assert "labels reach the scores by a way other than learning" in refused


def test_slates_on_both_sides_of_the_split_do_not_fall_to_chance(clean: Examples) -> None:
    # Rows are known again by a column of their own, so trees can learn them by heart.
    rng = np.random.default_rng(9)
    marked = with_column(clean, rng.normal(size=len(clean.t)), "law@1.row")
    of = fitted(marked)
    torn = replace(of, learn=of.test, validation=of.test, kind=Heart)
    found = shuffled_labels(torn, slates=10_000)
    assert found.holds is False
    assert found.numbers["ndcg"] > 0.95
    assert shuffled_labels(replace(of, kind=Heart), slates=10_000).holds


class Heart:
    """Learns rows by heart."""

    actions = ("gain",)

    def __init__(self, columns: tuple[str, ...], known: dict[bytes, float]) -> None:
        self.columns, self.known = columns, known

    @classmethod
    def fit(cls, train: Examples, validation: Examples, *, seed: int) -> "Heart":
        rows = (row.tobytes() for row in train.values)
        return cls(train.columns, dict(zip(rows, train.gains.tolist(), strict=True)))

    def score(self, batch) -> np.ndarray:
        found = [self.known.get(row.tobytes(), float(row[-1])) for row in batch.values]
        return np.array(found, np.float32)[:, None]


def test_a_future_column_is_too_good(clean: Examples) -> None:
    later = with_column(clean, clean.gains)
    found = looked_at(fitted(later))
    assert found.holds is False
    assert found.columns == ("law@1.later",)
    assert "AUC of 1.000" in found.text
    assert "[training.audit] allowed" in found.text
    allowed = looked_at(fitted(later), Limits(allowed=("later",)))
    assert allowed.holds
    assert "allowed by name" in allowed.text


def test_a_noisy_future_column_carries_the_ranker(clean: Examples) -> None:
    # Of those acted on most were clicked again later; of the others, some.
    rng = np.random.default_rng(2)
    again = rng.random(len(clean.t)) < np.where(clean.gains > 0, 0.8, 0.02)
    found = looked_at(fitted(with_column(clean, again)))
    assert found.holds is False
    assert found.columns == ("law@1.later",)
    assert "of what the ranker gains over chance" in found.text
    assert found.numbers["auc"] < 0.95


def test_too_few_slates_are_not_judged() -> None:
    few = examples(1, groups=30)
    of = fitted(examples(2, groups=SLATES))
    rows = np.arange(len(few.t))
    small = replace(of, examples=few, learn=rows[:80], validation=rows[80:120], test=rows[120:])
    for found in (shuffled_labels(small, slates=500), too_good(small, (), Limits(), slates=500)):
        assert found.holds is None
        assert "wanted 20" in found.text
    assert TrainingReport(findings=(found,)).refused == ()
