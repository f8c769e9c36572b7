"""Replay in partitions that know nothing of each other: the form for a cluster.

A log too large for one machine is cut by key. Each key of a view is a pass of its own: all
mentions and rows with the same value of the key meet in one partition, which folds them and reads
the integers that the view's features want of that key (`terms`). A last pass has for each row the
integers of all keys, and makes the values of them (`finished`). Both call `kernel.fold` and
`kernel.read`; nothing is said a second time in another language.

1. `records` explodes events into one record per listing named; `questions` makes a record of each
   row asked. Each row takes along the one thing about the whole log that its values need, the
   time of the newest event before it (`newest_at`); where the log is in files, each file's
   largest time is all that the next files need of it.
2. `stocked`, partitioned by slot: which listing was in the slot, and for rows how it stood.
3. For each of `keys(view)`: `shares` says to which partition a record goes, `terms` answers there.
4. `finished`: rows joined with their terms by row id, in any partition.

`replayed` goes through them in one process. adapters/arrow.py has 2 to 4 as functions from record
batches to record batches, and says how Spark calls them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.features import kernel
from heirloom.features.algebra import Static
from heirloom.features.asof import NONE, last_rows
from heirloom.features.kernel import EVENT_BYTES, Memory, Mentions, Scratch, Tables
from heirloom.features.replay import KERNEL_STAMP, Rows
from heirloom.features.state import surveyed
from heirloom.features.view import FeatureView

Array = NDArray[Any]

RECORD = np.dtype(
    [
        ("place", "<i8"),
        ("row", "<i8"),
        ("opening", "<i8"),
        ("opened", "<i8"),
        ("newest", "<i8"),
        ("named", "?"),
        ("event", EVENT_ROW),
        ("listing", LISTING_ROW),
    ]
)
"""A mention, or a row asked in the form of one. `place` orders them: seq x 1,024 + the listing's
number in the event; a row asked as of n stands at n x 1,024 - 1. `row` is the row's id, -1 for a
mention. `opening` is the place at which the listing was listed, -1 for none, `opened` its time;
both are unknown before `stocked`. `newest`: of a row asked, `newest_at` its n.
`named`: whether the event names a listing at all."""

_STEP = 1_024
_STOCK = [KIND_CODE[kind] for kind in ("listed", "edited", "price_changed")]
_WRITTEN = ("seller", "brand", "category", "size", "colour", "condition", "price_minor")


def records(facts: Facts) -> NDArray[Any]:
    """[mentions] of RECORD: each event once for each listing it names, and once if it names none.

    Raises:
        InputError: if an event names more listings than places can tell apart.
    """
    named = np.diff(facts.starts)
    if len(named) and named.max() > _STEP - 1:
        raise InputError(
            f"partition: an event names {named.max()} listings; at most {_STEP - 1}: divide it"
        )
    event = np.repeat(np.arange(len(facts)), np.maximum(named, 1))
    number = np.arange(len(event)) - np.searchsorted(event, event)
    out = np.zeros(len(event), RECORD)
    out["event"] = facts.events[event]
    out["named"] = named[event] > 0
    out["listing"]["slot"] = NONE
    out["listing"][out["named"]] = facts.listings
    out["place"] = out["event"]["seq"] * _STEP + number
    out["row"] = out["opening"] = NONE
    return out


def newest_at(facts: Facts, n: NDArray[np.int64]) -> NDArray[np.int64]:
    """[rows] ms, the newest time of the events with seq < n; 0 where there is none.

    >>> newest_at(Facts.empty(), np.array([0, 7]))
    array([0, 0])
    """
    times = np.maximum.accumulate(np.append(0, facts.events["t"]).astype(np.int64))
    newest: NDArray[np.int64] = times[np.searchsorted(facts.events["seq"], n)]
    return newest


def questions(rows: Rows, newest: NDArray[np.int64]) -> NDArray[Any]:
    """[rows] of RECORD, with their numbers as ids.

    Args:
        rows: what is asked.
        newest: [rows] ms, as `newest_at` gives it for the whole log.
    """
    out = np.zeros(len(rows), RECORD)
    event = out["event"]
    event["seq"], event["t"], event["person"] = rows.n, rows.t, rows.person
    event["surface"], event["query"] = rows.surface, rows.text
    event["declared"][:, : rows.declared.shape[1]] = rows.declared
    out["listing"]["slot"] = rows.slot
    out["place"], out["row"] = rows.n * _STEP - 1, np.arange(len(rows))
    out["newest"] = newest
    out["opening"] = NONE
    return out


def stocked(part: NDArray[Any]) -> NDArray[Any]:
    """Records with the opening of their slot's listing, rows with its attributes as they stood.

    Args:
        part: of RECORD, in any order: all records of the slots that occur, or those of other
            slots and of none besides.
    """
    out = part.copy()
    slot, place, kind = part["listing"]["slot"], part["place"], part["event"]["kind"]
    mention = (part["row"] < 0) & (slot >= 0)
    listed = np.flatnonzero(mention & (kind == _STOCK[0]))
    known = np.flatnonzero(slot >= 0)
    opening = last_rows(slot[listed].astype(np.int64), place[listed], slot[known].astype(np.int64),
                        place[known])  # fmt: skip
    found = known[opening >= 0]
    by = listed[opening[opening >= 0]]
    out["opening"], out["opened"] = NONE, 0
    out["opening"][found], out["opened"][found] = place[by], part["event"]["t"][by]
    written = np.flatnonzero(mention & np.isin(kind, _STOCK))
    asked = np.flatnonzero((part["row"] >= 0) & (out["opening"] >= 0))
    last = written[
        last_rows(slot[written].astype(np.int64), place[written], slot[asked].astype(np.int64),
                  place[asked])
    ]  # fmt: skip
    for name in _WRITTEN:
        out["listing"][name][asked] = part["listing"][name][last]
    return out


def keys(view: FeatureView) -> tuple[tuple[str, ...], ...]:
    """The passes that a view needs.

    Raises:
        ConfigError: if a feature shows a listing's number, which partitions cannot tell.
    """
    shown = [d.name for d in view.features if isinstance(d, Static) and d.of == "listing"]
    if shown:
        raise ConfigError(
            f"FeatureView {view.name!r}",
            [f"Static {name!r}: the number of a listing is not known in partitions; drop it"
             for name in shown],
        )  # fmt: skip
    return tuple(dict.fromkeys(family.key for family in view._plan.families))


def shares(key: tuple[str, ...], part: NDArray[Any], partitions: int) -> NDArray[np.int64]:
    """[records] the partition, from 0, of each stocked record; NONE: the pass has no use for it."""
    mixed, known = np.zeros(len(part), np.uint64), np.ones(len(part), bool)
    for name in key:
        code = _codes(name, part)
        known &= code > 0
        mixed = (mixed ^ code.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    share = (mixed % np.uint64(partitions)).astype(np.int64)
    return np.where(known | (part["row"] >= 0), share, NONE)


def _codes(name: str, part: NDArray[Any]) -> NDArray[np.int64]:
    """[records] a part of a key as the kernel sees it; of a listing its opening, from 1."""
    event, listing = part["event"], part["listing"]
    word, _, number = name.partition(".")
    if word == "all":
        return np.ones(len(part), np.int64)
    if word == "listing":
        return part["opening"] + 1
    if word == "seller":
        of_event = (part["row"] < 0) & ~part["named"]
        return np.where(of_event, event["seller"], listing["seller"]).astype(np.int64)
    if word in ("declared", "stated"):
        value = event["declared"][:, int(number)].astype(np.int64)
        return value if word == "declared" else (value != 0).astype(np.int64)
    return (event if word in ("person", "query", "surface") else listing)[word].astype(np.int64)


def terms(
    view: FeatureView, key: tuple[str, ...], part: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a partition of a key's pass answers: row ids [rows], integers [rows, terms of the key].

    Args:
        view: the whole view.
        key: one of `keys(view)`.
        part: stocked records of RECORD, in any order: those that `shares` sent here.

    Raises:
        InputError: if a code is beyond what a packed key holds.
    """
    part = part[np.argsort(part["place"], kind="stable")]
    _, local = np.unique(part["opening"], return_inverse=True)
    part["listing"]["slot"] = np.where(part["opening"] >= 0, local, NONE)
    asked, mentions = part[part["row"] >= 0], part[part["row"] < 0]
    wanted = terms_of(view, key)
    tables = view._plan.tables
    mine = [f for f, family in enumerate(view._plan.families) if family.key == key]
    out = np.empty((len(asked), len(wanted)), np.int64)
    _pass(
        view, part, mentions, _written(asked, _STOCK[1]), asked,
        _counting(tables, mine)._replace(features=tables.features[:0]),
        np.zeros((len(asked), 0), np.int64), wanted, out,
        np.empty((len(asked), 0), np.float32),
    )  # fmt: skip
    return asked["row"].copy(), out


