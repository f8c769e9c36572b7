"""Hashed: a listing's attributes and words as a vector, without training and without state."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.listing import Listing
from heirloom.core.words import words

WEIGHTS = {
    "brand": 1.0,
    "category": 1.1,
    "colour": 0.5,
    "material": 0.4,
    "price": 0.4,
    "size": 0.3,
    "condition": 0.2,
    "title": 0.8,
    "named": 0.6,
    "hashtags": 0.3,
    "description": 0.15,
}
"""Length of each part of a listing's vector before it is brought to unit length. `named` is the
words of brand, category, colour and material, which a query's words are to meet."""

_WORD_SHARE = 0.6
"""Share of a word's squared length in the whole word; the rest is in its trigrams, so that a
misspelt word stays near."""
_MAX_HASHTAGS = 30
_MAX_DESCRIPTION = 400
_CACHED = 65_536
_Parts = list[tuple[str, float]]


class Hashed:
    """Each token has a fixed random direction; a listing is the weighted sum of its tokens'.

    A token's direction is ±1/sqrt(dim) by the bits of its seeded hash: the sparse vector over
    all strings there could be, put through a random sign projection (Achlioptas, "Database-
    friendly random projections", JCSS 2003, equation 1). Cosines are kept with a standard error
    of about 1/sqrt(dim).

    Each part (title, hashtags, …) has a length fixed by WEIGHTS whatever the number of its
    words, so a seller who stuffs brands into the hashtags or the description makes each of them
    count less.

    Args:
        dim: a multiple of 8, from 8 to 512.
        seed: another seed is another space.

    Raises:
        ConfigError: if `dim` cannot be served.
    """

    def __init__(self, dim: int = 64, seed: int = 0) -> None:
        if dim % 8 or not 8 <= dim <= 512:
            raise ConfigError("encoder Hashed", [f"dim is {dim}; wanted a multiple of 8, 8 … 512"])
        self.dim = dim
        self.model_id = f"hashed-1-{dim}-{seed}"
        self._key = seed.to_bytes(8, "little", signed=True)
        self._rows: dict[str, int] = {}
        self._table = np.zeros((1024, dim), np.float32)

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        """[listings, dim] float32 of unit length; each depends on its own listing alone."""
        if not listings:
            return np.zeros((0, self.dim), np.float32)
        self._forget()
        rows: list[int] = []
        weights: list[float] = []
        starts = np.zeros(len(listings), np.int64)
        for i, listing in enumerate(listings):
            starts[i] = len(rows)
            for token, weight in _parts(listing):
                rows.append(self._row(token))
                weights.append(weight)
        weighted = self._table[rows] * np.asarray(weights, np.float32)[:, None]
        return _unit(np.add.reduceat(weighted, starts, axis=0))

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of unit length, from a query's words; zeros if there is none."""
        self._forget()
        rows = [self._row("w:" + word) for word in words(text)[:64]]
        if not rows:
            return np.zeros(self.dim, np.float32)
        total: NDArray[np.float32] = self._table[rows].sum(axis=0)[None]
        vector: NDArray[np.float32] = _unit(total)[0]
        return vector

    def codes(self, vectors: NDArray[np.float32]) -> NDArray[np.int8]:
        """Vectors as int8, 127 for 1.0: what features use, so that dot products are exact.

        >>> Hashed(8).codes(np.array([[0.5, -1.0]], np.float32))
        array([[  64, -127]], dtype=int8)
        """
        codes: NDArray[np.int8] = np.clip(np.rint(vectors * 127), -127, 127).astype(np.int8)
        return codes

    def _forget(self) -> None:
        """Keep the cache of directions bounded; they are computed again when wanted."""
        if len(self._rows) > _CACHED:
            self._rows.clear()

    def _row(self, token: str) -> int:
        """The row of a token's unit direction in the table; a new one is computed."""
        row = self._rows.get(token)
        if row is None:
            row = len(self._rows)
            if row == len(self._table):
                grown = np.zeros((row * 2, self.dim), np.float32)
                grown[:row] = self._table
                self._table = grown
            self._table[row] = self._word(token[2:]) if token[:2] == "w:" else self._signs(token)
            self._rows[token] = row
        return row

    def _word(self, word: str) -> NDArray[np.float32]:
        whole = self._signs("w:" + word)
        padded = f"<{word}>"
        grams = [self._signs("g:" + padded[i : i + 3]) for i in range(len(padded) - 2)]
        parts = np.sum(grams, axis=0) / math.sqrt(len(grams))
        both = math.sqrt(_WORD_SHARE) * whole + math.sqrt(1 - _WORD_SHARE) * parts
        vector: NDArray[np.float32] = _unit(both[None])[0]
        return vector

    def _signs(self, token: str) -> NDArray[np.float32]:
        digest = hashlib.blake2b(
            token.encode("utf-8", "surrogatepass"), digest_size=self.dim // 8, key=self._key
        ).digest()
        bits = np.unpackbits(np.frombuffer(digest, np.uint8)).astype(np.float32)
        signs: NDArray[np.float32] = (bits * 2 - 1) / np.float32(math.sqrt(self.dim))
        return signs


def _parts(listing: Listing) -> _Parts:
    """(token, weight) of a listing. `w:` tokens are words, the others attribute values."""
    parts: _Parts = []
    for name in ("brand", "colour", "material", "size", "condition"):
        value = getattr(listing, name)
        if value:
            parts.append((f"{name}={value.casefold()}", WEIGHTS[name]))
    steps = [step for step in listing.category.casefold().split("/") if step]
    if steps:
        weight = WEIGHTS["category"] / math.sqrt(len(steps))
        parts.extend((f"category={'/'.join(steps[:i])}", weight) for i in range(1, len(steps) + 1))
    parts.extend(_price(listing))
    named = " ".join((listing.brand, listing.category, listing.colour, listing.material))
    for name, text in (
        ("named", named),
        ("title", listing.title),
        ("hashtags", " ".join(listing.hashtags[:_MAX_HASHTAGS])),
        ("description", listing.description[:_MAX_DESCRIPTION]),
    ):
        found = words(text) if text else []
        if found:
            weight = WEIGHTS[name] / math.sqrt(len(found))
            parts.extend(("w:" + word, weight) for word in found)
    return parts or [("empty", 1.0)]


def _price(listing: Listing) -> _Parts:
    """The price between its two nearest half-octaves, so that near prices are near."""
    if listing.price_minor <= 0:
        return []
    band = 2 * math.log2(listing.price_minor)
    low = math.floor(band)
    above = band - low
    length = WEIGHTS["price"] / math.hypot(above, 1 - above)
    return [
        (f"price={listing.currency}{low}", length * (1 - above)),
        (f"price={listing.currency}{low + 1}", length * above),
    ]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, dim] brought to unit length; a zero row stays zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    unit: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
    return unit
