"""Deadline: how long a step may go on, asked of the machine's clock."""

import time
from collections.abc import Callable


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
