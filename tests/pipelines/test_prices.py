"""Prices beside those of the category, and beside what the person usually pays."""

import math

import numpy as np
import pytest

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event, Kind
from heirloom.core.facts import MAX_DECLARED
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.prices import PriceLevels, price_match
from heirloom.testing.features import random_log

T = 1_735_689_600_000
SHELF = (
    ("dresses", 1_000), ("dresses", 4_000), ("boots", 9_000), ("boots", 0), ("hats", 0),
    ("boots", 9_000),
)  # fmt: skip
ALL = np.arange(len(SHELF), dtype=np.int32)


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue(Vocabulary())
    for number, (category, price) in enumerate(SHELF):
        listing = Listing(
            listing_id=f"l{number}", seller="s", title="t", category=category, price_minor=price
        )
        event = Event(
            event_id=f"e{number}", kind=Kind.LISTED, t=T, listing=f"l{number}", data=listing
        )
        catalogue.apply(event, catalogue.allocate(f"l{number}", T))
    return catalogue


def levels_of(catalogue: Catalogue) -> PriceLevels:
    levels, log = PriceLevels(), random_log(0, len(SHELF))
    log.events["kind"], log.listings["slot"] = 0, ALL
    for name in ("category", "price_minor"):
        log.listings[name] = catalogue.column(name)[ALL]
    levels.apply(log)
    return levels


def matched(catalogue: Catalogue, recent: list[int]) -> dict[str, list[float]]:
    slots = np.array(recent, np.int32)
    request = Request(
        query=Query(t=T), person=1, surface=1, declared=np.zeros(MAX_DECLARED, np.int32),
        anchor=-1, recent=slots, recent_kinds=np.zeros(len(slots), np.int8),
        recent_t=np.zeros(len(slots), np.int64), text_vector=np.zeros(4, np.float32),
    )  # fmt: skip
    found = price_match(request, ALL, catalogue, levels_of(catalogue))
    return {name: values.tolist() for name, values in found.items()}


def test_a_price_stands_beside_its_category(catalogue: Catalogue) -> None:
    found = matched(catalogue, [])
    wanted = [-math.log(2), math.log(2), 0, math.nan, math.nan, 0]
    assert found["price_to_category"] == pytest.approx(wanted, abs=1e-4, nan_ok=True)
    assert np.isnan(found["price_to_level"]).all()


def test_who_looks_at_dear_dresses_is_no_friend_of_cheap_boots(catalogue: Catalogue) -> None:
    found = matched(catalogue, [1, 1, 1, 1])
    # Four looks at twice the usual price, shrunk as if four more were at the usual one.
    assert found["price_to_level"][2] == pytest.approx(-math.log(2) / 2, abs=1e-4)
    assert found["price_to_level"][1] == pytest.approx(math.log(2) / 2, abs=1e-4)


def test_what_has_no_price_says_nothing_of_the_person(catalogue: Catalogue) -> None:
    assert matched(catalogue, [3, 1])["price_to_level"] == pytest.approx(
        matched(catalogue, [1])["price_to_level"], nan_ok=True
    )
    assert np.isnan(matched(catalogue, [3])["price_to_level"]).all()


@pytest.mark.parametrize("cut", [0, 1, 57, 200])
def test_how_the_log_is_cut_does_not_matter(cut: int) -> None:
    log, whole, parts = random_log(3, 200), PriceLevels(), PriceLevels()
    whole.apply(log)
    parts.apply(log[:cut])
    parts.apply(log[cut:])
    category, price = np.arange(6, dtype=np.int32), np.full(6, 500, np.int64)
    assert np.array_equal(whole.over(category, price), parts.over(category, price), equal_nan=True)
    assert np.isfinite(whole.over(category, price)).any()
