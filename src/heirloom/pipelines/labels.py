"""Labels: what was done with each listing of each slate, as a gain or action by action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import EVENT_ROW, Facts
from heirloom.core.log import Entry
from heirloom.ranking.actions import Action
from heirloom.ranking.gains import by_code


def slate_of(entry: Entry) -> int:
    """Hash of the slate's id that an entry carries; 0 for none."""
    return int(np.frombuffer(entry.event_row, EVENT_ROW)["slate"][0])


def label(facts: Facts, gains: Mapping[str, float]) -> dict[tuple[int, int], float]:
    """What was done to each listing of each slate is worth: {(slate, slot): sum of gains}.

    An action counts once, however often it was done.
    """
    worth = by_code(gains)
    acts = np.flatnonzero((worth[facts.events["kind"]] > 0) & (facts.events["slate"] != 0))
    done = {
        (
            int(facts.events["slate"][i]),
            int(facts.listings["slot"][facts.starts[i]]),
            int(facts.events["kind"][i]),
        )
        for i in acts[np.diff(facts.starts)[acts] > 0].tolist()
    }
    labels: dict[tuple[int, int], float] = {}
    for slate, slot, kind in sorted(done):
        labels[slate, slot] = labels.get((slate, slot), 0.0) + float(worth[kind])
    return labels


@dataclass(frozen=True, slots=True)
class Done:
    """Which actions were done in time with each listing of each slate.

    Attributes:
        actions: in the order of the columns.
        of: {(slate, slot): bits}, bit i of action i; nothing done is left out.
        until: ms, the end of what the log knows.
    """

    actions: tuple[Action, ...]
    of: Mapping[tuple[int, int], int]
    until: int

    def rows(self, slate: int, slots: NDArray[np.int32], t: int) -> NDArray[np.float32]:
        """[slots, actions] float32 of a slate shown at `t`: 1 done, 0 not, NaN not known yet."""
        bits = np.array([self.of.get((slate, int(slot)), 0) for slot in slots], np.int64)
        labels = (bits[:, None] >> np.arange(len(self.actions)) & 1).astype(np.float32)
        young = [t > self.until - action.matures_ms for action in self.actions]
        labels[:, young] = np.nan
        return labels


def done(facts: Facts, actions: Sequence[Action]) -> Done:
    """What was done within each action's time after the impression of its slate.

    An action on a slate whose impression is not in the facts is left out, and so is one that
    is older than it.
    """
    events = facts.events
    until = int(events["t"].max()) if len(events) else 0
    shown = events[events["kind"] == KIND_CODE[Kind.IMPRESSION]]
    slates, first = np.unique(shown["slate"], return_index=True)
    found: dict[tuple[int, int], int] = {}
    if not len(slates):
        return Done(tuple(actions), found, until)
    for column, action in enumerate(actions):
        codes = [KIND_CODE[kind] for kind in action.kinds]
        acts = np.flatnonzero(np.isin(events["kind"], codes) & (events["slate"] != 0))
        acts = acts[np.diff(facts.starts)[acts] > 0]
        at = np.minimum(np.searchsorted(slates, events["slate"][acts]), len(slates) - 1)
        after = events["t"][acts] - shown["t"][first[at]]
        counts = (slates[at] == events["slate"][acts]) & (after >= 0)
        acts = acts[counts & (after <= action.matures_ms)]
        keys = zip(
            events["slate"][acts].tolist(),
            facts.listings["slot"][facts.starts[acts]].tolist(),
            strict=True,
        )
        for key in keys:
            found[key] = found.get(key, 0) | 1 << column
    return Done(tuple(actions), found, until)
