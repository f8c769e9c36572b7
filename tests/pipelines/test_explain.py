"""Why listings stand where they do: of a first page as it was ranked, of a later one as of now."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.pipelines.shop import QUOTAS, Shop

from heirloom.core.query import Query
from heirloom.core.slate import FeatureBatch, ShownList, Slate
from heirloom.features.library import marketplace_view
from heirloom.pipelines.candidates import sources
from heirloom.pipelines.explain import Explained, explain, reasons
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.serve import recommend
from heirloom.ranking.ranker import Examples
from heirloom.slates.rules import Rules

VIEW = marketplace_view()
NAMES = [column.partition(".")[2] for column in VIEW.columns]
WEIGHTS = {"price": 2.0, "listing_age": -0.125, "taste_match": 4.0}
GROUP = {"price": "price", "listing_age": "freshness", "taste_match": "taste"}


class Additive:
    """Three features, weighed and added: what each contributes is known."""

    columns, actions = VIEW.columns, ("gain",)

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        scores = np.zeros(len(batch.values), np.float32)
        for name, weight in WEIGHTS.items():
            scores += np.float32(weight) * np.nan_to_num(batch.values[:, NAMES.index(name)])
        return scores[:, None]

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls()

    @classmethod
    def fit(cls, train: Examples, validation: Examples, *, seed: int) -> Self:
        return cls()


POLICY = Policy(name="test", quotas=QUOTAS, ranker=Additive(), bundle="b")
NOBODY = {**QUOTAS, "home": {"search": 1}}
PLAIN = replace(POLICY, ranker=None, bundle="")


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(seed=3)
    for _ in range(50):
        shop.ingest(shop.made(f"first{len(shop.listed)}", shop.now))
    return shop.run(30)


def someone(shop: Shop, **asked: object) -> Query:
    """A person with a past."""
    people = shop.live.vocabulary.texts("person")
    seen = max(range(1, len(people)), key=lambda code: len(shop.live.people.recent(code)[0]))
    return Query(t=shop.now, **{"user": people[seen], "k": 20, **asked})  # type: ignore[arg-type]


def explained(shop: Shop, slate: Slate, query: Query, policy: Policy = POLICY) -> list[Explained]:
    return explain(query, slate, slate.shown, policy, shop.live)


def test_contributions_of_an_additive_ranker_are_its_terms(shop: Shop) -> None:
    query = someone(shop)
    slate = recommend(query, POLICY, shop.live)
    assert slate.features is not None
    assert slate.why.usual is not None
    assert slate.why.candidates >= len(slate.shown) > 5
    for each, row in zip(explained(shop, slate, query), slate.features.values, strict=True):
        values = [contribution.value for contribution in each.contributions]
        assert values == sorted(values, reverse=True)
        found = {contribution.group: contribution.value for contribution in each.contributions}
        assert set(found) == {group.name for group in VIEW.groups}
        for name, weight in WEIGHTS.items():
            at = NAMES.index(name)
            mine, other = np.nan_to_num(row[at]), np.nan_to_num(slate.why.usual[at])
            assert found.pop(GROUP[name]) == pytest.approx(weight * (mine - other), abs=2e-3)
        assert not any(found.values())


def test_a_reason_of_the_ranking_names_one_of_its_three_strongest(shop: Shop) -> None:
    named = 0
    for query in [someone(shop), *(shop.query() for _ in range(20))]:
        slate = recommend(query, POLICY, shop.live)
        for shown, why in zip(slate.shown, explained(shop, slate, query), strict=True):
            assert why.reasons == shown.reasons
            assert len(shown.reasons) <= 3
            strongest = {x.group for x in why.contributions[:3] if x.value > 0}
            for reason in shown.reasons:
                assert reason.group or reason.source
                assert not reason.group or reason.group in strongest
                assert not reason.source or reason.source in shown.sources
                named += bool(reason.group)
    assert named > 20


def test_places_among_what_retrievers_gave(shop: Shop) -> None:
    query = someone(shop)
    slate = recommend(query, POLICY, shop.live)
    given = {
        each.names[0]: each for each in sources(shop.live.request(query), QUOTAS["home"], shop.live)
    }
    places = set()
    for shown, slot, why in zip(
        slate.shown, slate.slots.tolist(), explained(shop, slate, query), strict=True
    ):
        assert tuple(proposal.source for proposal in why.proposals) == shown.sources
        for proposal in why.proposals:
            assert proposal.rank is not None
            assert given[proposal.source].slots[proposal.rank] == slot
            assert given[proposal.source].scores[proposal.rank] == proposal.score
            places.add((proposal.source, proposal.rank))
    assert {source for source, _ in places} == {"recent", "taste"}
    # Who would not propose it any more says so.
    (gone,) = explain(query, slate, slate.shown[:1], replace(POLICY, quotas=NOBODY), shop.live)
    assert {(x.rank, x.score) for x in gone.proposals} == {(None, None)}


def test_reasons_are_of_the_first_so_many_and_the_order_is_the_same(shop: Shop) -> None:
    query = someone(shop)
    whole = recommend(query, POLICY, shop.live)
    for count in (0, 4, 99):
        some = recommend(query, POLICY, shop.live, reasons=count)
        assert [s.listing for s in some.shown] == [s.listing for s in whole.shown]
        for given, wanted in zip(some.shown[:count], whole.shown[:count], strict=True):
            assert given.reasons == wanted.reasons
        assert not any(shown.reasons for shown in some.shown[count:])
        later = reasons(query, some, whole.shown, POLICY, shop.live)
        assert list(later) == [shown.reasons for shown in whole.shown]


def test_a_slate_that_was_put_aside_is_looked_up_again(shop: Shop) -> None:
    query = someone(shop)
    slate = recommend(query, POLICY, shop.live, reasons=3)
    light = replace(
        slate, shown=ShownList(), features=None, why=replace(slate.why, contributions=None)
    )
    later = explain(query, light, slate.shown[3:9], POLICY, shop.live)
    assert later == explain(query, slate, slate.shown[3:9], POLICY, shop.live)
    assert {each.n for each in later} == {shop.live.n}
    # Another bundle answers by now: what it would say is not why these were shown.
    other = explain(query, light, slate.shown[3:9], replace(POLICY, bundle="c"), shop.live)
    assert not any(each.contributions for each in other)
    assert not any(reason.group for each in other for reason in each.reasons)


def test_retrievals_own_score_is_a_group_where_it_has_a_weight(shop: Shop) -> None:
    query = someone(shop)
    policy = replace(POLICY, retrieval_weight=2.0)
    slate = recommend(query, policy, shop.live, reasons=2)
    found = explained(shop, slate, query, policy)
    added = [{x.group: x.value for x in each.contributions} for each in found]
    scores = np.array([shown.score for shown in slate.shown])
    groups = np.array([sum(x.values()) for x in added])
    # An additive ranker's groups and retrieval's share make the score, up to one constant.
    np.testing.assert_allclose(groups - groups[0], scores - scores[0], atol=5e-3)
    assert any(abs(x["retrieval"]) > 0.1 for x in added)
    assert not any(reason.group == "retrieval" for each in found for reason in each.reasons)


def test_without_a_ranker_the_order_is_retrievals_and_so_are_the_reasons(shop: Shop) -> None:
    query = someone(shop)
    slate = recommend(query, PLAIN, shop.live)
    assert slate.why.usual is None
    found = explained(shop, slate, query, PLAIN)
    assert not any(each.contributions for each in found)
    told = [reason for each in found for reason in each.reasons]
    assert told
    assert all(reason.source and not reason.group for reason in told)


def test_an_empty_slate_has_nothing_to_explain(shop: Shop) -> None:
    query = Query(t=shop.now, exclude=tuple(shop.listed), k=5)
    for policy in (POLICY, PLAIN):
        slate = recommend(query, policy, shop.live)
        assert slate.shown == ()
        assert slate.degraded[-1].reason.startswith("nothing to show")
        assert explained(shop, slate, query, policy) == []
        assert list(reasons(query, slate, (), policy, shop.live)) == []


def test_one_candidate_is_the_usual_one(shop: Shop) -> None:
    alone = recommend(someone(shop), POLICY, shop.live).shown[0].listing
    others = tuple(listing for listing in shop.listed if listing != alone)
    query = someone(shop, exclude=others)
    slate = recommend(query, POLICY, shop.live)
    assert [shown.listing for shown in slate.shown] == [alone]
    (why,) = explained(shop, slate, query)
    assert not any(contribution.value for contribution in why.contributions)
    assert not any(reason.group for reason in why.reasons)


def test_what_the_slate_moved_is_told_and_does_not_change_the_contributions(shop: Shop) -> None:
    query = someone(shop)
    policy = replace(POLICY, rules=Rules(page=4, reach=12, diversity=0.5))
    slate = recommend(query, policy, shop.live)
    assert any(shown.moved for shown in slate.shown)
    assert set(slate.worth) == {"score", "diversity", "places"}
    plain = recommend(query, POLICY, shop.live)
    by_listing = {
        shown.listing: why.contributions
        for shown, why in zip(plain.shown, explained(shop, plain, query), strict=True)
    }
    for shown, why in zip(slate.shown, explained(shop, slate, query, policy), strict=True):
        assert why.contributions == by_listing.get(shown.listing, why.contributions)
