"""Codebook: what an index learns from a sample of vectors, once, and never changes.

Centroids part the vectors into lists; what is left of a vector beside its list's centroid is kept
in 4 bits a dimension, by 16 levels of that dimension's own (residual coding: Jegou, Douze, Schmid,
"Product quantization for nearest neighbor search", TPAMI 2011, section 4, with one dimension to a
quantiser).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.vectors.lanes import given
from heirloom.retrieval.vectors.search_kernel import Learned
from heirloom.retrieval.vectors.write_kernel import Coarse, assign

Floats = NDArray[np.float32]

LEVELS = 16
MAX_DIM = 256
"""Sums of 127 a dimension stay within int16."""
_POINTS = 50
"""Vectors a list that are looked at in training."""
_RESIDUALS = 65_536
_GAUSSIAN = (0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0691, 2.7326)
"""Best 16 levels of a standard normal, the upper half (Max, "Quantizing for minimum distortion",
IRE Transactions on Information Theory 1960, table I)."""


@dataclass(frozen=True, slots=True)
class Codebook:
    """What the codes mean.

    Attributes:
        model_id: which model makes the vectors; others are refused.
        centroids: [lists, dim] float32, those of one group side by side.
        groups: [groups, dim] float32, centroids of the centroids.
        starts: [groups + 1] int32: where each group's centroids begin.
        levels: [dim, 16] float32, ascending.
        covariance: [dim, dim] float32, of the residuals.
        spreads: [lists] float32, how far a list's residuals reach, 1 for the average.
    """

    model_id: str
    centroids: Floats
    groups: Floats
    starts: NDArray[np.int32]
    levels: Floats
    covariance: Floats
    spreads: Floats

    @property
    def dim(self) -> int:
        """How many dimensions a vector has."""
        return int(self.centroids.shape[1])

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self.centroids)

    @property
    def bounds(self) -> Floats:
        """[dim, 15] float32: halfway between levels; a code is how many lie below the value."""
        middles: Floats = (self.levels[:, 1:] + self.levels[:, :-1]) / np.float32(2)
        return middles

    @property
    def coarse(self) -> Coarse:
        """For the writer's kernel."""
        halves = [(c * c).sum(axis=1) / np.float32(2) for c in (self.centroids, self.groups)]
        return Coarse(
            given(self.centroids, np.float32), given(halves[0], np.float32),
            given(self.groups, np.float32), given(halves[1], np.float32),
            given(self.starts, np.int32),
        )  # fmt: skip

    @property
    def learned(self) -> Learned:
        """For the readers' kernel."""
        own = (self.centroids, self.levels, self.covariance, self.spreads)
        return Learned(*(given(array, np.float32) for array in own))

    @classmethod
    def untrained(cls, dim: int, model_id: str) -> "Codebook":
        """One list, and levels for unit vectors of no particular direction.

        It serves from the first vector on, by an exhaustive scan; well up to some 100,000.
        """
        checked_dim(dim)
        half = np.array(_GAUSSIAN, np.float32) / np.float32(np.sqrt(dim))
        levels = np.tile(np.concatenate([-half[::-1], half]), (dim, 1))
        zeros = np.zeros((1, dim), np.float32)
        covariance = np.eye(dim, dtype=np.float32) / np.float32(dim)
        starts, spreads = np.array([0, 1], np.int32), np.ones(1, np.float32)
        return cls(model_id, zeros, zeros.copy(), starts, levels, covariance, spreads)

    @classmethod
    def trained(
        cls, vectors: Floats, model_id: str, *, lists: int | None = None, seed: int = 0
    ) -> "Codebook":
        """Learn from the vectors that are to be indexed, or a fair sample of them.

        Args:
            vectors: [slots, dim] float32.
            model_id: which model made them.
            lists: how many; the power of two nearest to the root of n if not said.
            seed: the same vectors and seed give the same codebook.

        Raises:
            ShapeError: not [n, dim] with an even dim of 2 to 256.
            InputError: no vectors, or NaN or infinity in them.
        """
        if vectors.ndim != 2 or not len(vectors):
            raise ShapeError(
                f"Codebook.trained: vectors have shape {list(vectors.shape)}; wanted [n, dim], "
                "n at least 1"
            )
        checked_dim(vectors.shape[1])
        if not np.isfinite(vectors).all():
            raise InputError("Codebook.trained: NaN or infinity among the vectors; leave them out")
        rng = np.random.default_rng(seed)
        lists = min(lists or suggested_lists(len(vectors)), len(vectors))
        sample = _sampled(vectors, _POINTS * lists, rng)
        centroids = _means(sample, lists, rng)
        groups = _means(centroids, max(1, round(lists**0.5)), rng)
        group = _nearest(centroids, groups)
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(len(groups) + 1)).astype(np.int32)
        none = np.zeros((1, 1), np.float32)
        draft = cls(model_id, centroids[order], groups, starts, none, none, none)
        sample = _sampled(vectors, _RESIDUALS, rng)
        assigned = np.zeros(len(sample), np.int32)
        assign(draft.coarse, given(sample, np.float32), assigned)
        residuals = sample - draft.centroids[assigned]
        levels = np.stack([_levels(np.sort(column)) for column in residuals.T])
        covariance = (residuals.T @ residuals / np.float32(len(residuals))).astype(np.float32)
        spreads = _spreads(residuals, assigned, lists)
        return cls(model_id, draft.centroids, groups, starts, levels, covariance, spreads)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name, for a snapshot."""
        names = ("centroids", "groups", "starts", "levels", "covariance", "spreads")
        return {f"codebook.{name}": getattr(self, name) for name in names}

    @classmethod
    def of(cls, model_id: str, arrays: Mapping[str, NDArray[Any]]) -> "Codebook":
        """From what `arrays` gave.

        Raises:
            InputError: not all of it is there.
        """
        prefix = "codebook."
        own = {k.removeprefix(prefix): np.array(v) for k, v in arrays.items() if prefix in k}
        try:
            return cls(model_id, **own)
        except TypeError as error:
            raise InputError(f"Codebook.of: {error}; learn it anew from the vectors") from None


def checked_dim(dim: int) -> int:
    """The dimension, if an index can have it.

    Raises:
        ShapeError: odd, or out of range.
    """
    if dim % 2 or not 2 <= dim <= MAX_DIM:
        raise ShapeError(
            f"index: dim={dim}; wanted an even number from 2 to {MAX_DIM}: add a column of zeros, "
            "or project the vectors"
        )
    return dim


def suggested_lists(size: int) -> int:
    """The power of two nearest to the root of the number of vectors.

    >>> suggested_lists(1), suggested_lists(100_000), suggested_lists(1_000_000)
    (1, 256, 1024)
    """
    return int(2 ** round(np.log2(max(size, 1)) / 2))


def _sampled(vectors: Floats, size: int, rng: np.random.Generator) -> Floats:
    """At most so many rows, in their order, contiguous."""
    if size >= len(vectors):
        return np.ascontiguousarray(vectors, np.float32)
    return np.asarray(vectors[np.sort(rng.choice(len(vectors), size, replace=False))], np.float32)


def _nearest(vectors: Floats, centroids: Floats, rows: int = 4_096) -> NDArray[np.int64]:
    """[n] the nearest centroid of each vector."""
    halves = (centroids**2).sum(axis=1) / 2
    parts = [vectors[i : i + rows] @ centroids.T - halves for i in range(0, len(vectors), rows)]
    return np.concatenate([part.argmax(axis=1) for part in parts])


def _means(vectors: Floats, number: int, rng: np.random.Generator, rounds: int = 10) -> Floats:
    """[number, dim] k-means by Lloyd's rounds; a centroid without vectors moves to a random one."""
    means = vectors[rng.choice(len(vectors), number, replace=False)]
    for _ in range(rounds):
        nearest = _nearest(vectors, means)
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=number)
        filled = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[filled]
        sums = np.add.reduceat(vectors[order], starts, axis=0)
        means = vectors[rng.integers(len(vectors), size=number)]
        means[filled] = sums / counts[filled, None].astype(np.float32)
    return np.ascontiguousarray(means, np.float32)


def _spreads(residuals: Floats, assigned: NDArray[np.int32], lists: int) -> Floats:
    """[lists] root mean square of each list's residuals beside that of all.

    Ten residuals of average length are added to each list's: few tell little.
    """
    squares = (residuals**2).sum(axis=1, dtype=np.float64)
    mean = max(float(squares.mean()), 1e-30)
    sums = np.bincount(assigned, squares, lists) + 10 * mean
    counts = np.bincount(assigned, minlength=lists) + 10
    return np.sqrt(sums / counts / mean).astype(np.float32)


def _levels(values: Floats, rounds: int = 20) -> Floats:
    """[16] ascending levels of least squared error for sorted values [n] (Lloyd, 1-d).

    Sums over a stretch are differences of running sums, so a round costs nothing.
    """
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    levels = np.quantile(values, (np.arange(LEVELS) + 0.5) / LEVELS)
    for _ in range(rounds):
        inner = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], inner, [len(values)]])
        counts = np.diff(edges)
        levels = np.where(counts, np.diff(running[edges]) / np.maximum(counts, 1), levels)
    return levels.astype(np.float32)
