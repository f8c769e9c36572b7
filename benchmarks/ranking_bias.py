"""Position bias: are examination chances recovered, and is what is learned with them unbiased?

    python -m benchmarks.ranking_bias [recovery|learning] [--sessions 200000] [--seeds 1 2 3]

The simulator's marketplace, its examination replaced by 1 / rank^exponent and, for the grid, its
own. Three policies order what one retrieval proposes, each query answered by one of them at
random: by popularity, by a personal score, and by recency. So places go with worth, and the click
rate by place is wrong by half. Each log is of 200,000 sessions, about half a million slates.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from catboost import CatBoost, Pool
from numpy.typing import NDArray

from benchmarks.ranking_bias_log import LEARNED, PLACES, SWAPS, UNSEEN, Log, simulated
from benchmarks.record import Row
from heirloom.core.errors import InputError
from heirloom.core.slate import FeatureBatch
from heirloom.evaluation.metrics import grouped_ndcg
from heirloom.ranking.catboost import CatBoostListwise, training_settings
from heirloom.ranking.examination import Examination, position_logits
from heirloom.ranking.examples import take, with_gain
from heirloom.ranking.harvesting import Pairs, examination_of_pairs
from heirloom.ranking.propensity import debiased
from heirloom.ranking.ranker import Examples
from heirloom.ranking.regression_em import regression_em
from heirloom.simulator.truth import Examined, examination, power_law

SESSIONS = 200_000
SEEDS = (1, 2, 3)
EXPONENTS = (0.5, 1.0, 2.0)
JUDGED = 20
"""Ranks whose chances are judged, of 24."""
HELD_OUT, STOPPED_BY = 0.15, 0.1
"""Shares of the slates, the latest: to judge by, and before them to stop early by."""
EM_ROWS = 60_000
TREES, RATE, DEPTH = 400, 0.3, 5
"""Of every ranker here: only their labels differ."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recovered:
    """Worst relative error of a chance to rank 20, by estimator, of one log."""

    curve: str
    seed: int
    clicks: int
    slates: int
    harvest: float
    unsmoothed: float
    swaps: float
    again: float
    regressed: float
    rate: float


@dataclass(frozen=True, slots=True)
class Learned:
    """Mean NDCG@10 of rankers on slates held out, by true chance of a click once looked at."""

    exponent: float
    full: float
    looked: float
    offset: float
    corrected: float
    position: float
    clicks: float


@dataclass(frozen=True, slots=True)
class Selected:
    """Mean NDCG@10 over what was shown and what was not, by what a ranker learned from."""

    full: float
    full_of_shown: float
    corrected_of_shown: float
    corrected_with_unseen: float


def error(found: Examination, truth: NDArray[np.float64]) -> float:
    """Worst relative error to rank 20, or to the last that was estimated."""
    return float(np.abs(found.chance / truth[: len(found.chance)] - 1)[:JUDGED].max())


def _error(pairs: Pairs, truth: NDArray[np.float64]) -> float:
    """The same of pairs; infinite where they hold too few clicks to say anything."""
    try:
        return error(examination_of_pairs(pairs), truth)
    except InputError:
        return float("inf")


def recovered(log: Log, curve: str, truth: NDArray[np.float64], seed: int) -> Recovered:
    """What each estimator makes of a log."""
    return Recovered(
        curve=curve,
        seed=seed,
        clicks=log.clicks,
        slates=log.slates,
        harvest=error(examination_of_pairs(log.harvest), truth),
        unsmoothed=error(examination_of_pairs(log.harvest, penalty=0.0), truth),
        swaps=_error(log.swaps, truth),
        again=_error(log.again, truth),
        regressed=error(_regressed(log), truth),
        rate=error(Examination(log.rates / log.rates[0]), truth),
    )


