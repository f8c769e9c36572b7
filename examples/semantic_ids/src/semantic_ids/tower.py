"""Towers over semantic ids, for `heirloom.encoders.training`. Needs torch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from heirloom.core.errors import ShapeError
from heirloom.encoders.training.towers import Tower, module_of
from semantic_ids.codebook import prefixes


class SemanticIdTower(nn.Module):
    """An item is the sum of one vector for each prefix of its id.

    A first code is learned from all items that have it, a longer prefix from fewer; what only one
    item has is its own. Longer ones begin as zeros: a prefix never learned from adds nothing.
    Source: Singh et al., "Better Generalization with Semantic IDs" (arXiv 2306.08121), with the
    pieces of an id that Zheng et al., "Enhancing Embedding Representation Stability in
    Recommendation Systems with Semantic ID" (arXiv 2504.02137), call prefix-n-grams.

    Args:
        codes: [items, levels]; row i of the tower is item i - 1, row 0 is padding.
        size: codes a level.
        dim: of the vectors.
        scale: standard deviation of the first codes' vectors at the start.
    """

    def __init__(
        self, codes: NDArray[np.int32], size: int, dim: int, *, scale: float = 0.02
    ) -> None:
        super().__init__()
        self.rows, self.dim = len(codes) + 1, dim
        places = np.zeros((self.rows, codes.shape[1]), np.int64)
        wide = [1]
        for level, column in enumerate(prefixes(codes, size).T):
            names, member = np.unique(column, return_inverse=True)
            places[1:, level] = sum(wide) + member
            wide.append(len(names))
        start = torch.zeros(sum(wide), dim)
        start[1 : 1 + wide[1]] = torch.randn(wide[1], dim) * scale
        self.table = nn.Parameter(start)
        self.places: Tensor
        self.register_buffer("places", torch.from_numpy(places), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """[items] int64 → [items, dim] float32."""
        vectors: Tensor = functional.embedding(self.places[items], self.table).sum(dim=1)
        return vectors


class Together(nn.Module):
    """The sum of several towers' vectors, of unit length where that is wanted.

    Raises:
        ShapeError: if the towers have different rows or dimensions.
    """

    def __init__(self, towers: Sequence[Tower], *, unit: bool = False) -> None:
        super().__init__()
        shapes = {(tower.rows, tower.dim) for tower in towers}
        if len(shapes) != 1:
            raise ShapeError(f"Together: towers of {sorted(shapes)}; wanted one [rows, dim]")
        ((self.rows, self.dim),) = shapes
        self.towers = nn.ModuleList(module_of(tower) for tower in towers)
        self._unit = unit

    def forward(self, items: Tensor) -> Tensor:
        """[items] int64 → [items, dim] float32."""
        vectors: Tensor = sum(tower(items) for tower in self.towers)
        return functional.normalize(vectors, dim=-1) if self._unit else vectors
