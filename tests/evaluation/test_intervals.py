import numpy as np
import pytest

from heirloom.core.errors import ShapeError
from heirloom.evaluation.intervals import bootstrap


def test_the_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=2_000)
    found = bootstrap(values, np.arange(2_000), seed=1)
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert found.mean == values.mean()
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.groups == 2_000


def test_values_of_one_person_count_as_one() -> None:
    values = np.random.default_rng(0).normal(size=200)
    single = bootstrap(values, np.arange(200), seed=1)
    tenfold = bootstrap(np.repeat(values, 10), np.repeat(np.arange(200), 10), seed=1)
    assert tenfold.mean == pytest.approx(single.mean)
    assert tenfold.high == pytest.approx(single.high)
    assert tenfold.low == pytest.approx(single.low)


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).normal(size=100)
    one, same, other = (bootstrap(values, np.arange(100), seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("groups", [0, 3])
def test_values_without_their_groups_are_refused(groups: int) -> None:
    with pytest.raises(ShapeError, match="one group for each value"):
        bootstrap(np.zeros(0 if groups == 0 else 4), np.zeros(groups), seed=0)
