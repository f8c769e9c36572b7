"""The space that tuning searches: for each setting of a ranker's `fit`, what may be tried."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from heirloom.core.errors import ConfigError
from heirloom.ranking.fit_settings import Setting, settings_of
from heirloom.ranking.ranker import Ranker

Kind = Literal["int", "float", "choice"]


@dataclass(frozen=True, slots=True)
class Dimension:
    """What one setting may be.

    Attributes:
        kind: whole numbers or numbers from `low` to `high`, or one of `choices`.
        low, high: both may be tried.
        log: as likely between 1 and 10 as between 10 and 100.
        choices: words, flags or numbers, in no order.
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[bool | int | float | str, ...] = ()


Space = Mapping[str, Dimension]


def _real(low: float, high: float, *, log: bool = False) -> Dimension:
    return Dimension("float", low, high, log)


def _whole(low: int, high: int, *, log: bool = False) -> Dimension:
    return Dimension("int", low, high, log)


SPACES: Mapping[str, Space] = {
    "catboost": {
        "depth": _whole(3, 8),
        "learning_rate": _real(0.02, 0.4, log=True),
        "l2_leaf_reg": _real(1.0, 50.0, log=True),
        "leaf_iterations": _whole(1, 10),
        "loss": Dimension("choice", choices=("QuerySoftMax", "YetiRank")),
    },
    "expected": {
        "depth": _whole(3, 7),
        "learning_rate": _real(0.02, 0.3, log=True),
        "l2_leaf_reg": _real(2.0, 100.0, log=True),
        "column_share": _real(0.1, 1.0),
    },
    "lightgbm": {
        "leaves": _whole(4, 64, log=True),
        "learning_rate": _real(0.02, 0.2, log=True),
        "least_rows": _whole(5, 200, log=True),
        "l2_leaf_reg": _real(0.5, 50.0, log=True),
        "column_share": _real(0.3, 1.0),
        "loss": Dimension("choice", choices=("lambdarank", "rank_xendcg")),
    },
    "deep_cross": {
        "crosses": _whole(0, 3),
        "hidden": _whole(16, 128, log=True),
        "knots": _whole(2, 32, log=True),
        "learning_rate": _real(5e-4, 1e-2, log=True),
        "weight_decay": _real(0.01, 1.0, log=True),
        "dropout": _real(0.0, 0.4),
    },
    "neural": {
        "hidden": _whole(16, 128, log=True),
        "epochs": _whole(1, 6),
        "learning_rate": _real(5e-4, 1e-2, log=True),
        "weight_decay": _real(1e-3, 1e-1, log=True),
    },
}
"""What is tried where a TOML says nothing. Each holds the ranker's defaults: they are tried first,
and what is found is held against them."""


def checked_space(name: str, ranker: type[Ranker], space: Space) -> dict[str, Dimension]:
    """The space, in the order of its names, if every dimension is one of the ranker's settings.

    Args:
        name: the ranker's, for the message.
        ranker: its class.
        space: what is to be tried.

    Raises:
        ConfigError: with all that is wrong: an unknown setting, another kind than `fit` takes, no
            range, or a range without the default.
    """
    known = settings_of(ranker)
    problems = [] if space else [f"ranker {name!r} has no space of its own; give one"]
    for key, dimension in sorted(space.items()):
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            problems.append(f"{key}: ranker {name!r} has no such setting; it has {listed}")
        else:
            problems += [f"{key}: {problem}" for problem in _problems(dimension, known[key])]
    if problems:
        raise ConfigError("tuning.space", problems)
    return dict(sorted(space.items()))


def _problems(dimension: Dimension, default: Setting) -> Iterator[str]:
    if dimension.kind == "choice":
        if dimension.low or dimension.high or dimension.log:
            yield "a choice has no low, high or log; leave them out, or change its kind"
        if len(set(dimension.choices)) < 2 or len(set(dimension.choices)) < len(dimension.choices):
            yield f"choices are {list(dimension.choices)}; wanted two or more, each once"
        if any(type(choice) is not type(default) for choice in dimension.choices):
            yield f"choices are {list(dimension.choices)}; wanted values like {default!r}"
        elif default not in dimension.choices:
            yield f"the default {default!r} is not among its choices; add it"
        return
    wanted = {"int": int, "float": float}[dimension.kind]
    if type(default) is not wanted:
        yield f"its kind is {dimension.kind}, and the default is {default!r}; change the kind"
        return
    low, high = dimension.low, dimension.high
    if dimension.choices:
        yield 'numbers from low to high have no choices; leave them out, or set kind = "choice"'
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        yield f"from {low} to {high}; wanted low below high"
    elif dimension.log and low <= 0:
        yield f"log = true from {low}; wanted more than 0"
    elif dimension.kind == "int" and (low != int(low) or high != int(high)):
        yield f"from {low} to {high}; wanted whole numbers"
    elif isinstance(default, int | float) and not low <= default <= high:
        yield f"the default {default} is not from {low} to {high}; widen the range"
