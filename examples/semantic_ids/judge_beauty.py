"""Semantic ids on Amazon Beauty: five representations of an item, one recipe, cold items apart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from judge_data import Beauty, log_scores
from judge_rows import Found, of_places
from numpy.typing import NDArray
from semantic_ids.codebook import Codebook, prefixes
from semantic_ids.retriever import shared
from semantic_ids.tower import SemanticIdTower, Together

from heirloom.encoders.history import Histories
from heirloom.encoders.training.fit import Recipe, fit
from heirloom.encoders.training.objective import Sampling
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.encoders.training.towers import AttributeBag, Tower, vectors_of
from heirloom.evaluation.metrics import tied_places

DIM = 64
COLD = 2
"""An item is cold with at most so many rows of training."""
REPRESENTATIONS = ("content", "ids", "content_ids", "semantic", "content_semantic")
SETTINGS = {
    "content": (4e-3, 0.2),
    "ids": (2e-3, 0.02),
    "content_ids": (4e-3, 0.2),
    "semantic": (4e-3, 0.2),
    "content_semantic": (4e-3, 0.2),
}
"""Learning rate, and standard deviation of the vectors at the start: what `benchmarks/encoders.py`
found on validation for content, and for ids; what reads content gets that of content."""
SIZE = 256
LEVELS = 3
JUDGED = 1_000
ASKED = 3_000
AGES = (0.6, 0.8)
_AT_ONCE = 2_048


@dataclass(frozen=True, slots=True)
class Fitted:
    """A person encoder with its tower, and its best NDCG@10 on validation."""

    model: PersonModel
    tower: Tower
    validation: float
    epochs: int
    cpu_s: float


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """[rows, dim] float32 of unit length; zeros stay."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    made: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return made


