"""Encoders: what a person takes next, by the person encoder alone, on the leave-one-out sets.

Protocol as in `model_protocols`: labels of training alone, all items ranked but those the person
had before, ties in expectation. The epoch is chosen by NDCG@10 on validation for JUDGED people, and
so were all settings. What is measured is what is served: the ONNX graph of `MEMBERS` models side by
side, whose joined vectors an index holds like any others.

Checkpoints lie in `var/bench-encoders`; a run that was broken off goes on from them.
"""

import json
import statistics
import subprocess
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
from scipy import sparse

from benchmarks import record
from benchmarks.model_protocols import LeaveOneOut, Places, Scorer, amazon, attributes, row
from benchmarks.record import Row
from heirloom.encoders.history import EVENTS, Histories
from heirloom.encoders.person import About, PersonEncoder
from heirloom.encoders.training.fit import Epoch, Recipe, fit
from heirloom.encoders.training.graph import person_graph
from heirloom.encoders.training.objective import Sampling
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.encoders.training.towers import AttributeBag, vectors_of
from heirloom.retrieval.collaborative.sequences import Sequences
from heirloom.retrieval.collaborative.session_knn import SessionKnn
from heirloom.retrieval.collaborative.spectral import leading

RECTOOLS = record.ROOT / "var" / "rectools" / "bin" / "python"
"""The interpreter of RecTools' own environment (benchmarks/peers/rectools_requirements.txt)."""
CHECKPOINTS = record.ROOT / "var" / "bench-encoders"
JUDGED = 6_000
"""People, drawn once, whose validation items choose the epoch."""
SEEDS = (0, 1, 2)
MEMBERS = 2
"""Models with ids that are served side by side, as one; of content only there is one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is fitted, and how.

    Attributes:
        recipe: of training; its seed is replaced.
        shape: of each member.
        dropout: in the person's model.
        scale: standard deviation of the items' vectors at the start.
        spectral: root mean square length of `spectral` vectors added at the start; 0: none.
        ids: whether items have vectors of their own.
        members: how many stand side by side.
    """

    recipe: Recipe
    shape: Shape
    dropout: float
    scale: float
    spectral: float = 0.0
    ids: bool = True
    members: int = 1


WITH_IDS = Kind(
    Recipe(
        rows=128, epochs=8, patience=3, learning_rate=2e-3, average=0.998, reverse=0.33,
        sampling=Sampling(uniform=1024, ahead=2, fade=0.4),
    ),
    Shape(dim=128), dropout=0.5, scale=0.02, spectral=0.57, members=MEMBERS,
)  # fmt: skip
CONTENT = Kind(
    Recipe(
        rows=128, epochs=40, patience=3, learning_rate=4e-3, average=0.998,
        sampling=Sampling(uniform=512),
    ),
    Shape(dim=64), dropout=0.3, scale=0.2, ids=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fitted:
    """Members side by side, as they are served.

    Attributes:
        encoder: of people.
        items: [items, dim] float32, the members' vectors of each item, one after another.
        epochs: of each member.
    """

    encoder: PersonEncoder
    items: NDArray[np.float32]
    epochs: tuple[tuple[Epoch, ...], ...]

    def scores(self, histories: Sequences) -> NDArray[np.float32]:
        """[people, items] float32, the members' mean logits."""
        # One event more than is read: how long before the first it was is known then too.
        latest = histories.latest(EVENTS + 1)
        people = self.encoder.encode(read(latest), self.items[latest.items])
        found: NDArray[np.float32] = people[:, 0] @ self.items.T / np.float32(len(self.epochs))
        return found

    @property
    def cpu_s(self) -> float:
        """Of learning alone, validation left out."""
        return sum(epoch.cpu_s for epochs in self.epochs for epoch in epochs)


def read(sequences: Sequences) -> Histories:
    """Sequences as the encoders read them, row 0 being padding: order alone is known."""
    codes = np.zeros(len(sequences.items), np.int8)
    items = sequences.items.astype(np.int64) + 1
    return Histories(sequences.starts, items, codes, codes, np.zeros(len(items), np.int64))


def with_pairs(content: sparse.csr_matrix, least: int = 3) -> sparse.csr_matrix:
    """The pairs of attributes that at least so many items have, as attributes of their own.

    A brand's shampoo is more than a brand and a shampoo; no pair tells an item from all others.
    """
    most = content.shape[1]
    content.sort_indices()
    pieces = np.split(content.indices.astype(np.int64), content.indptr[1:-1])
    both = [(one[:, None] * most + one)[np.triu_indices(len(one), 1)] for one in pieces]
    codes, column, counts = np.unique(np.concatenate(both), return_inverse=True, return_counts=True)
    rows = np.repeat(np.arange(len(both)), [len(one) for one in both])
    kept = counts >= least
    shape = (len(both), len(codes))
    pairs = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, column)), shape=shape)
    return sparse.hstack([content, pairs[:, np.flatnonzero(kept)]]).tocsr()


