"""Feast's point-in-time join, with its duckdb offline store.

python benchmarks/feast/pit.py FOLDER [--runs 1]

FOLDER holds entity_rows.parquet (listing int64, event_timestamp) and feature_rows.parquet
(listing, event_timestamp, created, f0 … float32). Run in Feast's own environment (`make feast`).
One JSON line on stdout: the median of the runs' wall and CPU seconds, from the entity rows on disk
to a table in memory; rows, values that are not missing and their sum; peak memory.
"""

import argparse
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float32
from feast.value_type import ValueType


def store_of(folder: Path, scratch: Path) -> tuple[FeatureStore, list[str]]:
    """A store with one view over the feature rows, and the references of its features."""
    config = RepoConfig(
        project="pit",
        provider="local",
        registry=str(scratch / "registry.db"),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(scratch / "online.db")},
        entity_key_serialization_version=3,
        repo_path=scratch,
    )
    path = folder / "feature_rows.parquet"
    names = [name for name in pq.read_schema(path).names if name.startswith("f")]
    listing = Entity(name="listing", join_keys=["listing"], value_type=ValueType.INT64)
    view = FeatureView(
        name="rows",
        entities=[listing],
        schema=[Field(name=name, dtype=Float32) for name in names],
        source=FileSource(
            path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"
        ),
        ttl=timedelta(0),
    )
    store = FeatureStore(config=config)
    store.apply([listing, view])
    return store, [f"rows:{name}" for name in names]


def main(folder: Path, runs: int) -> None:
    # What Feast prints goes to stderr.
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        store, references = store_of(folder, Path(scratch))
        wall, cpu = [], []
        for _ in range(runs):
            start, start_cpu = time.perf_counter(), time.process_time()
            rows = pd.read_parquet(folder / "entity_rows.parquet")
            table = store.get_historical_features(rows, references).to_arrow()
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
    columns = [table[name.partition(":")[2]].to_numpy() for name in references]
    result = {
        "peer": f"Feast {version('feast')} (duckdb {version('duckdb')})",
        "seconds": statistics.median(wall),
        "cpu_seconds": statistics.median(cpu),
        "runs": runs,
        "rows": table.num_rows,
        "values": sum(int((~np.isnan(column)).sum()) for column in columns),
        "sum": sum(float(np.nansum(column, dtype=np.float64)) for column in columns),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    main(given.folder.absolute(), given.runs)
