"""What a system's TOML says that actions weigh, beside what a bundle's guard makes of it."""

from heirloom.apps.settings import Settings
from heirloom.core.bundle import Manifest
from heirloom.core.errors import ConfigError
from heirloom.core.event import Surface
from heirloom.ranking.actions import ACTIONS, weights_of
from heirloom.ranking.ranker import Probabilities, Ranker

Weights = dict[str, dict[str, float]]
"""By surface and action."""


def weights_in(settings: Settings) -> Weights:
    """As the TOML has them."""
    return {surface.value: dict(of) for surface, of in settings.policy.weights.items()}


def check_weights(settings: Settings, ranker: type[Ranker]) -> None:
    """Refuse weights that cannot be before hours are spent on training.

    Raises:
        ConfigError: an action is unknown, a surface has no weights, or the guarded one is none.
    """
    actions = [action.name for action in ACTIONS]
    problems = []
    if issubclass(ranker, Probabilities):
        weights = weights_in(settings)
        for surface in Surface:
            try:
                weights_of(actions, weights.get(surface, {}), f"weights.{surface}")
            except ConfigError as error:
                problems += [f"{error.where}: {problem}" for problem in error.problems]
        guard = settings.policy.guard
        if guard is not None and guard.action not in actions:
            problems.append(f"guard: unknown action {guard.action!r}; known: {', '.join(actions)}")
        elif guard is not None:
            problems += [
                f"guard: {guard.action} weighs {weights.get(surface, {}).get(guard.action, 0.0):g} "
                f"on {surface}; wanted more than 0"
                for surface in Surface
                if not weights.get(surface, {}).get(guard.action, 0.0) > 0
            ]
    elif settings.policy.weights or settings.policy.guard:
        problems.append(
            f"ranker {settings.policy.ranker!r} has one score, and weights or a guard of actions "
            "are set; leave them out, or name a ranker of probabilities: actions"
        )
    if problems:
        raise ConfigError("policy", problems)


def guard_settings(settings: Settings) -> dict[str, str | float]:
    """What a bundle's guard rests on, for its manifest; nothing without a guard."""
    guard = settings.policy.guard
    if guard is None:
        return {}
    weights = {
        f"weight.{surface}.{action}": weight
        for surface, of in weights_in(settings).items()
        for action, weight in of.items()
    }
    return {"guard.action": guard.action, "guard.keep": guard.keep, "guard.k": guard.k, **weights}


def guarded_weights(settings: Settings, manifest: Manifest) -> Weights:
    """The TOML's weights, that of a guarded action times what the bundle found it takes.

    Raises:
        ConfigError: if the bundle's guard was found for other weights, or there is none in it.
    """
    weights, wanted = weights_in(settings), guard_settings(settings)
    had = {
        name: value
        for name, value in manifest.settings.items()
        if name.startswith(("guard.", "weight."))
    }
    if wanted and wanted != had:
        differs = sorted(name for name in {*wanted, *had} if wanted.get(name) != had.get(name))
        raise ConfigError(
            "policy.guard",
            [
                f"the bundle's guard rests on other settings: {', '.join(differs)} differ; run "
                "`heirloom train`, or leave [policy.guard] out"
            ],
        )
    if settings.policy.guard is not None:
        action = settings.policy.guard.action
        for surface, of in weights.items():
            found = manifest.slices.get(f"guard.{surface}", {})
            of[action] = of[action] * found.get("multiplier", 1.0)
    return weights
