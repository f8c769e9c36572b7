"""The rules of a slate in a shop: what is folded, composed, recorded, refused, and said of it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.pipelines.shop import QUOTAS, START_MS, Shop

from heirloom.core.errors import ConfigError
from heirloom.core.event import Event, Kind
from heirloom.core.filters import Filters
from heirloom.core.query import Query
from heirloom.core.slate import Slate
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend, record
from heirloom.slates.rules import Rules, Shares

SHARES = Shares(
    new_sellers=2.0, low_exposure=2.0, new_seller_days=0.01, new_seller_sales=6,
    low_exposure_below=3, every=4,
)  # fmt: skip
RULES = Rules(page=4, reach=12, diversity=0.3, category_cap=2, price_cap=2, freshness=0.2,
              seen_cap=2, explore=0.25, shares=SHARES)  # fmt: skip
OFF = Policy(name="test", quotas=QUOTAS, seller_cap=2, rules=Rules(floor=()))
ON = replace(OFF, rules=RULES)


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(seed=5, shares=SHARES)
    for _ in range(60):
        shop.ingest(shop.made(f"first{len(shop.listed)}", shop.now))
    shop.run(40)
    return shop


def ask(shop: Shop, policy: Policy = ON, **asked: Any) -> Slate:
    return recommend(Query(t=shop.now, **{"k": 12, **asked}), policy, shop.live)


def test_a_slate_is_the_same_again_and_after_a_restart(shop: Shop) -> None:
    queries = [shop.query() for _ in range(30)]
    before = [recommend(query, ON, shop.live) for query in queries]
    assert any(each.moved for slate in before for each in slate.shown)
    assert any(each.propensity < 1 for slate in before for each in slate.shown)
    shop.restart()
    for query, slate in zip(queries, before, strict=True):
        again = recommend(query, ON, shop.live)
        assert (again.shown, again.worth) == (slate.shown, slate.worth)


def test_off_costs_nothing_and_says_nothing(shop: Shop) -> None:
    queries = [shop.query() for _ in range(20)]
    for query in queries:
        slate = recommend(query, OFF, shop.live)
        elsewhere = recommend(query, replace(ON, surfaces=()), shop.live)
        assert [s.listing for s in slate.shown] == [s.listing for s in elsewhere.shown]
        assert all(s.propensity == 1 and not s.moved for s in slate.shown)
        assert slate.worth == {}


def test_the_record_holds_the_chance_of_each_place(shop: Shop) -> None:
    query = Query(t=shop.now, user="user1", k=12)
    slate = recommend(query, ON, shop.live)
    kept = record(slate, query)
    assert kept.propensities == tuple(each.propensity for each in slate.shown)
    drawn = [place for place, chance in enumerate(kept.propensities) if chance < 1]
    assert drawn
    assert set(drawn) <= {3, 7, 11}
    assert 0 < math.prod(kept.propensities) < 1


def test_own_hidden_blocked_excluded_and_sold_are_never_shown(shop: Shop) -> None:
    first = ask(shop, user="user2", k=40)
    shown = [each.listing for each in first.shown]
    catalogue = shop.live.catalogue
    sellers = [catalogue.listing(int(slot)).seller for slot in first.slots]
    hidden, sold, blocked = shown[0], shown[1], sellers[2]
    own = next(seller for seller in sellers if seller != blocked)
    shop.ingest(
        Event(event_id="h", kind=Kind.HIDE, t=shop.now, user=own, listing=hidden),
        Event(event_id="b", kind=Kind.BLOCK, t=shop.now, user=own, seller=blocked),
        Event(event_id="s", kind=Kind.SOLD, t=shop.now, listing=sold),
    )
    for surface in ("home", "similar"):
        anchor = shown[3] if surface == "similar" else None
        visit: list[str] = []
        while page := ask(
            shop, surface=surface, user=own, anchor=anchor, k=5, exclude=tuple(visit)
        ).shown:
            for each in page:
                listing = catalogue.listing(catalogue.slot_of(each.listing))
                assert listing.seller not in (own, blocked)
                assert each.listing not in (hidden, sold, anchor, *visit)
                visit.append(each.listing)
        assert len(visit) > 10


def test_a_listing_shown_too_often_is_put_back_until_acted_on(shop: Shop) -> None:
    policy = replace(OFF, rules=Rules(seen_cap=2))
    asked: dict[str, Any] = {"user": "tired", "k": 12}
    first = [each.listing for each in ask(shop, policy, **asked).shown]
    for number in range(2):
        shop.ingest(
            Event(event_id=f"seen{number}", kind=Kind.IMPRESSION, t=shop.now, user="tired",
                  listings=(first[0], first[1]), slate=f"x{number}", surface="home")
        )  # fmt: skip
    tired = ask(shop, policy, **asked).shown
    assert not {first[0], first[1]} & {each.listing for each in tired[:6]}
    everything = ask(shop, policy, user="tired", k=100).shown
    assert {each.listing for each in everything[-2:]} == {first[0], first[1]}
    assert everything[-1].moved[0].rule == "seen"
    shop.ingest(Event(event_id="act", kind=Kind.CLICK, t=shop.now, user="tired", listing=first[0]))
    assert ask(shop, policy, user="tired", k=100).shown[-1].listing == first[1]


@pytest.mark.parametrize("policy", [OFF, ON])
def test_an_empty_slate_says_why(shop: Shop, policy: Policy) -> None:
    def why(**asked: Any) -> str:
        slate = ask(shop, policy, **asked)
        assert slate.shown == ()
        assert record(slate, Query(t=shop.now)).listings == ()
        return slate.degraded[-1].reason

    live = int(shop.live.catalogue.live.sum())
    assert why(filters=Filters(price_min_minor=10**9)) == (
        f"nothing to show: the filters leave none of {live} live listings"
    )
    everything = tuple(
        shop.live.catalogue.listing(int(slot)).listing_id
        for slot in np.flatnonzero(shop.live.catalogue.live)
    )
    assert why(exclude=everything) == (
        f"nothing to show: of {live} live listings that the filters leave, all are the person's "
        "own, hidden, blocked, or shown before"
    )
    empty = Shop(seed=1, shares=SHARES)
    slate = recommend(Query(t=START_MS), policy, empty.live)
    assert slate.degraded[-1].reason == "nothing to show: no listing is live"


def test_a_policy_asks_for_what_its_rules_read(shop: Shop) -> None:
    ON.check(shop.live)
    bare = Shop(seed=1).live
    with pytest.raises(ConfigError) as refused:
        replace(ON, rules=replace(RULES, diversity=2.0), surfaces=("hom",)).check(bare)
    told = "\n".join(refused.value.problems)
    for part in ("slate: diversity is 2; wanted 0 to 1", "no surface 'hom'",
                 "counts exposure", "counts frequency"):  # fmt: skip
        assert part in told


def test_lifts_follow_from_the_log_alone(shop: Shop) -> None:
    assert shop.live.exposure is not None
    before, held = shop.live.exposure.lifts, shop.live.exposure.held
    assert (before > 0).any()
    shop.restart()
    assert shop.live.exposure.lifts.tobytes() == before.tobytes()
    assert shop.live.exposure.held == held
