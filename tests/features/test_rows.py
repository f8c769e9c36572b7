"""Rows: what is looked up in the rows of one request is what the whole state gives, by bytes."""

from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError, StoreError
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.row_store import EMPTY, Mark, RowsRead, fingerprints
from heirloom.features import kernel, row_kernel
from heirloom.features.algebra import Counter, SinceLast
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.rows import Packing, Unpacking
from heirloom.features.view import FeatureView
from heirloom.testing.features import (
    HOUR_MS,
    START_MS,
    _settings,
    all_words_view,
    random_log,
    random_request,
    same_bytes,
)

VIEWS = {
    "marketplace": marketplace_view(),
    "all_words": all_words_view(),
    "rental": rental_view(["occasion", "size"], kinds=("purchase", "click", "save", "impression")),
}
CANDIDATES = np.array([0, 3, 1, 4, 2, 3, 99, -1], np.int32)


class Store(dict):
    """A store in memory, kept as a writer keeps it: only what was touched is written."""

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        self.state = view.state()
        self.packing = Packing(view, self.state)
        self.mark = EMPTY
        self.turns = []

    def take(self, log: Facts) -> None:
        self.state.apply(log)
        self.write(self.packing.touched(log))

    def write(self, keys) -> None:
        self.update(zip(map(tuple, keys.tolist()), self.packing.packed(keys), strict=True))
        self.turns.append(fingerprints(keys))
        self.mark = Mark(self.packing.n, self.packing.newest_ms, 1, len(self.turns))

    def rows(self, keys) -> list[bytes | None]:
        return [self.get(tuple(key)) for key in keys.tolist()]

    def answer(self, keys, since: Mark) -> RowsRead:
        changed = None
        if since.run:
            changed = np.concatenate([np.zeros(0, np.uint32), *self.turns[since.turn :]])
        return RowsRead(self.rows(keys), self.mark, changed)

    def read(self, reader: Unpacking, request, slots):
        """(values, how many rows each read took)"""
        asked = []
        reader.ask(request, slots)
        while len(keys := reader.lacking()):
            asked.append(len(keys))
            assert len(asked) < 4, "the attributes of a listing do not settle"
            reader.take(keys, self.answer(keys, reader.mark))
        batch = reader.state.lookup(request, np.arange(len(slots), dtype=np.int32))
        assert batch.n == self.mark.n
        return batch.values, asked


@pytest.mark.parametrize("name", VIEWS)
@_settings(25)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 150), max_size=6))
def test_a_lookup_in_rows_is_one_in_the_whole_state(name: str, seed: int, cuts: list[int]) -> None:
    """After each part of the log, in a store that got only the rows touched by it."""
    view = VIEWS[name]
    log = random_log(seed, 150)
    store, reader = Store(view), Unpacking(view)
    for start, stop in pairwise([0, *sorted(cuts), len(log)]):
        store.take(log[start:stop])
        newest = int(log.events["t"].max())
        for t in (newest, newest + 30 * HOUR_MS, newest - 40 * HOUR_MS, START_MS):
            request = random_request(seed + stop, t)
            values, _ = store.read(reader, request, CANDIDATES)
            assert same_bytes(values, store.state.lookup(request, CANDIDATES).values)


@pytest.mark.parametrize("name", VIEWS)
@_settings(10)
@given(seed=st.integers(0, 2**32), cut=st.integers(0, 150))
def test_a_writer_that_starts_late_writes_the_same_rows(name: str, seed: int, cut: int) -> None:
    """A restart in the middle of the log, and a store written whole, give the same answers."""
    view = VIEWS[name]
    log = random_log(seed, 150)
    store = Store(view)
    store.state.apply(log[:cut])
    store.packing = Packing(view, store.state)
    store.write(store.packing.keys())
    store.take(log[cut:])
    whole = Store(view)
    whole.take(log)
    # And keys of listings that left their slot in the very part that counted them: never read.
    assert set(map(tuple, whole.packing.keys().tolist())) >= {k for k, row in whole.items() if row}
    request = random_request(seed, int(log.events["t"].max()))
    expected = whole.state.lookup(request, CANDIDATES).values
    for rows in (store, whole):
        values, _ = rows.read(Unpacking(view), request, CANDIDATES)
        assert same_bytes(values, expected)


