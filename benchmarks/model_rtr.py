"""RentTheRunway by the `neural` ranker: path and protocol of `benchmarks/renttherunway.py`.

    python -m benchmarks.model_rtr --data FOLDER [--rehearse 4 [--keep FILE] [--against FILE]]

What differs from the spine's row: the retriever `takers`, two towers over who took what, beside
`popular`; the ranker; examples from eleven months in place of two; negatives drawn among all
garments on offer in place of those retrieved, so that new arrivals which retrieval missed are
learned from too; retrieval's own score beside the ranker's; 1,500 candidates.
`--rehearse` tests on the spans of 89 days before the test's, the last of the training part, with
weights fitted before each: settings are chosen there, by the differences on the same rows from a
rehearsal kept before.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import renttherunway
from benchmarks.record import Row
from benchmarks.renttherunway import (
    REHEARSE,
    SEED,
    Places,
    Plan,
    places_of,
    places_of_all,
    report,
)
from heirloom.apps.registry import OWN_VIEWS
from heirloom.core.errors import InputError
from heirloom.core.event import Kind
from heirloom.evaluation.intervals import bootstrap
from heirloom.evaluation.metrics import hit_rate
from heirloom.pipelines.negatives import Rule
from heirloom.ranking.neural import Neural

PLAN = Plan(
    rankers={"neural": Neural},
    rule=Rule(frozenset({Kind.PURCHASE.value}), count=60, among="live", seed=0),
    learn_days=332,
    pool=1_500,
    view=OWN_VIEWS["rental_dense"],
    retrieval_weight=3.0,
    quotas={"popular": 1_500, "takers": 1_500},
    fusion={"popular": 1e-6},
)
TARGETS = {"hr10": 0.056, "hr100": 0.25, "unseen_hr10": 0.02, "unseen_hr100": 0.15}
BARS = {f"models.rtr_{name}": bar for name, bar in TARGETS.items()}
TABLE = renttherunway.TABLE


def rows(data: Path, say: Callable[[str], None] = print) -> list[Row]:
    """`models.rtr_…`: hit rates and NDCG over all test rows, and over garments unseen before."""
    places, ranker = places_of(data, PLAN, say)
    return report(places, ranker, "models", TARGETS, PLAN.pool)


def differences(new: Places, old: Places) -> Iterator[str]:
    """What the new places bring on the same rows, with 95 % intervals by bootstrap over people.

    Raises:
        InputError: if the rows are not the same.
    """
    if new.people.tolist() != old.people.tolist() or new.seen.tolist() != old.seen.tolist():
        raise InputError(f"{len(new.people)} rows against {len(old.people)} other ones")
    for name, kept in (("all", np.ones(len(new.seen), np.bool_)), ("unseen", ~new.seen)):
        for k in (10, 100):
            more = hit_rate(new.ranked, k=k) - hit_rate(old.ranked, k=k)
            by = bootstrap(more[kept], new.people[kept], seed=SEED)
            yield f"{name}, hit rate at {k}: {by.mean:+.4f} [{by.low:+.4f}, {by.high:+.4f}]"


def rehearse(
    data: Path, spans: int, say: Callable[[str], None], keep: Path | None, against: Path | None
) -> None:
    """Say what is reached before the test, and what that is beside a rehearsal kept before."""
    places, ranker = places_of_all(data, PLAN, say, rehearse=spans)
    for one in report(places, ranker, "models", TARGETS, PLAN.pool):
        say(f"{one.id} = {one.value} {one.interval or ''}; {one.note}")
    if keep:
        np.savez(keep, **{name: getattr(places, name) for name in Places.__slots__})
    if against:
        with np.load(against) as kept:
            old = Places(**kept)
        for line in differences(places, old):
            say(line)


def main() -> None:
    """Measure and say."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--rehearse", type=int, default=0, metavar="SPANS", help=REHEARSE)
    options.add_argument("--keep", type=Path, help="file for the places of a rehearsal, .npz")
    options.add_argument("--against", type=Path, help="say the differences from places kept")
    chosen = options.parse_args()
    console, start = Console(highlight=False), time.perf_counter()

    def say(text: str) -> None:
        console.print(f"[dim]{time.perf_counter() - start:6.0f} s[/] {text}")

    if chosen.rehearse:
        rehearse(chosen.data, chosen.rehearse, say, chosen.keep, chosen.against)
    else:
        for one in rows(chosen.data, say):
            say(f"{one.id} = {one.value} {one.interval or ''}; {one.note}")
    say(f"{time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
