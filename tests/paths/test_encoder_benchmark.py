"""benchmarks/encoders.py on a made-up set of the same form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks import encoders
from benchmarks.encoders import CONTENT, WITH_IDS, Kind, fitted, spectral, tower, with_pairs
from benchmarks.model_protocols import LeaveOneOut, Places, amazon, attributes, unseen
from scipy import sparse

from heirloom.encoders.training.person import Shape
from heirloom.evaluation.metrics import ranks
from heirloom.retrieval.collaborative.session_knn import SessionKnn

ITEMS, PEOPLE = 15, 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People who walk around a circle of items."""
    folder = tmp_path_factory.mktemp("data") / "amazon_beauty"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = [
        (person, int((start + step) % ITEMS) + 1, step)
        for person, start in enumerate(rng.integers(0, ITEMS, PEOPLE).tolist())
        for step in range(5 + person % 4)
    ]
    names = ["user_id", "item_id", "position"]
    pl.DataFrame(rows, names, orient="row").sample(len(rows), shuffle=True, seed=1).write_parquet(
        folder / "sequences.parquet"
    )
    pairs = {"item_id": [1, 1, 2, 5], "attribute_id": [40, 7, 7, 9]}
    pl.DataFrame(pairs).write_parquet(folder / "item_attributes.parquet")
    return folder.parent


def quick(kind: Kind) -> Kind:
    recipe = replace(kind.recipe, epochs=5, learning_rate=0.02, rows=16, average=0.0)
    return replace(kind, recipe=recipe, shape=Shape(dim=16), dropout=0.1)


def split_of(data: Path) -> tuple[LeaveOneOut, sparse.csr_matrix | None]:
    split = LeaveOneOut.of(amazon(data / "amazon_beauty"))
    return split, attributes(data / "amazon_beauty", split.train.number)


def test_members_side_by_side_learn_the_way_round(data: Path) -> None:
    split, content = split_of(data)
    kind = quick(WITH_IDS)
    one = fitted(kind, split, content, seed=0)
    assert one.items.shape == (ITEMS, 16 * kind.members)
    assert len(one.epochs) == kind.members
    places = Places.of(one.scores, split.test_histories, split.test)
    assert places.hits(1).mean() > 0.9
    scores = unseen(one.scores(split.train), split.train)
    by_hand = ranks(scores, split.validation.astype(np.intp)) < 10
    hits = Places.of(one.scores, split.train, split.validation).hits()
    np.testing.assert_array_equal(hits, by_hand)


def test_several_score_as_the_mean_of_each(data: Path) -> None:
    split, content = split_of(data)
    kind = quick(replace(WITH_IDS, members=2))
    both = fitted(kind, split, content, seed=1)
    alone = [fitted(replace(kind, members=1), split, content, seed).scores(split.train)
             for seed in (2, 3)]  # fmt: skip
    np.testing.assert_allclose(both.scores(split.train), sum(alone) / 2, atol=1e-4)


def test_the_tower_reads_attributes_and_starts_at_the_spectral_vectors(data: Path) -> None:
    split, content = split_of(data)
    kind = replace(quick(WITH_IDS), spectral=0.5, scale=1e-6, shape=Shape(dim=8))
    made = tower(kind, split, content)
    assert made.starts.tolist() == [0, 0, 2, 3, 3, 3, *[4] * (ITEMS - 4)]
    assert made.attributes.tolist() == [0, 2, 0, 1]
    begun = spectral(split.train, 8, 0.5)
    np.testing.assert_allclose(made.ids.detach()[1:], begun, atol=1e-4)
    assert tower(quick(CONTENT), split, content).ids is None


def test_spectral_products_are_damped_counts(data: Path) -> None:
    train = split_of(data)[0].train
    begun = spectral(train, ITEMS, 0.5).astype(np.float64)
    assert np.sqrt(np.square(begun).sum(axis=1).mean()) == pytest.approx(0.5)
    counted = SessionKnn.fit(train)
    scale = np.diag((counted.count + 1.0) ** -0.5)
    pairs = scale @ (counted.followed + counted.followed.T).toarray() @ scale
    values, vectors = np.linalg.eigh(pairs)
    # Of all dimensions the products are the matrix without its eigenvalues' signs.
    wanted = (vectors * np.abs(values)) @ vectors.T
    wanted *= 0.25 / wanted.trace() * ITEMS
    np.testing.assert_allclose(begun @ begun.T, wanted, atol=1e-5)


def test_pairs_that_several_items_have_are_attributes() -> None:
    content = sparse.csr_matrix(np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], np.float32))
    made = with_pairs(content, least=2).toarray()
    # (0, 1) and (1, 2) stand twice, (0, 2) once.
    pairs = [[1, 0], [1, 1], [0, 1]]
    assert made.tolist() == np.hstack([content.toarray(), pairs]).tolist()


def test_rows_come_from_checkpoints_the_second_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(encoders, "CONTENT", quick(CONTENT))
    first = encoders.rows("beauty", data, ids=False, seeds=(0,))
    begun = [path.stat().st_mtime_ns for path in tmp_path.iterdir()]
    again = encoders.rows("beauty", data, ids=False, seeds=(0,))
    assert [row.id for row in first] == [f"models.beauty_content_{m}" for m in ("hr10", "ndcg10")]
    assert all(row.problem() is None for row in first)
    assert first == again
    assert begun == [path.stat().st_mtime_ns for path in tmp_path.iterdir()]
