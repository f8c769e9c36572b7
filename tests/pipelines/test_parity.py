"""Parity: what a random shop served is replayed byte for byte; what was tampered with is not."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.features.sql import expected, mentions

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.slate import AHEAD_OF_LOG, SlateRecord
from heirloom.features.library import marketplace_view
from heirloom.features.view import FeatureView
from heirloom.features.windows import WINDOWS
from heirloom.pipelines.parity import Parity, compare, drawn
from heirloom.testing.features import same_bytes

from .shop import DAY_MS, HOUR_MS, START_MS, Shop, Tampered, empty_live


@pytest.fixture(autouse=True)
def _content_is_fitted_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heirloom.pipelines.live.REFIT_EVERY", 64)
    monkeypatch.setattr("heirloom.retrieval.diction.LEAST_LISTINGS", 3)


def parity(shop: Shop, **changed: object) -> Parity:
    return compare(shop.served, changed.get("log", shop.log), empty_live(shop.log))  # type: ignore[arg-type]


def a_listing(listing: str, **fields: object) -> Listing:
    fields = {"seller": "s", "title": "silk dress", "price_minor": 5_000, **fields}
    return Listing(listing_id=listing, **fields)  # type: ignore[arg-type]


def listed(listing: str, **fields: object) -> Event:
    return act(Kind.LISTED, listing, data=a_listing(listing, **fields))


def act(kind: Kind, listing: str | None = None, **fields: object) -> Event:
    event_id = f"{kind}-{listing}-{fields.get('user')}-{fields.get('t')}"
    fields = {"t": START_MS - HOUR_MS, **fields}
    return Event(event_id=event_id, kind=kind, listing=listing, **fields)  # type: ignore[arg-type]


def value(record: SlateRecord, name: str, row: int = 0) -> float:
    (column,) = (i for i, c in enumerate(record.columns) if c.endswith(f".{name}"))
    values = np.frombuffer(record.features, "<f4").reshape(-1, len(record.columns))
    return float(values[row, column])


# ── the law ──────────────────────────────────────────────────────────────────────────────────


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), pace=st.sampled_from([1, 12]))
def test_what_was_served_is_replayed_byte_for_byte(seed: int, pace: int) -> None:
    shop = Shop(seed, pace).run(20)
    found = parity(shop)
    assert found.holds, found.summary()
    assert found.slates + sum(found.unpromised.values()) == len(shop.served)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), pace=st.sampled_from([1, 12]))
def test_what_is_served_is_the_contract_in_sql(seed: int, pace: int) -> None:
    """From the log's entrance on: late, sent twice, ahead of the clock, restarted, slots reused."""
    shop = Shop(seed, pace).run(20)
    live, n = shop.live, shop.log.end()
    assert live.n == n
    query = msgspec.structs.replace(shop.query(), t=shop.now)
    request = live.request(query)
    slots = shop.rng.choice(len(live.catalogue), 3).astype(np.int32)
    values = live.look_up(request, slots).values
    names = [column.partition(".")[2] for column in live.view.columns]
    with mentions(shop.log.facts()) as sql:
        for row, slot in zip(values, slots.tolist(), strict=True):
            wanted = expected(sql, live.view, request, slot)
            got = dict(zip(names, row, strict=True))
            wrong = [name for name, value in wanted.items() if not same_bytes(got[name], value)]
            assert not wrong, (slot, [(name, got[name], wanted[name]) for name in wrong])


