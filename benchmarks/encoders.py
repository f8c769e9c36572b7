"""Encoders: which item comes next in Amazon Beauty, by the person encoder alone, and what it costs.

    python -m benchmarks.encoders --data FOLDER [--part ids content throughput serving cuda]

Protocol. Leave-one-out: of each of 22,363 people the last item is for test, the one before it for
validation, all others train. Labels are those of training alone; at test the validation item is
read as history. All 12,101 items are ranked but those the person had before; ties count in
expectation. The epoch is chosen by NDCG@10 on validation, and so were all settings.

`beauty_scores` gives the log-scores, for hybrids to be fused with.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.encoder_cuda import cuda_rows
from benchmarks.record import Row
from heirloom.encoders.history import Histories
from heirloom.encoders.person import About, PersonEncoder
from heirloom.encoders.training.fit import Epoch, Recipe, fit
from heirloom.encoders.training.graph import person_graph
from heirloom.encoders.training.objective import Sampling
from heirloom.encoders.training.person import Events, PersonModel, Shape
from heirloom.encoders.training.towers import AttributeBag, vectors_of
from heirloom.evaluation.metrics import hit_rate, ndcg_of_one, ranks

RECTOOLS = record.ROOT / "var" / "rectools" / "bin" / "python"
"""The interpreter of RecTools' own environment (benchmarks/peers/rectools_requirements.txt)."""
JUDGED = 6_000
"""People, drawn once, whose validation items choose the epoch."""
SEEDS = (0, 1, 2)
WITH_IDS = Recipe(
    rows=128, epochs=40, patience=3, learning_rate=2e-3, average=0.998, reverse=0.33,
    sampling=Sampling(uniform=1024, ahead=2, fade=0.4),
)  # fmt: skip
CONTENT = Recipe(
    rows=128, epochs=40, patience=3, learning_rate=4e-3, average=0.998,
    sampling=Sampling(uniform=512),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Beauty:
    """Amazon Beauty: people's items in order, and the items' attributes.

    Attributes:
        people: [people] each [items] int64 from 1.
        starts: [items + 2] int64, where each item's attributes begin; row 0 is padding.
        attributes: int64, from 0.
    """

    people: list[NDArray[np.int64]]
    starts: NDArray[np.int64]
    attributes: NDArray[np.int64]

    @classmethod
    def read(cls, data: Path) -> "Beauty":
        """From the folder of the public sets."""
        folder = data / "amazon_beauty"
        rows = pl.read_parquet(folder / "sequences.parquet").sort("user_id", "position")
        user = rows["user_id"].to_numpy()
        items = rows["item_id"].to_numpy().astype(np.int64)
        people = np.split(items, np.flatnonzero(np.diff(user)) + 1)
        pairs = pl.read_parquet(folder / "item_attributes.parquet").unique()
        pairs = pairs.sort("item_id", "attribute_id")
        of = pairs["item_id"].to_numpy().astype(np.int64)
        starts = np.searchsorted(of, np.arange(items.max() + 2)).astype(np.int64)
        codes = np.unique(pairs["attribute_id"].to_numpy(), return_inverse=True)[1]
        return cls(people, starts, codes.astype(np.int64))

    def with_pairs(self, least: int = 3) -> "Beauty":
        """The pairs of attributes that at least so many items have, as attributes of their own.

        A brand's shampoo is more than a brand and a shampoo; no pair tells an item from all others.
        """
        pieces = np.split(self.attributes, self.starts[1:-1])
        most = int(self.attributes.max()) + 1
        pairs = [
            (piece[:, None] * most + piece)[np.triu_indices(len(piece), 1)] for piece in pieces
        ]
        codes, counts = np.unique(np.concatenate(pairs), return_counts=True)
        kept = codes[counts >= least]
        both = [
            np.concatenate([piece, most + np.searchsorted(kept, pair[np.isin(pair, kept)])])
            for piece, pair in zip(pieces, pairs, strict=True)
        ]
        starts = np.cumsum([0, *(len(attributes) for attributes in both)]).astype(np.int64)
        return replace(self, starts=starts, attributes=np.concatenate(both).astype(np.int64))

    def without(self, last: int) -> Histories:
        """Histories of all people, the last so many items of each left out."""
        return Histories.of_items([items[: len(items) - last] for items in self.people])

    def target(self, from_last: int) -> NDArray[np.int64]:
        """[people], the item that many places from the last."""
        return np.array([items[-1 - from_last] for items in self.people])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A person encoder and its tower, fitted; `cpu_s` is all it took, validation included."""

    model: PersonModel
    tower: AttributeBag
    epochs: tuple[Epoch, ...]
    cpu_s: float

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """[people, items] float32: log-softmax over all items, -inf for those had before.

        Column j is item j + 1.
        """
        return log_scores(self.model, vectors_of(self.tower), histories)


def log_scores(
    model: PersonModel, items: torch.Tensor, histories: Histories
) -> NDArray[np.float32]:
    """As `Fitted.scores`; `items` [rows, dim] are the tower's vectors, row 0 for padding."""
    people = np.arange(len(histories))
    scores = np.empty((len(people), len(items) - 1), np.float32)
    lengths = np.diff(histories.starts)
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), 256):
        some = order[begin : begin + 256]
        logits = model.scale() * _last(model, items, histories, some) @ items[1:].T
        made = torch.log_softmax(logits, dim=1).numpy()
        had = np.repeat(np.arange(len(some)), lengths[some])
        places = np.concatenate([np.arange(*histories.starts[p : p + 2]) for p in some.tolist()])
        made[had, histories.items[places] - 1] = -np.inf
        scores[some] = made
    return scores


