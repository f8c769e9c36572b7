from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import InputError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.core.vocabulary import Vocabulary
from heirloom.encoders.hashed import Hashed
from heirloom.features.library import rental_view
from heirloom.pipelines.live import Live
from heirloom.pipelines.negatives import (
    Rule,
    examples_of_actions,
    just_before,
    query_of_action,
    sample_negatives,
)
from heirloom.pipelines.stamp import numbered, stamped
from heirloom.retrieval.content import ContentIndex

DAY = 86_400_000
MORNING = 17_000 * DAY


@given(
    pool=st.lists(st.integers(0, 500), unique=True, max_size=60),
    positive=st.integers(0, 500),
    count=st.integers(0, 80),
    seed=st.integers(0, 9),
)
def test_a_group_is_the_positive_and_others_of_the_pool(
    pool: list[int], positive: int, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    slots = sample_negatives(np.array(pool, np.int32), positive, count, rng).tolist()
    if positive not in pool:
        assert slots == []
        return
    assert slots[0] == positive
    assert len(set(slots)) == len(slots) == 1 + min(count, len(pool) - 1)
    assert set(slots) <= set(pool)


def test_every_other_candidate_is_drawn_as_often() -> None:
    rng, drawn, pool = np.random.default_rng(0), np.zeros(20), np.arange(20, dtype=np.int32)
    for _ in range(2_000):
        drawn[sample_negatives(pool, 3, 5, rng)[1:]] += 1
    assert drawn[3] == 0
    # 2,000 · 5 / 19 = 526 each, with a standard deviation of about 20.
    assert np.abs(np.delete(drawn, 3) - 10_000 / 19).max() < 100


def test_the_rule_says_what_it_does() -> None:
    text = str(Rule(frozenset({"purchase"}), count=7, seed=3))
    for part in ("7 listings", "purchase", "seed 3"):
        assert part in text


def test_what_retrieval_misses_is_learned_from_among_live_listings() -> None:
    def nothing(_: Request) -> Candidates:
        return Candidates.none("nothing")

    kinds = frozenset({Kind.PURCHASE.value})
    live = empty_live()
    found = examples_of_actions(
        two_on_offer(live), live, query_of_action, nothing, Rule(kinds, among="live")
    )
    # On day 2 both a and b are on offer; b, listed on day 1, is taken.
    assert found.gains.tolist() == [1.0, 0.0]
    known = found.values[:, [name.endswith(".listing_age") for name in found.columns].index(True)]
    assert known.tolist() == [24.0, 48.0]

    live = empty_live()
    with pytest.raises(InputError, match="among all live listings"):
        examples_of_actions(two_on_offer(live), live, query_of_action, nothing, Rule(kinds))


def test_nothing_of_the_same_moment_is_known() -> None:
    live = empty_live()
    asked = [
        (entry.seq, live.n) for entry in just_before(rentals(live), live, {Kind.PURCHASE.value})
    ]
    # Day 0 lists a at 0 and rents it at 1, 2; day 1 rents it at 3, lists b at 4 and rents it at 5.
    assert asked == [(1, 0), (2, 0), (3, 3), (5, 3)]
    assert live.n == 6


def test_what_is_before_the_beginning_is_only_history() -> None:
    live = empty_live()
    wanted = just_before(rentals(live), live, {Kind.PURCHASE.value}, from_t=MORNING + DAY)
    assert [(entry.seq, live.n) for entry in wanted] == [(3, 3), (5, 3)]


def empty_live() -> Live:
    return Live(
        catalogue=Catalogue(Vocabulary()),
        view=rental_view(()),
        content=ContentIndex(Hashed()),
    )


def rentals(live: Live) -> Iterator[Entry]:
    plan = [("listed", "a", 0), ("purchase", "a", 0), ("purchase", "a", 0)]
    plan += [("purchase", "a", 1), ("listed", "b", 1), ("purchase", "b", 1)]
    return logged(plan, live)


def two_on_offer(live: Live) -> Iterator[Entry]:
    return logged([("listed", "a", 0), ("listed", "b", 1), ("purchase", "b", 2)], live)


def logged(plan: list[tuple[str, str, int]], live: Live) -> Iterator[Entry]:
    """Stamped by a catalogue of the writer's own, with the codes of the reader."""
    writer = Catalogue(live.vocabulary)
    for seq, (kind, listing, day) in enumerate(plan):
        event = Event(
            event_id=str(seq),
            kind=kind,
            t=MORNING + day * DAY,
            user=None if kind == "listed" else f"u{seq}",
            listing=listing,
            data=Listing(listing_id=listing, seller="shop", title=listing)
            if kind == "listed"
            else None,
        )
        if kind == "listed":
            writer.apply(event, writer.allocate(listing, event.t))
        (entry,) = stamped((event,), (event.t,), writer, ())
        yield numbered(entry, seq)
