"""Interests by compiled loops are those of numpy, by bytes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.interests import heaviest
from heirloom.retrieval.neighbours import in_turn
from heirloom.retrieval.top import best

Event = st.tuples(st.integers(0, 11), st.integers(0, 6) | st.integers(0, 6 << 20))


@given(st.lists(Event, min_size=1, max_size=50), st.integers(0, 2**32), st.integers(1, 4))
def test_the_heaviest_categories_are_those_of_sums(
    events: list[tuple[int, int]], seed: int, most: int
) -> None:
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 5, 12).astype(np.int32)
    codes = rng.integers(-127, 128, (12, 6)).astype(np.int8)
    slots, weights = np.array(events, np.int64).T
    if not weights.any():
        return
    categories, member = np.unique(category[slots], return_inverse=True)
    totals = np.zeros((len(categories), 6))
    np.add.at(totals, member, weights[:, None] * codes[slots].astype(np.int64))
    shares = np.bincount(member, weights, minlength=len(categories))
    top = best(shares, most)
    top = top[shares[top] > 0]
    found = heaviest(slots.astype(np.int32), weights, category, codes, most)
    assert found[0].tobytes() == (totals[top] + 0.0).tobytes()
    assert found[1].tobytes() == shares[top].tobytes()
    assert found[2] == shares.sum()


@given(
    st.lists(st.lists(st.integers(0, 12), unique=True, max_size=9), max_size=4),
    st.integers(0, 20),
    st.data(),
)
def test_neighbours_in_turn_have_their_best_share_by_rank(
    lists: list[list[int]], k: int, data: st.DataObject
) -> None:
    some = st.lists(st.sampled_from([0.5, 0.25, 0.3]), min_size=len(lists), max_size=len(lists))
    shares = np.array(data.draw(some), np.float32)
    scores: dict[int, np.float32] = {}
    for slots, share in zip(lists, shares.tolist(), strict=True):
        for rank, slot in enumerate(slots, 1):
            scores[slot] = max(scores.get(slot, np.float32(0)), np.float32(share / rank))
    wanted = sorted(scores, key=lambda slot: (-scores[slot], slot))[:k]
    every = np.array([slot for slots in lists for slot in slots], np.int32)
    found, told = in_turn(every, np.array([len(slots) for slots in lists], np.int64), shares, k)
    assert found.tolist() == wanted
    assert told.tolist() == [scores[slot] for slot in wanted]
