"""Leave-one-out on Amazon Beauty and Clothing: session kNN, evidence by hand, and re-ranked.

The re-ranker learns from training labels alone. People are dealt into FOLDS; what stands in
`Evidence` is counted without a fold's people, who then answer for the last two items of their
training part. Validation only picks the ridge and the weights. Test is read once a seed.

At test the latest item of a history, validation's, was counted nowhere. So the ridge is judged by
evidence that lacks the latest item of training too: validation as hard as test.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.model_evidence import POOL, Csr, Evidence, examples, joined
from benchmarks.model_protocols import (
    LeaveOneOut,
    Places,
    Scorer,
    amazon,
    attributes,
    in_parts,
    row,
    unseen,
)
from benchmarks.record import Row
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.metrics import expected_ndcg_of_one, tied_places
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Examples, Ranker
from heirloom.retrieval.collaborative.blend import blended, log_softmax, tuned
from heirloom.retrieval.collaborative.popularity import Popularity
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn

FOLDS = 4
LABELS = 2
"""The latest items of a training part that its person answers for."""
SEEDS = (0, 1, 2)
RIDGES = (10.0, 100.0)
PUBLISHED = {
    "beauty": ("eSASRec, as its paper publishes", 0.0928, 0.0523),
    "clothing": ("session kNN of the feasibility runs", 0.0344, 0.0206),
}
TARGETS = {"beauty": (0.097, 0.059), "clothing": (0.042, 0.025)}


@dataclass(frozen=True, slots=True)
class Reranked:
    """Evidence draws a pool, a ranker orders it; all other items follow in evidence's order."""

    evidence: Evidence
    ranker: Ranker

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32: in the pool logs of chances, below it evidence, shifted."""
        pooled = self.evidence.pooled(histories)
        ranked = self.ranker.score(pooled.batch).reshape(pooled.items.shape)
        inside = log_softmax(ranked)
        last = np.take_along_axis(pooled.score, pooled.items[:, -1:], 1)
        scores = np.minimum(pooled.score - last, 0) + inside.min(axis=1, keepdims=True) - 1
        np.put_along_axis(scores, pooled.items, inside, axis=1)
        return scores


@dataclass(frozen=True, slots=True)
class Answered:
    """People to be answered, as groups: `held` [people] says whose target is in the pool."""

    groups: Examples
    held: NDArray[np.bool_]

    def places(self, ranker: Ranker) -> Places:
        """Of every person's target, as `Reranked` would place it; beyond the pool: missed."""
        batch = FeatureBatch(self.groups.values, self.groups.columns, 0)
        ranked = ranker.score(batch).reshape(-1, POOL)
        target = self.groups.gains.reshape(-1, POOL).argmax(axis=1)
        above = np.full(len(self.held), POOL, np.int64)
        level = np.ones(len(self.held), np.int64)
        above[self.held], level[self.held] = tied_places(ranked, target)
        return Places(above, level)


def learn(split: LeaveOneOut, content: Csr | None, judge: Examples, seed: int) -> Linear:
    """A ranker of training labels; validation chooses its ridge."""
    train = split.train
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(train))
    parts = []
    for held in range(FOLDS):
        others = Evidence.of(train.where(fold[train.people] != held), content)
        for age in range(LABELS):
            mine = train.take((fold == held) & (train.lengths > age + 1))
            parts.append(examples(others, mine.before_last(age + 1), mine.at(age))[0])
    return Linear.fit(joined(parts), judge, seed=seed, ridges=RIDGES)


def fused(models: list[Scorer], weights: tuple[float, ...]) -> Scorer:
    """Log-softmaxes of several models, summed: where a person encoder comes in."""

    def scores(histories: Sequences) -> NDArray[np.float32]:
        return blended([_logs(model, histories) for model in models], weights)

    return scores


def _logs(model: Scorer, histories: Sequences) -> NDArray[np.float32]:
    """[people, items] float32, logs of chances; -inf, which no sum survives, becomes far down."""
    return log_softmax(np.maximum(model(histories), np.float32(-1e4)))


