"""Training of the photo network: listings → photos, decoded and shrunk → fit → a photo encoder."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.listing import Listing
from heirloom.encoders.photo import HEIGHT, WIDTH, PhotoEncoder, decoded, shrunk
from heirloom.encoders.training.graph import photo_graph
from heirloom.encoders.training.photo import PhotoEpoch, PhotoRecipe, fit_photos

ENOUGH = 4_000
"""Photos to learn from: some twenty seconds of CPU."""


def train_photos(
    listings: Sequence[Listing],
    fetch: Callable[[Listing], bytes | NDArray[np.uint8] | None],
    recipe: PhotoRecipe,
    *,
    most: int = ENOUGH,
    refused: Callable[[Listing, InputError], None] = lambda *_: None,
    progress: Callable[[PhotoEpoch], None] = lambda _: None,
) -> PhotoEncoder:
    """A photo encoder, fitted on listings' photos and what is written of them.

    Args:
        listings: in the order written; one that comes again replaces what it was before.
        fetch: a listing's photo, as a file's bytes or an array; None where it has none.
        recipe: how.
        most: photos at most, drawn evenly by the recipe's seed.
        refused: told of each photo that is none, or is too large.
        progress: told after each epoch.

    Raises:
        InputError: if hardly any listing has a photo.
    """
    latest = [*{listing.listing_id: listing for listing in listings}.values()]
    order = np.random.default_rng(recipe.seed).permutation(len(latest))
    used: list[Listing] = []
    seen: list[NDArray[np.uint8]] = []
    for row in order.tolist():
        if len(seen) == most:
            break
        try:
            photo = fetch(latest[row])
            if photo is not None:
                seen.append(shrunk(decoded(photo)))
                used.append(latest[row])
        except InputError as error:
            refused(latest[row], error)
    photos = np.stack(seen) if seen else np.zeros((0, HEIGHT, WIDTH, 3), np.uint8)
    return PhotoEncoder(photo_graph(fit_photos(photos, used, recipe, progress)))
