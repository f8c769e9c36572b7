"""SymmetricTrees: CatBoost's ensembles compiled, for few rows at a time.

In a symmetric tree all nodes of one depth ask the same, so a row's leaf is the number whose bits
are the answers. CatBoost's own code is made for rows by the ten thousand; a request has hundreds,
and asks besides what a score would be without each group of features. Of one row and group only
the trees that ask of the group differ, so that takes a part of scoring a row for each group.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SymmetricTrees:
    """An ensemble, tree after tree.

    Attributes:
        features: [splits] int32, the column that a split asks of.
        borders: [splits] float32; the answer is whether the value is greater; NaN is not.
        splits: [trees + 1] int32, where each tree's splits begin.
        leaves: [leaves] float64, those of a tree side by side.
        starts: [trees + 1] int32, where each tree's leaves begin.
        nan_first: intp, the columns in which NaN counts as greater than all; mostly none.
        scale, bias: of the sum.
    """

    features: NDArray[np.int32]
    borders: NDArray[np.float32]
    splits: NDArray[np.int32]
    leaves: NDArray[np.float64]
    starts: NDArray[np.int32]
    nan_first: NDArray[np.intp]
    scale: float
    bias: float

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """[rows] float64, as CatBoost's `predict` of [rows, columns]."""
        total = np.zeros(len(rows))
        _sums(
            self.features, self.borders, self.splits, self.leaves, self.starts,
            self._columns(rows), total,
        )  # fmt: skip
        return total * self.scale + self.bias

    def lost(
        self,
        rows: NDArray[np.float32],
        instead: NDArray[np.float32],
        group_of: NDArray[np.int64],
        groups: int,
    ) -> NDArray[np.float64]:
        """[rows, groups] float64: what `predict` loses with a group's columns as in `instead`.

        Args:
            rows: [rows, columns].
            instead: [columns].
            group_of: [columns], in 0..groups; -1 for a column of no group.
            groups: how many.
        """
        return self._told(rows, instead, group_of, groups)[1]

    def without(
        self,
        rows: NDArray[np.float32],
        instead: NDArray[np.float32],
        group_of: NDArray[np.int64],
        groups: int,
    ) -> NDArray[np.float64]:
        """[rows, groups] float64: `predict` less `lost`, in one walk through the trees."""
        total, lost = self._told(rows, instead, group_of, groups)
        return total[:, None] - lost

    def _told(
        self,
        rows: NDArray[np.float32],
        instead: NDArray[np.float32],
        group_of: NDArray[np.int64],
        groups: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[rows] and [rows, groups]: `predict` and `lost`."""
        total, lost = np.zeros(len(rows)), np.zeros((groups, len(rows)))
        other = self._columns(instead[None])[:, 0]
        _losses(
            self.features, self.borders, self.splits, self.leaves, self.starts,
            self._columns(rows), other, group_of, total, lost,
        )  # fmt: skip
        return total * self.scale + self.bias, (lost * self.scale).T

    def _columns(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[columns, rows], NaN that counts as greater made so."""
        if not len(self.nan_first):
            return np.ascontiguousarray(rows.T)
        columns = np.array(rows.T, order="C")  # rows are another ensemble's too
        columns[self.nan_first] = np.nan_to_num(columns[self.nan_first], nan=np.inf)
        return columns


@njit(cache=True)
def _leaf(
    features: NDArray[Any],
    borders: NDArray[Any],
    first: int,
    last: int,
    columns: NDArray[Any],
    leaf: NDArray[Any],
) -> None:
    """Write each row's leaf in the tree of these splits. Four at once: eight rows a step."""
    split = first
    if last - split < 4:
        leaf[:] = 0
    while last - split >= 4:
        low, kept = np.uint32(split - first), np.uint32(0xFFFFFFFF if split > first else 0)
        a, b = columns[features[split]], columns[features[split + 1]]
        c, d = columns[features[split + 2]], columns[features[split + 3]]
        at_a, at_b = borders[split], borders[split + 1]
        at_c, at_d = borders[split + 2], borders[split + 3]
        for row in range(len(leaf)):
            bits = np.uint32(a[row] > at_a) | (np.uint32(b[row] > at_b) << np.uint32(1))
            bits |= np.uint32(c[row] > at_c) << np.uint32(2)
            bits |= np.uint32(d[row] > at_d) << np.uint32(3)
            leaf[row] = (leaf[row] & kept) | bits << low
        split += 4
    for rest in range(split, last):
        column, border = columns[features[rest]], borders[rest]
        for row in range(len(leaf)):
            leaf[row] |= np.uint32(column[row] > border) << np.uint32(rest - first)


@njit(cache=True)
def _sums(
    features: NDArray[Any],
    borders: NDArray[Any],
    splits: NDArray[Any],
    leaves: NDArray[Any],
    starts: NDArray[Any],
    columns: NDArray[Any],
    total: NDArray[Any],
) -> None:
    """Add each tree's leaf to `total` [rows], in the trees' order; two trees at a time."""
    leaf, other = np.empty(len(total), np.uint32), np.empty(len(total), np.uint32)
    trees = len(starts) - 1
    for tree in range(0, trees, 2):
        _leaf(features, borders, splits[tree], splits[tree + 1], columns, leaf)
        mine = leaves[starts[tree] : starts[tree + 1]]
        if tree + 1 == trees:
            for row in range(len(total)):
                total[row] += mine[leaf[row]]
            break
        _leaf(features, borders, splits[tree + 1], splits[tree + 2], columns, other)
        theirs = leaves[starts[tree + 1] : starts[tree + 2]]
        for row in range(len(total)):
            total[row] = (total[row] + mine[leaf[row]]) + theirs[other[row]]


@njit(cache=True)
def _losses(
    features: NDArray[Any],
    borders: NDArray[Any],
    splits: NDArray[Any],
    leaves: NDArray[Any],
    starts: NDArray[Any],
    columns: NDArray[Any],
    instead: NDArray[Any],
    group_of: NDArray[Any],
    total: NDArray[Any],
    lost: NDArray[Any],
) -> None:
    """Add each tree's leaf to `total` [rows], and what it is more than without to `lost`.

    That is [groups, rows]. Where a tree has fewer leaves than there are rows, what is lost is
    told of each leaf once.
    """
    n = len(total)
    leaf, value = np.empty(n, np.uint32), np.empty(n)
    of_leaf = np.empty(n)
    for tree in range(len(starts) - 1):
        first, last = splits[tree], splits[tree + 1]
        _leaf(features, borders, first, last, columns, leaf)
        mine = leaves[starts[tree] : starts[tree + 1]]
        for row in range(n):
            value[row] = mine[leaf[row]]
            total[row] += value[row]
        for split in range(first, last):
            group = group_of[features[split]]
            new = group >= 0
            for earlier in range(first, split):
                new &= group_of[features[earlier]] != group
            if not new:
                continue
            kept, other = np.uint32(0), np.uint32(0)
            for same in range(first, last):
                bit = np.uint32(1 << (same - first))
                if group_of[features[same]] != group:
                    kept |= bit
                elif instead[features[same]] > borders[same]:
                    other |= bit
            of_group = lost[group]
            if len(mine) > n:
                for row in range(n):
                    of_group[row] += value[row] - mine[(leaf[row] & kept) | other]
                continue
            for at in range(len(mine)):
                of_leaf[at] = mine[at] - mine[(np.uint32(at) & kept) | other]
            for row in range(n):
                of_group[row] += of_leaf[leaf[row]]
