"""Bad input to a slate, by the way of a request: a fair slate, or an honest empty one."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.pipelines.shop import QUOTAS, START_MS, Shop

from heirloom.core.event import Event, Kind, Surface
from heirloom.core.filters import Filters
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.ranker import Examples
from heirloom.slates.rules import Rules, Shares

SHARES = Shares(new_sellers=1.0, low_exposure=1.0)
RULES = Rules(page=8, reach=30, diversity=0.4, category_cap=3, price_cap=4, freshness=0.3,
              seen_cap=2, explore=0.25, shares=SHARES)  # fmt: skip
MANY = 100_000
POLICIES = [Policy(name="plain", quotas=QUOTAS), Policy(name="ruled", quotas=QUOTAS, rules=RULES)]


def stocked(listings: int, sellers: int, seed: int = 1) -> Shop:
    """A shop of listings that nothing tells apart but their ids, listed at one moment."""
    shop = Shop(seed=seed, shares=SHARES)
    for start in range(0, listings, 5_000):
        shop.ingest(*(
            Event(event_id=f"{i}", kind=Kind.LISTED, t=START_MS, listing=f"{i}",
                  data=Listing(listing_id=f"{i}", seller=f"s{i % sellers}", title="coat"))
            for i in range(start, min(start + 5_000, listings))
        ))  # fmt: skip
    return shop


@pytest.fixture(scope="module")
def shop() -> Shop:
    return stocked(60, 60)


class Blind:
    """A ranker to whom no feature is told: each is NaN."""

    def __init__(self, ranker: CatBoostExpected) -> None:
        self._ranker = ranker
        self.columns, self.actions = ranker.columns, ranker.actions

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        return self._ranker.score(replace(batch, values=np.full_like(batch.values, np.nan)))


class NoNumber(Blind):
    """A ranker that breaks: NaN for every other candidate."""

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        scores = super().score(batch).copy()
        scores[::2] = np.nan
        return scores


@pytest.fixture(scope="module")
def ranker(shop: Shop) -> CatBoostExpected:
    """Trained on next to nothing, so that it runs."""
    rng, columns = np.random.default_rng(0), shop.live.view.columns
    rows = 200
    examples = Examples(
        values=rng.normal(size=(rows, len(columns))).astype(np.float32),
        columns=columns,
        groups=np.repeat(np.arange(rows // 10), 10),
        gains=rng.choice(np.array([0, 1, 3], np.float32), rows),
        positions=np.tile(np.arange(10), rows // 10).astype(np.int16),
        t=np.zeros(rows, np.int64),
    )
    return CatBoostExpected.fit(examples, examples, seed=0, iterations=5, thread_count=1)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_one_candidate(policy: Policy) -> None:
    one = stocked(1, 1)
    slate = recommend(Query(t=one.now), policy, one.live)
    assert [each.listing for each in slate.shown] == ["0"]
    assert [(each.propensity, each.moved) for each in slate.shown] == [(1.0, ())]
    assert slate.remaining == 0


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_hundred_thousand_candidates(policy: Policy, crowd: Shop) -> None:
    wide = {surface: {"recent": MANY} for surface in Surface}
    everyone = replace(policy, quotas=wide, pool=MANY)
    slate = recommend(Query(t=crowd.now, k=50), everyone, crowd.live)
    assert len({each.listing for each in slate.shown}) == 50
    assert slate.remaining == MANY - 50
    again = recommend(Query(t=crowd.now, k=50), everyone, crowd.live)
    assert again.shown == slate.shown


@pytest.fixture(scope="module")
def crowd() -> Shop:
    return stocked(MANY, 5_000)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_features_that_are_all_missing(
    shop: Shop, policy: Policy, ranker: CatBoostExpected
) -> None:
    blind = replace(policy, ranker=Blind(ranker))
    slate = recommend(Query(t=shop.now), blind, shop.live)
    assert len(slate.shown) == 24
    assert len({each.score for each in slate.shown}) == 1
    assert np.isfinite([each.score for each in slate.shown]).all()
    assert recommend(Query(t=shop.now), blind, shop.live).shown == slate.shown


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_scores_that_are_no_number_come_last(
    shop: Shop, policy: Policy, ranker: CatBoostExpected
) -> None:
    broken = replace(policy, ranker=NoNumber(ranker))
    slate = recommend(Query(t=shop.now, k=60), broken, shop.live)
    missing = np.isnan([each.score for each in slate.shown])
    assert missing.any()
    assert not missing.all()
    assert (np.diff(missing.astype(int)) >= 0).all()


def test_equal_scores_keep_the_order_of_retrieval(shop: Shop, ranker: CatBoostExpected) -> None:
    plain, blind = POLICIES[0], replace(POLICIES[0], ranker=Blind(ranker))
    orders = [
        [each.listing for each in recommend(Query(t=shop.now), policy, shop.live).shown]
        for policy in (plain, blind)
    ]
    assert orders[0] == orders[1]
    shop.restart()
    again = recommend(Query(t=shop.now), blind, shop.live)
    assert [each.listing for each in again.shown] == orders[0]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_all_from_one_seller_are_shown_all_the_same(policy: Policy) -> None:
    alone = stocked(30, 1)
    slate = recommend(Query(t=alone.now, k=30), replace(policy, seller_cap=2), alone.live)
    assert len({each.listing for each in slate.shown}) == 30


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_all_filtered_away_is_an_honest_empty_slate(shop: Shop, policy: Policy) -> None:
    asked = Query(t=shop.now, surface="search", text="coat", filters=Filters(sizes=("xs",)))
    slate = recommend(asked, policy, shop.live)
    assert (slate.shown, slate.remaining, len(slate.slots)) == ((), 0, 0)
    assert [(step.step, step.reason) for step in slate.degraded][-1] == (
        "compose", "nothing to show: the filters leave none of 60 live listings",
    )  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_where_no_retriever_proposes_anything_the_newest_do(policy: Policy) -> None:
    late = stocked(5, 5)
    for number in (3, 1):
        late.now += 1_000
        data = Listing(listing_id=f"n{number}", seller=f"n{number}", title="boots")
        late.ingest(
            Event(event_id=f"n{number}", kind=Kind.LISTED, t=late.now, listing=f"n{number}",
                  data=data)
        )  # fmt: skip
    # Nobody acted yet, so there is no taste; a home page that asks for nothing else is empty.
    tasteless = replace(policy, quotas={surface: {"taste": 10} for surface in Surface})
    slate = recommend(Query(t=late.now, k=3, user="n1"), tasteless, late.live)
    assert slate.degraded[0].step == "retrieve"
    assert slate.degraded[0].reason == (
        "no retriever proposed any of 6 listings: the newest of them"
    )
    assert slate.shown[0].sources == ("newest",)
    if not policy.rules:
        assert [each.listing for each in slate.shown] == ["n3", "0", "1"]
    assert not {"n1"} & {each.listing for each in slate.shown}