def _regressed(log: Log) -> Examination:
    """Regression-EM on some rows; what is not known of a listing is a column of its own."""
    examples = log.examples
    rows = np.flatnonzero((examples.positions >= 0) & log.even)[:EM_ROWS]
    values = examples.values[rows].astype(np.float64)
    missing = np.isnan(values)
    centred = np.where(missing, 0, values - np.nanmean(values, axis=0))
    scale = centred.std(axis=0)
    inputs = centred / np.where(scale > 0, scale, 1)
    some = missing.any(axis=0)
    x = np.column_stack([inputs, inputs**2, missing[:, some]])
    clicks, positions = examples.gains[rows], examples.positions[rows]
    return regression_em(x, positions, clicks, depth=PLACES, iterations=100).examination


@dataclass(frozen=True, slots=True)
class _Trial:
    """Slates to learn from, to stop early by and to judge by, in time order."""

    log: Log
    learn: NDArray[np.bool_]
    stop: NDArray[np.bool_]
    judge: NDArray[np.bool_]

    @classmethod
    def of(cls, log: Log) -> "_Trial":
        """The latest slates are for judging, those before them for stopping."""
        group = log.examples.groups
        slates = int(group[-1]) + 1
        learn = group < (1 - HELD_OUT - STOPPED_BY) * slates
        judge = group >= (1 - HELD_OUT) * slates
        return cls(log, learn, ~learn & ~judge, judge & log.even)

    def ndcg(
        self,
        examples: Examples,
        rows: NDArray[np.bool_],
        judged: NDArray[np.bool_],
        logits: NDArray[np.float32] | None = None,
    ) -> float:
        """Fitted on `rows` of the examples, judged on the rows `judged` of slates held out.

        With `logits` the trees begin at the position's, and learn what is left.
        """
        of = take(self.log.examples, judged & self.judge)
        learn, stop = rows & self.learn, rows & self.stop
        if logits is None:
            ranker = CatBoostListwise.fit(
                take(examples, learn), take(examples, stop), seed=0,
                iterations=TREES, learning_rate=RATE, depth=DEPTH,
            )  # fmt: skip
            scores = ranker.score(FeatureBatch(of.values, of.columns, 0))[:, 0]
        else:
            loss = {"loss_function": "QuerySoftMax", "leaf_estimation_iterations": 5}
            model = CatBoost(
                {**training_settings(0, 2, TREES), **loss, "learning_rate": RATE, "depth": DEPTH}
            )
            pools = [_pool(take(examples, part), logits[part]) for part in (learn, stop)]
            model.fit(pools[0], eval_set=pools[1])
            scores = model.predict(of.values)
        true = self.log.chance[judged & self.judge]
        return float(grouped_ndcg(scores, true, of.groups, 10).mean())


def _pool(examples: Examples, logits: NDArray[np.float32]) -> Pool:
    """Slates with a click, the position's logit as baseline."""
    kept = with_gain(replace(examples, t=np.arange(len(logits))))
    return Pool(
        kept.values, label=kept.gains, group_id=kept.groups,
        baseline=logits[kept.t].astype(np.float64),
    )  # fmt: skip


def learned(log: Log, exponent: float) -> Learned:
    """Rankers fitted on what slates showed, each with another idea of what a click says."""
    trial, shown = _Trial.of(log), log.examples
    seen = shown.positions >= 0
    placed = replace(shown, positions=np.maximum(shown.positions, 0))
    flat = replace(shown, positions=np.zeros_like(shown.positions))

    even, found = seen & log.even, examination_of_pairs(log.harvest)

    def ndcg(examples: Examples) -> float:
        return trial.ndcg(examples, seen, seen)

    return Learned(
        exponent=exponent,
        full=trial.ndcg(replace(flat, gains=log.chance), even, seen),
        looked=trial.ndcg(replace(flat, gains=log.looked), even, seen),
        offset=trial.ndcg(flat, seen, seen, position_logits(found, placed.positions)),
        corrected=ndcg(debiased(placed, found)[0]),
        position=ndcg(placed),
        clicks=ndcg(flat),
    )


