"""Projection: unit vectors in the plane, and how many neighbourhoods survive it."""

import importlib
import importlib.util
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError

Method = Literal["auto", "pca", "tsne"]
_ROWS = 1_024
"""Rows of the distance matrix that are held at once."""


def project(
    vectors: NDArray[np.float32], method: Method = "auto", seed: int = 0
) -> tuple[NDArray[np.float32], str]:
    """Positions [vectors, 2] float32, and the name of the method that made them.

    t-SNE (van der Maaten and Hinton, JMLR 2008) begins with the principal components and is
    scikit-learn's; the same vectors give the same positions. `auto` takes it where it is
    installed and there are enough rows for it, and PCA else.

    Raises:
        ConfigError: `tsne` without scikit-learn.
    """
    installed = importlib.util.find_spec("sklearn") is not None
    if method == "tsne" and not installed:
        raise ConfigError(
            "map", ["t-SNE needs scikit-learn: pip install 'heirloom[map]', or take --method pca"]
        )
    start = principal(vectors)
    if method == "pca" or not installed or len(vectors) < 10:
        return start, "PCA"
    manifold: Any = importlib.import_module("sklearn.manifold")
    threads: Any = importlib.import_module("threadpoolctl")
    begin = start * np.float32(1e-4 / max(float(start[:, 0].std()), 1e-12))
    tsne = manifold.TSNE(
        metric="euclidean",  # of unit vectors: the order of cosines
        init=begin,
        learning_rate="auto",
        perplexity=min(30.0, (len(vectors) - 1) / 3),
        random_state=seed,
        n_jobs=1,
    )
    # Several threads add up the gradient in an order of their own, and no two maps are alike.
    with threads.threadpool_limits(limits=1):
        positions: NDArray[np.float32] = tsne.fit_transform(vectors).astype(np.float32)
    return positions, "t-SNE"


def principal(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[vectors, 2] float32, two principal components, each towards its largest weight.

    >>> line = np.array([[0.0, 0.0, 5.0], [0.0, 1.0, 5.0], [0.0, 2.0, 5.0]], np.float32)
    >>> principal(line)[:, 0].tolist()
    [-1.0, 0.0, 1.0]
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    strongest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[strongest, np.arange(axes.shape[1])])
    positions = np.zeros((len(vectors), 2), np.float32)
    positions[:, : axes.shape[1]] = centred @ axes
    return positions


def nearest(vectors: NDArray[np.float32], k: int) -> NDArray[np.int32]:
    """[vectors, k] int32: the rows nearest to each, without itself, nearest first; ties by row.

    >>> nearest(np.array([[0.0], [1.0], [3.0]], np.float32), 2).tolist()
    [[1, 2], [0, 2], [1, 0]]
    """
    parts = [
        np.argsort(distances, axis=1, kind="stable")[:, :k]
        for _, distances in _squared_distances(vectors)
    ]
    return np.concatenate(parts).astype(np.int32)


def trustworthiness(
    vectors: NDArray[np.float32], positions: NDArray[np.float32], k: int = 10
) -> float:
    """0 … 1: 1 where each point's k neighbours in the plane are among its k by vector.

    T(k) = 1 − 2 / (n k (2n − 3k − 1)) Σ_i Σ_{j ∈ U_k(i)} (r(i, j) − k), where U_k(i) are those
    near i in the plane alone and r(i, j) is j's rank by vector: Venna and Kaski, "Neighborhood
    preservation in nonlinear projection methods", ICANN 2001, equation 1. NaN where 2n <= 3k + 1.
    """
    n = len(vectors)
    if 2 * n <= 3 * k + 1:
        return float("nan")
    shown = nearest(positions, k)
    excess = 0
    for first, distances in _squared_distances(vectors):
        order = np.argsort(distances, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, n + 1)[None], axis=1)
        of_shown = np.take_along_axis(ranks, shown[first : first + len(order)], axis=1)
        excess += int(np.maximum(of_shown - k, 0).sum())
    return 1.0 - 2.0 * excess / (n * k * (2 * n - 3 * k - 1))


def _squared_distances(points: NDArray[np.float32]) -> Any:
    """(first row, [some points, points] float64) in turn; a row is infinitely far from itself."""
    wide = points.astype(np.float64)
    lengths = (wide**2).sum(axis=1)
    for first in range(0, len(wide), _ROWS):
        part = slice(first, first + _ROWS)
        distances = lengths[part, None] + lengths - 2.0 * (wide[part] @ wide.T)
        rows = np.arange(len(distances))
        distances[rows, first + rows] = np.inf
        yield first, distances
