"""Ingest: every event that comes has exactly one fate, and the log is what it should be."""

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.adapters.anteroom import SqliteAnteroom
from heirloom.adapters.sqlite import SqliteLog
from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.errors import ConfigError, StoreError
from heirloom.core.event import (
    KIND_CODE,
    MAX_FUTURE_MS,
    SURFACE_CODE,
    Event,
    declared_text,
    named,
    person_key,
    slate_hash,
)
from heirloom.core.facts import EVENT_ROW, Facts
from heirloom.core.listing import Listing, Status
from heirloom.core.log import Anteroom, Entry, EventLog, Rejected
from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import query_key
from heirloom.pipelines.ingest import Arrivals, Ingest, Report
from heirloom.pipelines.stamp import stamped
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

NOON = 1_700_000_000_000
DECLARED = ("occasion", "size")


class World:
    """An ingest over a log and an anteroom, and what it folded."""

    def __init__(
        self, log: EventLog | None = None, anteroom: Anteroom | None = None, batch: int = 4_096
    ) -> None:
        self.log = log if log is not None else MemoryLog()
        self.anteroom = anteroom if anteroom is not None else MemoryAnteroom()
        self.folded: list[Entry] = []
        self.announced: list[tuple[list[int], int, int, int]] = []
        self.catalogue = Catalogue(self.log.vocabulary())
        for entry in self.log.read():
            if entry.event.kind in ("listed", "price_changed", "sold", "edited", "removed"):
                slot = int(
                    Facts.unpack([entry.event_row], [entry.listing_rows]).listings["slot"][0]
                )
                self.catalogue.apply(entry.event, slot)
        self.ingest = Ingest(
            log=self.log,
            anteroom=self.anteroom,
            catalogue=self.catalogue,
            currency="EUR",
            rates={"USD": 0.5, "JPY": "0.0061"},
            declared=DECLARED,
            announce=self._announce,
            apply=self.folded.extend,
            batch=batch,
        )

    def _announce(self, slots: NDArray[np.int32], n: int) -> None:
        self.announced.append((slots.tolist(), n, self.log.end(), len(self.folded)))

    def take(self, *events: Event | Rejected, now_ms: int | None = NOON) -> Report:
        return self.ingest.ingest(events, now_ms=now_ms, source="test")

    def take_group(self, *sent: Sequence[Event | Rejected]) -> list[Report]:
        group = [Arrivals(events, f"sender {i}") for i, events in enumerate(sent)]
        return self.ingest.ingest_group(group, now_ms=NOON)

    def ids(self) -> list[str]:
        return [entry.event.event_id for entry in self.log.read()]

    def reasons(self) -> list[str]:
        return [rejected.reason for rejected in self.anteroom.quarantined()]


def listed(listing: str, t: int = NOON, **fields: object) -> Event:
    data = {"seller": "anna", "title": "Silk dress", "brand": "Miu Miu", "price_minor": 5_000}
    return Event(
        event_id=f"listed {listing}",
        kind="listed",
        t=t,
        listing=listing,
        data=Listing(listing_id=listing, **{**data, **fields}),
    )


def about(listing: str, kind: str = "click", event_id: str = "", **fields: object) -> Event:
    content = {"t": NOON, "user": "bo", **fields}
    return Event(event_id=event_id or f"{kind} {listing}", kind=kind, listing=listing, **content)


def impression(event_id: str, *listings: str, **fields: object) -> Event:
    content = {"t": NOON, "user": "bo", "surface": "home", "slate": "s1", **fields}
    return Event(event_id=event_id, kind="impression", listings=listings, **content)


# ── examples ───────────────────────────────────────────────────────────────────────────────────


def test_a_listing_and_a_click_are_stamped_appended_and_folded() -> None:
    world = World()
    click = about("a", surface="home", position=3, slate="s1", attributes={"size": 38.0})
    report = world.take(listed("a"), click)
    assert (report.received, report.taken, report.quarantined) == (2, 2, 0)
    facts = world.log.facts()
    row, listing = facts.events[1], facts.listings[1]
    assert (row["seq"], row["t"]) == (1, NOON)
    assert (row["kind"], row["surface"]) == (KIND_CODE["click"], SURFACE_CODE["home"])
    code = world.catalogue.vocabulary.find
    assert row["person"] == code("person", "bo") > 0
    assert row["slate"] == slate_hash("s1")
    assert row["declared"].tolist() == [0, code("declared.size", "38"), 0, 0, 0, 0, 0, 0]
    assert (listing["slot"], listing["position"], listing["price_minor"]) == (0, 3, 5_000)
    assert listing["brand"] == code("brand", "Miu Miu") > 0
    assert world.folded == list(world.log.read())
    assert world.catalogue.live.tolist() == [True]


