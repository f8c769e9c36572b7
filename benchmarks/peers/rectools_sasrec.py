"""SASRec of RecTools on leave-one-out sequences: sequences learned from in a CPU-second, and NDCG.

python benchmarks/peers/rectools_sasrec.py FILE [--epochs 2] [--negatives 256]

FILE is an .npz of user_id, item_id and position, [events] each. Run in RecTools' own environment
(rectools_requirements.txt). Settings are those of the eSASRec paper for Amazon Beauty: 64
dimensions, one block, one head, dropout 0.2, the last 50 events, sampled softmax. One JSON line on
stdout; what RecTools prints goes to stderr.
"""

import argparse
import contextlib
import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def dataset(rows: pd.DataFrame, last: int) -> Dataset:
    """Interactions, the last so many of each user left out."""
    kept = rows[rows["from_last"] >= last]
    interactions = pd.DataFrame(
        {
            Columns.User: kept["user_id"],
            Columns.Item: kept["item_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2014-01-01") + pd.to_timedelta(kept["position"], "D"),
        }
    )
    return Dataset.construct(interactions)


def quality(model: SASRecModel, rows: pd.DataFrame, target: int) -> tuple[float, float]:
    """HR@10 and NDCG@10 over all users, of the item so many places from the last."""
    read = dataset(rows, target + 1)
    known = read.user_id_map.external_ids
    top = model.recommend(known, read, k=10, filter_viewed=True)
    wanted = rows[rows["from_last"] == target][["user_id", "item_id"]]
    hits = top.merge(wanted, on=["user_id", "item_id"])[Columns.Rank].to_numpy()
    users = len(wanted)
    return len(hits) / users, float((1 / np.log2(hits + 1)).sum()) / users


def main(file: Path, epochs: int, negatives: int, seed: int) -> dict[str, float | int | str]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seed_everything(seed)
    with np.load(file, allow_pickle=False) as columns:
        rows = pd.DataFrame(dict(columns.items())).sort_values(["user_id", "position"])
    rows["from_last"] = rows.groupby("user_id").cumcount(ascending=False)
    train = dataset(rows, 2)
    model = SASRecModel(
        n_blocks=1, n_heads=1, n_factors=64, dropout_rate=0.2, session_max_len=50, batch_size=128,
        loss="sampled_softmax", n_negatives=negatives, lr=1e-3, epochs=epochs, deterministic=True,
        recommend_n_threads=1,
    )  # fmt: skip
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(train)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    lengths = rows[rows["from_last"] >= 2].groupby("user_id").size()
    sequences = int((lengths >= 2).sum()) * epochs
    validation, test = quality(model, rows, 1), quality(model, rows, 0)
    return {
        "version": version("rectools"), "negatives": negatives, "epochs": epochs, "cpu_s": cpu,
        "wall_s": wall, "sequences_per_cpu_s": sequences / cpu,
        "validation_hr10": validation[0], "validation_ndcg10": validation[1],
        "test_hr10": test[0], "test_ndcg10": test[1],
    }  # fmt: skip


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("file", type=Path)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--negatives", type=int, default=256)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        found = main(chosen.file, chosen.epochs, chosen.negatives, chosen.seed)
    print(json.dumps(found))
