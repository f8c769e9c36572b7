"""Labels by action: what counts in time, and what is not known yet."""

import numpy as np

from heirloom.core.event import KIND_CODE, Kind, slate_hash
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.pipelines.labels import done
from heirloom.pipelines.train import Recipe, slates_to_use
from heirloom.ranking.actions import HOUR_MS, Action

T = 1_735_689_600_000
ACTIONS = (
    Action("click", (Kind.CLICK,), HOUR_MS),
    Action("contact", (Kind.MESSAGE, Kind.OFFER), 2 * HOUR_MS),
    Action("purchase", (Kind.PURCHASE,), 10 * HOUR_MS),
)


def facts(*rows: tuple[Kind, str | None, int, float]) -> Facts:
    """Events of (kind, slate, slot, hours after T)."""
    events, listings = np.zeros(len(rows), EVENT_ROW), np.zeros(len(rows), LISTING_ROW)
    for i, (kind, slate, slot, hours) in enumerate(rows):
        events[i]["t"], events[i]["kind"] = T + round(hours * HOUR_MS), KIND_CODE[kind]
        events[i]["slate"], listings[i]["slot"] = slate_hash(slate), slot
    return Facts(events, listings, np.arange(len(rows) + 1, dtype=np.int64))


A = slate_hash("a")
SLOTS = np.array([7, 8, 9], np.int32)


def test_an_action_counts_within_its_time_after_the_impression() -> None:
    log = facts(
        (Kind.IMPRESSION, "a", 7, 0),
        (Kind.CLICK, "a", 7, 1),
        (Kind.CLICK, "a", 7, 1),
        (Kind.CLICK, "a", 8, 1.01),
        (Kind.MESSAGE, "a", 8, 1),
        (Kind.OFFER, "a", 9, 2),
        (Kind.OFFER, "a", 9, 3),
        (Kind.PURCHASE, "a", 7, 9),
        (Kind.CLICK, "a", 9, -1),
        (Kind.CLICK, "b", 9, 1),
        (Kind.CLICK, None, 9, 0.5),
        (Kind.CLICK, "z", 1, 20),
    )
    labels = done(log, ACTIONS).rows(A, SLOTS, T)
    np.testing.assert_array_equal(labels, [[1, 0, 1], [0, 1, 0], [0, 1, 0]])
    assert labels.dtype == np.float32


def test_what_may_still_come_is_not_known_even_where_it_came() -> None:
    log = facts(
        (Kind.IMPRESSION, "a", 7, 0),
        (Kind.PURCHASE, "a", 7, 1),
        (Kind.CLICK, "a", 8, 0.5),
        (Kind.SEARCH, None, 0, 2),
    )
    labels = done(log, ACTIONS).rows(A, SLOTS, T)
    np.testing.assert_array_equal(labels[:, 0], [0, 1, 0])
    np.testing.assert_array_equal(labels[:, 1], [0, 0, 0])
    assert np.isnan(labels[:, 2]).all()


def test_a_log_without_impressions_says_nothing() -> None:
    assert done(facts((Kind.CLICK, "a", 7, 0)), ACTIONS).of == {}
    assert done(facts(), ACTIONS).rows(A, SLOTS, T).shape == (3, 3)


def test_slates_on_which_nobody_acted_are_drawn_for_probabilities_alone() -> None:
    log = facts(
        *((Kind.IMPRESSION, name, 1, 0) for name in "abcdef"),
        (Kind.CLICK, "a", 1, 0.5),
        (Kind.CLICK, "z", 1, 5),
    )
    acted = {(A, 1): 1.0}
    every = Recipe(actions=ACTIONS)
    assert slates_to_use(log, acted, Recipe()) == {A}
    assert slates_to_use(log, acted, every) == {slate_hash(name) for name in "abcdef"}
    few = slates_to_use(log, acted, Recipe(actions=ACTIONS, max_slates=3))
    assert few == set(sorted(slate_hash(name) for name in "abcdef")[:3])
