"""Towers: what they count, that they learn, and that they stay what they were."""

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest

from heirloom.core.errors import BundleError, InputError
from heirloom.core.event import Kind
from heirloom.core.facts import MAX_DECLARED, Facts
from heirloom.core.query import Request
from heirloom.retrieval.rate import DAY_MS
from heirloom.retrieval.retriever import Retriever
from heirloom.retrieval.towers.fit import (
    Recipe,
    first_weights,
    fit,
    loss_and_gradient,
    own,
    replayed,
)
from heirloom.retrieval.towers.model import Towers, Weights
from heirloom.retrieval.towers.retriever import ByTakers
from heirloom.retrieval.towers.takers import PROFILE_DAYS, Alphabet, Takers
from heirloom.testing.retrieval import HOUR_MS, T0, RetrieverLaws, World, checkerboard

KINDS = ("click", "save")
SMALL = Recipe(epochs=20, members=2, hidden=8, dim=4, learning_rate=1e-2, least=3)


def whole(world: World) -> Facts:
    return Facts.joined([facts for facts, _ in world.parts()])


@cache
def shop() -> Facts:
    """Some days of the checkerboard."""
    return whole(World(people=80))


@cache
def learned() -> Towers:
    return fit(shop(), Takers(KINDS), SMALL, seed=0)


def made(fresh: float = 0.0) -> ByTakers:
    retriever = ByTakers(kinds=KINDS, fresh=fresh)
    retriever.use(learned().arrays())
    return retriever


def fed(world: World, fresh: float = 0.0) -> ByTakers:
    retriever = made(fresh)
    retriever.apply(whole(world), {})
    return retriever


def stating(world: World, code: int) -> Request:
    """A newcomer's request."""
    declared = np.array([code] + [0] * (MAX_DECLARED - 1), np.int32)
    return replace(world.request(), declared=declared)


class TestByTakers(RetrieverLaws):
    def make(self) -> Retriever:
        return made(fresh=0.2)


class TestByTakersThatLearnedNothing(RetrieverLaws):
    def make(self) -> Retriever:
        return ByTakers(kinds=KINDS)


@pytest.mark.parametrize(("code", "parity"), [(1, 0), (2, 1)])
def test_it_finds_what_people_who_state_the_same_take(code: int, parity: int) -> None:
    world = checkerboard()
    found = fed(world).retrieve(stating(world, code), np.ones(40, np.bool_), 10)
    assert (found.slots % 2 == parity).mean() >= 0.9


def test_a_listing_is_placed_by_its_first_takers() -> None:
    """No id has weights: of two new listings of one kind each is found by the people it has."""
    world = World(people=80)
    slots = [world.list(f"late-{i}", 0) for i in range(2)]
    for step in range(12):
        world.act(Kind.CLICK, step, slots[step % 2])
    retriever = fed(world)
    only = np.isin(np.arange(len(world.catalogue)), slots)
    for code, best in ((1, slots[0]), (2, slots[1])):
        assert retriever.retrieve(stating(world, code), only, 2).slots[0] == best


def test_what_is_fresh_gains_for_sixty_days() -> None:
    """Slot i is listed i + 1 hours after T0: at 60 days and 21 hours slot 20 is fresh no more."""
    world = World(people=80)
    asked = world.request()
    asked = replace(
        asked, query=msgspec.structs.replace(asked.query, t=T0 + 60 * DAY_MS + 21 * HOUR_MS)
    )
    scores = []
    for fresh in (0.0, 0.5):
        found = fed(world, fresh).retrieve(asked, np.ones(40, np.bool_), 40)
        assert (np.diff(found.scores) <= 0).all()
        scores.append(found.scores[np.argsort(found.slots)])
    gained = np.where(np.arange(40) > 20, np.float32(0.5), np.float32(0))
    np.testing.assert_allclose(scores[1] - scores[0], gained, atol=1e-5)


def test_a_slot_that_was_given_to_another_listing_forgets_its_takers() -> None:
    takers, facts = Takers(KINDS), shop()
    takers.apply(facts)
    known = Alphabet(np.array([[0, 1], [0, 2]], np.int32), np.zeros(0, np.int32))
    t = int(facts.events["t"][-1])
    before = takers.listings(np.arange(40), t, known)
    again = facts[:1]  # slot 0 is listed once more
    takers.apply(again)
    after = takers.listings(np.arange(40), t, known)
    assert before.numbers[0, 0] > 0.5
    assert after.numbers[0, 0] == 0
    np.testing.assert_array_equal(before.numbers[1:, :6], after.numbers[1:, :6])


