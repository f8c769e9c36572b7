"""Facets: each count is how many listings one would see by choosing it."""

import msgspec
import numpy as np
import pytest

from heirloom.apps.web.facets import FIELDS, facets
from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event
from heirloom.core.query import Filters
from heirloom.core.vocabulary import Vocabulary

from .conftest import listings


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    made = Catalogue(Vocabulary())
    for slot, listing in enumerate(listings()):
        event = Event(
            event_id=listing.listing_id, kind="listed", t=slot, listing=listing.listing_id,
            data=listing,
        )  # fmt: skip
        made.apply(event, slot)
    return made


ASKED = [
    Filters(),
    Filters(brands=("prada",)),
    Filters(brands=("prada", "cos"), colours=("red",), category="women"),
    Filters(sizes=("m",), price_min_minor=5_000, price_max_minor=10_000),
    Filters(brands=("nobody's",)),
]


@pytest.mark.parametrize("asked", ASKED)
def test_a_count_is_what_choosing_it_alone_would_leave(
    catalogue: Catalogue, asked: Filters
) -> None:
    found = facets(catalogue, asked)
    assert found.total == int(catalogue.mask(asked).sum())
    for name, column in FIELDS.items():
        for choice in found.fields[column]:
            alone = msgspec.structs.replace(asked, **{name: (choice.value,)})
            assert choice.count == int(catalogue.mask(alone).sum()), choice
            assert choice.chosen == (choice.value in getattr(asked, name))
        assert set(getattr(asked, name)) <= {choice.value for choice in found.fields[column]}
    for choice in found.categories:
        alone = msgspec.structs.replace(asked, category=choice.value)
        assert choice.count == int(catalogue.mask(alone).sum())
    for band in found.bands:
        high = None if band.high is None else band.high * 100
        alone = msgspec.structs.replace(asked, price_min_minor=band.low * 100, price_max_minor=high)
        assert band.count == int(catalogue.mask(alone).sum())


def test_categories_are_the_next_step_below(catalogue: Catalogue) -> None:
    def steps(category: str) -> list[tuple[str, int]]:
        found = facets(catalogue, Filters(category=category))
        return [(choice.value, choice.count) for choice in found.categories]

    assert steps("") == [("women", 60), ("men", 3)]
    assert steps("women") == [("women/clothing", 60)]
    assert steps("women/clothing") == [
        ("women/clothing/coats", 30),
        ("women/clothing/dresses", 30),
    ]
    assert steps("women/clothing/coats") == []
    assert steps("wom") == []


def test_within_counts_only_what_a_text_found(catalogue: Catalogue) -> None:
    within = np.zeros(len(catalogue), np.bool_)
    within[:10] = True  # ten of the 60: brands by i % 5, so two of each
    found = facets(catalogue, Filters(), within=within)
    assert found.total == 10
    assert {(choice.value, choice.count) for choice in found.fields["brand"]} == {
        ("arket", 2), ("prada", 2), ("cos", 2), ("toast", 2), ("gucci", 2)
    }  # fmt: skip
