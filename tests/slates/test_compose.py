import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.slates.compose import cap_sellers, compose

slates = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=25)


def test_the_cap_holds_while_others_last() -> None:
    scores = np.array([9, 8, 7, 6, 5], np.float32)
    sellers = np.array([1, 1, 1, 2, 3], np.int32)
    assert compose(scores, sellers, k=4, seller_cap=2).tolist() == [0, 1, 3, 4]
    assert compose(scores, sellers, k=5, seller_cap=2).tolist() == [0, 1, 3, 4, 2]
    assert compose(scores, sellers, k=3, seller_cap=0).tolist() == [0, 1, 2]


def test_all_from_one_seller_keep_their_order() -> None:
    scores = np.arange(6, dtype=np.float32)
    assert compose(scores, np.ones(6, np.int32), k=6, seller_cap=1).tolist() == [5, 4, 3, 2, 1, 0]


def test_equal_scores_keep_the_order_of_retrieval() -> None:
    assert compose(np.zeros(4, np.float32), np.arange(4), k=4, seller_cap=1).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_a_score_that_is_no_number_comes_last() -> None:
    scores = np.array([np.nan, 1, 2], np.float32)
    assert compose(scores, np.arange(3), k=3, seller_cap=1).tolist() == [2, 1, 0]


@pytest.mark.parametrize("k", [0, 5])
def test_nothing_gives_nothing(k: int) -> None:
    assert not len(compose(np.zeros(0, np.float32), np.zeros(0, np.int32), k=k, seller_cap=2))


@given(slates, st.integers(0, 30), st.integers(1, 4))
def test_a_slate_is_full_distinct_and_capped_as_far_as_can_be(
    rows: list[tuple[int, int]], k: int, cap: int
) -> None:
    scores = np.array([score for score, _ in rows], np.float32)
    sellers = np.array([seller for _, seller in rows], np.int32)
    slate = compose(scores, sellers, k=k, seller_cap=cap)
    assert len(slate) == min(k, len(rows))
    assert len(set(slate.tolist())) == len(slate)
    within = sum(min(cap, count) for count in np.bincount(sellers, minlength=5))
    capped = slate[: min(k, within)]
    assert (np.bincount(sellers[capped], minlength=5) <= cap).all()
    assert (np.diff(scores[capped]) <= 0).all()


@given(slates, st.integers(1, 4))
def test_the_cap_is_a_naive_count(rows: list[tuple[int, int]], cap: int) -> None:
    sellers = np.array([seller for _, seller in rows], np.int32)
    first, rest, seen = [], list(range(len(rows))), dict.fromkeys(range(1, 5), 0)
    naive: list[int] = []
    while rest:
        seen = dict.fromkeys(seen, 0)
        first, later = [], []
        for row in rest:
            seller = int(sellers[row])
            (first if seen[seller] < cap else later).append(row)
            seen[seller] += 1
        naive, rest = naive + first, later
    assert cap_sellers(np.arange(len(rows)), sellers, cap).tolist() == naive
