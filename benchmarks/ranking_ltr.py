"""Learning to rank on public sets, every backend and loss tuned alike.

    python -m benchmarks.ranking_ltr --data FOLDER [--part NAME]

Each contestant (a backend under a loss) has the same budget: `TRIALS` settings drawn at random from
its stated space, the defaults first, each fitted on `FOLDS` folds of the training queries and
judged by NDCG@10 of the fold left out, which is also what stops it early. The best is then fitted
on all five folds in turn, and the five models' NDCG of each test query are averaged. The test part
is read for nothing else.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import ranking_score, record
from benchmarks.parts import KEPT, measured
from benchmarks.record import Row
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.intervals import bootstrap
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.ranking.catboost import CatBoostListwise, with_position
from heirloom.ranking.deep_cross import DeepCross
from heirloom.ranking.examples import take
from heirloom.ranking.lightgbm import LightGBMLambdaMART
from heirloom.ranking.ranker import Examples, Ranker

TRIALS = 6
FOLDS = 3
ALL_FOLDS = 5
K = 10
Space = Mapping[str, Sequence[Any]]
LIGHTGBM: Space = {
    "leaves": (7, 15, 31),
    "learning_rate": (0.03, 0.05, 0.1),
    "least_rows": (10, 20, 50),
    "l2_leaf_reg": (1.0, 5.0, 20.0),
    "column_share": (0.5, 0.8, 1.0),
}
CATBOOST: Space = {
    "depth": (4, 5, 6),
    "learning_rate": (0.05, 0.08, 0.15),
    "l2_leaf_reg": (3.0, 5.0, 10.0, 30.0),
    "iterations": (200, 500),
}
NETWORK: Space = {
    "crosses": (0, 1, 2),
    "hidden": (16, 32, 64),
    "knots": (2, 8, 16),
    "learning_rate": (1e-3, 3e-3),
    "weight_decay": (0.1, 0.5, 1.0),
    "dropout": (0.1, 0.3),
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A backend under a loss, what of it is tuned, and what is not."""

    ranker: type[Ranker]
    loss: str
    space: Space
    fixed: Mapping[str, Any] = field(default_factory=dict)


CONTESTANTS = {
    **{
        f"lightgbm_{loss}": Contestant(LightGBMLambdaMART, loss, LIGHTGBM, {"thread_count": 1})
        for loss in ("lambdarank", "rank_xendcg")
    },
    **{
        f"catboost_{loss.lower()}": Contestant(
            CatBoostListwise, loss, CATBOOST, {"thread_count": 1}
        )
        for loss in ("QuerySoftMax", "YetiRank")
    },
    **{
        f"deep_cross_{loss}": Contestant(DeepCross, loss, NETWORK, {"least_steps": 300})
        for loss in (
            "softmax", "list_mle", "ranknet", "lambdarank", "lambda_loss", "approx_ndcg",
        )
    },
}  # fmt: skip


class Outcome(msgspec.Struct, frozen=True):
    """What a contestant came to: settings chosen, NDCG on folds, and of each test query."""

    commit: str | None
    settings: dict[str, Any]
    tuned_to: float
    ndcg: list[float]
    trials: int


def letor(file: Path, columns: tuple[str, ...] | None = None) -> Examples:
    """Queries of a LETOR table, gain 2^label - 1; rows shuffled, so that ties tell nothing."""
    table = pl.read_parquet(file).sample(fraction=1, shuffle=True, seed=0)
    table = table.sort("query_id", maintain_order=True)
    names = columns or tuple(name for name in table.columns if name.startswith("f"))
    rows = len(table)
    return Examples(
        values=table.select(names).to_numpy().astype(np.float32),
        columns=names,
        groups=table["query_id"].rle_id().to_numpy().astype(np.int64),
        gains=(2.0 ** table["label"].to_numpy() - 1).astype(np.float32),
        positions=np.zeros(rows, np.int16),
        t=np.zeros(rows, np.int64),
    )


