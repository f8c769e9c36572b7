"""Blends of models: scores made comparable, then summed or merged by rank."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError

Scores = NDArray[np.float32]


def log_share(scores: Scores, floor: float = 1e-6) -> Scores:
    """[people, items] float32, log of each item's share of its row; for scores of 0 or more.

    Args:
        scores: [people, items]; negative ones count as 0.
        floor: the least share, so that what one model does not know another may still lift.

    >>> np.exp(log_share(np.array([[3.0, 1.0, 0.0]], np.float32), 0.125)).round(3)
    array([[0.75 , 0.25 , 0.125]], dtype=float32)
    """
    positive = np.maximum(scores, 0)
    total = np.maximum(positive.sum(axis=1, keepdims=True), np.float32(1e-30))
    result: Scores = np.log(np.maximum(positive / total, np.float32(floor)))
    return result


def log_softmax(scores: Scores) -> Scores:
    """[people, items] float32, log of each row's softmax; for scores of any sign.

    >>> np.exp(log_softmax(np.zeros((1, 2), np.float32))).round(3)
    array([[0.5, 0.5]], dtype=float32)
    """
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def blended(parts: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """[people, items] float32, the weighted sum.

    Raises:
        ShapeError: if there is not one weight a part, or parts differ in shape.

    >>> blended([np.ones((1, 2), np.float32), np.eye(1, 2, dtype=np.float32)], [1, 2]).tolist()
    [[3.0, 1.0]]
    """
    if len(parts) != len(weights) or len({part.shape for part in parts}) != 1:
        raise ShapeError(
            f"blended: {len(parts)} parts of shapes {[part.shape for part in parts]}, "
            f"{len(weights)} weights; wanted one weight a part, and one shape"
        )
    total = np.zeros_like(parts[0], np.float32)
    for part, weight in zip(parts, weights, strict=True):
        total += np.float32(weight) * part
    return total


def reciprocal_ranks(parts: Sequence[Scores], depth: int, constant: float = 60.0) -> Scores:
    """[people, items] float32: sum over parts of 1 / (constant + rank), for the best `depth`.

    Cormack, Clarke, Büttcher, SIGIR 2009, as `retrieval.fusion`, for whole rows of scores. Ties
    go to the lower item.

    >>> a = np.array([[3.0, 2.0, 1.0]], np.float32)
    >>> reciprocal_ranks([a, -a], 2, 1.0).round(3)
    array([[0.5  , 0.667, 0.5  ]], dtype=float32)
    """
    total = np.zeros_like(parts[0], np.float32)
    rows = np.arange(len(total))[:, None]
    worth = 1.0 / (constant + 1.0 + np.arange(min(depth, total.shape[1])))
    for part in parts:
        order = np.argsort(-part, axis=1, kind="stable")[:, :depth]
        total[rows, order] += worth.astype(np.float32)
    return total


def tuned(
    quality: Callable[[tuple[float, ...]], float],
    start: Sequence[float],
    *,
    steps: Sequence[float] = (0.1, 0.05),
) -> tuple[float, ...]:
    """Weights, 0 or more with sum 1, that are best by a quality measured on validation.

    From `start`, weight is moved from one part to another, a step at a time, as long as that is
    better; then with the next, smaller step. Same quality, same weights.

    Args:
        quality: of given weights; the higher the better.
        start: weights, brought to sum 1.
        steps: sizes, largest first.

    >>> tuned(lambda w: -abs(w[0] - 0.3), (0.5, 0.5))
    (0.3, 0.7)
    """
    best = tuple(round(weight / sum(start), 6) for weight in start)
    value = quality(best)
    for step in steps:
        while True:
            moves = [
                tuple(
                    round(weight + step * ((i == into) - (i == out)), 6)
                    for i, weight in enumerate(best)
                )
                for out in range(len(best))
                for into in range(len(best))
                if out != into and best[out] >= step - 1e-9
            ]
            found = max(((quality(move), move) for move in moves), default=(-np.inf, best))
            if found[0] <= value:
                break
            value, best = found
    return best