@pytest.fixture(scope="module")
def busy() -> Shop:
    """A shop with traffic enough that every kind of feature has values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heirloom.pipelines.live.REFIT_EVERY", 64)
        patch.setattr("heirloom.retrieval.diction.LEAST_LISTINGS", 3)
        return Shop(1, pace=12).run(60)


def test_the_law_meets_what_makes_it_hard(busy: Shop) -> None:
    found = parity(busy)
    assert found.holds
    assert found.rows > 500
    assert found.late > 0
    assert found.summary()["not_promised"]["age_ms"]["p100"] > 0
    assert (busy.live.catalogue.column("generation") > 1).any()  # slots were used again
    values = np.concatenate(
        [np.frombuffer(r.features, "<f4").reshape(-1, len(r.columns)) for r in busy.served]
    )
    idle = {
        column.split(".")[1]
        for column, column_values in zip(busy.served[0].columns, values.T, strict=True)
        if len(np.unique(column_values)) < 2
    }
    assert not idle


# ── what once was not a function of (t, n) ───────────────────────────────────────────────────


def test_who_comes_later_was_a_newcomer_then() -> None:
    shop = Shop(0)
    shop.ingest(listed("l1"))
    served = shop.ask(Query(t=START_MS, user="anna"))
    shop.ingest(act(Kind.CLICK, "l1", user="anna"))
    assert np.isnan(value(served, "person_acted_24h"))
    assert value(shop.ask(Query(t=START_MS, user="anna")), "person_acted_24h") == 1.0
    assert parity(shop).holds


def test_a_word_means_what_it_meant_then() -> None:
    shop = Shop(0)
    shop.ingest(listed("l1", title="cos dress", brand="Arket"))
    query = Query(t=START_MS, surface="search", text="cos", attributes={"clothing_size": "m"})
    served = shop.ask(query)
    shop.ingest(listed("l2", title="cos dress", brand="Cos", size="m"))
    again = shop.ask(query)
    assert np.isnan(value(served, "asked_brand"))
    assert np.isnan(value(served, "size_stated"))
    assert {value(again, "asked_brand", row) for row in (0, 1)} == {0.0, 1.0}
    assert parity(shop).holds


def test_a_brand_stated_before_it_is_sold_here() -> None:
    shop = Shop(0)
    shop.ingest(listed("l1", brand="Arket"))
    shop.ingest(act(Kind.PREFER, user="anna", attributes={"brands": ["Cos"]}))
    query = Query(t=START_MS, user="anna")
    assert np.isnan(value(shop.ask(query), "brand_stated"))
    shop.ingest(listed("l2", brand="Cos"))
    known = shop.ask(query)
    shop.restart()
    assert shop.ask(query).features == known.features
    assert {value(known, "brand_stated", row) for row in (0, 1)} == {0.0, 1.0}
    assert parity(shop).holds


def test_a_size_stated_is_a_distance_before_it_is_sold_here() -> None:
    shop = Shop(0)
    shop.ingest(listed("l1", category="women/coats", size="UK 10"))
    shop.ingest(act(Kind.PREFER, user="anna", attributes={"sizes": ["xl"]}))
    query = Query(t=START_MS, user="anna")
    served = shop.ask(query)
    assert np.isnan(value(served, "size_stated"))
    assert (value(served, "size_gap"), value(served, "size_evidence")) == (2.0, 100.0)
    shop.ingest(listed("l2", category="women/dresses", size="xl"))
    known = shop.ask(query)
    assert {value(known, "size_gap", row) for row in (0, 1)} == {0.0, 2.0}
    shop.restart()
    assert shop.ask(query).features == known.features
    assert parity(shop).holds


def test_a_usual_size_is_what_it_was_then() -> None:
    shop = Shop(0)
    sizes = {"l1": "s", "l2": "m", "l3": "xl"}
    shop.ingest(*(listed(name, category="men/coats", size=size) for name, size in sizes.items()))
    shop.ingest(act(Kind.CLICK, "l1", user="anna"), act(Kind.CLICK, "l2", user="anna"))
    query = Query(t=START_MS, user="anna")
    served = shop.ask(query)
    shop.ingest(act(Kind.PURCHASE, "l3", user="anna"))
    shop.ask(query)
    usual = {name: value(served, "size_gap", row) for row, name in enumerate(served.listings)}
    assert usual == {"l1": 0.5, "l2": 0.5, "l3": 2.5}
    assert {value(served, "size_evidence", row) for row in range(3)} == {2.0}
    assert parity(shop).holds


def test_a_sold_anchor_keeps_its_slot_until_another_takes_it() -> None:
    shop = Shop(0)
    shop.ingest(listed("l1"), listed("l2"), act(Kind.SOLD, "l1"), act(Kind.SOLD, "l2"))
    shop.now += 3 * DAY_MS
    shop.ingest(listed("l3"))  # both are due to give up their slot; one is wanted
    query = Query(t=shop.now, surface="similar", anchor="l2")
    served = shop.ask(query)
    assert value(served, "anchor_price") == 0.0
    shop.restart()
    assert shop.ask(query).features == served.features
    assert parity(shop).holds


# ── negative controls: the check must fail ───────────────────────────────────────────────────


def test_one_flipped_event_is_found(busy: Shop) -> None:
    last = busy.served[-1]
    clicks = [
        entry.seq
        for entry in busy.log.read(0, last.n)
        if entry.event.kind == Kind.CLICK and entry.event.t > last.t - 5 * DAY_MS
    ]
    found = parity(busy, log=Tampered(busy.log, clicks[-1], KIND_CODE[Kind.MESSAGE]))
    assert not found.holds
    assert not found.broken
    wrong = {name.split(".")[1] for name, each in found.features.items() if each.mismatched}
    assert wrong & {"listing_clicked_7d", "brand_click_rate_30d", "category_click_rate_7d"}
    assert not wrong & {"price", "photos", "anchor_brand"}


@pytest.mark.parametrize("window", ["24h", "7d", "30d", "4w"])
def test_a_hop_off_by_one_is_found(
    busy: Shop, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    of = WINDOWS[window]
    monkeypatch.setitem(
        WINDOWS, window, dataclasses.replace(of, length_ms=of.length_ms - of.hop_ms)
    )
    found = compare(busy.served, busy.log, empty_live(busy.log, as_if_unchanged()))
    assert not found.holds
    wrong = {name for name, each in found.features.items() if each.mismatched}
    assert wrong
    assert not any(each.missing or each.extra for each in found.features.values())


def as_if_unchanged() -> FeatureView:
    """The view as it is now, under the columns of the one that served."""
    view = marketplace_view()
    columns = tuple(f"marketplace@{SERVED}.{c.split('.')[1]}" for c in view.columns)
    object.__setattr__(view, "columns", columns)
    return view


SERVED = marketplace_view().version


def test_a_record_with_one_bit_flipped_is_found(busy: Shop) -> None:
    victim = next(record for record in busy.served if len(record.listings) > 2)
    flipped = bytearray(victim.features)
    flipped[4 * len(victim.columns) + 4 * 3] ^= 1  # second listing, fourth feature, lowest bit
    found = compare(
        [msgspec.structs.replace(victim, features=bytes(flipped))],
        busy.log,
        empty_live(busy.log),
    )
    wrong = {name: each for name, each in found.features.items() if not each.holds}
    assert list(wrong) == [victim.columns[3]]
    (tally,) = wrong.values()
    assert tally.mismatched == 1
    assert tally.compared == len(victim.listings)
    assert tally.first is not None
    assert tally.first.listing == victim.listings[1]
    assert (tally.first.slate_id, tally.first.n) == (victim.slate_id, victim.n)


def test_a_view_of_another_version_is_found(busy: Shop) -> None:
    other = FeatureView("marketplace", marketplace_view().features[1:])
    assert other.version != SERVED
    found = compare(busy.served, busy.log, empty_live(busy.log, other))
    assert not found.holds
    assert {each.missing for name, each in found.features.items() if SERVED in name} == {found.rows}
    assert {each.extra for name, each in found.features.items() if SERVED not in name} == {
        found.rows
    }


def test_what_cannot_be_replayed_though_it_should_is_counted(busy: Shop) -> None:
    good = next(record for record in busy.served if record.listings)
    change = msgspec.structs.replace
    bad = [
        change(good, n=busy.log.end() + 1),
        change(good, features=good.features[:-4]),
        change(good, request=b"\xc1"),
    ]
    found = compare(bad, busy.log, empty_live(busy.log))
    assert not found.holds
    assert sum(found.broken.values()) == 3
    assert found.slates == 0
    lost = change(good, listings=("never listed", *good.listings[1:]))
    found = compare([lost], busy.log, empty_live(busy.log))
    assert {each.missing for each in found.features.values()} == {1}
    assert not any(each.mismatched for each in found.features.values())


def test_what_was_served_ahead_of_the_log_is_not_promised(busy: Shop) -> None:
    good = next(record for record in busy.served if record.listings)
    ahead = msgspec.structs.replace(good, degraded=(f"{AHEAD_OF_LOG}: a write failed",))
    found = compare([ahead, good], busy.log, empty_live(busy.log))
    assert found.holds
    assert found.slates == 1
    assert sum(found.unpromised.values()) == 1


def test_a_state_that_has_folded_is_refused(busy: Shop) -> None:
    with pytest.raises(InputError, match="hand over an empty one"):
        compare(busy.served, busy.log, busy.live)


# ── the draw ─────────────────────────────────────────────────────────────────────────────────


def test_the_draw_is_by_slate_and_not_by_order(busy: Shop) -> None:
    def ids(records: list[SlateRecord]) -> set[str]:
        return {record.slate_id for record in records}

    half = drawn(busy.served, 0.5, 1_000)
    assert 0 < len(half) < len(busy.served)
    assert ids(half) == ids(drawn(busy.served[::-1], 0.5, 1_000))
    assert ids(drawn(busy.served, 0.25, 1_000)) <= ids(half)
    assert ids(drawn(busy.served, 1.0, 5)) <= ids(drawn(busy.served, 1.0, 9))
    assert len(drawn(busy.served, 1.0, 5)) == 5
    assert ids(drawn(busy.served, 1.0, 1_000)) == ids(busy.served)
    for share in (0.0, 1.1):
        with pytest.raises(InputError, match="sample"):
            drawn(busy.served, share, 5)
    with pytest.raises(InputError, match="limit"):
        drawn(busy.served, 1.0, 0)
