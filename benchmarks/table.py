"""`docs/benchmarks.md` from `benchmarks/results/*.json`, and from nothing else.

Run as `make docs`; a test says whether the page is up to date.
"""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from benchmarks.record import RESULTS, ROOT, Result, Row, read

PAGE = ROOT / "docs" / "benchmarks.md"
_OPENING = """\
# Benchmarks

Made from `benchmarks/results/*.json` by `make docs`; do not edit by hand. Each table names the
machine, the commit and the command that measures it again. Machines differ: where a figure stands
beside a peer, both come from the same run, and their ratio is what to go by. A dash is a row
without a bar, or one that could not be measured; its note says why.
"""
_HEAD = """\
| what | value | target | reached | peer | peer's value | note |
|---|---|---|---|---|---|---|
"""
_SIGN = {"higher": "≥", "lower": "≤", "equal": "="}


def page(results: Iterable[Result]) -> str:
    """The whole page: a section for each benchmark in order of name, a table for each result."""
    ordered = sorted(results, key=lambda result: (result.name, result.command))
    sections = [_OPENING]
    for name, parts in groupby(ordered, key=lambda result: result.name):
        sections += [f"## {name}\n", *map(_table, parts)]
    return "\n".join(sections)


def number(value: float | int | None) -> str:
    """A figure as people read it: four digits that count, thousands apart.

    >>> number(0.04567), number(1234567), number(103.0), number(2345678.9), number(None)
    ('0.04567', '1,234,567', '103', '2,345,679', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"


def _table(result: Result) -> str:
    version = f"`{result.commit[:12]}`" if result.commit else "no commit"
    changed = " with changes not committed" if result.dirty else ""
    machine = result.machine
    return (
        f"`{result.command}` at {version}{changed}, {result.date[:10]}, on {machine.cpu}, "
        f"{machine.cores} cores, {machine.memory_gib:g} GiB.\n\n"
        f"{_HEAD}{''.join(_line(row) for row in result.rows)}"
    )


def _line(row: Row) -> str:
    low_high = f" [{number(row.interval[0])}, {number(row.interval[1])}]" if row.interval else ""
    unit = f" {row.unit}" if row.unit and row.value is not None else ""
    target = f"{_SIGN[row.better]} {number(row.target)}" if row.target is not None else "–"
    reached = {True: "yes", False: "**no**", None: "–"}[row.reached()]
    cells = (
        f"`{row.id}`",
        f"{number(row.value)}{low_high}{unit}",
        target,
        reached,
        row.peer or "–",
        number(row.peer_value),
        row.note,
    )
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main(results: Path = RESULTS, target: Path = PAGE) -> None:
    """Write the page."""
    target.write_text(page(map(read, sorted(results.glob("*.json")))), encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
