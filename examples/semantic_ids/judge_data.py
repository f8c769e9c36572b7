"""Amazon Beauty as the judge reads it, and scores of all items."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from heirloom.encoders.history import Histories
from heirloom.encoders.training.person import Events, PersonModel


@dataclass(frozen=True, slots=True)
class Beauty:
    """Amazon Beauty: people's items in order, and the items' attributes.

    Attributes:
        people: [people] each [items] int64 from 1.
        starts: [items + 2] int64, where each item's attributes begin; row 0 is padding.
        attributes: int64, from 0.
    """

    people: list[NDArray[np.int64]]
    starts: NDArray[np.int64]
    attributes: NDArray[np.int64]

    @classmethod
    def read(cls, data: Path) -> "Beauty":
        """From the folder of the public sets."""
        folder = data / "amazon_beauty"
        rows = pl.read_parquet(folder / "sequences.parquet").sort("user_id", "position")
        user = rows["user_id"].to_numpy()
        items = rows["item_id"].to_numpy().astype(np.int64)
        people = np.split(items, np.flatnonzero(np.diff(user)) + 1)
        pairs = pl.read_parquet(folder / "item_attributes.parquet").unique()
        pairs = pairs.sort("item_id", "attribute_id")
        of = pairs["item_id"].to_numpy().astype(np.int64)
        starts = np.searchsorted(of, np.arange(items.max() + 2)).astype(np.int64)
        codes = np.unique(pairs["attribute_id"].to_numpy(), return_inverse=True)[1]
        return cls(people, starts, codes.astype(np.int64))

    def with_pairs(self, least: int = 3) -> "Beauty":
        """The pairs of attributes that at least so many items have, as attributes of their own.

        A brand's shampoo is more than a brand and a shampoo; no pair tells an item from all others.
        """
        pieces = np.split(self.attributes, self.starts[1:-1])
        most = int(self.attributes.max()) + 1
        pairs = [
            (piece[:, None] * most + piece)[np.triu_indices(len(piece), 1)] for piece in pieces
        ]
        codes, counts = np.unique(np.concatenate(pairs), return_counts=True)
        kept = codes[counts >= least]
        both = [
            np.concatenate([piece, most + np.searchsorted(kept, pair[np.isin(pair, kept)])])
            for piece, pair in zip(pieces, pairs, strict=True)
        ]
        starts = np.cumsum([0, *(len(attributes) for attributes in both)]).astype(np.int64)
        return replace(self, starts=starts, attributes=np.concatenate(both).astype(np.int64))

    def without(self, last: int) -> Histories:
        """Histories of all people, the last so many items of each left out."""
        return Histories.of_items([items[: len(items) - last] for items in self.people])

    def target(self, from_last: int) -> NDArray[np.int64]:
        """[people], the item that many places from the last."""
        return np.array([items[-1 - from_last] for items in self.people])


def log_scores(
    model: PersonModel, items: torch.Tensor, histories: Histories
) -> NDArray[np.float32]:
    """[people, items] float32: log-softmax over all items, -inf for those had before.

    Column j is item j + 1. `items` [rows, dim] are the tower's vectors, row 0 for padding.
    """
    people = np.arange(len(histories))
    scores = np.empty((len(people), len(items) - 1), np.float32)
    lengths = np.diff(histories.starts)
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), 256):
        some = order[begin : begin + 256]
        logits = model.scale() * _last(model, items, histories, some) @ items[1:].T
        made = torch.log_softmax(logits, dim=1).numpy()
        had = np.repeat(np.arange(len(some)), lengths[some])
        places = np.concatenate([np.arange(*histories.starts[p : p + 2]) for p in some.tolist()])
        made[had, histories.items[places] - 1] = -np.inf
        scores[some] = made
    return scores


@torch.no_grad()
def _last(
    model: PersonModel, items: torch.Tensor, histories: Histories, people: NDArray[np.int64]
) -> torch.Tensor:
    """[people, dim], the vector after each one's latest event."""
    ends = histories.starts[people + 1]
    lengths = np.minimum(ends - histories.starts[people], model.shape.events)
    steps = np.arange(lengths.max())
    there = steps < lengths[:, None]
    places = np.where(there, (ends - lengths)[:, None] + steps, 0)
    read = torch.from_numpy(np.where(there, histories.items[places], 0))
    # The set tells order alone: no kinds, no times, no surfaces.
    none = torch.zeros_like(read)
    later = there & (places > histories.starts[people][:, None])
    gaps = torch.from_numpy(later.astype(np.int64))
    vectors = model(items[read], Events(read, none, gaps, none))
    return vectors[torch.arange(len(people)), torch.from_numpy(lengths - 1), 0]
