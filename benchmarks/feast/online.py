"""Feast's online read from Redis: one person and 500 listings.

python benchmarks/feast/online.py FOLDER [--listings 5000] [--features 60 20] [--reads 60]

Starts a redis-server of its own on a free port, without persistence, with its files in FOLDER.
Run in Feast's own environment (`make feast`). One JSON line on stdout, by number of features:
median and 95th percentile of a read, in ms of wall time, from the ids to an array
[listings, features + 10 of the person] float32; CPU ms of this process; a checksum.
"""

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float32
from feast.value_type import ValueType

READ = 500
PERSON_FEATURES = 10


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A server on a free port of this machine, gone afterwards."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("online.py: no redis-server on the PATH; apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
         "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = redis.Redis(port=port)
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        else:
            raise SystemExit(f"online.py: redis-server does not answer on port {port}")
        yield port
    finally:
        server.terminate()
        server.wait()


def measured(
    scratch: Path, port: int, listings: int, features: int, reads: int
) -> dict[str, float]:
    """Write, then read."""
    store = FeatureStore(
        config=RepoConfig(
            project=f"online{features}",
            provider="local",
            registry=str(scratch / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "redis", "connection_string": f"127.0.0.1:{port}"},
            entity_key_serialization_version=3,
            repo_path=scratch,
        )
    )
    rng = np.random.default_rng(0)
    now = datetime.now(UTC)
    references: list[str] = []
    write_s = 0.0
    for key, rows, width in (
        ("listing", listings, features),
        ("person", 100, PERSON_FEATURES),
    ):
        values = rng.random((rows, width)).astype(np.float32)
        names = [f"{key}_{i}" for i in range(width)]
        frame = pd.DataFrame(values, columns=names)
        frame.insert(0, key, np.arange(rows))
        frame["event_timestamp"] = now - timedelta(hours=1)
        frame.to_parquet(scratch / f"{key}.parquet")
        entity = Entity(name=key, join_keys=[key], value_type=ValueType.INT64)
        view = FeatureView(
            name=f"{key}s",
            entities=[entity],
            schema=[Field(name=name, dtype=Float32) for name in names],
            source=FileSource(
                path=str(scratch / f"{key}.parquet"), timestamp_field="event_timestamp"
            ),
            ttl=timedelta(days=2),
        )
        store.apply([entity, view])
        start = time.perf_counter()
        store.materialize(now - timedelta(days=1), now)
        write_s += time.perf_counter() - start
        references += [f"{key}s:{name}" for name in names]

    def read() -> np.ndarray:
        asked = rng.choice(listings, READ, replace=False)
        of_listings = store.get_online_features(
            [name for name in references if name.startswith("listing")],
            [{"listing": int(listing)} for listing in asked],
        ).to_dict()
        of_the_person = store.get_online_features(
            [name for name in references if name.startswith("person")],
            [{"person": int(rng.integers(100))}],
        ).to_dict()
        out = np.empty((READ, len(references)), np.float32)
        columns = [name.partition(":")[2] for name in references]
        for j, name in enumerate(columns):
            out[:, j] = of_listings[name] if name in of_listings else of_the_person[name]
        return out

    for _ in range(3):
        last = read()
    wall, start_cpu = [], time.process_time()
    for _ in range(reads):
        start = time.perf_counter()
        last = read()
        wall.append((time.perf_counter() - start) * 1000)
    cpu = (time.process_time() - start_cpu) * 1000 / reads
    return {
        "p50_ms": statistics.median(wall),
        "p95_ms": float(np.percentile(wall, 95)),
        "cpu_ms": cpu,
        "reads": reads,
        "missing": int(np.isnan(last).sum()),
        "sum": float(last.sum(dtype=np.float64)),
        "write_s": write_s,
    }


def main(folder: Path, listings: int, features: list[int], reads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, object] = {
        "peer": f"Feast {version('feast')} (redis {version('redis')})",
        "listings": listings,
        "read": READ,
    }
    with redis_server(folder) as port, redirect_stdout(sys.stderr):  # what Feast prints
        for width in features:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                result[str(width)] = measured(Path(scratch), port, listings, width, reads)
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listings", type=int, default=5_000)
    parser.add_argument("--features", type=int, nargs="+", default=[60, 20])
    parser.add_argument("--reads", type=int, default=60)
    given = parser.parse_args()
    main(given.folder.absolute(), given.listings, given.features, given.reads)
