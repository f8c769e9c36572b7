"""The law of a Ranker: it scores each candidate by itself, and is what was saved.

class TestMyRanker(RankerLaws):
    ranker = MyRanker
"""

from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from heirloom.core.errors import ShapeError
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.ranker import Examples, Ranker

MANY = 100_000
COLUMNS = tuple(f"law@1.f{i}" for i in range(5))


def examples(seed: int, groups: int = 120, shown: int = 8) -> Examples:
    """Slates in which the first feature decides, the place helps, and some values are missing."""
    rng = np.random.default_rng(seed)
    rows = groups * shown
    values = rng.normal(size=(rows, len(COLUMNS))).astype(np.float32)
    positions = np.tile(np.arange(shown, dtype=np.int16), groups)
    appeal = 2 * values[:, 0] - 0.5 * positions + rng.gumbel(size=rows)
    gains = (appeal > 1).astype(np.float32) * rng.integers(1, 4, rows)
    values[rng.random(values.shape) < 0.1] = np.nan
    member = np.repeat(np.arange(groups), shown)
    return Examples(
        values, COLUMNS, member, gains.astype(np.float32), positions, member * 1_000,
        actions=("act", "like"), done=np.stack([gains > 0, gains > 1], 1).astype(np.float32),
    )  # fmt: skip


@cache
def _fitted(ranker: type[Ranker]) -> Ranker:
    return ranker.fit(examples(1), examples(2, groups=40), seed=3)


class RankerLaws:
    """Inherit, name `ranker`, and let pytest collect it."""

    ranker: ClassVar[type[Ranker]]

    @pytest.fixture
    def fitted(self) -> Ranker:
        """One ranker for all laws."""
        return _fitted(self.ranker)

    @pytest.fixture
    def batch(self) -> FeatureBatch:
        """Rows that were not trained on, one of them wholly missing."""
        values = examples(4, groups=10).values
        values[0] = np.nan
        return FeatureBatch(values, COLUMNS, n=0)

    def test_scores_have_one_column_an_action(self, fitted: Ranker, batch: FeatureBatch) -> None:
        scores = fitted.score(batch)
        assert scores.shape == (len(batch.values), len(fitted.actions))
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert fitted.columns == COLUMNS

    def test_it_learns(self, fitted: Ranker) -> None:
        low, high = np.zeros((2, 1, len(COLUMNS)), np.float32)
        low[0, 0], high[0, 0] = -2, 2
        pair = FeatureBatch(np.concatenate([low, high]), COLUMNS, n=0)
        scores = fitted.score(pair)[:, 0]
        assert scores[1] > scores[0]

    def test_a_batch_is_its_rows_one_by_one(self, fitted: Ranker, batch: FeatureBatch) -> None:
        whole = fitted.score(batch)
        single = [
            fitted.score(FeatureBatch(batch.values[i : i + 1], COLUMNS, n=0))
            for i in range(len(batch.values))
        ]
        np.testing.assert_array_equal(whole, np.concatenate(single))

    def test_the_order_of_rows_does_not_matter(self, fitted: Ranker, batch: FeatureBatch) -> None:
        order = np.random.default_rng(5).permutation(len(batch.values))
        moved = FeatureBatch(batch.values[order], COLUMNS, n=0)
        np.testing.assert_array_equal(fitted.score(moved), fitted.score(batch)[order])

    def test_no_rows_give_no_scores(self, fitted: Ranker) -> None:
        empty = FeatureBatch(np.zeros((0, len(COLUMNS)), np.float32), COLUMNS, n=0)
        assert fitted.score(empty).shape == (0, len(fitted.actions))

    def test_one_candidate_is_scored_as_among_others(
        self, fitted: Ranker, batch: FeatureBatch
    ) -> None:
        alone = fitted.score(FeatureBatch(batch.values[3:4], COLUMNS, n=0))
        assert alone.shape == (1, len(fitted.actions))
        np.testing.assert_array_equal(alone[0], fitted.score(batch)[3])

    def test_a_hundred_thousand_candidates_are_scored_as_a_few(
        self, fitted: Ranker, batch: FeatureBatch
    ) -> None:
        times = -(-MANY // len(batch.values))
        many = FeatureBatch(np.tile(batch.values, (times, 1))[:MANY], COLUMNS, n=0)
        wanted = np.tile(fitted.score(batch), (times, 1))[:MANY]
        np.testing.assert_array_equal(fitted.score(many), wanted)

    def test_equal_rows_tie_wherever_they_stand(self, fitted: Ranker, batch: FeatureBatch) -> None:
        apart = batch.values.copy()
        apart[1::7] = apart[1]
        once, again = (fitted.score(FeatureBatch(apart, COLUMNS, n=0)) for _ in range(2))
        assert (once[1::7] == once[1]).all()
        np.testing.assert_array_equal(once, again)

    @pytest.mark.parametrize("gone", range(len(COLUMNS)))
    def test_a_feature_that_is_missing_throughout_is_no_harm(
        self, fitted: Ranker, batch: FeatureBatch, gone: int
    ) -> None:
        values = batch.values.copy()
        values[:, gone] = np.nan
        scores = fitted.score(FeatureBatch(values, COLUMNS, n=0))
        assert np.isfinite(scores).all()
        if gone != 0:  # what decides is still there
            assert np.ptp(scores[:, 0]) > 0

    def test_it_is_what_was_saved(
        self, fitted: Ranker, batch: FeatureBatch, tmp_path: Path
    ) -> None:
        fitted.save(tmp_path)
        again = self.ranker.load(tmp_path)
        assert again.columns == fitted.columns
        assert again.actions == fitted.actions
        assert again.score(batch).tobytes() == fitted.score(batch).tobytes()

    def test_nothing_saved_is_a_pickle(self, fitted: Ranker, tmp_path: Path) -> None:
        fitted.save(tmp_path)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert path.suffix not in {".pkl", ".pickle", ".joblib"}
            assert path.read_bytes()[:2] not in {bytes([0x80, n]) for n in range(2, 6)}

    def test_the_same_seed_gives_the_same_bytes(self, fitted: Ranker, tmp_path: Path) -> None:
        again = self.ranker.fit(examples(1), examples(2, groups=40), seed=3)
        for name, ranker in (("one", fitted), ("two", again)):
            (tmp_path / name).mkdir()
            ranker.save(tmp_path / name)
        one, two = (
            {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
            for name in ("one", "two")
        )
        assert one == two

    def test_other_columns_are_refused_by_name(self, fitted: Ranker, batch: FeatureBatch) -> None:
        other = (*COLUMNS[:-1], "law@2.f4")
        with pytest.raises(ShapeError, match=r"missing: law@1\.f4.*law@2\.f4"):
            fitted.score(FeatureBatch(batch.values, other, n=0))
        with pytest.raises(ShapeError, match="out of order"):
            fitted.score(FeatureBatch(batch.values, COLUMNS[::-1], n=0))
