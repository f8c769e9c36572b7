import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import ConfigError
from heirloom.core.slate import Candidates
from heirloom.retrieval.fusion import fuse


def candidates(name: str, slots: list[int]) -> Candidates:
    scores = -np.arange(len(slots), dtype=np.float32)
    return Candidates.of(name, np.array(slots, np.int32), scores)


found = st.lists(st.lists(st.integers(0, 15), unique=True, max_size=10), max_size=5).map(
    lambda lists: [candidates(f"source-{i}", slots) for i, slots in enumerate(lists)]
)


def test_the_score_is_the_sum_of_reciprocal_ranks() -> None:
    fused = fuse([candidates("a", [7, 8, 9]), candidates("b", [9, 5])], 10, weights={"b": 2.0})
    expected = {7: 1 / 61, 8: 1 / 62, 9: 1 / 63 + 2 / 61, 5: 2 / 62}
    order = sorted(expected, key=lambda slot: -expected[slot])
    assert fused.slots.tolist() == order
    np.testing.assert_allclose(fused.scores, [expected[slot] for slot in order], rtol=1e-6)
    assert fused.sources_of(0) == ("a", "b")
    assert fused.sources_of(order.index(5)) == ("b",)


def test_a_quota_cuts_a_source() -> None:
    fused = fuse([candidates("a", [1, 2, 3]), candidates("b", [9])], 10, quotas={"a": 1})
    assert sorted(fused.slots.tolist()) == [1, 9]


@given(found, st.randoms(use_true_random=False), st.integers(0, 20))
def test_the_order_of_sources_does_not_matter(found, random, pool) -> None:
    one = fuse(found, pool)
    random.shuffle(found)
    two = fuse(found, pool)
    assert one.slots.tolist() == two.slots.tolist()
    assert one.scores.tobytes() == two.scores.tobytes()
    for row in range(len(one)):
        assert one.sources_of(row) == two.sources_of(row)


@given(found, st.integers(0, 20))
def test_fusion_invents_nothing_and_forgets_no_source(found, pool) -> None:
    fused = fuse(found, pool)
    everything = {slot for part in found for slot in part.slots.tolist()}
    assert len(fused) == min(pool, len(everything))
    assert len(set(fused.slots.tolist())) == len(fused)
    for row, slot in enumerate(fused.slots.tolist()):
        assert set(fused.sources_of(row)) == {
            part.names[0] for part in found if slot in part.slots.tolist()
        }


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="named a"):
        fuse([candidates("a", [1]), candidates("a", [2])], 5)


def test_more_sources_than_bits_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 32"):
        fuse([candidates(f"s{i}", [i]) for i in range(33)], 5)


def test_what_was_fused_before_is_refused() -> None:
    both = fuse([candidates("a", [1]), candidates("b", [2])], 5)
    with pytest.raises(ConfigError, match="fused before"):
        fuse([both, candidates("c", [1])], 5)
