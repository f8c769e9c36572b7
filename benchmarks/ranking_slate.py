"""The slate step: 200 candidates to a slate of 50 with every rule on, beside MMR in numpy.

python -m benchmarks.ranking_slate [--out FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.record import Row
from heirloom.slates.rules import Rules, Shares
from heirloom.slates.steps import DAY_MS, Pool, composed
from heirloom.testing import slates as plain

CANDIDATES, SLATE, DIM, POOLS, ROUNDS = 200, 50, 64, 40, 25
RULES = Rules(
    page=24, reach=200, diversity=0.3, category_cap=6, price_cap=10, freshness=0.1, seen_cap=3,
    explore=0.1, shares=Shares(new_sellers=1.0, low_exposure=1.0),
)  # fmt: skip
SELLER_CAP = 3


def pools(count: int = POOLS) -> list[Pool]:
    """Candidates drawn at random, content in three dozen clusters."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(36, DIM))
    made = []
    for _ in range(count):
        vectors = centres[rng.integers(0, 36, CANDIDATES)] + rng.normal(size=(CANDIDATES, DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made.append(
            Pool(
                scores=rng.normal(size=CANDIDATES).astype(np.float32),
                names=rng.permutation(CANDIDATES).astype(np.int32),
                sellers=rng.integers(0, 80, CANDIDATES).astype(np.int32),
                categories=rng.integers(0, 12, CANDIDATES).astype(np.int32),
                prices=rng.integers(500, 20_000, CANDIDATES),
                age_ms=rng.integers(0, 60 * DAY_MS, CANDIDATES),
                codes=np.rint(vectors * 127).astype(np.int8),
                seen=rng.poisson(0.5, CANDIDATES).astype(np.int32),
                members=rng.random((CANDIDATES, 2)) < 0.2,
                lifts=np.array([0.1, 0.05]),
                met=rng.integers(0, 3, CANDIDATES),
            )
        )
    return made


def numpy_mmr(pool: Pool) -> None:
    """The peer: the order of scores, then MMR alone, the nearest chosen one kept up to date."""
    order = np.argsort(-pool.scores, kind="stable")
    scores = pool.scores[order].astype(np.float64)
    plain.mmr((scores - scores[-1]) / (scores[0] - scores[-1]), pool.codes[order], SLATE, 0.3)


def cpu_ms(work: Sequence[Callable[[Pool], object]], given: list[Pool]) -> list[list[float]]:
    """CPU ms of each work on each pool, in turns, so that the machine's moods fall on all."""
    found: list[list[float]] = [[] for _ in work]
    for turn in range(ROUNDS + 1):
        for pool in given:
            for times, each in zip(found, work, strict=True):
                begin = time.process_time_ns()
                each(pool)
                if turn:  # the first compiles and warms
                    times.append((time.process_time_ns() - begin) / 1e6)
    return found


def slate_rows() -> list[Row]:
    """`ranking.slate_cpu_ms`, and its parts."""

    def ours(rules: Rules) -> Callable[[Pool], object]:
        return lambda pool: composed(pool, rules, k=SLATE, seller_cap=SELLER_CAP, key=7)

    work = {
        "mmr": ours(RULES),
        "dpp": ours(replace(RULES, by="dpp")),
        "peer": numpy_mmr,
        "without": ours(replace(RULES, diversity=0.0)),
    }
    times = dict(zip(work, cpu_ms(list(work.values()), pools()), strict=True))
    median = {name: statistics.median(each) for name, each in times.items()}
    low, high = np.percentile(times["mmr"], [10, 90])
    said = (
        f"{CANDIDATES} candidates x {DIM} to {SLATE}, one thread, medians of {POOLS * ROUNDS:,} "
        "slates in turns"
    )
    return [
        Row(
            id="ranking.slate_cpu_ms", value=round(median["mmr"], 3), unit="ms CPU",
            better="lower", target=0.3, peer="MMR alone in numpy",
            peer_value=round(median["peer"], 3),
            interval=(round(float(low), 3), round(float(high), 3)),
            note=f"{said}; all rules on, what moved and what it cost told; interval: 10 % to 90 % "
            f"of slates; with a determinantal point process for MMR {median['dpp']:.3f}, without "
            f"diversity {median['without']:.3f}",
        ),
        Row(
            id="ranking.slate_vs_numpy_mmr", value=round(median["peer"] / median["mmr"], 2),
            unit="x", better="higher", peer="MMR alone in numpy",
            note=f"the peer's CPU over ours with all rules, same run; {said}",
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure and print the rows."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--out", type=Path, help="write the rows here as JSON too")
    chosen = options.parse_args()
    text = json.dumps([msgspec.to_builtins(row) for row in slate_rows()], indent=1)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
