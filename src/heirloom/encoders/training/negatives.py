"""Negatives beyond those drawn evenly: a queue of earlier targets, and those hard to tell apart."""

import torch
from torch import Tensor


class Queue:
    """The latest targets of earlier batches, with the vectors they had then.

    Source: Wang et al., "Cross-Batch Negative Sampling for Training Two-Tower Recommenders"
    (SIGIR 2021, arXiv 2110.15154): after a warm-up an item's vector changes slowly, so one from a
    few batches ago still serves as a negative, at no cost but memory.

    Args:
        size: how many are kept; 0: none.

    >>> queue = Queue(2)
    >>> queue.put(torch.tensor([1, 2, 3]), torch.eye(3))
    >>> queue.items_and_vectors(torch.device("cpu"))[0][0].tolist()
    [2, 3]
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: Tensor | None = None
        self._vectors: Tensor | None = None

    def put(self, items: Tensor, vectors: Tensor) -> None:
        """Take [items] and their [items, dim] vectors in; the oldest go."""
        if not self._size:
            return
        vectors = vectors.detach()
        if self._items is not None and self._vectors is not None:
            items = torch.cat([self._items, items])
            vectors = torch.cat([self._vectors, vectors])
        self._items, self._vectors = items[-self._size :], vectors[-self._size :]

    def items_and_vectors(self, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """[items] and [items, dim], without gradient; an empty list while there are none."""
        if self._items is None or self._vectors is None:
            return []
        return [(self._items.to(device), self._vectors.to(device))]

    def clear(self) -> None:
        """Forget all: an epoch begins the same after an interruption."""
        self._items = self._vectors = None


def hardest(logits: Tensor, keep: int) -> Tensor:
    """[keep] int64, columns that some row takes for likely, the likeliest left out.

    Of a pool of items drawn evenly each is as hard as the row that likes it best finds it; the top
    hundredth is left out, for there the likely and the truly wanted are one.

    Args:
        logits: [rows, pool].
        keep: how many are wanted.

    >>> hardest(torch.tensor([[0.0, 5.0, 1.0], [2.0, 0.0, 0.5]]), 2).tolist()
    [1, 0]
    """
    order = logits.amax(dim=0).argsort(descending=True)
    skip = logits.shape[1] // 100
    return order[skip : skip + keep]
