"""A benchmark in parts: what was measured at this very commit is not measured again."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

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
    if (rows := kept(benchmark, name, also)) is not None:
        return rows
    print(f"{name}: measuring")
    rows = measure()
    if any(row.value is None for row in rows):
        return rows
    path = _path(benchmark, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Part(record.version()[0], rows)))
    return rows


def kept(benchmark: str, name: str, also: Collection[str] = ()) -> list[Row] | None:
    """The rows of a part that `measured` would not measure again; None: it would."""
    commit, dirty = record.version()
    path = _path(benchmark, name)
    if dirty or not path.exists():
        return None
    part = msgspec.json.decode(path.read_bytes(), type=Part)
    if part.commit == commit:
        print(f"{name}: measured at this commit before")
        return part.rows
    if part.commit is None or part.commit not in also:
        return None
    print(f"{name}: measured at {part.commit} before")
    return [measured_at(row, part.commit) for row in part.rows]


def measured_at(row: Row, commit: str) -> Row:
    """The row, whose note says of which commit it is."""
    note = row.note if "; measured at " in row.note else f"{row.note}; measured at {commit[:7]}"
    return msgspec.structs.replace(row, note=note)


def standing(benchmark: str, names: Iterable[str], also: Collection[str] = ()) -> list[Row]:
    """The rows kept of parts, and of the result that was written last the rows of other ids.

    A long benchmark is written so in several sittings, also on several machines.

    Args:
        benchmark: whose parts they are.
        names: of parts; those not kept are passed over.
        also: as in `measured`.
    """
    found = [row for name in names for row in kept(benchmark, name, also) or ()]
    path = record.RESULTS / f"{benchmark}.json"
    if not path.exists():
        return found
    before = record.read(path)
    of = {row.id: row for row in found}
    was = {row.id for row in before.rows}
    return [
        *(of.get(row.id) or measured_at(row, before.commit or "no commit") for row in before.rows),
        *(row for row in found if row.id not in was),
    ]


def _path(benchmark: str, name: str) -> Path:
    return KEPT / f"bench-{benchmark}" / f"{name}.json"
