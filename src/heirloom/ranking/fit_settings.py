"""What of a ranker's `fit` can be set by name, and whether given settings are such."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

from heirloom.core.errors import ConfigError
from heirloom.ranking.ranker import Ranker

Setting = bool | int | float | str | tuple[float, ...]


class HasSettings(Protocol):
    """A ranker whose `fit` takes settings that its signature does not name."""

    @classmethod
    def fit_settings(cls) -> Mapping[str, Setting]:
        """Each setting's default, by its name."""


def settings_of(ranker: type[Ranker]) -> dict[str, Setting]:
    """Default of each setting of a ranker's `fit`, by its name.

    These are its keywords whose default is a number, a flag, a word or a tuple of numbers; `seed`
    is the training's.

    >>> from heirloom.ranking.linear import Linear
    >>> settings_of(Linear)
    {'ridges': (1.0, 10.0, 100.0, 1000.0)}
    """
    found: dict[str, Setting] = {}
    for name, parameter in inspect.signature(ranker.fit).parameters.items():
        of_kind = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        if of_kind and isinstance(parameter.default, bool | int | float | str | tuple):
            found[name] = parameter.default
    more = getattr(ranker, "fit_settings", None)  # `HasSettings`, of the class itself
    if more is not None:
        found |= more()
    return found


def checked_settings(
    name: str, ranker: type[Ranker], given: Mapping[str, Any]
) -> dict[str, Setting]:
    """The settings as `fit` wants them: whole numbers for floats made floats, lists tuples.

    Args:
        name: the ranker's, for the message.
        ranker: its class.
        given: as a TOML says.

    Raises:
        ConfigError: with every name that is not known and every value of another kind.
    """
    if not given:
        return {}
    known = settings_of(ranker)
    problems, found = list[str](), dict[str, Setting]()
    for key, value in given.items():
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            problems.append(f"{key}: ranker {name!r} has no such setting; it has {listed}")
            continue
        kept = _as(known[key], value)
        if kept is None:
            problems.append(f"{key}: {value!r} came; wanted {_kind(known[key])}, as {known[key]!r}")
        else:
            found[key] = kept
    if problems:
        raise ConfigError("training.ranker_settings", problems)
    return found


def _as(default: Setting, value: Any) -> Setting | None:
    """The value as what the default is; None where it is of another kind."""
    if isinstance(default, bool) or isinstance(value, bool):
        return value if isinstance(default, bool) and isinstance(value, bool) else None
    if isinstance(default, float):
        return float(value) if isinstance(value, int | float) else None
    if isinstance(default, tuple):
        listed = isinstance(value, list | tuple) and len(value) > 0
        numbers = listed and all(isinstance(each, int | float) for each in value)
        return tuple(float(each) for each in value) if numbers else None
    return value if type(value) is type(default) else None


def _kind(default: Setting) -> str:
    if isinstance(default, tuple):
        return "a list of numbers"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[
        type(default)
    ]
