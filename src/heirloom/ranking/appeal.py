"""Appeal: what of a listing draws everybody, as multiples of how often its places are opened.

    opened_i ~ Poisson(expected_i · Π_f m_f(code_f(i))),    m_f(c) ~ Gamma(doubt, doubt)

A multiplicative tariff with a prior of mean 1 on each multiplier, so that what was seldom shown
stays near 1: a seller with three impressions says little. Fitted by turns, one field given the
others, each turn in closed form. Source: Ohlsson, "Combining generalized linear models and
credibility models in practice", Scandinavian Actuarial Journal 2008 (4), section 3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DOUBT = 10.0
"""A multiplier is shrunk as if so many openings more had come as expected."""
SWEEPS = 6
"""Turns through all fields."""


def multipliers(
    codes: Sequence[Array],
    expected: Array,
    opened: Array,
    *,
    doubt: float = DOUBT,
    sweeps: int = SWEEPS,
) -> list[NDArray[np.float64]]:
    """Log of each field's multipliers, by code: 0 for what was never shown.

    Args:
        codes: of each field, [listings], from 0.
        expected: [listings] openings expected by the places where each was shown.
        opened: [listings] openings.
        doubt: shape of the prior.
        sweeps: turns through the fields.

    >>> of_brand, of_state = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> many, opened = np.full(4, 1e6), np.array([4e6, 8e6, 1e6, 2e6])
    >>> brand, state = multipliers([of_brand, of_state], many, opened)
    >>> np.exp(brand[0] - brand[1]).round(2), np.exp(state[1] - state[0]).round(2)
    (np.float64(4.0), np.float64(2.0))
    """
    codes = [field.astype(np.intp) for field in codes]  # what is indexed by is cast each time else
    logs = [np.zeros(int(field.max(initial=-1)) + 1) for field in codes]
    whole = np.zeros(len(expected))
    for _ in range(sweeps):
        for field, log in zip(codes, logs, strict=True):
            whole -= log.take(field)
            hoped = np.bincount(field, expected * np.exp(whole), len(log))
            came = np.bincount(field, opened, len(log))
            log[:] = np.log((came + doubt) / (hoped + doubt))
            whole += log.take(field)
    return logs
