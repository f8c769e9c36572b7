"""A view divided among workers, each of which keeps the state of its own definitions alone."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.core.event import KIND_CODE
from heirloom.features.algebra import columns_of
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

    The heaviest first. A definition goes where all the rows of state that it reads are kept
    already; if they are nowhere, where the least work is afterwards.

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
    kept = [dict(_kept(definition, weights)) for definition in view.features]
    shares: list[list[int]] = [[] for _ in range(workers)]
    held: list[dict[_Kept, float]] = [{} for _ in range(workers)]
    for i in sorted(range(len(kept)), key=lambda i: (-sum(kept[i].values()), i)):
        more = [sum(work for what, work in kept[i].items() if what not in own) for own in held]
        at_home = [s for s in range(workers) if more[s] == 0.0 and shares[s]]
        loads = [sum(own.values()) + new for own, new in zip(held, more, strict=True)]
        share = min(at_home or range(workers), key=loads.__getitem__)
        shares[share].append(i)
        held[share] |= kept[i]
    order = sorted(range(workers), key=lambda s: -sum(held[s].values()))
    shares = [shares[s] for s in order]
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
