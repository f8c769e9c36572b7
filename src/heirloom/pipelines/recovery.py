"""Recovery: folded state kept beside the log, so that a restart folds less of it.

One snapshot covers the view's FeatureState and People, another the vectors of a model. Everything
else that `Live` holds (the catalogue, words, retrievers, preferences) is folded from the log's
beginning as before: what a restart saves is the folding of features and people and the encoding of
listings, not the reading of the log.
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
from heirloom.retrieval.content import ContentIndex


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


def name_of_content(content: ContentIndex) -> str:
    """Under which name the vectors of a model are kept."""
    digest = hashlib.blake2b(content.model_id.encode(), digest_size=8).hexdigest()
    return f"content@{content.encoder.dim}-{digest}"


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


def restore_content(
    content: ContentIndex,
    log: EventLog,
    snapshots: Iterable[Snapshot],
    refuse: Callable[[str], None],
    end: int,
) -> int:
    """Give content that has folded nothing the first of its model's snapshots that fits the log.

    Args:
        content: until the log is folded to the offset that is given, search it for nothing.
        log: what it is to be folded from.
        snapshots: of this model, as `ContentIndex.arrays` gave them.
        refuse: hears why others are not taken.
        end: later ones are not for this log, or not for a reader that stands here.

    Returns:
        Its offset; 0 if none fits: every listing is encoded anew.
    """
    for snapshot in snapshots:
        at = f"vectors of {content.model_id!r} at offset {snapshot.n}"
        if not 0 < snapshot.n <= end or mark_of(log, snapshot.n) != snapshot.mark:
            refuse(f"{at}: of another log, or of one that was longer; wanted up to {end}")
            continue
        try:
            content.restore(snapshot.n, snapshot.arrays)
        except InputError as error:
            refuse(f"{at}: {error}; every listing is encoded anew")
            continue
        return snapshot.n
    return 0


def _part(name: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
