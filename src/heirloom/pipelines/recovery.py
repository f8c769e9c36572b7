"""Recovery: folded state kept beside the log, so that a restart folds its tail alone.

Three states are kept, each under its own name, so that one can change without the others: the
view's FeatureState and People; what is known by a model's vectors (`ContentIndex`); and all other
parts of `Live`. Each is a function of the log's first n entries, so any of them go together, of
whatever offset: each part is folded on from its own, and what is not kept from the log's beginning.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.kept import Arrays, Given, Kept, is_kept, joined, object_of, of_object, within
from heirloom.core.log import EventLog
from heirloom.features.people import People
from heirloom.features.state import FeatureState
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.retrieval.content import ContentIndex, Encoder

LAYOUT = 1
"""Of what the parts keep. To be raised where a part counts otherwise under the same names."""
_CONTENT = "content"
_KINDS = "kinds"
_NO_ARRAYS = (InputError, IndexError, KeyError, TypeError, ValueError)
"""What a part raises that is given the arrays of another."""
Refuse = Callable[[str], None]


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
        return joined({"features": self.features.arrays(), "people": self.people.arrays()})


def name_of(view: FeatureView) -> str:
    """Under which name the state of a view's version is kept."""
    return f"{view.name}@{view.version}"


def name_of_content(encoder: Encoder) -> str:
    """Under which name what is known by a model's vectors is kept."""
    digest = hashlib.blake2b(encoder.model_id.encode(), digest_size=8).hexdigest()
    return f"content@{encoder.dim}-{digest}-{LAYOUT}"


def name_of_parts() -> str:
    """Under which name all other parts are kept."""
    return f"parts@{LAYOUT}"


def names_of(view: FeatureView, encoder: Encoder) -> tuple[str, ...]:
    """Under which names all of a state is kept, in the order in which `begun` asks for them."""
    return name_of_content(encoder), name_of_parts(), name_of(view)


def mark_of(log: EventLog, n: int) -> str:
    """What tells a log's first n entries from another's: a hash of the last one as stamped."""
    last = log.facts(n - 1, n)
    rows = last.events.tobytes() + last.listings.tobytes()
    return hashlib.blake2b(rows, digest_size=16).hexdigest() if len(last) else ""


def fitting(
    view: FeatureView, log: EventLog, snapshots: Iterable[Snapshot], refuse: Refuse
) -> Folded | None:
    """The first of the snapshots that is of this view and log; `refuse` hears why others are not.

    Go on with the log from its `n`.
    """
    for snapshot in _of_log(log, snapshots, refuse, name_of(view)):
        try:
            return Folded(
                view.restored(snapshot.n, within(snapshot.arrays, "features")),
                People.restored(snapshot.n, within(snapshot.arrays, "people")),
            )
        except InputError as error:
            refuse(f"snapshot {name_of(view)} at offset {snapshot.n}: {error}")
    return None


def begun(
    make: Callable[[], Live],
    log: EventLog,
    latest: Callable[[str], Iterable[Snapshot]],
    refuse: Refuse,
) -> Live:
    """A state that goes on with the log from its `n`: what is kept is restored.

    Args:
        make: gives one that has folded nothing yet.
        log: what it is folded from; snapshots of later offsets than its end are not taken.
        latest: by name, the whole snapshots of a state, newest first.
        refuse: hears why a snapshot, or a part of it, is not taken.
    """
    without: set[str] = set()
    while True:
        live = make()
        failed = _restore(live, log, latest, refuse, without)
        if failed is None:
            last = log.read(live.n - 1, live.n) if live.n else ()
            live.newest_ms = max((entry.ingested_at for entry in last), default=0)
            return live
        without.add(failed)  # it may be half of what was kept, so all begins anew


