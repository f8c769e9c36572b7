"""Windows: histories cut into pieces of at most so many events, and those into batches.

Windows of one length stand together, so that hardly anything is padding: on sets whose people have
a handful of events each, padding all to the longest would be nine tenths of the work.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heirloom.core.errors import InputError
from heirloom.encoders.history import Histories, gap_buckets
from heirloom.encoders.training.person import Events


@dataclass(frozen=True, slots=True)
class Windows:
    """Pieces of histories, each to be learned from as a whole.

    Attributes:
        histories: what they are cut from.
        gaps: [events] int64, bucket of the time since the person's event before.
        begins, ends: [windows] int64, each window's events; at least two.
    """

    histories: Histories
    gaps: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begins)


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows side by side.

    Attributes:
        events: what is read, [rows, events], the last event of each window left out.
        targets: [rows, events] int64, the item of the event after each; 0 where there is none.
            Where the first is foretold from nothing: [rows, 1 + events], it and those.
        foretold: like `targets`, index of that event in `Histories`; -1: none.
    """

    events: Events
    targets: Tensor
    foretold: Tensor


def cut(histories: Histories, events: int, *, least: int = 2) -> Windows:
    """Windows of at most `events` + 1 events (the last is only foretold), from the latest back.

    Each event but a person's first is foretold in just one of them.

    Args:
        histories: to be cut.
        events: read at most in a window.
        least: people with fewer events are left out; 1 is of use where the first is foretold too.

    Raises:
        InputError: if nobody has two events.

    >>> made = cut(Histories.of_items([np.array([1, 2, 3, 4]), np.array([5])]), 2)
    >>> made.begins.tolist(), made.ends.tolist()
    ([0, 1], [2, 4])
    """
    begins: list[int] = []
    ends: list[int] = []
    gaps = np.zeros(len(histories.items), np.int64)
    for first, end in zip(
        histories.starts[:-1].tolist(), histories.starts[1:].tolist(), strict=True
    ):
        gaps[first:end] = gap_buckets(histories.t[first:end])
        stops = range(end, first + 1, -events)
        if end - first == 1 and least == 1:
            stops = range(end, end - 1, -1)
        begins.extend(max(first, stop - events - 1) for stop in reversed(stops))
        ends.extend(reversed(stops))
    if not begins or np.diff(histories.starts).max() < 2:
        raise InputError(
            f"train: {len(histories)} people came, none with two events; wanted some who acted "
            "at least twice"
        )
    return Windows(histories, gaps, np.array(begins), np.array(ends))


def batches(
    windows: Windows,
    rows: int,
    rng: np.random.Generator,
    *,
    reverse: float = 0.0,
    from_nothing: bool = False,
) -> Iterator[Batch]:
    """All windows once, in batches of like length in random order.

    Args:
        windows: to learn from.
        rows: windows in a batch.
        rng: draws the order; nothing else does.
        reverse: share of the batches that run backwards in time.
        from_nothing: the first event of each window is foretold too.
    """
    lengths = windows.ends - windows.begins + 2 * rng.random(len(windows))
    order = np.argsort(lengths, kind="stable")
    pieces = [order[i : i + rows] for i in range(0, len(order), rows)]
    for piece in rng.permutation(len(pieces)):
        backwards = bool(rng.random() < reverse)
        first = 0 if from_nothing else 1
        yield _batch(windows, np.sort(pieces[piece]), reverse=backwards, first=first)


def _batch(windows: Windows, rows: NDArray[np.int64], *, reverse: bool, first: int) -> Batch:
    begins, ends = windows.begins[rows], windows.ends[rows]
    length = int((ends - begins).max())
    steps = np.arange(length)
    places = ends[:, None] - 1 - steps if reverse else begins[:, None] + steps
    there = steps < (ends - begins)[:, None]
    places = np.where(there, places, -1)
    histories = windows.histories
    items = np.where(there, histories.items[places], 0)
    read = there[:, :-1] & there[:, 1:]

    def column(values: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(np.where(read, values[places[:, :-1]], 0).astype(np.int64))

    return Batch(
        Events(
            items=torch.from_numpy(np.where(read, items[:, :-1], 0)),
            kinds=column(histories.kinds),
            gaps=column(windows.gaps),
            surfaces=column(histories.surfaces),
            reverse=reverse,
        ),
        targets=torch.from_numpy(items[:, first:]),
        foretold=torch.from_numpy(places[:, first:]),
    )