def test_the_second_read_is_the_exception() -> None:
    """One read once a slot is known; two at first, and after an edit of what a key is made of."""
    view = VIEWS["marketplace"]
    log = random_log(5, 300)
    store, reader = Store(view), Unpacking(view)
    store.take(log)
    request = random_request(5, int(log.events["t"].max()))
    asked = [len(store.read(reader, request, CANDIDATES)[1]) for _ in range(3)]
    assert asked == [2, 1, 1]
    edit = Facts(log.events[:1].copy(), log.listings[:1].copy(), log.starts[:2])
    edit.events["seq"], edit.events["kind"] = len(log), 1
    edit.listings["slot"], edit.listings["brand"] = 3, 3 - log.listings["brand"][0] + 5
    store.take(edit)
    values, asked = store.read(reader, request, CANDIDATES)
    assert len(asked) == 2
    assert same_bytes(values, store.state.lookup(request, CANDIDATES).values)


def test_shared_rows_are_read_when_they_are_new_or_changed() -> None:
    """A request reads its listings' rows and its person's; of the others, what it does not have."""
    view = VIEWS["marketplace"]
    log = random_log(5, 300)
    store, reader = Store(view), Unpacking(view)
    store.take(log[:100])
    request = random_request(5, int(log.events["t"].max()))
    store.read(reader, request, CANDIDATES)
    own = len(CANDIDATES) + (request.person > 0)
    assert store.read(reader, request, CANDIDATES)[1] == [own]
    alone = Facts(log.events[100:101].copy(), log.listings[:1].copy(), log.starts[:2])
    alone.events["kind"], alone.events["person"] = KIND_CODE["sold"], 0
    alone.listings["slot"] = 0  # its brand, seller and so on are others: some that others have
    store.take(alone)
    values, asked = store.read(reader, request, CANDIDATES)
    shared = {tuple(key) for key in store.packing.touched(alone).tolist() if key[0] >> 56 > 2}
    assert asked[0] == own
    assert sum(asked[1:]) <= len(shared) + own
    assert same_bytes(values, store.state.lookup(request, CANDIDATES).values)


def test_listings_that_change_between_two_reads_are_read_again() -> None:
    """What was read first and what was read second are of one offset, whatever was written."""
    view = VIEWS["marketplace"]
    log = random_log(5, 300)
    store, reader = Store(view), Unpacking(view)
    store.take(log[:200])
    request = random_request(5, int(log.events["t"].max()))
    reader.ask(request, CANDIDATES)
    for cut in (220, 240, 260, 280, 300):
        keys = reader.lacking()
        reader.take(keys, store.answer(keys, reader.mark))
        store.take(log[cut - 20 : cut])
    while len(keys := reader.lacking()):
        reader.take(keys, store.answer(keys, reader.mark))
    values = reader.state.lookup(request, np.arange(len(CANDIDATES), dtype=np.int32)).values
    expected = view.state()
    expected.apply(log[: reader.mark.n])
    assert same_bytes(values, expected.lookup(request, CANDIDATES).values)


def test_a_reader_without_room_keeps_what_one_request_needs() -> None:
    view = VIEWS["marketplace"]
    log = random_log(6, 300)
    store, reader = Store(view), Unpacking(view, room=1)
    for start in range(0, 300, 50):
        store.take(log[start : start + 50])
        request = random_request(start, int(log.events["t"].max()))
        reader.ask(request, CANDIDATES)
        while len(keys := reader.lacking()):
            reader.take(keys, store.answer(keys, reader.mark))
        values = reader.state.lookup(request, np.arange(len(CANDIDATES), dtype=np.int32)).values
        assert same_bytes(values, store.state.lookup(request, CANDIDATES).values)