def coded(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """[items, LEVELS] semantic ids, by a codebook of the vectors themselves."""
    return Codebook.fit(vectors, levels=LEVELS, codes=SIZE).encode(vectors)


def tower_of(name: str, beauty: Beauty, ids: NDArray[np.int32] | None, scale: float) -> Tower:
    """The tower of a representation; `beauty` has its pairs of attributes."""
    if name in ("content", "content_ids"):
        both = name == "content_ids"
        return AttributeBag(beauty.starts, beauty.attributes, DIM, ids=both, scale=scale)
    if name == "ids":
        none = np.zeros(0, np.int64)
        return AttributeBag(np.zeros_like(beauty.starts), none, DIM, ids=True, scale=scale)
    if ids is None:
        raise ValueError(f"tower_of: {name} wants semantic ids; none came")
    semantic = SemanticIdTower(ids, SIZE, DIM, scale=scale)
    if name == "semantic":
        return semantic
    return Together([tower_of("content", beauty, None, scale), semantic])


def learn(
    name: str,
    beauty: Beauty,
    ids: NDArray[np.int32] | None,
    setting: tuple[float, float],
    seed: int,
    epochs: int,
) -> Fitted:
    """Fitted on labels of training, the epoch by NDCG@10 of JUDGED people's validation items."""
    rate, scale = setting
    torch.manual_seed(seed)
    tower = tower_of(name, beauty, ids, scale)
    model = PersonModel(Shape(dim=DIM), dropout=0.3)
    recipe = Recipe(
        rows=128, epochs=epochs, patience=epochs, learning_rate=rate, average=0.99,
        sampling=Sampling(uniform=256), seed=seed,
    )  # fmt: skip
    part = only(beauty, np.random.default_rng(0).permutation(len(beauty.people))[:JUDGED])

    def validate() -> float:
        return float(found(model, tower, part, 1).ndcg10.mean())

    done = fit(model, tower, beauty.without(2), recipe, validate)
    best = max(epoch.validation for epoch in done)
    return Fitted(model, tower, best, len(done), sum(epoch.cpu_s for epoch in done))


def found(model: PersonModel, tower: Tower, beauty: Beauty, from_last: int) -> Found:
    """Where each person's item so many from the last stands, all items ranked but those had."""
    vectors = vectors_of(tower)
    return _in_parts(beauty, from_last, lambda histories: log_scores(model, vectors, histories))


def _in_parts(
    beauty: Beauty, from_last: int, scorer: Callable[[Histories], NDArray[np.floating]]
) -> Found:
    histories, targets = beauty.without(from_last + 1), beauty.target(from_last) - 1
    above, level = [], []
    for begin in range(0, len(histories), _AT_ONCE):
        sizes = np.diff(histories.starts[begin : begin + _AT_ONCE + 1])
        events = np.arange(histories.starts[begin], histories.starts[begin] + sizes.sum())
        # Items of one id tie; float sums of equal terms differ in the last digits.
        scores = np.round(scorer(histories.taken(events, sizes)), 4)
        places = tied_places(scores, targets[begin : begin + _AT_ONCE].astype(np.intp))
        above.append(places[0])
        level.append(places[1])
    return of_places(np.concatenate(above), np.concatenate(level))


def only(beauty: Beauty, people: NDArray[np.intp]) -> Beauty:
    """These people, in order of their numbers."""
    return replace(beauty, people=[beauty.people[i] for i in np.sort(people).tolist()])


def cold(beauty: Beauty, from_last: int) -> NDArray[np.bool_]:
    """[people], whether the item so many from the last has at most COLD rows of training."""
    counts = np.bincount(beauty.without(2).items, minlength=len(beauty.starts) - 1)
    rare: NDArray[np.bool_] = counts[beauty.target(from_last)] <= COLD
    return rare


def retrieved(
    beauty: Beauty,
    from_last: int,
    vectors: NDArray[np.float32],
    ids: NDArray[np.int32] | None,
    age: float,
) -> Found:
    """Without training: the nearest to the mean of a history, or the longest shared prefixes."""

    def scorer(histories: Histories) -> NDArray[np.floating]:
        scores = np.empty((len(histories), len(vectors)), np.float64)
        named = prefixes(ids, SIZE) if ids is not None else None
        for person in range(len(histories)):
            items = histories.items[slice(*histories.starts[person : person + 2])][-50:] - 1
            weights = age ** np.arange(len(items) - 1, -1, -1.0)
            if named is None:
                scores[person] = vectors @ (weights @ vectors[items]).astype(np.float32)
            else:
                scores[person] = shared(named, named[items], weights)
            scores[person, items] = -np.inf
        return scores

    return _in_parts(beauty, from_last, scorer)


@dataclass(frozen=True, slots=True)
class Judged:
    """What each representation found on test, by seed, and what was chosen on validation.

    Attributes:
        found: of the people asked: all whose target is cold, and ASKED drawn evenly.
        cold, drawn: [asked], which they are.
        notes: what was chosen.
        cpu_s: s of CPU to fit.
    """

    found: dict[str, list[Found]]
    cold: NDArray[np.bool_]
    drawn: NDArray[np.bool_]
    notes: dict[str, str]
    cpu_s: float


def judge(
    data: Path, people: int, seeds: Sequence[int], epochs: int, say: Callable[[str], None]
) -> Iterator[Judged]:
    """What was found, after each seed; `people` of the set, drawn once, make it."""
    beauty = Beauty.read(data).with_pairs()
    beauty = only(beauty, np.random.default_rng(2).permutation(len(beauty.people))[:people])
    rare = cold(beauty, 0)
    drawn = np.zeros(len(rare), np.bool_)
    drawn[np.random.default_rng(1).permutation(len(rare))[:ASKED]] = True
    asked = np.flatnonzero(rare | drawn)
    rare, drawn = rare[asked], drawn[asked]
    out: dict[str, list[Found]] = {name: [] for name in REPRESENTATIONS}
    notes = {name: f"{LEVELS} x {SIZE} codes" for name in REPRESENTATIONS if "semantic" in name}
    cpu, ids = 0.0, None
    for seed in seeds:
        for name in REPRESENTATIONS:
            fitted = learn(name, beauty, ids, SETTINGS[name], seed, epochs)
            say(f"{name} seed {seed}: validation {fitted.validation:.4f}, {fitted.cpu_s:.0f} s")
            cpu += fitted.cpu_s
            if name == "content":
                # Ids code what the content tower of the same seed has learned.
                vectors = unit(vectors_of(fitted.tower).numpy()[1:])
                ids = coded(vectors)
            out[name].append(found(fitted.model, fitted.tower, only(beauty, asked), 0))
            say(f"  test: {out[name][-1].said()}; cold: {out[name][-1].said(rare)}")
        if seed == seeds[0] and ids is not None:
            notes |= _retrievers(beauty, vectors, ids, asked, out, say)
        yield Judged(out, rare, drawn, notes, cpu)


def _retrievers(
    beauty: Beauty,
    vectors: NDArray[np.float32],
    ids: NDArray[np.int32],
    asked: NDArray[np.intp],
    out: dict[str, list[Found]],
    say: Callable[[str], None],
) -> dict[str, str]:
    """Add the two ways of retrieving; how events fade on validation."""
    notes = {}
    part = only(beauty, np.random.default_rng(0).permutation(len(beauty.people))[:JUDGED])
    test = only(beauty, asked)
    for name, by in (("vectors_trained", None), ("prefixes_trained", ids)):
        scores = [retrieved(part, 1, vectors, by, age).hr100.mean() for age in AGES]
        age = AGES[int(np.argmax(scores))]
        out[name] = [retrieved(test, 0, vectors, by, age)]
        codes = f", {LEVELS} x {SIZE} codes" if by is not None else ""
        notes[name] = f"an event weighs {age:g}^age{codes}"
        say(f"{name}: {out[name][0].said()}")
    return notes
