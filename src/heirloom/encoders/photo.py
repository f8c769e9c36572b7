"""Photo: a listing's photo as a vector, by a small trained network. Decodes by Pillow, with limits.

`Photos` makes a modality of the listing tower from any model that reads photos and from where the
photos lie.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from heirloom.core.errors import BundleError, InputError
from heirloom.core.listing import Listing
from heirloom.encoders.person import session

MODEL_FILE = "photo.onnx"
HEIGHT, WIDTH = 64, 48
"""Of what the network sees, in pixels."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""What is decoded. Pillow knows formats that start other programs; those are not asked for."""
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
"""A telephone's largest photo; as RGB 150 MB."""
ENOUGH = (512, 512)
"""A JPEG is decoded no larger than about twice this: the rest would be thrown away."""
_AT_ONCE = 64


class PhotoModel(Protocol):
    """A model that reads photos: the network here, or an open_clip model."""

    dim: int
    model_id: str

    def photos(self, photos: Sequence[Image.Image]) -> NDArray[np.float32]:
        """RGB photos of any size → [photos, dim] float32 of unit length."""


def decoded(photo: bytes | NDArray[np.uint8]) -> Image.Image:
    """A photo upright and as RGB: of a file's bytes, or of an array [height, width, 3] uint8.

    Of an animation the first picture; what is transparent becomes white.

    Raises:
        InputError: if it is no photo, is cut short, or is larger than is decoded.

    >>> decoded(np.zeros((4, 3, 3), np.uint8)).size
    (3, 4)
    """
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise InputError(
                f"photo: an array {photo.shape} of {photo.dtype}; wanted [height, width, 3] uint8"
            )
        return Image.fromarray(photo)
    if len(photo) > MAX_BYTES:
        raise InputError(f"photo: {len(photo):,} bytes; at most {MAX_BYTES:,} are decoded")
    try:
        with Image.open(io.BytesIO(photo), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(
                    f"photo: {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded"
                )
            image.draft("RGB", ENOUGH)
            return _rgb(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise what they please
        raise InputError(
            f"photo: {len(photo):,} bytes that cannot be decoded as one of "
            f"{', '.join(FORMATS)}: {error}"
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue, on white where it is transparent."""
    if image.mode.startswith("I"):
        # Sixteen bits of grey: Pillow would cut them off at 255 and not scale them.
        grey = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def shrunk(photo: Image.Image) -> NDArray[np.uint8]:
    """[HEIGHT, WIDTH, 3] uint8: the middle of the photo in these proportions, made small.

    >>> shrunk(Image.new("RGB", (1, 1), "red"))[0, 0]
    array([255,   0,   0], dtype=uint8)
    """
    fitted = ImageOps.fit(photo, (WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(fitted, np.uint8)


class PhotoEncoder:
    """A PhotoModel: the network that `training.photo` fits, served by ONNX.

    Args:
        model: a graph as `training.graph.photo_graph` makes it.

    Raises:
        BundleError: if it is none.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._session = session(model, "PhotoEncoder")
        reads = [(one.name, one.shape[1:]) for one in self._session.get_inputs()]
        gives = self._session.get_outputs()[0].shape
        if reads != [("photos", [HEIGHT, WIDTH, 3])] or len(gives) != 2:
            raise BundleError(
                f"{MODEL_FILE} reads {reads} and gives {gives}; this version shows it photos "
                f"{[HEIGHT, WIDTH, 3]} and takes one vector of each. Train again"
            )
        self.dim: int = gives[1]
        digest = hashlib.blake2b(model, digest_size=8).hexdigest()
        self.model_id = f"photo-1-{self.dim}-{digest}"

    def photos(self, photos: Sequence[Image.Image]) -> NDArray[np.float32]:
        """RGB photos of any size → [photos, dim] float32 of unit length."""
        out = np.zeros((len(photos), self.dim), np.float32)
        for begin in range(0, len(photos), _AT_ONCE):
            seen = np.stack([shrunk(photo) for photo in photos[begin : begin + _AT_ONCE]])
            out[begin : begin + _AT_ONCE] = self._session.run(None, {"photos": seen})[0]
        return out

    def save(self, folder: Path) -> None:
        """Write photo.onnx."""
        (folder / MODEL_FILE).write_bytes(self._model)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if the file is missing or is none of ours.
        """
        try:
            return cls((folder / MODEL_FILE).read_bytes())
        except OSError as error:
            raise BundleError(f"PhotoEncoder.load: {folder.name}: {error}") from error


class Photos:
    """A Modality: the photos of listings, as a model sees them.

    Args:
        model: reads photos.
        fetch: a listing's photo, as a file's bytes or an array; None where it has none. It may
            raise InputError of one that is not to be used.
        refused: told of each photo that is none, or is too large; its listing goes without.
    """

    name = "photo"

    def __init__(
        self,
        model: PhotoModel,
        fetch: Callable[[Listing], bytes | NDArray[np.uint8] | None],
        refused: Callable[[Listing, InputError], None] = lambda *_: None,
    ) -> None:
        self.dim, self.model_id = model.dim, model.model_id
        self._model, self._fetch, self._refused = model, fetch, refused

    def listings(
        self, listings: Sequence[Listing]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """[listings, dim] float32 of unit length, and [listings] bool, whether there is one."""
        vectors = np.zeros((len(listings), self.dim), np.float32)
        known = np.zeros(len(listings), np.bool_)
        for begin in range(0, len(listings), _AT_ONCE):
            some = range(begin, min(begin + _AT_ONCE, len(listings)))
            photos = {i: photo for i in some if (photo := self._photo(listings[i])) is not None}
            if photos:
                rows = np.array([*photos])
                vectors[rows], known[rows] = self._model.photos([*photos.values()]), True
        return vectors, known

    def text(self, text: str) -> None:  # noqa: ARG002 - the protocol's
        """None: what is asked for has no photo."""
        return

    def _photo(self, listing: Listing) -> Image.Image | None:
        try:
            photo = self._fetch(listing)
            return None if photo is None else decoded(photo)
        except InputError as error:
            self._refused(listing, error)
            return None
