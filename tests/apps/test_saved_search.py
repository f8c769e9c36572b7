"""A saved search through the door: followed by an event, told on the home feed, and taken back."""

from typing import Any

import pytest

from heirloom.core.query import Query
from heirloom.pipelines.serve import recommend

from .conftest import START_MS, Door

SEARCH = {"text": "velvet opera cape", "attributes": {"sizes": ["m", "l"]}}


def say(door: Door, kind: str, **fields: Any) -> dict[str, Any]:
    door.clock.ms += 1_000
    return door.post("/v1/events", [{"kind": kind, **fields}])


def offer(door: Door, listing_id: str, title: str, **fields: Any) -> None:
    data = {"listing_id": listing_id, "seller": f"of {listing_id}", "title": title, **fields}
    assert say(door, "listed", listing=listing_id, data=data)["taken"] == 1


def told(door: Door, user: str) -> list[str]:
    """What the home feed shows for the sake of a saved search."""
    page = door.post("/v1/recommend", {"user": user, "k": 200})
    return [card["listing_id"] for card in page["listings"] if "saved_search" in card["sources"]]


def test_what_comes_into_a_saved_search_is_on_the_home_feed_of_its_person(door: Door) -> None:
    offer(door, "before", "Velvet opera cape", size="m")
    assert say(door, "follow", user="anna", **SEARCH)["taken"] == 1
    assert told(door, "anna") == []
    offer(door, "cape", "Opera cape of velvet", size="l")
    offer(door, "small", "Velvet opera cape", size="xs")
    offer(door, "other", "Wool jumper", size="m")
    assert told(door, "anna") == ["cape"]
    assert told(door, "ben") == []
    page = door.post("/v1/recommend", {"user": "anna", "k": 200})
    (card,) = [card for card in page["listings"] if card["listing_id"] == "cape"]
    assert "new in a search you saved" in card["reasons"]
    say(door, "sold", listing="cape")
    assert told(door, "anna") == []


def test_the_log_brings_it_back_and_unfollow_ends_it(door: Door) -> None:
    say(door, "follow", user="anna", **SEARCH)
    offer(door, "cape", "Opera cape of velvet", size="l")
    assert told(door, "anna") == ["cape"]
    again = door.system.empty_live()
    again.replay(door.system.log.read())
    query = Query(t=door.clock(), user="anna", k=200)
    slate = recommend(query, door.system.policy, again)
    assert [s.listing for s in slate.shown if "saved_search" in s.sources] == ["cape"]
    say(door, "unfollow", user="anna", text="cape VELVET opera", attributes={"sizes": ["l", "m"]})
    assert told(door, "anna") == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"text": "coat", "attributes": {"brand": ["Cos"]}}, "unknown filter"),
        ({"text": "coat", "attributes": {"price_max_minor": "9"}}, "a filter cannot be read"),
        ({"text": "…"}, "needs a seller, or the text or filters of a search"),
    ],
)
def test_a_search_that_cannot_be_followed_is_quarantined_with_its_reason(
    door: Door, fields: dict[str, Any], why: str
) -> None:
    report = say(door, "follow", user="anna", **fields)
    assert (report["taken"], report["quarantined"]) == (0, 1)
    assert why in report["reasons"][0]["example"]
    assert door.clock() == START_MS + 1_000
