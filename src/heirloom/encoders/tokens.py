"""Tokens: what is written of a listing as numbers of hash buckets, part by part. No training.

The parts stand apart (title, brand, size, …) so that a model can weigh each, and learn to do
without any of them.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heirloom.core.listing import Listing
from heirloom.core.words import words

PARTS = (
    "title", "tags", "description", "brand", "category", "size", "colour", "condition", "material",
    "seller",
)  # fmt: skip
TEXT_PART = PARTS.index("title")
"""A query's words are read as if they were a title."""
NUMBERS = ("price", "price_rank", "photos")
MOST_TOKENS = 160
"""Of one listing; the parts come in the order of PARTS, each cut at its own length."""
_MOST = {"title": 72, "tags": 16, "description": 32}
_MAX_TITLE, _MAX_TAGS, _MAX_DESCRIPTION = 200, 30, 400
_DECILES = 9


@dataclass(frozen=True, slots=True)
class Tokens:
    """What is written of listings.

    Attributes:
        starts: [listings + 1] int64, where each listing's tokens begin.
        buckets: [tokens] int64, 0 … buckets - 1.
        parts: [tokens] int64, index into PARTS.
        numbers: [listings, NUMBERS] float32; 0 where it is not known.
    """

    starts: NDArray[np.int64]
    buckets: NDArray[np.int64]
    parts: NDArray[np.int64]
    numbers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1


class PriceRanks:
    """Where a price stands among those of its category: 0.05 … 0.95, from deciles learned.

    Args:
        deciles: nine prices, rising, in minor units, by category path; "" for all there is.

    >>> ranks = PriceRanks({"": tuple(range(10, 100, 10)), "shoes": tuple(range(100, 1000, 100))})
    >>> ranks.of("shoes/boots", 150), ranks.of("hats", 150), ranks.of("hats", 0)
    (0.15, 0.95, 0.5)
    """

    def __init__(self, deciles: Mapping[str, Sequence[int]]) -> None:
        self.deciles = {path: tuple(prices) for path, prices in sorted(deciles.items())}

    @classmethod
    def learned(cls, listings: Sequence[Listing], least: int = 30) -> "PriceRanks":
        """From listings; a category with fewer than `least` prices leaves it to its parent."""
        prices: dict[str, list[int]] = {"": []}
        for listing in listings:
            if listing.price_minor > 0:
                for path in _paths(listing.category):
                    prices.setdefault(path, []).append(listing.price_minor)
        deciles = {}
        for path, known in prices.items():
            if len(known) >= least or (not path and known):
                cuts = np.quantile(known, np.arange(1, _DECILES + 1) / (_DECILES + 1))
                deciles[path] = tuple(int(price) for price in cuts)
        return cls(deciles)

    def of(self, category: str, price_minor: float) -> float:
        """The rank; 0.5 where nothing is known."""
        if not price_minor > 0:
            return 0.5
        for path in reversed(_paths(category)):
            if path in self.deciles:
                return (int(np.searchsorted(self.deciles[path], price_minor)) + 0.5) / 10
        return 0.5


def tokens_of(listings: Sequence[Listing], buckets: int, prices: PriceRanks) -> Tokens:
    """Listings as tokens and numbers; whatever is written, each gets a fair share of both."""
    starts = np.zeros(len(listings) + 1, np.int64)
    found: list[int] = []
    parts: list[int] = []
    numbers = np.zeros((len(listings), len(NUMBERS)), np.float32)
    for i, listing in enumerate(listings):
        pairs = [
            (part, bucket(token, buckets)) for part, token in written(listing)
        ][:MOST_TOKENS]  # fmt: skip
        parts.extend(part for part, _ in pairs)
        found.extend(number for _, number in pairs)
        starts[i + 1] = len(found)
        numbers[i] = _numbers(listing, prices)
    return Tokens(starts, np.array(found, np.int64), np.array(parts, np.int64), numbers)


def text_tokens(text: str, buckets: int) -> NDArray[np.int64]:
    """[tokens] int64, buckets of a query's words and their trigrams; none for no words."""
    found = _words_and_grams(text[:_MAX_TITLE], _MOST["title"])
    return np.array([bucket(token, buckets) for token in found], np.int64)


def written(listing: Listing) -> list[tuple[int, str]]:
    """(part, token) of a listing, in the order of PARTS.

    >>> written(Listing(listing_id="1", seller="", title="Dress", brand="Cos"))[:3]
    [(0, 'w:dress'), (0, 'g:<dr'), (0, 'g:dre')]
    """
    tags = " ".join(listing.hashtags[:_MAX_TAGS])[:_MAX_DESCRIPTION]
    tokens: dict[str, list[str]] = {
        "title": _words_and_grams(listing.title[:_MAX_TITLE], _MOST["title"]),
        "tags": [f"w:{word}" for word in words(tags)],
        "description": [f"w:{word}" for word in words(listing.description[:_MAX_DESCRIPTION])],
        # A brand, a category and the like are words as well: a query names them by those.
        "brand": _value("brand", listing.brand),
        "category": [f"category={path}" for path in _paths(listing.category.casefold())[1:]],
        "seller": [f"seller={listing.seller}"] if listing.seller else [],
    }
    tokens["category"] += [f"w:{word}" for word in words(listing.category)]
    for name in ("size", "colour", "condition", "material"):
        tokens[name] = _value(name, getattr(listing, name))
    return [
        (part, token)
        for part, name in enumerate(PARTS)
        for token in tokens[name][: _MOST.get(name, 12)]
    ]


@lru_cache(maxsize=262_144)
def bucket(token: str, buckets: int) -> int:
    """The bucket of a token, the same in every process."""
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % buckets


def _value(name: str, value: str) -> list[str]:
    if not value:
        return []
    return [f"{name}={value.casefold()}", *(f"w:{word}" for word in words(value))]


def _words_and_grams(text: str, most: int) -> list[str]:
    """All words first, as far as they go, then their trigrams: a misspelt word stays near."""
    found = words(text)
    tokens = [f"w:{word}" for word in found]
    for word in found:
        padded = f"<{word}>"
        tokens.extend(f"g:{padded[i : i + 3]}" for i in range(len(padded) - 2))
    return tokens[:most]


def _paths(category: str) -> list[str]:
    """The root, then each longer beginning: '', 'women', 'women/dresses'."""
    steps = [step for step in category.split("/") if step]
    return ["", *("/".join(steps[:i]) for i in range(1, len(steps) + 1))]


def _numbers(listing: Listing, prices: PriceRanks) -> tuple[float, float, float]:
    price = listing.price_minor
    if not (isinstance(price, int | float) and math.isfinite(price) and price > 0):
        return 0.0, 0.0, min(max(listing.photos, 0), 10) / 10
    log_price = min(math.log(price) - math.log(3_000), 10.0) / 3
    rank = 2 * prices.of(listing.category, price) - 1
    return log_price, rank, min(max(listing.photos, 0), 10) / 10
