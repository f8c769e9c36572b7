"""Parquet: the log's old part, by ingestion day, as tables that polars and DuckDB read as they lie.

    <folder>/day=2026-01-31/part-000000000000-000000250000.parquet

A part holds the offsets `from <= seq < to` in the columns of core.columns.LOG_SCHEMA. Read all
with `polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)`.
"""

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heirloom.adapters.sqlite_database import sync_folder
from heirloom.core import columns
from heirloom.core.errors import StoreError
from heirloom.core.event import Event, Scalar
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.listing import Listing
from heirloom.core.log import Entry, EventLog, Lake

PART_ROWS = 250_000
_GROUP_ROWS = 32_768
_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")
_PLAIN = (
    columns.USER, columns.SESSION, columns.SURFACE, columns.TEXT, columns.SLATE, columns.LISTING,
    columns.LISTINGS, columns.POSITIONS, columns.POSITION, columns.SELLER, columns.PRICE_MINOR,
    columns.CURRENCY,
)  # fmt: skip
"""Fields of Event that are columns of the same name and value."""

_encode = msgspec.json.Encoder().encode
_attributes = msgspec.json.Decoder(dict[str, Scalar | list[str]]).decode
_listing = msgspec.json.Decoder(Listing).decode


class CompactableLog(EventLog, Protocol):
    """A log that lets its old part go once a lake holds it."""

    lake: Lake | None

    def first_at(self, ingested_ms: int) -> int:
        """The lowest offset that was ingested at or after a moment; the end if none was."""

    def forget_before(self, offset: int) -> None:
        """Delete the entries that the lake holds; their ids stay, for dedupe."""


def compact(log: CompactableLog, lake: "ParquetLake", before_ms: int) -> int:
    """Move the log's entries ingested before `before_ms` into its lake; how many were moved.

    The lake's files are durable before the first row of the log goes, so a crash at any line
    leaves every entry readable; the next call goes on from there.

    Raises:
        StoreError: the log was opened with another lake (its readers would lose the old part).
    """
    if log.lake is not lake:
        raise StoreError(f"compact: the log was opened with lake={log.lake}, not {lake}; open anew")
    lake.sweep()
    first = lake.end()
    part: list[Entry] = []
    for entry in log.read(first, log.first_at(before_ms)):
        if part and (len(part) == PART_ROWS or _day(part[-1]) != _day(entry)):
            lake.write(part)
            part = []
        part.append(entry)
    if part:
        lake.write(part)
    log.forget_before(lake.end())
    return lake.end() - first


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the lake: offsets `start <= seq < stop`."""

    start: int
    stop: int
    path: Path


class ParquetLake:
    """A folder of Parquet files. Implements core.log.Lake. One writer, many readers."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __str__(self) -> str:
        return f"Parquet lake {self.folder}"

    def parts(self) -> list[Part]:
        """The files that follow each other from offset 0 on, without a gap.

        A listing taken while `compact` writes may lack a file and hold its successor, so what
        stands behind a gap is left out; who asks for it gets an error from `read`.

        Raises:
            StoreError: an offset is there twice, or a file is none of ours.
        """
        found = []
        for path in self.folder.glob("day=*/*.parquet"):
            name = _PART.fullmatch(path.name)
            if name is None:
                raise StoreError(f"{path}: no part of this lake; move it elsewhere")
            found.append(Part(int(name[1]), int(name[2]), path))
        whole: list[Part] = []
        end = 0
        for part in sorted(found, key=lambda part: part.start):
            if part.start < end or part.stop <= part.start:
                raise StoreError(
                    f"{part.path}: starts at offset {part.start}, but all below {end} stand in "
                    "other parts; restore the folder from a backup"
                )
            if part.start > end:
                break
            whole.append(part)
            end = part.stop
        return whole

    def end(self) -> int:
        """See Lake.end."""
        parts = self.parts()
        return parts[-1].stop if parts else 0

    def write(self, entries: Sequence[Entry]) -> Path:
        """Add consecutive entries of one ingestion day as a file; durable when it returns."""
        start, stop = entries[0].seq, entries[-1].seq + 1
        if start != self.end() or stop - start != len(entries):
            raise StoreError(
                f"{self}: offsets {start} … {stop - 1} ({len(entries)} entries) came; wanted "
                f"consecutive ones from {self.end()}"
            )
        folder = self.folder / f"day={_day(entries[0])}"
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self.folder)
        path = folder / f"part-{start:012d}-{stop:012d}.parquet"
        temporary = path.with_suffix(".tmp")
        pq.write_table(_table(entries), temporary, compression="zstd", row_group_size=_GROUP_ROWS)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(folder)
        return path

    def sweep(self) -> None:
        """Remove what a crashed writer left half written. Writer only."""
        for path in self.folder.glob("day=*/part-*.tmp"):
            path.unlink()

    def read(self, from_offset: int, to_offset: int) -> Iterator[Entry]:
        """See Lake.read.

        Raises:
            StoreError: a file is damaged, or offsets of the range are not in the lake.
        """
        for table in self._tables(from_offset, to_offset, None):
            for batch in table.to_batches():
                yield from _entries(batch)

    def facts(self, from_offset: int, to_offset: int) -> Facts:
        """See Lake.facts; raises as `read` does."""
        names = ["event_row", "listing_rows"]
        tables = self._tables(from_offset, to_offset, names)
        return Facts.joined([_facts(batch) for table in tables for batch in table.to_batches()])

    def _tables(self, start: int, stop: int, names: list[str] | None) -> Iterator[pa.Table]:
        """Row groups, cut to the range."""
        at = start
        for part in self.parts():
            if part.stop <= at or part.start >= stop:
                continue
            with _damage_named(part.path):
                file = pq.ParquetFile(part.path)
                if file.metadata.num_rows != part.stop - part.start:
                    raise pa.ArrowInvalid(f"{file.metadata.num_rows} rows; its name says otherwise")
            first = part.start
            for i in range(file.num_row_groups):
                rows = file.metadata.row_group(i).num_rows
                if first < stop and first + rows > at:
                    with _damage_named(part.path):
                        table = file.read_row_group(i, columns=names)
                    yield table.slice(at - first, stop - at)
                    at = min(first + rows, stop)
                first += rows
        if at < stop:
            raise StoreError(
                f"{self}: the part with offset {at} is missing; wanted all up to {stop}: restore "
                "the folder from a backup"
            )


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); it is truncated or damaged: restore this file "
            "from a backup"
        ) from error


