"""The feature store's rows, part by part, written as one result.

    python -m benchmarks.features [--part NAME]

A part that was measured at this very commit is not measured again, so a run that was broken off
goes on where it stood; each part takes under 40 minutes on two cores. Feast is measured beside it
where `make feast` has installed it.
"""

import argparse
from collections.abc import Callable

from benchmarks import (
    feature_join,
    feature_online,
    feature_view,
    feature_windows,
    parity,
    record,
    redis_rows,
)
from benchmarks.parts import measured
from benchmarks.record import Row

PARTS: dict[str, Callable[[], list[Row]]] = {
    "windows": feature_windows.rows,
    "view60": feature_view.rows,
    "pit": feature_join.rows,
    "online": feature_online.online_rows,
    "fold": feature_online.fold_rows,
    "memory": feature_online.memory_rows,
    "parity": parity.parity_rows,
    "redis": redis_rows.rows,
}


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--part", choices=sorted(PARTS), help="measure this one, and stop")
    chosen = options.parse_args()
    if chosen.part:
        measured("features", chosen.part, PARTS[chosen.part])
        return
    rows = [row for name, measure in PARTS.items() for row in measured("features", name, measure)]
    record.write("features", rows, command="make bench-features")


if __name__ == "__main__":
    main()
