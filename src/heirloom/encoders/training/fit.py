"""Fit: the training loop of a person encoder and the tower of its items, from top to bottom.

The same histories, recipe and seed on the same kind of machine give the same weights, also when the
run was killed and begun again: each epoch draws from a seed of its own, and a checkpoint is
written whole after each.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from heirloom.core.errors import ConfigError, InputError
from heirloom.encoders.history import Histories
from heirloom.encoders.training.checkpoint import State, copied, restore, write
from heirloom.encoders.training.objective import Lifetimes, Objective, Sampling
from heirloom.encoders.training.person import PersonModel
from heirloom.encoders.training.towers import Tower, module_of
from heirloom.encoders.training.windows import Windows, batches, cut


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fit.

    Attributes:
        rows: windows in a batch.
        epochs: at most.
        patience: epochs without a better validation after which to stop.
        learning_rate: of AdamW.
        weight_decay: on matrices and tables.
        average: share of the old in the running mean of the weights, which is what is validated
            and returned; 0 for none.
        reverse: share of the batches that run backwards in time: pairs are learned both ways.
        sampling: which negatives, and which losses.
        seed: of everything drawn.
        device: "cpu" or "cuda"; the latter computes in bfloat16 where torch sees fit.
    """

    rows: int = 128
    epochs: int = 50
    patience: int = 3
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    average: float = 0.0
    reverse: float = 0.0
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("rows", "epochs", "patience")}
        shares = {name: getattr(self, name) for name in ("average", "reverse")}
        problems = [f"{name} is {n}; wanted at least 1" for name, n in counts.items() if n < 1]
        problems += [
            f"{name} is {share}; wanted 0 up to 1"
            for name, share in shares.items()
            if not 0 <= share < 1
        ]
        if not 0 < self.learning_rate < 1:
            problems.append(f"learning_rate is {self.learning_rate}; wanted between 0 and 1")
        if problems:
            raise ConfigError("training recipe", problems)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is told after each epoch.

    Attributes:
        number: from 1.
        loss: mean over the epoch's labels, in nats.
        validation: what `validate` gave; higher is better.
        sequences, tokens: windows and events read in the epoch.
        cpu_s, wall_s: of learning alone, validation left out.
    """

    number: int
    loss: float
    validation: float
    sequences: int
    tokens: int
    cpu_s: float
    wall_s: float

    def __str__(self) -> str:
        wall = max(self.wall_s, 1e-9)
        return (
            f"epoch {self.number}: loss {self.loss:.4f}, validation {self.validation:.4f}, "
            f"{self.sequences / wall:,.0f} sequences/s, {self.tokens / wall:,.0f} tokens/s, "
            f"{self.cpu_s:.1f} s of CPU"
        )


def fit(
    model: PersonModel,
    tower: Tower,
    histories: Histories,
    recipe: Recipe,
    validate: Callable[[], float],
    *,
    lifetimes: Lifetimes | None = None,
    file: Path | None = None,
    progress: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Epoch, ...]:
    """Fit model and tower in place; at the end they hold the weights of the best epoch.

    Args:
        model: the person's side.
        tower: the items' side, an nn.Module.
        histories: to learn from; items are rows of the tower.
        recipe: how.
        validate: measures model and tower as they stand, on what is not in `histories`.
        lifetimes: when items were live, in the tower's rows; None: always.
        file: where checkpoints go. If it is there already the run goes on from it.
        progress: told after each epoch.

    Returns:
        All epochs, those before an interruption too.

    Raises:
        InputError: if histories are too short or name items the tower lacks, or the loss is no
            number any more.
        BundleError: if the checkpoint is damaged or of another recipe.
    """
    if len(histories.items) and histories.items.max() >= tower.rows:
        raise InputError(
            f"fit: item {histories.items.max()} came; the tower has rows 1 … {tower.rows - 1}"
        )
    windows = cut(histories, model.shape.events)
    both = nn.ModuleDict({"model": model, "tower": module_of(tower)}).to(recipe.device)
    averaged = copied(both) if recipe.average else {}
    state = State(both, optimiser(both, recipe), averaged)
    objective = Objective(model, tower, histories, recipe.sampling, lifetimes)
    signature = _signature(model, tower, recipe, histories)
    if file is not None and file.exists():
        restore(file, state, signature)
    while not _over(_epochs(state), recipe):
        learned = _learn(state, objective, windows, recipe)
        with state.averaged_weights():
            both.eval()
            epoch = replace(learned, validation=validate())
            if epoch.validation > max((e.validation for e in _epochs(state)), default=-math.inf):
                state.keep_best()
        state.epochs.append(asdict(epoch))
        if file is not None:
            write(file, state, signature)
        progress(epoch)
    state.take_best()
    both.eval()
    return tuple(_epochs(state))


def optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; matrices and tables decay, biases, norms and scales do not."""
    wide = [weights for weights in module.parameters() if weights.ndim > 1]
    narrow = [weights for weights in module.parameters() if weights.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": wide, "weight_decay": recipe.weight_decay},
            {"params": narrow, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _learn(state: State, objective: Objective, windows: Windows, recipe: Recipe) -> Epoch:
    """One epoch; what it draws depends on the seed and its number alone."""
    number = len(state.epochs) + 1
    rng = np.random.default_rng([recipe.seed, number])
    torch.manual_seed(int(rng.integers(1 << 62)))
    objective.begin()
    state.module.train()
    wall, cpu = time.perf_counter(), time.process_time()
    total, labels, tokens = 0.0, 0, 0
    for batch in batches(windows, recipe.rows, rng, reverse=recipe.reverse):
        with torch.autocast(recipe.device, torch.bfloat16, enabled=recipe.device != "cpu"):
            loss, of = objective(batch, rng, number)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        state.updates += 1
        state.average(recipe.average)
        total += loss.item() * of
        labels += of
        tokens += int((batch.events.items > 0).sum())
    if not math.isfinite(total):
        raise InputError(
            f"fit: the loss of epoch {number} is {total}; lower the learning rate "
            f"({recipe.learning_rate}), or look for vectors that are no numbers"
        )
    return Epoch(
        number=number,
        loss=total / labels,
        validation=-math.inf,
        sequences=len(windows),
        tokens=tokens,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
    )


def _epochs(state: State) -> list[Epoch]:
    return [Epoch(**epoch) for epoch in state.epochs]


def _over(epochs: list[Epoch], recipe: Recipe) -> bool:
    """Whether all epochs are done, or none of the last `patience` was the best."""
    if not epochs:
        return False
    best = max(range(len(epochs)), key=lambda i: epochs[i].validation)
    return len(epochs) >= recipe.epochs or len(epochs) - 1 - best >= recipe.patience


def _signature(model: PersonModel, tower: Tower, recipe: Recipe, histories: Histories) -> str:
    """What a checkpoint is of: all that the weights follow from, short of the tower's content."""
    data = hashlib.blake2b(digest_size=16)
    for column in (histories.starts, histories.items, histories.kinds, histories.t):
        data.update(np.ascontiguousarray(column).tobytes())
    settled = asdict(recipe) | {"epochs": 0, "patience": 0}
    of: dict[str, Any] = {
        "recipe": settled, "shape": asdict(model.shape), "data": data.hexdigest()
    }  # fmt: skip
    if beneath := getattr(tower, "read", ()):
        of["beneath"] = msgspec.to_builtins(beneath)
    return msgspec.json.encode(of, order="sorted").decode()
