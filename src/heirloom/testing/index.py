"""The law of an Index: it finds what a naive sort finds, and never what was removed.

    class TestMyIndex(IndexLaws):
        def make(self, dim: int) -> Index:
            return MyIndex(dim)

`least_recall` is for indices that are not exact.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.index import Index

DIM = 8


class IndexLaws:
    """Inherit, name `make`, and let pytest collect it."""

    least_recall = 1.0

    def make(self, dim: int) -> Index:
        """An empty index."""
        raise NotImplementedError

    def _world(self, seed: int, size: int = 300) -> NDArray[np.float32]:
        """[size, DIM] of small whole numbers: their products are exact, so that ties are ties."""
        return np.random.default_rng(seed).integers(-3, 4, (size, DIM)).astype(np.float32)

    @pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.0])
    def test_finds_what_a_naive_sort_finds(self, share: float) -> None:
        vectors, index, rng = self._world(1), self.make(DIM), np.random.default_rng(2)
        index.upsert(np.arange(300, dtype=np.int32), vectors)
        for query in self._world(3, size=10):
            allowed = rng.random(300) < share
            slots, scores = index.search(query, allowed, 20)
            exact = vectors @ query
            naive = sorted(np.flatnonzero(allowed), key=lambda slot: (-exact[slot], slot))[:20]
            assert len(slots) == len(naive)
            if naive:
                assert len(set(slots) & set(naive)) >= self.least_recall * len(naive)
            if self.least_recall == 1.0:
                assert slots.tolist() == naive
            np.testing.assert_allclose(scores, exact[slots], atol=1e-4)
            assert allowed[slots].all()

    def test_a_removed_slot_is_not_found(self) -> None:
        vectors, index = self._world(4), self.make(DIM)
        index.upsert(np.arange(300, dtype=np.int32), vectors)
        gone = np.arange(0, 300, 2, dtype=np.int32)
        index.remove(gone)
        for query in self._world(5, size=10):
            slots, _ = index.search(query, np.ones(300, np.bool_), 300)
            assert not set(slots.tolist()) & set(gone.tolist())
        index.remove(gone)
        index.remove(np.array([5_000], np.int32))

    def test_an_upsert_replaces(self) -> None:
        index = self.make(DIM)
        slots = np.arange(2, dtype=np.int32)
        index.upsert(slots, np.eye(2, DIM, dtype=np.float32))
        index.upsert(slots, np.eye(2, DIM, dtype=np.float32)[::-1].copy())
        found, _ = index.search(np.eye(1, DIM, dtype=np.float32)[0], np.ones(2, np.bool_), 1)
        assert found.tolist() == [1]

    def test_the_order_of_upserts_does_not_matter(self) -> None:
        vectors = self._world(6)
        order = np.random.default_rng(7).permutation(300).astype(np.int32)
        whole, parts = self.make(DIM), self.make(DIM)
        whole.upsert(np.arange(300, dtype=np.int32), vectors)
        for part in np.array_split(order, 7):
            parts.upsert(part, vectors[part])
        if self.least_recall == 1.0:
            for query in self._world(8, size=5):
                one, two = (i.search(query, np.ones(300, np.bool_), 50) for i in (whole, parts))
                np.testing.assert_array_equal(one[0], two[0])
                np.testing.assert_array_equal(one[1], two[1])

    def test_a_slot_past_the_mask_is_not_found(self) -> None:
        index = self.make(DIM)
        index.upsert(np.arange(10, dtype=np.int32), self._world(9, size=10))
        slots, _ = index.search(self._world(9, size=1)[0], np.ones(4, np.bool_), 10)
        assert sorted(slots.tolist()) == [0, 1, 2, 3]

    def test_a_mask_may_be_longer_than_the_index(self) -> None:
        index = self.make(DIM)
        query = np.ones(DIM, np.float32)
        assert not len(index.search(query, np.ones(5, np.bool_), 3)[0])
        index.upsert(np.array([1], np.int32), query[None])
        assert index.search(query, np.ones(50, np.bool_), 3)[0].tolist() == [1]

    def test_many_searches_are_each_of_them(self) -> None:
        index, queries = self.make(DIM), self._world(11, size=4)
        index.upsert(np.arange(300, dtype=np.int32), self._world(10))
        allowed = np.random.default_rng(12).random(300) < 0.6
        many = index.search_many(queries, allowed, 15)
        assert len(many) == len(queries)
        for query, (slots, scores) in zip(queries, many, strict=True):
            one = index.search(query, allowed, 15)
            np.testing.assert_array_equal(slots, one[0])
            np.testing.assert_array_equal(scores, one[1])

    def test_k_of_none_finds_none(self) -> None:
        index = self.make(DIM)
        index.upsert(np.arange(4, dtype=np.int32), self._world(9, size=4))
        assert not len(index.search(np.ones(DIM, np.float32), np.ones(4, np.bool_), 0)[0])

    def test_another_dimension_is_refused(self) -> None:
        index = self.make(DIM)
        with pytest.raises(ShapeError, match="dim=8"):
            index.upsert(np.zeros(1, np.int32), np.ones((1, DIM + 1), np.float32))
        with pytest.raises(ShapeError, match="dim=8"):
            index.search(np.ones(3, np.float32), np.ones(1, np.bool_), 1)

    def test_nan_is_refused_and_the_index_unharmed(self) -> None:
        index = self.make(DIM)
        index.upsert(np.array([0], np.int32), np.ones((1, DIM), np.float32))
        bad = np.ones((2, DIM), np.float32)
        bad[1, 3] = np.nan
        with pytest.raises(InputError, match="slot 2"):
            index.upsert(np.array([1, 2], np.int32), bad)
        found, scores = index.search(np.ones(DIM, np.float32), np.ones(3, np.bool_), 3)
        assert found.tolist() == [0]
        assert np.isfinite(scores).all()
