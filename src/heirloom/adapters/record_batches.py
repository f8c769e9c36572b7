"""Replay in partitions over Arrow: record batches in, record batches out, as Spark calls it.

The passes of features/partition.py as functions from an iterator of batches, all of one partition,
to an iterator of batches: what `DataFrame.mapInArrow(function, schema)` wants. Records travel
packed in one binary column, so that their fields are said in one place; beside it stands what a
cluster needs to partition and join by. For a view and P partitions:

    stock = log_and_rows.repartition(P, "slot").mapInArrow(stocked, "slot int, record binary")
    for key in keys(view):
        sent = stock.mapInArrow(sender(view, key, P), "share int, record binary")
        terms = sent.repartition(P, "share").mapInArrow(
            answerer(view, key), "row bigint, terms array<bigint>")
    joined = the records of rows, joined by `row` with the terms of each key; `terms` is the
        concatenation of them in the order of keys(view)
    joined.mapInArrow(finisher(view), "row bigint, values array<float>")

`log_and_rows` holds the batches of `packed(records(facts))` and `packed(questions(rows, newest))`.
A key's records of one partition are held whole while it answers. The wheel stands in the
executors' image.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from heirloom.core.errors import SchemaError
from heirloom.features import partition
from heirloom.features.partition import RECORD, keys, terms_of
from heirloom.features.view import FeatureView

Batches = Iterator[pa.RecordBatch]
BATCH_ROWS = 65_536


def packed(records: NDArray[Any], **columns: NDArray[Any]) -> Batches:
    """Records of RECORD as batches: their slot, other columns [records], and all of them packed."""
    records = np.ascontiguousarray(records)
    columns = columns or {"slot": records["listing"]["slot"]}
    for begin in range(0, len(records), BATCH_ROWS):
        part = records[begin : begin + BATCH_ROWS]
        offsets = np.arange(len(part) + 1, dtype=np.int32) * RECORD.itemsize
        binary = pa.Array.from_buffers(
            pa.binary(), len(part), [None, pa.py_buffer(offsets), pa.py_buffer(part.tobytes())]
        )
        arrays = {name: pa.array(column[begin : begin + len(part)])
                  for name, column in columns.items()}  # fmt: skip
        yield pa.RecordBatch.from_pydict(arrays | {"record": binary})


def unpacked(batches: Iterable[pa.RecordBatch]) -> NDArray[Any]:
    """[records] of RECORD, of all batches.

    Raises:
        SchemaError: if there is no column `record`, or it holds something else.
    """
    parts = [_records(batch) for batch in batches]
    return np.concatenate(parts) if parts else np.zeros(0, RECORD)


def stocked(batches: Batches) -> Batches:
    """`partition.stocked`; a batch has the columns slot int32, record binary."""
    yield from packed(partition.stocked(unpacked(batches)))


def sender(
    view: FeatureView, key: tuple[str, ...], partitions: int
) -> Callable[[Batches], Batches]:
    """Stocked records -> those that the key's pass needs, with the partition they go to.

    Batches out: share int32, record binary.
    """

    def send(batches: Batches) -> Batches:
        for batch in batches:
            records = _records(batch)
            share = partition.shares(key, records, partitions).astype(np.int32)
            needed = share >= 0
            yield from packed(records[needed], share=share[needed])

    if key not in keys(view):
        raise SchemaError(f"sender: {key} is no key of {view.name!r}; it has {list(keys(view))}")
    return send


def answerer(view: FeatureView, key: tuple[str, ...]) -> Callable[[Batches], Batches]:
    """One partition of a key's pass -> row int64, terms list<int64>, one row for each row asked."""

    def answer(batches: Batches) -> Batches:
        rows, terms = partition.terms(view, key, unpacked(batches))
        yield from _lists("terms", rows, terms)

    return answer


def finisher(view: FeatureView) -> Callable[[Batches], Batches]:
    """Rows with their terms -> row int64, values list<float32>, in the order of `view.columns`.

    Batches in: record binary; terms list<int64>, of all keys in the order of `keys(view)`; the
    view's given columns float32, by their names, as far as they are there.
    """
    order = np.concatenate([np.zeros(0, np.int64), *(terms_of(view, key) for key in keys(view))])

    def finish(batches: Batches) -> Batches:
        for batch in batches:
            records = _records(batch)
            terms = batch.column("terms").flatten().to_numpy(zero_copy_only=False)
            if len(terms) != len(records) * len(order):
                raise SchemaError(
                    f"finisher: {len(terms)} terms for {len(records)} rows; wanted {len(order)} "
                    f"each, of the keys {list(keys(view))} in this order"
                )
            integers = np.empty((len(records), len(order)), np.int64)
            integers[:, order] = terms.reshape(len(records), len(order))
            given = {
                name: batch.column(name).to_numpy(zero_copy_only=False).astype(np.float32)
                for name in view.given
                if name in batch.schema.names
            }
            values = partition.finished(view, records, integers, given)
            yield from _lists("values", records["row"], values)

    return finish


def _records(batch: pa.RecordBatch) -> NDArray[Any]:
    names = batch.schema.names
    if "record" not in names or not pa.types.is_binary(batch.schema.field("record").type):
        raise SchemaError(f"record batch: columns {names}; wanted `record`, binary")
    column = batch.column("record")
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset :][: len(column) + 1]
    if len(column) == 0:
        return np.zeros(0, RECORD)
    lengths = np.diff(offsets)
    if column.null_count or (lengths != RECORD.itemsize).any():
        raise SchemaError(
            f"record batch: records of {np.unique(lengths).tolist()} bytes, {column.null_count} "
            f"null; wanted {RECORD.itemsize} each: they were packed by another version"
        )
    return np.frombuffer(column.buffers()[2], RECORD, len(column), int(offsets[0]))


def _lists(name: str, rows: NDArray[np.int64], values: NDArray[Any]) -> Batches:
    width = values.shape[1]
    for begin in range(0, len(rows), BATCH_ROWS):
        part = values[begin : begin + BATCH_ROWS]
        offsets = np.arange(len(part) + 1, dtype=np.int32) * width
        lists = pa.ListArray.from_arrays(offsets, np.ascontiguousarray(part).reshape(-1))
        ids = pa.array(np.ascontiguousarray(rows[begin : begin + len(part)]))
        yield pa.RecordBatch.from_pydict({"row": ids, name: lists})
