"""What is asked for by name stands first on the page, whatever the ranker thinks of it."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.pipelines.shop import QUOTAS, START_MS, Shop

from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch, Slate
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend
from heirloom.slates.rules import Rules, Shares

SHELF = (
    ("red zara dress", "Zara", "women/dresses", "red", 20),
    ("zara dress", "Zara", "women/dresses", "blue", 25),
    ("zara coat", "Zara", "women/coats", "red", 30),
    ("zara bag", "Zara", "women/bags", "black", 15),
    ("red dress", "Cos", "women/dresses", "red", 500),
    ("red bag", "Chanel", "women/bags", "red", 4_000),
    ("dress", "Chanel", "women/dresses", "black", 900),
    ("vintage boots", "Prada", "women/boots", "black", 700),
    ("vintage dress", "Cos", "women/dresses", "green", 600),
    ("vintage bag", "Vintage", "women/bags", "red", 10),
)
"""Title, brand, category, colour, price in whole euros: three times each, by other sellers."""


class Dear:
    """A ranker that thinks of prices alone: the dearest first."""

    actions: tuple[str, ...] = ("gain",)

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._price = [name.partition(".")[2] for name in columns].index("price")

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        return batch.values[:, [self._price]]

    def save(self, folder: Any) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Any) -> Self:
        raise NotImplementedError

    @classmethod
    def fit(cls, train: Any, validation: Any, *, seed: int) -> Self:
        raise NotImplementedError


def listed(number: int, copy: int) -> Event:
    title, brand, category, colour, price = SHELF[number]
    name = f"{number}.{copy}"
    data = Listing(
        listing_id=name, seller=f"seller{copy}", title=title, brand=brand, category=category,
        colour=colour, size="m", price_minor=100 * price,
    )  # fmt: skip
    return Event(event_id=name, kind=Kind.LISTED, t=START_MS, listing=name, data=data)


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(seed=3, shares=Shares(new_sellers=1.0))
    shop.ingest(*(listed(number, copy) for number in range(len(SHELF)) for copy in range(3)))
    return shop


@pytest.fixture(scope="module")
def policy(shop: Shop) -> Policy:
    made = Policy(name="test", quotas=QUOTAS, ranker=Dear(shop.live.view.columns), seller_cap=50)
    made.check(shop.live)
    return made


def ask(shop: Shop, policy: Policy, text: str, **asked: Any) -> Slate:
    query = Query(surface="search", t=shop.now, text=text, **{"k": 40, **asked})
    return recommend(query, policy, shop.live)


def shelves(slate: Slate) -> list[int]:
    """Numbers in SHELF, equal ones side by side once."""
    numbers = [int(each.listing.split(".")[0]) for each in slate.shown]
    return [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n]


@pytest.mark.parametrize("text", ["red zara dress", "zarra red dress", "Dress ZARA, Red"])
def test_who_has_all_that_is_named_comes_first(shop: Shop, policy: Policy, text: str) -> None:
    slate = ask(shop, policy, text)
    # Red dress of Zara, dress of Zara, red dress, dress, red of Zara, Zara, red; then by price.
    assert shelves(slate)[:9] == [0, 1, 4, 6, 8, 2, 3, 5, 9]
    assert slate.shown[0].moved[0].rule == "floor"
    assert slate.worth["floor"] < slate.worth["score"]
    plain = ask(shop, replace(policy, rules=Rules(floor=())), text)
    assert plain.shown[0].listing.startswith("5.")  # the Chanel bag
    assert {each.listing for each in plain.shown} == {each.listing for each in slate.shown}


def test_what_is_not_named_is_left_to_the_ranker(shop: Shop, policy: Policy) -> None:
    assert shelves(ask(shop, policy, "zara"))[:4] == [2, 1, 0, 3]
    # Most of what is vintage is of no brand «Vintage»: the dearest first, as the ranker says.
    slate = ask(shop, policy, "vintage")
    assert shelves(slate)[:3] == [7, 8, 9]
    assert not any(each.moved for each in slate.shown)
    # Who names a colour beside one other thing looks around.
    assert shelves(ask(shop, policy, "red dress"))[:4] == [6, 8, 4, 1]
    assert shelves(ask(shop, policy, "red zara"))[:4] == [2, 1, 0, 3]


def test_only_fields_that_are_held_to_count(shop: Shop, policy: Policy) -> None:
    brand = replace(policy, rules=Rules(floor=("brand",)))
    assert shelves(ask(shop, brand, "red zara dress"))[:5] == [2, 1, 0, 3, 5]
    first = replace(policy, rules=Rules(floor=("brand", "category")))
    assert shelves(ask(shop, first, "red zara dress"))[:5] == [1, 0, 2, 3, 6]
    price = replace(policy, rules=Rules(floor=("brand", "price")))
    assert shelves(ask(shop, price, "zara under 26"))[:4] == [1, 0, 3, 2]
    assert shelves(ask(shop, price, "zara over 21 up to 26"))[:4] == [1, 2, 0, 3]
    elsewhere = replace(policy, surfaces=("home",))
    assert shelves(ask(shop, elsewhere, "red zara dress"))[0] == 5


def test_pages_do_not_repeat_and_go_on_where_the_last_ended(shop: Shop, policy: Policy) -> None:
    whole = [each.listing for each in ask(shop, policy, "red zara dress").shown]
    pages: list[str] = []
    while page := ask(shop, policy, "red zara dress", k=5, exclude=tuple(pages)).shown:
        pages += [each.listing for each in page]
    assert pages[: len(whole)] == whole
    assert len(set(pages)) == len(pages)


def test_the_floor_holds_beside_all_other_rules(shop: Shop, policy: Policy) -> None:
    rules = Rules(page=6, reach=12, diversity=0.9, category_cap=2, price_cap=2, freshness=1.0,
                  seen_cap=1, explore=0.5, temperature=10.0,
                  shares=Shares(new_sellers=1.0))  # fmt: skip
    everything = replace(policy, rules=rules, seller_cap=1)
    everything.check(shop.live)
    for user in ("a", "b", "c"):
        slate = ask(shop, everything, "zara dress", user=user)
        met = [(0 if n <= 1 else 1 if n in (4, 6, 8) else 2 if n <= 3 else 3)
               for n in (int(each.listing.split(".")[0]) for each in slate.shown)]  # fmt: skip
        assert met == sorted(met)
        assert any(each.propensity < 1 for each in slate.shown)


def test_sold_own_hidden_and_blocked_are_not_shown_for_all_that(policy: Policy) -> None:
    shop = Shop(seed=4)
    shop.ingest(*(listed(number, copy) for number in range(len(SHELF)) for copy in range(3)))
    shop.ingest(
        Event(event_id="s", kind=Kind.SOLD, t=shop.now, listing="0.0"),
        Event(event_id="h", kind=Kind.HIDE, t=shop.now, user="seller1", listing="0.2"),
        Event(event_id="b", kind=Kind.BLOCK, t=shop.now, user="seller1", seller="seller2"),
    )
    slate = ask(shop, policy, "red zara dress", user="seller1")
    assert [each.listing for each in slate.shown][:3] == ["1.0", "4.0", "6.0"]


def test_words_that_nothing_has_are_said_to_be_so(shop: Shop, policy: Policy) -> None:
    slate = ask(shop, policy, "qwertz")
    assert slate.degraded[0].reason == "no listing that may be shown has a word of 'qwertz'"
    assert not any(each.moved for each in slate.shown)
    assert ask(shop, policy, "boots").degraded == ()


def test_a_brand_is_found_among_all_that_speak_of_it(policy: Policy) -> None:
    shop = Shop(seed=5)

    def coat(number: int, title: str, brand: str) -> Event:
        data = Listing(listing_id=f"c{number}", seller=f"s{number}", title=title, brand=brand)
        name = f"c{number}"
        return Event(event_id=name, kind=Kind.LISTED, t=START_MS, listing=name, data=data)

    shop.ingest(*(coat(n, "coat like Prada", "Cos") for n in range(60)))
    shop.ingest(*(coat(60 + n, "coat", "Prada") for n in range(70)))
    narrow = replace(policy, quotas={"search": {"search": 10}}, pools={"search": 24})
    shown = ask(shop, narrow, "prada", k=12).shown
    assert [int(each.listing[1:]) >= 60 for each in shown] == [True] * 12
    assert any(each.sources == ("named",) for each in shown)


def test_it_follows_from_the_log(shop: Shop, policy: Policy) -> None:
    before = [ask(shop, policy, text).shown for text in ("zarra", "vintage dress", "red")]
    shop.restart()
    again = [ask(shop, policy, text).shown for text in ("zarra", "vintage dress", "red")]
    assert before == again
