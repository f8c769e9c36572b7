"""Encoding: which encoders a system answers with, and how it trains them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from heirloom.adapters import bundle as bundles
from heirloom.apps.modalities import TRAINED, Modalities, found, modalities
from heirloom.apps.photos import PhotoStore
from heirloom.apps.settings import EncodersPart, Settings
from heirloom.core.errors import ConfigError
from heirloom.core.log import EventLog
from heirloom.encoders.pair import HASHED, Encoders
from heirloom.encoders.photo import PhotoEncoder
from heirloom.evaluation.split import moment

if TYPE_CHECKING:
    from heirloom.pipelines.captured import Captured

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class LearnedEncoders:
    """What a training of encoders gave.

    Attributes:
        encoders: of listings and people.
        until_t: ms; they learned from what was done before.
        modalities: what listings are read by besides what is written; kept with the encoders.
    """

    encoders: Encoders
    until_t: int = 0
    modalities: Modalities = field(default_factory=Modalities)


def current_bundle(folder: Path) -> Path | None:
    """The folder of the bundle that a system's folder published last, if one was.

    Raises:
        BundleError: the pointer names no bundle, or one whose manifest is another's.
    """
    pointer = folder / "current.txt"
    if not pointer.exists():
        return None
    told = pointer.read_bytes().decode("utf-8", "replace").strip()
    return bundles.named(folder / "bundles", told)


def encoders_in(
    bundle: Path | None, settings: Settings, photos: PhotoStore | None = None
) -> Encoders:
    """Those that the ranker in a bundle's folder was trained with; without one, the hashed.

    Args:
        bundle: the folder.
        settings: say where photos and published models lie now.
        photos: counts photos that are none; one of its own if not given.

    Raises:
        BundleError: a file is not as it was written, or a model that the encoders read besides is
            not where it was.
    """
    if bundle is None or not bundle.is_dir():
        return HASHED
    store = photos or PhotoStore.of(settings)
    return bundles.encoders_of(bundle, lambda folder: found(folder, settings.encoders, store))


def train_encoders(
    log: EventLog, part: EncodersPart, photos: PhotoStore, *, progress: Progress = lambda *_: None
) -> LearnedEncoders:
    """Encoders as the settings ask for them.

    Raises:
        ConfigError: training is asked for, and torch is not installed; or a model of photos or
            text cannot be loaded.
        InputError: the log holds too little to learn from, or hardly any listing has a photo.
    """
    if part.kind == "hashed":
        return LearnedEncoders(HASHED)
    try:
        from heirloom.pipelines import train_encoders as training
    except ModuleNotFoundError as error:
        raise ConfigError(
            'encoders: kind = "trained"',
            [f'{error}; install heirloom[train], or set kind = "hashed"'],
        ) from error
    progress("encoders", 0, part.epochs)
    captured = training.capture(log.read())
    until_t = moment(captured.histories.t, part.share)
    eyes = None
    if part.photos == TRAINED:
        eyes = _trained_eyes(captured, until_t, part, photos, progress)
    beside = modalities(part, photos, eyes)
    recipe = training.EncoderRecipe()
    recipe = replace(
        recipe,
        dim=part.dim,
        vectors=part.vectors,
        fit=replace(recipe.fit, epochs=part.epochs, seed=part.seed),
    )
    listings, people, _ = training.train_encoders(
        captured,
        until_t,
        recipe,
        modalities=beside.models,
        progress=lambda epoch: progress("encoders", epoch.number, part.epochs),
    )
    progress("encoders", part.epochs, part.epochs)
    return LearnedEncoders(Encoders(listings, people), until_t, beside)


def _trained_eyes(
    captured: "Captured", until_t: int, part: EncodersPart, photos: PhotoStore, progress: Progress
) -> PhotoEncoder:
    """The photo network, fitted to photos of listings that were known by then."""
    from heirloom.encoders.training.photo import PhotoRecipe
    from heirloom.pipelines.train_photos import train_photos

    recipe = PhotoRecipe(seed=part.seed)
    known = int((captured.begin[1:] < until_t).sum())
    return train_photos(
        captured.listings[:known],
        photos.photo,
        recipe,
        refused=photos.refuse,
        progress=lambda epoch: progress("photos", epoch.number, recipe.epochs),
    )
