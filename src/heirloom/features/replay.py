"""Replay: training rows answered when the position of the log reaches them.

The same `kernel.fold` and `kernel.read` as in serving, alternated by one compiled driver, so a
replayed value is the value that was served, bit for bit. The log may be handed over in parts:
what is kept grows with its keys, not with its events.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, InputError, ShapeError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features import kernel
from heirloom.features.division import Share, divided
from heirloom.features.kernel import EVENT_BYTES, Memory, Mentions, Scratch, Tables
from heirloom.features.state import FeatureState, surveyed
from heirloom.features.view import FeatureView

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is asked, one candidate of one request a row, in any order.

    Attributes:
        n: [rows] int64, log offset: the entries with seq < n are applied when the row is answered.
            For an impression, its own seq.
        t: [rows] int64, ms: the request's time.
        person: [rows] int32, vocabulary code, 0 for a newcomer.
        surface: [rows] int8, as in core.event.SURFACE_CODE.
        text: [rows] int32, vocabulary code of the query's words, 0 for none.
        declared: [rows, declared attributes] int32, 0 where not stated.
        slot: [rows] int32.
        given: columns [rows] float32 by the names of the view's `Given` features.

    Raises:
        ShapeError: if the columns differ in length.
    """

    n: NDArray[np.int64]
    t: NDArray[np.int64]
    person: NDArray[np.int32]
    surface: NDArray[np.int8]
    text: NDArray[np.int32]
    declared: NDArray[np.int32]
    slot: NDArray[np.int32]
    given: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        names = ("n", "t", "person", "surface", "text", "slot")
        columns = {name: getattr(self, name) for name in names}
        wrong = {
            name: list(column.shape)
            for name, column in (columns | dict(self.given)).items()
            if column.shape != (len(self.n),)
        }
        if wrong or self.declared.shape[:1] != (len(self.n),) or self.declared.ndim != 2:
            raise ShapeError(
                f"Rows: n has {len(self.n)} rows, but {wrong}, declared "
                f"{list(self.declared.shape)}; wanted [rows] each and [rows, declared]"
            )

    @classmethod
    def of_mentions(cls, facts: Facts, mentions: NDArray[np.int64]) -> "Rows":
        """A row for each of these mentions, asked by its own event as of just before it.

        Args:
            facts: a part of the log.
            mentions: [rows] places in `facts.listings`.
        """
        events = facts.events[np.searchsorted(facts.starts, mentions, side="right") - 1]
        return cls(
            n=events["seq"].astype(np.int64),
            t=events["t"].astype(np.int64),
            person=events["person"].astype(np.int32),
            surface=events["surface"].astype(np.int8),
            text=events["query"].astype(np.int32),
            declared=events["declared"].astype(np.int32),
            slot=facts.listings["slot"][mentions].astype(np.int32),
            given={},
        )

    def __len__(self) -> int:
        return len(self.n)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was answered.

    Attributes:
        values: [rows, features] float32, in the order of the rows asked; NaN = missing.
        columns: names of the values, as `view@version.feature`.
        n: log offset up to which the log was folded: no further than the last row needs.
        nbytes: memory of the state at its end, of all workers together; of the largest round.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...]
    n: int
    nbytes: int


def replay(
    view: FeatureView,
    log: Facts | Iterable[Facts],
    rows: Rows,
    *,
    workers: int = 1,
    rounds: int = 1,
) -> Replayed:
    """The value of each row as of its t and n: what a live lookup at that position gave.

    Args:
        view: what is wanted.
        log: from its beginning; whole, or consecutive parts that are read as they are needed.
        rows: what is asked.
        workers: threads. Each folds the whole log for its share of the definitions (division.py).
        rounds: how often the log is read, each time for another part of the definitions: so
            much less memory for the state, for a little more time.

    Raises:
        InputError: if a row asks for entries beyond the end of the log, entries come twice, or
            a log is to be read in rounds that can be read once only.
        ConfigError: if workers or rounds is less than 1.
        ShapeError: if a given column is unknown to the view.
    """
    unknown = [name for name in rows.given if name not in view.given]
    if unknown:
        raise ShapeError(
            f"replay: given columns {unknown} are not in the view; it declares {list(view.given)}"
        )
    if rounds < 1 or workers < 1:
        wanted = "; wanted at least 1 of each"
        raise ConfigError("replay", [f"{workers} workers, {rounds} rounds{wanted}"])
    parts = (log,) if isinstance(log, Facts) else log
    if rounds > 1 and isinstance(parts, Iterator):
        raise InputError(
            "replay: this log can be read once only, and is to be read in "
            f"{rounds} rounds; hand over what can be read again, or rounds=1"
        )
    parts, some = _begun(parts)
    shares = divided(view, workers * rounds, _mentions_by_kind(some))
    values = np.empty((len(rows), len(view.columns)), np.float32)
    n = nbytes = 0
    with ThreadPoolExecutor(workers) as pool:
        for r in range(min(rounds, len(shares))):  # the heaviest shares in different rounds
            mine = tuple(map(_Answerer, shares[r::rounds]))
            n = _round(pool, mine, parts, rows, values)
            nbytes = max(nbytes, sum(each.state.nbytes for each in mine))
    return Replayed(values, view.columns, n, nbytes)


