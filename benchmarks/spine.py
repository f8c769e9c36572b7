"""The spine's rows, part by part, written as one result.

    python -m benchmarks.spine --data FOLDER [--part simulator|rtr|leaks|captured]

FOLDER holds the public sets, each in a folder of its own (`renttherunway/interactions.parquet`).
A part that was measured at this very commit is not measured again, so a run that was broken off
goes on where it stood; each part takes under 40 minutes on two cores.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks import marketplace, record, renttherunway, simulator_speed
from benchmarks.parts import measured
from benchmarks.record import Row


def parts(data: Path) -> dict[str, Callable[[], list[Row]]]:
    """What there is to measure, by name."""
    return {
        "simulator": lambda: msgspec.convert(simulator_speed.rows(), list[Row]),
        "rtr": lambda: _rtr(data),
        "leaks": marketplace.leak_rows,
        "captured": marketplace.captured_rows,
    }


def _rtr(data: Path) -> list[Row]:
    table = data / renttherunway.TABLE
    if table.exists():
        return renttherunway.rows(data)
    why = f"{renttherunway.TABLE} is not in the data folder; make bench-spine DATA=FOLDER"
    return [
        Row(id=name, value=None, unit="share", better="higher", target=target, note=why)
        for name, target in (("spine.rtr_hr10", 0.042), ("spine.rtr_hr100", 0.2))
    ]


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--part", choices=sorted(parts(Path())), help="measure this one, and stop")
    chosen = options.parse_args()
    everything = parts(chosen.data)
    if chosen.part:
        measured("spine", chosen.part, everything[chosen.part])
        return
    rows = [row for name, measure in everything.items() for row in measured("spine", name, measure)]
    record.write("spine", rows, command="make bench-spine DATA=FOLDER")


if __name__ == "__main__":
    main()
