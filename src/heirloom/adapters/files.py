"""Files: tables on disk, in batches.

Parquet by pyarrow; CSV and JSONL line by line, so that one broken line is one refused line. A
cell of CSV and JSONL is text; JSON arrays become lists of text. What a column means is for the
mapping to say.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heirloom.core.errors import InputError
from heirloom.core.log import Rejected

MAX_LINE_BYTES = 64 << 20
MAX_RECORD_LINES = 10_000
"""A quoted CSV field may span so many lines; beyond, its first line counts as broken."""
SAMPLE_LINES = 20_000
"""JSONL lines that are read to learn the columns."""
MAX_RAW_BYTES = 64 << 10
_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a table.

    Attributes:
        frame: the rows.
        lines: for each row, where it stands in the file, from 1: a line of text, or a row of
            Parquet.
        rejected: lines that could not be read, in the order of the file.
    """

    frame: pl.DataFrame
    lines: list[int]
    rejected: list[Rejected]


def read_table(
    path: Path, *, batch_rows: int = 20_000, delimiter: str | None = None
) -> Iterator[Batch]:
    """The rows of a .parquet, .csv, .tsv or .jsonl file; the last three also as .gz.

    Args:
        path: the file.
        batch_rows: at most so many rows at once.
        delimiter: between CSV fields; None for what the name says (`,` or tab).

    Raises:
        InputError: the file is missing, damaged, of another kind, or its header cannot be read.
    """
    kind, delimiter = _kind(path, delimiter)
    if kind == ".parquet":
        return _read_parquet(path, batch_rows)
    if kind == ".csv":
        return _read_csv(path, batch_rows, delimiter)
    return _read_jsonl(path, batch_rows)


def schema(path: Path, *, delimiter: str | None = None) -> dict[str, pl.DataType]:
    """Column names and types, without reading the rows (of JSONL: from its first lines).

    Raises:
        InputError: as `read_table`.
    """
    kind, delimiter = _kind(path, delimiter)
    if kind == ".parquet":
        with _open_parquet(path) as file:
            empty = cast(pl.DataFrame, pl.from_arrow(file.schema_arrow.empty_table()))
        return dict(empty.schema)
    if kind == ".csv":
        header, _ = _csv_header(path, _lines(path), delimiter)
        return dict.fromkeys(header, pl.String())
    types: dict[str, pl.DataType] = {}
    for _, line in islice(_lines(path), SAMPLE_LINES):
        row = _json_object(line)
        if isinstance(row, str):
            continue
        for name, value in row.items():
            if isinstance(value, list):
                types[name] = pl.List(pl.String())
            else:
                types.setdefault(name, pl.String())
    return types


def _kind(path: Path, delimiter: str | None) -> tuple[str, str]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz" and ".parquet" not in suffixes:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{path}: cannot tell what it is; wanted a name that ends in {', '.join(_SUFFIXES)}, "
            "or in one of the last four and .gz"
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if suffix == ".tsv":
        return ".csv", delimiter or "\t"
    return (".jsonl" if suffix == ".ndjson" else suffix), delimiter or ","


# ── Parquet ────────────────────────────────────────────────────────────────────────────────────


