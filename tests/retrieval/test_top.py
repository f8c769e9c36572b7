import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.top import ascending, best, firsts_alike


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(-1, 35))
def test_best_is_a_naive_sort(scores: list[int], k: int) -> None:
    naive = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[: max(k, 0)]
    assert best(np.array(scores, np.float64), k).tolist() == naive


@given(st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 9), max_size=60))
def test_firsts_and_distinct_are_those_of_numpy(codes: list[int]) -> None:
    given_codes = np.array(codes, np.int32)
    distinct, first, inverse = np.unique(given_codes, return_index=True, return_inverse=True)
    assert ascending(given_codes).tobytes() == distinct.tobytes()
    assert firsts_alike(given_codes).tolist() == first[inverse].tolist()