@torch.no_grad()
def _last(
    model: PersonModel, items: torch.Tensor, histories: Histories, people: NDArray[np.int64]
) -> torch.Tensor:
    """[people, dim], the vector after each one's latest event."""
    ends = histories.starts[people + 1]
    lengths = np.minimum(ends - histories.starts[people], model.shape.events)
    steps = np.arange(lengths.max())
    there = steps < lengths[:, None]
    places = np.where(there, (ends - lengths)[:, None] + steps, 0)
    read = torch.from_numpy(np.where(there, histories.items[places], 0))
    # The set tells order alone: no kinds, no times, no surfaces.
    none = torch.zeros_like(read)
    later = there & (places > histories.starts[people][:, None])
    gaps = torch.from_numpy(later.astype(np.int64))
    vectors = model(items[read], Events(read, none, gaps, none))
    return vectors[torch.arange(len(people)), torch.from_numpy(lengths - 1), 0]


def learn(
    beauty: Beauty,
    recipe: Recipe,
    *,
    ids: bool = True,
    file: Path | None = None,
    say: Callable[[str], None] = print,
) -> Fitted:
    """A person encoder fitted on the labels of training, its epoch chosen on validation."""
    torch.manual_seed(recipe.seed)
    dim = 128 if ids else 64
    tower = AttributeBag(beauty.starts, beauty.attributes, dim, ids=ids, scale=0.02 if ids else 0.2)
    model = PersonModel(Shape(dim=dim), dropout=0.5 if ids else 0.3)
    judged = np.sort(np.random.default_rng(0).permutation(len(beauty.people))[:JUDGED])
    part = replace(beauty, people=[beauty.people[i] for i in judged])
    asked, target = part.without(2), part.target(1)

    def validate() -> float:
        return measured(log_scores(model, vectors_of(tower), asked), target)[1]

    cpu = time.process_time()
    epochs = fit(
        model, tower, beauty.without(2), recipe, validate,
        file=file, progress=lambda epoch: say(str(epoch)),
    )  # fmt: skip
    return Fitted(model, tower, epochs, time.process_time() - cpu)


def measured(scores: NDArray[np.float32], target: NDArray[np.int64]) -> tuple[float, float]:
    """HR@10 and NDCG@10 of the one item wanted by each person."""
    places = np.concatenate(
        [ranks(scores[i : i + 512], target[i : i + 512] - 1) for i in range(0, len(scores), 512)]
    )
    return float(hit_rate(places, 10).mean()), float(ndcg_of_one(places, 10).mean())


