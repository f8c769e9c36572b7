import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.top import best


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(-1, 35))
def test_best_is_a_naive_sort(scores: list[int], k: int) -> None:
    naive = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[: max(k, 0)]
    assert best(np.array(scores, np.float64), k).tolist() == naive
