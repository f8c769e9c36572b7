"""Fit: the training loop of a network that ranks, from top to bottom.

The same examples, recipe and seed on the same kind of machine give the same weights.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heirloom.core.errors import ConfigError
from heirloom.ranking.examples import starts_of
from heirloom.ranking.ranker import Examples
from heirloom.ranking.training.inputs import Inputs
from heirloom.ranking.training.losses import LOSSES, Loss
from heirloom.ranking.training.network import (
    DeepCrossNetwork,
    Place,
    PlaceTower,
    Shape,
    cross_entropy,
)

_GROUPS_AT_ONCE = 512
_PLACES_FASTER = 10.0
"""A place's number is one step of many rows' common slope: it may go further in each."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fit a network.

    Attributes:
        loss: of the gains, by name (`losses.LOSSES`); labels of actions are learned by
            cross-entropy in place of it.
        crosses, experts, hidden, place: its shape (`network.Shape`).
        knots: bends of each feature's line (`inputs.Inputs`).
        epochs: passes over the groups, at most; more where that makes fewer than `least_steps`.
        patience: epochs without a better validation after which it stops.
        batch: groups a step.
        learning_rate: at its highest; it rises over the first steps and falls to 0.
        weight_decay: on matrices, as a share of the learning rate.
        dropout: share of the experts' units that is silenced in a step.
        least_steps: with few groups there are more epochs, up to so many steps.
    """

    loss: str = "softmax"
    crosses: int = 2
    experts: int = 1
    hidden: int = 64
    place: Place = "additive"
    knots: int = 16
    epochs: int = 8
    patience: int = 4
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    dropout: float = 0.1
    least_steps: int = 600

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("epochs", "patience", "batch")}
        problems = [f"{name} is {n}; wanted at least 1" for name, n in counts.items() if n < 1]
        if self.loss not in LOSSES:
            problems.append(f"loss is {self.loss!r}; wanted one of {', '.join(LOSSES)}")
        if self.knots < 2:
            problems.append(f"knots is {self.knots}; wanted at least 2")
        if not 0 < self.learning_rate < 1:
            problems.append(f"learning_rate is {self.learning_rate}; wanted between 0 and 1")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}; wanted 0 up to 1")
        if problems:
            raise ConfigError("network", problems)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of groups as the network learns from them, group after group.

    Attributes:
        inputs: [rows, inputs] float32.
        places: [rows] int64.
        gains: [rows] float32.
        weights: [rows] float32.
        labels: [rows, actions] float32, 0 or 1, NaN = not known; no column: learn by the gains.
        starts: [groups + 1] int64, where each group begins, and the end.
    """

    inputs: Tensor
    places: Tensor
    gains: Tensor
    weights: Tensor
    labels: Tensor
    starts: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        inputs: NDArray[np.float32],
        examples: Examples,
        labels: NDArray[np.float32] | None,
        weights: NDArray[np.float32] | None,
    ) -> "Rows":
        """Examples whose rows are `inputs`; each weighs 1 where there are no weights."""
        rows = len(inputs)
        return cls(
            inputs=torch.from_numpy(inputs),
            places=torch.from_numpy(np.maximum(examples.positions, 0).astype(np.int64)),
            gains=torch.from_numpy(examples.gains.astype(np.float32)),
            weights=torch.from_numpy(_float32(weights, (rows,), 1.0)),
            labels=torch.from_numpy(_float32(labels, (rows, 0), 0.0)),
            starts=np.append(starts_of(examples.groups), rows),
        )

    def of_groups(self, groups: NDArray[np.intp]) -> "Rows":
        """Some groups, by number."""
        sizes = np.diff(self.starts)[groups]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        of_rows = np.repeat(self.starts[groups] - starts[:-1], sizes) + np.arange(starts[-1])
        rows = torch.from_numpy(of_rows)
        parts = {
            each.name: getattr(self, each.name)[rows]
            for each in fields(self)
            if each.name != "starts"
        }
        return Rows(**parts, starts=starts)

    def batches(self, order: NDArray[np.intp], groups: int) -> "Iterator[Rows]":
        """So many groups at a time, in this order."""
        for at in range(0, len(order), groups):
            yield self.of_groups(order[at : at + groups])