def tower(kind: Kind, split: LeaveOneOut, content: sparse.csr_matrix | None) -> AttributeBag:
    """The items' side before training; torch's seed draws it."""
    starts, codes = np.zeros(split.train.number + 2, np.int64), np.zeros(0, np.int64)
    if content is not None:
        content.sort_indices()
        starts[1:], codes = content.indptr, content.indices.astype(np.int64)
    made = AttributeBag(starts, codes, kind.shape.dim, ids=kind.ids, scale=kind.scale)
    if kind.spectral and made.ids is not None:
        begun = spectral(split.train, kind.shape.dim, kind.spectral)
        with torch.no_grad():
            made.ids[1:, : begun.shape[1]] += torch.from_numpy(begun)
    return made


def spectral(train: Sequences, dim: int, length: float) -> NDArray[np.float32]:
    """[items, dim or fewer] float32: vectors whose products are how often two are taken together.

    Of pairs as SessionKnn counts them, in both directions alike, each divided by the square roots
    of how often its items were taken: P, symmetric. With P ~ V S V', an item is its row of V S^1/2
    (Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NIPS 2014, eq. 13
    for counts damped so), turned at random, lest few dimensions hold all, and as long as `length`
    in the root mean square. A rare item begins near zero.
    """
    counted = SessionKnn.fit(train)
    damped = sparse.diags((counted.count + 1.0) ** -0.5)
    pairs = (damped @ (counted.followed + counted.followed.T) @ damped).tocsr().astype(np.float32)
    basis = leading(pairs, min(dim, train.number), seed=0)
    strength = np.linalg.norm(pairs @ basis, axis=0)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((len(strength), len(strength))))[0]
    vectors = (basis * np.sqrt(strength)) @ turn
    vectors *= length / np.sqrt(np.square(vectors).sum(axis=1).mean())
    return vectors.astype(np.float32)


def learn(
    kind: Kind, split: LeaveOneOut, content: sparse.csr_matrix | None, seed: int, *,
    file: Path | None = None, say: Callable[[str], None] = print,
) -> tuple[PersonModel, NDArray[np.float32], tuple[Epoch, ...]]:  # fmt: skip
    """One member and its items' vectors, fitted on the labels of training."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    items = tower(kind, split, content)
    model = PersonModel(kind.shape, dropout=kind.dropout)
    judged = np.sort(np.random.default_rng(0).permutation(len(split.train))[:JUDGED])
    asked, target = split.train.take(judged), split.validation[judged]

    def validate() -> float:
        made = _served([model], [_vectors(items)], ((),))
        return float(Places.of(made.scores, asked, target).ndcg().mean())

    epochs = fit(
        model, items, read(split.train), replace(kind.recipe, seed=seed), validate,
        file=file, progress=lambda epoch: say(str(epoch)),
    )  # fmt: skip
    return model, _vectors(items), epochs


def fitted(
    kind: Kind, split: LeaveOneOut, content: sparse.csr_matrix | None, seed: int,
    name: str = "", say: Callable[[str], None] = print,
) -> Fitted:  # fmt: skip
    """All members of a seed; `name` begins their checkpoints' names, none is kept without."""
    found = []
    for member in range(seed * kind.members, (seed + 1) * kind.members):
        if name:
            CHECKPOINTS.mkdir(parents=True, exist_ok=True)
        file = CHECKPOINTS / f"{name}-{member}.safetensors" if name else None
        found.append(learn(kind, split, content, member, file=file, say=say))
    models, items, epochs = zip(*found, strict=True)
    return _served(list(models), list(items), tuple(epochs))


def _served(
    models: list[PersonModel], items: list[NDArray[np.float32]],
    epochs: tuple[tuple[Epoch, ...], ...],
) -> Fitted:  # fmt: skip
    joined = np.ascontiguousarray(np.concatenate(items, axis=1))
    about = About(dim=joined.shape[1], vectors=1, events=EVENTS, listings="items")
    return Fitted(PersonEncoder(person_graph(*models), about), joined, epochs)


def _vectors(items: AttributeBag) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = vectors_of(items)[1:].numpy()
    return vectors


def for_hybrid(name: str, data: Path) -> Callable[[LeaveOneOut, int], Scorer]:
    """What fits the encoder of a set with ids, or takes it from its checkpoints, and scores."""
    folder = data / f"amazon_{name}"

    def of(split: LeaveOneOut, seed: int) -> Scorer:
        return fitted(WITH_IDS, split, attributes(folder, split.train.number), seed, name).scores

    return of