def terms_of(view: FeatureView, key: tuple[str, ...]) -> NDArray[np.int64]:
    """[terms of the key] which of the view's terms they are: their columns for `finished`."""
    families = view._plan.tables.families
    first, count = families[:, kernel.F_TERM], families[:, kernel.F_TERMS]
    return np.concatenate(
        [
            np.arange(first[f], first[f] + count[f])
            for f, family in enumerate(view._plan.families)
            if family.key == key
        ]
    )


def finished(
    view: FeatureView,
    asked: NDArray[Any],
    integers: NDArray[np.int64],
    given: Mapping[str, NDArray[np.float32]],
) -> NDArray[np.float32]:
    """[rows, features] float32: the values of rows whose terms are all there.

    Args:
        view: the whole view.
        asked: [rows] of RECORD, stocked.
        integers: [rows, terms of the view]: of each key in the columns `terms_of` it.
        given: columns [rows] float32 by the names of the view's `Given` features.

    Raises:
        InputError: if a code is beyond what a packed key holds.
        ShapeError: if a given column is unknown to the view.
    """
    tables = view._plan.tables
    part = asked.copy()
    part["listing"]["slot"] = np.where(part["opening"] >= 0, 0, NONE)
    out = np.empty((len(part), len(view.columns)), np.float32)
    _pass(
        view, part, part[:0], _written(part, _STOCK[0]), part,
        _counting(tables, [])._replace(families=tables.families[:0]),
        np.ascontiguousarray(integers), np.zeros(0, np.int64),
        np.empty((len(part), 0), np.int64), out, given,
    )  # fmt: skip
    return out


