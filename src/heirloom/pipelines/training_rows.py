"""Training rows for other stores: the features of each listing shown, as of its impression.

The replay is that of training, so the bytes are those that training reads. A row is found again
by (listing, person, t), which is all that a point-in-time join of another store knows of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.event import SURFACE_CODE, named, person_key
from heirloom.core.facts import LISTING_ROW
from heirloom.core.log import Entry, EventLog
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines.labels import label, slate_of
from heirloom.pipelines.live import Live
from heirloom.pipelines.train import (
    Progress,
    Recipe,
    folded_up_to_impressions,
    query_of,
    slates_to_use,
)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The listings of one impression.

    Attributes:
        listings: [rows] ids, each once.
        person: the person's token, `session:…` for a session without one, '' for nobody known.
        t: when it was shown, ms since 1970 UTC.
        created: when the log took it, ms since 1970 UTC.
        slate: the slate's id.
        surface: home, similar or search.
        positions: [rows] int16.
        gains: [rows] float32, what was done to each is worth.
        batch: features [rows, features], as of (t, n).
    """

    listings: tuple[str, ...]
    person: str
    t: int
    created: int
    slate: str
    surface: str
    positions: NDArray[np.int16]
    gains: NDArray[np.float32]
    batch: FeatureBatch


def training_rows(
    log: EventLog, live: Live, recipe: Recipe, progress: Progress = lambda *_: None
) -> Iterator[TrainingRows]:
    """The impressions that training would learn from, in the order of the log.

    Of rows with the same (listing, person, t), the first stands: nobody known may be shown the
    same listing twice in one millisecond, and a join by these three could not tell them apart.

    Args:
        log: events and impressions.
        live: an empty state; it stands at the log's end when the last row has been taken.
        recipe: which slates, and what actions are worth; `unseen` is not drawn here.
        progress: told now and then.

    Raises:
        InputError: no slate of the log was acted on.
    """
    facts = log.facts()
    labels = label(facts, recipe.gains)
    wanted = slates_to_use(facts, labels, recipe)
    if not wanted:
        raise InputError(
            f"training_rows: of the log's {log.end()} events none is a mature impression on which "
            "somebody acted, so there is no training row; ingest impressions, and actions that "
            "carry their `slate`"
        )
    taken: dict[tuple[str, int], set[str]] = {}
    for entry in folded_up_to_impressions(log, live, wanted, progress):
        person = person_key(entry.event.user, entry.event.session)
        known = taken.setdefault((person, entry.event.t), set())
        rows = _rows(entry, known)
        if len(rows):
            yield _shown(entry, rows, person, live, labels)


def _rows(entry: Entry, known: set[str]) -> NDArray[np.intp]:
    """Places on the slate of the listings that have a slot and are not `known`; they are then."""
    slots = np.frombuffer(entry.listing_rows, LISTING_ROW)["slot"]
    rows = []
    for i, listing in enumerate(named(entry.event)):
        if slots[i] >= 0 and listing not in known:
            known.add(listing)
            rows.append(i)
    return np.array(rows, np.intp)


def _shown(
    entry: Entry,
    rows: NDArray[np.intp],
    person: str,
    live: Live,
    labels: dict[tuple[int, int], float],
) -> TrainingRows:
    stamped = np.frombuffer(entry.listing_rows, LISTING_ROW)[rows]
    slots = stamped["slot"].astype(np.int32)
    request = live.request(query_of(entry.event))
    slate, ids = slate_of(entry), named(entry.event)
    surfaces = {code: name for name, code in SURFACE_CODE.items()}
    return TrainingRows(
        listings=tuple(ids[i] for i in rows.tolist()),
        person=person,
        t=entry.event.t,
        created=entry.ingested_at,
        slate=entry.event.slate or "",
        surface=surfaces[request.surface],
        positions=stamped["position"].astype(np.int16),
        gains=np.array([labels.get((slate, int(slot)), 0.0) for slot in slots], np.float32),
        batch=live.look_up(request, slots),
    )