def rows(name: str, data: Path, *, ids: bool = True, seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """HR@10 and NDCG@10 of `beauty` or `clothing`, with ids or of content only."""
    split = LeaveOneOut.of(amazon(data / f"amazon_{name}"))
    content = attributes(data / f"amazon_{name}", split.train.number)
    kind = WITH_IDS if ids else CONTENT
    if not ids and content is not None:
        content = with_pairs(content)
    title = "encoder" if ids else "content"
    validation, test, cpu = [], [], 0.0
    for seed in seeds:
        one = fitted(kind, split, content, seed, name if ids else f"{name}-content")
        validation.append(Places.of(one.scores, split.train, split.validation))
        test.append(Places.of(one.scores, split.test_histories, split.test))
        cpu += one.cpu_s
        print(f"{name} {title} seed {seed}: validation {validation[-1]}, test {test[-1]}")
    note = (
        f"labels of training alone; {kind.members} model(s) of {kind.shape.dim} dimensions served "
        f"as one ONNX graph; validation {', '.join(map(str, validation))}; "
        f"{cpu / len(seeds):.0f} s of CPU a seed"
    )
    bars = TARGETS.get((name, title), (None, None))
    measures = (("hr10", Places.hits, bars[0]), ("ndcg10", Places.ndcg, bars[1]))
    return [
        row(f"models.{name}_{title}_{metric}", [measure(places) for places in test],
            target=bar, note=note)
        for metric, measure, bar in measures
    ]  # fmt: skip


TARGETS = {("beauty", "encoder"): (0.09, 0.052), ("beauty", "content"): (0.05, 0.025)}


def throughput_rows(data: Path, epochs: int = 1) -> list[Row]:
    """Sequences learned from in a CPU-second, beside RecTools' SASRec in the same run."""
    id, target = "models.train_vs_rectools", 2.0
    if not RECTOOLS.exists():
        why = f"RecTools is not installed at {RECTOOLS.relative_to(record.ROOT)}"
        return [Row(id=id, value=None, unit="x", better="higher", target=target, note=why)]
    peer = rectools(data, epochs)
    folder = data / "amazon_beauty"
    split = LeaveOneOut.of(amazon(folder))
    content = attributes(folder, split.train.number)
    kind = replace(WITH_IDS, recipe=replace(WITH_IDS.recipe, epochs=epochs))
    begin = time.process_time()
    member = learn(kind, split, content, seed=0)
    spent = time.process_time() - begin
    ours = statistics.median(epoch.sequences / epoch.cpu_s for epoch in member[2])
    places = Places.of(
        _served([member[0]], [member[1]], ((),)).scores, split.train, split.validation
    )
    return [
        Row(
            id=id,
            value=round(ours / peer["sequences_per_cpu_s"], 2),
            unit="x",
            better="higher",
            target=target,
            peer=f"RecTools {peer['version']} SASRec, sampled softmax of {peer['negatives']}",
            peer_value=round(peer["sequences_per_cpu_s"], 1),
            note=f"sequences in a CPU-second, one thread, ours {ours:.0f} (one member; "
            f"{spent:.0f} s of CPU with start and validation); NDCG@10 on validation after "
            f"{epochs} epoch(s) {places.ndcg().mean():.4f} to {peer['validation_ndcg10']:.4f}",
        )
    ]


def rectools(data: Path, epochs: int) -> dict[str, Any]:
    """What `benchmarks/peers/rectools_sasrec.py` says of the same file."""
    script = record.ROOT / "benchmarks" / "peers" / "rectools_sasrec.py"
    table = pl.read_parquet(data / "amazon_beauty" / "sequences.parquet")
    with tempfile.TemporaryDirectory() as name:
        # RecTools' environment reads no Parquet.
        file = Path(name) / "sequences.npz"
        np.savez(file, **{column: table[column].to_numpy() for column in table.columns})
        command = [str(RECTOOLS), str(script), str(file), "--epochs", str(epochs)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def serving_rows(runs: int = 500) -> list[Row]:
    """CPU time to encode one person of 50 events, one thread."""
    models = [PersonModel(WITH_IDS.shape).eval() for _ in range(WITH_IDS.members)]
    dim = WITH_IDS.shape.dim * len(models)
    about = About(dim=dim, vectors=1, events=EVENTS, listings="none")
    encoder = PersonEncoder(person_graph(*models), about)
    rng = np.random.default_rng(0)
    histories = Histories.of_items([rng.integers(1, 100, EVENTS)])
    vectors = rng.normal(size=(EVENTS, dim)).astype(np.float32)
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
            note=f"CPU, {EVENTS} events, {len(models)} members of {WITH_IDS.shape.dim} dimensions "
            f"and one LiGR layer each, ONNX on one thread, median of 5 x {runs}",
        )
    ]
