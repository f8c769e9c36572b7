"""Recovery: folded state kept beside the log, so that a restart folds less of it.

A snapshot covers the view's FeatureState and People. Everything else that `Live` holds (the
catalogue, content, retrievers, preferences) is folded from the log's beginning as before: what a
restart saves is the folding of features and people, not the reading of the log.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.log import EventLog
from heirloom.features.people import People
from heirloom.features.state import FeatureState
from heirloom.features.view import FeatureView


class Snapshot(Protocol):
    """What a store of snapshots gives back."""

    @property
    def n(self) -> int:
        """Log offset applied."""

    @property
    def mark(self) -> str:
        """`mark_of` the log at that offset, when it was written."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """As `Folded.arrays` gave them."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a snapshot covers, as of one log offset."""

    features: FeatureState
    people: People

    @property
    def n(self) -> int:
        """Log offset applied."""
        return self.features.n

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of all of it, by name."""
        parts = {"features": self.features.arrays(), "people": self.people.arrays()}
        return {f"{part}.{name}": a for part, of in parts.items() for name, a in of.items()}


def name_of(view: FeatureView) -> str:
    """Under which name the state of a view's version is kept."""
    return f"{view.name}@{view.version}"


def mark_of(log: EventLog, n: int) -> str:
    """What tells a log's first n entries from another's: a hash of the last one as stamped."""
    last = log.facts(n - 1, n)
    rows = last.events.tobytes() + last.listings.tobytes()
    return hashlib.blake2b(rows, digest_size=16).hexdigest() if len(last) else ""


def fitting(
    view: FeatureView,
    log: EventLog,
    snapshots: Iterable[Snapshot],
    refuse: Callable[[str], None],
) -> Folded | None:
    """The first of the snapshots that is of this view and log; `refuse` hears why others are not.

    Go on with the log from its `n`.
    """
    end = log.end()
    for snapshot in snapshots:
        at = f"snapshot {name_of(view)} at offset {snapshot.n}"
        if not 0 < snapshot.n <= end or mark_of(log, snapshot.n) != snapshot.mark:
            refuse(f"{at}: of another log, or of one that was longer; this one ends at {end}")
            continue
        try:
            return Folded(
                view.restored(snapshot.n, _part("features", snapshot.arrays)),
                People.restored(snapshot.n, _part("people", snapshot.arrays)),
            )
        except InputError as error:
            refuse(f"{at}: {error}")
    return None


def _part(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
