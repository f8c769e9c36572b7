"""The fault rows, part by part, written as one result.

    python -m benchmarks.faults [--part NAME | --kept]

Each part hurts a small system in real processes and counts what became of it; what is done, and
with what, is said where each part is. `make test` runs the same in small. A part that was measured
at this very commit is not measured again. Stocks are built once, under var/.
"""

import argparse
from collections.abc import Callable

from benchmarks import (
    faults_auth,
    faults_bundles,
    faults_fuzz,
    faults_kill9,
    faults_overload,
    faults_redis,
    faults_soak,
    faults_swaps,
    faults_tenants,
    record,
)
from benchmarks.parts import measured, standing
from benchmarks.record import Row

PARTS: dict[str, Callable[[], list[Row]]] = {
    "kill9": faults_kill9.rows,
    "swaps": faults_swaps.rows,
    "redis": faults_redis.rows,
    "overload": faults_overload.rows,
    "fuzz": faults_fuzz.rows,
    "auth": faults_auth.rows,
    "tenants": faults_tenants.rows,
    "bundles": faults_bundles.rows,
    "soak": faults_soak.rows,
}


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--part", choices=sorted(PARTS), help="this one, and stop")
    options.add_argument(
        "--kept", action="store_true", help="measure nothing: write what was, beside what stands"
    )
    options.add_argument("--also", nargs="+", default=[], metavar="COMMIT")
    chosen = options.parse_args()
    if chosen.part:
        for row in measured("faults", chosen.part, PARTS[chosen.part], chosen.also):
            print(row.id, row.value, row.note)
        return
    if chosen.kept:
        record.write("faults", standing("faults", PARTS, chosen.also), command="make faults")
        return
    found = [
        row
        for name, measure in PARTS.items()
        for row in measured("faults", name, measure, chosen.also)
    ]
    record.write("faults", found, command="make faults")


if __name__ == "__main__":
    main()
