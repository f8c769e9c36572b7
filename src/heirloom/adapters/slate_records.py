"""Slate records to Parquet files by day, off the hot path: written after the response."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from heirloom.core.errors import StoreError
from heirloom.core.slate import SlateRecord

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

    What a full queue or a full disk loses is counted in `dropped`: the answer to a person goes
    before the record of it. A crash loses at most what came within the last `seconds`.
    """

    def __init__(self, folder: Path, *, seconds: float = 2.0, rows: int = 5_000) -> None:
        self.folder = folder
        self.dropped = 0
        self._seconds, self._rows = seconds, rows
        self._queue: queue.Queue[SlateRecord | None] = queue.Queue(maxsize=20_000)
        self._thread = threading.Thread(target=self._run, name="slate-records", daemon=True)
        self._thread.start()

    def write(self, record: SlateRecord) -> None:
        """Hand over a record; never blocks."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued and stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        batch: list[SlateRecord] = []
        deadline = time.monotonic() + self._seconds
        while True:
            wait = max(0.0, deadline - time.monotonic())
            try:
                record = self._queue.get(timeout=wait)
                if record is None:
                    self._flush(batch)
                    return
                batch.append(record)
            except queue.Empty:
                pass
            if len(batch) >= self._rows or time.monotonic() >= deadline:
                self._flush(batch)
                batch = []
                deadline = time.monotonic() + self._seconds

    def _flush(self, batch: list[SlateRecord]) -> None:
        if not batch:
            return
        by_day: dict[str, list[SlateRecord]] = {}
        for record in batch:
            day = time.strftime("%Y-%m-%d", time.gmtime(record.t / 1000))
            by_day.setdefault(day, []).append(record)
        for day, records in by_day.items():
            try:
                self._write(self.folder / f"day={day}", records)
            except OSError:  # a full disk: go on answering, and count what is lost
                self.dropped += len(records)

    def _write(self, folder: Path, records: list[SlateRecord]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Not by slate id: the same question at the same moment gives the same slate.
        path = folder / f"part-{time.time_ns()}-{os.getpid()}.parquet"
        unfinished = path.with_suffix(".tmp")
        rows = [msgspec.structs.asdict(record) for record in records]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), unfinished, compression="zstd")
        unfinished.rename(path)


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
