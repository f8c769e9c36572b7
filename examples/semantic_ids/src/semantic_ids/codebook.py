"""Codebook: residual k-means, which names a vector by one code a level, the coarsest first."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, ShapeError

_ROUNDS = 10
_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class Codebook:
    """Centroids of each level, fitted to what the levels before it left over.

    Source: residual quantisation as in Rajput et al., "Recommender Systems with Generative
    Retrieval" (TIGER, NeurIPS 2023, arXiv 2305.05065), section 3.1, with k-means in place of the
    RQ-VAE: the same kind of code, and nothing to train.

    Attributes:
        centroids: [levels, codes, dim] float32.
    """

    centroids: NDArray[np.float32]

    @classmethod
    def fit(
        cls, vectors: NDArray[np.float32], *, levels: int = 3, codes: int = 64, seed: int = 0
    ) -> Self:
        """A codebook of these vectors [rows, dim]; same vectors and seed, same codebook.

        Raises:
            ConfigError: if there are no levels or codes, or the codes of all levels together
                would not fit in 62 bits.
            ShapeError: if no vectors came.
        """
        if levels < 1 or codes < 2 or codes**levels >= 1 << 62:
            raise ConfigError("codebook", [f"{levels} levels of {codes} codes; wanted 1 of 2 up"])
        if vectors.ndim != 2 or not len(vectors):
            raise ShapeError(
                f"Codebook.fit: vectors {vectors.shape}; wanted [rows, dim], rows >= 1"
            )
        rng = np.random.default_rng(seed)
        rest = vectors.astype(np.float32)
        made = np.empty((levels, codes, vectors.shape[1]), np.float32)
        for level in range(levels):
            made[level] = _centroids(rest, codes, rng)
            rest = rest - made[level][_nearest(rest, made[level])]
        return cls(made)

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """[rows, levels] int32, the nearest centroid of what is left at each level.

        >>> book = Codebook(np.array([[[0, 0], [4, 0]], [[0, 0], [0, 1]]], np.float32))
        >>> book.encode(np.array([[4, 1], [0, 0.9], [3, 0]], np.float32)).tolist()
        [[1, 1], [0, 1], [1, 0]]
        """
        codes = np.empty((len(vectors), len(self.centroids)), np.int32)
        rest = vectors
        for level, centroids in enumerate(self.centroids):
            codes[:, level] = _nearest(rest, centroids)
            rest = rest - centroids[codes[:, level]]
        return codes

    def decode(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """[rows, dim] float32: what codes [rows, levels] stand for, the sum of their centroids."""
        levels = np.arange(codes.shape[1])
        vectors: NDArray[np.float32] = self.centroids[levels, codes].sum(axis=1)
        return vectors


def prefixes(codes: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """[rows, levels] int64: at level i a number for the first i + 1 codes, of `size` a level.

    >>> prefixes(np.array([[1, 2], [1, 0]], np.int32), 10).tolist()
    [[1, 12], [1, 10]]
    """
    out = codes.astype(np.int64)
    for level in range(1, codes.shape[1]):
        out[:, level] += out[:, level - 1] * size
    return out


def distinct(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """[rows, levels + 1] int32: ids of their own, by a last code that counts equal ones up from 0.

    As TIGER does, section 3.1. It says nothing of the listing: no representation should read it.

    >>> distinct(np.array([[7, 1], [7, 2], [7, 1]], np.int32)).tolist()
    [[7, 1, 0], [7, 2, 0], [7, 1, 1]]
    """
    _, group = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    first = np.searchsorted(ordered, ordered)
    ordinal = np.empty(len(codes), np.int32)
    ordinal[order] = np.arange(len(codes)) - first
    return np.column_stack([codes, ordinal])


def _nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.intp]:
    """[rows], by squared distance; of equals the first."""
    half = (centroids**2).sum(axis=1) / 2
    parts = [
        np.argmin(half - vectors[begin : begin + _AT_ONCE] @ centroids.T, axis=1)
        for begin in range(0, len(vectors), _AT_ONCE)
    ]
    return np.concatenate([np.zeros(0, np.intp), *parts])


def _centroids(
    vectors: NDArray[np.float32], codes: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """[codes, dim] by k-means from k-means++; fewer vectors than codes leave codes that repeat."""
    centroids = np.repeat(vectors[rng.integers(len(vectors))][None], codes, axis=0)
    gap = ((vectors - centroids[0]) ** 2).sum(axis=1, dtype=np.float64)
    for code in range(1, codes):
        if gap.sum() <= 0:
            break
        centroids[code] = vectors[rng.choice(len(vectors), p=gap / gap.sum())]
        gap = np.minimum(gap, ((vectors - centroids[code]) ** 2).sum(axis=1, dtype=np.float64))
    for _ in range(_ROUNDS):
        member = _nearest(vectors, centroids)
        order = np.argsort(member, kind="stable")
        there, first = np.unique(member[order], return_index=True)
        sums = np.add.reduceat(vectors[order], first, axis=0, dtype=np.float64)
        sizes = np.diff([*first, len(member)])
        centroids[there] = (sums / sizes[:, None]).astype(np.float32)
    return centroids