def beauty_scores(data: Path, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-scores [people, items] float32 for validation and test, people in order of user_id.

    Column j is item j + 1; -inf stands at what the person had before. Labels of training alone.
    """
    beauty = Beauty.read(data)
    fitted = learn(beauty, replace(WITH_IDS, seed=seed))
    return fitted.scores(beauty.without(2)), fitted.scores(beauty.without(1))


def quality(
    beauty: Beauty, seeds: tuple[int, ...], folder: Path, *, ids: bool, say: Callable[[str], None]
) -> tuple[list[Fitted], NDArray[np.float64]]:
    """The fitted models, and [seeds, 4] HR@10, NDCG@10 on validation and on test."""
    found, fits = [], []
    for seed in seeds:
        recipe = replace(WITH_IDS if ids else CONTENT, seed=seed)
        file = folder / f"{'ids' if ids else 'content'}-{seed}.safetensors"
        fitted = learn(beauty, recipe, ids=ids, file=file, say=say)
        validation = measured(fitted.scores(beauty.without(2)), beauty.target(1))
        test = measured(fitted.scores(beauty.without(1)), beauty.target(0))
        say(f"seed {seed}: validation {validation}, test {test}, {fitted.cpu_s:.0f} s of CPU")
        found.append([*validation, *test])
        fits.append(fitted)
    return fits, np.array(found)


def quality_rows(data: Path, seeds: tuple[int, ...], *, ids: bool, folder: Path) -> list[Row]:
    """HR@10 and NDCG@10 with ids, or of content only."""
    beauty = Beauty.read(data)
    fits, found = quality(beauty if ids else beauty.with_pairs(), seeds, folder, ids=ids, say=print)
    name, targets = ("encoder", (0.09, 0.052)) if ids else ("content", (0.05, 0.025))
    cpu = sum(fitted.cpu_s for fitted in fits)
    rows = []
    for column, metric, target in ((2, "hr10", targets[0]), (3, "ndcg10", targets[1])):
        values = found[:, column]
        rows.append(
            Row(
                id=f"models.beauty_{name}_{metric}",
                value=round(float(values.mean()), 4),
                unit="",
                better="higher",
                target=target if (ids or metric == "hr10") else None,
                interval=(round(float(values.min()), 4), round(float(values.max()), 4)),
                note=f"mean of seeds {list(seeds)}, interval their spread; labels of training "
                f"alone; validation {found[:, column - 2].mean():.4f}; {cpu:.0f} s of CPU in all",
            )
        )
    return rows


def throughput_rows(data: Path, epochs: int = 1) -> list[Row]:
    """Windows learned from in a CPU-second, beside RecTools' SASRec in the same run."""
    id, target = "models.train_vs_rectools", 2.0
    if not RECTOOLS.exists():
        why = f"RecTools is not installed at {RECTOOLS.relative_to(record.ROOT)}"
        return [Row(id=id, value=None, unit="x", better="higher", target=target, note=why)]
    peer = rectools(data, epochs)
    recipe = replace(WITH_IDS, epochs=epochs)
    fitted = learn(Beauty.read(data), recipe)
    ours = statistics.median(epoch.sequences / epoch.cpu_s for epoch in fitted.epochs)
    return [
        Row(
            id=id,
            value=round(ours / peer["sequences_per_cpu_s"], 2),
            unit="x",
            better="higher",
            target=target,
            peer=f"RecTools {peer['version']} SASRec, sampled softmax of {peer['negatives']}",
            peer_value=round(peer["sequences_per_cpu_s"], 1),
            note=f"windows in a CPU-second, one thread, ours {ours:.0f}; NDCG@10 on validation "
            f"after {epochs} epochs {fitted.epochs[-1].validation:.4f} to "
            f"{peer['validation_ndcg10']:.4f}",
        )
    ]


def rectools(data: Path, epochs: int) -> dict[str, Any]:
    """What `benchmarks/peers/rectools_sasrec.py` says of the same file."""
    script = record.ROOT / "benchmarks" / "peers" / "rectools_sasrec.py"
    rows = pl.read_parquet(data / "amazon_beauty" / "sequences.parquet")
    with tempfile.TemporaryDirectory() as name:
        # RecTools' environment reads no Parquet.
        file = Path(name) / "sequences.npz"
        np.savez(file, **{column: rows[column].to_numpy() for column in rows.columns})
        command = [str(RECTOOLS), str(script), str(file), "--epochs", str(epochs)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def serving_rows(runs: int = 500) -> list[Row]:
    """CPU time to encode one person of 50 events, one thread."""
    model = PersonModel(Shape(dim=128)).eval()
    about = About(dim=128, vectors=1, events=50, listings="none")
    encoder = PersonEncoder(person_graph(model), about)
    rng = np.random.default_rng(0)
    histories = Histories.of_items([rng.integers(1, 100, 50)])
    vectors = rng.normal(size=(50, 128)).astype(np.float32)
    took = []
    for _ in range(5):
        cpu = time.process_time()
        for _ in range(runs):
            encoder.encode(histories, vectors)
        took.append((time.process_time() - cpu) / runs * 1e3)
    return [
        Row(
            id="models.person_encode_ms",
            value=round(statistics.median(took), 3),
            unit="ms",
            better="lower",
            target=1.0,
            note="CPU, 50 events of 128 dimensions, one LiGR layer, ONNX on one thread, median "
            f"of 5 x {runs}",
        )
    ]


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    options.add_argument("--out", type=Path, default=record.RESULTS / "models_encoders.json")
    options.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options.add_argument(
        "--part", nargs="+", default=["ids", "content", "throughput", "serving", "cuda"],
        choices=["ids", "content", "throughput", "serving", "cuda"],
    )  # fmt: skip
    chosen = options.parse_args()
    torch.set_num_threads(1)
    folder = record.ROOT / "var" / "bench-encoders"
    folder.mkdir(parents=True, exist_ok=True)
    seeds = tuple(chosen.seeds)
    parts: dict[str, Callable[[], list[Row]]] = {
        "ids": lambda: quality_rows(chosen.data, seeds, ids=True, folder=folder),
        "content": lambda: quality_rows(chosen.data, seeds, ids=False, folder=folder),
        "throughput": lambda: throughput_rows(chosen.data),
        "serving": serving_rows,
        "cuda": cuda_rows,
    }
    measured_rows = [row for part in chosen.part for row in parts[part]()]
    for row in measured_rows:
        print(f"{row.id} = {row.value} {row.interval or ''} {row.note}", file=sys.stderr)
    command = f"python -m benchmarks.encoders --data FOLDER --part {' '.join(chosen.part)}"
    record.write("models", measured_rows, command=command, path=chosen.out)


if __name__ == "__main__":
    main()
