"""Listing: the tower of what is written of a listing, for stock whose ids mean nothing."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from heirloom.core.errors import ShapeError
from heirloom.encoders.modalities import Dense
from heirloom.encoders.tokens import NUMBERS, PARTS, Tokens

HIDDEN = 2


class ListingTower(nn.Module):
    """Tokens and numbers of listings into unit vectors.

    Each part's tokens are averaged in one table of vectors and weighed; their sum, and a residual
    of two layers over all parts side by side, is the listing. Vectors of other models (of a photo,
    of the text) are projected, and stand beside as parts of their own. In training whole parts are
    dropped at random, so that a listing, or a query, of which little is known still gets a fair
    vector.

    Args:
        tokens: of all listings to be trained on; row i of the tower is listing i - 1.
        buckets: rows of the table.
        dim: of the vectors.
        drop: share of the parts left out at random in training.
        dense: vectors of other models for the same listings; zeros where there is none.

    Raises:
        ShapeError: if `dense` is of another number of listings.
    """

    def __init__(
        self,
        tokens: Tokens,
        buckets: int,
        dim: int = 64,
        *,
        drop: float = 0.2,
        dense: Sequence[Dense] = (),
    ) -> None:
        super().__init__()
        self.rows, self.dim, self.buckets = len(tokens) + 1, dim, buckets
        self._drop = drop
        self.read = tuple(one.read for one in dense)
        parts = len(PARTS) + len(dense)
        self.table = nn.Parameter(torch.randn(buckets, dim) * 0.1)
        self.weights = nn.Parameter(torch.ones(parts))
        self.numbers = nn.Linear(len(NUMBERS), dim)
        self.wide = nn.Linear((parts + 1) * dim, HIDDEN * dim)
        self.narrow = nn.Linear(HIDDEN * dim, dim)
        self.starts: Tensor
        self.tokens: Tensor
        self.parts: Tensor
        self.known_numbers: Tensor
        padded = np.concatenate([np.zeros((1, len(NUMBERS)), np.float32), tokens.numbers])
        for name, array in (
            ("starts", np.concatenate([[0], tokens.starts])),
            ("tokens", tokens.buckets),
            ("parts", tokens.parts),
            ("known_numbers", padded),
        ):
            self.register_buffer(name, torch.from_numpy(np.asarray(array)), persistent=False)
        self.projections = nn.ParameterList()
        for one in dense:
            self._add(one)
        # The residual begins as nothing: a listing is at first the sum of its parts.
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)
        nn.init.normal_(self.numbers.weight, std=0.05)

    def _add(self, one: Dense) -> None:
        rows = len(one.vectors) + 1
        if rows != self.rows:
            raise ShapeError(
                f"ListingTower: {one.read.name} has vectors of {rows - 1} listings; "
                f"wanted {self.rows - 1}"
            )
        # As long as the mean of a few tokens; zeros, for what is not there, stay zeros.
        self.projections.append(nn.Parameter(torch.randn(one.read.dim, self.dim) * 0.05))
        padded = np.concatenate([np.zeros((1, one.read.dim), np.float32), one.vectors])
        name = f"{one.read.name}_vectors"
        self.register_buffer(name, torch.from_numpy(padded), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """[items] int64 → [items, dim] float32 of unit length."""
        begins = self.starts[items]
        sizes = self.starts[items + 1] - begins
        device = items.device
        rows = torch.repeat_interleave(torch.arange(len(items), device=device), sizes)
        offsets = torch.cumsum(sizes, 0) - sizes
        within = torch.arange(len(rows), device=device) - offsets[rows]
        places = begins[rows] + within
        cells = rows * len(PARTS) + self.parts[places]
        vectors = functional.embedding(self.tokens[places], self.table)
        sums = torch.zeros(len(items) * len(PARTS), self.dim, device=device)
        sums = sums.index_add(0, cells, vectors)
        counts = torch.bincount(cells, minlength=len(sums)).clamp(min=1).unsqueeze(1)
        means = (sums / counts).view(len(items), len(PARTS), self.dim)
        beside = [
            self.get_buffer(f"{read.name}_vectors")[items] @ projection
            for read, projection in zip(self.read, self.projections, strict=True)
        ]
        means = torch.cat([means, *(one.unsqueeze(1) for one in beside)], dim=1)
        return self.combined(means, self.known_numbers[items])

    def combined(self, means: Tensor, numbers: Tensor) -> Tensor:
        """Parts [items, PARTS + modalities, dim], numbers [items, NUMBERS] → [items, dim]."""
        kept = torch.ones(*means.shape[:2], 1, device=means.device)
        if self.training and self._drop:
            kept = (torch.rand_like(kept) >= self._drop).float()
            told = (torch.rand(len(means), 1, device=means.device) >= self._drop).float()
            numbers = numbers * told
        weighed = means * kept * self.weights.unsqueeze(-1)
        priced = self.numbers(numbers)
        beside = torch.cat([weighed.flatten(1), priced], dim=1)
        deep = self.narrow(functional.gelu(self.wide(beside)))
        whole: Tensor = weighed.sum(1) + priced + deep
        return functional.normalize(whole, dim=-1)
