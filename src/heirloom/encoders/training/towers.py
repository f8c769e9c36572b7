"""Towers: what an item is to the models, as a function of its content."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from heirloom.core.errors import ShapeError


class Tower(Protocol):
    """Items' rows into vectors, with weights to be fitted: an nn.Module. Row 0 is padding."""

    rows: int
    """How many items there are, padding included."""
    dim: int

    def __call__(self, items: Tensor) -> Tensor:
        """[items] int64 → [items, dim] float32."""


class AttributeBag(nn.Module):
    """An item is the mean of its attributes' vectors, plus one of its own where ids are told.

    Without ids an item never seen in training has as good a vector as any. With them (stock that
    is sold again and again, public sets) the attributes carry what is rare and the id the rest.

    Args:
        starts: [rows + 1] int64, where each item's attributes begin; row 0 is padding.
        attributes: int64, from 0.
        dim: of the vectors.
        ids: whether items have vectors of their own.
        scale: standard deviation of all vectors at the start.

    Raises:
        ShapeError: if `starts` do not fit `attributes`, or there is nothing to make vectors of.
    """

    def __init__(
        self,
        starts: NDArray[np.int64],
        attributes: NDArray[np.int64],
        dim: int,
        *,
        ids: bool,
        scale: float = 0.02,
    ) -> None:
        super().__init__()
        if starts[0] != 0 or starts[-1] != len(attributes) or np.any(np.diff(starts) < 0):
            raise ShapeError(f"AttributeBag: starts do not fit {len(attributes)} attributes")
        if not len(attributes) and not ids:
            raise ShapeError("AttributeBag: neither attributes nor ids; items would all be alike")
        self.rows, self.dim = len(starts) - 1, dim
        self.ids = nn.Parameter(torch.randn(self.rows, dim) * scale) if ids else None
        most = int(attributes.max()) + 1 if len(attributes) else 0
        self.table = nn.Parameter(torch.randn(most, dim) * scale) if most else None
        self.starts: Tensor
        self.attributes: Tensor
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.register_buffer("attributes", torch.tensor(attributes), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """[items] int64 → [items, dim] float32."""
        vectors = torch.zeros(len(items), self.dim, device=items.device)
        if self.ids is not None:
            vectors = vectors + functional.embedding(items, self.ids)
        if self.table is not None:
            begins = self.starts[items]
            sizes = self.starts[items + 1] - begins
            offsets = torch.cumsum(sizes, 0) - sizes
            within = torch.arange(int(sizes.sum()), device=items.device) - torch.repeat_interleave(
                offsets, sizes
            )
            bag = self.attributes[torch.repeat_interleave(begins, sizes) + within]
            vectors = vectors + functional.embedding_bag(bag, self.table, offsets, mode="mean")
        return vectors


def vectors_of(tower: Tower, *, at_once: int = 8_192) -> Tensor:
    """[rows, dim] float32 of all items, without gradients, where the tower is."""
    with torch.no_grad():
        device = next(module_of(tower).parameters()).device
        rows = torch.arange(tower.rows, device=device)
        begins = range(0, tower.rows, at_once)
        return torch.cat([tower(rows[begin : begin + at_once]) for begin in begins])


def module_of(tower: Tower) -> nn.Module:
    """The tower as what torch fits.

    Raises:
        TypeError: if it is no nn.Module.
    """
    if not isinstance(tower, nn.Module):
        raise TypeError(f"a tower must be an nn.Module; {type(tower).__name__} came")
    return tower