def _open_parquet(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged_parquet(path, error) from error


def _damaged_parquet(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: not a whole Parquet file ({' '.join(str(error).split())[:200]}). It may have "
        "been cut off on its way: compare its size with the source and copy it again"
    )


def _read_parquet(path: Path, batch_rows: int) -> Iterator[Batch]:
    line = 0
    with _open_parquet(path) as file:
        batches = file.iter_batches(batch_size=batch_rows)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise _damaged_parquet(path, error) from error
            if batch is None:
                return
            frame = cast(pl.DataFrame, pl.from_arrow(pa.Table.from_batches([batch])))
            yield Batch(frame, list(range(line + 1, line + len(frame) + 1)), [])
            line += len(frame)


# ── lines of text ──────────────────────────────────────────────────────────────────────────────


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without its end); a line beyond the limit comes cut."""
    number = 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                rest = line
                while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
                    pass
                yield number, line.rstrip(b"\r\n")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read on after line {number} ({error}). It may have been cut off "
            "on its way: copy it again"
        ) from error


def _rejected(path: Path, line: int, raw: bytes, reason: str) -> Rejected:
    return Rejected(raw=raw[:MAX_RAW_BYTES], reason=reason, source=f"{path.name}:{line}", at=0)


def _decoded(raw: bytes) -> str:
    """The text of a line. Raises ValueError with a sentence."""
    if len(raw) >= MAX_LINE_BYTES:
        raise ValueError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte {error.start} of the line is {raw[error.start]:#04x}"
        ) from None


# ── CSV ────────────────────────────────────────────────────────────────────────────────────────


def _csv_header(
    path: Path, lines: Iterator[tuple[int, bytes]], delimiter: str
) -> tuple[list[str], int]:
    for number, raw in lines:
        if not raw.strip():
            continue
        try:
            text = _decoded(raw.removeprefix(b"\xef\xbb\xbf"))
            header = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
        except (ValueError, csv.Error) as error:
            raise InputError(
                f"{path}: its header cannot be read ({error}). Wanted UTF-8 text; `iconv -t UTF-8` "
                "converts it"
            ) from None
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise InputError(f"{path}: the header names {', '.join(map(repr, twice))} twice")
        return header, number
    raise InputError(f"{path}: is empty; wanted a header line with the names of the columns")


def _read_csv(path: Path, batch_rows: int, delimiter: str) -> Iterator[Batch]:
    lines = _lines(path)
    header, _ = _csv_header(path, lines, delimiter)
    records = _csv_records(path, lines, len(header), delimiter)
    types = dict.fromkeys(header, pl.String())
    while part := list(islice(records, batch_rows)):
        rows = [(line, record) for line, record in part if isinstance(record, list)]
        frame = pl.DataFrame(
            [[cell or None for cell in record] for _, record in rows], schema=types, orient="row"
        )
        rejected = [record for _, record in part if isinstance(record, Rejected)]
        yield Batch(frame, [line for line, _ in rows], rejected)


def _csv_records(
    path: Path, lines: Iterator[tuple[int, bytes]], width: int, delimiter: str
) -> Iterator[tuple[int, list[str] | Rejected]]:
    """Records of `width` fields. Where one is broken, its first line alone is refused."""
    ahead: list[tuple[int, bytes]] = []  # lines read in search of a closing quote, last first

    def following() -> tuple[int, bytes]:
        return ahead.pop() if ahead else next(lines, (0, b""))

    while (line := following())[0]:
        number, raw = line
        if not raw.strip():
            continue
        taken = [line]
        try:
            text = _decoded(raw)
            fields = _csv_fields(text, delimiter)
            while fields is None:
                if len(taken) == MAX_RECORD_LINES or not (line := following())[0]:
                    raise ValueError("a quote is opened and not closed")
                taken.append(line)
                text += "\n" + _decoded(line[1])
                fields = _csv_fields(text, delimiter) if b'"' in line[1] else None
            if len(fields) != width:
                raise ValueError(f"{len(fields)} fields; wanted {width}, as in the header")
        except ValueError as error:
            ahead.extend(reversed(taken[1:]))
            yield number, _rejected(path, number, raw, str(error))
        else:
            yield number, fields


def _csv_fields(text: str, delimiter: str) -> list[str] | None:
    """The fields of a record; None where it ends within quotes. Raises ValueError.

    >>> _csv_fields('a,"b,c"', ","), _csv_fields('a,"b', ",")
    (['a', 'b,c'], None)
    """
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        if str(error) == "unexpected end of data":
            return None
        raise ValueError(f"a quote stands where none may ({error})") from None


# ── JSONL ──────────────────────────────────────────────────────────────────────────────────────


def _json_object(raw: bytes) -> dict[str, Any] | str:
    """The object of a line, or why there is none."""
    if len(raw) >= MAX_LINE_BYTES:
        return f"the line is longer than {MAX_LINE_BYTES} bytes"
    try:
        row = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"not JSON: {error}"
    if not isinstance(row, dict):
        return f"a {type(row).__name__}; wanted one JSON object a line"
    return row


def _read_jsonl(path: Path, batch_rows: int) -> Iterator[Batch]:
    lines = ((number, raw) for number, raw in _lines(path) if raw.strip())
    while part := list(islice(lines, batch_rows)):
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        rejected: list[Rejected] = []
        for number, raw in part:
            row = _json_object(raw)
            if isinstance(row, str):
                rejected.append(_rejected(path, number, raw, row))
            else:
                rows.append(row)
                numbers.append(number)
        yield Batch(_text_frame(rows), numbers, rejected)


def _text_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """[rows] of text; a column in which any value is a list, of lists of text."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, pl.Series] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if any(isinstance(value, list) for value in values):
            lists = [None if value is None else _texts(value) for value in values]
            columns[name] = pl.Series(name, lists, pl.List(pl.String))
        else:
            columns[name] = pl.Series(name, [_text(value) for value in values], pl.String)
    return pl.DataFrame(columns) if columns else pl.DataFrame({"": [None] * len(rows)})


def _texts(value: object) -> list[str]:
    values: Iterable[object] = value if isinstance(value, list) else [value]
    return [text for one in values if (text := _text(one)) is not None]


def _text(value: object) -> str | None:
    """A JSON value as text; a whole number is one text however it was written."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return msgspec.json.encode(value).decode()
