"""The spine's rows, measured one after the other and written as one result.

    python -m benchmarks.spine --data FOLDER

FOLDER holds the public sets, each in a folder of its own (`renttherunway/interactions.parquet`).
"""

import argparse
from pathlib import Path

from benchmarks import record, renttherunway


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    data = options.parse_args().data
    table = data / renttherunway.TABLE
    if not table.exists():
        options.error(f"there is no {table}; name the folder: make bench-spine DATA=FOLDER")
    rows = [*renttherunway.rows(data)]
    record.write("spine", rows, command="make bench-spine DATA=FOLDER")


if __name__ == "__main__":
    main()