def test_availability_is_announced_once_durable_and_before_it_is_folded() -> None:
    world = World(batch=4)
    world.take(listed("a"), listed("b"), about("a"), about("b", "sold"))
    assert world.announced == [([0, 1], 4, 4, 0)]
    world.take(about("a"), about("a", "click", "c2"))  # nothing of stock: the log's end alone
    world.take(about("a", "reserved"), listed("c"), about("a", "released"), about("a", "sold"),
               about("b", "click", "c3"), about("c", "removed"))  # fmt: skip
    assert world.announced[1:] == [([], 5, 5, 4), ([0, 2], 9, 9, 5), ([2], 11, 11, 9)]
    world.take(about("a", "sold"))  # a duplicate says nothing new
    assert len(world.announced) == 4


def test_rows_are_stamped_after_the_catalogue_took_the_event() -> None:
    world = World()
    world.take(
        listed("a"),
        about("a", "click", "before"),
        about("a", "price_changed", price_minor=4_000),
        about("a", "click", "after"),
    )
    assert world.log.facts().listings["price_minor"].tolist() == [5_000, 5_000, 4_000, 4_000]


def test_a_session_stands_for_a_person_who_is_unknown() -> None:
    world = World()
    world.take(listed("a"), about("a", user=None, session="s9"))
    code = world.catalogue.vocabulary.find("person", "session:s9")
    assert world.log.facts().events["person"].tolist() == [0, code]


def test_an_impression_keeps_its_positions_and_names_unknown_listings_by_minus_one() -> None:
    world = World()
    world.take(listed("a"), listed("b"))
    world.take(impression("i", "b", "ghost", "a"), impression("j", "a", "b", positions=(7, 9)))
    mentions = world.log.facts(2).listings
    assert mentions["slot"].tolist() == [1, -1, 0, 0, 1]
    assert mentions["position"].tolist() == [0, 1, 2, 7, 9]
    assert mentions["brand"].tolist() == [1, 0, 1, 1, 1]


def test_money_is_converted_once_and_kept_as_it_came() -> None:
    world = World()
    world.take(
        listed("a", price_minor=1_001, currency="USD"),  # 10.01 USD x 0.5 = 5.005 EUR → 5.00, even
        listed("b", price_minor=1_003, currency="USD"),  # 5.015 EUR → 5.02, even
        listed("c", price_minor=10_000, currency="JPY"),  # 10,000 yen x 0.0061 = 61.00 EUR
        about("a", "offer", price_minor=400, currency="USD"),
        about("a", "offer", "in euros", price_minor=400),
    )
    entries = list(world.log.read())
    assert [e.event.data.price_minor for e in entries[:3] if e.event.data] == [500, 502, 6_100]
    assert {e.event.data.currency for e in entries[:3] if e.event.data} == {"EUR"}
    assert entries[0].event.attributes == {
        "original_price_minor": 1_001,
        "original_currency": "USD",
    }
    assert entries[3].event.price_minor == 200
    assert entries[3].event.attributes["original_price_minor"] == 400
    assert entries[4].event.attributes == {}
    assert world.catalogue.column("price_minor").tolist() == [500, 502, 6_100]
    assert world.log.facts().listings["price_minor"].tolist()[:3] == [500, 502, 6_100]


def test_what_is_in_the_log_rebuilds_the_catalogue() -> None:
    world = World()
    world.take(
        listed("a", currency="USD"),
        listed("b"),
        about("b", "price_changed", price_minor=900, currency="JPY"),
        about("a", "sold"),
    )
    again = World(log=world.log)
    for name in ("status", "price_minor", "first_price_minor", "seller", "brand"):
        assert again.catalogue.column(name).tolist() == world.catalogue.column(name).tolist()


