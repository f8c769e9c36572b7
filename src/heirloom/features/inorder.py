"""Windowed counts over a log in time order: the ring kernel's values, several times as fast.

Where times never decrease, the events of a window are a stretch of the key's events: its end
moves with the log, its beginning only forward. Each key's counted times are laid side by side by
a counting sort, and each window of each key keeps one pointer into them.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError, InputError, ShapeError
from heirloom.core.event import KIND_CODE
from heirloom.features.algebra import ANYWHERE, Counter
from heirloom.features.kernel import F_MODE, NARROW, UINT16_MAX
from heirloom.features.numbering import numbering_of, numbers_of
from heirloom.features.plan import compile_plan
from heirloom.features.refusals import problems_of
from heirloom.features.windows import WINDOWS

Array = NDArray[Any]


def counts_in_order(
    counters: Sequence[Counter],
    t: NDArray[np.int64],
    kinds: NDArray[np.int8],
    parts: Mapping[str, NDArray[np.int32]],
    *,
    at: Sequence[str] = ("impression",),
    workers: int = 1,
) -> NDArray[np.float32]:
    """What each counter stood at just before each event of the kinds `at`.

    The windows are the contract's (features/windows.py), the values those of `replay`, bit for
    bit, for rows asked by these events at their own time.

    Args:
        counters: of any keys and windows; fastest where they share a key.
        t: [events] ms, never decreasing.
        kinds: [events] codes of core.event.KIND_CODE.
        parts: the codes [events] of each part of a key, by the names of algebra.SOURCES; 0 or
            less is unknown. For `listing`, a number that a reused slot does not keep.
        at: kinds of the events that ask.
        workers: threads, each of which takes a stretch of the log.

    Returns:
        [asking events, columns] float32 in the order of the log; the columns are those of the
        counters, one after another. NaN: a part of the key is unknown.

    Raises:
        InputError: if a time is less than the one before it, or a key is counted more often in
            one hop than the ring can hold; such a log needs `replay`.
        ConfigError: if a counter is wrong, or a part of its key is not handed over.
        ShapeError: if columns differ in length.
    """
    _check(counters, t, kinds, parts, at)
    t, kinds = np.ascontiguousarray(t, np.int64), np.ascontiguousarray(kinds, np.int8)
    edges = np.linspace(0, len(t), max(workers, 1) + 1).astype(np.int64).tolist()
    stretches = list(pairwise(edges))
    with ThreadPoolExecutor(len(stretches)) as pool:
        back = max(pool.map(lambda s: _last_step_back(t, *s), stretches))
        if back >= 0:
            raise InputError(
                f"counts_in_order: event {back} has t {t[back]}, the one before it {t[back - 1]}; "
                "wanted times that never decrease. Use replay, which takes late events as they come"
            )
        asking = _mask(at)
        rows = list(pool.map(lambda s: _asking(kinds, asking, *s), stretches))
        firsts = np.cumsum([0, *rows]).tolist()
        out = np.empty((firsts[-1], sum(len(c.windows) for c in counters)), np.float32)
        column = 0
        keys: dict[tuple[str, ...], tuple[NDArray[np.int32], int]] = {}
        for counter in counters:
            if counter.key not in keys:
                keys[counter.key] = _keys(counter.key, parts)
            columns = out[:, column : column + len(counter.windows)]
            _count(pool, stretches, firsts, t, kinds, *keys[counter.key], counter, asking, columns)
            column += len(counter.windows)
    return out


def _check(
    counters: Sequence[Counter],
    t: NDArray[np.int64],
    kinds: NDArray[np.int8],
    parts: Mapping[str, NDArray[np.int32]],
    at: Sequence[str],
) -> None:
    problems = [problem for counter in counters for problem in problems_of(counter)]
    problems += [
        f"Counter {counter.name!r}: no column for {part!r}; handed over are {list(parts)}"
        for counter in counters
        for part in counter.key
        if part not in parts
    ]
    problems += [
        f"Counter {counter.name!r}: counts {counter.where}; here a counter chooses by kind alone: "
        "use replay"
        for counter in counters
        if counter.where != ANYWHERE
    ]
    problems += [f"at: unknown kind {kind!r}" for kind in at if kind not in KIND_CODE]
    if not counters:
        problems.append("no counters")
    if problems:
        raise ConfigError("counts_in_order", problems)
    lengths = {"kinds": kinds.shape} | {name: codes.shape for name, codes in parts.items()}
    wrong = {name: list(shape) for name, shape in lengths.items() if shape != (len(t),)}
    if wrong:
        raise ShapeError(f"counts_in_order: t has {len(t)} events, but {wrong}; wanted one length")
    if len(t) > MAX_EVENTS:
        raise InputError(
            f"counts_in_order: {len(t)} events; at most {MAX_EVENTS} in one call: divide by key"
        )


MAX_EVENTS = (1 << 31) - 1


def _mask(kinds: Sequence[str]) -> int:
    return sum(1 << code for code in {KIND_CODE[kind] for kind in kinds})


def _keys(
    key: tuple[str, ...], parts: Mapping[str, NDArray[np.int32]]
) -> tuple[NDArray[np.int32], int]:
    """[events] int32 small numbers of a key, 0 or less where unknown, and the largest."""
    codes = np.ascontiguousarray(parts[key[0]], np.int32)
    largest = int(codes.max(initial=0))
    if largest > 4 * len(codes) + 1_024:
        codes, largest = _numbered(codes.astype(np.int64))
    for part in key[1:]:
        left, right = codes.astype(np.int64), parts[part].astype(np.int64)
        codes, largest = _numbered(np.where((left > 0) & (right > 0), (left << 32) | right, 0))
    return codes, largest


def _numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    numbering = numbering_of(keys, least=1)
    return numbers_of(numbering, keys), numbering.largest


def _count(
    pool: ThreadPoolExecutor,
    stretches: Sequence[tuple[int, int]],
    firsts: Sequence[int],
    t: NDArray[np.int64],
    kinds: NDArray[np.int8],
    keys: NDArray[np.int32],
    largest: int,
    counter: Counter,
    asking: int,
    out: NDArray[np.float32],
) -> None:
    """Fill the columns of one counter."""
    counted = _mask(counter.kinds)
    spans = np.array([(WINDOWS[w].hop_ms, WINDOWS[w].length_ms) for w in counter.windows], np.int64)
    tallies = np.zeros((len(stretches), largest + 1), np.int32)
    every = range(len(stretches))
    list(pool.map(lambda s: _tally(kinds, keys, counted, *stretches[s], tallies[s]), every))
    states = np.empty((len(stretches), largest + 1, 1 + len(spans)), np.int32)
    times = np.empty(_lay_out(tallies, states), np.int64)
    before = every[:-1]  # the last stretch's times are read by itself alone: it fills them in
    list(
        pool.map(lambda s: _fill(t, kinds, keys, counted, *stretches[s], states[s], times), before)
    )
    list(
        pool.map(
            lambda s: _walk(
                t, kinds, keys, *stretches[s], counted, asking, spans, states[s],
                times, s == every[-1], out[firsts[s] : firsts[s + 1]],
            ),
            every,
        )
    )  # fmt: skip
    _check_buckets(counter, tallies.sum(axis=0, dtype=np.int64), times)


def _check_buckets(counter: Counter, counts: Array, times: NDArray[np.int64]) -> None:
    """Refuse what the ring would not have counted to the end: its buckets hold 16 bits.

    counts: [keys], in the order of their times.
    """
    families = compile_plan("counts_in_order", (counter,)).tables.families
    if int(families[0, F_MODE]) != NARROW:
        return
    ends = np.cumsum(counts)
    for key in np.flatnonzero(counts > UINT16_MAX).tolist():
        mine = times[ends[key] - counts[key] : ends[key]]
        for name in counter.windows:
            buckets = mine // WINDOWS[name].hop_ms
            if (buckets[UINT16_MAX:] == buckets[:-UINT16_MAX]).any():
                raise InputError(
                    f"counts_in_order: {counter.name!r} counts a key more than {UINT16_MAX} times "
                    f"in one hop of its {name}, where a live counter stops. Use replay"
                )


@njit(cache=True, nogil=True)
def _last_step_back(t: Array, begin: int, end: int) -> int:
    """The last event of a stretch with a time before its predecessor's; -1 if there is none."""
    back = -1
    for i in range(max(begin, 1), end):
        if t[i] < t[i - 1]:
            back = i
    return back


