"""Benchmark rows and the page made of them."""

import re
from pathlib import Path

import msgspec
import pytest
from benchmarks import record
from benchmarks.record import RESULTS, Machine, Result, Row, machine, read, write
from benchmarks.table import PAGE, page

from heirloom.core.errors import InputError

ROW = Row(id="spine.rtr_hr10", value=0.25, unit="", better="higher", target=0.2)


def test_the_page_is_up_to_date() -> None:
    results = [read(path) for path in sorted(RESULTS.glob("*.json"))]
    assert PAGE.read_text(encoding="utf-8") == page(results), "run `make docs`"


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = (ROW, Row(id="spine.x", value=None, unit="s", better="lower", note="no such machine"))
    path = write("spine", rows, command="make bench-spine", path=tmp_path / "spine.json")
    result = read(path)
    assert (path, result.rows) == (tmp_path / "spine.json", rows)
    assert (result.name, result.command, result.machine) == ("spine", "make bench-spine", machine())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", result.date)
    assert [file.name for file in tmp_path.iterdir()] == ["spine.json"]


def test_a_file_holds_every_field_that_was_agreed(tmp_path: Path) -> None:
    path = write("spine", [ROW], command="make bench-spine", path=tmp_path / "spine.json")
    content = msgspec.json.decode(path.read_bytes())
    assert list(content) == ["name", "date", "commit", "dirty", "command", "machine", "rows"]
    assert list(content["machine"]) == ["cpu", "cores", "memory_gib"]
    assert list(content["rows"][0]) == list(Row.__struct_fields__)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows"),
        ([ROW, ROW], "stands 2 times"),
        ([Row(id="other.hr10", value=1, unit="", better="higher")], "does not begin with spine."),
        ([Row(id="HR 10", value=1, unit="", better="higher")], "wanted benchmark.figure"),
        ([Row(id="spine.a", value=None, unit="", better="higher")], "does not say why"),
        ([Row(id="spine.a", value=float("nan"), unit="", better="higher")], "NaN"),
        ([Row(id="spine.a", value=1, unit="", better="higher", interval=(2, 1))], "[low, high]"),
        ([Row(id="spine.a", value=1, unit="", better="higher", peer_value=2)], "names no peer"),
    ],
)
def test_rows_that_say_too_little_are_refused(tmp_path: Path, rows: list[Row], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        write("spine", rows, command="make bench-spine", path=tmp_path / "spine.json")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_row_leaves_the_last_result(tmp_path: Path) -> None:
    before = write(
        "spine", [ROW], command="make bench-spine", path=tmp_path / "spine.json"
    ).read_bytes()
    with pytest.raises(InputError):
        write("spine", [], command="make bench-spine", path=tmp_path / "spine.json")
    assert (tmp_path / "spine.json").read_bytes() == before


def test_a_damaged_result_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "spine.json").write_text('{"name": "spine"}')
    with pytest.raises(InputError, match=r"spine\.json: .*make bench-spine"):
        read(tmp_path / "spine.json")


@pytest.mark.parametrize(
    ("better", "value", "target", "reached"),
    [
        ("higher", 0.2, 0.2, True),
        ("higher", 0.19, 0.2, False),
        ("lower", 0.2, 0.2, True),
        ("lower", 0.21, 0.2, False),
        ("equal", 0, 0, True),
        ("equal", 1, 0, False),
        ("higher", None, 0.2, None),
        ("higher", 0.2, None, None),
    ],
)
def test_reached(
    better: str, value: float | None, target: float | None, reached: bool | None
) -> None:
    content = {"id": "a.b", "value": value, "unit": "", "better": better, "target": target}
    assert msgspec.convert(content, Row).reached() is reached


def test_parts_of_one_benchmark_stand_under_one_heading() -> None:
    parts = [
        Result(
            name="spine",
            date="2026-01-02T03:04:05+00:00",
            commit=None,
            dirty=False,
            command=command,
            machine=Machine(cpu="Some CPU", cores=2, memory_gib=24.0),
            rows=(ROW,),
        )
        for command in ("b", "a")
    ]
    lines = page(parts).splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## spine"]
    assert [line[:4] for line in lines if "Some CPU" in line] == ["`a` ", "`b` "]


def test_without_a_path_the_name_is_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    assert write("spine", [ROW], command="x") == tmp_path / "results" / "spine.json"


def test_a_row_as_a_line_of_the_page() -> None:
    row = Row(
        id="features.online_vs_feast",
        value=190,
        unit="x",
        better="higher",
        target=150,
        peer="Feast | Redis",
        peer_value=103.25,
        interval=(180, 201.5),
        note="medians of 2,000;\nsame run",
    )
    result = Result(
        name="features",
        date="2026-01-02T03:04:05+00:00",
        commit="0123456789abcdef",
        dirty=True,
        command="make bench-features",
        machine=Machine(cpu="Some CPU", cores=2, memory_gib=24.0),
        rows=(row,),
    )
    lines = page([result]).splitlines()
    assert lines[-1] == (
        "| `features.online_vs_feast` | 190 [180, 201.5] x | ≥ 150 | yes | Feast \\| Redis | 103.2 "
        "| medians of 2,000; same run |"
    )
    assert (
        "`make bench-features` at `0123456789ab` with changes not committed, 2026-01-02, "
        "on Some CPU, 2 cores, 24 GiB." in lines
    )
