"""Backfill: the state of a new view folded from the log, so that it goes live at N with no seam.

A feature defined today is of the log's whole past, not of what comes from today on. Its view has a
version of its own, so the state is folded beside the one that serves, up to an offset N; whoever
serves the new version goes on at N. There is no batch part and stream part to be joined: it is one
fold of one log, by one kernel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from heirloom.core.log import EventLog
from heirloom.features.people import People
from heirloom.features.view import FeatureView
from heirloom.pipelines.recovery import Folded, Snapshot, fitting

PAGE = 65_536
"""Log entries folded at once."""


@dataclass(frozen=True, slots=True)
class Backfilled:
    """A state folded, and from which offset to which."""

    folded: Folded
    from_offset: int
    to_offset: int


def backfill(
    view: FeatureView,
    log: EventLog,
    snapshots: Iterable[Snapshot],
    *,
    refuse: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Backfilled:
    """Fold a view over the log to its present end, on from the first of the snapshots that fits.

    Args:
        view: the new one.
        log: read only; its writer may go on appending.
        snapshots: of this view, newest first: of an earlier backfill, say.
        refuse: hears why a snapshot is not taken.
        progress: told (entries folded, of).
    """
    end = log.end()
    began = fitting(view, log, snapshots, refuse)
    features, people = (began.features, began.people) if began else (view.state(), People())
    start = features.n
    for at in range(start, end, PAGE):
        facts = log.facts(at, min(at + PAGE, end))
        features.apply(facts)
        people.apply(facts)
        progress(min(at + PAGE, end) - start, end - start)
    return Backfilled(Folded(features, people), start, end)
