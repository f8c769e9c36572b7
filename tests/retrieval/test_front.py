"""To merge the front's kinds finds what comparing all of the front finds, in the same order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.front import DEEP, Front
from heirloom.retrieval.top import best


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(-1, 320))
def test_the_best_of_the_front_are_the_best_by_rate_times_lifts(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    slots = np.flatnonzero(rng.random(2 * n + 1) < 0.5)[:n]
    categories, sizes = (rng.integers(0, 4, len(slots)).astype(np.int32) for _ in range(2))
    rates = rng.integers(1, 6, len(slots)) / 4  # many are equal
    lifts = rng.integers(1, 4, 4) / 2, rng.integers(1, 4, 4) / 2
    front = Front()
    front.lay(slots, rates, categories, sizes)
    assert len(front) == len(slots)  # DEEP is more than any kind has here, or nearly
    rows = [
        row
        for cell in sorted(set(zip(categories.tolist(), sizes.tolist(), strict=True)))
        for row in sorted(
            (r for r in range(len(slots)) if (categories[r], sizes[r]) == cell),
            key=lambda r: (-rates[r], r),
        )[:DEEP]
    ]
    worth = np.array([rates[r] * (lifts[0][categories[r]] * lifts[1][sizes[r]]) for r in rows])
    wanted = [int(slots[rows[at]]) for at in best(worth, k)]
    assert front.best(*lifts, k).tolist() == wanted
