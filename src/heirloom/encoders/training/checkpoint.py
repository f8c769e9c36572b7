"""Checkpoint: everything a training run needs to go on, in one safetensors file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heirloom.core.errors import BundleError
from heirloom.encoders import safetensors

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class State:
    """A training run as it stands.

    Attributes:
        module: what is fitted.
        optimiser: AdamW over the module's parameters.
        averaged: running mean of the weights, by name; empty where none is kept.
        best: weights of the best epoch, by name.
        updates: steps of the optimiser so far.
        epochs: what was told of each epoch, as plain data.
    """

    module: nn.Module
    optimiser: torch.optim.AdamW
    averaged: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)
    updates: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)

    @torch.no_grad()
    def average(self, share: float) -> None:
        """Move the running mean towards the weights; faster in the first steps."""
        if self.averaged:
            held = min(share, (1 + self.updates) / (10 + self.updates))
            for name, weights in self.module.state_dict().items():
                self.averaged[name].lerp_(weights, 1 - held)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The module holds the running mean meanwhile, where there is one."""
        if not self.averaged:
            yield
            return
        latest = copied(self.module)
        self.module.load_state_dict(self.averaged)
        try:
            yield
        finally:
            self.module.load_state_dict(latest)

    def keep_best(self) -> None:
        """Remember the weights that the module holds now."""
        self.best = copied(self.module)

    def take_best(self) -> None:
        """Let the module hold the weights of the best epoch."""
        if self.best:
            self.module.load_state_dict(self.best)


def copied(module: nn.Module) -> dict[str, Tensor]:
    """The module's weights by name, as they are now."""
    return {name: weights.detach().clone() for name, weights in module.state_dict().items()}


def write(file: Path, state: State, signature: str) -> None:
    """Write the run; the file is there whole or as it was before.

    Args:
        file: a `.safetensors`.
        state: to be written.
        signature: what the run is of; `restore` wants the same.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for part, tensors in (
        ("weights", state.module.state_dict()),
        ("averaged", state.averaged),
        ("best", state.best),
    ):
        arrays |= {f"{part}/{name}": tensor.cpu().numpy() for name, tensor in tensors.items()}
    for name, parameter in state.module.named_parameters():
        moments = state.optimiser.state.get(parameter, {})
        arrays |= {
            f"{key}/{name}": moments[key].cpu().numpy() for key in _MOMENTS if key in moments
        }
    progress = {"signature": signature, "updates": state.updates, "epochs": state.epochs}
    safetensors.write(file, arrays, {"progress": msgspec.json.encode(progress).decode()})


def restore(file: Path, state: State, signature: str) -> None:
    """Let a new run stand where the written one stood.

    Raises:
        BundleError: if the file is damaged, or of a run with another recipe, shape or data.
    """
    arrays, metadata = safetensors.read(file)
    try:
        progress = msgspec.json.decode(metadata["progress"])
        if progress["signature"] != signature:
            raise BundleError(
                f"{file.name}: of another run; it was {progress['signature']}, wanted {signature}. "
                "Take the recipe it was begun with, or another file"
            )
        parts: dict[str, dict[str, Tensor]] = {}
        for path, array in arrays.items():
            part, _, name = path.partition("/")
            parts.setdefault(part, {})[name] = torch.from_numpy(np.ascontiguousarray(array))
        state.module.load_state_dict(parts["weights"])
        device = next(state.module.parameters()).device
        for kept, part in ((state.averaged, "averaged"), (state.best, "best")):
            kept.update({name: t.to(device) for name, t in parts.get(part, {}).items()})
        for name, parameter in state.module.named_parameters():
            if name in parts.get("step", {}):
                moments = {key: parts[key][name].to(device) for key in _MOMENTS}
                state.optimiser.state[parameter] = moments
        state.updates, state.epochs = progress["updates"], progress["epochs"]
    except (KeyError, RuntimeError, msgspec.MsgspecError) as error:
        raise BundleError(f"{file.name} is no checkpoint of this run: {error}") from error
