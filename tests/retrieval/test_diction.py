"""Diction: listings described in like words stand near each other, though they share no word."""

import numpy as np
import pytest

from heirloom.core.listing import Listing
from heirloom.retrieval.diction import DIM, Diction

STYLES = (
    ("boho", "festival", "fringed", "flowy"),
    ("office", "tailored", "smart", "formal"),
    ("biker", "studded", "grunge", "rock"),
    ("sporty", "track", "gym", "athleisure"),
)
"""What people call a style; each listing uses two of its four words."""


def a_listing(title: str) -> Listing:
    return Listing(listing_id=title, seller="s", title=title)


def titles(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(STYLES[i % len(STYLES)], 2, replace=False)) for i in range(count)]


@pytest.fixture
def diction() -> Diction:
    diction = Diction()
    diction.put({slot: a_listing(title) for slot, title in enumerate(titles(400))})
    diction.refit()
    return diction


def test_words_that_stand_beside_the_same_words_mean_the_same(diction: Diction) -> None:
    diction.put({400: a_listing("boho festival"), 401: a_listing("fringed flowy")})
    diction.put({402: a_listing("office smart")})
    like, unlike = diction.match(np.array([400], np.int32), np.array([401, 402], np.int32))
    assert like > 0.1 > 0 > unlike


def test_the_match_is_the_dot_product_with_the_mean_of_the_recent(diction: Diction) -> None:
    recent, slots = np.array([0, 4, 1], np.int32), np.arange(8, dtype=np.int32)
    places = diction._places.astype(np.int64)
    profile = places[0] + places[4] + places[1]
    # int8 places of 63 for 1.0; three recent listings and four at the centre.
    expected = [sum(places[slot] * profile) / (63 * 63 * (3 + 4)) for slot in slots]
    assert diction.match(recent, slots).tolist() == np.array(expected, np.float32).tolist()


def test_a_reused_slot_stands_where_the_newcomer_does(diction: Diction) -> None:
    diction.put({0: a_listing("sporty gym"), 500: a_listing("sporty gym")})
    first, second = diction.match(np.array([7], np.int32), np.array([0, 500], np.int32)).tolist()
    assert first == second


def test_each_value_is_its_own(diction: Diction) -> None:
    recent = np.array([0, 1, 1], np.int32)
    together = diction.match(recent, np.arange(9, dtype=np.int32))
    alone = [diction.match(recent, np.array([slot], np.int32))[0] for slot in range(9)]
    assert together.tobytes() == np.array(alone, np.float32).tobytes()


def test_places_do_not_depend_on_how_listings_came(diction: Diction) -> None:
    other = Diction()
    for slot, title in reversed(list(enumerate(titles(400)))):
        other.put({slot: a_listing("worn once")})
        other.put({slot: a_listing(title)})
    other.refit()
    assert other._places[:400].tobytes() == diction._places[:400].tobytes()


def test_nothing_is_placed_by_a_few_listings() -> None:
    diction = Diction()
    diction.put({slot: a_listing(title) for slot, title in enumerate(titles(20))})
    diction.refit()
    slots = np.arange(20, dtype=np.int32)
    assert not diction.match(slots, slots).any()


def test_how_far_along_a_way_is_the_dot_product_with_the_place(diction: Diction) -> None:
    slots, way = np.array([3, 0, 9_999], np.int32), np.linspace(-0.5, 0.25, DIM)
    places = diction.places(slots)
    assert places.shape == (3, DIM)
    assert np.abs(places[:2]).max() > 0.1
    assert places[2].tolist() == [0] * DIM  # past the end there are no words
    np.testing.assert_allclose(diction.along(slots, way), places @ way, atol=2**-11)
