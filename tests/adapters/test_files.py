"""Files: whole tables come whole; what is broken is refused alone and named."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.adapters.files import read_table, schema
from heirloom.core.errors import InputError

FRAME = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "price": [1.5, 2.0, None]})


def rows(path: Path, **options: object) -> list[tuple[object, ...]]:
    return [row for batch in read_table(path, **options) for row in batch.frame.iter_rows()]


def lines(path: Path) -> list[int]:
    return [line for batch in read_table(path) for line in batch.lines]


def refused(path: Path) -> list[tuple[str, str]]:
    return [(r.source, r.reason) for batch in read_table(path) for r in batch.rejected]


def test_parquet_comes_typed_and_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    FRAME.write_parquet(path)
    batches = list(read_table(path, batch_rows=2))
    assert pl.concat([batch.frame for batch in batches]).equals(FRAME)
    assert [batch.lines for batch in batches] == [[1, 2], [3]]
    assert schema(path) == dict(FRAME.schema)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_parquet_file_is_named(tmp_path: Path, part: float) -> None:
    path = tmp_path / "cut.parquet"
    FRAME.write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match=r"cut\.parquet: not a whole Parquet file"):
        rows(path)


def test_damage_in_the_middle_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    frame = pl.DataFrame({"text": [f"{i}" * 50 for i in range(5_000)]})
    frame.write_parquet(path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[100:2_000] = b"\xff" * 1_900
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"bad\.parquet"):
        rows(path)


def test_csv_cells_are_text_and_empty_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfid, name,price\r\n007,"a, ""b""\nc",1.5\r\n\r\n8,,\r\n')
    assert rows(path) == [("007", 'a, "b"\nc', "1.5"), ("8", None, None)]
    assert list(schema(path)) == ["id", "name", "price"]
    assert lines(path) == [2, 5]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"2,b", "2 fields; wanted 3, as in the header"),
        (b"2,b,c,d", "4 fields; wanted 3, as in the header"),
        (b'2,"b,3', "a quote stands where none may"),  # closed by the quote of a later line
        (b'2,"b"x,3', "a quote stands where none may"),
        (b"2,\xff\xfe,3", "not UTF-8: byte 2 of the line is 0xff"),
    ],
)
def test_a_broken_csv_line_is_refused_alone(tmp_path: Path, broken: bytes, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,name,price\n1,a,x\n" + broken + b'\n3,c,x\n4,"d",x\n')
    assert [row[0] for row in rows(path)] == ["1", "3", "4"]
    ((source, why),) = refused(path)
    assert source == "t.csv:3"
    assert why.startswith(reason)


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,name\n1,"a\n2,b\n3,c\n')
    assert rows(path) == [("2", "b"), ("3", "c")]
    assert refused(path) == [("t.csv:2", "a quote is opened and not closed")]


def test_inches_are_no_quote(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,name\n1,5" heel\n2,plain\n3,6" heel\n')
    assert rows(path) == [("1", '5" heel'), ("2", "plain"), ("3", '6" heel')]


def test_tab_and_other_delimiters(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("id\tname\n1\ta,b\n")
    (tmp_path / "t.csv").write_text("id;name\n1;a,b\n")
    assert rows(tmp_path / "t.tsv") == rows(tmp_path / "t.csv", delimiter=";") == [("1", "a,b")]


def test_jsonl_becomes_text_and_lists_of_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": 1, "tags": ["a", 2]}\n\n{"id": 2.0, "ok": true}\n{"tags": "c"}\n')
    (batch,) = read_table(path)
    assert batch.frame.to_dict(as_series=False) == {
        "id": ["1", "2", None],
        "tags": [["a", "2"], None, ["c"]],
        "ok": [None, "true", None],
    }
    assert batch.lines == [1, 3, 4]
    assert list(schema(path)) == ["id", "tags", "ok"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"id": 2', "not JSON"),
        (b"[2]", "a list; wanted one JSON object a line"),
        (b'{"id": "\\ud800"}', "not JSON"),
        (b'{"id": "\xff"}', "not JSON"),
    ],
)
def test_a_broken_jsonl_line_is_refused_alone(tmp_path: Path, broken: bytes, reason: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"id": 1}\n' + broken + b'\n{"id": 3}\n')
    assert rows(path) == [("1",), ("3",)]
    ((source, why),) = refused(path)
    assert source == "t.jsonl:2"
    assert why.startswith(reason)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
def test_gzip_and_a_truncated_gzip(tmp_path: Path, name: str) -> None:
    text = "id\n1\n" if "csv" in name else '{"id": 1}\n'
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()))
    assert rows(path) == [("1",)]
    path.write_bytes(gzip.compress(text.encode() * 1_000)[:-9])
    with pytest.raises(InputError, match=r"cannot be read on after line \d+"):
        rows(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"", r"cannot tell what it is; wanted a name that ends in \.parquet, \.csv"),
        ("t.csv", b"", "is empty; wanted a header line"),
        ("t.csv", b"id,name,id\n", "the header names 'id' twice"),
        ("t.csv", "id,né\n".encode("utf-16"), "its header cannot be read"),
        ("t.csv", None, "there is no such file"),
    ],
)
def test_a_file_that_is_no_table(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        rows(path)
    with pytest.raises(InputError, match=message):
        schema(path)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6))
def test_what_polars_writes_as_csv_comes_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    frame = pl.DataFrame(cells, schema={"a": pl.String, "b": pl.String}, orient="row")
    frame.write_csv(path, quote_style="always")
    assert rows(path) == [(a or None, b or None) for a, b in cells]
    assert refused(path) == []


BYTES = st.lists(
    st.sampled_from([b"1,2", b'"x",y', b'"', b'"a', b'b"', b",", b"\xff", b"1", b"a,b,c"]),
    max_size=8,
)


@settings(deadline=None, max_examples=50)
@given(BYTES)
def test_every_line_is_in_a_row_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(b"\n".join([b"a,b", *content]) + b"\n")
    starts = lines(path)
    broken = [int(source.split(":")[1]) for source, _ in refused(path)]
    assert len(starts) + len(broken) == len(set(starts) | set(broken))
    spanned = sum(
        1 + sum((cell or "").count("\n") for cell in row)
        for row in rows(path)  # type: ignore[attr-defined]
    )
    assert spanned + len(broken) == len(content)
