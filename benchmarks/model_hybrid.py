"""Leave-one-out on Amazon Beauty and Clothing: session kNN, evidence by hand, and re-ranked.

The re-ranker learns from training labels alone. People are dealt into FOLDS; what stands in
`Evidence` is counted without a fold's people, who then answer for the last two items of their
training part. Validation only stops it, and picks among rankers and weights. Test is read once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.model_evidence import POOL, Csr, Evidence, examples, joined
from benchmarks.model_protocols import LeaveOneOut, Places, Scorer, amazon, attributes, row
from benchmarks.record import Row
from heirloom.core.slate import FeatureBatch
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.ranker import Ranker
from heirloom.retrieval.collaborative.blend import blended, log_softmax, tuned
from heirloom.retrieval.collaborative.popularity import Popularity
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn

FOLDS = 4
LABELS = 2
"""The latest items of a training part that its person answers for."""
SEEDS = (0, 1, 2)
TREES = {"iterations": 300, "learning_rate": 0.08, "depth": 6, "leaf_iterations": 1}
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
        pool, batch = self.evidence.batch(histories)
        ranked = self.ranker.score(FeatureBatch(batch.values, batch.columns, 0))[:, 0]
        inside = log_softmax(ranked.reshape(pool.shape))
        scores = self.evidence.scores(histories)
        outside = scores - np.take_along_axis(scores, pool[:, -1:], 1)
        outside = np.minimum(outside, 0) + inside.min(axis=1, keepdims=True) - 1
        np.put_along_axis(outside, pool, inside, axis=1)
        return outside


def learn(train: Sequences, content: Csr | None, split: LeaveOneOut, seed: int) -> Reranked:
    """A re-ranker of training labels, stopped on validation."""
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(train))
    parts = []
    for held in range(FOLDS):
        others = Evidence.of(train.where(fold[train.people] != held), content)
        for age in range(LABELS):
            mine = train.take((fold == held) & (train.lengths > age + 1))
            parts.append(examples(others, mine.before_last(age + 1), mine.at(age)))
    evidence = Evidence.of(train, content)
    judge = examples(evidence, train, split.validation)
    ranker = CatBoostListwise.fit(joined(parts), judge, seed=seed, thread_count=1, **TREES)  # type: ignore[arg-type]
    return Reranked(evidence, ranker)


def fused(models: list[Scorer], weights: tuple[float, ...]) -> Scorer:
    """Log-softmaxes of several models, summed: where a person encoder comes in."""

    def scores(histories: Sequences) -> NDArray[np.float32]:
        return blended([log_softmax(model(histories)) for model in models], weights)

    return scores


def weighed(models: list[Scorer], split: LeaveOneOut, people: int = 4_096) -> tuple[float, ...]:
    """Weights of the models by NDCG@10 on validation, for the first people."""
    rows, targets = split.train.take(slice(0, people)), split.validation[:people]

    def quality(weights: tuple[float, ...]) -> float:
        return float(Places.of(fused(models, weights), rows, targets).ndcg().mean())

    return tuned(quality, [1.0] * len(models))


def rows(
    name: str,
    data: Path,
    say: Callable[[str], None] = print,
    *,
    encoders: tuple[Callable[[Sequences], Scorer], ...] = (),
    seeds: tuple[int, ...] = SEEDS,
) -> list[Row]:
    """The rows of `beauty` or `clothing`.

    Args:
        name: which.
        data: folder of the public sets.
        say: hears what was found on validation.
        encoders: each is given the training sequences and the seed's models, and gives scores
            [people, items] for any histories; they are fused with the re-ranked evidence.
        seeds: of folds and trees.
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
    outside = [encoder(split.train) for encoder in encoders]
    start = time.process_time()
    found["hybrid"] = []
    for seed in seeds:
        model = learn(split.train, content, split, seed)
        trees = model.ranker.trees if isinstance(model.ranker, CatBoostListwise) else 0
        models = [model.scores, *outside]
        weights = weighed(models, split) if outside else (1.0,)
        scorer = fused(models, weights) if outside else model.scores
        validation = Places.of(scorer, split.train, split.validation)
        say(f"{name} seed {seed}: validation {validation}, {trees} trees, weights {weights}")
        found["hybrid"].append(Places.of(scorer, split.test_histories, split.test))
    cost = (time.process_time() - start) / len(seeds)
    say(f"{name}: test {', '.join(f'{title} {p[0]}' for title, p in found.items())}")
    note = (
        f"leave-one-out, all items ranked, labels of training alone; CatBoost over the best {POOL} "
        f"of counted evidence, cross-fitted in {FOLDS} folds of people; {cost:.0f} s of CPU a seed"
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


PARTS = {name: partial(rows, name) for name in PUBLISHED}
