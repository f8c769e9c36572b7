"""Breaker: whether a step that failed is tried again now. A pure state machine; time is passed in.

Closed, a step is taken. After some failures in a row it is open: the step rests, and requests go on
without it. Rested, it is half-open: one request at a time tries it, the probe; one that succeeds
closes it, one that fails opens it for twice as long. After Nygard, "Release It!" (2nd edition,
2018), chapter 5, with the rest's doubling as in exponential back-off.
"""

from dataclasses import dataclass, replace
from typing import Literal

SECOND = 1_000_000_000

State = Literal["closed", "half-open", "open"]
STATES: tuple[State, ...] = ("closed", "half-open", "open")


@dataclass(frozen=True, slots=True)
class Rule:
    """When a breaker opens, and for how long; times in ns.

    Attributes:
        failures: so many in a row open it. In a row, so that a request which fails for a reason of
            its own opens nothing while others succeed.
        rest: how long it is open first.
        longest_rest: and at most, however often its probes fail.
        probe: a probe that has not ended so long after it began is given up, and another begins.
    """

    failures: int = 3
    rest: int = SECOND
    longest_rest: int = 4 * SECOND
    probe: int = 4 * SECOND


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker, as it stands.

    Attributes:
        state: closed, half-open or open.
        failures: in a row, while closed.
        opened: how often in a row it was opened and not closed again.
        until: ns; open: when it has rested; half-open: when its probe is given up.
        turn: the number of changes so far. A call is told it, and its report counts in no other.
    """

    state: State = "closed"
    failures: int = 0
    opened: int = 0
    until: int = 0
    turn: int = 0


CLOSED = Breaker()


def admitted(breaker: Breaker, rule: Rule, now: int) -> tuple[Breaker, int | None]:
    """The breaker after a call asked to be made, and the call's turn; None: not now.

    >>> admitted(CLOSED, Rule(), now=0)[1]
    0
    >>> tired = reported(CLOSED, Rule(failures=1, rest=5), 0, 0, ok=False)
    >>> admitted(tired, Rule(), now=4)[1], admitted(tired, Rule(), now=5)[1]
    (None, 2)
    """
    if breaker.state == "closed":
        return breaker, breaker.turn
    if now < breaker.until:
        return breaker, None
    turn = breaker.turn + 1
    return replace(breaker, state="half-open", until=now + rule.probe, turn=turn), turn


def reported(breaker: Breaker, rule: Rule, now: int, turn: int, *, ok: bool) -> Breaker:
    """The breaker after a call of this turn has ended.

    >>> tired = reported(CLOSED, Rule(failures=2), 0, 0, ok=False)
    >>> tired.state, reported(tired, Rule(failures=2), 0, 0, ok=False).state
    ('closed', 'open')
    """
    if turn != breaker.turn or breaker.state == "open":
        return breaker
    if ok:
        if breaker.state == "closed":
            return breaker if not breaker.failures else replace(breaker, failures=0)
        return Breaker(turn=turn + 1)
    failures = breaker.failures + 1
    if breaker.state == "closed" and failures < rule.failures:
        return replace(breaker, failures=failures)
    rest = min(rule.rest << min(breaker.opened, 30), rule.longest_rest)
    return Breaker("open", 0, breaker.opened + 1, now + rest, turn + 1)
