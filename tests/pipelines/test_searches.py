"""What each person asked for lately, beside one walk over the log; and what listings make of it."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.core.words import query_key
from heirloom.pipelines.searches import (
    HALF_LIFE_MS,
    HOUR_MS,
    NEEDED,
    REMEMBERED,
    Searches,
    Wanted,
    brands_asked,
    searched_match,
    wanted,
)
from heirloom.retrieval.lexicon import Lexicon
from heirloom.testing.features import random_log

T = 1_735_689_600_000
SHELF = (
    ("women/dresses", "ganni"), ("women/boots", "ganni"), ("women/boots", "cos"), ("men/shirts", "")
)  # fmt: skip


def naive(log: Facts) -> dict[int, list[tuple[int, int]]]:
    """By person, (words, time) newest first."""
    asked: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in log.events:
        person, words, t = int(event["person"]), int(event["query"]), int(event["t"])
        if not person or not words or event["kind"] not in (
            KIND_CODE[Kind.SEARCH], KIND_CODE[Kind.IMPRESSION]
        ):  # fmt: skip
            continue
        if asked[person] and asked[person][0][0] == words:
            asked[person].pop(0)
        asked[person].insert(0, (words, t))
    return {person: found[:REMEMBERED] for person, found in asked.items()}


@given(seed=st.integers(0, 1_000), cut=st.integers(0, 300))
@settings(deadline=None, max_examples=40)
def test_what_is_remembered_is_what_one_walk_finds(seed: int, cut: int) -> None:
    log = random_log(seed, 300)
    searches, wanted = Searches(), naive(log)
    searches.apply(log[:cut])
    searches.apply(log[cut:])
    for person in range(5):
        words, times = searches.recent(person)
        assert [*zip(words.tolist(), times.tolist(), strict=True)] == wanted.get(person, [])


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue(Vocabulary())
    for number, (category, brand) in enumerate(SHELF):
        listing = Listing(
            listing_id=f"l{number}", seller="s", title="t", category=category, brand=brand
        )
        event = Event(
            event_id=f"e{number}", kind=Kind.LISTED, t=T, listing=f"l{number}", data=listing
        )
        catalogue.apply(event, catalogue.allocate(f"l{number}", T))
    return catalogue


def matched(
    catalogue: Catalogue, *asked: tuple[str, int], text: str = ""
) -> dict[str, list[float]]:
    """Of somebody who asked for these words so many ms ago, and asks for a text now."""
    rows = np.zeros(len(asked), EVENT_ROW)
    rows["kind"], rows["person"] = KIND_CODE[Kind.SEARCH], 1
    rows["query"] = [catalogue.vocabulary.code("query", query_key(text)) for text, _ in asked]
    rows["t"] = [T - ago for _, ago in asked]
    searches = Searches()
    searches.apply(Facts(rows, np.zeros(0, LISTING_ROW), np.zeros(len(asked) + 1, np.int64)))
    none = np.zeros(0, np.int32)
    request = Request(
        query=Query(t=T, text=text), person=1, surface=1,
        declared=np.zeros(MAX_DECLARED, np.int32), anchor=-1, recent=none,
        recent_kinds=none.astype(np.int8), recent_t=none.astype(np.int64),
        text_vector=np.zeros(4, np.float32),
    )  # fmt: skip
    slots = np.arange(len(SHELF), dtype=np.int32)
    found = searched_match(
        wanted(request, catalogue.vocabulary, searches, Some(catalogue)), slots, catalogue
    )
    return {name: values.tolist() for name, values in found.items()}


class Some:
    """What some words mean; others mean no category."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._lexicon = Lexicon(catalogue.vocabulary)
        dress, boots, shirts = (
            catalogue.vocabulary.code("category", name)
            for name in ("women/dresses", "women/boots", "men/shirts")
        )
        self._shares = {
            "boot": {boots: 1.0}, "women": {dress: 0.25, boots: 0.75}, "shirt": {shirts: 1.0}
        }  # fmt: skip

    def categories(self, text: str) -> list[tuple[int, float]]:
        words = query_key(text).split()
        return [pair for word in words for pair in self._shares.get(word, {}).items()]

    def brands(self, text: str) -> list[int]:
        return self._lexicon.read(text, ordered=False).codes("brand").tolist()


