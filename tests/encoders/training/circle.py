"""A world in which item i is followed by item i + 1, around a circle; run alone it trains a model.

python circle.py FILE DIE_AFTER → weights on stdout, or killed after so many epochs; by torchrun
weights in FILE alone
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from heirloom.encoders.history import Histories
from heirloom.encoders.training.fit import Epoch, Recipe, fit
from heirloom.encoders.training.objective import Sampling
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.encoders.training.processes import joined
from heirloom.encoders.training.towers import AttributeBag, vectors_of

ITEMS = 12
PEOPLE = 113
"""In batches of 16 the last is of one: of two processes one then learns nothing from it."""
RECIPE = Recipe(
    rows=16, epochs=5, patience=5, learning_rate=0.02, average=0.5, reverse=0.2,
    sampling=Sampling(uniform=8, in_batch=True, queue=16, mined=2, ahead=1), seed=3,
)  # fmt: skip


def histories(people: int = 120, seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    return Histories.of_items(
        [(rng.integers(ITEMS) + np.arange(rng.integers(2, 9))) % ITEMS + 1 for _ in range(people)]
    )


def bag(*, ids: bool = True, dim: int = 16) -> AttributeBag:
    """Row 0 has no attribute; item i has attribute i - 1."""
    starts = np.concatenate([[0], np.arange(ITEMS + 1)])
    return AttributeBag(starts, np.arange(ITEMS), dim, ids=ids)


def model_and_tower(dropout: float = 0.1, **shape: object) -> tuple[PersonModel, AttributeBag]:
    torch.manual_seed(0)
    return PersonModel(Shape(dim=16, **shape), dropout=dropout), bag()  # type: ignore[arg-type]


def valued(tower: AttributeBag) -> float:
    return float(vectors_of(tower)[1, 0])


def weights(model: PersonModel, tower: AttributeBag) -> bytes:
    parts = [*model.state_dict().values(), vectors_of(tower)]
    return b"".join(part.numpy().tobytes() for part in parts)


if __name__ == "__main__":
    die_after = int(sys.argv[2])
    torch.set_num_threads(1)
    with joined("cpu") as processes:
        # What is dropped depends on the number of processes; nothing else does.
        model, tower = model_and_tower(0.1 if processes.count == 1 else 0.0)

        def progress(epoch: Epoch) -> None:
            if epoch.number == die_after:
                os.kill(os.getpid(), signal.SIGKILL)

        fit(
            model, tower, histories(PEOPLE), RECIPE, lambda: valued(tower),
            file=Path(sys.argv[1]), progress=progress,
        )  # fmt: skip
    if processes.count == 1:
        sys.stdout.write(weights(model, tower).hex())
