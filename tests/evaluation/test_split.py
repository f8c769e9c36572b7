import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError
from heirloom.evaluation.split import before_groups_end, by_time, moment

times = st.lists(st.integers(0, 50), min_size=1).map(lambda t: np.array(t, np.int64))


@given(times, st.lists(st.integers(0, 50), max_size=3).map(sorted))
def test_every_row_is_in_one_part_and_parts_follow_in_time(t: np.ndarray, cuts: list[int]) -> None:
    parts = by_time(t, *cuts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(t)))
    for part, start, stop in zip(parts, [0, *cuts], [*cuts, 99], strict=True):
        assert all(start <= time < stop for time in t[part].tolist())


@given(times, st.integers(0, 50))
def test_no_group_is_torn(t: np.ndarray, cut: int) -> None:
    groups = np.arange(len(t)) // 3
    early, late = before_groups_end(t, groups, cut)
    assert not set(groups[early]) & set(groups[late])
    assert sorted([*early, *late]) == list(range(len(t)))
    assert all(t[groups == group].min() < cut for group in groups[early])


def test_a_moment_is_the_time_at_its_rank() -> None:
    t = np.array([30, 10, 20, 20, 40])
    assert moment(t, 0.6) == 20 + 10
    assert moment(t, 0.0) == 10


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="order"):
        by_time(np.zeros(1, np.int64), 5, 3)
    with pytest.raises(InputError, match="share"):
        moment(np.zeros(1, np.int64), 1.0)
