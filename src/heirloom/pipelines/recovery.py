"""Recovery: folded state kept beside the log, so that a restart folds less of it.

A snapshot covers the view's FeatureState and People. Everything else that `Live` holds (the
catalogue, content, retrievers, preferences) is folded from the log's beginning as before: what a
restart saves is the folding of features and people, not the reading of the log.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.log import EventLog
from heirloom.features.people import People
from heirloom.pipelines.live import Live


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
        """As `arrays_of` gave them."""


def name_of(live: Live) -> str:
    """Under which name the state of a view's version is kept."""
    return f"{live.view.name}@{live.view.version}"


def arrays_of(live: Live) -> dict[str, NDArray[Any]]:
    """Copies of the features and people folded, by name."""
    parts = {"features": live.features.arrays(), "people": live.people.arrays()}
    return {f"{part}.{name}": a for part, of in parts.items() for name, a in of.items()}


def mark_of(log: EventLog, n: int) -> str:
    """What tells a log's first n entries from another's: a hash of the last one as stamped."""
    last = log.facts(n - 1, n)
    rows = last.events.tobytes() + last.listings.tobytes()
    return hashlib.blake2b(rows, digest_size=16).hexdigest() if len(last) else ""


def restore(
    live: Live, log: EventLog, snapshots: Iterable[Snapshot], refuse: Callable[[str], None]
) -> int:
    """Give an empty `live` the first of the snapshots that fits the log; then replay the log.

    Returns:
        The offset restored to; 0 if none fits. `refuse` hears why, for each that does not.
    """
    end = log.end()
    for snapshot in snapshots:
        at = f"snapshot {name_of(live)} at offset {snapshot.n}"
        if not 0 < snapshot.n <= end or mark_of(log, snapshot.n) != snapshot.mark:
            refuse(f"{at}: of another log, or of one that was longer; this one ends at {end}")
            continue
        try:
            features = live.view.restored(snapshot.n, _part("features", snapshot.arrays))
            people = People.restored(snapshot.n, _part("people", snapshot.arrays))
        except InputError as error:
            refuse(f"{at}: {error}")
            continue
        live.restore(features, people)
        return snapshot.n
    return 0


def _part(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