def test_what_a_slot_held_before_does_not_count_in_one_part_either() -> None:
    facts = shop()
    whole_log = Facts.joined([facts, facts[:1]])
    one, two = Takers(KINDS), Takers(KINDS)
    one.apply(whole_log)
    two.apply(facts)
    two.apply(facts[:1])
    known, t = learned().alphabet, int(facts.events["t"][-1])
    for found, wanted in zip(
        one.listings(np.arange(40), t, known).lifts,
        two.listings(np.arange(40), t, known).lifts,
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_listings_are_known_as_of_the_request_and_of_what_was_folded() -> None:
    world, everything = World(people=80), np.ones(40, np.bool_)
    retriever = made()
    facts = whole(world)
    retriever.apply(facts[:400], {})
    asked = world.request()
    later = replace(asked, query=msgspec.structs.replace(asked.query, t=world.t + 30 * DAY_MS))
    found = [retriever.retrieve(asked, everything, 40).scores]
    retriever.apply(facts[400:], {})
    found += [retriever.retrieve(each, everything, 40).scores for each in (asked, later)]
    for scores, each in zip(found[1:], (asked, later), strict=True):
        np.testing.assert_array_equal(fed(world).retrieve(each, everything, 40).scores, scores)
    assert len({scores.tobytes() for scores in found}) == 3


def test_what_is_asked_when_serving_is_what_was_learned_from() -> None:
    """The same scores for each who took something on the last day, own takes weighed alike."""
    world, facts, towers = World(people=80), shop(), learned()
    day = replayed(facts, Takers(KINDS), SMALL)[1][-1]
    lifts = tuple(lift.astype(np.float32) for lift in day.listings.lifts)  # kept as float16
    wanted = towers.scores(towers.encoded(replace(day.listings, lifts=lifts)), day.asked)
    t = int(facts.events["t"][-1]) // DAY_MS * DAY_MS
    begin = int(np.searchsorted(facts.events["t"], t))
    retriever = made()
    retriever.apply(facts[:begin], {})
    taken = facts.events[begin:]
    own_days = set()
    for person in range(0, 80, 7):
        asked = world.request(person)
        before = asked.recent_t < t
        (rows,) = np.nonzero(taken["person"] == asked.person)
        own_days.add(len(np.unique(asked.recent_t[before] // DAY_MS)))
        request = replace(
            asked,
            query=msgspec.structs.replace(asked.query, t=t),
            declared=taken["declared"][rows[0]],
            recent=asked.recent[before],
            recent_kinds=asked.recent_kinds[before],
            recent_t=asked.recent_t[before],
        )
        found = retriever.retrieve(request, np.ones(40, np.bool_), 40)
        np.testing.assert_allclose(found.scores, wanted[rows[0], found.slots], atol=0.02)
    assert max(own_days) > 1


def test_when_a_person_took_what_matters() -> None:
    world, everything = World(people=80), np.ones(40, np.bool_)
    asked, retriever = world.request(0), fed(world)
    days = np.arange(len(asked.recent_t)) * 100 * DAY_MS
    longer = replace(asked, recent_t=asked.recent_t - days)
    found = [retriever.retrieve(each, everything, 40).scores for each in (asked, longer)]
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_what_a_person_took_lately_weighs_more_and_nothing_is_forgotten() -> None:
    weights = own(
        np.array([0, 0, 0, 2]), np.array([3, 1, 3, 0]), np.array([0.0, 90.0, 1e4, 500.0]), (3, 4)
    ).toarray()
    np.testing.assert_allclose(weights[0], np.array([0, 0.52, 0, 1.04]) / 1.56, rtol=1e-6)
    np.testing.assert_array_equal(weights[1:], [[0, 0, 0, 0], [1, 0, 0, 0]])


def test_the_loss_is_over_what_was_on_offer_and_not_had() -> None:
    _, days = replayed(shop(), Takers(KINDS), SMALL)
    day, towers = days[-1], learned()
    one = replace(towers, members=towers.members[:1])
    lifts = tuple(lift.astype(np.float32) for lift in day.listings.lifts)
    scores = one.scores(one.encoded(replace(day.listings, lifts=lifts)), day.asked)
    rows, had = day.had
    assert len(rows) > 0
    assert not (had == day.taken[rows]).any()
    scores[rows, had] = -np.inf
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wanted = -np.log(chances[np.arange(len(scores)), day.taken]).mean()
    found, _ = loss_and_gradient(one, one.members[0], day, 0.0, np.random.default_rng(0))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_lifts_are_shrunk_shares_over_shares() -> None:
    """All at one moment: every event weighs 2 ** 0 = 1."""
    facts = shop()
    rows = np.flatnonzero(facts.events["person"] > 0)
    listed = facts[: int(rows[0])]
    acts = facts[int(rows[0]) : int(rows[0]) + 30]
    acts = replace(acts, events=acts.events.copy())
    acts.events["t"][:] = t = int(acts.events["t"][0])
    takers = Takers(KINDS)
    takers.apply(listed)
    takers.apply(acts)
    known = Alphabet(np.array([[0, 1], [0, 2]], np.int32), np.zeros(0, np.int32))
    slots, stated = acts.listings["slot"], acts.events["declared"][:, 0]
    n = np.array([[((slots == slot) & (stated == v)).sum() for v in (1, 2)] for slot in range(40)])
    share = (n.sum(axis=0) + 0.5) / (n.sum() + 1)
    usual = (n.sum(axis=0) + 8 * share) / (n.sum() + 8)  # one category: of all others
    wanted = np.log((n + 8 * usual) / (n.sum(axis=1, keepdims=True) + 8) / share)
    found = takers.listings(np.arange(40), t, known)
    assert len(found.lifts) == len(PROFILE_DAYS)
    for lift in found.lifts:
        np.testing.assert_allclose(lift, wanted, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    recipe = replace(SMALL, hidden=5, dim=3)
    alphabet, days = replayed(shop(), Takers(KINDS), recipe)
    day, rng = days[-1], np.random.default_rng(0)
    towers = replace(learned(), alphabet=alphabet)
    first = first_weights(alphabet, recipe, rng)
    wide = Weights(*(each + rng.normal(0, 0.2, each.shape) for each in first.arrays()))
    _, slopes = loss_and_gradient(towers, wide, day, 0.0, rng)
    for array, slope in zip(wide.arrays(), slopes.arrays(), strict=True):
        for at in list(np.ndindex(array.shape))[:: max(array.size // 7, 1)]:
            kept, step = array[at], 1e-5
            array[at] = kept + step
            above, _ = loss_and_gradient(towers, wide, day, 0.0, rng)
            array[at] = kept - step
            below, _ = loss_and_gradient(towers, wide, day, 0.0, rng)
            array[at] = kept
            assert slope[at] == pytest.approx((above - below) / (2 * step), abs=2e-5)


def test_nothing_of_a_day_is_known_to_it() -> None:
    """What is learned from a day stands as its first moment had it."""
    facts = shop()
    _, days = replayed(facts, Takers(KINDS), SMALL)
    last = facts.events["t"] // DAY_MS == facts.events["t"][-1] // DAY_MS
    begin = int(np.flatnonzero(last)[0])
    takers = Takers(KINDS)
    takers.apply(facts[:begin])
    there = np.flatnonzero(takers.on_offer[: takers.shelf.size])
    alphabet, _ = replayed(facts, Takers(KINDS), SMALL)
    t = int(facts.events["t"][-1]) // DAY_MS * DAY_MS
    np.testing.assert_array_equal(
        days[-1].listings.numbers, takers.listings(there, t, alphabet).numbers
    )
    assert len(days[-1].taken) == last.sum()


def test_one_seed_one_model_and_arrays_give_it_back() -> None:
    again = fit(shop(), Takers(KINDS), SMALL, seed=0).arrays()
    arrays = learned().arrays()
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        np.testing.assert_array_equal(Towers.from_arrays(arrays).arrays()[name], array)
    other = fit(shop(), Takers(KINDS), SMALL, seed=1).arrays()
    assert not np.array_equal(other["0.first"], arrays["0.first"])


def test_arrays_that_do_not_fit_are_refused() -> None:
    arrays = learned().arrays()
    with pytest.raises(BundleError, match=r"'1\.wish' is missing"):
        Towers.from_arrays({name: each for name, each in arrays.items() if name != "1.wish"})
    with pytest.raises(BundleError, match="wanted"):
        Towers.from_arrays({**arrays, "values": arrays["values"][1:]})


def test_a_log_in_which_nothing_is_taken_is_refused() -> None:
    with pytest.raises(InputError, match="none takes a listing"):
        fit(whole(checkerboard()), Takers(("purchase",)), SMALL, seed=0)
