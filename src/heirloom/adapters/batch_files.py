"""A batch's folder: its manifest, and a Parquet file for each part.

    OUT/_batch.json               what decides it, core.batch.Batch; written first
    OUT/part-00000000.parquet     pages of the first people; whole or not there
    OUT/_report.json              counts of all parts; written last

A part appears by a rename of a file that is on the disk whole, so what a killed process leaves is
an unfinished file with a dot before its name, which the next one takes away. Readers of a folder
of Parquet (Spark, Arrow) pass by names that begin with a dot or an underscore.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from heirloom.adapters.sqlite_database import sync_folder
from heirloom.core.batch import Batch, BatchPage, PartDone
from heirloom.core.errors import InputError, StoreError

MANIFEST = "_batch.json"
REPORT = "_report.json"
_RUN, _DONE = b"heirloom.batch", b"heirloom.part"
_NAMED = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("person", pa.string()),
        pa.field("surface", _NAMED),
        pa.field("position", pa.int32()),
        pa.field("listing", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("propensity", pa.float64()),
        pa.field("sources", pa.list_(pa.string())),
        pa.field("slate", pa.string()),
        pa.field("stranger", pa.bool_()),
        pa.field("degraded", pa.list_(pa.string())),
        pa.field("policy", _NAMED),
        pa.field("bundle", _NAMED),
        pa.field("t", pa.timestamp("ms", tz="UTC")),
        pa.field("n", pa.int64()),
        pa.field("batch", _NAMED),
    ]
)
"""A row is a listing of a page. Who has an empty page has no row, and is counted in the report."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in all parts of a batch."""

    batch: str
    parts: int
    persons: int
    strangers: int
    empty: int
    degraded: int
    rows: int
    anyone: BatchPage
    """The page of who says no name."""


class BatchFolder:
    """The folder of one batch. One process writes to it at a time.

    Raises:
        StoreError: another batch is being written there, or the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"{folder} cannot hold a batch: {error}; name another") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreError(
                f"{folder}: another process writes a batch there; wait for it, or name another"
            ) from None

    def close(self) -> None:
        """Let another process write, once the copies of forked processes are closed too."""
        os.close(self._lock)

    def begun(self) -> Batch | None:
        """What was begun here; None where nothing was.

        Raises:
            InputError: something else lies here.
            StoreError: the manifest cannot be read.
        """
        path = self.folder / MANIFEST
        if not path.exists():
            strange = sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("."))
            if strange:
                raise InputError(
                    f"{self.folder} holds something that is no batch ({strange[0]}); name a new "
                    "folder, or an empty one"
                )
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=Batch)
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(f"{path}: it cannot be read: {error}; name another folder") from error

    def begin(self, batch: Batch) -> None:
        """Say what is written here from now on."""
        self._write(MANIFEST, msgspec.json.format(msgspec.json.encode(batch), indent=1))

    def clear(self) -> None:
        """Take away what a killed process left unfinished."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def done(self, batch: Batch) -> dict[int, PartDone]:
        """The parts that are there, by number.

        Raises:
            StoreError: a file is damaged, or of another batch.
        """
        found = {}
        for path in sorted(self.folder.glob("part-*.parquet")):
            part = _footer(path, batch)
            if path != self.path_of(part.number) or part.persons != batch.size_of(part.number):
                raise StoreError(f"{path}: it is part {part.number} of other people; take it away")
            found[part.number] = part
        return found

    def keep(self, batch: Batch, number: int, pages: Sequence[BatchPage]) -> PartDone:
        """Write a part; it is durable when this returns."""
        done = PartDone(
            number=number,
            persons=len(pages),
            strangers=sum(page.stranger for page in pages),
            empty=sum(not page.listings for page in pages),
            degraded=sum(bool(page.degraded) for page in pages),
            rows=sum(len(page.listings) for page in pages),
        )
        path = self.path_of(number)
        unfinished = self.folder / f".{path.name}.{os.getpid()}.tmp"
        said = {_RUN: batch.run.encode(), _DONE: msgspec.json.encode(done)}
        table = _table(batch, pages).replace_schema_metadata(said)
        try:
            with unfinished.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise StoreError(
                f"{path}: it cannot be written: {error}; make room, and run the same again"
            ) from error
        return done

    def finished(self, batch: Batch) -> Totals | None:
        """The report, if this batch was finished here."""
        try:
            totals = msgspec.json.decode((self.folder / REPORT).read_bytes(), type=Totals)
        except (OSError, msgspec.MsgspecError):
            return None
        return totals if totals.batch == batch.run else None

    def finish(self, batch: Batch, anyone: BatchPage) -> Totals:
        """Count all parts, and say that none is missing.

        Raises:
            StoreError: one is.
        """
        parts = self.done(batch)
        if missing := sorted(set(range(batch.parts)) - set(parts)):
            raise StoreError(f"{self.folder}: part {missing[0]} is missing; run the same again")
        totals = Totals(
            batch=batch.run,
            parts=len(parts),
            persons=sum(part.persons for part in parts.values()),
            strangers=sum(part.strangers for part in parts.values()),
            empty=sum(part.empty for part in parts.values()),
            degraded=sum(part.degraded for part in parts.values()),
            rows=sum(part.rows for part in parts.values()),
            anyone=anyone,
        )
        self._write(REPORT, msgspec.json.format(msgspec.json.encode(totals), indent=1))
        return totals

    def pages(self, number: int) -> Iterator[BatchPage]:
        """The pages of a part that have a listing, as they were kept."""
        table = pq.read_table(self.path_of(number), partitioning=None)
        columns = {
            name: table[name].to_pylist()
            for name in (
                "person", "listing", "score", "propensity", "sources", "slate", "stranger",
                "degraded", "position",
            )
        }  # fmt: skip
        starts = [i for i, position in enumerate(columns["position"]) if position == 0]
        for start, end in zip(starts, [*starts[1:], len(table)], strict=True):
            yield BatchPage(
                person=columns["person"][start],
                slate=columns["slate"][start],
                listings=tuple(columns["listing"][start:end]),
                scores=tuple(columns["score"][start:end]),
                sources=tuple(map(tuple, columns["sources"][start:end])),
                propensities=tuple(columns["propensity"][start:end]),
                stranger=columns["stranger"][start],
                degraded=tuple(columns["degraded"][start]),
            )

    def path_of(self, number: int) -> Path:
        """Where a part stands."""
        return self.folder / f"part-{number:08d}.parquet"

    def _write(self, name: str, content: bytes) -> None:
        unfinished = self.folder / f".{name}.{os.getpid()}.tmp"
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.folder / name)
            sync_folder(self.folder)
        except OSError as error:
            raise StoreError(f"{self.folder / name}: it cannot be written: {error}") from error


