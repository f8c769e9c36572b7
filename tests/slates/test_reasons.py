"""Reasons rest on the strongest groups or on what a retriever knows, and are never against them."""

from typing import Any

import numpy as np
import pytest

from heirloom.core.slate import FeatureBatch, Reason
from heirloom.features.library import marketplace_view
from heirloom.slates.reasons import Ranked, reasons
from heirloom.slates.words import BY_SOURCE, IN_WORDS, Row
from heirloom.testing.retrieval import HOUR_MS, World

VIEW = marketplace_view()
NAMES = [column.partition(".")[2] for column in VIEW.columns]
GROUPS = [group.name for group in VIEW.groups]
ABOUT = [group.about for group in VIEW.groups]
WORLD = World(listings=1, people=0)


def said(
    added: dict[str, float],
    features: dict[str, float] | None = None,
    sources: tuple[str, ...] = ("recent",),
    world: World = WORLD,
    telling: tuple[str, ...] | None = None,
    **asked: Any,
) -> tuple[Reason, ...]:
    """Reasons of the first listing, by what groups add and the features that are known."""
    values = np.full((1, len(NAMES)), np.nan, np.float32)
    for name, value in (features or {}).items():
        values[0, NAMES.index(name)] = value
    contributions = np.zeros((1, len(GROUPS)), np.float32)
    for name, value in added.items():
        contributions[0, GROUPS.index(name)] = value
    told = added if telling is None else telling
    tells = np.array([[name in told and added[name] > 0 for name in GROUPS]])
    ranked = Ranked(GROUPS, ABOUT, contributions, tells, np.full(len(NAMES), np.nan, np.float32))
    batch = FeatureBatch(values, VIEW.columns, n=0)
    slots = np.zeros(1, np.int32)
    return reasons(world.request(**asked), slots, [sources], batch, world.catalogue, ranked)[0]


def words(*given: Any, **asked: Any) -> tuple[str, ...]:
    return tuple(map(str, said(*given, **asked)))


@pytest.mark.parametrize(
    ("group", "features", "wanted"),
    [
        ("size", {"size_gap": 0.5}, "in your size"),
        ("size", {"size_gap": 1.0}, "close to your size"),
        ("brand", {"person_brand_share_4w": 0.5}, "Alba, a brand you like"),
        ("brand", {"searched_brand": 1.0}, "Alba, which you searched for"),
        ("price", {"price_drop": 0.25}, "price down by 25%"),
        ("price", {"price_to_kind_12w": np.log(0.5)}, "priced below others like it"),
        ("price", {"price_to_person_4w": 0.1}, "in your price range"),
        ("need", {"searched_ago": 1.0}, "dresses, which you searched for"),
        ("need", {"category_interest": 1.0}, "dresses, which you look at lately"),
        ("taste", {"taste_match": 0.5}, "close to what you looked at lately"),
        ("again", {"revisit": 3.0}, "you came back to it"),
        ("popularity", {"listing_heat_7d": 2.0}, "popular in dresses"),
        ("demand", {"brand_click_rate_4w": 0.2}, "Alba dresses: much wanted now"),
        ("seller", {"person_seller_acted_4w": 1.0}, "from a seller you know"),
        ("piece", {"photos": 5.0}, "shown in 5 photos"),
        ("freshness", {}, "new today"),
    ],
)
def test_a_strong_group_is_told_by_the_fact_that_is_known(
    group: str, features: dict[str, float], wanted: str
) -> None:
    assert said({group: 1.0}, features) == (Reason(wanted, group=group),)
    # The same facts, where the ranking did not go by them or speaks against them: not a word.
    assert said({group: -1.0}, features) == ()
    assert said({group: 1.0}, features, telling=()) == ()


def test_a_strong_group_without_a_known_fact_is_not_told() -> None:
    old = World(listings=1, people=0)
    old.t += 30 * 24 * HOUR_MS
    for group in GROUPS:
        assert said({group: 1.0}, world=old) == ()


def test_the_greatest_comes_first_and_there_are_at_most_three() -> None:
    known = {"size_gap": 0.0, "price_drop": 0.5, "revisit": 1.0, "person_brand_share_4w": 1.0}
    added = {"size": 1.0, "price": 3.0, "again": 2.0, "brand": 0.5}
    assert [reason.group for reason in said(added, known)] == ["price", "again", "size"]
    assert len(said(added, known, ("followed", "saved_search"))) == 3


def test_what_a_retriever_knows_is_told_unless_the_ranking_is_against_it() -> None:
    follow = Reason("from a seller you follow or bought from", source="followed")
    assert said({}, sources=("followed",)) == (follow,)
    assert said({"seller": -0.5}, sources=("followed",)) == ()
    saved = Reason("new in a search you saved", source="saved_search")
    assert said({"seller": -0.5}, sources=("saved_search",)) == (saved,)


def test_the_words_searched_for_are_told_once() -> None:
    asked = {"sources": ("search",), "text": " red silk "}
    assert said({}, **asked) == (Reason("matches «red silk»", source="search"),)
    assert said({"words": 1.0}, **asked) == (Reason("matches «red silk»", "words", "search"),)
    assert said({"words": 1.0}, text="red") == (Reason("matches «red»", "words"),)
    assert said({"words": -0.1}, **asked) == ()
    assert said({}, sources=("search",)) == ()  # nothing was asked


def test_without_a_ranking_the_retrievers_alone_speak() -> None:
    def told(source: str, **asked: Any) -> list[str]:
        batch = FeatureBatch(np.zeros((1, 1), np.float32), ("v@1.size_gap",), n=0)
        found = reasons(
            WORLD.request(**asked), np.zeros(1, np.int32), [(source,)], batch, WORLD.catalogue, None
        )
        assert all(not reason.group and reason.source == source for reason in found[0])
        return [reason.words for reason in found[0]]

    assert told("popular") == ["popular in dresses"]
    assert told("taste") == ["close to what you looked at lately"]
    assert told("recent") == ["new today"]
    assert told("search", text="red") == ["matches «red»"]
    assert told("unheard_of") == []


def test_a_group_without_words_of_its_own_is_told_by_its_name() -> None:
    ranked = Ranked(["fit"], ["the size you stated"], np.ones((1, 1), np.float32),
                    np.ones((1, 1), np.bool_), np.zeros(1, np.float32))  # fmt: skip
    batch = FeatureBatch(np.ones((1, 1), np.float32), ("v@1.lift_0",), n=0)
    slots = np.zeros(1, np.int32)
    (told,) = reasons(WORLD.request(), slots, [()], batch, WORLD.catalogue, ranked)
    assert told == (Reason("for the size you stated", "fit"),)


class _Asked(dict):
    """A feature's place by name; it keeps the names that were asked for."""

    def __init__(self) -> None:
        super().__init__({name: i for i, name in enumerate(NAMES)})
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)


def test_the_phrases_have_bits_enough() -> None:
    assert sum(map(len, IN_WORDS.values())) < 63


def test_the_words_read_features_of_their_own_group_alone() -> None:
    assert set(IN_WORDS) - {"retrieval"} == set(GROUPS)
    assert {group for _, group, _ in BY_SOURCE} - {""} <= set(GROUPS)
    for group, phrases in IN_WORDS.items():
        place = _Asked()
        place.names.update(check.feature for phrase in phrases for check in phrase.checks)
        for phrase in phrases:
            phrase.words(Row(WORLD.request(), WORLD.catalogue, 0, [0.0] * len(NAMES), place))
        owners = {GROUPS[VIEW.group_of[NAMES.index(name)]] for name in place.names}
        assert owners <= {group}, place.names
