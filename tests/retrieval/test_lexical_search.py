"""LexicalSearch over either index, in a world so small that the answer is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.adapters.tantivy_search import TantivyIndex
from heirloom.core.event import Kind, Surface
from heirloom.core.query import Request
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.lexical import LexicalIndex
from heirloom.retrieval.lexical_search import LexicalSearch
from heirloom.retrieval.retriever import Matcher
from heirloom.retrieval.word_index import WordIndex
from heirloom.testing.retrieval import DIM, World

INDICES = [WordIndex, TantivyIndex]


def searching(
    index: LexicalIndex, world: World, cuts: tuple[int, ...] = ()
) -> tuple[LexicalSearch, ContentIndex]:
    content = ContentIndex(Hashed(DIM))
    search = LexicalSearch(index, content)
    for facts, listings in world.parts(cuts):
        content.apply(facts, listings)
        search.apply(facts, listings)
    return search, content


def asking(world: World, content: ContentIndex, text: str) -> Request:
    request = world.request(surface=Surface.SEARCH.value, text=text)
    return replace(request, text_vector=content.text(text))


def every(world: World) -> NDArray[np.bool_]:
    return np.ones(len(world.catalogue), np.bool_)


@pytest.mark.parametrize("make", INDICES)
def test_finds_by_words_misspelt_words_and_beginnings(make: Callable[[], LexicalIndex]) -> None:
    world = World()
    search, content = searching(make(), world)
    for text, brand in (
        ("red silk dress", "Alba"),
        ("DRESSES", "Alba"),
        ("dres", "Alba"),
        ("lether boot", "Boreas"),
        ("bore", "Boreas"),
        ("shoes for men", "Boreas"),
    ):
        found = search.retrieve(asking(world, content, text), every(world), 20)
        assert len(found) == 20, text
        assert {world.catalogue.listing(s).brand for s in found.slots.tolist()} == {brand}, text
    one = search.retrieve(asking(world, content, "silk listing-17"), every(world), 5)
    assert 17 in one.slots


@pytest.mark.parametrize("make", INDICES)
def test_words_that_nobody_has_fall_back_on_the_vector(make: Callable[[], LexicalIndex]) -> None:
    world = World()
    search, content = searching(make(), world)
    found = search.retrieve(asking(world, content, "qqqqqqqq"), every(world), 5)
    assert len(found) == 5
    for text in ("", " ?! ", "\0"):
        assert not len(search.retrieve(asking(world, content, text), every(world), 5))


@pytest.mark.parametrize("make", INDICES)
@pytest.mark.parametrize("cuts", [(), (1, 2, 3, 4), (3,)])
def test_a_sold_listing_leaves_and_its_slots_heir_has_its_own_words(
    make: Callable[[], LexicalIndex], cuts: tuple[int, ...]
) -> None:
    world = World(listings=0, people=0)
    world.list("old", 0)
    world.list("other", 0)
    world.end(0)
    world.end(1)
    world.t += 31 * 24 * 3_600_000
    assert world.list("heir", 1) == 0
    index = make()
    search, _ = searching(index, world, cuts)
    assert isinstance(search, Matcher)
    assert search.matching("silk dress", every(world)).tolist() == [False, False]
    assert search.matching("leather", every(world)).tolist() == [True, False]
    assert index.n == 5


@pytest.mark.parametrize("make", INDICES)
def test_matching_keeps_the_well_matched_and_the_least_wanted(
    make: Callable[[], LexicalIndex],
) -> None:
    world = World()
    search, _ = searching(make(), world)
    reds = np.arange(40) % 2 == 0
    assert search.matching("red dress", every(world), 1).tolist() == reds.tolist()
    assert search.matching("red boots", every(world), 30).sum() >= 30
    few = search.matching("red dress", np.arange(40) < 4, 1)
    assert np.flatnonzero(few).tolist() == [0, 2]


def test_a_folder_is_caught_up_from_its_offset(tmp_path: Path) -> None:
    """The log is replayed from its beginning; what the folder holds is not folded again."""
    world = World(listings=12, people=0)
    index = TantivyIndex(folder=tmp_path)
    searching(index, world)
    index.close()
    world.end(3)
    world.list("new", 1)
    upserts: list[int] = []

    class Counting(TantivyIndex):
        def upsert(self, slot: int, fields: object) -> None:
            upserts.append(slot)
            super().upsert(slot, fields)  # type: ignore[arg-type]

    again = Counting(folder=tmp_path)
    assert again.n == 12
    search, content = searching(again, world, cuts=(4, 12))
    assert upserts == [12]
    assert again.n == 14
    found = search.retrieve(asking(world, content, "boots"), every(world), 20)
    assert sorted(found.slots.tolist()) == [1, 5, 7, 9, 11, 12]
    plain, _ = searching(TantivyIndex(), world)
    same = plain.matching("boots new", every(world))
    assert search.matching("boots new", every(world)).tolist() == same.tolist()
    again.close()


def test_an_event_of_people_alone_moves_the_offset() -> None:
    world = World(listings=2, people=0)
    world.act(Kind.CLICK, 1, 0)
    index = WordIndex()
    searching(index, world)
    assert index.n == 3
