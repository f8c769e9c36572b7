"""What is known of a fitted ranker by slates that it did not learn from."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import SURFACE_CODE, Surface
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.calibration import Calibration, calibration
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.ranking.actions import combined, weights_of
from heirloom.ranking.examples import gained, take
from heirloom.ranking.guard import Guard, guarded
from heirloom.ranking.ranker import Examples, Probabilities, Ranker

Weights = Mapping[str, Mapping[str, float]]
"""By surface, the weight of each action in the order."""
Metrics = dict[str, dict[str, float]]
"""By slice."""
SURFACES = {0: "none", **{code: name for name, code in SURFACE_CODE.items()}}


def evaluate(
    ranker: Ranker, test: Examples, surfaces: NDArray[np.int8], weights: Weights | None = None
) -> tuple[dict[str, float], Metrics]:
    """NDCG@10 of the ranker and of the order shown, on slates held out: all, and by surface.

    Of slates on which something was gained; the others have no order.
    """
    rows = np.flatnonzero(gained(test))
    test, surfaces = take(test, rows), surfaces[rows]
    scores = orders(ranker, test, surfaces, weights or {})
    rng = np.random.default_rng(0)
    by = {
        "ndcg@10": scores,
        "ndcg@10_logged": -test.positions.astype(np.float32),
        "ndcg@10_random": rng.random(len(scores)).astype(np.float32),
    }
    per_slate = {
        name: grouped_ndcg(order, test.gains, test.groups, 10) for name, order in by.items()
    }
    first = np.flatnonzero(np.diff(test.groups, prepend=-1))
    slices = {
        SURFACES[code]: {
            name: float(values[surfaces[first] == code].mean())
            for name, values in per_slate.items()
        }
        for code in np.unique(surfaces[first]).tolist()
    }
    return {name: float(values.mean()) for name, values in per_slate.items()}, slices


def orders(
    ranker: Ranker, examples: Examples, surfaces: NDArray[np.int8], weights: Weights
) -> NDArray[np.float32]:
    """[rows] float32, what each surface orders by."""
    scores = ranker.score(FeatureBatch(examples.values, examples.columns, 0))
    result = np.zeros(len(scores), np.float32)
    for code in np.unique(surfaces).tolist():
        rows = np.flatnonzero(surfaces == code)
        result[rows] = combined(scores[rows], weights_on(weights, code, ranker.actions))
    return result


def weights_on(weights: Weights, surface: int, actions: tuple[str, ...]) -> NDArray[np.float32]:
    """[actions] float32 on a surface, by code; a log's slates of no surface are home's.

    Raises:
        ConfigError: if they are not those of these actions.
    """
    name = SURFACES[surface] if surface else Surface.HOME.value
    return weights_of(actions, weights.get(name, {}), f"weights.{name}")


def calibrations(ranker: Ranker, test: Examples, surfaces: NDArray[np.int8]) -> Metrics:
    """How well each probability holds, by `all.ACTION` and `SURFACE.ACTION`; none of a gain.

    Of rows that were shown and whose label is known, where they were shown.
    """
    if not isinstance(ranker, Probabilities) or test.done is None:
        return {}
    rows = np.arange(len(test.values)) if test.drawn is None else np.flatnonzero(~test.drawn)
    done, surfaces = test.done[rows], surfaces[rows]
    test = take(test, rows)
    chances = ranker.chances(test)
    found: Metrics = {}
    for code in (None, *np.unique(surfaces).tolist()):
        on = np.ones(len(surfaces), np.bool_) if code is None else surfaces == code
        for i, action in enumerate(test.actions):
            known = np.flatnonzero(on & ~np.isnan(done[:, i]))
            if len(known):
                told = calibration(chances[known, i], done[known, i], test.groups[known])
                found[f"{'all' if code is None else SURFACES[code]}.{action}"] = _told(told)
    return found


def _told(of: Calibration) -> dict[str, float]:
    """As metrics: the whole, and ten parts by probability, `1` the least."""
    told = {
        "ece": of.ece,
        "ece_low": of.low,
        "ece_high": of.high,
        "ece_noise": of.noise,
        "rows": float(of.all.rows),
        "observed": of.all.observed,
        "predicted": of.all.predicted,
    }
    for i, part in enumerate(of.bins, 1):
        told[f"observed_{i}"], told[f"predicted_{i}"] = part.observed, part.predicted
        told[f"observed_{i}_low"], told[f"observed_{i}_high"] = part.low, part.high
    return told


def guards(
    ranker: Ranker,
    test: Examples,
    surfaces: NDArray[np.int8],
    weights: Weights,
    guard: Guard | None,
) -> tuple[Metrics, tuple[str, ...]]:
    """Of each surface, by `guard.SURFACE`: the multiplier that keeps the guarded action's share.

    Returns:
        What was found, and why it cannot be kept where it cannot.

    Raises:
        ConfigError: if the guarded action is none of the ranker's.
    """
    if guard is None:
        return {}, ()
    if guard.action not in ranker.actions:
        known = ", ".join(ranker.actions)
        raise ConfigError("guard", [f"unknown action {guard.action!r}; known: {known}"])
    action = ranker.actions.index(guard.action)
    chances = ranker.score(FeatureBatch(test.values, test.columns, 0))
    found: Metrics = {}
    refused = []
    for code in np.unique(surfaces).tolist():
        rows, name = np.flatnonzero(surfaces == code), SURFACES[code]
        of = guarded(
            chances[rows], weights_on(weights, code, ranker.actions), action, test.groups[rows],
            keep=guard.keep, k=guard.k,
        )  # fmt: skip
        found[f"guard.{name}"] = {key: float(value) for key, value in asdict(of).items()}
        if not of.feasible:
            refused.append(
                f"guard.{name}: {guard.action} keeps {of.kept:.3f} of what it could bring with its "
                f"weight times {of.multiplier:g}; wanted {guard.keep:g}: ask for less, or lower "
                "the other weights"
            )
    return found, tuple(refused)


def refusals(
    metrics: Mapping[str, float],
    slices: Metrics,
    least: Mapping[str, float],
    most: Mapping[str, float],
) -> tuple[str, ...]:
    """The gates that were failed, as sentences.

    A metric of a slice is named `SLICE.METRIC`: `home.ndcg@10`, `all.click.ece`. One that is not
    there fails.

    >>> refusals({"ndcg@10": 0.4}, {"all.click": {"ece": 0.02}}, {}, {"all.click.ece": 0.01})
    ('all.click.ece is 0.0200; wanted at most 0.01',)
    """
    named = {f"{part}.{name}": value for part, of in slices.items() for name, value in of.items()}
    named.update(metrics)
    failed = [
        f"{name} is {named.get(name, float('nan')):.4f}; wanted at {word} {bar}"
        for word, gates in (("least", least), ("most", most))
        for name, bar in gates.items()
        if not (
            named.get(name, float("nan")) >= bar
            if word == "least"
            else named.get(name, float("nan")) <= bar
        )
    ]
    return tuple(failed)
