"""Each retriever in a world so small that the answer is known."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import Kind, Surface
from heirloom.core.query import Request
from heirloom.encoders.hashed import Hashed
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.followed import Followed
from heirloom.retrieval.neighbours import Similar, Taste
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.recent import Recent
from heirloom.retrieval.retriever import Retriever
from heirloom.retrieval.search import Search
from heirloom.testing.retrieval import DIM, HOUR_MS, World

DAY_MS = 24 * HOUR_MS


def fold(world: World, *retrievers: Retriever | ContentIndex) -> None:
    for facts, listings in world.parts():
        for retriever in retrievers:
            retriever.apply(facts, listings)


def every(world: World) -> NDArray[np.bool_]:
    return np.ones(len(world.catalogue), np.bool_)


def kinds(world: World, slots: Iterable[int]) -> list[str]:
    return [world.catalogue.listing(int(slot)).brand for slot in slots]


def empty() -> World:
    return World(listings=0, people=0)


def test_recent_gives_the_newest_first() -> None:
    world, recent = World(), Recent()
    fold(world, recent)
    found = recent.retrieve(world.request(), every(world), 3)
    assert found.slots.tolist() == [39, 38, 37]
    age_days = (world.t - world.catalogue.column("listed_at")[39]) / DAY_MS
    assert found.scores[0] == np.float32(-age_days)


def test_people_of_one_kind_are_shown_their_kind() -> None:
    """The checkerboard: popular in context and taste both tell the two kinds of people apart."""
    world, popular, content = World(), Popular(), ContentIndex(Hashed(DIM))
    taste = Taste(content)
    fold(world, popular, content)
    for person, brand in ((0, "Alba"), (1, "Boreas")):
        for retriever in (popular, taste):
            found = retriever.retrieve(world.request(person), every(world), 10)
            assert set(kinds(world, found.slots)) == {brand}, retriever.name


def test_what_is_declared_stands_in_for_a_history() -> None:
    world, popular = World(), Popular()
    fold(world, popular)
    for value, brand in ((1, "Alba"), (2, "Boreas")):
        declared = np.array([value] + [0] * 7, np.int32)
        request = replace(world.request(), declared=declared)
        found = popular.retrieve(request, every(world), 10)
        assert set(kinds(world, found.slots)) == {brand}


def test_a_value_never_seen_changes_nothing() -> None:
    world, popular = World(), Popular()
    fold(world, popular)
    strange = replace(world.request(), declared=np.array([99] + [0] * 7, np.int32))
    plain = popular.retrieve(world.request(), every(world), 10)
    assert popular.retrieve(strange, every(world), 10).slots.tolist() == plain.slots.tolist()


def test_a_rate_is_engagement_over_days_shrunk_to_its_like() -> None:
    world = empty()
    slots = [world.list(f"listing-{i}", 0) for i in range(2)]
    world.act(Kind.CLICK, 0, slots[1])
    world.t += 2 * DAY_MS
    half_life_days, prior = 7.0, 3.0
    popular = Popular(half_lives_ms=(7 * DAY_MS,), prior_days=prior)
    fold(world, popular)
    found = popular.retrieve(world.request(), every(world), 2)

    life = half_life_days / np.log(2)
    now, (facts, _) = world.t, next(world.parts())
    opened, clicked = facts.events["t"][:2], facts.events["t"][2]
    days = life * (1 - 0.5 ** ((now - opened) / DAY_MS / half_life_days))
    engaged = 0.5 ** ((now - clicked) / DAY_MS / half_life_days)
    rate = engaged / (days.sum() + prior)  # all
    for _ in ("category", "brand x category"):
        rate = (engaged + prior * rate) / (days.sum() + prior)
    expected = np.log((np.array([0, engaged]) + prior * rate) / (days + prior))
    assert found.slots.tolist() == [slots[1], slots[0]]
    np.testing.assert_allclose(found.scores, expected[::-1], rtol=1e-5)


def test_days_on_offer_end_with_the_sale() -> None:
    """A kind that sells out fast keeps its rate; had it stayed on offer, it would have sunk."""
    rates = []
    for sold in (True, False):
        world, popular = empty(), Popular()
        first = world.list("first", 0)
        world.act(Kind.SAVE, 0, first)
        if sold:
            world.end(first)
        world.t += 20 * DAY_MS
        fresh = world.list("fresh", 0)
        fold(world, popular)
        found = popular.retrieve(world.request(), every(world), 2)
        rates.append(float(found.scores[found.slots.tolist().index(fresh)]))
    assert rates[0] > rates[1] + 0.1


def test_a_reused_slot_inherits_nothing() -> None:
    """Another listing in the slot: popularity, words, vector and age are the newcomer's."""
    world = empty()
    world.list("old", 0)
    world.list("other", 1)
    for person in range(5):
        world.act(Kind.SAVE, person, 0)
    world.end(0)
    world.t += 31 * DAY_MS
    assert world.list("new", 1) == 0
    fresh = empty()
    fresh.t = world.t - HOUR_MS
    fresh.list("new", 1)

    content, plain = ContentIndex(Hashed(DIM)), ContentIndex(Hashed(DIM))
    popular, recent, search = Popular(), Recent(), Search(content)
    fold(world, content, popular, recent)
    fold(fresh, plain)
    assert recent.retrieve(world.request(), every(world), 1).slots.tolist() == [0]
    text = asking(world, content, "silk")
    assert content.words.match("silk", 2).tolist() == [0.0, 0.0]
    assert len(search.retrieve(text, every(world), 5))  # by vector alone
    assert content.vectors[0] @ plain.vectors[0] > 0.9
    found = popular.retrieve(world.request(), every(world), 2)
    inherited = 5 * 3 * 0.5 ** (31.5 / 7) / 3.0  # five saves, faded, over the prior's days
    assert found.slots[0] == 0
    assert np.exp(found.scores[0]) < 0.1 * inherited


