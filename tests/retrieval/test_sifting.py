"""What asks of few listings what passes finds what looking at all of them finds, by bytes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray

from heirloom.core.event import Kind
from heirloom.core.slate import Candidates
from heirloom.retrieval.followed import Followed
from heirloom.retrieval.in_order import InOrder
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.recent import Recent
from heirloom.testing.retrieval import World

Puts = st.lists(
    st.lists(st.tuples(st.integers(0, 60), st.integers(-4, 9)), max_size=40), max_size=12
)


@given(Puts, st.integers(0, 12), st.integers(0, 2**20), st.booleans())
def test_in_order_is_a_sort_of_the_present_keys(
    puts: list[list[tuple[int, int]]], k: int, mask: int, late: bool
) -> None:
    order, keys, known = InOrder(), np.zeros(61, np.int64), np.zeros(61, np.bool_)
    if not late:
        order.put(np.arange(61), np.full(61, -9))
        keys[:], known[:] = -9, True
    for put in puts:
        slots, new = np.array(put, np.int64).reshape(-1, 2).T
        for slot, key in put:
            keys[slot], known[slot] = key, True
        order.put(slots, new)
    allowed = (mask >> (np.arange(61) % 20)) & 1 == 1
    best = np.flatnonzero(known & allowed)
    best = best[np.argsort(-keys[best], kind="stable")]
    found = order.greatest(keys, lambda slots: allowed[slots], k)
    assert found[np.argsort(-keys[found], kind="stable")][:k].tolist() == best[:k].tolist()
    wanted = {3, 5, 100}
    assert order.of(wanted, keys).tolist() == [
        s for s in np.flatnonzero(known) if keys[s] in wanted
    ]
    since = [s for s in np.flatnonzero(known) if keys[s] >= 4]
    assert order.since(4, keys).tolist() == since


@pytest.fixture(scope="module")
def world() -> World:
    world = World(listings=400, people=12)
    for seller in range(4):
        world.act(Kind.FOLLOW, 1, seller=f"seller-{seller}")
    for slot in range(0, 400, 9):
        world.end(slot)
    return world


@pytest.mark.parametrize("make", [Recent, Followed, Popular])
@pytest.mark.parametrize("k", [0, 1, 30, 1_000])
@pytest.mark.parametrize("share", [0.02, 0.9])
def test_sifting_finds_what_a_mask_finds(
    world: World, make: type[Recent | Followed | Popular], k: int, share: float
) -> None:
    retriever = make()
    for facts, listings in world.parts(range(0, 500, 37)):
        retriever.apply(facts, listings)
    rng = np.random.default_rng(k)
    allowed: NDArray[np.bool_] = world.catalogue.live & (rng.random(400) < share)
    for person in (0, 1):
        request = world.request(person)
        slow = retriever.retrieve(request, allowed, k)
        fast = retriever.sift(request, lambda slots: allowed[slots], k)
        assert fast.slots.tobytes() == slow.slots.tobytes()
        assert fast.scores.tobytes() == slow.scores.tobytes()


@pytest.mark.parametrize("at_hand", [3, 40, 1_024])
def test_the_newest_are_those_of_now(
    world: World, monkeypatch: pytest.MonkeyPatch, at_hand: int
) -> None:
    monkeypatch.setattr("heirloom.retrieval.recent._AT_HAND", at_hand)
    recent, rng = Recent(), np.random.default_rng(at_hand)
    for facts, listings in world.parts(range(1, 500, 60)):
        recent.apply(facts, listings)
        for share in (0.1, 0.9):
            allowed: NDArray[np.bool_] = rng.random(400) < share
            slow = recent.retrieve(world.request(), allowed, 15)
            fast = recent.sift(world.request(), lambda slots, of=allowed: of[slots], 15)  # type: ignore[misc]
            assert fast.slots.tobytes() == slow.slots.tobytes()
            assert fast.scores.tobytes() == slow.scores.tobytes()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stock of a few hundred is large, and the front is laid again and again."""
    for name, value in (("LARGE", 64), ("REVIEW_EVERY", 16), ("CHANGED_SHARE", 40)):
        monkeypatch.setattr(f"heirloom.retrieval.popular.{name}", value)