def weighed(models: list[Scorer], split: LeaveOneOut, people: int = 2_048) -> tuple[float, ...]:
    """Weights of the models by NDCG@10 on validation, for so many people."""
    # Spread over all: people are numbered in some order of the source.
    chosen = np.unique(np.linspace(0, len(split.train) - 1, people).astype(np.intp))
    histories, targets = split.train.take(chosen), split.validation[chosen]
    parts = [
        np.concatenate([_logs(model, rows) for _, rows in in_parts(histories)]) for model in models
    ]

    def quality(weights: tuple[float, ...]) -> float:
        scores = unseen(blended(parts, weights), histories)
        above, level = tied_places(scores, targets.astype(np.intp))
        return float(expected_ndcg_of_one(above, level, 10).mean())

    return tuned(quality, [1.0] * len(models))


def rows(
    name: str,
    data: Path,
    say: Callable[[str], None] = print,
    *,
    encoders: tuple[Callable[[LeaveOneOut, int], Scorer], ...] = (),
    seeds: tuple[int, ...] = SEEDS,
) -> list[Row]:
    """The rows of `beauty` or `clothing`.

    Args:
        name: which.
        data: folder of the public sets.
        say: hears what was found on validation.
        encoders: each is given the split, of which it learns from training labels alone, and a
            seed, and scores any histories; they are fused with the re-ranked evidence.
        seeds: of folds and encoders.
    """
    folder = data / f"amazon_{name}"
    sequences = amazon(folder)
    split, content = LeaveOneOut.of(sequences), attributes(folder, sequences.number)
    simple: dict[str, Scorer] = {
        "popularity": Popularity.fit(split.train).scores,
        "session_knn": SessionKnn.fit(split.train).scores,
        "evidence": Evidence.of(split.train, content).scores,
    }
    found: dict[str, list[Places]] = {}
    for title, scorer in simple.items():
        validation = Places.of(scorer, split.train, split.validation)
        found[title] = [Places.of(scorer, split.test_histories, split.test)]
        say(f"{name} {title}: validation {validation}")
    start = time.process_time()
    evidence = Evidence.of(split.train, content)
    before = Evidence.of(split.train.where(split.train.ages >= 1), content)
    judge = Answered(*examples(before, split.train, split.validation))
    test = Answered(*examples(evidence, split.test_histories, split.test))
    say(f"{name}: pools hold {judge.held.mean():.4f} of validation's targets")
    found["hybrid"], shares = [], []
    for seed in seeds:
        ranker = learn(split, content, judge.groups, seed)
        say(f"{name} seed {seed}: validation {judge.places(ranker)}")
        if encoders:
            outside = [encoder(split, seed) for encoder in encoders]
            models = [Reranked(evidence, ranker).scores, *outside]
            weights = weighed(models, split)
            shares.append(", ".join(f"{weight:.2f}" for weight in weights))
            scorer = fused(models, weights)
            say(f"weights {weights}: {Places.of(scorer, split.train, split.validation)}")
            found["hybrid"].append(Places.of(scorer, split.test_histories, split.test))
        else:
            found["hybrid"].append(test.places(ranker))
    cost = (time.process_time() - start) / len(seeds)
    for title, places in found.items():
        say(f"{name} {title}: test {', '.join(map(str, places))}")
    note = (
        "leave-one-out, all items ranked, labels of training alone; a linear softmax over the "
        f"best {POOL} of counted evidence, cross-fitted in {FOLDS} folds of people; {cost:.0f} s "
        f"of CPU a seed{', fitting of the encoder left out' if encoders else ''}; "
        + (f"fused with the person encoder, weights {'; '.join(shares)}" if shares else "alone")
    )
    return [*_hybrid_rows(name, found, note), *_simple_rows(name, found)]


def _hybrid_rows(name: str, found: dict[str, list[Places]], note: str) -> list[Row]:
    peer, hits, ndcg = PUBLISHED[name]
    prefix = f"models.{name}_hybrid" if name == "beauty" else f"models.{name}"
    places = found["hybrid"]
    return [
        row(f"{prefix}_hr10", [one.hits() for one in places], target=TARGETS[name][0],
            peer=(peer, hits), note=note),
        row(f"{prefix}_ndcg10", [one.ndcg() for one in places], target=TARGETS[name][1],
            peer=(peer, ndcg), note=note),
    ]  # fmt: skip


def _simple_rows(name: str, found: dict[str, list[Places]]) -> list[Row]:
    measures = (("hr10", Places.hits), ("ndcg10", Places.ndcg))
    return [
        row(f"models.{name}_{title}_{metric}", [measure(found[title][0])], note="same protocol")
        for title in ("session_knn", "evidence", "popularity")
        for metric, measure in measures
    ]
