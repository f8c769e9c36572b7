"""What the training sequences say of a person and an item, in many ways: the hybrid's features.

Everything is counted on the sequences given and nothing is fitted, so it is cheap to count again
without the people for whom a ranker shall learn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.model_protocols import in_parts, unseen
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.ranker import Examples
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn, Weights
from heirloom.retrieval.collaborative.spectral import Spectral

POOL = 100
"""So many of a person's items are ranked anew."""
AGE_DECAY = 0.7
KEPT = 40
"""Neighbours of an item that two steps go through; KEPT_TWICE of those they reach stay."""
KEPT_TWICE = 300
RANKS = (64, 192)
_RANKED = ("knn", "two", "last", "cos", "lift", "alike", *(f"spectral_{rank}" for rank in RANKS))
_RELATIVE = ("knn", "two", "prob")
Csr = sparse.csr_matrix


@dataclass(frozen=True, slots=True)
class Content:
    """Attributes of items, and how those of one item lead to those of the next.

    Attributes:
        shares: [items, attributes] float32, rows of sum 1.
        weighed: [items, attributes] float32 by inverse document frequency, rows of length 1.
        lift: [attributes, attributes] float32, log of pairs counted over pairs expected.
        count: [items] float32.
    """

    shares: Csr
    weighed: Csr
    lift: NDArray[np.float32]
    count: NDArray[np.float32]

    @classmethod
    def of(cls, attributes: Csr, followed: Csr) -> "Content":
        """Pairs of items count for all pairs of their attributes, the reverse half."""
        count = attributes.sum(axis=1).A1
        rarity = np.log(attributes.shape[0] / np.maximum(attributes.sum(axis=0).A1, 1))
        weighed = attributes @ sparse.diags(rarity)
        length = np.sqrt(weighed.multiply(weighed).sum(axis=1).A1)
        pairs = (attributes.T @ (followed + 0.5 * followed.T) @ attributes).toarray()
        expected = pairs.sum(axis=1, keepdims=True) * pairs.sum(axis=0) / pairs.sum()
        return cls(
            _scaled(attributes, count),
            _scaled(weighed, length),
            np.log((pairs + 1) / (expected + 1)).astype(np.float32),
            count.astype(np.float32),
        )

    def leads(self, rows: Csr) -> NDArray[np.float32]:
        """[people, items] float32, lift between attributes of a history and of an item."""
        lifted = (rows @ self.shares) @ self.lift
        return np.ascontiguousarray((self.shares @ lifted.T).T)

    def alike(self, rows: Csr) -> NDArray[np.float32]:
        """[people, items] float32, cosines summed over a history."""
        found: NDArray[np.float32] = ((rows @ self.weighed) @ self.weighed.T).toarray()
        return found