def _begun(parts: Iterable[Facts]) -> tuple[Iterable[Facts], Facts]:
    """The log, and its first part to judge it by; nothing of it is lost."""
    if not isinstance(parts, Iterator):
        return parts, next(iter(parts), _ONE_EVENT)
    some = next(parts, _ONE_EVENT)
    return (() if some is _ONE_EVENT else chain([some], parts)), some


def _round(
    pool: ThreadPoolExecutor,
    answerers: Sequence["_Answerer"],
    parts: Iterable[Facts],
    rows: Rows,
    values: NDArray[np.float32],
) -> int:
    """Answer the columns of some shares; the offset folded."""
    asked = _Asked(rows)
    n, last = 0, int(asked.n[-1]) if len(rows) else 0
    _answer(pool, answerers, _ONE_EVENT, 0, asked.up_to(0), values)
    for part in parts:
        if len(part) == 0:
            continue
        first, n, before = int(part.events["seq"][0]), int(part.events["seq"][-1]) + 1, n
        if first < before:
            raise InputError(
                f"replay: entry {first} came again, {before} are applied; hand over "
                "consecutive parts of the log"
            )
        _answer(pool, answerers, part, len(part), asked.up_to(n), values)
        if n >= last:
            break
    if last > n:
        raise InputError(
            f"replay: a row asks as of offset {last}, but the log ends at {n}; hand over the "
            "log up to there"
        )
    return n


_ONE_EVENT = Facts(np.zeros(1, EVENT_ROW), np.zeros(0, LISTING_ROW), np.zeros(2, np.int64))


class _Asked:
    """Rows in log order, with neighbours that are one request to one state made one group."""

    def __init__(self, rows: Rows) -> None:
        self.places = np.argsort(rows.n, kind="stable")
        self.n = rows.n[self.places]
        self._rows = rows
        self._done = 0

    def up_to(self, n: int) -> "_Groups":
        """The next rows, as far as an offset."""
        begin, self._done = self._done, int(np.searchsorted(self.n, n, side="right"))
        places, rows = self.places[begin : self._done], self._rows
        asked = np.empty((len(places), 4 + rows.declared.shape[1]), np.int64)
        asked[:, 0], asked[:, 1] = rows.t[places], rows.person[places]
        asked[:, 2], asked[:, 3] = rows.surface[places], rows.text[places]
        asked[:, 4:] = rows.declared[places]
        offsets = self.n[begin : self._done]
        new = np.ones(len(places), bool)
        new[1:] = (offsets[1:] != offsets[:-1]) | (asked[1:] != asked[:-1]).any(axis=1)
        begins = np.flatnonzero(new)
        return _Groups(
            offsets=offsets[begins],
            begins=np.append(begins, len(places)),
            asked=asked[begins],
            slots=rows.slot[places].astype(np.int32),
            given={name: column[places] for name, column in rows.given.items()},
            places=places,
        )


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rows of one part of the log.

    offsets: [groups]. begins: [groups + 1] the first row of each. asked: [groups, 4 + declared]
    as `kernel.read` wants it. slots, places (in the answer): [rows]. given: columns [rows].
    """

    offsets: NDArray[np.int64]
    begins: NDArray[np.int64]
    asked: NDArray[np.int64]
    slots: NDArray[np.int32]
    given: dict[str, NDArray[np.float32]]
    places: NDArray[np.int64]


class _Answerer:
    """One worker: the state of its share of the view."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.state: FeatureState = share.view.state()

    def answer(
        self,
        mentions: Mentions,
        slots: int,
        stop: int,
        ends: NDArray[np.int64],
        groups: _Groups,
        values: NDArray[np.float32],
    ) -> None:
        """Fold the first `stop` events, and answer group i when `ends[i]` of them are folded."""
        state, names = self.state, self.share.view.given
        plan, scratch = state._plan, state._scratch
        given = np.full((len(names), len(groups.slots)), np.nan, np.float32)
        for j, name in enumerate(names):
            if name in groups.given:
                given[j] = groups.given[name]
        state._grow_slots(slots)
        widest = int(np.diff(groups.begins).max(initial=0))
        width = len(self.share.columns)
        room = np.empty(widest * width, np.float32)
        room_given = np.empty(widest * len(names), np.float32)
        cursor = np.zeros(2, np.int64)
        while not _drive(
            plan.tables, state._memory, mentions, scratch, plan.room, cursor, stop, ends,
            groups.begins, groups.asked, groups.slots, given, room_given, room, groups.places,
            self.share.columns, values,
        ):  # fmt: skip
            state._make_room()