def test_history_counts_as_ingested_when_it_happened() -> None:
    world = World()
    world.take(listed("a", t=NOON - DAY_MS), about("a", t=NOON), now_ms=None)
    assert [entry.ingested_at for entry in world.log.read()] == [NOON - DAY_MS, NOON]


def test_a_listing_whose_slot_is_anothers_by_now_is_still_known() -> None:
    world = World()
    world.take(listed("a"), about("a", "sold"))
    later = NOON + 31 * DAY_MS
    world.take(listed("b", t=later, brand="Dior"), about("a", "save", t=later), now_ms=later)
    mentions = world.log.facts(2).listings
    assert mentions["slot"].tolist() == [0, -1]  # b has a's slot
    brands = [world.catalogue.vocabulary.find("brand", brand) for brand in ("Dior", "Miu Miu")]
    assert mentions["brand"].tolist() == brands


# ── an event before its listing ────────────────────────────────────────────────────────────────


def test_an_event_before_its_listing_is_held_and_sequenced_right_after_it() -> None:
    world = World()
    first = world.take(about("a", "click", "c1"), about("a", "save", "s1"))
    assert (first.held, first.taken, world.anteroom.counts()) == (2, 0, (0, 2))
    second = world.take(listed("x"), listed("a"), listed("y"))
    assert world.ids() == ["listed x", "listed a", "c1", "s1", "listed y"]
    assert (second.received, second.released, second.taken) == (3, 2, 5)
    assert world.anteroom.counts() == (0, 0)


def test_within_one_call_it_need_not_be_held() -> None:
    world = World()
    report = world.take(about("a"), listed("a"))
    assert world.ids() == ["listed a", "click a"]
    assert (report.taken, report.held, report.released) == (2, 0, 0)


def test_what_is_held_comes_out_by_its_own_time() -> None:
    world = World()
    world.take(about("a", "sold", t=NOON - 1), about("a", "reserved", t=NOON - 2))
    report = world.take(listed("a", t=NOON - 3))
    assert world.ids() == ["listed a", "reserved a", "sold a"]
    assert report.quarantined == 0


def test_held_twice_is_a_duplicate() -> None:
    world = World()
    assert world.take(about("a")).held == 1
    again = world.take(about("a"))
    assert (again.held, again.duplicate, world.anteroom.counts()) == (0, 1, (0, 1))


def test_an_impression_waits_only_if_none_of_its_listings_is_known() -> None:
    world = World()
    assert world.take(impression("i", "a", "b")).held == 1
    assert world.take(listed("b")).released == 1
    assert world.log.facts().listings["slot"].tolist() == [0, -1, 0]
    assert world.take(listed("a")).taken == 1
    assert world.ids() == ["listed b", "i", "listed a"]


def test_a_held_event_that_contradicts_goes_to_the_quarantine_and_leaves() -> None:
    world = World()
    world.take(about("a", "sold", "s1"), about("a", "sold", "s2"))
    report = world.take(listed("a"))
    assert (report.released, report.taken, report.quarantined) == (2, 2, 1)
    assert world.anteroom.counts() == (1, 0)


# ── bad input ──────────────────────────────────────────────────────────────────────────────────


def test_a_second_sale_is_quarantined() -> None:
    world = World()
    report = world.take(
        listed("a"), about("a", "sold", "first"), about("a", "sold", "second"), about("a")
    )
    assert world.ids() == ["listed a", "first", "click a"]
    assert world.reasons() == ["listing 'a' was sold before; a listing sells once"]
    assert report.reasons == {"listing … was sold before; a listing sells once": 1}
    assert world.catalogue.status(0) is Status.SOLD


@pytest.mark.parametrize("ahead", [1, MAX_FUTURE_MS])
def test_a_clock_slightly_ahead_is_clamped_to_ingestion_time(ahead: int) -> None:
    world = World()
    world.take(listed("a", t=NOON + ahead, listed_at=NOON + ahead), about("a", t=NOON + ahead))
    assert [entry.event.t for entry in world.log.read()] == [NOON, NOON]
    assert world.log.facts().events["t"].tolist() == [NOON, NOON]
    assert world.catalogue.column("listed_at").tolist() == [NOON]