def _table(batch: Batch, pages: Sequence[BatchPage]) -> pa.Table:
    counts = [len(page.listings) for page in pages]
    rows = sum(counts)

    def each(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        """A value a page, once for each of its listings."""
        wide = [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
        return pa.array(wide, kind)

    def flat(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([value for page in pages for value in getattr(page, name)], kind)

    def one(text: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])

    texts = pa.list_(pa.string())
    return pa.Table.from_arrays(
        [
            each([page.person for page in pages], pa.string()),
            one(batch.surface),
            pa.array([place for count in counts for place in range(count)], pa.int32()),
            flat("listings", pa.string()),
            flat("scores", pa.float32()),
            flat("propensities", pa.float64()),
            pa.array([list(names) for page in pages for names in page.sources], texts),
            each([page.slate for page in pages], pa.string()),
            each([page.stranger for page in pages], pa.bool_()),
            each([list(page.degraded) for page in pages], texts),
            one(batch.policy),
            one(batch.bundle),
            pa.array([batch.t] * rows, pa.int64()).cast(SCHEMA.field("t").type),
            pa.array([batch.n] * rows, pa.int64()),
            one(batch.run),
        ],
        schema=SCHEMA,
    )


def _footer(path: Path, batch: Batch) -> PartDone:
    try:
        said = pq.read_schema(path).metadata or {}
        part = msgspec.json.decode(said.get(_DONE, b""), type=PartDone)
    except (pa.ArrowException, OSError, msgspec.MsgspecError) as error:
        raise StoreError(
            f"{path}: no part of a batch: {str(error)[:200]}; take it away, and run the same again"
        ) from error
    if said.get(_RUN, b"").decode() != batch.run:
        raise StoreError(f"{path}: it is of another batch; take it away, and run the same again")
    return part