def ndcg_of(ranker: Ranker, examples: Examples, k: int = K) -> NDArray[np.float64]:
    """[queries] float64, NDCG@k; 0 where nothing is relevant."""
    scores = ranker.score(FeatureBatch(examples.values, examples.columns, 0))[:, 0]
    groups = np.unique(examples.groups, return_inverse=True)[1].astype(np.int64)
    found = np.zeros(groups[-1] + 1)
    found[np.unique(groups[examples.gains > 0])] = grouped_ndcg(scores, examples.gains, groups, k)
    return found


def settings_of(space: Space, trials: int) -> list[dict[str, Any]]:
    """The defaults, then draws from the space, the same in every run.

    >>> settings_of({"depth": (4, 6)}, 1)
    [{}]
    """
    rng = np.random.default_rng(0)
    drawn = [
        {name: values[int(rng.integers(len(values)))] for name, values in space.items()}
        for _ in range(trials - 1)
    ]
    return [{}, *drawn]


def fold_of(examples: Examples) -> NDArray[np.int64]:
    """[rows] int64, which of the folds a row's query is in."""
    order = np.random.default_rng(0).permutation(int(examples.groups.max()) + 1)
    folds: NDArray[np.int64] = order[examples.groups] % ALL_FOLDS
    return folds


def contest(contestant: Contestant, train: Examples, test: Examples, trials: int) -> Outcome:
    """Tune on folds of `train` alone, then measure on `test`."""
    fold = fold_of(train)

    def fitted(settings: Mapping[str, Any], held: int) -> tuple[Ranker, Examples]:
        judge = take(train, fold == held)
        more = {**contestant.fixed, "loss": contestant.loss, **settings}
        return contestant.ranker.fit(take(train, fold != held), judge, seed=held, **more), judge

    def on_folds(settings: Mapping[str, Any]) -> float:
        return statistics.mean(
            float(ndcg_of(*fitted(settings, held)).mean()) for held in range(FOLDS)
        )

    tried = [(on_folds(settings), settings) for settings in settings_of(contestant.space, trials)]
    tuned_to, best = max(tried, key=lambda each: each[0])
    models = [fitted(best, held)[0] for held in range(ALL_FOLDS)]
    ndcg = np.mean([ndcg_of(model, test) for model in models], axis=0)
    return Outcome(record.version()[0], best, tuned_to, ndcg.tolist(), trials)


def outcome(name: str, data: Path, trials: int = TRIALS) -> Outcome:
    """A contestant's, kept of this commit or measured now."""
    file = KEPT / "bench-ranking" / f"mq2008-{name}.json"
    commit, dirty = record.version()
    if file.exists() and not dirty:
        kept = msgspec.json.decode(file.read_bytes(), type=Outcome)
        if (kept.commit, kept.trials) == (commit, trials):
            return kept
    folder = data / "ltr_mq2008_fold1"
    train, test = (letor(folder / f"{part}.parquet") for part in ("train", "test"))
    began = time.process_time()
    found = contest(CONTESTANTS[name], train, test, trials)
    print(
        f"{name}: {found.tuned_to:.4f} on folds, {statistics.mean(found.ndcg):.4f} on test with "
        f"{found.settings}; {time.process_time() - began:.0f} s of CPU"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(found))
    return found


