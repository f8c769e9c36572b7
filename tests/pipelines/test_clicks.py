"""Clicks that count: the caps' laws, sellers among themselves, and nothing lost without a trace."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import ConfigError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.pipelines.clicks import COUNTED, DEVICE, HOUR_MS, SELLS_AS, ClickRules, Clicks
from heirloom.pipelines.ingest import Ingest, Report
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

NOON = 1_700_000_000_000 // HOUR_MS * HOUR_MS


def click(i: int, user: str = "anna", listing: str = "a", device: str = "", **more: str) -> Event:
    said = {**({DEVICE: device} if device else {}), **more}
    return Event(
        event_id=f"c{i}", kind="click", t=NOON, user=user, listing=listing, attributes=dict(said)
    )


@given(
    came=st.lists(
        st.tuples(
            st.sampled_from("pq"), st.sampled_from("ab"), st.sampled_from(["", "x", "y"]),
            st.integers(0, 2),
        ),
        max_size=60,
    ),
    caps=st.builds(ClickRules, *[st.integers(0, 4)] * 3),
)  # fmt: skip
def test_of_each_hour_no_more_counts_than_the_caps_and_no_less(
    came: list[tuple[str, str, str, int]], caps: ClickRules
) -> None:
    came.sort(key=lambda one: one[3])
    clicks, counted = Clicks(caps), Counter[tuple[object, ...]]()
    for i, (person, listing, device, hour) in enumerate(came):
        event = click(i, person, listing, device)
        why = clicks.refusal(event, own=False, ingested_at=NOON + hour * HOUR_MS + i)
        of = [(caps.person, ("p", hour, person)), (caps.listing, ("l", hour, person, listing))]
        of += [(caps.device, ("d", hour, device))] if device else []
        full = any(cap and counted[key] >= cap for cap, key in of)
        assert (why is not None) == full
        if why is None:
            counted.update(key for _, key in of)


@given(st.sampled_from(Kind), st.booleans())
def test_only_what_lifts_a_listing_is_refused_to_its_seller(kind: Kind, own: bool) -> None:
    event = Event(event_id="1", kind=kind, t=NOON, user="anna", listing="a")
    why = Clicks(ClickRules()).refusal(event, own=own, ingested_at=NOON)
    assert (why is not None) == (own and kind in COUNTED)


class World:
    """An ingest with two listings of the sellers nord and sud."""

    def __init__(self, rules: ClickRules) -> None:
        self.log, self.anteroom, self.folded = MemoryLog(), MemoryAnteroom(), list[Entry]()
        self.ingest = Ingest(
            log=self.log,
            anteroom=self.anteroom,
            catalogue=Catalogue(self.log.vocabulary()),
            currency="EUR",
            rates={},
            apply=self.folded.extend,
            rules=rules,
        )
        listed = [
            Event(event_id=f"listed {i}", kind="listed", t=NOON, listing=i, data=Listing(
                listing_id=i, seller=seller, title="coat"))
            for i, seller in (("a", "nord"), ("b", "sud"))
        ]  # fmt: skip
        assert self.take(*listed).taken == 2

    def take(self, *events: Event, at: int = NOON) -> Report:
        return self.ingest.ingest(events, now_ms=at, source="test")


def test_sellers_do_not_lift_their_own_and_it_is_said() -> None:
    world = World(ClickRules(sellers_are_users=True))
    report = world.take(
        click(1, "nord", "a"),
        click(2, "nord", "b"),
        click(3, "anna", "a", **{SELLS_AS: "nord"}),
        click(4, "anna", "b", **{SELLS_AS: "nord"}),
        click(5, "sud", "a", **{SELLS_AS: "nobody known"}),
    )
    assert (report.received, report.taken, report.quarantined) == (5, 3, 2)
    assert dict(report.reasons) == {
        "a click of the seller on their own listing … does not count": 2
    }
    assert [entry.event.event_id for entry in world.folded[2:]] == ["c2", "c4", "c5"]


def test_where_people_and_sellers_have_other_names_equal_ones_mean_nothing() -> None:
    report = World(ClickRules()).take(click(1, "nord"), click(2, **{SELLS_AS: "nord"}))
    assert (report.taken, report.quarantined) == (1, 1)


def test_what_is_over_a_cap_is_quarantined_and_the_next_hour_is_another() -> None:
    world = World(ClickRules(person=3, device=4))
    report = world.take(*(click(i, f"u{i % 2}", device="d") for i in range(10)))
    assert (report.taken, report.quarantined) == (4, 6)
    assert set(report.reasons) == {"over … clicks of device … within an hour"}
    # An event's own time is the sender's: setting it back gains nothing.
    late = Event(event_id="late", kind="click", t=NOON - HOUR_MS, user="u0", listing="a")
    assert world.take(late).taken == 1
    again = Event(event_id="late 2", kind="click", t=NOON - 2 * HOUR_MS, user="u0", listing="a")
    assert world.take(again).quarantined == 1
    assert world.take(click(90, "u0", device="d"), at=NOON + HOUR_MS).taken == 1


def test_an_event_sent_twice_uses_no_cap() -> None:
    world = World(ClickRules(person=2))
    for _ in range(5):
        world.take(click(1))
    assert world.take(click(2)).taken == 1
    assert world.take(click(3)).quarantined == 1


def test_tokens_that_only_the_rules_read_are_not_kept() -> None:
    world = World(ClickRules(person=1))
    world.take(*(click(i, device="the device", **{SELLS_AS: "sud", "size": "M"}) for i in (1, 2)))
    kept = [entry.event for entry in world.log.read()][2:]
    assert [event.attributes for event in kept] == [{"size": "M"}]
    assert "the device" not in repr(world.anteroom.__dict__)


def test_caps_below_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 or more"):
        ClickRules(person=-1)
