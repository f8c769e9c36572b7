"""Semantic ids beside content, ids, and both: the numbers of ADR 0013.

    PYTHONPATH=src:.:examples/semantic_ids/src python examples/semantic_ids/judge.py --data FOLDER

FOLDER is that of the public sets; the marketplace is simulated. Every representation gets the
same person encoder, recipe and budget of epochs; what is to be chosen is chosen on validation with
the first seed. A part measured at this commit is kept.
"""

import argparse
from pathlib import Path

import judge_beauty
import judge_market
import numpy as np
import torch
from benchmarks import record
from benchmarks.parts import measured
from benchmarks.record import Row
from judge_rows import rows

SEEDS = (0, 1)
RETRIEVED = ("hr100",)
METRICS = ("hr10", "ndcg10", "hr100")


def beauty_rows(data: Path, epochs: int) -> list[Row]:
    """Amazon Beauty, leave-one-out, labels of training alone, all items ranked."""
    judged = judge_beauty.judge(data, SEEDS, epochs, lambda line: print(line, flush=True))
    people = np.arange(len(judged.cold))
    made: list[Row] = []
    for part, which in (("cold", judged.cold), ("all", judged.drawn)):
        made += rows(
            f"beauty_{part}", judged.found, which, people, against="content",
            names=judge_beauty.REPRESENTATIONS, metrics=METRICS, notes=judged.notes,
        )  # fmt: skip
        for source in ("attributes", "trained"):
            made += rows(
                f"beauty_{part}", judged.found, which, people, against=f"vectors_{source}",
                names=(f"vectors_{source}", f"prefixes_{source}"), metrics=RETRIEVED,
                notes=judged.notes,
            )  # fmt: skip
    print(f"beauty: {judged.cpu_s:.0f} s of CPU to fit")
    return made


def market_rows(epochs: int) -> list[Row]:
    """The simulated marketplace, all listings live at the moment ranked."""
    judged = judge_market.judge(SEEDS, epochs, lambda line: print(line, flush=True))
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
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--epochs", type=int, default=5, help="at most, of Amazon Beauty")
    options.add_argument("--market-epochs", type=int, default=6, help="at most, of the market")
    options.add_argument("--out", type=Path, default=record.RESULTS / "semantic_ids.json")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    made = measured("semantic-ids", "market", lambda: market_rows(chosen.market_epochs))
    made += measured("semantic-ids", "beauty", lambda: beauty_rows(chosen.data, chosen.epochs))
    command = "python examples/semantic_ids/judge.py --data FOLDER"
    record.write("semantic_ids", made, command=command, path=chosen.out)


if __name__ == "__main__":
    main()
