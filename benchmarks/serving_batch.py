"""Pages of a batch a second of one core's CPU: what `heirloom batch` does, at a size of the stock.

    python -m benchmarks.serving_batch [--listings 1000000] [--people 1600]

Each person of the log once, in one process, by the same `recommend` as requests: 1,000 candidates,
500 ranked, a page of 50. What is counted is the making of pages, with their files; to read the
state comes before it and is told beside it. Strangers are left out: they share one page.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import record, serving_stock
from benchmarks.record import Row
from heirloom.apps.batch import Asked, Made, run

RATE = 180
SHOWN = 50
RUNS = 3


def made(folder: Path, people: list[str]) -> tuple[Made, float]:
    """One batch of them, and the CPU seconds that went into all of it."""
    record.ROOT.joinpath("var").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=record.ROOT / "var") as scratch:
        listed = Path(scratch) / "people.csv"
        listed.write_text("\n".join(["person", *people]) + "\n")
        began = time.process_time()
        asked = Asked(people=listed, out=Path(scratch) / "out", k=SHOWN)
        found = run(serving_stock.settings_of(folder), asked)
        return found, time.process_time() - began


def rows(listings: int, people: int = 1_600) -> list[Row]:
    """People a second of CPU: the median of RUNS batches.

    Raises:
        ValueError: the log knows fewer people.
    """
    folder = serving_stock.stocked(listings)
    names = serving_stock.people_of(folder)
    if len(names) < people:
        raise ValueError(f"{folder} knows {len(names):,} people; wanted {people:,}")
    random.Random(0).shuffle(names)
    names = names[:people]
    batches = [made(folder, names) for _ in range(RUNS)]
    rates = sorted(each.scored / each.cpu_s for each, _ in batches)
    clock = statistics.median(each.scored / each.wall_s for each, _ in batches)
    before = statistics.median(cpu_s - each.cpu_s for each, cpu_s in batches)
    return [
        Row(id="serving.batch_people_per_s", value=round(statistics.median(rates), 1),
            unit="people/s of one core's CPU", better="higher", target=RATE,
            interval=(round(rates[0], 1), round(rates[-1], 1)),
            note=f"{people:,} people known by the log, {listings:,} live listings, k = {SHOWN}; "
            f"one process; median and range of {RUNS} batches; by clock {clock:.1f}/s; to read the "
            f"state before it {before:.1f} s of CPU")
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--listings", type=int, default=1_000_000)
    options.add_argument("--people", type=int, default=1_600)
    chosen = options.parse_args()
    for row in rows(chosen.listings, chosen.people):
        print(row)


if __name__ == "__main__":
    main()
