"""ListingEncoder: a trained tower places a listing by what is written of it. Serves by ONNX."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError
from heirloom.core.listing import Listing
from heirloom.encoders.modalities import Dense, Modality, Read, agreed, dense, dense_text
from heirloom.encoders.person import session
from heirloom.encoders.tokens import (
    NUMBERS,
    PARTS,
    TEXT_PART,
    PriceRanks,
    Tokens,
    text_tokens,
    tokens_of,
)

MODEL_FILE = "listing.onnx"
ABOUT_FILE = "listing.json"
_AT_ONCE = 64


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must be known of a listing encoder besides its graph."""

    dim: int
    buckets: int
    """Hash buckets of tokens."""
    parts: tuple[str, ...] = PARTS
    numbers: tuple[str, ...] = NUMBERS
    deciles: dict[str, tuple[int, ...]]
    """Prices by category path, for ranks."""
    modalities: tuple[Read, ...] | msgspec.UnsetType = msgspec.UNSET
    """Other models whose vectors it reads, in order; unset where it reads what is written alone."""


class ListingEncoder:
    """An Encoder: each listing's vector depends on its own content alone.

    Args:
        model: an ONNX graph as `training.graph.listing_graph` makes it.
        about: what it is.
        modalities: the models of photos or text that it was trained with, if any. A listing of
            which one of them has no vector gets a fair one from the rest.

    Raises:
        BundleError: if the graph cannot be read, or reads other parts than this version writes,
            or `modalities` are others than it was trained with.
    """

    def __init__(self, model: bytes, about: About, modalities: Sequence[Modality] = ()) -> None:
        if (about.parts, about.numbers) != (PARTS, NUMBERS):
            raise BundleError(
                f"{ABOUT_FILE}: trained on parts {about.parts} and numbers {about.numbers}; this "
                f"version writes {PARTS} and {NUMBERS}. Train again"
            )
        self.about = about
        wanted = about.modalities
        self._modalities = agreed(() if wanted is msgspec.UNSET else wanted, modalities)
        self.dim = about.dim
        digest = hashlib.blake2b(model + msgspec.json.encode(about), digest_size=8).hexdigest()
        self.model_id = f"listing-1-{about.dim}-{digest}"
        self._model = model
        self._prices = PriceRanks(about.deciles)
        self._session = session(model, "ListingEncoder")
        shape = self._session.get_outputs()[0].shape[1:]
        if shape != [about.dim]:
            raise BundleError(f"{MODEL_FILE} gives {shape}; {ABOUT_FILE} says dim {about.dim}")

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        """[listings, dim] float32 of unit length; each depends on its own listing alone."""
        tokens = tokens_of(listings, self.about.buckets, self._prices)
        return self._encode(tokens, [dense(one, listings) for one in self._modalities])

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of unit length, comparable with listings; zeros if no word is in it."""
        found = text_tokens(text, self.about.buckets)
        if not len(found):
            return np.zeros(self.dim, np.float32)
        vector: NDArray[np.float32] = self._encode(
            Tokens(
                np.array([0, len(found)]),
                found,
                np.full(len(found), TEXT_PART, np.int64),
                np.zeros((1, len(NUMBERS)), np.float32),
            ),
            [dense_text(one, text) for one in self._modalities],
        )[0]
        return vector

    def _encode(self, tokens: Tokens, beside: Sequence[Dense]) -> NDArray[np.float32]:
        out = np.zeros((len(tokens), self.dim), np.float32)
        lengths = np.diff(tokens.starts)
        order = np.argsort(lengths, kind="stable")
        for begin in range(0, len(order), _AT_ONCE):
            some = order[begin : begin + _AT_ONCE]
            width = max(int(lengths[some].max()), 1)
            steps = np.arange(width)
            there = steps < lengths[some, None]
            places = np.where(there, tokens.starts[some, None] + steps, 0)
            buckets, weights = (
                np.zeros_like(places),
                np.zeros((len(some), len(PARTS), width), np.float32),
            )
            if there.any():
                buckets = np.where(there, tokens.buckets[places], 0)
                part = tokens.parts[places]
                rows, columns = np.nonzero(there)
                weights[rows, part[rows, columns], columns] = 1
                weights /= np.maximum(weights.sum(axis=2, keepdims=True), 1)
            read = {"tokens": buckets, "weights": weights, "numbers": tokens.numbers[some]}
            read |= {f"{one.read.name}_vectors": one.vectors[some] for one in beside}
            out[some] = self._session.run(None, read)[0]
        return out

    def save(self, folder: Path) -> None:
        """Write listing.onnx and listing.json."""
        (folder / MODEL_FILE).write_bytes(self._model)
        about = msgspec.json.format(msgspec.json.encode(self.about))
        (folder / ABOUT_FILE).write_bytes(about)

    @classmethod
    def load(cls, folder: Path, modalities: Sequence[Modality] = ()) -> Self:
        """Read what `save` wrote; the modalities are saved where they belong, and given here.

        Raises:
            BundleError: if a file is missing or is none of ours, or as the class.
        """
        try:
            about = msgspec.json.decode((folder / ABOUT_FILE).read_bytes(), type=About)
            model = (folder / MODEL_FILE).read_bytes()
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"ListingEncoder.load: {folder.name}: {error}") from error
        return cls(model, about, modalities)
