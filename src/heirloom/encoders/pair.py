"""Encoders: the one of listings and the one of people that was trained with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError
from heirloom.core.listing import Listing
from heirloom.encoders.encoder import Encoder
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.history import Histories
from heirloom.encoders.listing import ListingEncoder
from heirloom.encoders.modalities import Modality
from heirloom.encoders.person import PersonEncoder

GOLDEN_FILE = "golden_vectors.npy"
GOLDEN_ATOL = 1e-4
"""Sums of float32 may differ between kinds of machine; what is near what may not."""
GOLDEN = (
    Listing(
        listing_id="", seller="golden", title="Midi dress in silk", brand="Cos",
        category="women/dresses", size="38", colour="green", condition="very good",
        price_minor=4_500, photos=3,
    ),
    Listing(listing_id="", seller="golden", title="Boots"),
    Listing(
        listing_id="", seller="golden", title="Ryggsäck", description="Aldrig använd. ÅÄÖ!",
        hashtags=("vintage", "90s"), category="men/bags/backpacks", material="leather",
        price_minor=129_900,
    ),
)  # fmt: skip
"""Made-up listings whose vectors a loader must reproduce.

They have no ids: no photo of them is looked for, and models of text read their titles alone.
"""


@dataclass(frozen=True, slots=True)
class Encoders:
    """What makes vectors of listings, of queries' words and, if trained, of people.

    Attributes:
        listings: an Encoder.
        people: answers in the vectors of `listings`; None: people have no vectors of their own.

    Raises:
        ConfigError: if the two were not trained together.
    """

    listings: Encoder
    people: PersonEncoder | None = None

    def __post_init__(self) -> None:
        if self.people is not None:
            self.people.meets(self.listings.model_id)

    @property
    def model_id(self) -> str:
        """What tells this pair's vectors of listings and people from all others'."""
        people = self.people.model_id if self.people else ""
        return f"{self.listings.model_id}+{people}" if people else self.listings.model_id

    def save(self, folder: Path) -> None:
        """Write the graphs, what they are, and golden vectors.

        Raises:
            BundleError: if the listing encoder is none that was trained here.
        """
        if not isinstance(self.listings, ListingEncoder):
            raise BundleError(
                f"encoders: {self.listings.model_id!r} is not a ListingEncoder; only trained "
                "encoders are kept in a bundle"
            )
        self.listings.save(folder)
        if self.people is not None:
            self.people.save(folder)
        np.save(folder / GOLDEN_FILE, self._golden(), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, modalities: Sequence[Modality] = ()) -> Self:
        """Read what `save` wrote, if the golden vectors come out.

        Args:
            folder: as `save` wrote it.
            modalities: the models of photos or text that the listing encoder was trained with; they
                are kept where they belong, and not in the folder.

        Raises:
            BundleError: saying what is wrong; if a modality is missing or another, which.
        """
        people = PersonEncoder.load(folder) if (folder / "person.onnx").exists() else None
        encoders = cls(ListingEncoder.load(folder, modalities), people)
        try:
            wanted = np.load(folder / GOLDEN_FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BundleError(f"{GOLDEN_FILE} cannot be read: {error}") from error
        came = encoders._golden()
        if came.shape != wanted.shape or not np.allclose(came, wanted, rtol=0, atol=GOLDEN_ATOL):
            raise BundleError(
                f"golden vectors of {encoders.model_id}: wanted {list(wanted.shape)}, came "
                f"{list(came.shape)} or other numbers; the library that reads the graphs is not "
                "the one they were written for"
            )
        return encoders

    def _golden(self) -> NDArray[np.float32]:
        """[GOLDEN + vectors of a person who looked at them, dim] float32."""
        vectors = self.listings.listings(GOLDEN)
        if self.people is None:
            return vectors
        items = np.arange(1, len(GOLDEN) + 1)
        person = self.people.encode(Histories.of_items([items]), vectors)[0]
        return np.concatenate([vectors, person])


HASHED = Encoders(Hashed())
"""What a system begins with: nothing trained, and of people nothing but what they looked at."""
