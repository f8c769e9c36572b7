import numpy as np
import pytest

from heirloom.core.errors import ConfigError
from heirloom.core.event import KIND_CODE
from heirloom.ranking.gains import gains


def test_the_largest_gain_of_a_row_counts() -> None:
    kinds = np.array([KIND_CODE[k] for k in ("click", "purchase", "save", "hide", "click")])
    result = gains(4, np.array([1, 1, 0, 2, 0]), kinds)
    assert result.tolist() == [2.0, 6.0, 0.0, 0.0]
    assert result.dtype == np.float32


def test_the_table_is_the_callers() -> None:
    assert gains(1, np.array([0]), np.array([KIND_CODE["click"]]), {"click": 0.5}).tolist() == [0.5]


def test_a_wrong_table_is_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"2 problem(.|\n)*clik(.|\n)*save gains -1"):
        gains(1, np.zeros(0, int), np.zeros(0, int), {"clik": 1.0, "save": -1.0})
