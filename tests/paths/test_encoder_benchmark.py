"""benchmarks/encoders.py on a made-up set of the same form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from benchmarks import encoders
from benchmarks.encoders import WITH_IDS, Beauty, beauty_scores, measured

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


def test_the_set_is_read_in_order(data: Path) -> None:
    beauty = Beauty.read(data)
    assert len(beauty.people) == PEOPLE
    assert all(((np.diff(items) - 1) % ITEMS == 0).all() for items in beauty.people)
    assert beauty.starts.tolist() == [0, 0, 2, 3, 3, 3, *[4] * (ITEMS - 4)]
    assert beauty.attributes.tolist() == [0, 2, 0, 1]
    assert beauty.target(0)[0] == beauty.people[0][-1]
    assert beauty.without(2).items[:3].tolist() == beauty.people[0][:3].tolist()


def test_scores_are_of_what_was_not_had(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    few = replace(WITH_IDS, epochs=6, learning_rate=0.02, rows=16, average=0.0)
    monkeypatch.setattr(encoders, "WITH_IDS", few)
    validation, test = beauty_scores(data, seed=0)
    beauty = Beauty.read(data)
    for scores, last in ((validation, 2), (test, 1)):
        assert scores.shape == (PEOPLE, ITEMS)
        assert scores.dtype == np.float32
        for person, items in enumerate(beauty.people):
            had = np.unique(items[: len(items) - last]) - 1
            assert np.flatnonzero(np.isneginf(scores[person])).tolist() == had.tolist()
            assert np.exp(scores[person]).sum() <= 1 + 1e-5
    assert measured(test, beauty.target(0))[0] > 0.9
