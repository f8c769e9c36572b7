"""RentTheRunway by the `neural` ranker: path and protocol of `benchmarks/renttherunway.py`.

    python -m benchmarks.model_rtr --data FOLDER [--rehearse]

What differs from the spine's row: the retriever `takers`, two towers over who took what, beside
`popular`; the ranker; examples from eleven months in place of two; negatives drawn among all
garments on offer in place of those retrieved, so that new arrivals which retrieval missed are
learned from too; retrieval's own score beside the ranker's; 1,500 candidates.
`--rehearse` splits the training part once more and tests on its end: settings were chosen there.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import renttherunway
from benchmarks.record import Row
from benchmarks.renttherunway import Plan, places_of, report
from heirloom.apps.registry import OWN_VIEWS
from heirloom.core.event import Kind
from heirloom.pipelines.negatives import Rule
from heirloom.ranking.neural import Neural

PLAN = Plan(
    rankers={"neural": Neural},
    rule=Rule(frozenset({Kind.PURCHASE.value}), count=60, among="live", seed=0),
    learn_days=332,
    pool=1_500,
    view=OWN_VIEWS["rental_dense"],
    retrieval_weight=8.0,
    quotas={"popular": 1_500, "takers": 1_500},
    fusion={"popular": 1e-6},
)
TARGETS = {"hr10": 0.056, "hr100": 0.25, "unseen_hr10": 0.02, "unseen_hr100": 0.15}
BARS = {f"models.rtr_{name}": bar for name, bar in TARGETS.items()}
TABLE = renttherunway.TABLE


def rows(data: Path, say: Callable[[str], None] = print, *, rehearse: bool = False) -> list[Row]:
    """`models.rtr_…`: hit rates and NDCG over all test rows, and over garments unseen before."""
    places, ranker = places_of(data, PLAN, say, rehearse=rehearse)
    return report(places, ranker, "models", TARGETS, PLAN.pool)


def main() -> None:
    """Measure and say."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--rehearse", action="store_true", help="on the training part alone")
    chosen = options.parse_args()
    console, start = Console(highlight=False), time.perf_counter()

    def say(text: str) -> None:
        console.print(f"[dim]{time.perf_counter() - start:6.0f} s[/] {text}")

    for one in rows(chosen.data, say, rehearse=chosen.rehearse):
        say(f"{one.id} = {one.value} {one.interval or ''}; {one.note}")
    say(f"{time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