def test_a_clock_over_a_day_ahead_is_quarantined() -> None:
    world = World()
    world.take(listed("a", t=NOON + MAX_FUTURE_MS + 1))
    assert world.ids() == []
    assert "in the future" in world.reasons()[0]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (about("a", "look"), "unknown kind 'look'"),
        (about("a", event_id="e" * 257), "event_id is 257 characters"),
        (about("a", t=17), "before 2000"),
        (about("a", t=NOON * 1_000), "after 2100"),
        (about("a", user=None), "needs a user or a session"),
        (about("a\x00b", event_id="nul"), "listing holds a NUL"),
        (about("a", "offer", price_minor=-1), "price_minor is -1"),
        (about("a", "offer", price_minor=10**16), "price_minor is 10000000000000000"),
        (about("a", "offer", price_minor=2**70), "outside 64 bits"),
        (about("a", "offer", price_minor=1, currency="XXX"), "'XXX' has no rate; known are EUR"),
        (about("a", position=-1), "position is -1"),
        (about("a", position=40_000), "position is 40000"),
        (about("a", surface="moon"), "unknown surface"),
        (about("a", attributes={"size": "x" * 300}), "'size' is too long"),
        (about("a", attributes={"size": float("nan")}), "'size' is nan"),
        (about("a", attributes={"big": 2**70}), "outside 64 bits"),
        (about("a", attributes={f"{i}": ["x" * 256] * 999 for i in range(64)}), "at most 2097152"),
        (about("a", text="half a \ud83d smile"), "lone surrogate"),
        (about("half \ud83d"), "lone surrogate"),
        (listed("b", title="T" * 10_000_000), "data.title is 10000000 characters"),
        (listed("b", title="\udfff"), "lone surrogate"),
        (listed("b", photos=-1), "data.photos is negative"),
        (listed("b", image="i" * 30_000), "data.image is too long"),
        (listed("b", listed_at=17), "data.listed_at is 17"),
        (msgspec.structs.replace(listed("a"), event_id="2"), "already listed; send `edited`"),
    ],
)
def test_bad_events_are_quarantined_with_a_reason_and_the_rest_goes_on(
    event: Event, reason: str
) -> None:
    world = World()
    world.take(listed("a"))
    report = world.take(event, about("a", event_id="good"))
    assert world.ids() == ["listed a", "good"]
    assert reason in world.reasons()[0]
    assert (report.received, report.taken, report.quarantined) == (2, 1, 1)
    assert len(world.anteroom.quarantined()[0].raw) <= 64 << 10


@pytest.mark.parametrize(
    "name",
    ["shop/12/../3", "👗🧵", "\u202eسترة\u202c", "שמלה/א", "a b\n\t", "'; DROP TABLE--", "ÿ" * 249],
)
def test_strange_ids_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    with SqliteLog(tmp_path / "log") as log, SqliteAnteroom(tmp_path / "anteroom") as anteroom:
        world = World(log, anteroom)
        fields = {"event_id": name, "user": name, "session": name, "slate": name}
        assert world.take(about(name, **fields)).held == 1
        assert world.take(listed(name, seller=name)).taken == 2
        assert [named(entry.event) for entry in log.read()] == [(name,), (name,)]
        assert world.catalogue.slot_of(name) == 0


def test_what_a_reader_could_not_read_is_kept_with_the_time_of_ingestion() -> None:
    world = World()
    broken = Rejected(raw=b"1,2", reason="2 fields; wanted 3", source="events.csv:17", at=0)
    report = world.take(broken, listed("a"))
    assert (report.received, report.quarantined, report.taken) == (2, 1, 1)
    assert world.anteroom.quarantined() == [msgspec.structs.replace(broken, at=NOON)]


def test_the_report_reads_well() -> None:
    world = World()
    report = world.take(listed("a"), about("b"), about("a", "sold", "1"), about("a", "sold", "2"))
    assert str(report).split("\n") == [
        "           4 received",
        "           2 taken",
        "           1 held",
        "           1 quarantined",
        "               1 listing … was sold before; a listing sells once",
        "                 e.g. test: listing 'a' was sold before; a listing sells once",
    ]


