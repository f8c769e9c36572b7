"""Encoding: which encoders a system answers with, and how it trains them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from heirloom.adapters import bundle as bundles
from heirloom.apps.settings import EncodersPart
from heirloom.core.errors import ConfigError
from heirloom.core.log import EventLog
from heirloom.encoders.pair import HASHED, Encoders
from heirloom.evaluation.split import moment

Progress = Callable[[str, int, int], None]


def current_bundle(folder: Path) -> Path | None:
    """The folder of the bundle that a system's folder published last, if one was."""
    pointer = folder / "current.txt"
    if not pointer.exists():
        return None
    return folder / "bundles" / pointer.read_text(encoding="utf-8").strip()


def encoders_in(bundle: Path | None) -> Encoders:
    """Those that the ranker in a bundle's folder was trained with; without one, the hashed.

    Raises:
        BundleError: a file is not as it was written.
    """
    return bundles.encoders_of(bundle) if bundle is not None and bundle.is_dir() else HASHED


def train_encoders(
    log: EventLog, part: EncodersPart, *, progress: Progress = lambda *_: None
) -> tuple[Encoders, int]:
    """Encoders as the settings ask for them, and the moment (ms) up to which they learned.

    Raises:
        ConfigError: training is asked for, and torch is not installed.
        InputError: the log holds too little to learn from.
    """
    if part.kind == "hashed":
        return HASHED, 0
    try:
        from heirloom.pipelines import train_encoders as training
    except ModuleNotFoundError as error:
        raise ConfigError(
            'encoders: kind = "trained"',
            [f'{error}; install heirloom[train], or set kind = "hashed"'],
        ) from error
    progress("encoders", 0, part.epochs)
    captured = training.capture(log.read())
    recipe = training.EncoderRecipe()
    recipe = replace(
        recipe,
        dim=part.dim,
        vectors=part.vectors,
        fit=replace(recipe.fit, epochs=part.epochs, seed=part.seed),
    )
    until_t = moment(captured.histories.t, part.share)
    listings, people, _ = training.train_encoders(
        captured,
        until_t,
        recipe,
        progress=lambda epoch: progress("encoders", epoch.number, part.epochs),
    )
    progress("encoders", part.epochs, part.epochs)
    return Encoders(listings, people), until_t
