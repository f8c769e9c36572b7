"""What comes over the wire reaches the core whole."""

import msgspec
import pytest
from msgspec import UNSET

from heirloom.apps.wire import EventIn, ListingIn, event_of
from heirloom.core.event import Event
from heirloom.core.listing import Listing


def test_an_event_keeps_every_field_that_was_sent() -> None:
    data = ListingIn(listing_id="a", title="t", category="c", brand="b", price_minor=1, seller="s")
    sent = EventIn(
        kind="impression", event_id="of the sender", t=1, user="u", session="s", surface="home",
        text="x", slate="sl", listing="a", listings=("a", "b"), positions=(0, 1), position=2,
        seller="v", price_minor=3, currency="EUR", attributes={"size": "M"}, data=data,
    )  # fmt: skip
    assert set(EventIn.__struct_fields__) == set(Event.__struct_fields__)
    for field in msgspec.structs.fields(EventIn):
        assert getattr(sent, field.name) not in (field.default, {}), f"{field.name} is not tried"
    made = event_of(sent, 7)
    assert type(made.data) is Listing
    assert msgspec.to_builtins(made) == msgspec.to_builtins(sent)
    assert msgspec.convert(msgspec.to_builtins(made), Event) == Event(
        **msgspec.structs.asdict(made)
    )


def test_what_nothing_was_left_out_of_is_the_event_itself() -> None:
    """It is written as any other event is, byte by byte."""
    sent = EventIn(kind="click", event_id="e", t=1, user="u", listing="a", position=2)
    made = event_of(sent, 7)
    assert made is sent
    event = Event(event_id="e", kind="click", t=1, user="u", listing="a", position=2)
    assert msgspec.msgpack.encode(made) == msgspec.msgpack.encode(event)
    assert msgspec.json.encode(made) == msgspec.json.encode(event)


@pytest.mark.parametrize(
    ("sent", "event_id"),
    [
        (
            EventIn(kind="click", t=5, user="anna", listing="l/1", attributes={"size": "M"}),
            "964ab0c8a09343665ff448d5f280bb41",
        ),
        (
            EventIn(
                kind="listed",
                t=5,
                listing="l/1",
                data=ListingIn(listing_id="l/1", seller="s", title="t"),
            ),
            "906d242351b3624576e542afec2cb08f",
        ),
        (EventIn(kind="search", user="u", text="dress"), "cd95dad8165faac396f6b6e81b92779c"),
    ],
)
def test_an_id_that_was_left_out_is_derived_as_ever(sent: EventIn, event_id: str) -> None:
    """What is sent again after an upgrade counts once."""
    made = event_of(sent, 7)
    assert made.event_id == event_id
    assert made.t == (7 if sent.t is UNSET else sent.t)
    assert msgspec.structs.replace(made, event_id=UNSET, t=sent.t, data=sent.data) == sent
