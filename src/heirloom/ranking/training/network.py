"""DeepCrossNetwork: features crossed, then experts, then a logit for each action."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from heirloom.core.errors import ConfigError

Place = Literal["none", "additive", "examined"]
PLACES = 64
"""Places with a number of their own; all later ones share the last."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a network is.

    Attributes:
        inputs: numbers it reads of a row.
        actions: logits it gives.
        crosses: cross layers.
        experts: 1: all actions share what is learned of a row (shared bottom); more: each action
            weighs several (MMoE).
        hidden: units of an expert.
        place: what is done about the place at which a listing was shown; see `PlaceTower`.
    """

    inputs: int
    actions: int = 1
    crosses: int = 2
    experts: int = 1
    hidden: int = 64
    place: Place = "additive"

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("inputs", "actions", "experts", "hidden")}
        problems = [f"{name} is {n}; wanted at least 1" for name, n in counts.items() if n < 1]
        if self.crosses < 0:
            problems.append(f"crosses is {self.crosses}; wanted at least 0")
        if self.place not in ("none", "additive", "examined"):
            problems.append(f"place is {self.place!r}; wanted none, additive or examined")
        if problems:
            raise ConfigError("network", problems)


class DeepCrossNetwork(nn.Module):
    """[rows, inputs] → [rows, actions] logits, without what is due to the place.

    Crosses: x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l (Wang et al., "DCN V2", WWW 2021, equation 1).
    Experts read the last of them: one layer of rectified units each, mixed for each action by a
    softmax gate of its own (Ma et al., "Modeling task relationships in multi-task learning with
    multi-gate mixture-of-experts", KDD 2018, equations 6 and 7; with one expert there is no gate,
    its shared bottom). An action's logit is linear in its mixture and in the crosses; so each
    expert speaks first, and what was said is weighed.
    """

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        width, mixed = shape.inputs, shape.experts * shape.hidden
        self.shape = shape
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(shape.crosses))
        for cross in self.crosses:  # at first each row is itself
            for part in cross.parameters():
                nn.init.zeros_(part)
        self.experts = nn.Linear(width, mixed)
        nn.init.kaiming_normal_(self.experts.weight, nonlinearity="relu")
        nn.init.zeros_(self.experts.bias)
        self.gates = nn.Linear(width, shape.experts * shape.actions) if shape.experts > 1 else None
        self.towers = nn.Parameter(torch.randn(shape.actions, shape.hidden) / shape.hidden**0.5)
        self.direct = nn.Linear(width, shape.actions)
        nn.init.zeros_(self.direct.weight)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, actions] logits."""
        crossed = inputs
        for cross in self.crosses:
            crossed = inputs * cross(crossed) + crossed
        units = self.dropout(functional.relu(self.experts(crossed)))
        direct: Tensor = self.direct(crossed)
        if self.gates is None:
            shared: Tensor = direct + units @ self.towers.T
            return shared
        shape = self.shape
        gates = self.gates(crossed).reshape(-1, shape.experts, shape.actions).softmax(1)
        voices = units.reshape(-1, shape.experts, shape.hidden) @ self.towers.T
        mixed: Tensor = direct + (gates * voices).sum(1)
        return mixed


class PlaceTower(nn.Module):
    """What is due to the place, learned beside the network and constant at serving.

    `additive`: a logit for each place and action, added to the network's (Zhao et al.,
    "Recommending what video to watch next", RecSys 2019, section 4.3). `examined`: P(action) =
    P(examined | place) · P(action | row, examined), one examination for all actions (Guo et al.,
    "PAL: a position-bias aware learning framework", RecSys 2019, equation 1). Both are nothing at
    the first place: what is served is as if shown on top.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.place = shape.place
        # At first as a log gives it: examination falls with the root of the place.
        fall = 0.5 * torch.log(torch.arange(2, PLACES + 1.0))
        self.later = nn.Parameter(
            torch.log(torch.expm1(fall))[:, None]
            if shape.place == "examined"
            else torch.zeros(PLACES - 1, shape.actions)
        )

    def forward(self, places: Tensor) -> Tensor:
        """Added to logits [rows, actions]; of `examined`, log P(examined | place), one a row."""
        if self.place == "none":
            return torch.zeros(len(places), 1)
        later = -functional.softplus(self.later) if self.place == "examined" else self.later
        table = torch.cat([torch.zeros_like(later[:1]), later])
        return table[places.clamp(max=PLACES - 1)]


def cross_entropy(logits: Tensor, log_examined: Tensor, labels: Tensor) -> Tensor:
    """[rows, actions], -log of what the model gave to what was done; NaN labels give 0.

    P = e^{log_examined} · sigmoid(logit). Where all is examined this is the usual cross-entropy.

    >>> cross_entropy(torch.zeros(1, 2), torch.zeros(1, 1), torch.tensor([[1.0, torch.nan]]))
    tensor([[0.6931, 0.0000]])
    """
    known = ~torch.isnan(labels)
    done = torch.where(known, labels, torch.zeros_like(labels))
    log_p = log_examined + functional.logsigmoid(logits)
    # 1 - θσ(s) = (1 - θ) + θσ(-s), a sum of positive parts: no cancellation.
    not_examined = torch.log(-torch.expm1(log_examined.clamp(max=-1e-7)))
    not_done = torch.where(
        log_examined < -1e-7,
        torch.logaddexp(not_examined, log_examined + functional.logsigmoid(-logits)),
        functional.logsigmoid(-logits),
    )
    nats = -done * log_p - (1 - done) * not_done
    return torch.where(known, nats, torch.zeros_like(nats))
