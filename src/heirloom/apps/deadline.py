"""Deadline: how long a step may go on, asked of the machine's clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_MS = 60_000
"""The longest time that a request may ask for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an answer may take, and how many may wait for one; `settings.ServingPart`."""

    deadline_ms: int = 10_000
    waiting: int = 64


def within(
    ms: int | None, clock: Callable[[], int] = time.monotonic_ns
) -> Callable[[], bool] | None:
    """What says whether so many ms have passed since this call; None for no end.

    >>> ticks = iter([0, 4_999_999, 5_000_000])
    >>> over = within(5, lambda: next(ticks))
    >>> over(), over()
    (False, True)
    """
    if ms is None:
        return None
    end = clock() + ms * 1_000_000
    return lambda: clock() >= end
