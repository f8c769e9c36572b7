"""Parity: what was served, looked up again in a replay of the log and compared byte by byte.

A value is a pure function of (definition version, key, t, n), so the only right number of
differences is 0. Compared are bytes: no tolerance, and a NaN equals only the same NaN.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.log import Entry, EventLog
from heirloom.core.query import Query
from heirloom.core.slate import AHEAD_OF_LOG, SlateRecord
from heirloom.pipelines.live import Live

QUANTILES = (0.5, 0.9, 1.0)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that was not replayed, to begin the search with."""

    slate_id: str
    listing: str
    t: int
    n: int
    served: float
    replayed: float


@dataclass(slots=True)
class FeatureParity:
    """One feature over all rows compared.

    Attributes:
        compared: values that stand on both sides.
        mismatched: of these, those whose bytes differ.
        missing: served, but the replay has no such value: no such column (another version of
            the view), or no such listing.
        extra: the replay has a column that was not served.
        nan: of the mismatched, those where one side alone is NaN.
        deltas: |served - replayed| of the other mismatched.
        first: the first of the mismatched, by log offset.
    """

    compared: int = 0
    mismatched: int = 0
    missing: int = 0
    extra: int = 0
    nan: int = 0
    deltas: list[float] = field(default_factory=list)
    first: Difference | None = None

    @property
    def holds(self) -> bool:
        """Whether every value was replayed."""
        return not (self.mismatched or self.missing or self.extra)

    def add(self, other: "FeatureParity") -> None:
        """Take over what was found in other slates."""
        self.compared, self.mismatched = (
            self.compared + other.compared, self.mismatched + other.mismatched
        )  # fmt: skip
        self.missing, self.extra = self.missing + other.missing, self.extra + other.extra
        self.nan += other.nan
        self.deltas.extend(other.deltas)
        self.first = self.first or other.first

    def quantiles(self) -> dict[str, float]:
        """|served - replayed| of the mismatched at QUANTILES; empty where there are none."""
        return _quantiles(self.deltas)


@dataclass(slots=True)
class Parity:
    """What the check found.

    Attributes:
        slates, rows: compared.
        to_n: the highest log offset replayed to.
        features: by column, `view@version.feature`.
        broken: records that cannot be compared though they should: why, and how many.
        unpromised: records that name no log offset that could be replayed: why, and how many.
        untold: records of which nobody can tell, as what served them is gone: what to do, and how
            many.
        age_ms: t - t of the last event applied, one per slate. Not promised: how fresh the
            state was is a matter of delivery.
        late: counts that came too late for any later window, in the replay. Not promised.
    """

    slates: int = 0
    rows: int = 0
    to_n: int = 0
    features: dict[str, FeatureParity] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    unpromised: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    age_ms: list[int] = field(default_factory=list)
    late: int = 0

    @property
    def holds(self) -> bool:
        """Whether every value that can be compared was replayed bit for bit."""
        return not self.broken and all(feature.holds for feature in self.features.values())

    def of(self, column: str) -> FeatureParity:
        """A feature's tally; an empty one the first time."""
        return self.features.setdefault(column, FeatureParity())

    def add(self, other: "Parity") -> None:
        """Take over what was found in other slates."""
        self.slates, self.rows = self.slates + other.slates, self.rows + other.rows
        self.to_n, self.late = max(self.to_n, other.to_n), max(self.late, other.late)
        self.broken.update(other.broken)
        self.unpromised.update(other.unpromised)
        self.untold.update(other.untold)
        self.age_ms.extend(other.age_ms)
        for name, feature in other.features.items():
            self.of(name).add(feature)

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "holds": self.holds,
            "slates": self.slates,
            "rows": self.rows,
            "to_n": self.to_n,
            "broken": dict(self.broken),
            "unpromised": dict(self.unpromised),
            "untold": dict(self.untold),
            "features": {
                name: {
                    "compared": feature.compared,
                    "mismatched": feature.mismatched,
                    "missing": feature.missing,
                    "extra": feature.extra,
                    "nan": feature.nan,
                    "delta": feature.quantiles(),
                    "first": msgspec.to_builtins(feature.first),
                }
                for name, feature in self.features.items()
            },
            "not_promised": {"age_ms": _quantiles(self.age_ms), "late": self.late},
        }


