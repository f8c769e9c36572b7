"""Models of photos and text that a TOML names: made ready to train a tower with, found to serve it.

A bundle holds the photo network that was trained for it. Published models are large and shared, so
of those it holds the name alone, in modalities.json, and its listing.json their `model_id`s.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec

from heirloom.adapters.open_clip import OpenClip
from heirloom.apps.photos import PhotoStore
from heirloom.apps.settings import OPEN_CLIP, EncodersPart
from heirloom.core.errors import BundleError, ConfigError
from heirloom.encoders.listing import ABOUT_FILE, About
from heirloom.encoders.modalities import Modality, Read
from heirloom.encoders.photo import PhotoEncoder, PhotoModel, Photos
from heirloom.encoders.sentence import (
    MODEL_FILE,
    TABLE_FILE,
    SentenceEncoder,
    Sentences,
    StaticTable,
    TextModel,
)

NAMED_FILE = "modalities.json"
"""In a bundle beside the encoders: the TOML's name of each modality's model, by modality."""
TRAINED = "trained"


@dataclass(frozen=True, slots=True)
class Modalities:
    """What a tower is trained with besides what is written.

    Attributes:
        models: whose vectors it reads.
        named: the TOML's name of each, by modality.
        photos: the photo network, where one was trained for it.
    """

    models: tuple[Modality, ...] = ()
    named: dict[str, str] = field(default_factory=dict)
    photos: PhotoEncoder | None = None

    def save(self, folder: Path) -> None:
        """Write what a bundle must hold for `found` to find them again; nothing where none are."""
        if self.named:
            (folder / NAMED_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self.named)))
        if self.photos is not None:
            self.photos.save(folder)


def named_in(part: EncodersPart) -> dict[str, str]:
    """The TOML's names of models, by the name of the modality that each makes.

    >>> named_in(EncodersPart(kind="trained", photos="trained"))
    {'photo': 'trained'}
    """
    named = {Photos.name: part.photos, Sentences.name: part.text}
    return {name: model for name, model in named.items() if model}


def modalities(
    part: EncodersPart, photos: PhotoStore, trained: PhotoEncoder | None = None
) -> Modalities:
    """The modalities that the settings name.

    Args:
        part: names the models.
        photos: where photos lie.
        trained: the network, where the settings ask for one.

    Raises:
        ConfigError: a model cannot be loaded, or what loads it is not installed.
    """
    named = named_in(part)
    models = []
    for name, model in named.items():
        if model == TRAINED and trained is not None:
            models.append(_modality(name, trained, photos))
            continue
        try:
            models.append(_modality(name, _loaded(name, model, None), photos))
        except BundleError as error:
            raise ConfigError(f"[encoders] {_key(name)}", [f"{model}: {error}"]) from error
    return Modalities(tuple(models), named, trained)


def found(folder: Path, part: EncodersPart, photos: PhotoStore) -> tuple[Modality, ...]:
    """The modalities that the encoders in a bundle's folder were trained with.

    A published model is looked for where it lay in training, then where the TOML says now. One of
    open_clip, which may be fetched from elsewhere, is taken where the TOML names it alone: a bundle
    makes nobody ask a stranger for weights.

    Raises:
        BundleError: one is nowhere, or another lies there.
    """
    try:
        about = msgspec.json.decode((folder / ABOUT_FILE).read_bytes(), type=About)
        if about.modalities is msgspec.UNSET:
            return ()
        named = msgspec.json.decode((folder / NAMED_FILE).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"encoders: {error}; fetch the bundle again, or train anew") from error
    now = named_in(part)
    models = []
    for read in about.modalities:
        told, mine = named.get(read.name, ""), now.get(read.name, "")
        places = dict.fromkeys((mine if told.startswith(OPEN_CLIP) else told, mine))
        models.append(
            _modality(read.name, _of_model(read, [*filter(None, places)], folder), photos)
        )
    return tuple(models)


def _of_model(read: Read, places: list[str], folder: Path) -> PhotoModel | TextModel:
    """The one of the models in these places that a tower was trained with."""
    came = []
    for place in places:
        try:
            model = _loaded(read.name, place, folder)
        except (BundleError, ConfigError) as error:
            why = "; ".join(error.problems) if isinstance(error, ConfigError) else error
            came.append(f"{place} cannot be loaded ({why})")
            continue
        if (model.model_id, model.dim) == (read.model_id, read.dim):
            return model
        came.append(f"{place} is {model.model_id}, dim {model.dim}")
    raise BundleError(
        f"encoders: {read.name}: wanted {read.model_id}, dim {read.dim}; "
        f"{'; '.join(came) or 'no place of it is known'}. Put that model back, name where it lies "
        f"now as {_key(read.name)} in [encoders], or run `heirloom train`"
    )


def _key(name: str) -> str:
    """Under which key of [encoders] a modality's model is named."""
    return "photos" if name == Photos.name else name


def _modality(name: str, model: PhotoModel | TextModel, photos: PhotoStore) -> Modality:
    if name == Photos.name:
        return Photos(cast("PhotoModel", model), photos.photo, photos.refuse)
    return Sentences(cast("TextModel", model))


def _loaded(name: str, model: str, folder: Path | None) -> PhotoModel | TextModel:
    if model.startswith(OPEN_CLIP):
        return OpenClip(model.removeprefix(OPEN_CLIP))
    if name == Sentences.name:
        return sentence_in(Path(model))
    if folder is None:
        raise ConfigError("[encoders] photos", [f"{model!r} is not trained yet"])
    return PhotoEncoder.load(folder)


def sentence_in(folder: Path) -> SentenceEncoder | StaticTable:
    """The text model that `heirloom export text` wrote into a folder.

    Raises:
        ConfigError: there is none, or `tokenizers` is not installed.
        BundleError: a file is missing or is none of ours.
    """
    there = [file for file in (MODEL_FILE, TABLE_FILE) if (folder / file).is_file()]
    if len(there) != 1:
        came = " and ".join(there) or ("neither" if folder.is_dir() else "no such folder")
        raise ConfigError(
            f"text model {folder}",
            [
                f"{came}; wanted {MODEL_FILE} or {TABLE_FILE} in it: "
                f"`heirloom export text --out {folder}` writes one into a new folder"
            ],
        )
    return (SentenceEncoder if there == [MODEL_FILE] else StaticTable).load(folder)