def test_settings_that_cannot_be_are_refused() -> None:
    catalogue, log = Catalogue(Vocabulary()), MemoryLog()
    with pytest.raises(ConfigError, match="at most 8"):
        Ingest(
            log=log,
            anteroom=MemoryAnteroom(),
            catalogue=catalogue,
            currency="EUR",
            rates={},
            declared=tuple("abcdefghi"),
            apply=lambda _: None,
        )
    with pytest.raises(ConfigError, match="the rate of USD is -1"):
        Ingest(
            log=log,
            anteroom=MemoryAnteroom(),
            catalogue=catalogue,
            currency="EUR",
            rates={"USD": -1},
            apply=lambda _: None,
        )


class FailingLog(MemoryLog):
    def append(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> list[int | None]:
        if any(entry.event.event_id == "poison" for entry in entries):
            raise StoreError("disk full")
        return super().append(entries, vocabulary)


def test_after_a_failed_append_nothing_more_is_taken_until_it_is_rebuilt() -> None:
    world = World(FailingLog())
    world.take(listed("a"))
    with pytest.raises(StoreError, match="disk full"):
        world.take(about("a", event_id="poison"))
    with pytest.raises(StoreError, match=r"earlier failure .*disk full.*Start again from the log"):
        world.take(about("a"))
    assert world.ids() == ["listed a"]
    assert World(world.log).take(about("a")).taken == 1


def test_who_lets_in_what_was_held_hears_of_it_and_nobody_of_what_others_sent() -> None:
    world = World()
    world.take(about("a", event_id="early"))
    click, first, again = about("b", event_id="mine"), listed("a"), about("a", event_id="mine")
    reports = world.take_group([click], [first], [again, about("x", "nonsense")], [listed("b")])
    counted = [(r.received, r.released, r.taken, r.duplicate, r.quarantined) for r in reports]
    assert counted == [(1, 0, 1, 0, 0), (1, 1, 2, 0, 0), (2, 0, 0, 1, 1), (1, 0, 1, 0, 0)]
    assert [one.source for one in world.anteroom.quarantined()] == ["sender 2"]
    assert world.ids() == ["listed a", "early", "listed b", "mine"]
    assert len(world.announced) == 1


# ── laws ───────────────────────────────────────────────────────────────────────────────────────

LISTINGS = ("a", "b", "c")
STATED = st.dictionaries(
    st.sampled_from((*DECLARED, "sells_as", "filter_brand")), st.sampled_from(("M", 38.0, "anna"))
)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Event]:
    """A life of three listings, of which some never come, with duplicates, in any order."""
    events: list[Event] = []
    currency = draw(st.sampled_from(("EUR", "USD")))
    events += [listed(name, currency=currency) for name in draw(st.sets(st.sampled_from(LISTINGS)))]
    for n, listing in enumerate(draw(st.lists(st.sampled_from(LISTINGS), max_size=6))):
        kind = draw(st.sampled_from(("click", "save", "price_changed", "nonsense")))
        t = NOON - draw(st.integers(0, 9))
        said = {"attributes": draw(STATED), "text": draw(st.sampled_from((None, "red", "Red bag")))}
        price = draw(st.integers(0, 99))
        events.append(about(listing, kind, f"{n}", t=t, price_minor=price, **said))
    events += [about(listing, "sold") for listing in draw(st.sets(st.sampled_from(LISTINGS)))]
    for n in range(draw(st.integers(0, 3))):
        shown = draw(st.lists(st.sampled_from(LISTINGS), min_size=1, max_size=3, unique=True))
        events.append(impression(f"i{n}", *shown))
    for n, text in enumerate(draw(st.lists(st.sampled_from(("bag", "red bag")), max_size=2))):
        who = {"user": None, "session": draw(st.sampled_from(("s1", "s2")))}
        asked = {"text": text, "surface": "search", "attributes": draw(STATED), **who}
        events.append(Event(event_id=f"q{n}", kind="search", t=NOON, **asked))
    for seller in draw(st.lists(st.sampled_from(("anna", "cleo")), max_size=2, unique=True)):
        follow = about("", "follow", f"follow {seller}", seller=seller)
        events.append(msgspec.structs.replace(follow, listing=None))
    again = draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    return draw(st.permutations(events + again))