def selected(log: Log) -> Selected:
    """What learning from shown listings alone costs, when others are ranked too."""
    trial, shown = _Trial.of(log), log.examples
    seen, every = shown.positions >= 0, np.ones(len(shown.gains), np.bool_)
    flat = replace(shown, positions=np.zeros_like(shown.positions))
    placed = replace(shown, positions=np.maximum(shown.positions, 0))
    weighed = debiased(placed, examination_of_pairs(log.harvest))[0]
    known = replace(flat, gains=log.chance)
    return Selected(
        full=trial.ndcg(known, log.even, every),
        full_of_shown=trial.ndcg(known, seen & log.even, every),
        corrected_of_shown=trial.ndcg(weighed, seen & log.even, every),
        corrected_with_unseen=trial.ndcg(weighed, log.even, every),
    )


def rows(sessions: int = SESSIONS, seeds: Sequence[int] = SEEDS, say: Say = print) -> list[Row]:
    """Of recovery and of learning, each a part of its own."""
    return [*recovery_rows(sessions, seeds, say), *learning_rows(sessions, seeds[0], say)]


def recovery_rows(
    sessions: int = SESSIONS, seeds: Sequence[int] = SEEDS, say: Say = print
) -> list[Row]:
    """How well each estimator finds the chances, over all exponents and seeds."""
    found: list[Recovered] = []
    for exponent in EXPONENTS:
        for seed in seeds:
            curve = power_law(exponent)
            log = simulated(curve, sessions, seed)
            found.append(recovered(log, f"{exponent}", curve(PLACES), seed))
            say(f"{found[-1]} ({log.cpu_s:.0f} s of CPU to simulate)")
    grid = _grid(examination, sessions, seeds[0])
    say(f"{grid}")
    return _recovery_rows(found, grid, sessions)


def learning_rows(sessions: int = SESSIONS, seed: int = 1, say: Say = print) -> list[Row]:
    """How well rankers order what they have not seen, by what they were told of clicks."""
    ranked: list[Learned] = []
    selection: list[Row] = []
    for exponent in EXPONENTS:
        log = simulated(power_law(exponent), sessions, seed)
        ranked.append(learned(log, exponent))
        say(f"{ranked[-1]}")
        if exponent == 1.0:
            beyond = selected(log)
            say(f"{beyond}")
            selection = [_selection_row(beyond)]
    return [*_learning_rows(ranked, sessions), *selection]


def _grid(curve: Examined, sessions: int, seed: int) -> Recovered:
    log = simulated(curve, sessions, seed, columns=2)
    return recovered(log, "grid", curve(PLACES), seed)