def test_a_ring_that_outgrew_the_map_is_packed_whole() -> None:
    view = VIEWS["marketplace"]
    log = random_log(9, 16_000, span_ms=48 * HOUR_MS)
    store, reader = Store(view), Unpacking(view)
    store.take(log)
    newest = int(log.events["t"].max())
    outgrown = 0
    for seed in range(6):
        request = random_request(seed, newest)
        values, _ = store.read(reader, request, CANDIDATES)
        assert same_bytes(values, store.state.lookup(request, CANDIDATES).values)
        names = [name.partition(".")[2] for name in view.columns]
        outgrown += int((values[:, names.index("person_brand_acted_4w")] > 256).sum())
    assert outgrown > 0


def clicks(seq: int, count: int, t: int, kind: str = "click") -> Facts:
    """Events after one search, all of one time."""
    events, listings = np.zeros(count, EVENT_ROW), np.zeros(count, LISTING_ROW)
    events["seq"], events["t"], events["kind"] = seq + np.arange(count), t, KIND_CODE[kind]
    events["query"], listings["slot"] = 7, 3
    return Facts(events, listings, np.arange(count + 1, dtype=np.int64))


def after_search(t: int):
    request = random_request(1, t)
    object.__setattr__(request, "text", 7)
    return request


IN_MAP = FeatureView(
    "v",
    (
        Counter("n", ("query",), ("click",), ("4w",)),
        SinceLast("last", ("query",), ("click",), within="30d"),
        Counter("saved", ("query",), ("save",), ("ever",)),
    ),
)


def test_a_shared_row_goes_out_of_the_map_and_comes_back() -> None:
    """Kept by one reader: in the map, outgrown, let go by the state, in the map again."""
    assert set(IN_MAP._plan.tables.families[:, kernel.F_IN_MAP]) == {0, 1, 2}
    store, reader, found, t = Store(IN_MAP), Unpacking(IN_MAP), [], START_MS
    steps = [("listed", 1), ("click", 3), ("click", 600), ("save", 1), ("click", 2), ("save", 1)]
    for kind, count in steps:
        if kind == "save":
            store.take(clicks(store.mark.n, 1, t := t + 60 * 24 * HOUR_MS, "listed"))
            store.state._sweep()
        store.take(clicks(store.mark.n, count, t, kind))
        for at in (t + HOUR_MS, t - 40 * HOUR_MS, t):
            values, _ = store.read(reader, after_search(at), CANDIDATES)
            assert same_bytes(values, store.state.lookup(after_search(at), CANDIDATES).values)
        found.append(values[1, [0, 2]].tolist())
    assert found == [[0, 0], [3, 0], [603, 0], [0, 1], [2, 1], [0, 2]]
    assert store.state.evicted == 4


@pytest.mark.parametrize("count", [3, 600])
def test_nothing_of_a_refused_shared_row_shows_later(count: int) -> None:
    store, reader = Store(IN_MAP), Unpacking(IN_MAP)
    store.take(clicks(0, 1, START_MS, "save"))
    saved = store.copy()
    store.take(clicks(1, count, START_MS))
    reader.ask(after_search(START_MS), CANDIDATES)
    keys = reader.lacking()
    rows = [row and row + bytes(4) for row in store.rows(keys)]
    with pytest.raises(StoreError, match="damaged"):
        reader.take(keys, RowsRead(rows, MARK, None))
    reader.ask(after_search(START_MS), CANDIDATES)
    store.update(saved)
    keys = reader.lacking()
    reader.take(keys, RowsRead(store.rows(keys), MARK, np.zeros(0, np.uint32)))
    values = reader.state.lookup(after_search(START_MS), np.arange(8, dtype=np.int32)).values
    assert np.array_equal(values[1], [0, np.nan, 1], equal_nan=True)