@njit(cache=True, nogil=True)
def _asking(kinds: Array, asking: int, begin: int, end: int) -> int:
    rows = 0
    for i in range(begin, end):
        rows += (asking >> kinds[i]) & 1
    return rows


@njit(cache=True, nogil=True)
def _tally(kinds: Array, keys: Array, counted: int, begin: int, end: int, tally: Array) -> None:
    """How often each key is counted in a stretch. tally: [keys]."""
    for i in range(begin, end):
        if (counted >> kinds[i]) & 1 and keys[i] > 0:
            tally[keys[i]] += 1


@njit(cache=True, nogil=True)
def _lay_out(tallies: Array, states: Array) -> int:
    """Give each key its place among the times; how many times there are.

    tallies: [stretches, keys]. states: [stretches, keys, 1 + windows]: the place behind the key's
    last time as the stretch begins, and for each window that of the first time in it.
    """
    total = 0
    for key in range(tallies.shape[1]):
        first = total
        for s in range(len(tallies)):
            states[s, key, 0] = total
            states[s, key, 1:] = first
            total += tallies[s, key]
    return total


@njit(cache=True, nogil=True)
def _fill(
    t: Array,
    kinds: Array,
    keys: Array,
    counted: int,
    begin: int,
    end: int,
    state: Array,
    times: Array,
) -> None:
    """Put a stretch's times in their places."""
    places = state[:, 0].copy()
    for i in range(begin, end):
        if (counted >> kinds[i]) & 1 and keys[i] > 0:
            times[places[keys[i]]] = t[i]
            places[keys[i]] += 1


