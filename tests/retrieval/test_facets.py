"""Facets: each count is how many listings one would see by choosing it."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.query import Filters
from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.facets import FIELDS, facets

BRANDS = ("arket", "prada", "cos", "")
SIZES, COLOURS, CONDITIONS = ("s", "m", ""), ("red", "blue"), ("new", "good")
PATHS = ("women/clothing/coats", "women/clothing/dresses", "men/shoes", "")
PRICES = (0, 2_499, 2_500, 5_000, 7_777, 10_000, 99_999, 100_000, 250_000)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    made, rng = Catalogue(Vocabulary()), np.random.default_rng(0)
    for slot in range(400):
        listing = Listing(
            listing_id=str(slot),
            seller=f"seller-{slot % 7}",
            title="piece",
            brand=str(rng.choice(BRANDS)),
            size=str(rng.choice(SIZES)),
            colour=str(rng.choice(COLOURS)),
            condition=str(rng.choice(CONDITIONS)),
            category=str(rng.choice(PATHS)),
            price_minor=int(rng.choice(PRICES)),
        )
        listed = Event(event_id=str(slot), kind="listed", t=slot, listing=str(slot), data=listing)
        made.apply(listed, slot)
        if slot % 9 == 0:
            made.apply(Event(event_id=f"s{slot}", kind="sold", t=slot, listing=str(slot)), slot)
    return made


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from((*values, "nobody's")), max_size=2, unique=True).map(tuple)


FILTERS = st.builds(
    Filters,
    category=st.sampled_from(("", "women", "women/clothing", "men/shoes", "wom")),
    brands=some(BRANDS[:3]),
    sizes=some(SIZES[:2]),
    colours=some(COLOURS),
    conditions=some(CONDITIONS),
    sellers=some(("seller-1", "seller-2")),
    price_min_minor=st.sampled_from((None, 0, 2_500, 5_001)),
    price_max_minor=st.sampled_from((None, 5_000, 100_000)),
)


@settings(max_examples=60, deadline=None)
@given(asked=FILTERS, seed=st.integers(0, 3))
def test_a_count_is_what_choosing_it_alone_would_leave(
    catalogue: Catalogue, asked: Filters, seed: int
) -> None:
    within = np.random.default_rng(seed).random(len(catalogue)) < 0.7 if seed else None

    def left(**chosen: object) -> int:
        mask = catalogue.mask(msgspec.structs.replace(asked, **chosen))
        return int((mask if within is None else mask & within).sum())

    found = facets(catalogue, asked, within=within)
    assert found.total == left()
    for name, column in FIELDS.items():
        for choice in found.fields[column]:
            assert choice.count == left(**{name: (choice.value,)}), choice
            assert choice.chosen == (choice.value in getattr(asked, name))
        assert set(getattr(asked, name)) <= {choice.value for choice in found.fields[column]}
        every = [text for text in catalogue.vocabulary.texts(column)[1:] if left(**{name: (text,)})]
        assert {choice.value for choice in found.fields[column]} >= set(every)
    for choice in found.categories:
        assert choice.count == left(category=choice.value)
    for band in found.bands:
        high = None if band.high is None else band.high * 100
        assert band.count == left(price_min_minor=band.low * 100, price_max_minor=high), band


def test_categories_are_the_next_step_below(catalogue: Catalogue) -> None:
    def steps(category: str) -> list[str]:
        return sorted(c.value for c in facets(catalogue, Filters(category=category)).categories)

    assert steps("") == ["men", "women"]
    assert steps("women") == ["women/clothing"]
    assert steps("women/clothing") == ["women/clothing/coats", "women/clothing/dresses"]
    assert steps("women/clothing/coats") == []
    assert steps("wom") == []


def test_the_rarer_choices_are_left_out_but_not_those_chosen(catalogue: Catalogue) -> None:
    found = facets(catalogue, Filters(brands=("nobody's",)), most=1)
    assert [(c.value, c.chosen) for c in found.fields["brand"]][1:] == [("nobody's", True)]
    assert len(found.fields["size"]) == 0  # nothing is left to have a size


def test_an_empty_catalogue_has_no_choices() -> None:
    found = facets(Catalogue(Vocabulary()), Filters(brands=("cos",)))
    assert (found.total, found.categories, found.bands) == (0, (), ())
    assert [(c.value, c.count) for c in found.fields["brand"]] == [("cos", 0)]
