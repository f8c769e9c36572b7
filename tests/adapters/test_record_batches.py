"""The passes over record batches, as a cluster would run them, give what one replay gives."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest

from heirloom.adapters import record_batches
from heirloom.adapters.record_batches import answerer, finisher, packed, sender, stocked, unpacked
from heirloom.core.errors import SchemaError
from heirloom.features.library import marketplace_view
from heirloom.features.partition import keys, newest_at, questions, records
from heirloom.features.replay import replay
from heirloom.features.view import FeatureView
from heirloom.testing.features import random_log, same_bytes
from heirloom.testing.replay import random_rows

VIEW = marketplace_view()
Map = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


class Cluster:
    """A data frame as Spark has it: partitions of batches, shuffled by a column."""

    def __init__(self, partitions: list[list[pa.RecordBatch]]) -> None:
        self.partitions = partitions

    def repartitioned(self, by: str, count: int) -> "Cluster":
        parts: list[list[pa.RecordBatch]] = [[] for _ in range(count)]
        for batch in (batch for part in self.partitions for batch in part):
            place = batch.column(by).to_numpy(zero_copy_only=False) % count
            for p in range(count):
                parts[p].append(batch.filter(pa.array(place == p)))
        return Cluster(parts)

    def map_in_arrow(self, function: Map) -> "Cluster":
        return Cluster([list(function(iter(part))) for part in self.partitions])


def replayed(view: FeatureView, log, rows, partitions: int) -> np.ndarray:
    batches = [*packed(records(log)), *packed(questions(rows, newest_at(log, rows.n)))]
    seen = Cluster([batches]).repartitioned("slot", partitions)
    stock = seen.map_in_arrow(stocked)
    terms: dict[int, list[int]] = defaultdict(list)
    for key in keys(view):
        sent = stock.map_in_arrow(sender(view, key, partitions))
        answers = sent.repartitioned("share", partitions).map_in_arrow(answerer(view, key))
        for batch in (batch for part in answers.partitions for batch in part):
            for row, mine in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                terms[row] += mine
    asked = unpacked(batch for part in stock.partitions for batch in part)
    asked = asked[asked["row"] >= 0]
    joined = []
    for batch in packed(asked, row=asked["row"]):
        ids = batch.column("row").to_pylist()
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns["terms"] = pa.array([terms[i] for i in ids], pa.list_(pa.int64()))
        columns |= {name: pa.array(column[ids]) for name, column in rows.given.items()}
        joined.append(pa.RecordBatch.from_pydict(columns))
    values = np.empty((len(rows), len(view.columns)), np.float32)
    for batch in finisher(view)(iter(joined)):
        values[batch.column("row").to_numpy()] = batch.column("values").to_pylist()
    return values


@pytest.mark.parametrize("partitions", [1, 3])
def test_batches_in_and_out_are_the_replay(partitions: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record_batches, "BATCH_ROWS", 50)
    log = random_log(11, 200)
    rows = random_rows(11, log, 40, VIEW)
    values = replayed(VIEW, log, rows, partitions)
    assert same_bytes(values, replay(VIEW, log, rows).values)
    assert len(list(packed(records(log)))) > 1


def test_records_come_back_as_they_were_from_a_slice_too():
    part = records(random_log(12, 30))
    (batch,) = packed(part)
    assert np.array_equal(unpacked([batch]), part)
    assert np.array_equal(unpacked([batch.slice(3, 9), batch.slice(12, 0)]), part[3:12])
    assert len(unpacked([])) == 0


def test_what_is_not_a_record_is_refused():
    other = pa.RecordBatch.from_pydict({"record": [b"abc"]})
    with pytest.raises(SchemaError, match=r"records of \[3\] bytes"):
        unpacked([other])
    with pytest.raises(SchemaError, match="wanted `record`, binary"):
        unpacked([pa.RecordBatch.from_pydict({"record": [1]})])
    with pytest.raises(SchemaError, match="is no key of 'marketplace'"):
        sender(VIEW, ("person", "hour"), 2)
    asked = random_rows(12, random_log(12, 30), 2, VIEW)
    rows = questions(asked, newest_at(random_log(12, 30), asked.n))
    (batch,) = packed(rows)
    short = batch.append_column("terms", pa.array([[1], [2]], pa.list_(pa.int64())))
    with pytest.raises(SchemaError, match="2 terms for 2 rows"):
        list(finisher(VIEW)(iter([short])))
