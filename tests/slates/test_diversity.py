import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import ShapeError
from heirloom.slates.diversity import diversified, dpp, mmr
from heirloom.testing import slates as naive

seeds = st.integers(0, 2**32 - 1)


def pool(seed: int, n: int, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Relevance in order, and codes of which some are zeros and some are equal."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-127, 128, (n, dim)).astype(np.int8)
    codes[rng.random(n) < 0.1] = 0
    twins = np.flatnonzero(rng.random(n) < 0.2)
    codes[twins] = codes[0] if n else 0
    return np.sort(rng.random(n))[::-1].copy(), codes


def test_mmr_is_its_formula() -> None:
    codes = np.array([[100, 0], [100, 1], [60, 80], [0, 90]], np.int8)
    relevance = np.array([1.0, 0.9, 0.5, 0.1])
    # After row 0, at weight .5: .45 - .5 · 1.0, .25 - .5 · .6, .05 - .5 · 0: row 3, then of
    # .45 - .5 · 1.0 and .25 - .5 · .8 row 1 (-.05 against -.15).
    assert mmr(relevance, codes, 4, 0.5).tolist() == [0, 3, 1, 2]
    assert mmr(relevance, codes, 4, 0.0).tolist() == [0, 1, 2, 3]


def test_dpp_is_the_gain_of_a_determinant() -> None:
    codes = np.array([[100, 0], [0, 100], [-100, 0]], np.int8)
    relevance = np.array([1.0, 0.7, 0.6])
    # S = (1 + cosine) / 2: row 0 beside row 1 is 1/2 alike, beside row 2 not at all, so the
    # factors are 1 - 1/4 and 1: of .35 + .5 · log .75 and .30 + .5 · log 1 the second is more.
    assert 0.35 + 0.5 * math.log(0.75) < 0.30
    assert dpp(relevance, codes, 3, 0.5).tolist() == [0, 2, 1]


@settings(deadline=None)  # the first example compiles
@given(seeds, st.integers(0, 40), st.integers(0, 12), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_mmr_is_the_naive_one_by_bytes(seed: int, n: int, k: int, weight: float) -> None:
    relevance, codes = pool(seed, n)
    assert mmr(relevance, codes, k, weight).tobytes() == (
        naive.mmr(relevance, codes, k, weight).tobytes()
    )


@settings(deadline=None)  # the first example compiles
@given(seeds, st.integers(0, 14), st.integers(0, 6), st.sampled_from([0.05, 0.4, 0.8]))
def test_dpp_is_the_naive_one_by_bytes(seed: int, n: int, k: int, weight: float) -> None:
    relevance, codes = pool(seed, n, dim=8)
    assert dpp(relevance, codes, k, weight).tobytes() == (
        naive.dpp(relevance, codes, k, weight).tobytes()
    )


@settings(deadline=None)  # the first example compiles
@given(
    seeds, st.integers(0, 60), st.integers(0, 60), st.integers(1, 9), st.integers(1, 30),
    st.sampled_from(["mmr", "dpp"]),
)  # fmt: skip
def test_each_page_is_chosen_from_the_best_not_shown_yet(
    seed: int, n: int, k: int, page: int, reach: int, by: str
) -> None:
    relevance, codes = pool(seed, n)
    order = diversified(relevance, codes, k=k, page=page, reach=max(reach, page), weight=0.4, by=by)
    assert sorted(order.tolist()) == list(range(n))
    choose = naive.mmr if by == "mmr" else dpp
    left = list(range(n))
    for start in range(0, min(k, n), page):
        within = np.array(left[: max(reach, page)])
        chosen = choose(relevance[within], codes[within], min(page, k - start), 0.4)
        assert order[start : start + len(chosen)].tolist() == within[chosen].tolist()
        left = [row for row in left if row not in within[chosen]]
    assert order[min(k, n) :].tolist() == left


@settings(deadline=None)  # the first example compiles
@given(seeds, st.integers(2, 40), st.sampled_from(["mmr", "dpp"]))
def test_the_most_relevant_is_first_and_without_weight_nothing_moves(
    seed: int, n: int, by: str
) -> None:
    relevance, codes = pool(seed, n)
    kept = diversified(relevance, codes, k=n, page=n, reach=n, weight=0.0, by=by)
    assert diversified(relevance, codes, k=n, page=n, reach=n, weight=0.7, by=by)[0] == 0
    if by == "mmr":
        assert kept.tolist() == list(range(n))


@pytest.mark.parametrize("choose", [mmr, dpp])
def test_of_equals_the_first(choose) -> None:  # type: ignore[no-untyped-def]
    assert choose(np.zeros(5), np.full((5, 3), 9, np.int8), 5, 0.5).tolist() == [0, 1, 2, 3, 4]


def test_codes_of_other_candidates_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"codes \[3, 2\] of 4 candidates"):
        diversified(np.zeros(4), np.zeros((3, 2), np.int8), k=2, page=2, reach=4, weight=0.5)
