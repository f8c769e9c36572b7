"""SASRec by RecTools under `benchmarks/models.py`'s leave-one-out, trained until it stops rising.

python benchmarks/peers/rectools_converged.py SEQUENCES.csv SECONDS STATE

Run in RecTools' own environment (rectools_requirements.in). The table holds user_id,
item_id and position. The last item of each person is for test, the one before it for validation;
labels of training alone. After every epoch NDCG@10 on validation decides; PATIENCE epochs without
a rise end it, and the best state is tested, once. SECONDS of wall time interrupt it: begun again
with the same STATE file it goes on where it stood. Ties cannot be told from what `recommend` gives,
and hardly occur. Epochs go to stderr, and one JSON line to stdout.
"""

import copy
import json
import os
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from torch.nn import functional

PATIENCE = 5
JUDGED = 10_000
"""People whose validation items are asked for after each epoch."""
NEGATIVES = 1024
SETTINGS = {
    "n_blocks": 1, "n_heads": 1, "n_factors": 128, "dropout_rate": 0.2, "session_max_len": 30,
    "loss": "sampled_softmax", "n_negatives": 1, "lr": 1e-3, "batch_size": 128,
}  # fmt: skip
"""Those of the eSASRec paper's repository for Amazon Beauty; its width is 64 or 256, its length 50.
One person in 300 has more than 30 items to train on. `Quick` draws the negatives."""


class Quick(TransformerLightningModule):
    """RecTools' own training step at a fraction of its cost.

    Nothing is computed at padding, which the loss leaves out; and the negatives, drawn evenly as
    RecTools draws them, are the same for all places of a batch, so that there can be more of them.
    """

    def training_step(self, batch, batch_idx):  # noqa: ARG002
        """The loss of a batch."""
        model, there = self.torch_model, batch["y"] != 0
        items = model.item_model.get_all_embeddings()
        sessions = model.encode_sessions(batch, items)[there]
        wanted, weights = batch["y"][there], batch["yw"][there]
        drawn = torch.randint(1, len(items), (NEGATIVES,))
        positive = (sessions * functional.embedding(wanted, items)).sum(-1, keepdim=True)
        negative = sessions @ functional.embedding(drawn, items).T
        negative = negative.masked_fill(drawn == wanted[:, None], -1e9)
        logits = torch.cat([positive, negative], dim=1)[None]
        loss = self.loss_calculator(logits, wanted[None], weights[None])
        self.log(self.train_loss_name, loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        """Adam as RecTools sets it up, each step of it in one sweep."""
        if self.optimizer is None:
            weights = self.torch_model.parameters()
            self.optimizer = torch.optim.Adam(
                weights, lr=self.lr, betas=self.adam_betas, fused=True
            )
        return self.optimizer


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


def save(path: str, model: SASRecModel, said: dict) -> None:
    """What training goes on from, written aside and renamed."""
    module = model.lightning_model
    state = {
        "weights": module.torch_model.state_dict(), "optimizer": module.optimizer.state_dict(),
        "random": torch.get_rng_state(), "said": said,
    }  # fmt: skip
    torch.save(state, f"{path}.new")
    os.replace(f"{path}.new", path)


def restore(path: str, model: SASRecModel, data: Dataset) -> dict:
    """The model as `save` left it, ready to be fitted further."""
    state = torch.load(path, weights_only=False)
    model._build_model_from_dataset(data)
    module = model.lightning_model
    module.torch_model.load_state_dict(state["weights"])
    module.configure_optimizers().load_state_dict(state["optimizer"])
    model.fit_trainer = copy.deepcopy(model._trainer)
    model.is_fitted = module.is_fitted = True
    torch.set_rng_state(state["random"])
    return state["said"]


def main(path: str, seconds: float, file: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seed_everything(0)
    table = pd.read_csv(path).sort_values(["user_id", "position"])
    age = table.groupby("user_id")["position"].transform("max") - table["position"]
    train, validation, test = table[age >= 2], table[age == 1], table[age == 0]
    data = interactions(train)
    model = SASRecModel(
        **SETTINGS, epochs=1, verbose=0, lightning_module_type=Quick,
        recommend_n_threads=1,
    )  # fmt: skip
    # All people would cost as much as the epoch.
    judged = np.random.default_rng(0).permutation(table["user_id"].unique())[:JUDGED]
    asked, wanted = (part[part["user_id"].isin(judged)] for part in (train, validation))
    said = {"epochs": [], "cpu_s": 0.0, "best": None}
    if os.path.exists(file):
        said = restore(file, model, data)
    begin = time.perf_counter()
    while not _over(said["epochs"]) and time.perf_counter() - begin < seconds:
        cpu = time.process_time()
        model.fit_partial(data, min_epochs=1, max_epochs=1)
        learned = time.process_time() - cpu
        now = quality(model, asked, wanted)
        if now[1] > max((ndcg for _, ndcg in said["epochs"]), default=0.0):
            said["best"] = copy.deepcopy(model.torch_model.state_dict())
        said["epochs"].append(now)
        said["cpu_s"] += time.process_time() - cpu
        save(file, model, said)
        print(
            f"epoch {len(said['epochs'])}: HR@10 {now[0]:.4f}, NDCG@10 {now[1]:.4f}, CPU "
            f"{learned:.0f} s, {said['cpu_s']:.0f} s in all", file=sys.stderr, flush=True,
        )  # fmt: skip
    hit_rate = ndcg = None
    if _over(said["epochs"]):
        model.torch_model.load_state_dict(said["best"])
        hit_rate, ndcg = quality(model, table[age >= 1], test)
    best = max(ndcg for _, ndcg in said["epochs"])
    # RecTools and Lightning print too: what is asked for is the last line.
    print(
        json.dumps(
            {
                "hr10": hit_rate, "ndcg10": ndcg, "validation_ndcg10": best,
                "epochs": len(said["epochs"]), "converged": _over(said["epochs"]),
                "patience": PATIENCE, "cpu_s": said["cpu_s"],
                "settings": SETTINGS | {"n_negatives": NEGATIVES},
            }
        )
    )  # fmt: skip


def _over(epochs: list[tuple[float, float]]) -> bool:
    """Whether the last PATIENCE epochs brought nothing better."""
    qualities = [ndcg for _, ndcg in epochs]
    return bool(qualities) and len(qualities) - 1 - int(np.argmax(qualities)) >= PATIENCE


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
