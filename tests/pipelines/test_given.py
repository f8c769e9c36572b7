"""Given columns: the definition's arithmetic in a world of four listings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, Event, Kind
from heirloom.core.facts import MAX_DECLARED
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.given import (
    INTEREST_HALF_LIFE_MS,
    anchor_match,
    recent_match,
    stated_match,
    stock_columns,
)
from heirloom.pipelines.preferences import Preference
from heirloom.retrieval.content import INTEREST, KIND_WEIGHT

T = 1_735_689_600_000
SHELF = (
    ("women/dresses/midi", "ganni", "38", 4_000),
    ("women/dresses/maxi", "ganni", "40", 8_000),
    ("women/shoes/boots", "arket", "38", 9_000),
    ("men/shirts/linen", "cos", "M", 2_000),
)
ALL = np.arange(4, dtype=np.int32)
DECLARED = ("department", "clothing_size")


@pytest.fixture
def catalogue() -> Catalogue:
    catalogue = Catalogue(Vocabulary())
    for number, (category, brand, size, price) in enumerate(SHELF):
        listing = Listing(
            listing_id=f"l{number}",
            seller="s",
            title="t",
            category=category,
            brand=brand,
            size=size,
            price_minor=price,
        )
        event = Event(
            event_id=f"e{number}", kind=Kind.LISTED, t=T, listing=f"l{number}", data=listing
        )
        catalogue.apply(event, catalogue.allocate(f"l{number}", T))
    return catalogue


def asked(catalogue: Catalogue, recent: list[int] | None = None, **stated: str) -> Request:
    declared = np.zeros(MAX_DECLARED, np.int32)
    for i, name in enumerate(DECLARED):
        declared[i] = catalogue.vocabulary.code(f"declared.{name}", stated.get(name))
    slots = np.array(recent or [], np.int32)
    return Request(
        query=Query(t=T),
        person=1,
        surface=1,
        declared=declared,
        anchor=-1,
        recent=slots,
        recent_kinds=np.zeros(len(slots), np.int8),
        recent_t=np.zeros(len(slots), np.int64),
        text_vector=np.zeros(4, np.float32),
    )


def test_what_was_stated(catalogue: Catalogue) -> None:
    request = asked(catalogue, department="women", clothing_size="m")
    found = stated_match(request, ALL, catalogue, DECLARED, Preference(frozenset({1}), frozenset()))
    assert found["brand_stated"].tolist() == [1, 1, 0, 0]
    assert found["size_stated"].tolist() == [0, 0, 0, 1]
    assert found["department_stated"].tolist() == [1, 1, 1, 0]


def test_nothing_stated_is_missing(catalogue: Catalogue) -> None:
    found = stated_match(asked(catalogue), ALL, catalogue, DECLARED, Preference())
    assert all(np.isnan(column).all() for column in found.values())


def test_shares_of_recent_actions(catalogue: Catalogue) -> None:
    found = recent_match(asked(catalogue, [0, 0, 1, 3]), ALL, catalogue)
    assert found["department_recent"].tolist() == [3 / 4, 3 / 4, 3 / 4, 1 / 4]
    assert found["family_recent"].tolist() == [3 / 4, 3 / 4, 0, 1 / 4]
    assert found["size_recent"].tolist() == [2 / 4, 1 / 4, 0, 1 / 4]


def test_interest_in_a_category_fades_by_half_in_two_days(catalogue: Catalogue) -> None:
    request = replace(
        asked(catalogue, [0, 2]),
        recent_kinds=np.array([KIND_CODE[Kind.CLICK], KIND_CODE[Kind.SAVE]], np.int8),
        recent_t=np.array([T, T - 2 * INTEREST_HALF_LIFE_MS]),
    )
    found = recent_match(request, ALL, catalogue)["category_interest"]
    click, save = (INTEREST[kind] for kind in (Kind.CLICK, Kind.SAVE))
    assert found.tolist() == [click, 0, save / 4, 0]


def test_beside_an_anchor(catalogue: Catalogue) -> None:
    found = anchor_match(replace(asked(catalogue), anchor=0), ALL, catalogue)
    assert found["anchor_category"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert found["anchor_brand"].tolist() == [1, 1, 0, 0]
    assert found["anchor_price"].tolist() == pytest.approx(np.log([1, 2, 9 / 4, 1 / 2]))


def test_no_anchor_and_no_recents_are_missing(catalogue: Catalogue) -> None:
    request = asked(catalogue)
    for found in (anchor_match(request, ALL, catalogue), recent_match(request, ALL, catalogue)):
        assert all(np.isnan(column).all() for column in found.values())


def test_photos_and_price_drop(catalogue: Catalogue) -> None:
    event = Event(
        event_id="p", kind=Kind.PRICE_CHANGED, t=T, listing="l0", price_minor=3_000, currency="EUR"
    )
    catalogue.apply(event, 0)
    found = stock_columns(ALL, catalogue)
    assert found["price_drop"].tolist() == [1 - 3_000 / 4_000, 0, 0, 0]
    assert found["photos"].tolist() == [0, 0, 0, 0]


Rows = st.tuples(
    st.sampled_from(["women/dresses/midi", "women/dresses/maxi", "women/shoes", "men/shirts", ""]),
    st.sampled_from(["ganni", "cos", ""]),
    st.sampled_from(["38", "M", ""]),
    st.integers(0, 9_000),
)


@given(shelf=st.lists(Rows, min_size=1, max_size=8), seed=st.integers(0, 1_000))
@settings(deadline=None, max_examples=60)
def test_one_walk_gives_what_columns_give(
    shelf: list[tuple[str, str, str, int]], seed: int
) -> None:
    stock, rng = Catalogue(Vocabulary()), np.random.default_rng(seed)
    for number, (category, brand, size, price) in enumerate(shelf):
        listing = Listing(
            listing_id=f"l{number}", seller="s", title="t", category=category, brand=brand,
            size=size, price_minor=price, photos=number,
        )  # fmt: skip
        event = Event(
            event_id=f"e{number}", kind=Kind.LISTED, t=T, listing=f"l{number}", data=listing
        )
        stock.apply(event, stock.allocate(f"l{number}", T))
    slots = rng.integers(0, len(shelf), 12).astype(np.int32)
    request = replace(
        asked(stock, rng.integers(0, len(shelf), 5).tolist(), department="women"),
        recent_kinds=rng.integers(0, 6, 5).astype(np.int8),
        recent_t=T - rng.integers(-9, 10**9, 5),
    )
    preference = Preference(frozenset({1}), frozenset({2}))
    codes = {name: stock.column(name)[slots] for name in ("category", "brand", "size")}
    past = {name: stock.column(name)[request.recent] for name in ("category", "size")}
    age = np.maximum(T - request.recent_t, 0) / INTEREST_HALF_LIFE_MS
    worth = np.rint(np.exp2(-age) * 1024).astype(np.int64) * KIND_WEIGHT[request.recent_kinds]
    same = [
        stock.stem(steps)[codes["category"]][:, None] == stock.stem(steps)[past["category"]]
        for steps in (1, 2)
    ]
    first = stock.column("first_price_minor")[slots].astype(np.float64)
    wanted = {
        "department_recent": same[0].sum(axis=1) / 5,
        "family_recent": same[1].sum(axis=1) / 5,
        "size_recent": (same[1] & (codes["size"][:, None] == past["size"])).sum(axis=1) / 5,
        "category_interest": (codes["category"][:, None] == past["category"]) @ worth / 1024,
        "photos": stock.column("photos")[slots],
        "price_drop": 1 - stock.column("price_minor")[slots] / np.where(first > 0, first, np.nan),
        "brand_stated": codes["brand"] == 1,
        "size_stated": codes["size"] == 2,
        "department_stated": stock.under("women")[codes["category"]],
    }
    found = {
        **recent_match(request, slots, stock),
        **stock_columns(slots, stock),
        **stated_match(request, slots, stock, DECLARED, preference),
    }
    assert found.keys() == wanted.keys()
    for name, column in wanted.items():
        assert found[name].tobytes() == column.astype(np.float32).tobytes(), name
