"""Person: what somebody did, in order, as vectors in the space of the listings.

An event enters as its item's representation, scaled by sqrt(dim), plus learned vectors of the kind
of action, the time since the event before, the surface and the place in the window. The stream
thus starts as the item itself, and the first thing learned is which items are near which.

Where questions are read, what is asked joins in before the last layer: it decides what of the past
is looked at, and it goes on into the answer itself. The past begins with a vector of its own,
"nobody", so that a question alone has an answer too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from heirloom.core.errors import ConfigError
from heirloom.encoders.history import EVENTS, GAPS, KINDS, SURFACES
from heirloom.encoders.question import ASKED
from heirloom.encoders.training.transformer import Layer, start


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a person encoder.

    Attributes:
        dim: of the items' and the person's vectors.
        layers, heads: of the transformer; 0 layers is the mean of nothing but the last event.
        vectors: how many a person has; an item's score is that of the nearest.
        unit: vectors have unit length, and a learned factor makes logits of their cosines.
        events: the latest so many are read.
        questions: what is asked is read too.
    """

    dim: int = 64
    layers: int = 1
    heads: int = 2
    vectors: int = 1
    unit: bool = False
    events: int = EVENTS
    questions: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; wanted 1 … {most}"
            for name, value, most in (
                ("dim", self.dim, 1024),
                ("layers", self.layers, 12),
                ("heads", self.heads, 64),
                ("vectors", self.vectors, 16),
                ("events", self.events, 1024),
            )
            if not 1 <= value <= most
        ]
        if not problems and self.dim % self.heads:
            problems.append(f"dim is {self.dim}; wanted a multiple of heads ({self.heads})")
        if problems:
            raise ConfigError("person encoder", problems)


@dataclass(frozen=True, slots=True)
class Events:
    """Events of several people, padded on the right; all int64 [rows, events].

    Attributes:
        items: row of the item in its tower; 0 is padding.
        kinds: code of core.event.Kind.
        gaps: bucket of the time since the event before (`history.gap_buckets`).
        surfaces: code of core.event.SURFACE_CODE.
        reverse: whether the windows run backwards in time, as augmentation.
    """

    items: Tensor
    kinds: Tensor
    gaps: Tensor
    surfaces: Tensor
    reverse: bool = False

    def to(self, device: torch.device) -> "Events":
        """The same on a device."""
        return self._each(lambda column: column.to(device))

    def taken(self, rows: slice) -> "Events":
        """Some of the people."""
        return self._each(lambda column: column[rows])

    def _each(self, made: Callable[[Tensor], Tensor]) -> "Events":
        return Events(
            items=made(self.items),
            kinds=made(self.kinds),
            gaps=made(self.gaps),
            surfaces=made(self.surfaces),
            reverse=self.reverse,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at each place of several people's streams.

    Attributes:
        surfaces: [rows, 1 + events] int64, code of the surface asked.
        vectors: [rows, 1 + events, ASKED, dim], zeros for none.
    """

    surfaces: Tensor
    vectors: Tensor


class PersonModel(nn.Module):
    """Vectors of a person after each of their events.

    Args:
        shape: sizes.
        dropout: on events as they enter, and in the layers.
        unasked: share of the parts of questions left out at random in training.
    """

    def __init__(self, shape: Shape, *, dropout: float = 0.2, unasked: float = 0.2) -> None:
        super().__init__()
        self.shape = shape
        dim = shape.dim
        self.kinds = nn.Parameter(torch.zeros(KINDS, dim))
        self.gaps = nn.Parameter(torch.zeros(GAPS, dim))
        self.surfaces = nn.Parameter(torch.zeros(SURFACES, dim))
        self.places = nn.Parameter(torch.randn(shape.events, dim) * 0.02 * math.sqrt(dim))
        self.backwards = nn.Parameter(torch.zeros(dim))
        self.layers = nn.ModuleList(Layer(dim, shape.heads, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(dim)
        self.heads = nn.Linear(dim, shape.vectors * dim) if shape.vectors > 1 else None
        self.log_scale = nn.Parameter(torch.tensor(math.log(16.0))) if shape.unit else None
        self.dropout = nn.Dropout(dropout)
        self.unasked = unasked
        start(self.layers)
        if shape.questions:
            self.nobody = nn.Parameter(torch.randn(dim) * 0.02 * math.sqrt(dim))
            self.asked = nn.Parameter(torch.zeros(SURFACES, dim))
            # How much the past and each part of the question count, by the surface asked.
            self.shares = nn.Parameter(torch.ones(SURFACES, 1 + len(ASKED)))

    def forward(self, items: Tensor, events: Events, question: Question | None = None) -> Tensor:
        """[rows, events, vectors, dim]: what each position points to, from all up to it.

        Where questions are read there is a position more, before the first event.

        Args:
            items: [rows, events, dim] representations of events.items.
            events: the rest of what is known of them.
            question: what is asked at each position; None: nothing.
        """
        stream = items * math.sqrt(self.shape.dim) + self.places[: items.shape[1]]
        stream = stream + functional.embedding(events.kinds, self.kinds)
        stream = stream + functional.embedding(events.gaps, self.gaps)
        stream = stream + functional.embedding(events.surfaces, self.surfaces)
        if events.reverse:
            stream = stream + self.backwards
        if self.shape.questions:
            stream = torch.cat([self.nobody.expand(len(stream), 1, -1), stream], dim=1)
        stream = self.dropout(stream)
        for layer in self.layers[:-1]:
            stream = layer(stream)
        asking = self._asking(stream, question) if self.shape.questions else None
        return self.vectors(self.layers[-1](stream, asking))

    def _asking(self, stream: Tensor, question: Question | None) -> Tensor:
        """[rows, 1 + events, dim], the stream with what is asked at each of its places."""
        if question is None:
            surfaces = torch.zeros(stream.shape[:2], dtype=torch.int64, device=stream.device)
            return stream * self.shares[0, 0] + functional.embedding(surfaces, self.asked)
        surfaces, vectors = question.surfaces, question.vectors
        if self.training and self.unasked:
            left = torch.rand(*vectors.shape[:3], 1, device=stream.device) >= self.unasked
            known = torch.rand(surfaces.shape, device=stream.device) >= self.unasked
            vectors, surfaces = vectors * left, surfaces * known
        shares = functional.embedding(surfaces, self.shares)
        asked = (shares[..., 1:, None] * vectors).sum(-2) * math.sqrt(self.shape.dim)
        return stream * shares[..., :1] + asked + functional.embedding(surfaces, self.asked)

    def vectors(self, stream: Tensor) -> Tensor:
        """[..., dim] → [..., vectors, dim]."""
        out = self.norm(stream)
        if self.heads is not None:
            # Each head starts as the stream and a little of its own, else all stay alike.
            spread = self.heads(out).unflatten(-1, (self.shape.vectors, self.shape.dim))
            out = out.unsqueeze(-2) + spread
        else:
            out = out.unsqueeze(-2)
        return functional.normalize(out, dim=-1) if self.shape.unit else out

    def scale(self) -> Tensor:
        """What cosines are multiplied by to be logits; 1 where vectors are of free length."""
        return torch.ones(()) if self.log_scale is None else self.log_scale.clamp(max=4.6).exp()
