"""Correction for the place: what training does with the log's examination."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.log import EventLog
from heirloom.pipelines.examination import (
    Found,
    Layout,
    corrected,
    examination_of_log,
    with_baseline,
)
from heirloom.ranking.ranker import Correction, Examples, Ranker

Place = Mapping[Layout, Found]


def check_correction(ranker: type[Ranker], correction: Correction | None) -> None:
    """Refuse a correction that a ranker would not hear of.

    Raises:
        ConfigError: saying what it takes.
    """
    takes: tuple[Correction, ...] = getattr(ranker, "corrections", ())
    if correction is not None and correction not in takes:
        wanted = " or ".join(f'"{each}"' for each in takes) or "none"
        raise ConfigError(
            "training.bias",
            [
                f'{ranker.__name__} takes no "{correction}"; it takes {wanted}: set bias so, or '
                "name another ranker"
            ],
        )


def examined(log: EventLog, correction: Correction | None, maturity_ms: int) -> Place:
    """The examination of each layout of the log; nothing where none is wanted.

    Raises:
        InputError: if the log tells it of no layout.
    """
    if correction is None:
        return {}
    found = examination_of_log(log, maturity_ms=maturity_ms)
    if not any(of.examination for of in found.values()):
        told = "; ".join(
            f"{layout.surface}, {layout.columns} column(s): {of.reason}"
            for layout, of in found.items()
        )
        raise InputError(
            f'training: bias = "{correction}" wants to know where people look, and the log does '
            f"not tell it ({told or 'it holds no impression that is old enough'}); log more "
            'impressions with the clicks that answer them, or set bias = "none"'
        )
    return found


def correct(
    examples: Examples, surfaces: NDArray[np.int8], place: Place, correction: Correction | None
) -> Examples:
    """Examples as the ranker is to learn from them."""
    if correction == "ips":
        return corrected(examples, surfaces, place)[0]
    if correction == "baseline":
        return with_baseline(examples, surfaces, place)[0]
    return examples


def correct_to_judge(
    examples: Examples, surfaces: NDArray[np.int8], place: Place, correction: Correction | None
) -> Examples:
    """Examples to be calibrated with: their labels stay as they came, their places are told."""
    return correct(examples, surfaces, place, correction if correction == "baseline" else None)


def told(place: Place) -> dict[str, dict[str, float]]:
    """What is known of the place, by `examination.SURFACE.COLUMNS`, for a bundle's metrics."""
    return {
        f"examination.{layout.surface}.{layout.columns}": {
            "clicks": float(of.clicks),
            "compared": of.compared,
            **{f"chance_{i}": float(p) for i, p in enumerate(of.examination.chance, 1)},
        }
        for layout, of in place.items()
        if of.examination is not None
    }
