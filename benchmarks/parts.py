"""A benchmark in parts: what was measured at this very commit is not measured again."""

from collections.abc import Callable

import msgspec

from benchmarks import record
from benchmarks.record import Row

KEPT = record.ROOT / "var"


class Part(msgspec.Struct, frozen=True):
    """Rows of one part, and the commit they were measured at."""

    commit: str | None
    rows: list[Row]


def measured(benchmark: str, name: str, measure: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a part: those kept of this commit, or measured now; kept if none is missing."""
    commit, dirty = record.version()
    path = KEPT / f"bench-{benchmark}" / f"{name}.json"
    if path.exists() and not dirty:
        kept = msgspec.json.decode(path.read_bytes(), type=Part)
        if kept.commit == commit:
            print(f"{name}: measured at this commit before")
            return kept.rows
    print(f"{name}: measuring")
    rows = measure()
    if any(row.value is None for row in rows):
        return rows
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Part(commit, rows)))
    return rows
