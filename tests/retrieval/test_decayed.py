import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.retrieval.decayed import Decayed

DAY_MS = 86_400_000
T0 = 1_700_000_000_000
events = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3_000)), min_size=1, max_size=20)


@given(events, st.integers(1, 30))
def test_a_sum_is_the_sum_of_halvings_over_years(rows: list[tuple[int, int]], half: int) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    sums = Decayed(half * DAY_MS)
    for row, day in rows:
        t = np.array([T0 + day * DAY_MS])
        sums.to(int(t[0]))
        sums.add("x", np.array([row]), sums.decay.weight(t))
    last = rows[-1][1]
    naive = [sum(0.5 ** ((last - day) / half) for r, day in rows if r == row) for row in range(4)]
    found = sums.read("x", np.arange(4), T0 + last * DAY_MS)
    np.testing.assert_allclose(found, naive, rtol=1e-9, atol=1e-12)


@given(events, st.integers(1, 19))
def test_cuts_change_no_bit(rows: list[tuple[int, int]], cut: int) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    found = []
    for parts in ([rows], [rows[:cut], rows[cut:]], [[row] for row in rows]):
        sums = Decayed(DAY_MS)
        for part in (part for part in parts if part):
            slot = np.array([row for row, _ in part])
            t = np.array([T0 + day * DAY_MS + 12_345 * row for row, day in part])
            sums.to(int(t.max()))
            sums.add("x", slot, sums.decay.weight(t))
        found.append(sums.read("x", np.arange(4), T0 + 3_000 * DAY_MS).tobytes())
    assert len(set(found)) == 1


def test_forgetting_a_level_leaves_the_others() -> None:
    sums = Decayed(DAY_MS)
    for name in (("engaged", "slot"), ("engaged", "group"), (0, 1, "slot")):
        sums.add(name, np.arange(3), np.ones(3))
    sums.forget("slot", np.array([1, 7]))
    assert sums.read(("engaged", "slot"), np.arange(3), 0).tolist() == [1, 0, 1]
    assert sums.read((0, 1, "slot"), np.arange(3), 0).tolist() == [1, 0, 1]
    assert sums.read(("engaged", "group"), np.arange(4), 0).tolist() == [1, 1, 1, 0]
