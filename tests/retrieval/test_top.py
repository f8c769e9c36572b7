import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.top import ascending, best, best_first, firsts_alike, in_runs, where


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(-1, 35))
def test_best_is_a_naive_sort(scores: list[int], k: int) -> None:
    naive = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[: max(k, 0)]
    assert best(np.array(scores, np.float64), k).tolist() == naive


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(-1, 35), st.integers(0, 2**32))
def test_best_first_is_a_naive_sort_with_ties_by_slot(scores: list[int], k: int, seed: int) -> None:
    slots = np.random.default_rng(seed).permutation(40)[: len(scores)].astype(np.int32)
    naive = sorted(range(len(scores)), key=lambda row: (-scores[row], slots[row]))[: max(k, 0)]
    assert best_first(np.array(scores, np.float64), slots, k).tolist() == naive


@given(st.lists(st.booleans(), max_size=60))
def test_where_is_flatnonzero(mask: list[bool]) -> None:
    assert where(np.array(mask, np.bool_)).tolist() == np.flatnonzero(mask).tolist()


@given(st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6), st.integers(0, 2**32))
def test_in_runs_is_a_naive_sort(runs: list[list[int]], seed: int) -> None:
    scores = [score for run in runs for score in sorted(run, reverse=True)]
    slots = np.random.default_rng(seed).integers(0, 20, len(scores)).astype(np.int32)
    naive = np.lexsort((slots, -np.array(scores)))
    assert in_runs(np.array(scores, np.float64), slots).tolist() == naive.tolist()


@given(st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 9), max_size=60))
def test_firsts_and_distinct_are_those_of_numpy(codes: list[int]) -> None:
    given_codes = np.array(codes, np.int32)
    distinct, first, inverse = np.unique(given_codes, return_index=True, return_inverse=True)
    assert ascending(given_codes).tobytes() == distinct.tobytes()
    assert firsts_alike(given_codes).tolist() == first[inverse].tolist()
