"""Saved searches: what is kept of them, and what is new in them."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from heirloom.core.event import Event, Kind, problem
from heirloom.core.facts import Facts
from heirloom.core.filters import Filters
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.core.vocabulary import Vocabulary
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.retriever import Retriever
from heirloom.retrieval.saved_search import MOST, Saved, SavedSearch, SavedSearches
from heirloom.testing.retrieval import HOUR_MS, T0, RetrieverLaws, World, checkerboard

SAVES = (
    (30, "follow", 0, "red dress", {}),
    (35, "follow", 0, "", {"category": "men", "price_max_minor": 7_900}),
    (41, "follow", 1, "boots", {"sizes": ["43", "44"]}),
    (44, "follow", 2, "boots", {}),
    (50, "unfollow", 2, "Boot", {}),
)
"""What is said after how many events of the world: kind, person, words, filters."""


def entry(kind: str, person: str, text: str, filters: Mapping[str, Any], t: int = T0) -> Entry:
    event = Event(event_id="e", kind=kind, t=t, user=person, text=text, attributes={**filters})
    assert problem(event, t) is None
    return Entry(event=event, ingested_at=t, event_row=b"", listing_rows=b"")


class OfWorld:
    """SavedSearch with all it reads, folded as the live state folds it; SAVES are in its log."""

    name = "saved_search"

    def __init__(self, world: World) -> None:
        self.content = ContentIndex(Hashed())
        self.searches = SavedSearches(world.vocabulary)
        self.inner = SavedSearch(self.searches, world.catalogue, lambda: self.content)

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        for seq, t in zip(facts.events["seq"].tolist(), facts.events["t"].tolist(), strict=True):
            for at, kind, person, text, filters in SAVES:
                if at == seq:
                    self.searches.apply([entry(kind, f"person-{person}", text, filters, t)])
        self.content.apply(facts, listings)
        self.inner.apply(facts, listings)

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        return self.inner.retrieve(request, allowed, k)


class TestSavedSearch(RetrieverLaws):
    def make(self) -> Retriever:
        return OfWorld(checkerboard())


def found(world: World, retriever: OfWorld, person: int | None) -> list[str]:
    live = world.catalogue.live
    slots = retriever.retrieve(world.request(person), live, 50).slots.tolist()
    return [world.catalogue.listing(slot).listing_id for slot in slots]


@pytest.fixture
def small() -> tuple[World, OfWorld]:
    """A dress and boots from before; person 0 and 1 are known; nothing is saved yet."""
    world = World(listings=2, people=2)
    retriever = OfWorld(world)
    for facts, listings in world.parts():
        retriever.content.apply(facts, listings)
        retriever.inner.apply(facts, listings)
    return world, retriever


def arrive(world: World, retriever: OfWorld, since: int) -> None:
    """Fold what came to the world after so many events."""
    facts, listings = list(world.parts([since]))[1]
    retriever.content.apply(facts, listings)
    retriever.inner.apply(facts, listings)


def test_what_came_since_is_given_newest_first_and_what_was_sold_is_not(
    small: tuple[World, OfWorld],
) -> None:
    world, retriever = small
    retriever.searches.apply([entry("follow", "person-0", "red silk dress", {}, world.t)])
    assert found(world, retriever, 0) == []  # the dress from before was seen when it was saved
    end = sum(len(facts) for facts, _ in world.parts())
    world.list("dress-a", 0)
    world.list("boots-b", 1)
    world.list("dress-c", 0)
    sold = world.list("dress-d", 0)
    world.end(sold)
    arrive(world, retriever, end)
    assert found(world, retriever, 0) == ["dress-c", "dress-a"]
    assert found(world, retriever, 1) == []
    assert found(world, retriever, None) == []
    retriever.searches.apply([entry("unfollow", "person-0", "silk RED dresses", {})])
    assert found(world, retriever, 0) == []


def test_filters_alone_and_filters_with_words(small: tuple[World, OfWorld]) -> None:
    world, retriever = small
    since = world.t
    end = sum(len(facts) for facts, _ in world.parts())
    dress, boots = world.list("dress", 0), world.list("boots", 1)
    dear = world.catalogue.listing(boots).price_minor
    assert world.catalogue.listing(dress).price_minor < dear
    arrive(world, retriever, end)
    for text, filters, expected in (
        ("", {"category": "men"}, ["boots"]),
        ("", {"category": "me"}, []),
        ("", {"brands": ["Alba", "Boreas"]}, ["boots", "dress"]),
        ("", {"brands": ["Alba", "Boreas"], "price_max_minor": dear - 1}, ["dress"]),
        ("dress", {"brands": ["Boreas"]}, []),
        ("leather boots", {"sizes": ["43"]}, ["boots"]),
        ("leather boots", {"sizes": ["nobody has it"]}, []),
        ("?!", {"colours": ["red"]}, ["dress"]),
    ):
        retriever.searches.apply([entry("follow", "person-0", text, filters, since)])
        assert found(world, retriever, 0) == expected, (text, filters)
        retriever.searches.apply([entry("unfollow", "person-0", text, filters)])
        assert found(world, retriever, 0) == []


def known() -> tuple[Vocabulary, SavedSearches]:
    vocabulary = Vocabulary([("person", 1, "anna"), ("person", 2, "session:s")])
    return vocabulary, SavedSearches(vocabulary)


def test_a_search_is_known_by_its_words_and_filters_in_any_order() -> None:
    _, searches = known()
    searches.apply([entry("follow", "anna", "red dress", {"brands": ["A", "B"]}, T0)])
    searches.apply([entry("follow", "anna", "a coat", {}, T0 + 1)])
    searches.apply([entry("follow", "anna", "Dresses, red", {"brands": ["B", "A"]}, T0 + 2)])
    assert searches.of(1) == (
        Saved("Dresses, red", Filters(brands=("A", "B")), T0 + 2),
        Saved("a coat", Filters(), T0 + 1),
    )
    searches.apply([entry("unfollow", "anna", "red dress", {"brands": ["A"]})])
    assert len(searches.of(1)) == 2  # another search: its filters differ
    searches.apply([entry("unfollow", "anna", "red dress", {"brands": ["A", "B", "A"]})])
    assert [each.text for each in searches.of(1)] == ["a coat"]


def test_one_too_many_takes_the_place_of_the_oldest() -> None:
    _, searches = known()
    for i in range(MOST + 3):
        searches.apply([entry("follow", "anna", f"dress {i}", {}, T0 + i)])
    assert [each.since - T0 for each in searches.of(1)] == list(range(MOST + 2, 2, -1))


def test_a_session_saves_for_itself_and_a_newcomer_has_nothing() -> None:
    _, searches = known()
    event = Event(event_id="e", kind="follow", t=T0, session="s", text="coat")
    searches.apply([Entry(event=event, ingested_at=T0, event_row=b"", listing_rows=b"")])
    assert [len(searches.of(person)) for person in (0, 1, 2, 99)] == [0, 0, 1, 0]


def test_a_follow_of_a_seller_is_no_search() -> None:
    _, searches = known()
    event = Event(event_id="e", kind="follow", t=T0, user="anna", seller="mia", text="coat")
    searches.apply([Entry(event=event, ingested_at=T0, event_row=b"", listing_rows=b"")])
    assert searches.of(1) == ()


said = st.tuples(
    st.sampled_from(["follow", "follow", "unfollow"]),
    st.sampled_from(["dress", "red dress", "dress red", "coat"]),
    st.sampled_from([{}, {"brands": ["A"]}, {"sizes": ["M", "S"]}, {"sizes": ["S", "M"]}]),
)


@given(st.lists(said, max_size=30), st.integers(0, 30))
def test_it_is_what_a_plain_list_would_hold_however_it_is_cut(said: list[Any], cut: int) -> None:
    entries = [entry(kind, "anna", text, filters, T0 + i * HOUR_MS)
               for i, (kind, text, filters) in enumerate(said)]  # fmt: skip
    _, searches = known()
    searches.apply(entries[:cut])
    searches.apply(entries[cut:])
    plain: list[tuple[set[str], dict[str, set[str]], int]] = []
    for each in entries:
        words = set((each.event.text or "").split())
        filters = {name: set(values) for name, values in each.event.attributes.items()}  # type: ignore[arg-type]
        plain = [kept for kept in plain if kept[:2] != (words, filters)]
        if each.event.kind == Kind.FOLLOW:
            plain.append((words, filters, each.event.t))
    held = [
        (
            set(each.text.split()),
            {name: set(v) for name, v in msgspec.structs.asdict(each.filters).items() if v},
            each.since,
        )
        for each in searches.of(1)
    ]
    assert held == plain[::-1]