def asking(world: World, content: ContentIndex, text: str, person: int | None = None) -> Request:
    request = world.request(person, surface=Surface.SEARCH.value, text=text)
    return replace(request, text_vector=content.text(text))


def test_search_finds_by_words_misspelt_words_and_beginnings() -> None:
    world, content = World(), ContentIndex(Hashed(DIM))
    search = Search(content)
    fold(world, content)
    for text, brand in (
        ("red silk dress", "Alba"),
        ("DRESSES", "Alba"),
        ("dres", "Alba"),
        ("lether boot", "Boreas"),
        ("bore", "Boreas"),
        ("shoes for men", "Boreas"),
    ):
        found = search.retrieve(asking(world, content, text), every(world), 20)
        assert len(found) == 20, text
        assert set(kinds(world, found.slots)) == {brand}, text
    one = search.retrieve(asking(world, content, "silk listing-17"), every(world), 5)
    assert 17 in one.slots


def test_search_without_words_finds_nothing() -> None:
    world, content = World(), ContentIndex(Hashed(DIM))
    fold(world, content)
    for text in ("", " ?! "):
        assert not len(Search(content).retrieve(asking(world, content, text), every(world), 5))


def test_a_search_in_thai_or_of_a_megabyte_is_answered() -> None:
    world, content = World(), ContentIndex(Hashed(DIM))
    fold(world, content)
    for text in ("ชุดเดรสผ้าไหม", "silk " * 200_000):
        found = Search(content).retrieve(asking(world, content, text), every(world), 5)
        assert len(found) == 5


def test_similar_gives_the_anchors_kind_without_the_anchor() -> None:
    world, content = World(), ContentIndex(Hashed(DIM))
    fold(world, content)
    request = world.request(surface=Surface.SIMILAR.value, anchor="listing-6")
    found = Similar(content).retrieve(request, every(world), 10)
    assert set(kinds(world, found.slots)) == {"Alba"}
    assert 6 not in found.slots


def test_two_interests_are_both_served() -> None:
    world, content = World(), ContentIndex(Hashed(DIM))
    for slot in (0, 2, 4, 1):
        world.act(Kind.CLICK, 77, slot)
    fold(world, content)
    found = Taste(content).retrieve(world.request(77), every(world), 12)
    brands = kinds(world, found.slots)
    assert brands[0] == "Alba"
    assert 1 <= brands.count("Boreas") < brands.count("Alba")


def test_the_taste_of_a_buyer_rests_on_what_is_sold() -> None:
    world, content = empty(), ContentIndex(Hashed(DIM))
    bought = world.list("bought", 0)
    like, unlike = world.list("like", 0), world.list("unlike", 1)
    world.act(Kind.PURCHASE, 0, bought)
    world.end(bought)
    fold(world, content)
    found = Taste(content).retrieve(world.request(0), world.catalogue.live, 5)
    assert found.slots.tolist() == [like, unlike]


def test_followed_gives_what_is_new_from_sellers_followed_or_bought_from() -> None:
    world, followed = World(), Followed()
    world.act(Kind.FOLLOW, 0, seller="seller-1")
    world.act(Kind.FOLLOW, 1, seller="seller-2")
    world.act(Kind.UNFOLLOW, 1, seller="seller-2")
    world.act(Kind.PURCHASE, 1, 3)  # from seller-3
    fold(world, followed)
    sellers = [
        {
            world.catalogue.listing(int(slot)).seller
            for slot in followed.retrieve(world.request(person), every(world), 50).slots
        }
        for person in (0, 1, 2, None)
    ]
    assert sellers == [{"seller-1"}, {"seller-3"}, set(), set()]


def test_what_is_given_to_features() -> None:
    world, content = World(), ContentIndex(Hashed(DIM))
    fold(world, content)
    slots = np.array([0, 1, 2, 3], np.int32)
    nothing = content.given(world.request(), slots)
    assert set(nothing) == {
        "text_match",
        "text_category",
        "taste_match",
        "person_match",
        "anchor_match",
        "style_match",
        "anchor_style",
    }
    assert all(np.isnan(values).all() for values in nothing.values())

    request = replace(asking(world, content, "silk dress", 1), anchor=0)
    given = content.given(request, slots)
    assert all(values.dtype == np.float32 for values in given.values())
    assert given["text_match"][[0, 2]].min() > 0.7 > 0.2 > given["text_match"][[1, 3]].max()
    assert given["taste_match"][[1, 3]].min() > given["taste_match"][[0, 2]].max()
    codes = content.codes.astype(np.int64)
    np.testing.assert_array_equal(
        given["anchor_match"], (codes[slots] @ codes[0] / 127**2).astype(np.float32)
    )
    for i in range(4):
        alone = content.given(request, slots[i : i + 1])
        for name, values in given.items():
            np.testing.assert_array_equal(alone[name][0], values[i])
