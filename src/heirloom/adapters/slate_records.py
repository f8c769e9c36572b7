"""Slate records to Parquet files by day, off the hot path: written after the response."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heirloom.core.errors import StoreError
from heirloom.core.slate import SlateRecord

log = logging.getLogger(__name__)

_OVERHEAD = 4_096
"""Bytes of a record besides its features and its request, about."""
_PIECE = 64
"""Records are laid out and compressed so many at a time: who answers beside it waits for a core, or
for the interpreter's lock, no longer than that takes. More pieces cost more: a file has a header
for each column of each."""
_REST_S = 0.01
_REPEATED = ["policy", "bundle", "surface", "positions", "columns", "degraded"]
"""A dictionary of these pays; of all others it would be made, and thrown away."""
SCHEMA = pa.schema(
    [
        pa.field("slate_id", pa.string()),
        pa.field("t", pa.timestamp("ms", tz="UTC")),
        pa.field("n", pa.int64()),
        pa.field("policy", pa.string()),
        pa.field("bundle", pa.string()),
        pa.field("surface", pa.string()),
        pa.field("user", pa.string()),
        pa.field("session", pa.string()),
        pa.field("text", pa.string()),
        pa.field("anchor", pa.string()),
        pa.field("request", pa.binary()),
        pa.field("candidates_hash", pa.string()),
        pa.field("listings", pa.list_(pa.string())),
        pa.field("positions", pa.list_(pa.int32())),
        pa.field("propensities", pa.list_(pa.float64())),
        pa.field("columns", pa.list_(pa.string())),
        pa.field("features", pa.binary()),
        pa.field("degraded", pa.list_(pa.string())),
    ]
)


class ParquetRecords:
    """Writes records in the background, a file at least every `seconds` or `rows`.

    What does not fit into the queue, or the disk refuses, is counted in `lost`: the answer to a
    person goes before the record of it. A crash loses at most what came within the last `seconds`,
    and the file that is being written.

    Args:
        folder: a folder for each day is made in it.
        seconds: after so long what is there is written.
        rows: so many at the latest.
        share: of the slates, those recorded; which ones follows from the slate's id alone.
        queue_bytes: of records that wait to be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float = 2.0,
        rows: int = 5_000,
        share: float = 1.0,
        queue_bytes: int = 64 << 20,
    ) -> None:
        self.folder = folder
        self.lost = 0
        self._seconds, self._rows, self._most = seconds, rows, queue_bytes
        self._chosen_below = round(share * 2**64)
        self._waiting: list[SlateRecord] = []
        self._bytes = 0
        self._closing = False
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="slate-records", daemon=True)
        self._thread.start()

    def write(self, record: SlateRecord) -> None:
        """Hand over a record; never waits for the disk."""
        if not self._chosen(record.slate_id):
            return
        size = _OVERHEAD + len(record.features) + len(record.request)
        with self._turn:
            if self._bytes + size > self._most or self._closing:
                self.lost += 1
                return
            self._waiting.append(record)
            self._bytes += size
            if len(self._waiting) == self._rows:
                self._turn.notify()

    def close(self) -> None:
        """Write what waits and stop."""
        with self._turn:
            self._closing = True
            self._turn.notify()
        self._thread.join()

    def _chosen(self, slate_id: str) -> bool:
        if self._chosen_below >= 2**64:
            return True
        digest = hashlib.blake2b(slate_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self._chosen_below

    def _run(self) -> None:
        closing = False
        while not closing:
            deadline = time.monotonic() + self._seconds
            with self._turn:
                while not self._closing and len(self._waiting) < self._rows:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._turn.wait(left):
                        break
                batch, self._waiting = self._waiting, []
                size, closing = self._bytes, self._closing
            for start in range(0, len(batch), self._rows):
                self._flush(batch[start : start + self._rows])
            with self._turn:
                self._bytes -= size

    def _flush(self, batch: list[SlateRecord]) -> None:
        by_day: dict[str, list[SlateRecord]] = {}
        for record in batch:
            day = time.strftime("%Y-%m-%d", time.gmtime(record.t / 1000))
            by_day.setdefault(day, []).append(record)
        for day, records in by_day.items():
            try:
                self._write(self.folder / f"day={day}", records)
            except (OSError, pa.ArrowException, UnicodeError) as error:
                # A full disk, or text that no file takes: go on answering, and count what is lost.
                with self._turn:
                    self.lost += len(records)
                log.warning("%d slate records were not written: %s", len(records), error)

    def _write(self, folder: Path, records: list[SlateRecord]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Not by slate id: the same question at the same moment gives the same slate.
        path = folder / f"part-{time.time_ns()}-{os.getpid()}.parquet"
        unfinished = path.with_suffix(".tmp")
        with pq.ParquetWriter(
            unfinished, SCHEMA, compression="zstd", use_dictionary=_REPEATED
        ) as file:
            for start in range(0, len(records), _PIECE):
                file.write_table(table_of(records[start : start + _PIECE]))
                self._rest()
        unfinished.rename(path)

    def _rest(self) -> None:
        with self._turn:
            if not self._closing and len(self._waiting) < self._rows:
                self._turn.wait(_REST_S)


def table_of(records: Sequence[SlateRecord]) -> pa.Table:
    """Records as a table of SCHEMA.

    `Table.from_pylist` gives the same, and imports pandas first where it is installed: a third of a
    second, and memory, of each process that answers.
    """
    columns = [_distinct([getattr(record, of.name) for record in records], of.type)
               for of in SCHEMA]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _distinct(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """As `_column`; lists that come again, as the names of the features do, are laid out once.

    Not of floats: 0.0 and -0.0 are one key.
    """
    if not pa.types.is_list(kind) or pa.types.is_floating(kind.value_type):
        return _column(values, kind)
    at = {value: row for row, value in enumerate(dict.fromkeys(values))}
    if 2 * len(at) > len(values):
        return _column(values, kind)
    return _column(list(at), kind).take(_column([at[value] for value in values], pa.int32()))


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values [rows] of one of SCHEMA's types, None for null, in Arrow's layout."""
    there = np.array([value is not None for value in values], np.bool_)
    bits = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
    if not (pa.types.is_list(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind)):
        of = np.dtype(f"{'f' if pa.types.is_floating(kind) else 'i'}{kind.bit_width // 8}")
        plain = np.array([0 if value is None else value for value in values], of)
        return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(plain.tobytes())])
    filled = [value for value in values if value]
    if pa.types.is_string(kind) and not (text := "".join(filled)).isascii():
        values = [value.encode() if value else b"" for value in values]
    lengths = np.array([len(value) if value else 0 for value in values], np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowCapacityError(f"{ends[-1]:,} bytes or values of one column in one file")
    buffers = [bits, pa.py_buffer(ends.astype(np.int32).tobytes())]
    if pa.types.is_list(kind):
        inner = _column([each for value in filled for each in value], kind.value_type)
        return pa.Array.from_buffers(kind, len(values), buffers, children=[inner])
    buffers.append(pa.py_buffer(text.encode() if pa.types.is_string(kind) else b"".join(filled)))
    return pa.Array.from_buffers(kind, len(values), buffers)


def read(folder: Path, *, since_ms: int = 0) -> Iterator[SlateRecord]:
    """The records written under a folder whose t is at or after a moment, file by file.

    Raises:
        StoreError: a file is damaged or of something else.
    """
    day = time.strftime("%Y-%m-%d", time.gmtime(since_ms / 1000))
    for path in sorted(folder.glob("day=*/*.parquet")):
        if path.parent.name.removeprefix("day=") < day:
            continue
        try:
            for batch in pq.ParquetFile(path).iter_batches(1_024):
                rows = batch.set_column(1, "t", batch["t"].cast(pa.int64())).to_pylist()
                for record in msgspec.convert(rows, list[SlateRecord]):
                    if record.t >= since_ms:
                        yield record
        except (pa.ArrowException, msgspec.ValidationError, KeyError, OSError) as error:
            raise StoreError(
                f"{path}: not a file of slate records: {str(error)[:200]}; move it away"
            ) from error
