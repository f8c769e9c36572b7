"""Control: the lift that holds a group's share of what is shown to its target."""

from numba import njit

MOST = 4.0
"""No lift is larger, in units of the candidates' spread of scores (`slates.rules.Rules`)."""
QUICK = 1.0
"""The part in proportion to the error, as a multiple of the part that adds up."""


@njit(cache=True, nogil=True)
def step(summed: float, target: float, achieved: float, gain: float) -> tuple[float, float]:
    """A step of a controller in proportion and integral: what added up, and the lift.

    summed + gain · error, and to that QUICK · gain · error, both kept in 0 … MOST so that an error
    that no lift can mend does not pile up (anti-windup by clamping). Source: Åström & Murray,
    "Feedback Systems", 2008, chapter 10, sections 1 and 4. At rest the lift is the multiplier of
    the constraint that the share is at least the target, and 0 where it holds by itself: the dual
    ascent of Balseiro, Lu & Mirrokni, "Dual mirror descent for online allocation problems", ICML
    2020, algorithm 1.

    >>> step(0.25, 0.5, 0.25, 1.0)
    (0.5, 0.75)
    >>> step(0.25, 0.25, 0.75, 1.0)
    (0.0, 0.0)
    """
    error = target - achieved
    total = min(max(summed + gain * error, 0.0), MOST)
    return total, min(max(total + QUICK * gain * error, 0.0), MOST)
