"""Feast reads a repository that `heirloom export feast` wrote: apply, then historical features.

python benchmarks/feast/read_back.py REPOSITORY ROWS.parquet

Run in Feast's own environment (`make feast`). Writes what Feast gives for the entity rows to
ROWS.parquet, and what it registered as one JSON line to stdout.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from feast import FeatureStore


def main(repository: Path, out: Path) -> None:
    program = Path(sys.executable).with_name("feast")
    subprocess.run([program, "apply"], cwd=repository, check=True, stdout=sys.stderr)
    store = FeatureStore(str(repository))
    (view,) = store.list_feature_views()
    rows = pd.read_parquet(repository / "data" / "entities.parquet")
    job = store.get_historical_features(
        rows[["listing", "person", "event_timestamp"]],
        [f"{view.name}:{field.name}" for field in view.features],
    )
    job.to_df().to_parquet(out)
    registered = {
        "view": view.name,
        "owner": view.owner,
        "tags": dict(view.tags),
        "features": {
            field.name: {"about": field.description, **dict(field.tags)} for field in view.features
        },
    }
    print(json.dumps(registered))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