@dataclass(frozen=True, slots=True)
class Evidence:
    """Item-to-item counts in several normalisations, and content where there is some."""

    popular: NDArray[np.float64]
    near: dict[str, Csr]
    spectral: dict[str, Spectral]
    content: Content | None

    @classmethod
    def of(cls, train: Sequences, attributes: Csr | None) -> "Evidence":
        """Count."""
        knn = SessionKnn.fit(train, Weights(age_decay=AGE_DECAY))
        followed, popular = knn.followed, knn.count + 1.0

        def damped(pairs: Csr, out: float, into: float) -> Csr:
            scales = (sparse.diags(popular**-power) for power in (out, into))
            return (next(scales) @ pairs @ next(scales)).tocsr().astype(np.float32)

        both = followed + 0.5 * followed.T
        either = (followed + followed.T).astype(np.float32)
        either.data[:] = 1
        steps = _strongest(knn.near(), KEPT)
        chance = _scaled(steps, steps.sum(axis=1).A1)
        near = {
            "knn": knn.near(),
            "two": _strongest((steps @ chance).tocsr(), KEPT_TWICE),
            "forth": damped(followed, 0.3, 0.3),
            "back": damped(followed.T, 0.3, 0.3),
            "next": damped(SessionKnn.fit(train, Weights(gaps=1)).followed, 0.3, 0.3),
            "cos": damped(followed + followed.T, 0.5, 0.5),
            "prob": damped(both, 1.0, 0.0),
            "either": either,
        }
        content = None if attributes is None else Content.of(attributes, followed)
        longest = Spectral.of(knn, rank=min(max(RANKS), train.number))
        spectral = {
            f"spectral_{rank}": longest.shorter(min(rank, longest.leads.shape[1])) for rank in RANKS
        }
        return cls(popular, near, spectral, content)

    def dense(self, histories: Sequences) -> dict[str, NDArray[np.float32]]:
        """What may draw an item into the pool: each [people, items] float32, by name."""
        decayed = histories.latest(50).matrix(AGE_DECAY)
        found = {name: (decayed @ self.near[name]).toarray() for name in ("knn", "two")}
        found |= {name: model.scores(histories) for name, model in self.spectral.items()}
        if self.content is not None:
            found["lift"] = self.content.leads(decayed)
            found["alike"] = self.content.alike(decayed)
        return found

    def blended(self, parts: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """[people, items] float32, the hand-made score by which the pool is drawn."""
        score = np.log(parts["knn"] + np.float32(1e-4))
        score += np.float32(0.3) * np.log(parts["two"] + np.float32(1e-4))
        for name in self.spectral:
            score += np.float32(2.5) * parts[name]
        if self.content is not None:
            score += np.float32(0.15) * parts["lift"] + np.float32(0.5) * parts["alike"]
        return score

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32, `blended` of histories."""
        return self.blended(self.dense(histories))

    def pooled(self, histories: Sequences) -> "Pooled":
        """The best POOL items of each person and what is known of them; not what they had."""
        dense = self.dense(histories)
        score = unseen(self.blended(dense), histories)
        pool = np.argpartition(-score, POOL, axis=1)[:, :POOL]
        order = np.argsort(-np.take_along_axis(score, pool, 1), axis=1, kind="stable")
        pool = np.take_along_axis(pool, order, 1)
        blend = np.take_along_axis(score, pool, 1)
        columns: dict[str, NDArray[Any]] = {"blend": blend - blend[:, :1]}
        columns |= {name: np.take_along_axis(part, pool, 1) for name, part in dense.items()}
        columns |= self._counted(histories, pool)
        for name in [name for name in columns if name in _RANKED]:
            ranked = np.argsort(-columns[name], axis=1, kind="stable")
            columns[f"{name}_rank"] = np.argsort(ranked, axis=1, kind="stable")
        for name in _RELATIVE:
            highest = columns[name].max(axis=1, keepdims=True)
            columns[f"{name}_share"] = columns[name] / np.maximum(highest, 1e-9)
        values = np.stack([column.ravel() for column in columns.values()], axis=1)
        return Pooled(score, pool, FeatureBatch(values.astype(np.float32), tuple(columns), 0))

    def _counted(self, histories: Sequences, pool: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Counts and context, [people, POOL] each, that are wanted inside the pool alone."""
        decayed, flat = histories.latest(50).matrix(AGE_DECAY), histories.taken()
        ages = [histories.where(histories.ages == age).matrix() for age in range(3)]
        asked = [
            ("prob", decayed, "prob"), ("last", ages[0], "knn"),
            ("last_but_one", ages[1], "knn"), ("last_but_two", ages[2], "knn"),
            ("forth", ages[0], "forth"), ("back", ages[0], "back"), ("next", ages[0], "next"),
            ("flat", flat, "knn"), ("cos", flat, "cos"), ("votes", flat, "either"),
        ]  # fmt: skip
        columns: dict[str, NDArray[Any]] = {
            name: gathered(rows @ self.near[way], pool) for name, rows, way in asked
        }
        if self.content is not None:
            for name, way in (("lift", self.content.leads), ("alike", self.content.alike)):
                columns[f"{name}_last"] = np.take_along_axis(way(ages[0]), pool, 1)
            columns["attributes"] = self.content.count[pool]
        latest = self.popular[np.maximum(histories.at(0), 0)][:, None]
        columns["popular"] = self.popular[pool]
        columns["popular_last"] = np.broadcast_to(latest, pool.shape)
        columns["popular_ratio"] = columns["popular"] / latest
        columns["history"] = np.broadcast_to(histories.lengths[:, None], pool.shape)
        return columns


@dataclass(frozen=True, slots=True)
class Pooled:
    """What may be ranked anew.

    Attributes:
        score: [people, items] float32, the hand-made score, -inf for what a person had.
        items: [people, POOL], the best of it, best first.
        batch: features of the pool's items, one after another.
    """

    score: NDArray[np.float32]
    items: NDArray[np.intp]
    batch: FeatureBatch


def examples(
    evidence: Evidence, histories: Sequences, targets: NDArray[np.int32]
) -> tuple[Examples, NDArray[np.bool_]]:
    """One group for each person whose target is in the pool; and [people] bool, who that is.

    Other groups teach nothing, and cannot be answered.
    """
    values, gains, found, columns = [], [], [], ()
    for part, rows in in_parts(histories):
        pooled = evidence.pooled(rows)
        hit = pooled.items == targets[part, None]
        found.append(hit.any(axis=1))
        kept = np.repeat(found[-1], POOL)
        values.append(pooled.batch.values[kept])
        gains.append(hit.ravel()[kept])
        columns = pooled.batch.columns
    return numbered(np.concatenate(values), np.concatenate(gains), columns), np.concatenate(found)


def joined(parts: list[Examples]) -> Examples:
    """All groups of several, numbered through."""
    return numbered(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.gains for part in parts]),
        parts[0].columns,
    )


