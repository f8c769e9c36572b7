"""The filter of ids never denies what it was given, and seldom knows what it was not."""

import hashlib
import threading

from hypothesis import given
from hypothesis import strategies as st

from heirloom.adapters.id_filter import IdFilter


def digests(first: int, count: int) -> list[bytes]:
    numbers = range(first, first + count)
    return [hashlib.blake2b(str(i).encode(), digest_size=16).digest() for i in numbers]


@given(st.lists(st.binary(min_size=16, max_size=16)), st.integers(1, 8))
def test_what_was_added_may_be_there(given_digests, words):
    ids = IdFilter(words)
    ids.add(given_digests)
    assert ids.may_hold(given_digests).all()


def test_what_was_not_added_is_seldom_known():
    """One in a hundred at 16 bits an id; nothing in an empty one, most in a full one."""
    ids = IdFilter(1 << 12)
    strangers = digests(1_000_000, 20_000)
    assert not ids.may_hold(strangers).any()
    ids.add(digests(0, 1 << 14))
    assert 0.002 < ids.may_hold(strangers).mean() < 0.03
    ids.add(digests(0, 1 << 18))
    assert ids.may_hold(strangers).mean() > 0.85


def test_threads_that_add_lose_nothing():
    parts = [digests(1_000 * i, 40) for i in range(8)]
    for _ in range(50):
        ids = IdFilter(64)
        threads = [threading.Thread(target=ids.add, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(ids.may_hold(part).all() for part in parts)