def fitted(learn: Rows, judge: Rows, inputs: Inputs, recipe: Recipe, seed: int) -> DeepCrossNetwork:
    """A network fitted on `learn`, as it was after its best epoch on `judge`."""
    with _drawn_from(seed):
        shape = Shape(
            inputs=inputs.width,
            actions=max(learn.labels.shape[1], 1),
            crosses=recipe.crosses,
            experts=recipe.experts,
            hidden=recipe.hidden,
            place=recipe.place,
        )
        learner = _Learner(shape, recipe)
        rng = np.random.default_rng(seed)
        groups = len(learn.starts) - 1
        per_epoch = math.ceil(groups / recipe.batch)
        epochs = max(recipe.epochs, math.ceil(recipe.least_steps / per_epoch))
        check = max(1, epochs // recipe.epochs)
        best, least, waited = deepcopy(learner.network), math.inf, 0
        for epoch in range(epochs):
            for i, rows in enumerate(learn.batches(rng.permutation(groups), recipe.batch)):
                learner.step(rows, (epoch * per_epoch + i) / (epochs * per_epoch))
            if (epoch + 1) % check:
                continue
            came_to = learner.judged(judge)
            waited += 1
            if came_to < least:
                best, least, waited = deepcopy(learner.network), came_to, 0
            if waited >= recipe.patience:
                break
        return best.eval()


class _Learner:
    """Network, tower and AdamW (Loshchilov, Hutter, ICLR 2019, algorithm 2) with a linear fall."""

    def __init__(self, shape: Shape, recipe: Recipe) -> None:
        self.network = DeepCrossNetwork(shape, recipe.dropout)
        self._tower = PlaceTower(shape)
        self._loss: Loss = LOSSES[recipe.loss]
        matrices = [each for each in self.network.parameters() if each.ndim > 1]
        others = [each for each in self.network.parameters() if each.ndim < 2]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
                {"params": list(self._tower.parameters()), "weight_decay": 0.0},
            ],
        )
        rate = recipe.learning_rate
        self._rates = (rate, rate, _PLACES_FASTER * rate)

    def step(self, rows: Rows, share_done: float) -> None:
        """One step down the gradient; `share_done` of all steps lie behind."""
        for part, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            part["lr"] = rate * min(1.0, share_done / 0.05 + 0.01) * (1 - share_done)
        self.network.train()
        self._optimiser.zero_grad()
        total, count = self._total(rows)
        (total / max(count, 1)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimiser.step()

    @torch.no_grad()
    def judged(self, rows: Rows) -> float:
        """Mean loss; lower is better."""
        self.network.eval()
        parts = [
            self._total(some)
            for some in rows.batches(np.arange(len(rows.starts) - 1), _GROUPS_AT_ONCE)
        ]
        return float(sum(total for total, _ in parts)) / sum(count for _, count in parts)

    def _total(self, rows: Rows) -> tuple[Tensor, int]:
        """Summed loss and over how many: of rows where actions are learned, of groups of gains."""
        logits, placed = self.network(rows.inputs), self._tower(rows.places)
        if not rows.labels.shape[1]:
            scores, gains, weights = (
                _padded(each, rows.starts)
                for each in ((logits + placed)[:, 0], rows.gains, rows.weights)
            )
            mask = _padded(torch.ones_like(rows.gains), rows.starts) > 0
            return self._loss(scores, gains, mask, weights).sum(), len(rows.starts) - 1
        if self._tower.place == "examined":
            nats = cross_entropy(logits, placed, rows.labels)
        else:
            nats = cross_entropy(logits + placed, torch.zeros_like(placed), rows.labels)
        return (nats.sum(-1) * rows.weights).sum(), len(nats)


def _padded(values: Tensor, starts: NDArray[np.int64]) -> Tensor:
    """[groups, docs] of [rows], 0 where a group is over."""
    parts = torch.split(values, np.diff(starts).tolist())
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


def _float32(
    values: NDArray[np.float32] | None, shape: tuple[int, ...], otherwise: float
) -> NDArray[np.float32]:
    if values is None:
        return np.full(shape, otherwise, np.float32)
    return np.ascontiguousarray(values, np.float32)


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Torch draws from `seed` and adds in one order; afterwards it is as it was."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
