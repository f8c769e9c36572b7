"""To choose from the front finds what comparing all finds; what is gathered is as it is now."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.front import DEEP, Front
from heirloom.retrieval.gathered import Gathered
from heirloom.retrieval.top import at_rows, best


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
    assert front.listings.slots[front.best(*lifts, k)].tolist() == wanted


Step = st.tuples(st.sampled_from(("note", "near", "lay")), st.lists(st.integers(0, 30), max_size=8))


@given(st.lists(Step, max_size=12))
def test_near_are_the_best_that_are_as_they_were_and_all_that_changed(
    steps: list[tuple[str, list[int]]],
) -> None:
    front, changed, laid = Front(), list[int](), list[int]()
    for step, some in steps:
        slots = np.unique(np.array(some, np.int32))
        if step == "lay":
            laid, changed = slots.tolist(), []
            front.lay(slots, slots / 7, slots % 3, slots % 2)
        elif step == "note":
            front.note(slots)
            changed += [slot for slot in slots.tolist() if slot not in changed]
        rows = front.near(np.ones(3), np.ones(2), 5)
        found = front.listings.slots[rows].tolist()
        assert front.changed.tolist() == changed
        unchanged = [slot for slot in sorted(laid, reverse=True)[:5] if slot not in changed]
        assert sorted(found) == sorted(unchanged + changed)


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 40), max_size=6)), max_size=20),
    st.integers(1, 45),
)
def test_a_gathered_column_is_that_of_the_stock(
    steps: list[tuple[bool, list[int]]], size: int
) -> None:
    whole, shorter = np.arange(50), np.arange(size) / 2
    slots = [3, 40, 11]
    gathered = Gathered(np.array(slots, np.int32))
    for read, some in steps:
        new = [slot for slot in dict.fromkeys(some) if slot not in slots]
        gathered.add(np.array(new, np.int32))
        slots += new
        whole[some] += 1_000
        shorter[[slot for slot in some if slot < size]] += 0.5
        gathered.write(np.array([slots.index(slot) for slot in some], np.int32))
        if read:
            assert gathered.slots.tolist() == slots
            for name, column in (("whole", whole), ("shorter", shorter)):
                assert (
                    gathered.column(name, column).tolist()
                    == at_rows(column, np.array(slots)).tolist()
                )