def content_begun(
    make: Callable[[], ContentIndex],
    log: EventLog,
    latest: Callable[[str], Iterable[Snapshot]],
    refuse: Refuse,
) -> tuple[ContentIndex, int]:
    """What is known by a model's vectors, as it was kept, and the offset from which to fold it on.

    Args:
        make: gives one that has folded nothing yet.
        log: as of `begun`.
        latest: as of `begun`.
        refuse: as of `begun`.
    """
    content = make()
    name = name_of_content(content.encoder)
    for snapshot in _of_log(log, latest(name), refuse, name):
        if _kinds_in(snapshot.arrays).get(_CONTENT) != _kind(content):
            refuse(f"snapshot {name} at offset {snapshot.n}: it holds no such {_CONTENT}")
            continue
        try:
            content.restore(within(snapshot.arrays, _CONTENT))
        except _NO_ARRAYS as error:
            refuse(f"snapshot {name} at offset {snapshot.n}: {error}")
            content = make()  # half of it may be of what was kept
        else:
            return content, snapshot.n
    return content, 0


def kept_of(live: Live) -> dict[str, Arrays]:
    """What is to be kept of a state as of its `n`, by name, but the view's (`Folded`).

    Views of what it holds: write them before it is folded further.
    """
    return {name: _arrays(parts) for name, parts in _states(live).items()}


def _restore(
    live: Live,
    log: EventLog,
    latest: Callable[[str], Iterable[Snapshot]],
    refuse: Refuse,
    without: Collection[str],
) -> str | None:
    """Restore a state that has folded nothing; gives the part that could not take its arrays."""
    restored: dict[str, int] = {}
    for name, parts in _states(live).items():
        for snapshot in _of_log(log, latest(name), refuse, name):
            kinds = _kinds_in(snapshot.arrays)
            for part, state in parts.items():
                if part in without or kinds.get(part) != _kind(state):
                    refuse(f"snapshot {name} at offset {snapshot.n}: it holds no such {part}")
                    continue
                try:
                    cast("Kept", state).restore(within(snapshot.arrays, part))
                except _NO_ARRAYS as error:
                    refuse(f"snapshot {name} at offset {snapshot.n}, {part}: {error}")
                    return part
                restored[part] = snapshot.n
            break
    of_view = name_of(live.view)
    if found := fitting(live.view, log, latest(of_view), refuse):
        live.restore(found.features, found.people)
    live.go_on(restored)
    return None


def _states(live: Live) -> dict[str, dict[str, object]]:
    """By the name of a state, its parts."""
    parts = live.parts
    content = {_CONTENT: parts.pop(_CONTENT)}
    return {name_of_content(live.content.encoder): content, name_of_parts(): parts}


def _arrays(parts: Mapping[str, object]) -> Arrays:
    kept = {name: part for name, part in parts.items() if is_kept(part)}
    kinds = {name: _kind(part) for name, part in kept.items()}
    return {
        _KINDS: of_object(kinds),
        **joined({name: part.arrays() for name, part in kept.items()}),
    }


def _kinds_in(arrays: Given) -> dict[str, str]:
    """Which class each part was of; none where the snapshot does not say."""
    try:
        return object_of(arrays[_KINDS], dict[str, str])
    except _NO_ARRAYS:
        return {}


def _kind(part: object) -> str:
    """Of which class it is; "" where it cannot be kept, which no snapshot says of any part."""
    kind = type(part)
    return f"{kind.__module__}.{kind.__qualname__}" if is_kept(part) else ""


def _of_log(
    log: EventLog, snapshots: Iterable[Snapshot], refuse: Refuse, name: str
) -> Iterator[Snapshot]:
    """Those of the snapshots whose offset the log reaches, and with the same entries."""
    end = log.end()
    for snapshot in snapshots:
        if 0 < snapshot.n <= end and mark_of(log, snapshot.n) == snapshot.mark:
            yield snapshot
        else:
            refuse(
                f"snapshot {name} at offset {snapshot.n}: of another log, or of one that was "
                f"longer; this one ends at {end}"
            )