def _day(entry: Entry) -> str:
    moment = datetime.datetime.fromtimestamp(entry.ingested_at / 1000, datetime.UTC)
    return moment.date().isoformat()


def _table(entries: Sequence[Entry]) -> pa.Table:
    events = [entry.event for entry in entries]
    values: dict[str, list[Any]] = {
        columns.SEQ: [entry.seq for entry in entries],
        columns.EVENT_ID: [event.event_id for event in events],
        columns.KIND: [event.kind for event in events],
        columns.T: [event.t for event in events],
        columns.INGESTED_AT: [entry.ingested_at for entry in entries],
        **{name: [getattr(event, name) for event in events] for name in _PLAIN},
        columns.ATTRIBUTES: [_json(event.attributes) for event in events],
        columns.DATA: [_json(event.data) for event in events],
        "event_row": [entry.event_row for entry in entries],
        "listing_rows": [entry.listing_rows for entry in entries],
    }
    try:
        return pa.Table.from_pydict(values, schema=columns.LOG_SCHEMA)
    except (pa.ArrowException, OverflowError) as error:
        raise StoreError(
            f"lake: offsets {entries[0].seq} … {entries[-1].seq} do not fit the columns: {error}; "
            "an event went into the log that core.event.problem refuses"
        ) from error


def _json(value: object) -> str | None:
    return _encode(value).decode() if value else None


def _entries(batch: pa.RecordBatch) -> Iterator[Entry]:
    plain = [_values(batch.column(name)) for name in _PLAIN]
    stamped = [columns.SEQ, columns.EVENT_ID, columns.KIND, columns.T, columns.INGESTED_AT]
    stamped += [columns.ATTRIBUTES, columns.DATA, "event_row", "listing_rows"]
    rows = zip(*(_values(batch.column(name)) for name in stamped), zip(*plain, strict=True),
               strict=True)  # fmt: skip
    for (
        seq,
        event_id,
        kind,
        t,
        ingested_at,
        attributes,
        data,
        event_row,
        listing_rows,
        rest,
    ) in rows:
        event = Event(
            event_id=event_id,
            kind=kind,
            t=t,
            attributes=_attributes(attributes) if attributes else {},
            data=_listing(data) if data else None,
            **dict(zip(_PLAIN, rest, strict=True)),
        )
        yield Entry(
            event=event, ingested_at=ingested_at, event_row=event_row, listing_rows=listing_rows,
            seq=seq,
        )  # fmt: skip


def _values(column: pa.Array) -> list[Any]:
    """A column as Python values: what `to_pylist` gives, several times faster.

    Lists come as tuples, a missing one as (), times as ms.
    """
    if pa.types.is_list(column.type):
        content = _values(column.flatten())
        lengths = column.value_lengths().fill_null(0).to_numpy()
        stops = np.cumsum(lengths).tolist()
        starts = [0, *stops[:-1]]
        return [tuple(content[i:j]) for i, j in zip(starts, stops, strict=True)]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if column.null_count == len(column):
        return [None] * len(column)
    if column.null_count and pa.types.is_integer(column.type):
        values: list[Any] = column.to_pylist()  # numpy would make floats of them
    else:
        values = column.to_numpy(zero_copy_only=False).tolist()
    return values


def _facts(batch: pa.RecordBatch) -> Facts:
    """The packed rows of a batch as arrays, without a Python object per row."""
    events, _ = _packed(batch.column("event_row"))
    listings, bounds = _packed(batch.column("listing_rows"))
    starts = (bounds // LISTING_ROW.itemsize).astype(np.int64)
    return Facts(np.frombuffer(events, EVENT_ROW), np.frombuffer(listings, LISTING_ROW), starts)


def _packed(column: pa.BinaryArray) -> tuple[memoryview, Any]:
    """All bytes of a binary column, one after the other, and [rows + 1] where each starts."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    content = memoryview(data or b"")[bounds[0] : bounds[-1]]
    return content, bounds - bounds[0]
