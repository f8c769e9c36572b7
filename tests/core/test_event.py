"""What makes an event valid, and what is refused with which reason."""

import gc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import EARLIEST_MS, Event, Kind, derived_id, named, problem
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.testing.event_log import DAY_MS, START_MS, events

NOW = START_MS
LISTING = Listing(listing_id="l/1", seller="s", title="Dress")
CLICK = Event(event_id="e", kind="click", t=NOW, user="u", listing="l/1")
FOLLOW = Event(event_id="e", kind="follow", t=NOW, user="u", text="silk dress")
LISTED = Event(event_id="e", kind="listed", t=NOW, listing="l/1", data=LISTING)


def changed(event: Event, **fields: object) -> Event:
    return msgspec.structs.replace(event, **fields)


def described(**fields: object) -> Event:
    return changed(LISTED, data=msgspec.structs.replace(LISTING, **fields))


def test_the_events_below_are_valid():
    assert [problem(event, NOW) for event in (CLICK, FOLLOW, LISTED)] == [None] * 3
    assert problem(changed(FOLLOW, seller="s", attributes={"locale": "de"}), NOW) is None
    assert problem(changed(FOLLOW, text=None, attributes={"brands": ["Cos"]}), NOW) is None


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (changed(CLICK, kind="clicked"), "unknown kind 'clicked'"),
        (changed(CLICK, event_id=""), "event_id is empty"),
        (changed(CLICK, event_id=None), "event_id is empty"),
        (changed(CLICK, event_id="x" * 257), "event_id is 257 characters long; at most 256"),
        (changed(CLICK, user="a\x00b"), "user holds a NUL character"),
        (changed(CLICK, listing="\x00"), "listing holds a NUL character"),
        (changed(CLICK, listing=None), "a click event needs a listing"),
        (changed(CLICK, user=None), "a click event needs a user or a session"),
        (changed(CLICK, t=EARLIEST_MS - 1), "before 2000"),
        (changed(CLICK, t=NOW // 1000), "wanted milliseconds"),
        (changed(CLICK, t=NOW + DAY_MS + 1), "in the future"),
        (changed(CLICK, t=2**70), "outside 64 bits"),
        (changed(CLICK, price_minor=-1), "price_minor is -1"),
        (changed(CLICK, position=40_000), "position is 40000"),
        (changed(CLICK, positions=(0, 70_000)), "positions must lie in 0 … 32767"),
        (changed(CLICK, surface="moon"), "unknown surface 'moon'"),
        (changed(CLICK, text="x" * 10_000_000), "text is 10000000 characters long"),
        (changed(CLICK, attributes={"size": float("nan")}), "wanted a finite number"),
        (changed(CLICK, attributes={"size": float("inf")}), "wanted a finite number"),
        (changed(CLICK, attributes={"size": 2**70}), "outside 64 bits"),
        (changed(CLICK, event_id="a\ud800"), "'a\\ud800' holds a lone surrogate"),
        (changed(CLICK, text="\udcff"), "holds a lone surrogate"),
        (changed(CLICK, attributes={"\ud800": 1}), "holds a lone surrogate"),
        (changed(CLICK, kind="follow"), "a follow event needs a seller"),
        (changed(CLICK, kind="block"), "a block event needs a seller"),
        (changed(CLICK, kind="unfollow", text="?!"), "or the text or filters of a search"),
        (changed(FOLLOW, text="", attributes={"brands": [""]}), "the text or filters of a search"),
        (changed(FOLLOW, text="x" * 1_001), "the search is 1001 characters long; at most 1000"),
        (changed(FOLLOW, attributes={"brand": "Cos"}), "unknown filter 'brand'; wanted some of"),
        (changed(FOLLOW, attributes={"brands": "Cos"}), "cannot be read: Expected `array`"),
        (changed(FOLLOW, attributes={"price_min_minor": "9"}), "Expected `int | null`, got `str`"),
        (changed(FOLLOW, attributes={"price_min_minor": -1}), "prices from -1 to None; wanted 0"),
        (
            changed(FOLLOW, attributes={"price_min_minor": 9, "price_max_minor": 8}),
            "prices from 9 to 8: none lies between",
        ),
        (changed(CLICK, kind="price_changed"), "needs price_minor"),
        (changed(CLICK, kind="impression"), "needs listings"),
        (
            changed(CLICK, kind="impression", listings=("a", "b"), positions=(1,)),
            "2 listings but 1 positions",
        ),
        (changed(CLICK, kind="impression", listings=("a", "")), "listings: an id is empty"),
        (changed(LISTED, data=None), "needs the listing's data"),
        (changed(LISTED, listing="l/2"), "data.listing_id 'l/1'"),
        (described(title="x" * 10_000_000), "data.title is 10000000 characters long"),
        (described(title="\ud83d"), "holds a lone surrogate"),
        (described(price_minor=-5), "data.price_minor is -5"),
        (described(seller=""), "data.seller is empty"),
        (described(photos=-1), "data.photos is negative"),
        (described(hashtags=("x",) * 101), "at most 100 tags"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(event, reason):
    assert reason in (problem(event, NOW) or "taken")


@pytest.mark.parametrize("text", ["a/b//../c", "🙂👗", "\u202eمعطف", "' OR 1=1", "é", "%00", " "])
def test_ids_may_hold_any_character_but_nul(text):
    event = changed(CLICK, event_id=text, user=text, listing=text, text=f"\x00{text}")
    assert problem(event, NOW) is None


def test_a_clock_up_to_a_day_ahead_is_no_problem():
    assert problem(changed(CLICK, t=NOW + DAY_MS), NOW) is None


@settings(max_examples=50, deadline=None)
@given(events())
def test_the_suite_makes_valid_events_and_both_wires_keep_them(event):
    assert problem(event, START_MS + 3 * DAY_MS) is None
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event) == event


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_derived_ids_are_equal_only_for_equal_parts(parts, others):
    parts, others = ([p.encode("utf-8", "replace").decode() for p in x] for x in (parts, others))
    assert (derived_id(*parts) == derived_id(*others)) == (parts == others)


def test_named_is_what_the_stamped_rows_are_about():
    shown = changed(CLICK, kind=Kind.IMPRESSION.value, listings=("a", "b"))
    assert (named(shown), named(CLICK), named(changed(CLICK, listing=None))) == (
        ("a", "b"), ("l/1",), ()
    )  # fmt: skip


def test_no_garbage_collection_walks_through_events() -> None:
    """They come by the thousand, and hold nothing that could hold them."""
    event = Event(event_id="e", kind="prefer", t=START_MS, attributes={"sizes": ["S", "M"]})
    assert not gc.is_tracked(event)
    made = Entry(event=event, ingested_at=START_MS, event_row=b"", listing_rows=b"")
    assert not gc.is_tracked(made)
