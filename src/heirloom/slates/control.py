"""Control: the lift that holds a group's share of what is shown to its target."""

import math

from numba import njit

LEAST = 2.0**-8
"""Where a lift begins, and below which it does nothing, in units of `slates.rules.Rules`."""
MOST = 1.0
"""No lift is larger: it puts the last within reach beside the first."""


@njit(cache=True, nogil=True)
def step(lift: float, target: float, achieved: float, gain: float) -> float:
    """The lift after a step of its controller: lift · exp(gain · error), within LEAST … MOST.

    The error is target less achieved over the larger of both, -1 … 1. So the log of the lift adds
    up errors: a controller of integral action, with its state clamped so that an error that no
    lift can mend does not pile up (Åström & Murray, "Feedback Systems", 2008, sections 10.1 and
    10.4). By products it comes down from MOST in some ten steps and is fine where it is small,
    whatever the scores are like. It is dual mirror descent with the entropy as mirror map
    (Balseiro, Lu & Mirrokni, "Dual mirror descent for online allocation problems", ICML 2020,
    algorithm 1): at rest the lift is the multiplier of the constraint that the share be at least
    its target, and next to nothing where that holds by itself.

    >>> step(0.25, 0.5, 0.25, 2.0 * math.log(2.0))
    0.5
    >>> step(LEAST, 0.25, 0.75, 1.0) == LEAST
    True
    """
    error = (target - achieved) / max(target, achieved, 1e-9)
    return min(max(lift * math.exp(gain * error), LEAST), MOST)


@njit(cache=True, nogil=True)
def in_force(lift: float) -> float:
    """What a listing is lifted by: 0 for a controller at rest.

    >>> in_force(0.5), in_force(LEAST)
    (0.5, 0.0)
    """
    return lift if lift > LEAST else 0.0