def replayed(
    view: FeatureView, facts: Facts, rows: Rows, *, partitions: int
) -> NDArray[np.float32]:
    """[rows, features] float32: all passes, one after another, in this process.

    What `replay` gives, bit for bit: it says how the passes go together.
    """
    stock = np.concatenate([records(facts), questions(rows, newest_at(facts, rows.n))])
    by_slot = stock["listing"]["slot"] % partitions
    stock = np.concatenate([stocked(stock[by_slot == p]) for p in range(partitions)])
    integers = np.zeros((len(rows), len(view._plan.tables.terms)), np.int64)
    for key in keys(view):
        share = shares(key, stock, partitions)
        for p in range(partitions):
            ids, answers = terms(view, key, stock[share == p])
            integers[ids[:, None], terms_of(view, key)] = answers
    values = np.empty((len(rows), len(view.columns)), np.float32)
    asked = stock[stock["row"] >= 0]
    for p in range(partitions):
        mine = asked[asked["row"] % partitions == p]
        ids = mine["row"]
        given = {name: column[ids] for name, column in rows.given.items()}
        values[ids] = finished(view, mine, integers[ids], given)
    return values


def _counting(tables: Tables, families: Sequence[int]) -> Tables:
    """A plan by which a mention is counted in these families alone."""
    kept = np.isin(tables.kind_families, families)
    before = np.concatenate([[0], np.cumsum(kept)])
    return tables._replace(
        kind_starts=before[tables.kind_starts],
        kind_families=tables.kind_families[kept],
        kind_cells=tables.kind_cells[kept],
    )


def _written(asked: NDArray[Any], kind: int) -> NDArray[Any]:
    """[rows] of RECORD: stock events that put the listings of rows as they stood into the state."""
    out = asked.copy()
    out["event"] = np.zeros((), EVENT_ROW)
    out["event"]["kind"] = kind
    out["event"]["t"] = asked["opened"] if kind == _STOCK[0] else 0
    out["named"] = True
    return out


