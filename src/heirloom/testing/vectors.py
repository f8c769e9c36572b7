"""The law of a FilteredIndex: whatever was done to it before, it answers as the naive twin does.

    class TestMyIndex(FilteredIndexLaws):
        def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
            return MyIndex(dim, model_id, columns)

`least_recall` is for indices that are not exact, over all queries of a test.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.vectors.answer import Answer, FilteredIndex
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.where import Columns, Where

DIM = 8
MODEL = "model-1"
COLUMNS = Columns(codes=("brand", "seller"), numbers=("price_minor",))
Make = Callable[[int, str, Columns], FilteredIndex]

_codes = st.one_of(
    st.lists(st.integers(-3, 40), max_size=4),
    st.lists(st.integers(0, 40), min_size=9, max_size=30),
    st.lists(st.sampled_from([0, 3, 17, 5_000_000, (1 << 31) - 1]), min_size=1, max_size=20),
)
_ends = st.tuples(st.none() | st.integers(-5, 120), st.none() | st.integers(-5, 120))


@st.composite
def wheres(draw: st.DrawFn, slots: int = 200) -> Where:
    """Filters of any kind over the columns of these laws."""
    named = st.dictionaries(st.sampled_from(["brand", "seller"]), _codes, max_size=2)
    between = st.dictionaries(st.sampled_from([*COLUMNS.codes, *COLUMNS.numbers]), _ends)
    allowed = None
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 9)))
        allowed = rng.random(draw(st.integers(0, slots))) < 0.7
    without = draw(st.one_of(st.just({}), named))
    return Where(
        among=draw(st.one_of(st.just({}), named)),
        without=without,
        between=draw(between),
        allowed=allowed,
    )


def rows(seed: int, size: int) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
    """Vectors [size, DIM] of small whole numbers, so that ties are ties, and columns."""
    rng = np.random.default_rng(seed)
    return rng.integers(-3, 4, (size, DIM)).astype(np.float32), {
        "brand": rng.integers(0, 20, size),
        "seller": rng.choice([0, 3, 17, 5_000_000, (1 << 31) - 1], size),
        "price_minor": rng.integers(0, 100, size) * (1 << 40 if seed % 7 == 0 else 1),
    }


def _query(seed: int) -> NDArray[np.float32]:
    query: NDArray[np.float32] = rows(seed, 1)[0][0]
    return query


class FilteredIndexLaws:
    """Inherit, name `make`, and let pytest collect it."""

    least_recall = 1.0

    def make(self, dim: int, model_id: str, columns: Columns) -> FilteredIndex:
        """An empty index."""
        raise NotImplementedError

    def _pair(self, size: int = 200, seed: int = 1) -> tuple[FilteredIndex, ExactVectors]:
        pair = self.make(DIM, MODEL, COLUMNS), ExactVectors(DIM, MODEL, COLUMNS)
        vectors, columns = rows(seed, size)
        for index in pair:
            index.upsert(np.arange(size, dtype=np.int32), vectors, columns)
        return pair

    def test_a_filter_is_its_definition(self) -> None:
        index, twin = self._pair()

        @given(where=wheres(), k=st.sampled_from([1, 7, 200, 1_000]), seed=st.integers(0, 30))
        @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
        def holds(where: Where, k: int, seed: int) -> None:
            query = _query(seed)
            same(index.find(query, where, k), twin.find(query, where, k), self.least_recall)

        holds()

    def test_whatever_was_done_before_it_answers_as_the_twin(self) -> None:
        machine = type("Machine", (_Machine,), {"make": staticmethod(self.make),
                                                "least_recall": self.least_recall})  # fmt: skip
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=12, stateful_step_count=20, deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip

    def test_an_upsert_without_a_column_states_nothing(self) -> None:
        index = self.make(DIM, MODEL, COLUMNS)
        slots, one = np.zeros(1, np.int32), np.ones((1, DIM), np.float32)
        index.upsert(slots, one, {"brand": np.array([5])})
        assert len(index.find(one[0], Where(among={"brand": [5]}), 3).slots) == 1
        index.upsert(slots, one)
        assert not len(index.find(one[0], Where(among={"brand": [5]}), 3).slots)
        assert len(index.find(one[0], Where(among={"brand": [0]}), 3).slots) == 1

    def test_no_time_gives_the_best_so_far_and_says_so(self) -> None:
        index, twin = self._pair()
        query = _query(3)
        hurried = index.find(query, k=50, out_of_time=lambda: True)
        whole = twin.find(query, k=200)
        assert set(hurried.slots.tolist()) <= set(whole.slots.tolist())
        assert hurried.complete or not hurried.exact
        assert hurried.complete or len(hurried.slots) <= 50
        unhurried = index.find(query, k=50, out_of_time=lambda: False)
        assert unhurried.complete
        np.testing.assert_array_equal(unhurried.slots, index.find(query, k=50).slots)

    def test_k_of_none_and_of_more_than_there_are(self) -> None:
        index, _ = self._pair(size=30)
        assert not len(index.find(_query(1), k=0).slots)
        found = index.find(_query(1), k=10_000).slots
        assert sorted(found.tolist()) == list(range(30))
        empty = self.make(DIM, MODEL, COLUMNS)
        assert not len(empty.find(_query(1), k=5).slots)

    @pytest.mark.parametrize(
        ("where", "words"),
        [
            (Where(among={"colour": [1]}), "no column 'colour'; wanted one of brand, seller"),
            (Where(without={"x": [1]}), "no column 'x'"),
            (Where(between={"age": (1, 2)}), "no column 'age'"),
            (Where(between={"price_minor": (1.5, None)}), "the end 1.5"),  # type: ignore[dict-item]
            (Where(among={"brand": ["x"]}), "wanted a list of whole numbers"),  # type: ignore[list-item]
        ],
    )
    def test_a_filter_that_means_nothing_is_refused(self, where: Where, words: str) -> None:
        index, _ = self._pair(size=3)
        with pytest.raises(InputError, match=words):
            index.find(_query(1), where, 3)

    def test_another_models_vectors_are_refused(self) -> None:
        index, _ = self._pair(size=3)
        with pytest.raises(InputError, match=r"'model-2'.*holds those of 'model-1'"):
            index.upsert(np.zeros(1, np.int32), np.ones((1, DIM), np.float32), model_id="model-2")
        with pytest.raises(InputError, match=r"'model-2'.*holds those of 'model-1'"):
            index.find(_query(1), k=3, model_id="model-2")
        assert len(index.find(_query(1), k=3, model_id=MODEL).slots) == 3

    def test_bad_rows_are_refused_whole(self) -> None:
        index, twin = self._pair(size=20)
        two, vectors = np.array([3, 50], np.int32), np.full((2, DIM), 9, np.float32)
        infinite = vectors.copy()
        infinite[1, 0] = np.inf
        for slots, rows_, columns, error in (
            (two, infinite, {}, InputError),
            (two, vectors[:, :-1], {}, ShapeError),
            (two[:1], vectors, {}, ShapeError),
            (np.array([3, -1], np.int32), vectors, {}, InputError),
            (two, vectors, {"colour": np.zeros(2, int)}, InputError),
            (two, vectors, {"brand": np.zeros(3, int)}, ShapeError),
            (two, vectors, {"brand": np.zeros(2)}, InputError),
            (two, vectors, {"brand": np.array([0, 1 << 31])}, InputError),
        ):
            with pytest.raises(error):
                index.upsert(slots, rows_, columns)
        same(index.find(_query(1), k=50), twin.find(_query(1), k=50), self.least_recall)

    def test_bad_queries_are_refused(self) -> None:
        index, _ = self._pair(size=3)
        bad = _query(1)
        bad[2] = np.nan
        with pytest.raises(InputError, match="NaN"):
            index.find(bad, k=3)
        with pytest.raises(InputError, match="k is -1"):
            index.find(_query(1), k=-1)
        with pytest.raises(ShapeError, match="dim=8"):
            index.find(np.ones(DIM + 1, np.float32), k=1)


def same(answer: Answer, exact: Answer, least_recall: float = 1.0) -> None:
    """Fail unless an answer is the twin's, or as near to it as is asked of an inexact one."""
    assert answer.complete
    assert len(answer.slots) == len(set(answer.slots.tolist())) == len(exact.slots)
    order = np.lexsort((answer.slots, -answer.scores))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    if answer.exact or least_recall == 1.0:
        np.testing.assert_array_equal(answer.slots, exact.slots)
        np.testing.assert_array_equal(answer.scores, exact.scores)
    elif len(exact.slots):
        # Of equal scores any may be taken: what counts is how many are as good as the last.
        good = np.count_nonzero(answer.scores >= exact.scores[-1])
        assert good >= least_recall * len(exact.slots)


