"""The models' benchmark over a small world of sequences: chains that people walk along."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks import model_hybrid, models
from benchmarks.model_evidence import POOL, Evidence, examples, gathered
from benchmarks.model_protocols import (
    LeaveOneOut,
    Places,
    amazon,
    attributes,
    gowalla,
    lightgcn,
)
from scipy import sparse

from heirloom.retrieval.collaborative.sequences import Sequences

ITEMS, PEOPLE = 160, 240


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People go from an item to the next one mostly, and sometimes anywhere."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for person in range(PEOPLE):
        at = int(rng.integers(ITEMS))
        for position in range(int(rng.integers(5, 9))):
            rows.append((person + 1, at + 1, position))
            at = int(rng.integers(ITEMS)) if rng.random() < 0.2 else (at + 1) % ITEMS
    table = pl.DataFrame(rows, ["user_id", "item_id", "position"], orient="row")
    shared = pl.DataFrame({"item_id": range(1, ITEMS + 1)}).with_columns(
        attribute_id=pl.col("item_id") // 10
    )
    for name in ("amazon_beauty", "amazon_clothing"):
        (folder / name).mkdir()
        table.write_parquet(folder / name / "sequences.parquet")
    shared.write_parquet(folder / "amazon_beauty" / "item_attributes.parquet")
    return folder


def test_the_split_holds_back_two_items_of_everybody(data: Path) -> None:
    sequences = amazon(data / "amazon_beauty")
    split = LeaveOneOut.of(sequences)
    for person in range(len(sequences)):
        row = sequences.items[sequences.starts[person] : sequences.starts[person + 1]].tolist()
        one = split.train.take(np.array([person])).items.tolist()
        assert [*one, split.validation[person], split.test[person]] == row
        assert split.test_histories.take(np.array([person])).items.tolist() == row[:-1]


def test_places_are_those_of_a_plain_reading() -> None:
    scores = np.array([[5, 4, 4, 4, 1], [1, 2, 3, 4, 5]], np.float32)
    histories = Sequences.of([[0], [3]], 5)
    places = Places.of(lambda _: scores.copy(), histories, np.array([2, 3], np.int32))
    # The first is one of three level at the top once item 0 is out; the second had its target.
    assert places.hits(1).tolist() == [pytest.approx(1 / 3), 0]
    worth = [1 / math.log2(rank + 1) for rank in (1, 2, 3)]
    assert places.ndcg(2).tolist() == [pytest.approx(sum(worth[:2]) / 3), 0]


def test_lightgcns_metrics_divide_by_what_can_be_reached() -> None:
    scores = np.array([[9, 8, 7, 6, 5], [9, 8, 7, 6, 5], [1, 1, 1, 1, 1]], np.float32)
    histories = Sequences.of([[0], [], [1]], 5)
    truth = Sequences.of([[2, 4, 3], [4], []], 5)
    recall, ndcg = lightgcn(lambda _: scores.copy(), histories, truth, k=2)
    assert recall.tolist() == [pytest.approx(1 / 3), 0]
    ideal = 1 + 1 / math.log2(3)
    assert ndcg.tolist() == [pytest.approx((1 / math.log2(3)) / ideal), 0]


def test_examples_are_pools_that_hold_the_target_and_nothing_had_before(data: Path) -> None:
    sequences = amazon(data / "amazon_beauty")
    split = LeaveOneOut.of(sequences)
    evidence = Evidence.of(split.train, attributes(data / "amazon_beauty", ITEMS))
    found, held = examples(evidence, split.train, split.validation)
    assert len(found.gains) == held.sum() * POOL
    assert found.gains.reshape(-1, POOL).sum(axis=1).tolist() == [1] * (len(found.gains) // POOL)
    assert np.isfinite(found.values).all()
    for person, items in enumerate(evidence.pooled(split.train).items):
        had = split.train.take(np.array([person])).items
        assert not set(items.tolist()) & set(had.tolist())


def test_labels_of_test_and_validation_do_not_reach_the_evidence(data: Path) -> None:
    sequences = amazon(data / "amazon_beauty")
    changed = sequences.items.copy()
    changed[sequences.ages < 2] = 7
    other = Sequences(changed, sequences.starts, sequences.number)
    histories = Sequences.of([[1, 2], [30]], ITEMS)
    one, two = (Evidence.of(LeaveOneOut.of(rows).train, None) for rows in (sequences, other))
    assert one.scores(histories).tobytes() == two.scores(histories).tobytes()


@pytest.mark.parametrize("name", ["beauty", "clothing"])
def test_the_hybrid_finds_what_popularity_does_not(name: str, data: Path) -> None:
    said: list[str] = []
    rows = {row.id: row for row in model_hybrid.rows(name, data, said.append, seeds=(0,))}
    prefix = "models.beauty_hybrid" if name == "beauty" else "models.clothing"
    hybrid, popular = rows[f"{prefix}_hr10"], rows[f"models.{name}_popularity_hr10"]
    assert hybrid.value > 0.5 > popular.value
    assert hybrid.value >= 0.95 * rows[f"models.{name}_session_knn_hr10"].value
    assert all(row.problem() is None for row in rows.values())


def test_an_encoder_that_knows_better_is_heard(data: Path) -> None:
    sequences = amazon(data / "amazon_clothing")
    answers = {}
    for person in range(len(sequences)):
        row = tuple(sequences.items[sequences.starts[person] : sequences.starts[person + 1]])
        answers[row[:-1]], answers[row[:-2]] = row[-1], row[-2]

    def oracle(_: LeaveOneOut, seed: int):
        assert seed == 0

        def scores(histories: Sequences) -> np.ndarray:
            found = np.zeros((len(histories), histories.number), np.float32)
            for person in range(len(histories)):
                begin, end = histories.starts[person], histories.starts[person + 1]
                found[person, answers[tuple(histories.items[begin:end])]] = 20
            return found

        return scores

    rows = model_hybrid.rows("clothing", data, lambda _: None, encoders=(oracle,), seeds=(0,))
    assert next(row.value for row in rows if row.id == "models.clothing_hr10") > 0.95


def test_gowalla_is_read_by_split(tmp_path: Path) -> None:
    (tmp_path / "gowalla").mkdir()
    pl.DataFrame(
        {"user_id": [1, 0, 0], "item_id": [2, 1, 3], "split": ["train", "valid", "test"]}
    ).write_parquet(tmp_path / "gowalla" / "interactions.parquet")
    both = gowalla(tmp_path / "gowalla", "train", "valid")
    assert (both.items.tolist(), both.starts.tolist(), both.number) == ([1, 2], [0, 1, 2], 4)


def test_without_data_each_bar_says_so(tmp_path: Path) -> None:
    parts = models.parts(tmp_path)
    assert set(models.NEEDED) < set(parts) == set(models.BARS)
    for name in models.NEEDED:
        rows = parts[name]()
        assert {row.id for row in rows} == set(models.BARS[name])
        assert all(row.value is None and "not in the data folder" in row.note for row in rows)


def test_places_in_pools_are_those_of_whole_rows(data: Path) -> None:
    sequences = amazon(data / "amazon_clothing")
    split = LeaveOneOut.of(sequences)
    evidence = Evidence.of(split.train, None)
    judge = model_hybrid.Answered(*examples(evidence, split.train, split.validation))
    ranker = model_hybrid.learn(split, None, judge.groups, seed=0)
    quick = judge.places(ranker)
    whole = Places.of(model_hybrid.Reranked(evidence, ranker).scores, split.train, split.validation)
    assert 0 < judge.held.sum() < PEOPLE
    np.testing.assert_array_equal(quick.hits(), whole.hits())
    np.testing.assert_array_equal(quick.ndcg(), whole.ndcg())


def test_values_are_gathered_as_from_whole_rows() -> None:
    rng = np.random.default_rng(0)
    rows = sparse.random(20, 30, 0.3, "csr", np.float32, rng=rng)
    pool = np.argsort(rng.random((20, 30)), axis=1)[:, :7]
    expected = np.take_along_axis(rows.toarray(), pool, 1)
    assert gathered(rows, pool).tobytes() == expected.tobytes()
