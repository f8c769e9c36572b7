"""Ranking metrics: a value per query first, then the mean.

Ranks count from 1 for the best place; 0 means that the relevant listing was not ranked. Queries
with nothing relevant count as 0 unless the caller leaves them out: say which.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ShapeError


def ranks(
    scores: NDArray[Any], target: NDArray[np.intp], *, expected_ties: bool = True
) -> NDArray[np.float64]:
    """[queries] float64, the rank of one relevant column per query; ties in the mean of orders.

    Args:
        scores: [queries, listings]; higher is better; -inf for not ranked.
        target: [queries], the relevant column; -1 where there is none, giving 0.
        expected_ties: True for the mean rank under random order of ties, False for the worst.

    >>> ranks(np.array([[3.0, 1.0, 1.0]]), np.array([1])).tolist()
    [2.5]
    """
    rows = np.arange(len(scores))
    own = scores[rows, np.maximum(target, 0)][:, None]
    above = (scores > own).sum(axis=1)
    equal = (scores == own).sum(axis=1) - 1
    result = above + 1 + (equal / 2 if expected_ties else equal)
    return np.where((target < 0) | np.isneginf(own[:, 0]), 0.0, result)


def hit_rate(ranks: NDArray[Any], k: int) -> NDArray[np.float64]:
    """[queries] float64, 1 where the one relevant listing is among the first k, else 0.

    >>> hit_rate(np.array([1, 11, 0]), 10).tolist()
    [1.0, 0.0, 0.0]
    """
    return ((ranks > 0) & (ranks <= k)).astype(np.float64)


def reciprocal_rank(ranks: NDArray[Any]) -> NDArray[np.float64]:
    """[queries] float64, 1 / rank; its mean is MRR (Voorhees, TREC-8 question answering, 1999).

    >>> reciprocal_rank(np.array([1, 4, 0])).tolist()
    [1.0, 0.25, 0.0]
    """
    result: NDArray[np.float64] = np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)
    return result


def ndcg_of_one(ranks: NDArray[Any], k: int) -> NDArray[np.float64]:
    """[queries] float64, nDCG@k where one listing is relevant: 1 / log2(rank + 1).

    >>> ndcg_of_one(np.array([1, 3, 11]), 10).tolist()
    [1.0, 0.5, 0.0]
    """
    result: NDArray[np.float64] = hit_rate(ranks, k) / np.log2(np.maximum(ranks, 1) + 1)
    return result


def recall(relevant: NDArray[np.bool_], total: NDArray[Any], k: int) -> NDArray[np.float64]:
    """[queries] float64, the share of each query's relevant listings among the first k.

    Args:
        relevant: [queries, ranked] bool, by rank, best first.
        total: [queries], how many are relevant, ranked or not; 0 gives 0.
        k: the cut.

    >>> recall(np.array([[True, False, True]]), np.array([4]), 2).tolist()
    [0.25]
    """
    result: NDArray[np.float64] = relevant[:, :k].sum(axis=1) / np.maximum(total, 1)
    return result


def linear_gain(grades: NDArray[Any]) -> NDArray[np.float64]:
    """A grade is its own gain, negative ones 0 (trec_eval)."""
    gains: NDArray[np.float64] = np.maximum(grades, 0).astype(np.float64)
    return gains


def exponential_gain(grades: NDArray[Any]) -> NDArray[np.float64]:
    """2^grade - 1, negative grades 0 (Burges et al., ICML 2005; gdeval)."""
    gains: NDArray[np.float64] = np.exp2(np.maximum(grades, 0).astype(np.float64)) - 1
    return gains


def dcg(gains: NDArray[np.float64], k: int | None = None) -> NDArray[np.float64]:
    """[queries] float64, sum over ranks i of gain_i / log2(i + 1).

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with
    the discount from the second place on, as in trec_eval.

    Args:
        gains: [queries, ranked] float64 by rank, best first.
        k: the cut; None for all.

    >>> dcg(np.array([[1.0, 0.0, 2.0]])).tolist()
    [2.0]
    """
    cut = gains[:, :k]
    discounts: NDArray[np.float64] = np.log2(np.arange(2, cut.shape[1] + 2))
    result: NDArray[np.float64] = (cut / discounts).sum(axis=1)
    return result


def ndcg(
    gains: NDArray[np.float64], judged: NDArray[np.float64], k: int | None = None
) -> NDArray[np.float64]:
    """[queries] float64, DCG over that of the best order; 0 where nothing is relevant.

    Name the gain beside the number: `linear_gain` and `exponential_gain` give two metrics.

    Args:
        gains: [queries, ranked] float64 by rank, best first.
        judged: [queries, judged] float64, gains of all that could be ranked, in any order.
        k: the cut; None for all.

    >>> ndcg(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])).round(4).tolist()
    [0.6309]
    """
    if len(gains) != len(judged):
        raise ShapeError(f"ndcg: gains of {len(gains)} queries, judged of {len(judged)}")
    best = dcg(-np.sort(-judged, axis=1), k)
    return np.where(best > 0, dcg(gains, k) / np.where(best > 0, best, 1), 0.0)


def average_precision(relevant: NDArray[np.bool_], total: NDArray[Any]) -> NDArray[np.float64]:
    """[queries] float64, mean over the relevant listings of the precision at their ranks.

    Args:
        relevant: [queries, ranked] bool, by rank, best first.
        total: [queries], how many are relevant, ranked or not; 0 gives 0.

    >>> average_precision(np.array([[True, False, True]]), np.array([2])).round(4).tolist()
    [0.8333]
    """
    precision = np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)
    result: NDArray[np.float64] = (precision * relevant).sum(axis=1) / np.maximum(total, 1)
    return result


def grouped_ndcg(
    scores: NDArray[Any],
    gains: NDArray[Any],
    groups: NDArray[np.int64],
    k: int,
) -> NDArray[np.float64]:
    """[groups] float64, nDCG@k (linear gain) of each group of adjacent rows, in order.

    Of tied rows each gets the mean of the discounts of their ranks: so it is the mean over all
    orders of the tied, and a ranker that tells nothing apart gains nothing from the order of rows
    (McSherry and Najork, "Computing information retrieval performance measures efficiently in the
    presence of tied scores", ECIR 2008, section 2.4). Groups without a gain are left out.

    >>> grouped_ndcg(np.array([1, 2, 9]), np.array([1, 0, 0]), np.array([5, 5, 6]), 10).round(4)
    array([0.6309])
    >>> grouped_ndcg(np.array([1, 1]), np.array([1, 0]), np.array([5, 5]), 10).round(4)
    array([0.8155])
    """
    if not len(groups):
        return np.zeros(0)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
    member = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    rank = np.arange(len(groups)) - starts[member]
    discount = np.where(rank < k, 1 / np.log2(rank + 2), 0)
    order = np.lexsort((-scores, member))
    sorted_scores = scores[order]
    parted = (sorted_scores[1:] != sorted_scores[:-1]) | (member[1:] != member[:-1])
    first = np.append(0, np.flatnonzero(parted) + 1)
    tied = np.diff(np.append(first, len(groups)))
    reached = gains[order] * np.repeat(np.add.reduceat(discount, first) / tied, tied)
    ideal = gains[np.lexsort((-gains, member))] * discount
    best = np.add.reduceat(ideal.astype(np.float64), starts[:-1])
    got = np.add.reduceat(reached.astype(np.float64), starts[:-1])
    return got[best > 0] / best[best > 0]


def chance_ndcg(
    gains: NDArray[Any], groups: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of `grouped_ndcg` over all orders of each group's rows.

    DCG is a linear rank statistic: its mean is rows · mean(discount) · mean(gain), its variance
    Σ (discount - mean)² · Σ (gain - mean)² / (rows - 1) (Hájek, Šidák and Sen, "Theory of rank
    tests", 1999, section 3.3.1, theorem 1).

    Returns:
        mean, variance: [groups] float64; groups without a gain are left out.

    >>> [each.round(4).tolist() for each in chance_ndcg(np.array([1, 0]), np.array([5, 5]), 10)]
    [[0.8155], [0.0341]]
    """
    if not len(groups):
        return np.zeros(0), np.zeros(0)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1])
    sizes = np.diff(np.append(starts, len(groups)))
    member = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.arange(len(groups)) - starts[member]
    discount = np.where(rank < k, 1 / np.log2(rank + 2), 0)
    gains = gains.astype(np.float64)
    best = np.add.reduceat(gains[np.lexsort((-gains, member))] * discount, starts)

    def moments(of: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean = np.add.reduceat(of, starts) / sizes
        return mean, np.add.reduceat((of - mean[member]) ** 2, starts)

    (gain, gain_spread), (worth, worth_spread) = moments(gains), moments(discount)
    mean = sizes * gain * worth
    variance = gain_spread * worth_spread / np.maximum(sizes - 1, 1)
    some = best > 0
    return mean[some] / best[some], variance[some] / best[some] ** 2


def grouped_auc(
    scores: NDArray[Any], relevant: NDArray[np.bool_], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[groups] float64, the chance that a relevant row of a group stands above another one.

    By the rank sum of Mann and Whitney (Annals of Mathematical Statistics 1947), ties count half.
    Groups in which all rows or none are relevant are left out.

    >>> grouped_auc(np.array([3, 1, 1]), np.array([False, True, False]), np.zeros(3, int)).tolist()
    [0.25]
    """
    if not len(groups):
        return np.zeros(0)
    member = np.concatenate([[0], np.cumsum(np.diff(groups) != 0)])
    order = np.lexsort((scores, member))
    ordered, slate = scores[order], member[order]
    other = (ordered[1:] != ordered[:-1]) | (slate[1:] != slate[:-1])  # -inf - -inf is no 0
    new = np.concatenate([[True], other])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(order))
    rank = np.repeat((first + last + 1) / 2, last - first)  # mean rank of ties, from 1, over all
    sizes = np.bincount(member)
    hits = np.bincount(slate, relevant[order], len(sizes))
    total = np.bincount(slate, np.where(relevant[order], rank, 0.0), len(sizes))
    before = np.cumsum(sizes) - sizes
    above = total - hits * before - hits * (hits + 1) / 2
    pairs = hits * (sizes - hits)
    result: NDArray[np.float64] = above[pairs > 0] / pairs[pairs > 0]
    return result


def tied_places(
    scores: NDArray[Any], target: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many columns stand above one relevant column of each row, and how many level with it.

    Args:
        scores: [queries, listings]; higher is better; -inf for not ranked.
        target: [queries], the relevant column.

    Returns:
        above: [queries] int64; the number of columns where the relevant one is not ranked.
        level: [queries] int64, itself counted.

    >>> tied_places(np.array([[3.0, 1.0, 1.0]]), np.array([1]))
    (array([1]), array([2]))
    """
    own = scores[np.arange(len(scores)), target][:, None]
    above = (scores > own).sum(axis=1)
    level = np.maximum((scores == own).sum(axis=1), 1)
    return np.where(np.isneginf(own[:, 0]), scores.shape[1], above), level


def expected_hit_rate(
    above: NDArray[np.int64], level: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """[queries] float64, chance that the relevant one is among the first k, ties at random.

    McSherry and Najork, "Computing information retrieval performance measures efficiently in
    the presence of tied scores", ECIR 2008; `above` and `level` as from `tied_places`.

    >>> expected_hit_rate(np.array([9, 9, 10]), np.array([1, 4, 1]), 10).tolist()
    [1.0, 0.25, 0.0]
    """
    result: NDArray[np.float64] = np.clip((k - above) / level, 0, 1)
    return result


def expected_ndcg_of_one(
    above: NDArray[np.int64], level: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """[queries] float64, mean of `ndcg_of_one` over the orders of ties; see expected_hit_rate.

    >>> expected_ndcg_of_one(np.array([0, 0]), np.array([1, 2]), 1).tolist()
    [1.0, 0.5]
    """
    worth = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    first, last = np.minimum(above, k), np.minimum(above + level, k)
    result: NDArray[np.float64] = (worth[last] - worth[first]) / level
    return result
