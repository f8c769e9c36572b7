"""Vectors as a marketplace's are: clusters within clusters, uneven, with noise of low rank.

50 groups hold 2,000 sub-groups by Zipf's law; to a sub-group's centre comes noise in 16 shared
directions and noise in all. Half of the queries are means of three listings (a person's taste), the
others lie near one. Filters let pass shares drawn at random, and one that goes with the vector:
whole groups. It is hard: the 100th neighbour's cosine is about .6.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.retrieval.vectors.where import Columns, Where

Floats = NDArray[np.float32]

DIM = 64
GROUPS, SUB_GROUPS = 50, 2_000
COLUMNS = Columns(codes=("category", "brand", "price_minor"), numbers=())
"""Prices are below 2^31 here: half the bytes to look at."""
BRANDS = 1_000
PRICES = 1_000_000


@dataclass(frozen=True, slots=True)
class Vectors:
    """Listings and queries: vectors [n, 64] and [queries, 64] of unit length, and columns [n]."""

    rows: Floats
    queries: Floats
    category: NDArray[np.int64]
    brand: NDArray[np.int64]
    price_minor: NDArray[np.int64]
    group_of: NDArray[np.int64]
    """[2,000] the group of each category."""

    def columns(
        self, part: slice | NDArray[np.int32] = slice(None)
    ) -> dict[str, NDArray[np.int64]]:
        """The columns of some listings."""
        named = {"category": self.category, "brand": self.brand, "price_minor": self.price_minor}
        return {name: column[part] for name, column in named.items()}

    def filters(self) -> dict[str, Where]:
        """By name; each but the first is two clauses, as shop filters are."""
        counts = np.bincount(self.group_of[self.category - 1], minlength=GROUPS)
        order = np.argsort(-counts)[2:]  # not the largest ones: those of middling size
        total = np.cumsum(counts[order]) / len(self.category)
        groups = order[: int(np.searchsorted(total, 0.27)) + 1]
        categories = np.flatnonzero(np.isin(self.group_of, groups))
        named = {f"{share:.1%}": _random(share) for share in (0.5, 0.1, 0.01, 0.001)}
        return {**named, "category": Where(among={"category": categories + 1})}


def _random(share: float) -> Where:
    """Brands and prices, both independent of the vector, that let such a share pass together."""
    side = share**0.5
    return Where(
        among={"brand": np.arange(1, round(BRANDS * side) + 1)},
        between={"price_minor": (0, round(PRICES * share / (round(BRANDS * side) / BRANDS)) - 1)},
    )


def unit(vectors: Floats) -> Floats:
    """Rows of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / lengths, np.float32)


def vectors(size: int, queries: int, seed: int = 0) -> Vectors:
    """The same for the same arguments."""
    rng = np.random.default_rng(seed)
    tops = unit(rng.standard_normal((GROUPS, DIM), np.float32))
    group_of = rng.integers(GROUPS, size=SUB_GROUPS)
    inner = unit(rng.standard_normal((SUB_GROUPS, DIM), np.float32))
    centres = unit(tops[group_of] + np.float32(0.7) * inner)
    weights = 1.0 / np.arange(1, SUB_GROUPS + 1) ** 1.5
    directions = rng.standard_normal((16, DIM), np.float32) / np.float32(DIM**0.5)
    category = rng.choice(SUB_GROUPS, size, p=weights / weights.sum())
    rows = centres[category]
    rows += np.float32(0.9 / 4) * rng.standard_normal((size, 16), np.float32) @ directions
    rows += np.float32(0.6 / 8) * rng.standard_normal((size, DIM), np.float32)
    rows = unit(rows)
    near = rows[rng.choice(size, queries // 2)] + np.float32(0.3 / 8) * rng.standard_normal(
        (queries // 2, DIM), np.float32
    )
    mixed = rows[rng.choice(size, (queries - queries // 2, 3))].mean(axis=1)
    return Vectors(
        rows=rows,
        queries=unit(np.concatenate([near, mixed]).astype(np.float32)),
        category=category + 1,
        brand=rng.integers(1, BRANDS + 1, size),
        price_minor=rng.integers(0, PRICES, size),
        group_of=group_of,
    )