def test_a_category_is_wanted_as_surely_as_the_latest_search_said(catalogue: Catalogue) -> None:
    half = HALF_LIFE_MS["category"]
    assert matched(catalogue, ("boots", half))["searched_category"] == [0, 0.5, 0.5, 0]
    said = matched(catalogue, ("boots", half), ("women", 0))["searched_category"]
    assert said == [0.25, 0.75, 0.75, 0]
    said = matched(catalogue, ("boots", 0), ("women", 0), ("boots", half))["searched_category"]
    assert said == [0.25, 1, 1, 0]  # once is enough: needs are not counted


def test_a_brand_is_counted_long(catalogue: Catalogue) -> None:
    found = matched(catalogue, ("ganni boots", HALF_LIFE_MS["brand"]), ("the dress of Ganni", 0))
    assert found["searched_brand"] == [1.5, 1.5, 0, 0]


def test_brands_asked_for_have_their_names(catalogue: Catalogue) -> None:
    ganni, count = catalogue.vocabulary.code("brand", "ganni"), catalogue.vocabulary.size("brand")
    none, of_brand = np.zeros(4), np.where(np.arange(count) == ganni, 1.5, 0.0)
    found = brands_asked(Wanted(none, none, of_brand), catalogue.vocabulary)
    assert found == {"ganni": 1.5}
    assert brands_asked(None, catalogue.vocabulary) == {}


def test_a_name_of_several_words_is_known_though_keys_sort_them(catalogue: Catalogue) -> None:
    data = Listing(
        listing_id="l4", seller="s", title="t", category="women/boots", brand="Miu Miu Zorro Ace"
    )
    event = Event(event_id="e4", kind=Kind.LISTED, t=T, listing="l4", data=data)
    catalogue.apply(event, catalogue.allocate("l4", T))
    assert query_key("Miu Miu Zorro Ace boots") == "ace boot miu zorro"
    lexicon = Lexicon(catalogue.vocabulary)
    code = catalogue.vocabulary.code("brand", "Miu Miu Zorro Ace")
    assert lexicon.read("ace boot miu zorro", ordered=False).codes("brand").tolist() == [code]
    assert lexicon.read("ace boot miu", ordered=False).codes("brand").tolist() == []


def test_the_latest_search_of_a_category_tells_how_long_ago(catalogue: Catalogue) -> None:
    found = matched(catalogue, ("boots", 5 * HOUR_MS), ("women", 2 * HOUR_MS))
    assert found["searched_ago"][1:3] == [2, 2]
    assert np.isnan(found["searched_ago"][0])  # dresses are less of it than boots
    assert matched(catalogue, ("boots", HOUR_MS), ("cos", 0))["searched_ago"][1:3] == [1, 1]


def test_what_is_asked_for_now_is_a_search(catalogue: Catalogue) -> None:
    found = matched(catalogue, ("boots", HOUR_MS), text="Shirts by Cos")
    assert found["searched_category"][3] == 1
    assert found["searched_ago"][3] == 0
    assert found["searched_brand"] == [0, 0, 1, 0]
    assert matched(catalogue, text="shirts")["searched_ago"][3] == 0


def test_only_the_latest_say_what_is_needed(catalogue: Catalogue) -> None:
    later = [(f"word{i}", 0) for i in range(NEEDED)]
    assert matched(catalogue, ("cos boots", 0), *later[1:])["searched_category"][1] == 1
    forgotten = matched(catalogue, ("cos boots", 0), *later)
    assert forgotten["searched_category"][1] == 0
    assert forgotten["searched_brand"][2] == 1


def test_words_that_name_nothing_are_no_wish(catalogue: Catalogue) -> None:
    found = matched(catalogue, ("lovely", 0))
    assert found["searched_category"] == found["searched_brand"] == [0, 0, 0, 0]
    assert np.isnan(found["searched_ago"]).all()


def test_who_never_searched_is_missing(catalogue: Catalogue) -> None:
    assert all(np.isnan(column).all() for column in matched(catalogue).values())
