import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import InputError
from heirloom.retrieval.quotas import learned

ranks = st.integers(1, 3).flatmap(
    lambda sources: st.lists(
        st.lists(st.integers(0, 6), min_size=sources, max_size=sources), min_size=1, max_size=12
    )
)


def answered(ranks: np.ndarray, quotas: np.ndarray) -> int:
    return int(((ranks > 0) & (ranks <= quotas)).any(axis=1).sum())


@settings(max_examples=60, deadline=None)
@given(ranks, st.integers(0, 8))
def test_quotas_stay_in_the_pool_and_miss_little(rows: list[list[int]], pool: int) -> None:
    places = np.array(rows)
    quotas = learned(places, pool)
    assert quotas.sum() <= pool
    assert (quotas >= 0).all()
    best = max(
        answered(places, np.array(cut))
        for cut in itertools.product(range(pool + 1), repeat=places.shape[1])
        if sum(cut) <= pool
    )
    assert answered(places, quotas) >= best / 2


def test_a_dear_source_that_answers_all_is_not_missed_for_a_cheap_one() -> None:
    assert learned(np.array([[0, 3], [0, 3], [1, 1]]), 3).tolist() == [0, 3]


def test_a_source_that_never_helps_gets_nothing() -> None:
    assert learned(np.array([[1, 0], [2, 0], [3, 3]]), 10).tolist() == [3, 0]


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="0 queries"):
        learned(np.zeros((0, 2), np.int64), 5)
