"""Scattered: the laws over shards of each kind, and shards that are late or fail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import Any

import numpy as np
import pytest

from heirloom.core.errors import ConfigError, StoreError
from heirloom.retrieval.index import Index
from heirloom.retrieval.vectors.answer import Answer, FilteredIndex
from heirloom.retrieval.vectors.codebook import Codebook
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.scattered import ByColumn, BySlot, Scattered
from heirloom.retrieval.vectors.where import Columns, Where
from heirloom.testing.index import IndexLaws
from heirloom.testing.vectors import COLUMNS, DIM, MODEL, FilteredIndexLaws, rows

BRANDS = ByColumn("brand", {0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 17: 2}, within=2)


class TestExactShardsAsIndex(IndexLaws):
    def make(self, dim: int) -> Index:
        return Scattered([ExactVectors(dim) for _ in range(3)])


class TestVectorIndexShards(FilteredIndexLaws):
    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        codebook = Codebook.untrained(dim, model_id)
        return Scattered([VectorIndex(codebook, columns) for _ in range(2)])


class TestShardsByColumnSideBySide(FilteredIndexLaws):
    @pytest.fixture(autouse=True)
    def _pool(self) -> Iterator[None]:
        with ThreadPoolExecutor(4) as self._executor:
            yield

    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        placement = BRANDS if "brand" in columns else BySlot(BRANDS.shards)
        shards = [ExactVectors(dim, model_id, columns) for _ in range(placement.shards)]
        return Scattered(shards, placement, self._executor)


class Shard(ExactVectors):
    """A shard that can fail, or stop answering until it is released; it counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(DIM, MODEL, COLUMNS)
        self.fails, self.asked = False, 0
        self.goes_on, self.is_asked = Event(), Event()
        self.goes_on.set()

    def find(self, *args: Any, **named: Any) -> Answer:
        self.asked += 1
        self.is_asked.set()
        if self.fails:
            raise StoreError("shard: connection refused")
        assert self.goes_on.wait(30)
        return super().find(*args, **named)


def filled(placement: Any = None, executor: Any = None) -> tuple[Scattered, list[Shard]]:
    shards = [Shard() for _ in range(placement.shards if placement else 3)]
    index = Scattered(shards, placement, executor)
    index.upsert(np.arange(90, dtype=np.int32), *rows(1, 90))
    return index, shards


QUERY = rows(2, 1)[0][0]


@pytest.mark.parametrize("threads", [0, 3])
def test_a_shard_that_fails_is_named_and_the_others_answer(threads: int) -> None:
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        index, shards = filled(executor=pool if threads else None)
        shards[1].fails = True
        answer = index.find(QUERY, k=90)
        assert answer.missing == {1: "shard: connection refused"}
        assert not answer.complete
        assert not answer.exact
        assert sorted(answer.slots.tolist()) == [slot for slot in range(90) if slot % 3 != 1]
        with pytest.raises(StoreError, match="shard 1: shard: connection refused; use find"):
            index.search(QUERY, np.ones(90, np.bool_), 5)
        shards[1].fails = False
        assert (index.find(QUERY, k=90).missing, index.find(QUERY, k=90).exact) == ({}, True)


def test_a_late_shard_is_not_waited_for_nor_asked_again_until_it_has_answered() -> None:
    with ThreadPoolExecutor(4) as pool:
        index, shards = filled(executor=pool)
        shards[2].goes_on.clear()
        asked = count()
        answer = index.find(QUERY, k=90, out_of_time=lambda: next(asked) >= 40)
        assert answer.missing == {2: "it did not answer in time"}
        assert sorted(answer.slots.tolist()) == [slot for slot in range(90) if slot % 3 != 2]
        assert index.find(QUERY, k=90).missing == {2: "an earlier search still runs in it"}
        assert shards[2].asked == 1
        late = index._running[2]
        shards[2].goes_on.set()
        late.result(30)
        assert index.find(QUERY, k=90).exact
        assert shards[2].asked == 2


def test_no_time_for_the_second_shard() -> None:
    index, _ = filled()
    asked = count()
    answer = index.find(QUERY, k=90, out_of_time=lambda: next(asked) >= 2)
    assert answer.missing == {1: "it did not answer in time", 2: "it did not answer in time"}
    assert {slot % 3 for slot in answer.slots.tolist()} == {0}
    assert not answer.complete


def test_only_the_shards_that_may_hold_it_are_asked() -> None:
    index, shards = filled(BRANDS)
    answer = index.find(QUERY, Where(among={"brand": [2, 17]}), k=90)
    assert [shard.asked for shard in shards] == [0, 0, 1, 1, 1, 1, 0, 0]
    brand = rows(1, 90)[1]["brand"]
    assert sorted(answer.slots.tolist()) == np.flatnonzero(np.isin(brand, [2, 17])).tolist()
    nowhere = index.find(QUERY, Where(among={"brand": []}), k=90)
    assert (len(nowhere.slots), nowhere.exact) == (0, True)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_listing_that_moves_stands_in_one_shard(restarted: bool) -> None:
    index, shards = filled(BRANDS)
    if restarted:  # it knows nothing of where the listings stand
        index = Scattered(shards, BRANDS)
    slots, vectors = np.array([7, 8, 7], np.int32), rows(5, 3)[0]
    index.upsert(slots, vectors, {"brand": np.array([0, 2, 17])})
    everywhere = np.concatenate([shard.find(QUERY, k=90).slots for shard in shards])
    assert sorted(everywhere.tolist()) == list(range(90))
    assert 7 in shards[5].find(QUERY, k=90).slots  # where the last row sends it
    assert 8 in shards[2].find(QUERY, k=90).slots
    index.remove(slots)
    assert not set(index.find(QUERY, k=90).slots.tolist()) & {7, 8}


def test_what_does_not_fit_is_refused() -> None:
    shards = [ExactVectors(8, "a", COLUMNS), ExactVectors(9, "b", COLUMNS)]
    with pytest.raises(ConfigError, match=r"wants 3(.|\n)*differ in model_id: 'a', 'b'(.|\n)*dim"):
        Scattered(shards, BySlot(3))
    with pytest.raises(ConfigError, match="shards is 0"):
        Scattered([])
    with pytest.raises(ConfigError, match="from 0"):
        ByColumn("brand", {1: -1})
