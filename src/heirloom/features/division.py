"""A view divided among workers, each of which keeps the state of its own definitions alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import KIND_CODE
from heirloom.features.algebra import Definition, columns_of
from heirloom.features.view import FeatureView

_Kept = tuple[str, tuple[str, ...], tuple[str, ...]]
"""What is kept for a definition: how, for which key, over which windows."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker answers.

    Attributes:
        view: the definitions that fell to it, a view of their own.
        columns: [features of the share] int64, their places among the columns of the whole view.
    """

    view: FeatureView
    columns: NDArray[np.int64]


def divided(
    view: FeatureView, workers: int, mentions: NDArray[np.int64] | None = None
) -> tuple[Share, ...]:
    """A view as at most `workers` views of about the same work, no column lost or twice.

    Definitions that read the same rows of state stay together, so that nothing is folded twice
    but where one of them reads the rows of two sides.

    Args:
        view: the whole.
        workers: how many shares are wanted.
        mentions: [kinds] int64, how many mentions of each kind to expect, by core.event.KIND_CODE;
            None: as many of each.

    Raises:
        ConfigError: if workers is less than 1.
    """
    if workers < 1:
        raise ConfigError(f"FeatureView {view.name!r}", [f"{workers} workers; wanted at least 1"])
    weights = np.ones(len(KIND_CODE), np.int64) if mentions is None else mentions
    shares: list[list[int]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    for load, members in sorted(_clusters(view.features, weights), key=lambda c: (-c[0], c[1])):
        lightest = loads.index(min(loads))
        shares[lightest] += members
        loads[lightest] += load
    widths = [len(columns_of(definition)) for definition in view.features]
    starts = np.concatenate([[0], np.cumsum(widths)])
    return tuple(
        Share(
            FeatureView(view.name, tuple(view.features[i] for i in sorted(members))),
            np.concatenate([np.arange(starts[i], starts[i + 1]) for i in sorted(members)]),
        )
        for members in shares
        if members
    )


def _clusters(
    definitions: Sequence[Definition], weights: NDArray[np.int64]
) -> Iterator[tuple[float, list[int]]]:
    """Sets of definitions that share state, each with the work of one lookup and of its folds."""
    kept = [dict(_kept(d, weights)) for d in definitions]
    cluster = list(range(len(definitions)))
    first: dict[_Kept, int] = {}
    for i, mine in enumerate(kept):
        for what in mine:
            a, b = cluster[first.setdefault(what, i)], cluster[i]
            cluster = [a if c == b else c for c in cluster]
    for one in sorted(set(cluster)):
        members = [i for i, c in enumerate(cluster) if c == one]
        work: dict[_Kept, float] = {}
        for i in members:
            for what, load in kept[i].items():
                work[what] = max(load, work.get(what, 0.0))
        yield sum(work.values()), members


def _kept(part: object, weights: NDArray[np.int64]) -> Iterator[tuple[_Kept, float]]:
    """What a definition keeps, its operands' included, and how often a mention touches it."""
    if not is_dataclass(part):
        return
    values = {each.name: getattr(part, each.name) for each in fields(part)}
    if "kinds" in values:
        windows = tuple(values.get("windows", ()))
        key = tuple(values.get("key", ("listing", "category", "all")))
        how = "count" if type(part).__name__ == "Counter" else type(part).__name__
        touched = sum(int(weights[KIND_CODE[kind]]) for kind in set(values["kinds"]))
        yield (how, key, windows), float(touched * (1 + len(windows)))
    for value in values.values():
        yield from _kept(value, weights)