def drawn(records: Iterable[SlateRecord], share: float, limit: int) -> list[SlateRecord]:
    """At most `limit` records, of about a share of the slates, by a hash of the slate's id.

    The same slates whatever the order they come in, and however often they were recorded.

    Raises:
        InputError: a share outside (0, 1], or a limit below 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"parity: a sample of {share}; wanted a share above 0 and up to 1")
    if limit < 1:
        raise InputError(f"parity: a limit of {limit} slates; wanted at least 1")
    keyed = ((_key(record.slate_id), i, record) for i, record in enumerate(records))
    chosen = heapq.nsmallest(limit, (each for each in keyed if each[0] < share))
    return [record for _, _, record in chosen]


def compare(
    records: Sequence[SlateRecord],
    log: EventLog,
    live: Live,
    *,
    progress: Progress = lambda *_: None,
) -> Parity:
    """Replay the log to each record's offset, and look its listings up again.

    Args:
        records: what was served.
        log: whose events served it.
        live: an empty state of the view to compare with; it is folded as far as is needed.
        progress: told (records done, of).

    Raises:
        InputError: `live` has folded something already.
    """
    if live.n:
        raise InputError(f"parity: the state has folded {live.n} entries; hand over an empty one")
    found = Parity()
    wanted = sorted(_comparable(records, found), key=lambda record: (record.n, record.slate_id))
    stream = _Stream(log.read(0, wanted[-1].n if wanted else 0))
    for done, record in enumerate(wanted):
        live.replay(islice(stream, record.n - live.n))
        if live.n < record.n:
            found.broken["served at an offset that the log does not reach"] += 1
            continue
        _compare(record, live, stream.t, found)
        progress(done + 1, len(wanted))
    found.to_n = live.n
    found.late = live.features.late
    return found


class _Stream:
    """Entries as they come, and the time of the last one handed over."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self.t: int | None = None

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __next__(self) -> Entry:
        entry = next(self._entries)
        self.t = entry.event.t
        return entry


def _comparable(records: Sequence[SlateRecord], found: Parity) -> Iterator[SlateRecord]:
    for record in records:
        if any(step.startswith(f"{AHEAD_OF_LOG}:") for step in record.degraded):
            found.unpromised["served ahead of the log, after a failed write"] += 1
        elif not record.listings:
            found.unpromised["an empty slate: nothing was served"] += 1
        elif not record.columns:
            found.unpromised["served without features"] += 1
        elif len(record.features) != 4 * len(record.listings) * len(record.columns):
            found.broken["its features are not [listings, columns] float32"] += 1
        else:
            yield record


def _compare(record: SlateRecord, live: Live, last_t: int | None, found: Parity) -> None:
    try:
        query = msgspec.msgpack.decode(record.request, type=Query)
    except msgspec.MsgspecError:
        found.broken["its request cannot be read"] += 1
        return
    served = np.frombuffer(record.features, "<u4").reshape(len(record.listings), -1)
    slots = live.catalogue.slots_of(record.listings)
    known = np.flatnonzero(slots >= 0)
    batch = live.look_up(live.request(query), slots[known])
    replayed = np.ascontiguousarray(batch.values, "<f4").view("<u4")
    found.slates += 1
    found.rows += len(slots)
    if last_t is not None:
        found.age_ms.append(query.t - last_t)
    lost = len(slots) - len(known)
    where = {column: j for j, column in enumerate(batch.columns)}
    for i, column in enumerate(record.columns):
        tally = found.of(column)
        if column not in where:
            tally.missing += len(slots)
            continue
        tally.missing += lost
        tally.compared += len(known)
        pair = served[known, i], replayed[:, where[column]]
        different = np.flatnonzero(pair[0] != pair[1])
        if len(different):
            rows = [record.listings[row] for row in known[different]]
            _tally(tally, record, rows, pair[0][different], pair[1][different])
    for column in where.keys() - set(record.columns):
        found.of(column).extra += len(slots)


def _tally(
    tally: FeatureParity,
    record: SlateRecord,
    listings: Sequence[str],
    served: NDArray[np.uint32],
    replayed: NDArray[np.uint32],
) -> None:
    was, now = served.view("<f4"), replayed.view("<f4")
    tally.mismatched += len(was)
    tally.nan += int((np.isnan(was) != np.isnan(now)).sum())
    delta = np.abs(was.astype(np.float64) - now.astype(np.float64))
    tally.deltas.extend(delta[~np.isnan(delta)].tolist())
    if tally.first is None:
        tally.first = Difference(
            record.slate_id, listings[0], record.t, record.n, float(was[0]), float(now[0])
        )


def _key(slate_id: str) -> float:
    """An even draw from [0, 1) by the slate's id."""
    digest = hashlib.blake2b(slate_id.encode(), digest_size=8, person=b"parity").digest()
    return int.from_bytes(digest, "big") / 2**64


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    found = np.quantile(np.asarray(values, np.float64), QUANTILES).tolist()
    return {f"p{round(100 * q)}": value for q, value in zip(QUANTILES, found, strict=True)}