def in_calls(world: World, events: list[Event], cuts: list[int]) -> list[Report]:
    return [world.take(*part) for part in cut(events, cuts)]


CUTS = st.lists(st.integers(0, 30), max_size=4)


@settings(deadline=None)
@given(arrivals(), CUTS, st.integers(1, 5))
def test_every_event_has_exactly_one_fate(events: list[Event], cuts: list[int], batch: int) -> None:
    world = World(batch=batch)
    for report in in_calls(world, events, cuts):
        came = report.received + report.released
        assert came == report.taken + report.duplicate + report.held + report.quarantined
    log = world.ids()
    held = {event.event_id for event in world.anteroom.held_for(LISTINGS)}
    refused = {
        msgspec.json.decode(one.raw, type=Event).event_id for one in world.anteroom.quarantined()
    }
    assert len(log) == len(set(log))
    assert sorted([*log, *held, *refused]) == sorted({event.event_id for event in events})


@settings(deadline=None)
@given(arrivals(), CUTS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_any_order_of_arrival_leaves_the_same_events_in_the_log(
    events: list[Event], cuts: list[int], batch: int, random: object
) -> None:
    world, shuffled = World(), World(batch=batch)
    world.take(*events)
    other = list(events)
    random.shuffle(other)  # type: ignore[attr-defined]
    in_calls(shuffled, other, cuts)
    assert sorted(world.ids()) == sorted(shuffled.ids())
    assert world.anteroom.counts() == shuffled.anteroom.counts()


@settings(deadline=None)
@given(arrivals(), CUTS, st.integers(1, 5))
def test_calls_and_batches_do_not_change_the_log(
    events: list[Event], cuts: list[int], batch: int
) -> None:
    one, other = World(), World(batch=batch)
    one.take(*events)
    in_calls(other, events, cuts)
    assert list(one.log.read()) == list(other.log.read())
    assert other.folded == list(other.log.read())


@settings(deadline=None)
@given(arrivals(), CUTS, CUTS)
def test_a_group_leaves_the_same_log_as_one_call_and_tells_each_sender_of_their_own(
    events: list[Event], cuts: list[int], groups: list[int]
) -> None:
    one, grouped = World(), World()
    one.take(*events)
    sent = cut(events, cuts)
    reports = grouped.take_group(*sent)
    assert list(grouped.log.read()) == list(one.log.read()) == grouped.folded
    assert grouped.anteroom.counts() == one.anteroom.counts()
    assert len(grouped.announced) <= 1
    assert [told(report) for report in reports] == fates(sent, grouped)
    several = World()
    for group in cut(sent, groups):
        for report in several.take_group(*group):
            came = report.received + report.released
            assert came == report.taken + report.duplicate + report.held + report.quarantined
    assert list(several.log.read()) == list(one.log.read())


def cut(things: list[Any], cuts: list[int]) -> list[list[Any]]:
    edges = [0, *sorted(each % (len(things) + 1) for each in cuts), len(things)]
    return [things[low:high] for low, high in itertools.pairwise(edges)]


def told(report: Report) -> tuple[int, ...]:
    return report.received, report.taken, report.duplicate, report.held, report.quarantined


def fates(sent: list[list[Event]], world: World) -> list[tuple[int, ...]]:
    """What became of each sender's events, told from the log: the first to send an id has it."""
    log = set(world.ids())
    held = {event.event_id for event in world.anteroom.held_for(LISTINGS)}
    known: set[str] = set()
    counted = []
    for events in sent:
        fate = {"taken": 0, "duplicate": 0, "held": 0, "quarantined": 0}
        for event in events:
            if event.kind == "nonsense":  # it is refused each time, and is no event
                fate["quarantined"] += 1
            elif event.event_id in known:
                fate["duplicate"] += 1
            elif event.event_id in log:
                fate["taken"] += 1
            else:
                fate["held" if event.event_id in held else "quarantined"] += 1
            if event.kind != "nonsense":
                known.add(event.event_id)
        counted.append((len(events), *fate.values()))
    return counted


@settings(deadline=None)
@given(arrivals())
def test_sending_all_again_changes_nothing(events: list[Event]) -> None:
    world = World()
    world.take(*events)
    log, counts = list(world.log.read()), world.anteroom.counts()
    report = world.take(*events)
    assert report.taken == 0
    assert (list(world.log.read()), world.anteroom.counts()) == (log, counts)


# ── twin ───────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(arrivals())
def test_packed_rows_are_the_structured_arrays_by_bytes(events: list[Event]) -> None:
    world = World()
    world.take(*events)
    code = world.catalogue.vocabulary.find
    for entry in world.log.read():
        event, row = entry.event, np.zeros(1, EVENT_ROW)
        row["seq"], row["t"], row["kind"] = entry.seq, event.t, KIND_CODE[event.kind]
        row["surface"] = SURFACE_CODE.get(event.surface or "", 0)
        row["person"] = code("person", person_key(event.user, event.session))
        row["seller"] = code("seller", event.seller)
        row["slate"] = slate_hash(event.slate)
        asked = event.text if event.kind not in ("message", "offer") else None
        row["query"] = code("query", query_key(asked))
        for i, name in enumerate(DECLARED):
            stated = declared_text(event.attributes.get(name))
            row["declared"][0, i] = code(f"declared.{name}", stated)
        assert entry.event_row == row.tobytes()


def test_the_log_gives_the_offsets_whatever_was_expected() -> None:
    world = World()
    world.take(listed("a"))
    beside = stamped([about("a", event_id="beside")], [NOON], world.catalogue, DECLARED)
    assert world.log.append(beside, world.catalogue.vocabulary) == [1]
    report = world.take(about("a", event_id="mine"), about("a", "save"))
    assert report.taken == 2
    assert world.folded[1:] == list(world.log.read(2))
    rows = Facts.unpack([e.event_row for e in world.folded], [e.listing_rows for e in world.folded])
    assert rows.events["seq"].tolist() == [0, 2, 3]


# ── kill -9 ────────────────────────────────────────────────────────────────────────────────────

HISTORY = [
    about("a", event_id="early"),  # held by the first batch, released by the second
    about("b", event_id="early b"),
    listed("x"),
    about("x", "sold", "sold"),
    about("x", "sold", "sold again"),
    listed("a"),
    listed("b"),
    about("a", "offer", "offer", price_minor=3, currency="USD"),
    about("ghost", event_id="for ever"),
    about("b"),
]

PARENT_OF_THE_KILLED = """
import importlib.util, itertools, json, os, signal, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("test_ingest", sys.argv[1])
test = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test)

def ingest(folder, kill_at):
    calls = itertools.count()

    def mortal(method):
        def call(*arguments):
            if next(calls) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments)
        return call

    folder.mkdir()
    log, anteroom = test.SqliteLog(folder / "log"), test.SqliteAnteroom(folder / "anteroom")
    world = test.World(log, anteroom, batch=4)
    log.append, world.ingest._apply = mortal(log.append), mortal(world.ingest._apply)
    for name in ("hold", "quarantine", "release"):
        setattr(anteroom, name, mortal(getattr(anteroom, name)))
    world.take(*test.HISTORY)

ends = []
while not ends or ends[-1]:
    child = os.fork()
    if child == 0:
        ingest(Path(sys.argv[2]) / str(len(ends)), len(ends))
        os._exit(0)
    ends.append(os.waitpid(child, 0)[1])
print(json.dumps(ends))
"""
"""Ingests HISTORY in children, the first killed before its first durable call, the next before
its second, until one comes to its end."""


def test_killed_before_any_durable_call_and_run_again_nothing_is_lost_or_twice(
    tmp_path: Path,
) -> None:
    whole = World()
    whole.take(*HISTORY)
    command = [sys.executable, "-c", PARENT_OF_THE_KILLED, __file__, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    ends = json.loads(run.stdout)
    assert len(ends) >= 9
    assert ends == [signal.SIGKILL] * (len(ends) - 1) + [0]
    for kill_at in range(len(ends)):
        folder = tmp_path / str(kill_at)
        with SqliteLog(folder / "log") as log, SqliteAnteroom(folder / "anteroom") as anteroom:
            again = World(log, anteroom, batch=4)
            again.take(*HISTORY)
            assert sorted(again.ids()) == sorted(whole.ids())
            assert anteroom.counts() == whole.anteroom.counts()
            assert log.facts().events["seq"].tolist() == list(range(log.end()))
