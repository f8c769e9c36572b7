"""ContentIndex: on offer or not, sound vectors or not, small and trained."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.neighbours import Similar
from heirloom.retrieval.vectors.where import Where
from heirloom.testing.retrieval import World

DIM = 16


class Failing:
    """Gives no numbers for listings whose title says so."""

    dim = DIM
    model_id = "failing"

    def __init__(self, dim_given: int = DIM) -> None:
        self._hashed = Hashed(dim_given)

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        vectors = self._hashed.listings(listings).copy()
        vectors[["listing-3" in each.title for each in listings], 1] = np.nan
        return vectors

    def text(self, text: str) -> NDArray[np.float32]:
        return np.full(DIM, np.inf if text == "inf" else 1, np.float32)


def folded(world: World, content: ContentIndex) -> ContentIndex:
    for facts, listings in world.parts():
        content.apply(facts, listings)
    return content


def told(content: ContentIndex, world: World, kind: Kind, slot: int) -> None:
    """One more event about the listing in a slot."""
    facts, _ = next(world.parts())
    event = facts.events[:1].copy()
    event["kind"], event["seq"] = KIND_CODE[kind], len(facts)
    row = world.catalogue.rows(np.array([slot], np.int32))
    content.apply(Facts(event, row, np.array([0, 1])), {})


def test_what_is_not_on_offer_is_in_no_search_and_keeps_its_vector() -> None:
    world = World()
    content = folded(world, ContentIndex(Hashed(DIM)))
    kept, vector = content.vectors[4].copy(), content.vectors[4]
    for gone in (Kind.RESERVED, Kind.SOLD, Kind.REMOVED):
        told(content, world, gone, 4)
        assert 4 not in content.nearest(vector, k=100).slots
        assert len(content.nearest(vector, k=100).slots) == 39
        np.testing.assert_array_equal(content.vectors[4], kept)
        told(content, world, Kind.RELEASED, 4)
        assert content.nearest(vector, k=1).slots.tolist() == [4]


def test_a_price_is_the_present_one_in_filters() -> None:
    world = World()
    content = folded(world, ContentIndex(Hashed(DIM)))
    cheap = Where(between={"price_minor": (None, 100)})
    assert not len(content.nearest(content.vectors[7], cheap).slots)
    world.catalogue.column("price_minor")[7] = 99
    told(content, world, Kind.PRICE_CHANGED, 7)
    found = content.nearest(content.vectors[0], cheap)
    assert found.slots.tolist() == [7]
    np.testing.assert_allclose(found.scores, content.vectors[0] @ content.vectors[7], atol=1e-6)


def test_an_encoder_that_gives_no_numbers_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    with caplog.at_level(logging.WARNING):
        content = folded(world, ContentIndex(Failing()))
    broken = [3, *range(30, 40)]
    assert "'failing' gave NaN or infinity for 11 listings, 'listing-3' first" in caplog.text
    assert not content.vectors[broken].any()
    found = content.nearest(content.vectors[0], k=100)
    assert np.isfinite(found.scores).all()
    assert not found.scores[np.isin(found.slots, broken)].any()
    assert content.text("inf").tolist() == [0.0] * DIM
    assert content.text("words").all()


def test_an_encoder_of_another_shape_is_refused_before_anything_is_folded() -> None:
    content = ContentIndex(Failing(dim_given=DIM // 2))
    with pytest.raises(ShapeError, match=r"'failing' gave vectors of shape \[40, 8\].*dim=16"):
        folded(World(), content)
    assert not len(content.offers.live)
    odd = Hashed(DIM)
    odd.dim = 15
    with pytest.raises(ShapeError, match="wanted an even number"):
        ContentIndex(odd)


def test_a_search_that_means_nothing_is_refused_and_harms_nothing() -> None:
    world = World()
    content = folded(world, ContentIndex(Hashed(DIM)))
    vector = content.vectors[0]
    before = content.nearest(vector, k=100)
    with pytest.raises(InputError, match="no column 'colur'; wanted one of category, brand"):
        content.nearest(vector, Where(among={"colur": [1]}))
    with pytest.raises(InputError, match="NaN"):
        content.nearest(np.full(DIM, np.nan, np.float32))
    with pytest.raises(ShapeError, match="dim=16"):
        content.nearest(np.ones(DIM + 2, np.float32))
    some = np.array([1, 2], np.int32)
    for without in (some, some[:0]):
        assert not len(content.nearest(vector, k=0, without=without).slots)
        with pytest.raises(InputError, match="k is -1"):
            content.nearest(vector, k=-1, without=without)
    after = content.nearest(vector, k=10_000)
    np.testing.assert_array_equal(after.slots, before.slots)
    assert len(after.slots) == 40


def test_few_left_out_leave_k() -> None:
    world = World()
    content = folded(world, ContentIndex(Hashed(DIM)))
    every = content.nearest(content.vectors[0], k=40).slots
    out = every[[0, 2, 3]].astype(np.int32)
    found = content.nearest(content.vectors[0], k=5, without=out)
    assert found.slots.tolist() == [*every[[1]].tolist(), *every[4:8].tolist()]


def test_a_trained_index_is_that_of_before() -> None:
    """Small as it is, its rows are compared all; what comes later is found and what goes is not."""
    world = World(listings=80)
    content, plain = ContentIndex(Hashed(DIM), trained_from=50), ContentIndex(Hashed(DIM))
    for each in (content, plain):
        folded(world, each)
        each.refit()
    assert content.index.codebook.lists > 1 == plain.index.codebook.lists
    trained = content.index
    for each in (content, plain):
        told(each, world, Kind.SOLD, 5)
        each.refit()
    assert content.index is trained  # not so soon again
    for slot in (0, 5, 17):
        ours, twin = (each.nearest(each.vectors[slot], k=30) for each in (content, plain))
        np.testing.assert_array_equal(ours.slots, twin.slots)
        np.testing.assert_array_equal(ours.scores, twin.scores)


def test_out_of_time_gives_the_best_found_so_far() -> None:
    world = World()
    content = folded(world, ContentIndex(Hashed(DIM)))
    rng, size = np.random.default_rng(0), 70_000  # more than one look at the clock
    rows = rng.normal(size=(size, DIM)).astype(np.float32)
    content.index.upsert(np.arange(100, 100 + size, dtype=np.int32), rows)
    request = replace(world.request(), anchor=3)
    hurried = Similar(content).select(request, Where(), 50, out_of_time=lambda: True)
    whole = Similar(content).select(request, Where(), 50, out_of_time=lambda: False)
    assert hurried.unfinished == ("similar",)
    assert len(hurried) == 50
    assert whole.unfinished == ()
    assert whole.scores.sum() > hurried.scores.sum()


def test_what_matches_is_as_of_now_however_often_it_is_asked() -> None:
    world = World(listings=40)
    content, asked = ContentIndex(Hashed(DIM)), "gown listing-7 coat"
    for facts, listings in world.parts(range(1, 60, 7)):
        content.apply(facts, listings)
        size = len(content.vectors)
        for text in (asked, "coat", asked):
            matched, fresh = content.matched(text, size), content.words.match(text, size)
            assert matched.share.tobytes() == fresh.tobytes()
            assert matched.slots.tolist() == np.flatnonzero(fresh).tolist()
            allowed = np.arange(size + 3) % 3 > 0
            well = np.where(allowed[:size], fresh, 0.0)
            if not well.any():
                assert not content.matching(text, allowed, 4).any()
                continue
            enough = np.sort(well[well > 0])[::-1][:4][-1] if (well > 0).sum() > 4 else 0.0
            wanted = (well > 0) & (well >= min(0.75 * well.max(), enough))
            assert content.matching(text, allowed, 4).tolist() == [*wanted, False, False, False]
