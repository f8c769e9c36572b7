r"""Semantic ids beside content, ids, and both: the numbers of ADR 0013.

    PYTHONPATH=src:.:examples/semantic_ids/src python examples/semantic_ids/judge.py \
        --data FOLDER [--part beauty market]

FOLDER is that of the public sets; the marketplace is simulated. Every representation gets the
same person encoder, recipe and number of epochs, the best of which is chosen on validation. Each
part has a results file of its own.
"""

import argparse
from itertools import product
from pathlib import Path

import judge_beauty
import judge_market
import numpy as np
import torch
from benchmarks import record
from benchmarks.record import Row
from judge_rows import rows

SEEDS = (0, 1)
FILES = {"beauty": "semantic_ids.json", "market": "semantic_ids_market.json"}
RETRIEVED = ("hr100",)
METRICS = ("hr10", "ndcg10", "hr100")


def beauty_rows(judged: judge_beauty.Judged) -> list[Row]:
    """Amazon Beauty, leave-one-out, labels of training alone, all items ranked."""
    people = np.arange(len(judged.cold))
    made: list[Row] = []
    for part, which in (("cold", judged.cold), ("all", judged.drawn)):
        made += rows(
            f"beauty_{part}", judged.found, which, people, against="content",
            names=judge_beauty.REPRESENTATIONS, metrics=METRICS, notes=judged.notes,
        )  # fmt: skip
        made += rows(
            f"beauty_{part}", judged.found, which, people, against="vectors_trained",
            names=("vectors_trained", "prefixes_trained"), metrics=RETRIEVED, notes=judged.notes,
        )  # fmt: skip
    print(f"beauty: {judged.cpu_s:.0f} s of CPU to fit")
    return made


def market_rows(judged: judge_market.Judged) -> list[Row]:
    """The simulated marketplace, all listings live at the moment ranked."""
    cold, people = judged.market.cold, judged.market.people
    made: list[Row] = []
    for part, which in (("cold", cold), ("all", np.ones_like(cold))):
        made += rows(
            f"market_{part}", judged.found, which, people, against="content",
            names=judge_market.REPRESENTATIONS, metrics=METRICS, notes=judged.notes,
        )  # fmt: skip
        for source in ("hashed", "trained"):
            made += rows(
                f"market_{part}", judged.found, which, people, against=f"vectors_{source}",
                names=(f"vectors_{source}", f"prefixes_{source}"), metrics=RETRIEVED,
                notes=judged.notes,
            )  # fmt: skip
    print(f"market: {judged.cpu_s:.0f} s of CPU to fit")
    return made


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, default=Path("data"), help="of public sets")
    options.add_argument("--people", type=int, default=22_363, help="so many of Amazon Beauty's")
    options.add_argument("--epochs", type=int, default=12, help="of Amazon Beauty")
    options.add_argument("--market-epochs", type=int, default=20, help="of the market")
    options.add_argument(
        "--part", nargs="+", default=["market", "beauty"], choices=["market", "beauty"]
    )
    chosen = options.parse_args()
    torch.set_num_threads(1)
    judged = {
        "market": map(market_rows, judge_market.judge(SEEDS, chosen.market_epochs, say)),
        "beauty": map(
            beauty_rows,
            judge_beauty.judge(chosen.data, chosen.people, SEEDS, chosen.epochs, say),
        ),
    }
    # Written after each seed, by turns, lest a run that is cut short leave nothing.
    for _, part in product(SEEDS, chosen.part):
        options_of = f"--part {part}" + (
            f" --people {chosen.people} --epochs {chosen.epochs}"
            if part == "beauty"
            else f" --market-epochs {chosen.market_epochs}"
        )
        command = f"python examples/semantic_ids/judge.py --data FOLDER {options_of}"
        rows_of = next(judged[part])
        record.write("semantic_ids", rows_of, command=command, path=record.RESULTS / FILES[part])


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
