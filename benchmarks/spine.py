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
from benchmarks.record import Row

KEPT = record.ROOT / "var" / "bench-spine"


class Part(msgspec.Struct, frozen=True):
    """Rows of one part, and the commit they were measured at."""

    commit: str | None
    rows: list[Row]


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


def measured(name: str, measure: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a part: kept ones of this commit, else measured and kept."""
    commit, dirty = record.version()
    path = KEPT / f"{name}.json"
    if path.exists() and not dirty:
        kept = msgspec.json.decode(path.read_bytes(), type=Part)
        if kept.commit == commit:
            print(f"{name}: measured at this commit before")
            return kept.rows
    print(f"{name}: measuring")
    rows = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Part(commit, rows)))
    return rows


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--part", choices=sorted(parts(Path())), help="measure this one, and stop")
    chosen = options.parse_args()
    everything = parts(chosen.data)
    if chosen.part:
        measured(chosen.part, everything[chosen.part])
        return
    rows = [row for name, measure in everything.items() for row in measured(name, measure)]
    record.write("spine", rows, command="make bench-spine DATA=FOLDER")


if __name__ == "__main__":
    main()