@njit(cache=True, nogil=True)
def _walk(
    t: Array,
    kinds: Array,
    keys: Array,
    begin: int,
    end: int,
    counted: int,
    asking: int,
    spans: Array,
    state: Array,
    times: Array,
    fills: bool,
    out: Array,
) -> None:
    """Answer the asking events of a stretch in their order.

    spans: [windows, 2] hop and length in ms. out: [asking events, windows].
    """
    windows = len(spans)
    cuts = np.empty(windows, np.int64)
    moves = np.int64(-(1 << 62))  # when the first of the cuts moves on
    row = 0
    for i in range(begin, end):
        key, now = keys[i], t[i]
        if (asking >> kinds[i]) & 1:
            if now >= moves:  # divisions are made once per hop, not once per event
                moves = np.int64(1 << 62)
                for w in range(windows):
                    hop, length = spans[w, 0], spans[w, 1]
                    cuts[w] = (now - length) // hop * hop
                    moves = min(moves, cuts[w] + hop + length)
            if key > 0:
                last = state[key, 0]
                for w in range(windows):
                    at = state[key, 1 + w]
                    while at < last and times[at] < cuts[w]:
                        at += 1
                    state[key, 1 + w] = at
                    out[row, w] = last - at
            else:
                for w in range(windows):
                    out[row, w] = np.nan
            row += 1
        if (counted >> kinds[i]) & 1 and key > 0:
            if fills:
                times[state[key, 0]] = now
            state[key, 0] += 1
