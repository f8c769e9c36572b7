"""Actions: what a person may do with a listing that was shown, and when it is known whether.

An action counts if it is done within its time after the impression, and is known once that time has
passed; before, it is NaN, even where it was done already: kept alone, the early ones would make
it look more frequent than it is. Two biases follow. What is done later counts as not done, so a
probability is that of the action within its time. And the latest impressions teach nothing of slow
actions. To learn from them too is to model the delay (Chapelle, "Modeling delayed feedback in
display advertising", KDD 2014), which wants a law of delays that holds tomorrow; not done here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import Kind

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Action:
    """One action that a ranker foretells.

    Attributes:
        name: as it stands in settings, bundles and metrics.
        kinds: the events that are it.
        matures_ms: it counts if done within so long after the impression.
    """

    name: str
    kinds: tuple[str, ...]
    matures_ms: int


ACTIONS = (
    Action("click", (Kind.CLICK,), HOUR_MS),
    Action("save", (Kind.SAVE,), HOUR_MS),
    Action("contact", (Kind.MESSAGE, Kind.OFFER), 24 * HOUR_MS),
    Action("purchase", (Kind.PURCHASE,), 72 * HOUR_MS),
    Action("hide", (Kind.HIDE,), HOUR_MS),
)


def matured(hours: Mapping[str, float], actions: Sequence[Action] = ACTIONS) -> tuple[Action, ...]:
    """The actions, those named with another time to mature.

    Raises:
        ConfigError: if a name is unknown or a time negative.

    >>> matured({"purchase": 1.0})[3].matures_ms
    3600000
    """
    problems = _unknown(hours, [action.name for action in actions])
    problems += [
        f"{name} matures in {given} hours; wanted a number >= 0"
        for name, given in hours.items()
        if not given >= 0
    ]
    if problems:
        raise ConfigError("actions", problems)
    return tuple(
        replace(action, matures_ms=round(hours[action.name] * HOUR_MS))
        if action.name in hours
        else action
        for action in actions
    )


def weights_of(
    actions: Sequence[str], weights: Mapping[str, float], where: str = "weights"
) -> NDArray[np.float32]:
    """[actions] float32, the weight of each of a ranker's actions in the order; 0 if not named.

    A ranker of one action needs no weights: its score is the order.

    Raises:
        ConfigError: if a name is none of the ranker's, a weight is no number, or all are 0.

    >>> weights_of(("click", "save", "hide"), {"hide": -5.0, "click": 1.0}).tolist()
    [1.0, 0.0, -5.0]
    >>> weights_of(("gain",), {}).tolist()
    [1.0]
    """
    if not weights and len(actions) == 1:
        return np.ones(1, np.float32)
    problems = _unknown(weights, actions)
    problems += [
        f"the weight of {name} is {weight}; wanted a finite number"
        for name, weight in weights.items()
        if not np.isfinite(weight)
    ]
    if not problems and not any(weights.get(name, 0.0) for name in actions):
        problems = [
            f"no action weighs anything; give a weight to some of {', '.join(actions)}, "
            "negative to what is to be avoided"
        ]
    if problems:
        raise ConfigError(where, problems)
    return np.array([weights.get(name, 0.0) for name in actions], np.float32)


def combined(scores: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows] float32, Σ over actions of weight · score, summed action by action.

    Not by a matrix product: that adds up in another order for other numbers of rows, and then
    rows that are equal might not tie.

    >>> combined(np.array([[0.5, 0.25]], np.float32), np.array([1, -2], np.float32)).tolist()
    [0.0]
    """
    total: NDArray[np.float32] = scores[:, 0] * weights[0]
    for action in range(1, len(weights)):
        total = total + scores[:, action] * weights[action]
    return total


def _unknown(given: Collection[str], known: Sequence[str]) -> list[str]:
    return [
        f"unknown action {name!r}; known: {', '.join(known)}" for name in given if name not in known
    ]
