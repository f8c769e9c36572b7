"""What the training sequences say of a person and an item, in many ways: the hybrid's features.

Everything is counted on the sequences given and nothing is fitted, so it is cheap to count again
without the people for whom a ranker shall learn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.model_protocols import in_parts, unseen
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.ranker import Examples
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn, Weights

POOL = 100
"""So many of a person's items are ranked anew."""
AGE_DECAY = 0.7
KEPT = 40
"""Neighbours of an item that two steps go through; KEPT_TWICE of those they reach stay."""
KEPT_TWICE = 300
_RANKED = ("knn", "two", "last", "cos", "lift", "alike")
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
        return cls(popular, near, content)

    def parts(self, histories: Sequences) -> dict[str, NDArray[np.float32]]:
        """Each [people, items] float32, by name."""
        decayed, flat = histories.latest(50).matrix(AGE_DECAY), histories.taken()
        ages = [histories.where(histories.ages == age).matrix() for age in range(3)]
        asked = [
            ("knn", decayed, "knn"), ("two", decayed, "two"), ("prob", decayed, "prob"),
            ("last", ages[0], "knn"), ("last_but_one", ages[1], "knn"),
            ("last_but_two", ages[2], "knn"), ("forth", ages[0], "forth"),
            ("back", ages[0], "back"), ("next", ages[0], "next"), ("flat", flat, "knn"),
            ("cos", flat, "cos"), ("votes", flat, "either"),
        ]  # fmt: skip
        found = {name: (rows @ self.near[way]).toarray() for name, rows, way in asked}
        if self.content is not None:
            found["lift"] = self.content.leads(decayed)
            found["lift_last"] = self.content.leads(ages[0])
            found["alike"] = self.content.alike(decayed)
            found["alike_last"] = self.content.alike(ages[0])
        return found

    def blended(self, parts: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """[people, items] float32, the hand-made score by which the pool is drawn."""
        score = np.log(parts["knn"] + np.float32(1e-4))
        score += np.float32(0.3) * np.log(parts["two"] + np.float32(1e-4))
        if self.content is not None:
            score += np.float32(0.15) * parts["lift"] + np.float32(0.5) * parts["alike"]
        return score

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32, `blended` of histories."""
        return self.blended(self.parts(histories))

    def batch(self, histories: Sequences) -> tuple[NDArray[np.intp], FeatureBatch]:
        """The best POOL items of each person, [people, POOL], and what is known of them.

        What a person had is left out. The features' rows are those of the pool, flat.
        """
        parts = self.parts(histories)
        score = unseen(self.blended(parts), histories)
        pool = np.argpartition(-score, POOL, axis=1)[:, :POOL]
        order = np.argsort(-np.take_along_axis(score, pool, 1), axis=1, kind="stable")
        pool = np.take_along_axis(pool, order, 1)
        blend = np.take_along_axis(score, pool, 1)
        columns: dict[str, NDArray[Any]] = {"blend": blend - blend[:, :1]}
        for name, part in parts.items():
            values = columns[name] = np.take_along_axis(part, pool, 1)
            if name in _RANKED:
                ranked = np.argsort(-values, axis=1, kind="stable")
                columns[f"{name}_rank"] = np.argsort(ranked, axis=1, kind="stable")
            if name in _RELATIVE:
                columns[f"{name}_share"] = values / np.maximum(values.max(1, keepdims=True), 1e-9)
        latest = self.popular[np.maximum(histories.at(0), 0)][:, None]
        columns["popular"] = self.popular[pool]
        columns["popular_last"] = np.broadcast_to(latest, pool.shape)
        columns["popular_ratio"] = columns["popular"] / latest
        columns["history"] = np.broadcast_to(histories.lengths[:, None], pool.shape)
        if self.content is not None:
            columns["attributes"] = self.content.count[pool]
        values = np.stack([column.ravel() for column in columns.values()], axis=1)
        return pool, FeatureBatch(values.astype(np.float32), tuple(columns), 0)


def examples(evidence: Evidence, histories: Sequences, targets: NDArray[np.int32]) -> Examples:
    """One group for each person whose target is in the pool: other groups teach nothing."""
    values, gains, columns = [], [], ()
    for part, rows in in_parts(histories):
        pool, batch = evidence.batch(rows)
        hit = pool == targets[part, None]
        kept = np.repeat(hit.any(axis=1), POOL)
        values.append(batch.values[kept])
        gains.append(hit.ravel()[kept])
        columns = batch.columns
    gain = np.concatenate(gains).astype(np.float32)
    return Examples(
        np.concatenate(values),
        columns,
        np.arange(len(gain), dtype=np.int64) // POOL,
        gain,
        np.zeros(len(gain), np.int16),
        np.zeros(len(gain), np.int64),
    )


def joined(parts: list[Examples]) -> Examples:
    """All groups of several, numbered through."""
    gains = np.concatenate([part.gains for part in parts])
    return Examples(
        np.concatenate([part.values for part in parts]),
        parts[0].columns,
        np.arange(len(gains), dtype=np.int64) // POOL,
        gains,
        np.zeros(len(gains), np.int16),
        np.zeros(len(gains), np.int64),
    )


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
