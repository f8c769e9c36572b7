"""Photos of listings: files of a folder, or the simulator's drawings; and how many were none."""

import logging
import stat
import threading
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from heirloom.apps.settings import DRAWN, Settings
from heirloom.core.errors import InputError
from heirloom.core.listing import Listing
from heirloom.encoders.photo import MAX_BYTES, decoded
from heirloom.simulator.picture import draw

logger = logging.getLogger(__name__)

DRAWN_SIZE = (72, 96)
"""Width and height of a drawing that an encoder sees."""
_TOLD = 20
"""Photos that are refused and named in the log; the others are counted alone."""


class PhotoStore:
    """Where a system's photos lie.

    A listing names its photo by `image`: a path below the folder. A URL is shown on the page and
    never downloaded, so to an encoder such a listing has no photo.

    Args:
        folder: of the files; None: every listing has the picture that the simulator draws of it.

    Attributes:
        refused: how many photos that an encoder asked for were none, were too large, or could not
            be read. Their listings go without.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.refused = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one that a system's settings name."""
        images = settings.system.images
        if images == DRAWN:
            return cls(None)
        return cls(Path(images) if images else settings.system.folder / "images")

    def photo(self, listing: Listing) -> bytes | NDArray[np.uint8] | None:
        """The bytes of a listing's photo, or what is drawn of it; None where it names none.

        Raises:
            InputError: it names a file that is not there, lies elsewhere, or is too large.
        """
        if self._folder is None:
            return draw(listing, *DRAWN_SIZE)
        if not listing.image or "://" in listing.image:
            return None
        return _bytes(self._folder, listing.image)

    def refuse(self, listing: Listing, error: InputError) -> None:
        """Count a photo that cannot be used; the first of them are told in the log."""
        with self._lock:
            self.refused += 1
            told = self.refused
        if told <= _TOLD:
            logger.warning("listing %r goes without its photo: %s", listing.listing_id, error)
        if told == _TOLD:
            logger.warning("further photos that cannot be used are counted and not told")

    def picture(self, listing: Listing, width: int, height: int) -> NDArray[np.uint8]:
        """[height, width, 3] uint8 for the page: the photo's middle, else what is drawn."""
        if self._folder is not None:
            try:
                photo = self.photo(listing)
                if photo is not None:
                    whole = decoded(photo)
                    fitted = ImageOps.fit(whole, (width, height), Image.Resampling.BILINEAR)
                    return np.asarray(fitted, np.uint8)
            except InputError as error:
                logger.info("listing %r is shown drawn: %s", listing.listing_id, error)
        return draw(listing, width, height)


def _bytes(folder: Path, name: str) -> bytes:
    """A file below a folder. Names come from outside: none may lead elsewhere, or never end."""
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"photo {name!r} lies outside the folder of photos; name one inside")
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"photo {name!r} is no plain file")
        if about.st_size > MAX_BYTES:
            raise InputError(f"photo {name!r}: {about.st_size:,} bytes; at most {MAX_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"photo {name!r} cannot be read from {folder}: {error}; put the file there before the "
            "event that names it"
        ) from error