def sifted(world: World, popular: Popular, k: int, person: int = 0) -> Candidates:
    live = world.catalogue.live
    return popular.sift(world.request(person), lambda slots: live[slots], k)


@pytest.mark.usefixtures("large")
def test_the_front_does_not_depend_on_how_the_log_was_cut(world: World) -> None:
    made = []
    for cuts in (range(0, 500, 1), range(0, 500, 37), (), (16, 17, 300)):
        popular = Popular()
        for facts, listings in world.parts(cuts):
            popular.apply(facts, listings)
        found = sifted(world, popular, 20)
        made.append((found.slots.tobytes(), found.scores.tobytes()))
    assert len(set(made)) == 1


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("half_life_ms", [7 * 86_400_000, 3_000])  # all sums are moved often
def test_what_is_asked_between_events_is_as_of_now(half_life_ms: int) -> None:
    """A front that is read after each part, and one that is read for the first time."""
    world = World(listings=100, people=2)
    for slot in np.random.default_rng(0).integers(0, 9, 80).tolist():
        world.act(Kind.SAVE, slot % 2, slot)
    parts = list(world.parts(range(3, 200, 3)))
    live = world.catalogue.live

    def made() -> Popular:
        return Popular(half_lives_ms=(half_life_ms,), context_half_life_ms=half_life_ms)

    def asked(popular: Popular, person: int, t: int) -> tuple[bytes, bytes]:
        request = world.request(person)
        declared = np.array([person + 1, 0, 0, 0, 0, 0, 0, 0], np.int32)
        request = replace(request, declared=declared, query=structs.replace(request.query, t=t))
        found = popular.sift(request, lambda slots: live[slots], 20)
        return found.slots.tobytes(), found.scores.tobytes()

    often = made()
    for at, (facts, listings) in enumerate(parts):
        often.apply(facts, listings)
        t = int(facts.events["t"][-1])
        told = [asked(often, person, t) for person in (0, 1)]
        if at > 35 and at % 4 == 0:
            once = made()
            for some, opened in parts[: at + 1]:
                once.apply(some, opened)
            assert told == [asked(once, person, t) for person in (0, 1)]


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("person", [0, 1, 2])
def test_a_front_that_holds_all_gives_what_comparing_all_gives(
    world: World, monkeypatch: pytest.MonkeyPatch, person: int
) -> None:
    monkeypatch.setattr("heirloom.retrieval.front.DEEP", 400)
    popular = Popular()
    for facts, listings in world.parts(range(0, 500, 50)):
        popular.apply(facts, listings)
    asked: list[int] = []

    def passes(slots: NDArray[np.integer]) -> NDArray[np.bool_]:
        asked.append(len(slots))
        live: NDArray[np.bool_] = world.catalogue.live[slots]
        return live

    fast = popular.sift(world.request(person), passes, 130)
    slow = popular.retrieve(world.request(person), world.catalogue.live, 130)
    assert len(asked) == 1  # of the front, and not of all
    assert fast.slots.tobytes() == slow.slots.tobytes()
    assert fast.scores.tobytes() == slow.scores.tobytes()


@pytest.mark.usefixtures("large")
def test_a_few_of_a_large_stock_are_compared_and_the_newly_engaged_are_among_them() -> None:
    world = World(listings=400, people=4)
    popular, asked = Popular(), list[int]()
    slot = 398
    for _ in range(9):
        world.act(Kind.PURCHASE, 3, slot)
    for facts, listings in world.parts(range(0, 500, 8)):
        popular.apply(facts, listings)

    def passes(slots: NDArray[np.integer]) -> NDArray[np.bool_]:
        asked.append(len(slots))
        return np.ones(len(slots), np.bool_)

    found = popular.sift(world.request(0), passes, 5)
    assert asked[0] < 40
    assert found.slots[0] == slot


@pytest.mark.usefixtures("large")
def test_under_a_filter_that_leaves_little_all_are_compared(world: World) -> None:
    popular = Popular()
    for facts, listings in world.parts():
        popular.apply(facts, listings)
    allowed = world.catalogue.live & (np.arange(400) % 23 == 1)
    fast = popular.sift(world.request(1), lambda slots: allowed[slots], 9)
    slow = popular.retrieve(world.request(1), allowed, 9)
    assert fast.slots.tobytes() == slow.slots.tobytes()
