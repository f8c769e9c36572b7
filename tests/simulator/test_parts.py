"""Words, pictures, supply, captured value."""

import random

import numpy as np
import pytest

from heirloom.core.errors import ShapeError
from heirloom.core.listing import Listing
from heirloom.simulator import Size, World, captured_value, draw, fitted
from heirloom.simulator.stock import Space, fit_of
from heirloom.simulator.supply import sale_hazard, stationary_ages
from heirloom.simulator.words import listing_of, misspelt, search_text

TINY = Size(listings=500, people=50, days=1, sessions_per_day=2.0)


def test_a_picture_is_decided_by_the_listing() -> None:
    one = Listing(listing_id="a", seller="s", title="t", category="women/shoes/heels", colour="red")
    other = Listing(listing_id="b", seller="s", title="t", category="women/shoes/heels")
    assert draw(one).tobytes() == draw(one).tobytes()
    assert draw(one).tobytes() != draw(other).tobytes()
    assert draw(one, 30, 40).shape == (40, 30, 3)
    assert draw(one).dtype == np.uint8


@pytest.mark.parametrize("category", ["", "other", "kids/girls/odd things", "a/b/necklaces"])
def test_any_listing_has_a_picture_with_its_colour(category: str) -> None:
    red = draw(Listing(listing_id="a", seller="s", title="", category=category, colour="red"))
    blue = draw(Listing(listing_id="a", seller="s", title="", category=category, colour="blue"))
    changed = (red != blue).any(axis=2).mean()
    assert 0.01 < changed < 0.7


def test_texts_do_not_depend_on_the_order_of_reading() -> None:
    world = World(TINY, 2)
    forth = [listing_of(world.stock, i, 2) for i in range(100)]
    back = [listing_of(world.stock, i, 2) for i in reversed(range(100))]
    assert forth == back[::-1]
    assert all(listing.problem() is None for listing in forth)


def test_some_sellers_misspell_and_stuff_brands() -> None:
    world = World(TINY, 2)
    listings = [listing_of(world.stock, i, 2) for i in range(500)]
    spelt = np.mean([x.brand in x.title.lower() for x in listings])
    assert 0.75 < spelt < 0.99
    stuffed = np.mean(["similar to" in x.description for x in listings])
    assert 0.02 < stuffed < 0.35


def test_a_search_says_what_is_wanted() -> None:
    plain = search_text("women/shoes/boots", "gucci", "red", "38", (False, False), 3).lower()
    assert all(word in plain for word in ("boots", "gucci", "red", "38"))
    slipped = search_text("", "balenciaga", "", "", (False, True), 3).lower()
    assert slipped != "balenciaga"
    assert abs(len(slipped) - len("balenciaga")) <= 1
    assert misspelt("abc", random.Random(0)) == "abc"


def test_body_index_joins_letters_and_numbers() -> None:
    assert fit_of("xl", "men", "clothing") == fit_of("52", "men", "clothing") == 4.0
    assert fit_of("34", "women", "clothing") == fit_of("XS", "women", "clothing") == 0.0
    assert np.isnan(fit_of("2", "women", "clothing"))


def test_places_do_not_depend_on_the_order_of_asking() -> None:
    one, two = Space(1), Space(1)
    two.brand("prada")
    assert one.brand("gucci").tobytes() == two.brand("gucci").tobytes()
    assert Space(2).brand("gucci").tobytes() != one.brand("gucci").tobytes()


def test_half_of_new_listings_sell_by_the_median_life() -> None:
    days = np.exp(fitted.LIFE_LOG_MEAN)
    assert sale_hazard(np.array([0.0]), float(days)) == pytest.approx(0.5, abs=1e-6)
    ages = stationary_ages(np.random.default_rng(0), 2000)
    assert 0 <= ages.min() < ages.max() <= fitted.EXPIRY_DAYS


def test_captured_value_is_a_ratio_of_sums_over_queries() -> None:
    policy, popular = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0])
    oracle, people = np.array([5.0, 2.0, 4.0]), np.array([7, 7, 9])
    found = captured_value(policy, popular, oracle, people)
    assert found.value == ((3 - 1) + (1 - 1) + (2 - 0)) / ((5 - 1) + (2 - 1) + (4 - 0))
    assert (found.people, found.queries) == (2, 3)
    assert found.low == pytest.approx(2 / 5)
    assert found.high == pytest.approx(2 / 4)
    assert captured_value(oracle, popular, oracle, people).value == 1.0
    assert captured_value(popular, popular, oracle, people).value == 0.0
    with pytest.raises(ShapeError, match="must all be"):
        captured_value(policy, popular, oracle[:2], people)