def _recovery_rows(found: list[Recovered], grid: Recovered, sessions: int) -> list[Row]:
    worst = max(found, key=lambda each: each.harvest)

    def worst_of(name: str, curve: str | None = None) -> float:
        chosen = [each for each in found if curve in (None, each.curve)]
        return max(float(getattr(each, name)) for each in chosen)

    curves = list(dict.fromkeys(each.curve for each in found))
    by_curve = "; ".join(
        f"exponent {curve}: {worst_of('harvest', curve):.3f} "
        f"(without smoothing {worst_of('unsmoothed', curve):.3f})"
        for curve in curves
    )
    logs = f"{len(found)} logs of {sessions:,} sessions"
    others = {
        "swaps": f"swaps of neighbours on {SWAPS.share:.0%} of the slates, ranks 1-{SWAPS.depth}",
        "again": "home listings shown again to the same person within a day; policies not known",
        "regressed": f"regression-EM on {EM_ROWS:,} rows, features that tell most of what counts",
        "rate": "clicks by place over those of the first",
    }
    return [
        Row(
            id="ranking.propensity_error_max", value=round(worst.harvest, 4), unit="relative",
            better="lower", target=0.05, peer="click rate by place",
            peer_value=round(worst_of("rate"), 4),
            note=f"worst of ranks 1-{JUDGED} in {logs}, simulator, examination 1/rank^exponent, "
            f"AllPairs harvesting of three policies, smoothed by marginal likelihood; {by_curve}; "
            f"clicks {min(each.clicks for each in found):,} and more a log",
        ),
        Row(
            id="ranking.propensity_error_grid", value=round(grid.harvest, 4), unit="relative",
            better="lower", target=0.05, peer="click rate by place",
            peer_value=round(grid.rate, 4),
            note=f"the simulator's own examination by row and column, {sessions:,} sessions, no "
            f"power of the rank; without smoothing {grid.unsmoothed:.3f}, swaps {grid.swaps:.3f}, "
            f"shown again {grid.again:.3f}, regression-EM {grid.regressed:.3f}",
        ),
        *(
            Row(
                id=f"ranking.propensity_error_{name}", value=_finite(worst_of(name)),
                unit="relative", better="lower",
                note=f"{what}; worst of at most ranks 1-{JUDGED} in {logs}; "
                + "; ".join(f"exponent {curve}: {worst_of(name, curve):.3f}" for curve in curves),
            )
            for name, what in others.items()
        ),
    ]  # fmt: skip


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _learning_rows(ranked: list[Learned], sessions: int) -> list[Row]:
    def ratio(name: str, of: Learned) -> float:
        return float(getattr(of, name)) / of.full

    def told(name: str) -> str:
        return ", ".join(f"{each.exponent}: {ratio(name, each):.4f}" for each in ranked)

    at_one = next((each for each in ranked if each.exponent == 1.0), ranked[0])
    least = min(ratio("corrected", each) for each in ranked)
    return [
        Row(
            id="ranking.debiased_vs_full", value=round(least, 4), unit="x", better="higher",
            target=0.99, peer="trained on clicks as they are",
            peer_value=round(min(ratio("clicks", each) for each in ranked), 4),
            note="NDCG@10 over that of the ranker told the true chance of a click once looked at "
            f"({', '.join(f'{each.full:.4f}' for each in ranked)}), CatBoost listwise on "
            f"the slates of {sessions:,} sessions ({LEARNED:.0%} of them where told more than "
            "clicks), worst of the exponents: "
            f"{told('corrected')}; position logits as baseline "
            f"{told('offset')}; "
            f"clicks as if all had been looked at {told('looked')}; position as a feature "
            f"{told('position')}; clicks {told('clicks')}",
        ),
        Row(
            id="ranking.debiased_offset_vs_full", unit="x", better="higher", target=0.99,
            value=round(min(ratio("offset", each) for each in ranked), 4),
            note="the same of the ranker that begins at the position's logit",
        ),
        Row(
            id="ranking.debiased_over_clicks", value=round(at_one.corrected - at_one.clicks, 4),
            unit="NDCG@10", better="higher", target=0.0,
            note="corrected minus click-trained at exponent 1; mean over exponents "
            f"{statistics.mean(each.corrected - each.clicks for each in ranked):.4f}",
        ),
    ]  # fmt: skip


def _selection_row(of: Selected) -> Row:
    return Row(
        id="ranking.selection_bias", value=round(of.corrected_of_shown / of.full, 4), unit="x",
        better="higher", peer=f"with {UNSEEN} unseen listings a slate as passed over",
        peer_value=round(of.corrected_with_unseen / of.full, 4),
        note="NDCG@10 over what a slate showed and listings drawn from the rest of the live, "
        "allowed stock, of the corrected ranker that learned from shown listings alone, over that "
        f"of the ranker told the true chances of both ({of.full:.4f}); told those of shown "
        f"listings alone {of.full_of_shown / of.full:.4f}; exponent 1",
    )  # fmt: skip


def main() -> None:
    """Measure and print the rows."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("part", nargs="?", choices=("recovery", "learning"))
    options.add_argument("--sessions", type=int, default=SESSIONS)
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    chosen = options.parse_args()
    found: list[Row] = []
    if chosen.part != "learning":
        found += recovery_rows(chosen.sessions, chosen.seeds)
    if chosen.part != "recovery":
        found += learning_rows(chosen.sessions, chosen.seeds[0])
    print(json.dumps([msgspec.to_builtins(row) for row in found], indent=1))


if __name__ == "__main__":
    main()
