"""What scoring 500 rows for all actions costs, and what is given up in quality for it.

Rankers learn from one simulated log (`ranking_log`), are compared by NDCG@10 of its latest slates,
and are timed on rows of the same log in the same run.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ranking_log
from benchmarks.record import Row
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.intervals import bootstrap
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.ranking.by_action import CatBoostActions
from heirloom.ranking.catboost import CatBoostListwise, with_position
from heirloom.ranking.deep_cross import DeepCross
from heirloom.ranking.examples import with_gain
from heirloom.ranking.lightgbm import LightGBMLambdaMART
from heirloom.ranking.ranker import Examples, Ranker

K = 10
ROWS, FEATURES = 500, 60
LARGE = "LightGBM 63 leaves, stopped early"


@dataclass(frozen=True, slots=True)
class Timed:
    """A ranker as it served: NDCG@10 of each test slate, ms of CPU for 500 rows."""

    ndcg: NDArray[np.float64]
    cpu_ms: float


def timed(ranker: Ranker, test: Examples, order: Callable[[Any], Any], repeats: int = 60) -> Timed:
    """Quality on all of `test`, and the median CPU time of 500 rows at a time."""
    ndcg = _ndcg_by(ranker, order, test)
    rng = np.random.default_rng(0)
    batches = [test.values[rng.integers(0, len(test.values), ROWS)] for _ in range(8)]
    taken = []
    for i in range(repeats + 5):
        batch = FeatureBatch(batches[i % len(batches)], test.columns, 0)
        began = time.process_time()
        ranker.score(batch)
        taken.append(time.process_time() - began)
    return Timed(ndcg, 1_000 * statistics.median(taken[5:]))


def _ndcg_by(ranker: Ranker, order: Callable[[Any], Any], log: Examples) -> NDArray[np.float64]:
    """[slates] float64, NDCG@10 of each slate with a gain."""
    scores = ranker.score(FeatureBatch(log.values, log.columns, 0))
    return grouped_ndcg(order(scores), log.gains, log.groups, K)


def score_rows() -> list[Row]:
    """500 rows x 60 features for all actions, one thread, and what is given up in quality."""
    import lightgbm

    log = ranking_log.acted()
    keep = np.sort(np.random.default_rng(0).permutation(len(log.train.columns))[:FEATURES])
    train, validation, test = (_only(part, keep) for part in (log.train, log.validation, log.test))
    slates = np.unique(test.groups[test.gains > 0])
    fits: dict[str, tuple[Ranker, Callable[[Any], Any]]] = {
        f"deep_cross, {shape}, all actions": (
            DeepCross.fit(
                train, validation, seed=0, labels=log.labels, experts=experts, place="examined"
            ),
            lambda scores: scores @ log.worths,
        )
        for shape, experts in (("shared bottom", 1), ("4 experts", 4))
    }
    fits["deep_cross, softmax, gain alone"] = (
        DeepCross.fit(train, validation, seed=0), lambda scores: scores[:, 0],
    )  # fmt: skip
    fits["catboost, any and given, all actions"] = (
        CatBoostActions.fit(train, validation, seed=0, thread_count=1),
        lambda scores: scores @ log.worths,
    )
    fits["catboost, QuerySoftMax, gain alone"] = (
        CatBoostListwise.fit(train, validation, seed=0, thread_count=1),
        lambda scores: scores[:, 0],
    )
    whole, stopped = _lightgbm_500(train, validation)
    fits[LARGE] = stopped, lambda scores: scores[:, 0]
    found = {name: timed(ranker, test, order) for name, (ranker, order) in fits.items()}
    peer_ms = timed(whole, test, lambda scores: scores[:, 0]).cpu_ms
    peer = found[LARGE]
    best = max(found, key=lambda name: float(found[name].ndcg.mean()))
    multi = [name for name in found if name.endswith("all actions")]
    ours = max(multi, key=lambda name: _ndcg_by(*fits[name], validation).mean())
    to_best = bootstrap(found[ours].ndcg - found[best].ndcg, slates, seed=0)
    to_peer = bootstrap(found[ours].ndcg - peer.ndcg, slates, seed=0)
    told = "; ".join(
        f"{name}: NDCG@10 {each.ndcg.mean():.4f}, {each.cpu_ms:.2f} ms"
        for name, each in found.items()
    )
    where = f"{ROWS} rows of {FEATURES} features drawn of the view's, one thread, {log.what}"
    return [
        Row(
            id="ranking.score500_cpu_ms",
            value=round(found[ours].cpu_ms, 3),
            unit="ms of CPU",
            better="lower",
            target=2.0,
            peer=f"best in NDCG@10 of the same run: {best}",
            peer_value=round(found[best].cpu_ms, 3),
            note=(
                f"{ours} ({len(ranking_log.ACTIONS)} probabilities); NDCG@10 minus the best's "
                f"{to_best.mean:+.4f} [{to_best.low:+.4f}, {to_best.high:+.4f}] paired; {where}; "
                f"{told}"
            ),
        ),
        Row(
            id="ranking.score500_vs_lightgbm",
            value=round(peer_ms / found[ours].cpu_ms, 2),
            unit="x",
            better="higher",
            target=12,
            peer=f"LightGBM {lightgbm.__version__}, 500 trees of 63 leaves, one action, ms",
            peer_value=round(peer_ms, 2),
            note=(
                f"{ours}, {found[ours].cpu_ms:.2f} ms for {len(ranking_log.ACTIONS)} actions; "
                f"NDCG@10 minus LightGBM's at its best number of trees {to_peer.mean:+.4f} "
                f"[{to_peer.low:+.4f}, {to_peer.high:+.4f}] paired; {where}"
            ),
        ),
    ]


def _lightgbm_500(
    train: Examples, validation: Examples
) -> tuple[LightGBMLambdaMART, LightGBMLambdaMART]:
    """LightGBM with all of 500 trees of 63 leaves, and with as many as were best on validation."""
    import lightgbm

    parts = [with_gain(part) for part in (train, validation)]
    worths = np.unique(np.concatenate([part.gains for part in parts]))
    learn, judge = (
        lightgbm.Dataset(
            with_position(part.values, part.positions),
            np.searchsorted(worths, part.gains),
            group=np.unique(part.groups, return_counts=True)[1],
        )
        for part in parts
    )
    settings = {
        "objective": "lambdarank", "label_gain": worths.tolist(), "num_leaves": 63,
        "learning_rate": 0.05, "metric": "ndcg", "eval_at": [K], "num_threads": 1,
        "verbosity": -1,
    }  # fmt: skip
    heard: dict[str, dict[str, list[float]]] = {}
    listen = lightgbm.record_evaluation(heard)
    whole = lightgbm.train(settings, learn, 500, valid_sets=[judge], callbacks=[listen])
    best = int(np.argmax(heard["valid_0"][f"ndcg@{K}"])) + 1
    stopped = lightgbm.Booster(model_str=whole.model_to_string(num_iteration=best))
    return (
        LightGBMLambdaMART(whole, train.columns),
        LightGBMLambdaMART(stopped, train.columns),
    )


def _only(examples: Examples, columns: NDArray[np.intp]) -> Examples:
    values = np.ascontiguousarray(examples.values[:, columns])
    return dataclasses.replace(
        examples, values=values, columns=tuple(examples.columns[i] for i in columns)
    )