def _mentions_by_kind(part: Facts) -> NDArray[np.int64]:
    """[kinds] what to expect of a log that begins like this; none is ruled out."""
    named = np.maximum(np.diff(part.starts), 1)
    mentions = np.bincount(part.events["kind"], named, minlength=len(KIND_CODE))
    return 1 + mentions.astype(np.int64)


def _answer(
    pool: ThreadPoolExecutor,
    answerers: Sequence[_Answerer],
    part: Facts,
    stop: int,
    groups: _Groups,
    values: NDArray[np.float32],
) -> None:
    mentions, slots = surveyed(part)
    ends = np.searchsorted(part.events["seq"][:stop], groups.offsets)
    tasks = [
        pool.submit(each.answer, mentions, slots, stop, ends, groups, values) for each in answerers
    ]
    for task in tasks:
        task.result()


def _driver(stamp: int) -> Callable[..., bool]:
    """The loop over groups, compiled.

    `stamp` is there for the compiler's cache: it tells one kernel from another by what the loop
    closes over, not by the functions that it calls, and would go on with an old kernel's.
    """

    @njit(cache=True, nogil=True)
    def drive(
        tables: Tables,
        memory: Memory,
        mentions: Mentions,
        scratch: Scratch,
        room_of_mention: int,
        cursor: Array,
        stop: int,
        ends: Array,
        begins: Array,
        asked: Array,
        slots: Array,
        given: Array,
        room_given: Array,
        room: Array,
        places: Array,
        columns: Array,
        values: Array,
    ) -> bool:
        """From `cursor` (group, events folded) on; False where the state must grow first."""
        if stamp < 0:
            return False
        width, groups = len(columns), len(ends)
        for g in range(cursor[0], groups + 1):
            end = ends[g] if g < groups else stop
            if end > cursor[1]:
                first_byte, last_byte = cursor[1] * EVENT_BYTES, end * EVENT_BYTES
                part = Mentions(
                    mentions.events[first_byte:last_byte],
                    mentions.listings,
                    mentions.starts[cursor[1] : end + 1],
                )
                if kernel.fold(tables, memory, part, scratch, room_of_mention) != kernel.DONE:
                    cursor[0] = g
                    return False
                cursor[1] = end
            if g == groups:
                break
            first, candidates = begins[g], begins[g + 1] - begins[g]
            columns_given = room_given[: len(given) * candidates].reshape(len(given), candidates)
            for j in range(len(given)):
                for i in range(candidates):
                    columns_given[j, i] = given[j, first + i]
            out = room[: candidates * width].reshape(candidates, width)
            part_slots = slots[first : first + candidates]
            kernel.read(tables, memory, asked[g], part_slots, columns_given, scratch, out)
            for i in range(candidates):
                for c in range(width):
                    values[places[first + i], columns[c]] = out[i, c]
        return True

    return cast(Callable[..., bool], drive)


KERNEL_STAMP = int.from_bytes(hashlib.sha256(inspect.getsource(kernel).encode()).digest()[:7])
"""Another number for another kernel."""

_drive = _driver(KERNEL_STAMP)
