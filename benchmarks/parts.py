"""A benchmark in parts: what was measured at this very commit is not measured again."""

from collections.abc import Callable, Collection

import msgspec

from benchmarks import record
from benchmarks.record import Row

KEPT = record.ROOT / "var"


class Part(msgspec.Struct, frozen=True):
    """Rows of one part, and the commit they were measured at."""

    commit: str | None
    rows: list[Row]


def measured(
    benchmark: str,
    name: str,
    measure: Callable[[], list[Row]],
    also: Collection[str] = (),
) -> list[Row]:
    """The rows of a part: those kept of this commit, or measured now; kept if none is missing.

    Args:
        benchmark: whose part it is.
        name: of the part.
        measure: what makes the rows.
        also: earlier commits, as full hashes, from which on nothing changed that the part rests
            on. Their rows stand, and their notes say of which commit they are.
    """
    commit, dirty = record.version()
    path = KEPT / f"bench-{benchmark}" / f"{name}.json"
    if path.exists() and not dirty:
        kept = msgspec.json.decode(path.read_bytes(), type=Part)
        if kept.commit == commit:
            print(f"{name}: measured at this commit before")
            return kept.rows
        if kept.commit in also:
            print(f"{name}: measured at {kept.commit} before")
            return [
                msgspec.structs.replace(row, note=f"{row.note}; measured at {kept.commit[:7]}")
                for row in kept.rows
            ]
    print(f"{name}: measuring")
    rows = measure()
    if any(row.value is None for row in rows):
        return rows
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Part(commit, rows)))
    return rows
