"""Diction: the arithmetic of its lift, in a world of three listings."""

from math import log

import numpy as np
import pytest

from heirloom.core.listing import Listing
from heirloom.retrieval.diction import Diction


def a_listing(title: str) -> Listing:
    return Listing(listing_id=title, seller="s", title=title)


@pytest.fixture
def diction() -> Diction:
    diction = Diction()
    diction.put(
        {0: a_listing("boho blouse"), 1: a_listing("boho skirt"), 2: a_listing("plain tee")}
    )
    return diction


def test_words_of_recent_listings_lift_those_that_have_them(diction: Diction) -> None:
    recent = np.array([0], np.int32)
    # n = 1 recent listing. boho: c 1, p 2/3; blouse: c 1, p 1/3; skirt, plain, tee: c 0, p 1/3.
    boho, blouse, other = log(2 / (2 / 3 + 1)), log(2 / (1 / 3 + 1)), log(1 / (1 / 3 + 1))
    expected = [(boho + blouse) / 2, (boho + other) / 2, other]
    found = diction.match(recent, np.array([0, 1, 2], np.int32))
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_reused_slot_has_the_words_of_the_newcomer(diction: Diction) -> None:
    diction.put({0: a_listing("plain tee")})
    recent, slots = np.array([2], np.int32), np.array([0, 2], np.int32)
    first, second = diction.match(recent, slots).tolist()
    assert first == second


def test_each_value_is_its_own(diction: Diction) -> None:
    recent = np.array([0, 1, 1], np.int32)
    together = diction.match(recent, np.arange(3, dtype=np.int32))
    alone = [diction.match(recent, np.array([slot], np.int32))[0] for slot in range(3)]
    assert together.tobytes() == np.array(alone, np.float32).tobytes()
