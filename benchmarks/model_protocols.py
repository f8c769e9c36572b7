"""The protocols of `benchmarks/models.py`: data, splits, and metrics for whole rows of scores.

Leave-one-out (`amazon_beauty`, `amazon_clothing`). The last item of each person is for test, the
one before it for validation, all others train. At test the validation item is read as history and
is no label. All items are ranked but those the person had before; ties count in expectation.

LightGCN's (`gowalla`). Train and valid train, and are left out of the ranking; recall@20 is the
share of a person's test items among the first 20, and NDCG@20 has the best order of min(n, 20)
items as its ideal; both as means over people with test items (He et al., SIGIR 2020, code).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.record import Row
from heirloom.evaluation import metrics
from heirloom.evaluation.intervals import bootstrap
from heirloom.retrieval.collaborative.sequences import Sequences, starts_of

Scorer = Callable[[Sequences], NDArray[np.float32]]
"""Histories → [people, items] float32."""
PEOPLE = 256
"""So many rows of scores at a time."""


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Histories and targets, and `train`, the only labels a model may learn from."""

    train: Sequences
    validation: NDArray[np.int32]
    test: NDArray[np.int32]
    test_histories: Sequences

    @classmethod
    def of(cls, sequences: Sequences) -> "LeaveOneOut":
        """Of rows of three items or more."""
        return cls(
            sequences.before_last(2), sequences.at(1), sequences.at(0), sequences.before_last()
        )


def amazon(folder: Path) -> Sequences:
    """The rows of a folder's `sequences.parquet`."""
    table = pl.read_parquet(folder / "sequences.parquet").sort("user_id", "position")
    items = table["item_id"].to_numpy().astype(np.int32) - 1
    lengths = np.unique(table["user_id"].to_numpy(), return_counts=True)[1]
    return Sequences(items, starts_of(lengths), int(items.max()) + 1)


def attributes(folder: Path, number: int) -> sparse.csr_matrix | None:
    """[items, attributes] float32 of 0 and 1; None where the folder has none."""
    path = folder / "item_attributes.parquet"
    if not path.exists():
        return None
    table = pl.read_parquet(path).unique()
    codes = np.unique(table["attribute_id"].to_numpy(), return_inverse=True)[1]
    cells = (np.ones(len(table), np.float32), (table["item_id"].to_numpy() - 1, codes))
    return sparse.csr_matrix(cells, shape=(number, codes.max() + 1))


def gowalla(folder: Path, *splits: str) -> Sequences:
    """What each person took, of the splits named, by number of item: there is no order."""
    table = pl.read_parquet(folder / "interactions.parquet")
    people, number = (int(table[name].max()) + 1 for name in ("user_id", "item_id"))  # type: ignore[arg-type]
    part = table.filter(pl.col("split").is_in(splits)).sort("user_id", "item_id")
    lengths = np.bincount(part["user_id"].to_numpy(), minlength=people)
    return Sequences(part["item_id"].to_numpy().astype(np.int32), starts_of(lengths), number)


def in_parts(histories: Sequences) -> Iterator[tuple[slice, Sequences]]:
    """PEOPLE rows at a time: dense scores of all would not fit in memory."""
    for start in range(0, len(histories), PEOPLE):
        part = slice(start, start + PEOPLE)
        yield part, histories.take(part)


def unseen(scores: NDArray[np.float32], histories: Sequences) -> NDArray[np.float32]:
    """The scores, with -inf in place for what a person had before."""
    scores[histories.people, histories.items] = -np.inf
    return scores


@dataclass(frozen=True, slots=True)
class Places:
    """Of each person's target: how many items stand above it, and how many level with it."""

    above: NDArray[np.int64]
    level: NDArray[np.int64]

    @classmethod
    def of(cls, scorer: Scorer, histories: Sequences, targets: NDArray[np.int32]) -> "Places":
        """By whole rows of scores. A target that was taken before is not ranked, and missed."""
        found = [
            metrics.tied_places(unseen(scorer(rows), rows), targets[part].astype(np.intp))
            for part, rows in in_parts(histories)
        ]
        above, level = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return cls(above, level)

    def hits(self, k: int = 10) -> NDArray[np.float64]:
        """[people] HR@k."""
        return metrics.expected_hit_rate(self.above, self.level, k)

    def ndcg(self, k: int = 10) -> NDArray[np.float64]:
        """[people] NDCG@k."""
        return metrics.expected_ndcg_of_one(self.above, self.level, k)

    def __str__(self) -> str:
        return f"HR@10 {self.hits().mean():.4f}, NDCG@10 {self.ndcg().mean():.4f}"


def lightgcn(
    scorer: Scorer, histories: Sequences, truth: Sequences, k: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """([people] recall@k, [people] NDCG@k) of the people who have test items."""
    recalls, gains = [], []
    for part, rows in in_parts(histories):
        scores = unseen(scorer(rows), rows)
        wanted = truth.take(part)
        first = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, first, 1), axis=1, kind="stable")
        first = np.take_along_axis(first, order, 1)
        relevant = np.zeros(scores.shape, np.bool_)
        relevant[wanted.people, wanted.items] = True
        hit, total = np.take_along_axis(relevant, first, 1), wanted.lengths
        some = total > 0
        recalls.append(metrics.recall(hit, total, k)[some])
        ideal = np.arange(k)[None] < total[:, None]
        gains.append(metrics.ndcg(hit.astype(np.float64), ideal.astype(np.float64), k)[some])
    return np.concatenate(recalls), np.concatenate(gains)


def row(
    name: str,
    values: Sequence[NDArray[np.float64]],
    *,
    target: float | None = None,
    peer: tuple[str, float] | None = None,
    note: str,
) -> Row:
    """One metric with a 95 % interval by bootstrap over people, as the mean over seeds.

    Args:
        name: the row's id.
        values: [people] of each seed.
        target: the least bar.
        peer: its name and value.
        note: protocol and settings.
    """
    of_person = np.mean(values, axis=0)
    interval = bootstrap(of_person, np.arange(len(of_person)), seed=0)
    spread = ", ".join(f"{one.mean():.4f}" for one in values)
    return Row(
        id=name,
        value=round(interval.mean, 5),
        unit="NDCG" if "ndcg" in name or "n20" in name else "share",
        better="higher",
        target=target,
        peer=peer[0] if peer else None,
        peer_value=round(peer[1], 5) if peer else None,
        interval=(round(interval.low, 5), round(interval.high, 5)),
        note=f"{len(of_person):,} people, 95 % bootstrap over people; {note}"
        + (f"; seeds {spread}" if len(values) > 1 else ""),
    )
