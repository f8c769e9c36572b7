"""The ladder: each step of a request in its time, and the rung that answers where one cannot.

`serve.recommend` asks a `Steps` to attempt each step. `Whole` is for replays, batches and
training: it has no deadline, and what goes wrong is raised. `Descent` is for a request that
somebody waits for: a step that fails, that would begin too late, or whose breaker rests, is left
out, and what answers instead stands in `degraded`.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar

from heirloom.core.errors import InputError, MismatchError, StoreError
from heirloom.core.slate import Degraded
from heirloom.pipelines.breaker import CLOSED, Breaker, Rule, admitted, reported
from heirloom.retrieval.vectors.answer import OutOfTime

T = TypeVar("T")
log = logging.getLogger(__name__)

RUNGS = (
    "full",
    "bare",
    "no rules",
    "behind",
    "fewer sources",
    "spare ranker",
    "order of retrieval",
    "newest",
    "popular",
    "empty",
)
"""What a slate may be, best first.

`bare`: without reasons, explanations or facets. `no rules`: by score and the seller's cap alone.
`behind`: as of an earlier state than was acknowledged. `spare ranker`: that of the bundle before.
`popular`: the page that was kept of what is popular in this context.
"""

FAILED, LATE, RESTING, NO_NUMBER, ABSENT = "failed", "late", "resting", "no number", "absent"
"""Causes of a lower rung: the step raised; it had no time; its breaker is open; its scores are no
numbers; it is not there."""

BEGUN_BY: Mapping[str, float] = MappingProxyType(
    {
        "follow": 0.3,
        "retrieve": 0.5,
        "features": 0.65,
        "score": 0.8,
        "compose": 0.95,
        "reasons": 0.95,
        "explain": 0.98,
        "facets": 0.98,
    }
)
"""A step begins only while this share of the request's time has not yet passed."""
LASTS: Mapping[str, float] = MappingProxyType(
    {"retrieve": 0.25, "features": 0.3, "score": 0.3, "compose": 0.3, "reasons": 0.3}
)
"""A step, or one source of retrieval, that takes more than this share of the usual time is counted
by its breaker as failed. Of the usual time and not of the request's: who asks for an answer within
a millisecond opens no breaker for others. What follows the log may take long when much came."""


class Steps(Protocol):
    """How the steps of one request are taken.

    Attributes:
        degraded: what was left out, in order.
        falls: whether a lower rung answers for a step that fails.
    """

    degraded: list[Degraded]
    falls: bool

    def attempt(
        self, step: str, work: Callable[[], T], *, otherwise: str, part: str = ""
    ) -> T | None:
        """What a step gives; None where it is left out.

        Args:
            step: as in BEGUN_BY.
            work: the step; never gives None.
            otherwise: of RUNGS, what answers without it.
            part: of several in a step, which; each has its own breaker.
        """

    def hurry(self, step: str) -> OutOfTime | None:
        """What says whether it is too late to begin a step; None: it never is."""


class Whole:
    """Every step to its end: no deadline, and whatever goes wrong is raised."""

    falls = False

    def __init__(self) -> None:
        self.degraded: list[Degraded] = []

    def attempt(
        self,
        step: str,  # noqa: ARG002
        work: Callable[[], T],
        *,
        otherwise: str,  # noqa: ARG002
        part: str = "",  # noqa: ARG002
    ) -> T | None:
        """As Steps; never None."""
        return work()

    def hurry(self, step: str) -> OutOfTime | None:  # noqa: ARG002
        """As Steps."""
        return None


class Ladder:
    """The breakers of a system's steps, which all its requests share. For one thread at a time.

    Args:
        usual_ns: the time that a request usually has; None: no step is ever too slow.
        rule: of every breaker.
        clock: ns; it never goes back.

    Attributes:
        breakers: by step and part; those that were asked for at least once.
    """

    def __init__(
        self,
        usual_ns: int | None = None,
        *,
        rule: Rule = Rule(),  # noqa: B008 - frozen
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.rule = rule
        self.clock = clock
        self.breakers: dict[tuple[str, str], Breaker] = {}
        self.lasts = {
            step: int(share * usual_ns) if usual_ns is not None else None
            for step, share in LASTS.items()
        }

    def descent(self, deadline: int | None = None) -> "Descent":
        """The way of one request, from now to its deadline, on the same clock."""
        return Descent(self, deadline)

    def forget(self, step: str) -> None:
        """Take a step for sound: something else does it from now on."""
        for key in [key for key in self.breakers if key[0] == step]:
            del self.breakers[key]


class Descent:
    """The way of one request down the ladder."""

    falls = True

    def __init__(self, ladder: Ladder, deadline: int | None) -> None:
        self.degraded: list[Degraded] = []
        self._ladder = ladder
        self._began = ladder.clock()
        self._left = None if deadline is None else deadline - self._began
        self._out: dict[str, str] = {}

    def leave_out(self, step: str, why: str) -> None:
        """Do without a step, since what it rests on failed."""
        self._out[step] = why

    def attempt(
        self, step: str, work: Callable[[], T], *, otherwise: str, part: str = ""
    ) -> T | None:
        """As Steps."""
        ladder, key, name = self._ladder, (step, part), part or step
        if step in self._out:
            self._fall(step, self._out[step], FAILED, otherwise)
            return None
        now = ladder.clock()
        if self._late(step, now):
            self._fall(step, f"out of time before {name}", LATE, otherwise)
            return None
        breaker = ladder.breakers.get(key, CLOSED)
        breaker, turn = admitted(breaker, ladder.rule, now)
        if turn is None:
            self._fall(step, f"{name} rests: it failed or was slow", RESTING, otherwise)
            return None
        ladder.breakers[key] = breaker
        try:
            made = work()
        except (InputError, MismatchError):
            raise  # who asked is wrong, or who set this up: no lower rung makes it right
        except Exception as error:
            self._report(key, breaker, turn, ok=False)
            said = f"{' '.join(filter(None, key))} failed; the slate is made without it"
            if isinstance(error, StoreError):  # it says what is away; where that was asked is known
                log.warning("%s: %s", said, error)
            else:
                log.exception(said)
            self._fall(step, f"{name} failed", FAILED, otherwise)
            return None
        lasts = ladder.lasts.get(step)
        self._report(key, breaker, turn, ok=lasts is None or ladder.clock() - now <= lasts)
        return made

    def hurry(self, step: str) -> OutOfTime | None:
        """As Steps."""
        if self._left is None:
            return None
        clock, end = self._ladder.clock, self._began + int(self._left * BEGUN_BY[step])
        return lambda: clock() >= end

    def _late(self, step: str, now: int) -> bool:
        return self._left is not None and now - self._began >= self._left * BEGUN_BY[step]

    def _report(self, key: tuple[str, str], breaker: Breaker, turn: int, *, ok: bool) -> None:
        if ok and not breaker.failures and breaker.state == "closed":
            return
        ladder = self._ladder
        ladder.breakers[key] = reported(breaker, ladder.rule, ladder.clock(), turn, ok=ok)

    def _fall(self, step: str, reason: str, cause: str, rung: str) -> None:
        self.degraded.append(Degraded(step, reason, cause, rung))


def rung_of(degraded: Sequence[Degraded]) -> str:
    """The lowest rung that a slate stands on.

    >>> rung_of([Degraded("retrieve", "", LATE, "newest"), Degraded("reasons", "", LATE, "bare")])
    'newest'
    >>> rung_of([])
    'full'
    """
    return RUNGS[max((RUNGS.index(each.rung) for each in degraded if each.rung), default=0)]