def _log_of(part: NDArray[Any]) -> Mentions:
    starts = np.concatenate([[0], np.cumsum(part["named"])]).astype(np.int64)
    events = np.ascontiguousarray(part["event"])
    return surveyed(Facts(events, part["listing"][part["named"]], starts))[0]


def _pass(
    view: FeatureView,
    part: NDArray[Any],
    mentions: NDArray[Any],
    written: NDArray[Any],
    asked: NDArray[Any],
    tables: Tables,
    integers: NDArray[np.int64],
    wanted: NDArray[np.int64],
    terms_out: NDArray[np.int64],
    values: NDArray[np.float32],
    given: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Fold mentions; at each row asked, put its listing into the state, and read by `tables`."""
    state = view.state()
    quiet = _counting(view._plan.tables, [])
    _, first = np.unique(part["listing"]["slot"], return_index=True)
    opened = _written(part[first], _STOCK[0])
    opened["event"]["t"] = 0
    opened = opened[opened["listing"]["slot"] >= 0]
    state._grow_slots(int(part["listing"]["slot"].max(initial=-1)) + 1)
    while (
        kernel.fold(quiet, state._memory, _log_of(opened), state._scratch, state._plan.room)
        != kernel.DONE
    ):
        state._make_room()
    questions = np.zeros((len(asked), 4 + MAX_DECLARED), np.int64)
    for column, name in enumerate(("t", "person", "surface", "query")):
        questions[:, column] = asked["event"][name]
    questions[:, 4:] = asked["event"]["declared"]
    cursor = np.zeros(2, np.int64)
    log, edits = _log_of(mentions), _log_of(written)
    ends = np.searchsorted(mentions["place"], asked["place"])
    columns_given = state._given(given or {}, len(asked))
    slots = asked["listing"]["slot"].astype(np.int32)
    newest = np.ascontiguousarray(asked["newest"])
    while not _drive(
        tables, quiet, state._memory, log, edits, state._scratch, state._plan.room, cursor, ends,
        newest, questions, slots, columns_given, integers, wanted, terms_out, values,
    ):  # fmt: skip
        state._make_room()


def _driver(stamp: int) -> Callable[..., bool]:
    """The loop over rows, compiled; `stamp` as in replay.py."""

    @njit(cache=True, nogil=True)
    def drive(
        tables: Tables,
        quiet: Tables,
        memory: Memory,
        mentions: Mentions,
        written: Mentions,
        scratch: Scratch,
        room: int,
        cursor: Array,
        ends: Array,
        newest: Array,
        asked: Array,
        slots: Array,
        given: Array,
        integers: Array,
        wanted: Array,
        terms_out: Array,
        values: Array,
    ) -> bool:
        """From `cursor` (row, mentions folded) on; False where the state must make room first."""
        if stamp < 0:
            return False
        one_given = np.empty((len(given), 1), np.float32)
        one = np.empty((1, values.shape[1]), np.float32)
        for r in range(cursor[0], len(ends)):
            cursor[0] = r
            if ends[r] > cursor[1]:
                part = Mentions(
                    mentions.events[cursor[1] * EVENT_BYTES : ends[r] * EVENT_BYTES],
                    mentions.listings,
                    mentions.starts[cursor[1] : ends[r] + 1],
                )
                if kernel.fold(tables, memory, part, scratch, room) != kernel.DONE:
                    return False
                cursor[1] = ends[r]
            listing = Mentions(
                written.events[r * EVENT_BYTES : (r + 1) * EVENT_BYTES],
                written.listings,
                written.starts[r : r + 2],
            )
            if kernel.fold(quiet, memory, listing, scratch, room) != kernel.DONE:
                return False
            for term in range(integers.shape[1]):
                scratch.integers[term, 0] = integers[r, term]
            for j in range(len(given)):
                one_given[j, 0] = given[j, r]
            memory.meta[kernel.M_NEWEST] = newest[r]
            kernel.read(tables, memory, asked[r], slots[r : r + 1], one_given, scratch, one)
            for k in range(len(wanted)):
                terms_out[r, k] = scratch.integers[wanted[k], 0]
            for c in range(values.shape[1]):
                values[r, c] = one[0, c]
        return True

    return cast(Callable[..., bool], drive)


_drive = _driver(KERNEL_STAMP)
