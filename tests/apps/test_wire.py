"""What comes over the wire reaches the core whole."""

import msgspec

from heirloom.apps.wire import EventIn, ListingIn, event_of
from heirloom.core.event import Event


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
    made = msgspec.structs.asdict(event_of(sent, "given", 7))
    wanted = msgspec.structs.asdict(sent) | {"event_id": "given", "t": 7}
    assert msgspec.to_builtins(made) == msgspec.to_builtins(wanted)