class _Machine(RuleBasedStateMachine):
    """Calls in any order, to an index and to its twin."""

    make: Make
    least_recall: float

    def __init__(self) -> None:
        super().__init__()
        self.index = self.make(DIM, MODEL, COLUMNS)
        self.twin = ExactVectors(DIM, MODEL, COLUMNS)

    @rule(
        seed=st.integers(0, 1_000), size=st.sampled_from([1, 5, 70, 300]), top=st.integers(1, 400)
    )
    def upsert(self, seed: int, size: int, top: int) -> None:
        slots = np.random.default_rng(seed).integers(0, top, size).astype(np.int32)
        vectors, columns = rows(seed, size)
        for index in (self.index, self.twin):
            index.upsert(slots, vectors, columns)

    @rule(seed=st.integers(0, 1_000), size=st.sampled_from([1, 5, 150]))
    def remove(self, seed: int, size: int) -> None:
        slots = np.random.default_rng(seed).integers(0, 500, size).astype(np.int32)
        for index in (self.index, self.twin):
            index.remove(slots)

    @rule(least=st.sampled_from([0.3, 0.75, 1.0]))
    def repack(self, least: float) -> None:
        if hasattr(self.index, "repack"):
            self.index.repack(least=least)

    @rule(seed=st.integers(0, 1_000), where=wheres(400), k=st.sampled_from([1, 10, 100, 500]))
    def find(self, seed: int, where: Where, k: int) -> None:
        query = _query(seed)
        same(self.index.find(query, where, k), self.twin.find(query, where, k), self.least_recall)