def numbered(
    values: NDArray[np.float32], gains: NDArray[Any], columns: tuple[str, ...]
) -> Examples:
    """Groups of POOL rows each; there are no slates, so places and times are all 0."""
    rows = np.arange(len(gains), dtype=np.int64)
    none = np.zeros(len(gains))
    return Examples(
        values, columns, rows // POOL, gains.astype(np.float32), none.astype(np.int16),
        none.astype(np.int64),
    )  # fmt: skip


def _scaled(rows: Csr, by: NDArray[np.float64]) -> Csr:
    """Rows over a number each; 0 stays 0."""
    return (sparse.diags(1 / np.maximum(by, 1e-9)) @ rows).tocsr().astype(np.float32)


def _strongest(pairs: Csr, k: int) -> Csr:
    """The k greatest of each row."""
    kept = np.ones(pairs.nnz, np.bool_)
    for start, end in zip(pairs.indptr[:-1], pairs.indptr[1:], strict=True):
        if end - start > k:
            row = pairs.data[start:end]
            kept[start:end] = False
            kept[start + np.argpartition(-row, k)[:k]] = True
    rows = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    cells = (pairs.data[kept], (rows[kept], pairs.indices[kept]))
    return sparse.csr_matrix(cells, shape=pairs.shape, dtype=np.float32)


def gathered(rows: Csr, pool: NDArray[np.intp]) -> NDArray[np.float32]:
    """[people, POOL] float32, each row's values at the items of its pool."""
    return _at(rows.indptr, rows.indices, rows.data, rows.shape[1], pool)


@njit(cache=True)
def _at(
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    data: NDArray[np.float32],
    width: int,
    pool: NDArray[np.intp],
) -> NDArray[np.float32]:
    found = np.zeros(pool.shape, np.float32)
    line = np.zeros(width, np.float32)
    for row in range(len(pool)):
        for entry in range(starts[row], starts[row + 1]):
            line[columns[entry]] = data[entry]
        for place in range(pool.shape[1]):
            found[row, place] = line[pool[row, place]]
        for entry in range(starts[row], starts[row + 1]):
            line[columns[entry]] = 0
    return found