def mq2008_rows(data: Path, trials: int = TRIALS) -> list[Row]:
    """Every contestant's NDCG@10, and the default backend's against tuned LightGBM, paired."""
    found = {name: outcome(name, data, trials) for name in CONTESTANTS}

    def best_of(backend: str) -> str:
        names = [name for name in found if name.startswith(backend)]
        return max(names, key=lambda name: found[name].tuned_to)

    ours, theirs = best_of("catboost"), best_of("lightgbm")
    queries = np.arange(len(found[ours].ndcg))
    paired = bootstrap(np.subtract(found[ours].ndcg, found[theirs].ndcg), queries, seed=0)
    budget = (
        f"{trials} settings each, the defaults first, on {FOLDS} of {ALL_FOLDS} folds of the "
        f"training queries; gain 2^label - 1, empty queries 0; mean of {ALL_FOLDS} models, each "
        "fitted on four folds and stopped by the fifth"
    )
    version = lightgbm_version()
    rows = [
        Row(
            id="ranking.mq2008_vs_lightgbm_low",
            value=round(paired.low, 4),
            unit="NDCG@10",
            better="higher",
            target=-0.01,
            peer=f"LightGBM {version}, {theirs.removeprefix('lightgbm_')}, its NDCG@10",
            peer_value=round(statistics.mean(found[theirs].ndcg), 4),
            interval=(round(paired.low, 4), round(paired.high, 4)),
            note=(
                f"lower end of the paired 95 % bootstrap over {len(queries)} test queries of "
                f"{ours} minus {theirs}, mean {paired.mean:+.4f}; the loss of each backend "
                f"chosen on the folds; {budget}"
            ),
        )
    ]
    for name, each in found.items():
        interval = bootstrap(np.array(each.ndcg), queries, seed=0)
        chosen = ", ".join(f"{key} {value}" for key, value in each.settings.items()) or "defaults"
        rows.append(
            Row(
                id=f"ranking.mq2008_{name}_ndcg10",
                value=round(interval.mean, 4),
                unit="NDCG@10",
                better="higher",
                peer="LETOR 4.0 baselines, published, MeanNDCG over five folds, best of them",
                peer_value=0.495,
                interval=(round(interval.low, 4), round(interval.high, 4)),
                note=(
                    f"95 % bootstrap over queries; {each.tuned_to:.4f} on the folds; {chosen}; the "
                    "published figure is another mean (all cut-offs, five folds), for orientation"
                ),
            )
        )
    return rows


def example_rows(data: Path) -> list[Row]:
    """LightGBM's own example: its settings, and the default backend as it comes."""
    import lightgbm

    folder = data / "ltr_lightgbm_example"
    train = letor(folder / "train.parquet")
    test = letor(folder / "test.parquet", train.columns)
    fold = fold_of(train)
    models = [
        CatBoostListwise.fit(
            take(train, fold != held), take(train, fold == held), seed=held, loss="YetiRank",
            learning_rate=0.08, iterations=500, thread_count=1,
        )
        for held in range(ALL_FOLDS)
    ]  # fmt: skip
    ours = np.mean([ndcg_of(model, test, 5) for model in models], axis=0)
    conf = {
        "objective": "lambdarank", "num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 50,
        "min_sum_hessian_in_leaf": 5.0, "bagging_freq": 1, "bagging_fraction": 0.9,
        "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    labels = np.log2(train.gains + 1).round()
    learn = lightgbm.Dataset(
        with_position(train.values, None), labels, group=np.bincount(train.groups)
    )
    peer = lightgbm.train(conf, learn, 100)
    theirs = ndcg_of(LightGBMLambdaMART(peer, train.columns), test, 5)
    queries = np.arange(len(ours))
    interval, paired = (
        bootstrap(values, queries, seed=0) for values in (ours, np.subtract(ours, theirs))
    )
    return [
        Row(
            id="ranking.ltr_lightgbm_example_ndcg5",
            value=round(interval.mean, 4),
            unit="NDCG@5",
            better="higher",
            peer=f"LightGBM {lightgbm_version()}, its example's train.conf, same run",
            peer_value=round(float(theirs.mean()), 4),
            interval=(round(interval.low, 4), round(interval.high, 4)),
            note=(
                f"95 % bootstrap over {len(queries)} queries; catboost under YetiRank, not tuned "
                f"here, mean of {ALL_FOLDS} models each fitted on four folds and stopped by the "
                f"fifth; difference {paired.mean:+.4f} [{paired.low:+.4f}, {paired.high:+.4f}] "
                "paired; the peer learns from all five"
            ),
        )
    ]


def lightgbm_version() -> str:
    """Of the peer."""
    import lightgbm

    return str(lightgbm.__version__)


def rows(data: Path, part: str | None = None) -> list[Row]:
    """All rows, or those of one part; a part measured at this commit is not measured again."""
    parts: dict[str, Callable[[], list[Row]]] = {
        "mq2008": lambda: mq2008_rows(data),
        "example": lambda: example_rows(data),
        "score": ranking_score.score_rows,
    }
    names = [part] if part else list(parts)
    return [row for name in names for row in measured("ranking", name, parts[name])]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--part", choices=("mq2008", "example", "score"))
    chosen = options.parse_args()
    for row in rows(chosen.data, chosen.part):
        print(msgspec.json.format(msgspec.json.encode(row)).decode())


if __name__ == "__main__":
    main()