def test_an_empty_store_knows_nothing() -> None:
    """As a state at offset 0 does."""
    view = VIEWS["marketplace"]
    store, reader = Store(view), Unpacking(view)
    request = random_request(1, START_MS)
    values, _ = store.read(reader, request, CANDIDATES)
    assert same_bytes(values, view.state().lookup(request, CANDIDATES).values)


def test_a_missing_listing_reads_as_one_never_listed() -> None:
    view = VIEWS["marketplace"]
    log = random_log(3, 300)
    store, reader = Store(view), Unpacking(view)
    store.take(log)
    request = random_request(3, int(log.events["t"].max()))
    store.read(reader, request, CANDIDATES)
    slot = np.array([3], np.int32)
    reader.ask(request, slot)
    del store[tuple(reader.lacking()[0].tolist())]
    values, _ = store.read(reader, request, slot)
    never = np.array([77], np.int32)
    assert same_bytes(values, store.state.lookup(request, never).values)


def rows_of_some_request():
    """A reader, the keys of all rows that a request needs, and these."""
    view = VIEWS["marketplace"]
    log = random_log(7, 300)
    store, first, reader = Store(view), Unpacking(view), Unpacking(view)
    store.take(log)
    request = random_request(2, int(log.events["t"].max()))
    store.read(first, request, CANDIDATES)
    reader._known = first._known
    reader.ask(request, CANDIDATES)
    keys = reader.lacking()
    return reader, request, keys, store.rows(keys)


MARK = Mark(1, START_MS, 1, 1)


def test_a_row_of_another_version_is_refused() -> None:
    view = FeatureView("marketplace", VIEWS["marketplace"].features[:-1])
    _, request, keys, rows = rows_of_some_request()
    reader = Unpacking(view)
    reader.ask(request, CANDIDATES)
    with pytest.raises(StoreError, match=f"version {VIEWS['marketplace'].version}.*{view.version}"):
        reader.take(keys, RowsRead(rows, MARK, None))


@_settings(60)
@given(data=st.data())
def test_a_damaged_row_is_refused_or_read_within_bounds(data: st.DataObject) -> None:
    """Cut anywhere: refused. Any word flipped: refused, or read without touching other memory."""
    reader, request, keys, rows = rows_of_some_request()
    k = data.draw(st.sampled_from([k for k, row in enumerate(rows) if row]))
    row = rows[k]
    cut = data.draw(st.integers(1, len(row) - 1))
    with pytest.raises(StoreError, match=r"damaged|version"):
        reader.take(keys, RowsRead([*rows[:k], row[:cut], *rows[k + 1 :]], MARK, None))
    words = np.frombuffer(row, np.int32).copy()
    words[data.draw(st.integers(0, len(words) - 1))] ^= data.draw(st.integers(1, 2**31 - 1))
    reader.ask(request, CANDIDATES)
    with suppress(StoreError):
        reader.take(keys, RowsRead([*rows[:k], words.tobytes(), *rows[k + 1 :]], MARK, None))
    reader.ask(request, CANDIDATES)
    reader.take(keys, RowsRead(rows, MARK, None))
    assert len(reader.lacking()) == 0


def test_a_key_has_one_fingerprint() -> None:
    """As stores make them and as the reader finds its rows by them."""
    rng = np.random.default_rng(1)
    keys = rng.integers(1, 1 << 55, (200, 2))
    keys[:, 1] &= (1 << 28) - 1
    kept, unsorted = row_kernel.held(512), row_kernel.held(200)
    unsorted.keys[:] = keys
    unsorted.keys[:, 1] = keys[:, 1] << 1 | 1
    row_kernel.rehold(unsorted, kept)
    row_kernel.forget(kept, fingerprints(keys[:150]))
    still = {tuple(row) for row in kept.keys[kept.keys[:, 1] & 1 == 1].tolist()}
    assert still == {(key, third << 1 | 1) for key, third in keys[150:].tolist()}


def test_facts_that_the_state_has_not_applied_are_refused() -> None:
    store = Store(VIEWS["marketplace"])
    with pytest.raises(InputError, match="apply the facts first"):
        store.packing.touched(random_log(1, 10))
