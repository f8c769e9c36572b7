"""Retrieval's rows, part by part, written as one result.

    python -m benchmarks.retrieval [--part flat|million|churn|new_listing]

A part that was measured at this very commit is not measured again, so a run that was broken off
goes on where it stood. Peers (faiss, hnswlib, usearch) are measured in the same run where
`make peers` has installed them.
"""

import argparse
from collections.abc import Callable

from benchmarks import record, retrieval_index, retrieval_served
from benchmarks.parts import measured
from benchmarks.record import Row

PARTS: dict[str, Callable[[], list[Row]]] = {
    "flat": retrieval_index.flat_rows,
    "million": retrieval_index.million_rows,
    "churn": retrieval_index.churn_rows,
    "new_listing": retrieval_served.new_listing_rows,
}


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--part", choices=sorted(PARTS), help="measure this one, and stop")
    chosen = options.parse_args()
    if chosen.part:
        measured("retrieval", chosen.part, PARTS[chosen.part])
        return
    rows = [row for name, measure in PARTS.items() for row in measured("retrieval", name, measure)]
    record.write("retrieval", rows, command="make bench-retrieval")


if __name__ == "__main__":
    main()
