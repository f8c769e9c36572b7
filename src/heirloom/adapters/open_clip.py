"""open_clip: models of photos and text with published weights (FashionSigLIP and kin).

A photo model for `encoders.photo.Photos`, a text model for `encoders.sentence.Sentences`, both in
one space. Runs on torch, and so needs the training extra as well.
"""

import hashlib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from heirloom.core.errors import ConfigError, ShapeError

_AT_ONCE = 32
_MAX_TEXT = 2_000
"""Characters of a text that are cut into tokens; the models read far fewer."""


class OpenClip:
    """A PhotoModel and a TextModel: an open_clip model with its own preparation of both.

    Args:
        name: a folder with open_clip_config.json and weights; `hf-hub:owner/model`, which is
            downloaded once; or an architecture by open_clip's name, with `weights`.
        weights: a file or open_clip's name of published weights, where `name` is an architecture.
        device: as torch calls it.

    Raises:
        ConfigError: if open_clip is not installed or does not fit the torch that is, or the model
            or its weights cannot be loaded.
    """

    def __init__(
        self, name: str | Path, *, weights: str | Path | None = None, device: str = "cpu"
    ) -> None:
        open_clip = _open_clip()
        self._name = f"local-dir:{name}" if Path(name).is_dir() else str(name)
        try:
            # A model without weights would be drawn at random, and its vectors mean nothing.
            model, _, prepare = open_clip.create_model_and_transforms(
                self._name,
                pretrained=None if weights is None else str(weights),
                device=device,
                pretrained_text=False,
                require_pretrained=True,
            )
        except Exception as error:  # what it loads from raises errors of many kinds
            raise ConfigError(
                "open_clip",
                [
                    f"{name} with weights {weights} cannot be loaded: {error}; wanted a folder "
                    "with open_clip_config.json and weights, hf-hub:owner/model, or an "
                    "architecture with weights"
                ],
            ) from error
        # Nothing is learned here: without this torch would keep all that it computes.
        model.requires_grad_(requires_grad=False)
        self._model: Any = model.eval()
        self._prepare: Any = prepare
        self._tokenizer: Any = None
        self.dim = self._seen([Image.new("RGB", (8, 8))]).shape[1]
        self.model_id = f"open-clip-1-{self.dim}-{_digest(model)}"

    def photos(self, photos: Sequence[Image.Image]) -> NDArray[np.float32]:
        """RGB photos of any size → [photos, dim] float32 of unit length."""
        pieces = [
            self._seen(photos[begin : begin + _AT_ONCE])
            for begin in range(0, len(photos), _AT_ONCE)
        ]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *pieces])

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dim] float32 of unit length, in the space of the photos.

        Raises:
            ConfigError: if the model's tokenizer cannot be loaded.
        """
        pieces = [
            self._read([text[:_MAX_TEXT] for text in texts[begin : begin + _AT_ONCE]])
            for begin in range(0, len(texts), _AT_ONCE)
        ]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *pieces])

    def _seen(self, photos: Sequence[Image.Image]) -> NDArray[np.float32]:
        prepared = np.stack([self._prepare(photo).numpy() for photo in photos])
        # Torch is not imported in this room; a weight knows how to make a tensor beside itself.
        weight = next(self._model.parameters())
        made = self._model.encode_image(weight.new_tensor(prepared), normalize=True)
        return self._vectors(made)

    def _read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._tokenizer is None:
            try:
                self._tokenizer = _open_clip().get_tokenizer(self._name)
            except Exception as error:  # as above
                raise ConfigError(
                    "open_clip", [f"the tokenizer of {self._name} cannot be loaded: {error}"]
                ) from error
        tokens = self._tokenizer(list(texts)).to(next(self._model.parameters()).device)
        return self._vectors(self._model.encode_text(tokens, normalize=True))

    @staticmethod
    def _vectors(tensor: Any) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = tensor.float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise ShapeError("open_clip: a vector holds what is no number; are the weights whole?")
        return vectors


def _open_clip() -> Any:
    try:
        return importlib.import_module("open_clip")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "open_clip",
            [f"{error.name} is not installed; `pip install open_clip_torch`, with heirloom[train]"],
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise ConfigError(
            "open_clip",
            [
                f"it cannot be imported: {error}; a torchvision built for another torch is the "
                "usual cause: install both from one index, such as "
                "https://download.pytorch.org/whl/cpu"
            ],
        ) from error


def _digest(model: Any) -> str:
    """Of all weights and of how photos are prepared: what the vectors follow from."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # In float32: numpy knows no bfloat16, and each of its numbers is one of float32.
        array = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(array.cpu().contiguous().numpy().tobytes())
    prepared = getattr(model.visual, "preprocess_cfg", {})
    digest.update(json.dumps(prepared, sort_keys=True, default=str).encode())
    return digest.hexdigest()
