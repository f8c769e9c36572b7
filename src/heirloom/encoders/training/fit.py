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
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from heirloom.core.errors import ConfigError, InputError
from heirloom.encoders.history import Histories
from heirloom.encoders.question import QuestionRows
from heirloom.encoders.training.checkpoint import State, copied, restore, write
from heirloom.encoders.training.objective import Lifetimes, Objective, Sampling
from heirloom.encoders.training.person import PersonModel
from heirloom.encoders.training.processes import Processes
from heirloom.encoders.training.towers import Tower, module_of
from heirloom.encoders.training.windows import Batch, Windows, cut


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
        device: "cpu" or "cuda".
        bfloat16: compute in it where torch sees fit; None: on cuda alone.
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
    bfloat16: bool | None = None

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
        if self.device not in ("cpu", "cuda"):
            problems.append(f"device is {self.device!r}; wanted cpu or cuda")
        if self.device == "cuda" and not torch.cuda.is_available():
            problems.append("device is cuda, and torch sees none here; take cpu")
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
        cpu_s, wall_s: of learning alone, validation left out; cpu_s of this process alone.
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
    questions: QuestionRows | None = None,
    file: Path | None = None,
    progress: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Epoch, ...]:
    """Fit model and tower in place; at the end they hold the weights of the best epoch.

    Args:
        model: the person's side.
        tower: the items' side, an nn.Module.
        histories: to learn from; items are rows of the tower.
        recipe: how.
        validate: measures model and tower as they stand, on what is not in `histories`; asked of
            the first process alone.
        lifetimes: when items were live, in the tower's rows; None: always.
        questions: what was asked at each event, for a model that reads it. The first event of
            each window is then foretold too, from its question alone.
        file: where checkpoints go. If it is there already the run goes on from it. Of several
            processes the first writes it, and all must see it.
        progress: told after each epoch, by the first process.

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
    processes = Processes.here()
    device = processes.device(recipe.device)
    windows = cut(histories, model.shape.events, least=2 if questions is None else 1)
    both = nn.ModuleDict({"model": model, "tower": module_of(tower)}).to(device)
    averaged = copied(both) if recipe.average else {}
    state = State(both, optimiser(both, recipe), averaged)
    objective = Objective(model, tower, histories, recipe.sampling, lifetimes, questions)
    signature = _signature(model, tower, recipe, histories, questions)
    if file is not None and file.exists():
        restore(file, state, signature)
    step: nn.Module = Step(both, objective)
    if processes.count > 1:
        # Buffers hold what is written of the items: the same in all, and never changed.
        step = DistributedDataParallel(
            step, find_unused_parameters=True, forward_sync_buffers=False
        )  # fmt: skip
    while not _over(_epochs(state), recipe):
        learned = _learn(state, step, objective, windows, recipe)
        with state.averaged_weights():
            both.eval()
            came = validate() if processes.first else 0.0
            epoch = replace(learned, validation=processes.as_first(came, device))
            if epoch.validation > max((e.validation for e in _epochs(state)), default=-math.inf):
                state.keep_best()
        state.epochs.append(asdict(epoch))
        if file is not None and processes.first:
            write(file, state, signature)
        if processes.first:
            progress(epoch)
    state.take_best()
    both.eval()
    return tuple(_epochs(state))


class Step(nn.Module):
    """A batch into its loss, as one module: what several processes learn from together."""

    def __init__(self, fitted: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.fitted = fitted
        self._objective = objective

    def forward(self, batch: Batch, rng: np.random.Generator, epoch: int) -> Tensor:
        """As `Objective`."""
        return self._objective(batch, rng, epoch)


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


def _learn(
    state: State, step: nn.Module, objective: Objective, windows: Windows, recipe: Recipe
) -> Epoch:
    """One epoch; what it draws depends on the seed and its number alone."""
    number, processes = len(state.epochs) + 1, Processes.here()
    device = processes.device(recipe.device)
    rng = np.random.default_rng([recipe.seed, number])
    # What is dropped differs between processes; batches and negatives, drawn by `rng`, do not.
    torch.manual_seed(int(rng.integers(1 << 62)) + processes.rank)
    half = recipe.device != "cpu" if recipe.bfloat16 is None else recipe.bfloat16
    objective.begin()
    state.module.train()
    wall, cpu = time.perf_counter(), time.process_time()
    total, labels, tokens = 0.0, 0, 0
    for batch in objective.batches(windows, recipe.rows, rng, reverse=recipe.reverse):
        with torch.autocast(recipe.device, torch.bfloat16, enabled=half):
            loss = step(batch, rng, number)
        of = int((batch.targets > 0).sum())
        state.optimiser.zero_grad(set_to_none=True)
        # Gradients are averaged over processes, and are to be summed.
        (loss * processes.count).backward()
        state.optimiser.step()
        state.updates += 1
        state.average(recipe.average)
        total += loss.item() * of
        labels += of
        tokens += int((batch.events.items > 0).sum())
    total = processes.summed(total, device)
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


def _signature(
    model: PersonModel,
    tower: Tower,
    recipe: Recipe,
    histories: Histories,
    questions: QuestionRows | None,
) -> str:
    """What a checkpoint is of: all that the weights follow from, short of the tower's content."""
    data = hashlib.blake2b(digest_size=16)
    columns = [histories.starts, histories.items, histories.kinds, histories.t]
    if questions is not None:
        columns += [questions.texts, questions.anchors, questions.wishes, questions.wished]
    for column in columns:
        data.update(np.ascontiguousarray(column).tobytes())
    settled = asdict(recipe) | {"epochs": 0, "patience": 0}
    of: dict[str, Any] = {
        "recipe": settled, "shape": asdict(model.shape), "data": data.hexdigest()
    }  # fmt: skip
    if beneath := getattr(tower, "read", ()):
        of["beneath"] = msgspec.to_builtins(beneath)
    return msgspec.json.encode(of, order="sorted").decode()
