"""Rows: what is looked up in the rows of one request is what the whole state gives, by bytes."""

from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import InputError, StoreError
from heirloom.core.facts import Facts
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
        self.n = 0

    def take(self, log: Facts) -> None:
        self.state.apply(log)
        self.write(self.packing.touched(log))

    def write(self, keys) -> None:
        self.update(zip(map(tuple, keys.tolist()), self.packing.packed(keys), strict=True))
        self.n = self.packing.n

    def read(self, reader: Unpacking, request, slots):
        """(values, how many reads it took)"""
        for reads in range(1, 4):
            keys = reader.wanted(request, slots)
            rows = [self.get(tuple(key)) for key in keys.tolist()]
            state = reader.unpacked(slots, keys, rows, self.n)
            if state is not None:
                batch = state.lookup(request, np.arange(len(slots), dtype=np.int32))
                assert batch.n == self.n
                return batch.values, reads
        raise AssertionError("the attributes of a listing do not settle")


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
    assert [store.read(reader, request, CANDIDATES)[1] for _ in range(3)] == [2, 1, 1]
    edit = Facts(log.events[:1].copy(), log.listings[:1].copy(), log.starts[:2])
    edit.events["seq"], edit.events["kind"] = len(log), 1
    edit.listings["slot"], edit.listings["brand"] = 3, 3 - log.listings["brand"][0] + 5
    store.take(edit)
    values, reads = store.read(reader, request, CANDIDATES)
    assert reads == 2
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
    del store[tuple(reader.wanted(request, slot)[0].tolist())]
    values, reads = store.read(reader, request, slot)
    assert reads == 2
    never = np.array([77], np.int32)
    assert same_bytes(values, store.state.lookup(request, never).values)


def rows_of_some_request():
    view = VIEWS["marketplace"]
    log = random_log(7, 300)
    store, reader = Store(view), Unpacking(view)
    store.take(log)
    request = random_request(2, int(log.events["t"].max()))
    store.read(reader, request, CANDIDATES)
    keys = reader.wanted(request, CANDIDATES)
    return reader, keys, [store.get(tuple(key)) for key in keys.tolist()]


def test_a_row_of_another_version_is_refused() -> None:
    view = FeatureView("marketplace", VIEWS["marketplace"].features[:-1])
    _, keys, rows = rows_of_some_request()
    with pytest.raises(StoreError, match=f"version {VIEWS['marketplace'].version}.*{view.version}"):
        Unpacking(view).unpacked(CANDIDATES, keys, rows, 1)


@_settings(60)
@given(data=st.data())
def test_a_damaged_row_is_refused_or_read_within_bounds(data: st.DataObject) -> None:
    """Cut anywhere: refused. Any word flipped: refused, or read without touching other memory."""
    reader, keys, rows = rows_of_some_request()
    k = data.draw(st.sampled_from([k for k, row in enumerate(rows) if row]))
    row = rows[k]
    cut = data.draw(st.integers(1, len(row) - 1))
    with pytest.raises(StoreError, match=r"damaged|version"):
        reader.unpacked(CANDIDATES, keys, [*rows[:k], row[:cut], *rows[k + 1 :]], 1)
    words = np.frombuffer(row, np.int32).copy()
    words[data.draw(st.integers(0, len(words) - 1))] ^= data.draw(st.integers(1, 2**31 - 1))
    with suppress(StoreError):
        reader.unpacked(CANDIDATES, keys, [*rows[:k], words.tobytes(), *rows[k + 1 :]], 1)


def test_facts_that_the_state_has_not_applied_are_refused() -> None:
    store = Store(VIEWS["marketplace"])
    with pytest.raises(InputError, match="apply the facts first"):
        store.packing.touched(random_log(1, 10))
