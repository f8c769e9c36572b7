"""Retries: what is asked again, after which pause, and how much of that a client may do.

A retry helps where one server stumbled and harms where all are overloaded. So retries are paid for:
each call earns a part of one, each retry costs a whole (the retry budget of Finagle; Google SRE
book, chapter 21, has the same at 10 %). Pauses are drawn from 0 to a bound that doubles (full
jitter: AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

PASSING = frozenset({429, 502, 503, 504})
"""Answers that another try may turn into a good one."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How a client asks again.

    Attributes:
        tries: at most so many times in all, the first one with them.
        share: of a retry that each call earns: .1 for a tenth more requests in the long run.
        reserve: retries that may be had on credit, and that are saved up at most.
        pause_s: bound of the first pause; it doubles with each.
        longest_pause_s: bound of every pause.
    """

    tries: int = 3
    share: float = 0.1
    reserve: int = 10
    pause_s: float = 0.05
    longest_pause_s: float = 2.0

    def __post_init__(self) -> None:
        if self.tries < 1 or not 0 <= self.share <= 1 or self.reserve < 0 or self.pause_s < 0:
            raise ValueError(f"{self}: wanted tries >= 1, share in 0 … 1, the others >= 0")


class Budget:
    """Retries that are left; of one client, for all its threads."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._left = float(retries.reserve)
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A call begins."""
        with self._lock:
            self._left = min(self._left + self._retries.share, float(self._retries.reserve))

    def spend(self) -> bool:
        """Whether one more retry may be made; it is then spent."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


def pause(
    retries: Retries, tried: int, asked_s: float | None, draw: Callable[[], float] = random.random
) -> float:
    """Seconds to wait after so many tries; never less than the server asked for.

    >>> pause(Retries(), 2, None, draw=lambda: 0.5), pause(Retries(), 1, 3.0, draw=lambda: 0.0)
    (0.05, 3.0)
    """
    bound = min(retries.pause_s * 2.0 ** (tried - 1), retries.longest_pause_s)
    return (asked_s or 0.0) + draw() * bound


def retry_after(
    header: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 section 10.2.3), as a number or a date.

    >>> retry_after("2"), retry_after(""), retry_after("soon")
    (2.0, None, None)
    """
    if header.strip().isdecimal():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max((at - now()).total_seconds(), 0.0)
