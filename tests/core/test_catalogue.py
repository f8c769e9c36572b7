"""Catalogue: state by replay, reused slots, filters against a naive twin."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.catalogue import CODED, DAY_MS, Catalogue
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing, Status
from heirloom.core.query import Filters
from heirloom.core.vocabulary import Vocabulary

T0 = 1_700_000_000_000
COLUMNS = ("status", "price_minor", "first_price_minor", "listed_at", "photos", *CODED)


def listing(listing_id: str, **fields: object) -> Listing:
    return Listing(**{"listing_id": listing_id, "seller": "s", "title": "t", **fields})


def take(catalogue: Catalogue, kind: Kind, listing_id: str, t: int = T0, **fields: object) -> int:
    """As ingestion does: refuse, find or open the slot, apply. Gives the slot."""
    event = Event(event_id="e", kind=kind.value, t=t, listing=listing_id, **fields)
    assert catalogue.refusal(event) is None
    known = catalogue.slot_of(listing_id)
    slot = catalogue.allocate(listing_id, t) if kind is Kind.LISTED else known
    catalogue.apply(event, slot)
    return slot


def row(catalogue: Catalogue, slot: int) -> dict[str, object]:
    """All columns of a slot, codes as texts."""
    values = {name: int(catalogue.column(name)[slot]) for name in COLUMNS}
    texts = {name: catalogue.vocabulary.text(name, int(values[name])) for name in CODED}
    return {**values, **texts}


_words = st.sampled_from(["", "a", "b", "c"])
_described = st.fixed_dictionaries(
    {
        "seller": st.sampled_from(["s", "z"]),
        "category": st.sampled_from(["", "women", "women/dresses", "women/dresses/midi",
                                     "womenswear", "men"]),
        **dict.fromkeys(("brand", "size", "colour", "condition", "material", "country"), _words),
        "price_minor": st.integers(0, 5),
        "photos": st.sampled_from([0, 3, 99_999]),
    }
)  # fmt: skip
_story = st.lists(
    st.tuples(st.sampled_from(list(Kind)[:7]), st.sampled_from("pqrst"), _described,
              st.integers(0, 20)),
    max_size=40,
)  # fmt: skip


def _play(story) -> tuple[Catalogue, dict[str, dict[str, object]], list[tuple[Event, int]]]:
    """The catalogue after a story, the end state kept by hand, and the log with its slots."""
    catalogue = Catalogue(Vocabulary(), retire_after_ms=30)
    known: dict[str, dict[str, object]] = {}
    log, t = [], T0
    for kind, listing_id, described, wait in story:
        t += wait
        data = listing(listing_id, **described) if kind in (Kind.LISTED, Kind.EDITED) else None
        price = described["price_minor"] if kind is Kind.PRICE_CHANGED else None
        event = Event(event_id="e", kind=kind.value, t=t, listing=listing_id, data=data,
                      price_minor=price)  # fmt: skip
        slot = catalogue.slot_of(listing_id)
        if (slot < 0 and kind is not Kind.LISTED) or catalogue.refusal(event):
            continue
        if kind is Kind.LISTED:
            slot = catalogue.allocate(listing_id, t)
        catalogue.apply(event, slot)
        log.append((event, slot))
        _keep(known, event)
    return catalogue, known, log


def _keep(known: dict[str, dict[str, object]], event: Event) -> None:
    """The end state, by the definition of each kind."""
    kind, listing_id, data = Kind(event.kind), event.listing, event.data
    if kind is Kind.LISTED:
        known[listing_id] = {"status": 0, "listed_at": event.t,
                             "first_price_minor": data.price_minor}  # fmt: skip
    mine = known[listing_id]
    if data is not None:
        mine.update({name: getattr(data, name) for name in CODED})
        mine.update(price_minor=data.price_minor, photos=min(data.photos, 32_767))
    if kind is Kind.PRICE_CHANGED:
        mine["price_minor"] = event.price_minor
    ends = {Kind.RESERVED: 1, Kind.RELEASED: 0, Kind.SOLD: 2, Kind.REMOVED: 3}
    mine["status"] = ends.get(kind, mine["status"])


@settings(max_examples=200, deadline=None)
@given(_story)
def test_every_listing_stands_as_its_own_story_ends_whatever_slot_it_took(story):
    catalogue, known, log = _play(story)
    here = {name: slot for name in known if (slot := catalogue.slot_of(name)) >= 0}
    assert len(set(here.values())) == len(here), "one slot, one listing"
    for name, slot in here.items():
        assert {**row(catalogue, slot), **known[name]} == row(catalogue, slot)
        assert catalogue.listing(slot).listing_id == name
        assert catalogue.listing(slot).price_minor == known[name]["price_minor"]
    live = {name for name, state in known.items() if state["status"] == 0}
    assert {catalogue.listing(slot).listing_id for slot in np.flatnonzero(catalogue.live)} == live

    slots = np.array(sorted(here.values()), np.int32)
    ids = [catalogue.listing(slot).listing_id for slot in slots.tolist()]
    restored = Catalogue(catalogue.vocabulary)
    restored.restore(catalogue.arrays())
    assert catalogue.ids_of(slots) == restored.ids_of(slots) == ids
    for field in CODED:
        texts = [getattr(catalogue.listing(slot), field) or "" for slot in slots.tolist()]
        assert [restored.text(field, slot) for slot in slots.tolist()] == texts

    replayed = Catalogue(Vocabulary(), retire_after_ms=30)
    for event, slot in log:
        replayed.apply(event, slot)
    assert replayed.live.tolist() == catalogue.live.tolist()
    for name in ("generation", *COLUMNS[1:]):
        assert replayed.column(name).tobytes() == catalogue.column(name).tobytes(), name


@settings(max_examples=100, deadline=None)
@given(_described, _described)
def test_a_reused_slot_inherits_nothing(first, second):
    catalogue = Catalogue(Vocabulary())
    slot = take(catalogue, Kind.LISTED, "old", data=listing("old", **first))
    take(catalogue, Kind.PRICE_CHANGED, "old", price_minor=77)
    take(catalogue, Kind.SOLD, "old")
    later = T0 + 30 * DAY_MS
    assert take(catalogue, Kind.LISTED, "new", later, data=listing("new", **second)) == slot
    alone = Catalogue(Vocabulary())
    take(alone, Kind.LISTED, "new", later, data=listing("new", **second))
    texts = {name: getattr(listing("new", **second), name) for name in CODED}
    assert {**row(alone, 0), **texts} == row(alone, 0)
    numbers = [name for name in COLUMNS if name not in CODED]
    assert {n: row(catalogue, slot)[n] for n in (*numbers, *CODED)} == row(alone, 0)
    assert catalogue.column("generation").tolist() == [2]
    assert (catalogue.slot_of("old"), catalogue.slot_of("new")) == (-1, slot)


def test_a_slot_that_ended_twice_is_given_once():
    catalogue = Catalogue(Vocabulary())
    take(catalogue, Kind.LISTED, "old", data=listing("old"))
    take(catalogue, Kind.SOLD, "old")
    take(catalogue, Kind.REMOVED, "old", T0 + 1)
    later = T0 + 31 * DAY_MS
    slots = [take(catalogue, Kind.LISTED, i, later, data=listing(i)) for i in ("x", "y", "z")]
    assert slots == [0, 1, 2]


def test_a_slot_is_kept_until_the_time_is_over():
    catalogue = Catalogue(Vocabulary(), retire_after_ms=10)
    take(catalogue, Kind.LISTED, "old", data=listing("old", brand="Miu Miu"))
    take(catalogue, Kind.SOLD, "old")
    assert take(catalogue, Kind.LISTED, "x", T0 + 9, data=listing("x")) == 1
    stood = catalogue.rows_of(("old",))
    assert take(catalogue, Kind.LISTED, "y", T0 + 10, data=listing("y")) == 0
    last = catalogue.rows_of(("old", "never"))
    assert last["slot"].tolist() == [-1, -1]
    assert last["brand"].tolist() == [stood["brand"][0], 0]
    assert (catalogue.knows("old"), catalogue.knows("never")) == (True, False)


def test_contradictions_are_told():
    catalogue = Catalogue(Vocabulary())
    take(catalogue, Kind.LISTED, "a", data=listing("a"))
    again = Event(event_id="e", kind="listed", t=T0, listing="a", data=listing("a"))
    assert "already listed" in (catalogue.refusal(again) or "")
    take(catalogue, Kind.SOLD, "a")
    for kind, reason in (("sold", "a listing sells once"), ("reserved", "cannot be reserved"),
                         ("released", "cannot be released")):  # fmt: skip
        event = Event(event_id="e", kind=kind, t=T0, listing="a")
        assert reason in (catalogue.refusal(event) or "")
    assert catalogue.status(0) is Status.SOLD


_some = st.lists(st.sampled_from(["a", "b", "never"]), max_size=2).map(tuple)
_filters = st.builds(
    Filters,
    category=st.sampled_from(["", "women", "women/dresses", "women/", "men", "never"]),
    brands=_some, sizes=_some, colours=_some, conditions=_some, countries=_some,
    sellers=st.lists(st.sampled_from(["s", "never"]), max_size=1).map(tuple),
    price_min_minor=st.none() | st.integers(0, 5),
    price_max_minor=st.none() | st.integers(0, 5),
)  # fmt: skip


def _as_asked(one: Listing, asked: Filters) -> bool:
    steps = [step for step in asked.category.split("/") if step]
    fields = (("brand", asked.brands), ("size", asked.sizes), ("colour", asked.colours),
              ("condition", asked.conditions), ("country", asked.countries),
              ("seller", asked.sellers))  # fmt: skip
    low, high = asked.price_min_minor, asked.price_max_minor
    return (
        one.category.split("/")[: len(steps)] == steps
        and all(getattr(one, name) in wanted for name, wanted in fields if wanted)
        and (low is None or one.price_minor >= low)
        and (high is None or one.price_minor <= high)
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(_described, max_size=12), st.lists(st.integers(0, 11), max_size=4), _filters)
def test_the_mask_is_what_checking_each_listing_gives(described, sold, asked):
    catalogue = Catalogue(Vocabulary())
    everything = [listing(f"l{i}", **fields) for i, fields in enumerate(described)]
    for one in everything:
        take(catalogue, Kind.LISTED, one.listing_id, data=one)
    for i in set(sold):
        if i < len(everything):
            take(catalogue, Kind.SOLD, f"l{i}")
    naive = [i not in sold and _as_asked(one, asked) for i, one in enumerate(everything)]
    assert catalogue.mask(asked).tolist() == naive


def test_the_catalogue_grows_without_losing_a_row():
    catalogue = Catalogue(Vocabulary())
    for i in range(3_000):
        take(catalogue, Kind.LISTED, f"l{i}", data=listing(f"l{i}", price_minor=i, brand=f"b{i}"))
    assert catalogue.column("price_minor").tolist() == list(range(3_000))
    assert len(catalogue) == catalogue.live.sum() == 3_000
    brand = catalogue.rows(np.array([2_999, -1], np.int32))["brand"]
    assert [catalogue.vocabulary.text("brand", code) for code in brand] == ["b2999", ""]


def test_a_slot_without_a_listing_is_told():
    catalogue = Catalogue(Vocabulary())
    event = Event(event_id="e", kind="listed", t=T0, listing="a", data=listing("a"))
    catalogue.apply(event, 2)
    assert catalogue.column("status").tolist() == [3, 3, 0]
    with pytest.raises(IndexError, match="slot 1 holds no listing"):
        catalogue.listing(1)
    assert msgspec.structs.asdict(catalogue.listing(2))["listing_id"] == "a"
