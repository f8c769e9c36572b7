"""Semantic ids: the codebook, its ids, the towers over them, and the retriever under the laws."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from semantic_ids.codebook import Codebook, distinct, prefixes
from semantic_ids.retriever import SharedPrefix, shared
from semantic_ids.tower import SemanticIdTower, Together

from heirloom.core.errors import ConfigError, ShapeError
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Request, Surface
from heirloom.core.slate import Candidates
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.retriever import Retriever
from heirloom.testing.retrieval import RetrieverLaws, World

CLUSTERS = np.array([[8, 0], [-8, 0], [0, 8]], np.float32)


def clustered(rows: int = 60) -> np.ndarray:
    """[rows, 2]: three clusters, each of two halves."""
    rng = np.random.default_rng(0)
    halves = np.where(np.arange(rows) // 3 % 2 == 0, 1, -1)[:, None] * np.float32(1)
    return (CLUSTERS[np.arange(rows) % 3] + halves + rng.normal(0, 0.05, (rows, 2))).astype("f4")


def test_the_first_code_is_the_cluster_and_the_second_its_half() -> None:
    codes = Codebook.fit(clustered(), levels=2, codes=3).encode(clustered())
    cluster, half = np.arange(60) % 3, np.arange(60) // 3 % 2
    assert len(np.unique(codes[:, 0])) == 3
    assert all(len(np.unique(codes[cluster == i, 0])) == 1 for i in range(3))
    both = [set(codes[(half == i), 1].tolist()) for i in range(2)]
    assert not both[0] & both[1]


def test_each_level_takes_away_some_of_what_is_left() -> None:
    titles = [f"a{i % 90} b{i % 7}" for i in range(300)]
    vectors = Hashed(32).listings(
        [Listing(listing_id="1", seller="s", title=title) for title in titles]
    )
    errors = []
    for levels in (1, 2, 3):
        book = Codebook.fit(vectors, levels=levels, codes=16)
        errors.append(float(((vectors - book.decode(book.encode(vectors))) ** 2).sum()))
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 0.5 * float(((vectors - vectors.mean(axis=0)) ** 2).sum())


def test_codes_are_those_of_a_search_through_all_centroids() -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 5)).astype("f4")
    book = Codebook.fit(vectors, levels=3, codes=8)
    wanted = []
    for vector in vectors:
        rest, codes = vector, []
        for centroids in book.centroids:
            codes.append(min(range(8), key=lambda c: float(((rest - centroids[c]) ** 2).sum())))
            rest = rest - centroids[codes[-1]]
        wanted.append(codes)
    assert book.encode(vectors).tolist() == wanted


def test_fewer_vectors_than_codes_are_told_apart() -> None:
    vectors = np.repeat(np.eye(4, dtype="f4"), 5, axis=0)
    codes = Codebook.fit(vectors, levels=1, codes=16).encode(vectors)[:, 0]
    assert len(np.unique(codes)) == 4
    assert all(len(np.unique(codes[i : i + 5])) == 1 for i in range(0, 20, 5))


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ConfigError, match="11 levels of 64"):
        Codebook.fit(clustered(), levels=11, codes=64)
    with pytest.raises(ShapeError, match="rows >= 1"):
        Codebook.fit(np.zeros((0, 4), np.float32))


@given(
    arrays(np.int32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.integers(0, 4))
)
def test_prefixes_are_equal_where_the_beginnings_are(codes: np.ndarray) -> None:
    named = prefixes(codes, 5)
    for level in range(codes.shape[1]):
        begins = [tuple(row[: level + 1]) for row in codes.tolist()]
        same = np.array([[a == b for b in begins] for a in begins])
        np.testing.assert_array_equal(same, named[:, None, level] == named[None, :, level])
    own = distinct(codes)
    assert len(np.unique(own, axis=0)) == len(codes)
    np.testing.assert_array_equal(own[:, :-1], codes)


def test_only_the_heaviest_prefixes_are_looked_at() -> None:
    rows = np.array([[0], [1], [2]])
    weights = np.array([1.0, 2.0, 1.0])
    assert shared(rows, rows, weights).tolist() == [0.25, 0.5, 0.25]
    assert shared(rows, rows, weights, beam=1).tolist() == [0, 0.5, 0]


def test_an_item_is_the_sum_of_its_prefixes() -> None:
    codes = np.array([[0, 1], [0, 2], [3, 1], [0, 1]], np.int32)
    tower = SemanticIdTower(codes, 4, 6)
    with torch.no_grad():
        tower.table.copy_(torch.randn_like(tower.table))
    one, two, three, four = tower(torch.arange(1, 5))
    torch.testing.assert_close(one, four)
    # The first code is shared by one and two, and nothing else is.
    assert not torch.isclose(one, two).any()
    assert len(tower.table) == 1 + 2 + 3
    places = tower.places
    assert places[1, 0] == places[2, 0] != places[3, 0]
    assert len({int(places[i, 1]) for i in (1, 2, 3)}) == 3
    torch.testing.assert_close(three, tower.table[places[3, 0]] + tower.table[places[3, 1]])


def test_a_prefix_never_learned_from_adds_nothing() -> None:
    tower = SemanticIdTower(np.array([[0, 1], [0, 2]], np.int32), 4, 6)
    first, second = tower(torch.tensor([1, 2]))
    torch.testing.assert_close(first, second)
    assert first.abs().sum() > 0


def test_towers_together_are_their_sum() -> None:
    codes = np.array([[0, 1], [1, 2]], np.int32)
    parts = [SemanticIdTower(codes, 4, 6), SemanticIdTower(codes, 4, 6)]
    rows = torch.tensor([2, 1])
    torch.testing.assert_close(Together(parts)(rows), parts[0](rows) + parts[1](rows))
    lengths = Together(parts, unit=True)(rows).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(2))
    with pytest.raises(ShapeError, match=r"\(3, 6\), \(3, 8\)"):
        Together([parts[0], SemanticIdTower(codes, 4, 8)])


class WithContent:
    """The retriever with the content index it reads, as the live state folds both."""

    def __init__(self) -> None:
        self.content = ContentIndex(Hashed())
        # 39 and 78 stand among the cuts and between them.
        self.inner = SharedPrefix(self.content, refit_every=39, codes=3)
        self.name = self.inner.name

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        self.content.apply(facts, listings)
        self.inner.apply(facts, listings)

    def retrieve(self, request: Request, allowed: np.ndarray, k: int) -> Candidates:
        return self.inner.retrieve(request, allowed, k)


class TestSharedPrefix(RetrieverLaws):
    """As any retriever."""

    def make(self) -> Retriever:
        return WithContent()


@pytest.fixture(scope="module")
def folded() -> tuple[World, Retriever]:
    world = World()
    return world, TestSharedPrefix().fed(world)


def test_a_person_gets_the_kind_they_went_for(folded: tuple[World, Retriever]) -> None:
    world, retriever = folded
    allowed = np.ones(len(world.catalogue), np.bool_)
    for person in (0, 1):
        found = retriever.retrieve(world.request(person), allowed, 10)
        assert len(found) == 10
        assert (found.slots % 2 == person).all()


def test_beside_an_anchor_its_like_and_not_itself(folded: tuple[World, Retriever]) -> None:
    world, retriever = folded
    allowed = np.ones(len(world.catalogue), np.bool_)
    asked = world.request(0, surface=Surface.SIMILAR.value, anchor="listing-1")
    found = retriever.retrieve(asked, allowed, 10)
    slot = world.catalogue.slot_of("listing-1")
    assert len(found)
    assert slot not in found.slots
    assert (found.slots % 2 == slot % 2).all()


def test_a_new_listing_is_found_at_once_and_a_newcomer_is_told_nothing() -> None:
    world = World()
    retriever = TestSharedPrefix().fed(world)
    size = sum(len(facts) for facts, _ in world.parts())
    slot = world.list("new", 0)
    *_, (facts, listings) = world.parts([size])
    retriever.apply(facts, listings)
    allowed = np.ones(len(world.catalogue), np.bool_)
    found = retriever.retrieve(world.request(0), allowed, 1_000)
    assert slot in found.slots
    newcomer = replace(world.request(), anchor=-1)
    assert not len(retriever.retrieve(newcomer, allowed, 10))


def test_of_those_level_the_newest_comes_first(folded: tuple[World, Retriever]) -> None:
    world, retriever = folded
    found = retriever.retrieve(world.request(0), np.ones(len(world.catalogue), np.bool_), 100)
    level = np.diff(found.scores) == 0
    assert level.any()
    # The world lists its slots in order of time.
    assert (np.diff(found.slots)[level] < 0).all()
