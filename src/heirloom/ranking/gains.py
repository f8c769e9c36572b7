"""Gains: what each action is worth as a training label."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import KIND_CODE, Kind

GAINS: Mapping[str, float] = {
    Kind.CLICK: 1.0,
    Kind.SAVE: 2.0,
    Kind.MESSAGE: 3.0,
    Kind.OFFER: 4.0,
    Kind.PURCHASE: 6.0,
}


def gains(
    rows: int,
    acted_on: NDArray[Any],
    kinds: NDArray[Any],
    table: Mapping[str, float] = GAINS,
) -> NDArray[np.float32]:
    """[rows] float32, the largest gain of what the person did with each row; 0 for nothing.

    Args:
        rows: how many examples there are.
        acted_on: [actions] the row that each action is about.
        kinds: [actions] codes of core.event.KIND_CODE.
        table: gain of each kind; kinds that are not in it gain nothing.

    Raises:
        ConfigError: if the table names an unknown kind or a negative gain.

    >>> click, save = KIND_CODE["click"], KIND_CODE["save"]
    >>> gains(3, np.array([0, 0, 2]), np.array([click, save, click])).tolist()
    [2.0, 0.0, 1.0]
    """
    by_kind = by_code(table)
    result = np.zeros(rows, np.float32)
    np.maximum.at(result, acted_on, by_kind[kinds])
    return result


def by_code(table: Mapping[str, float]) -> NDArray[np.float32]:
    """[kinds] float32, the table by kind code.

    Raises:
        ConfigError: if the table names an unknown kind or a negative gain.
    """
    problems = [
        f"unknown kind {kind!r}; wanted some of {', '.join(Kind)}"
        for kind in table
        if kind not in KIND_CODE
    ]
    problems += [
        f"{kind} gains {gain}; wanted a number >= 0"
        for kind, gain in table.items()
        if not gain >= 0
    ]
    if problems:
        raise ConfigError("gains", problems)
    result = np.zeros(len(Kind), np.float32)
    for kind, gain in table.items():
        result[KIND_CODE[kind]] = gain
    return result
