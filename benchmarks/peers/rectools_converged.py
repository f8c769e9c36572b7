"""SASRec by RecTools under `benchmarks/models.py`'s leave-one-out, trained until it stops rising.

python benchmarks/peers/rectools_converged.py SEQUENCES.csv SECONDS

Run in RecTools' own environment (rectools_requirements.in). The table holds user_id,
item_id and position. The last item of each person is for test, the one before it for validation;
labels of training alone. Every EVERY epochs NDCG@10 on validation decides; PATIENCE checks without
a rise, or SECONDS of wall time, end it, and the best state is tested. Ties cannot be told from what
`recommend` gives, and hardly occur. One JSON line goes to stdout.
"""

import copy
import json
import sys
import time

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

EVERY = 3
PATIENCE = 4
SETTINGS = {
    "n_blocks": 1, "n_heads": 1, "n_factors": 64, "dropout_rate": 0.2, "session_max_len": 50,
    "loss": "sampled_softmax", "n_negatives": 256, "lr": 1e-3, "batch_size": 128,
}  # fmt: skip
"""Those of the eSASRec paper's repository for Amazon Beauty."""


def interactions(table: pd.DataFrame) -> Dataset:
    """A row's place stands for its time."""
    frame = pd.DataFrame(
        {
            Columns.User: table["user_id"],
            Columns.Item: table["item_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2014-01-01")
            + pd.to_timedelta(table["position"], unit="D"),
        }
    )
    return Dataset.construct(frame)


def quality(model: SASRecModel, known: pd.DataFrame, target: pd.DataFrame) -> tuple[float, float]:
    """HR@10 and NDCG@10; people or items that the model does not know count as missed."""
    found = model.recommend(
        users=known["user_id"].unique(), dataset=interactions(known), k=10, filter_viewed=True,
        on_unsupported_targets="ignore",
    )  # fmt: skip
    hit = found.merge(target, on=["user_id", "item_id"])
    rank = hit["rank"].to_numpy()
    people = len(target)
    return len(rank) / people, float((1 / np.log2(rank + 1)).sum() / people)


def main(path: str, seconds: float) -> None:
    torch.set_num_threads(1)
    seed_everything(0)
    table = pd.read_csv(path).sort_values(["user_id", "position"])
    age = table.groupby("user_id")["position"].transform("max") - table["position"]
    train, validation, test = table[age >= 2], table[age == 1], table[age == 0]
    data = interactions(train)
    model = SASRecModel(**SETTINGS, epochs=EVERY, deterministic=True, verbose=0)
    begin, cpu = time.perf_counter(), time.process_time()
    best, state, worse, epochs, sequences = (0.0, 0.0), None, 0, 0, 0
    while worse < PATIENCE and time.perf_counter() - begin < seconds:
        model.fit_partial(data, min_epochs=EVERY, max_epochs=EVERY)
        epochs += EVERY
        sequences += EVERY * train["user_id"].nunique()
        now = quality(model, train, validation)
        print(f"epoch {epochs}: {now}, CPU {time.process_time() - cpu:.0f} s", file=sys.stderr)
        if now[1] > best[1]:
            best, worse = now, 0
            state = copy.deepcopy(model.torch_model.state_dict())
        else:
            worse += 1
    if state is not None:
        model.torch_model.load_state_dict(state)
    hit_rate, ndcg = quality(model, table[age >= 1], test)
    # RecTools and Lightning print too: what is asked for is the last line.
    print(
        json.dumps(
            {
                "hr10": hit_rate, "ndcg10": ndcg, "validation_ndcg10": best[1], "epochs": epochs,
                "converged": worse >= PATIENCE, "cpu_s": time.process_time() - cpu,
                "sequences": sequences,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
