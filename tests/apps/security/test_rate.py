"""Rates: the bucket against a plain one, and one bucket for several processes."""

import multiprocessing
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.security.caller import Allowance
from heirloom.apps.security.rate import WAYS, Buckets, take

S = 1_000_000_000


def plainly(moments: list[int], rate: int, burst: int) -> list[bool]:
    """A bucket that is refilled with time, in exact fractions."""
    held, last, taken = Fraction(burst), 0, []
    for now in moments:
        held = min(Fraction(burst), held + Fraction(now - last, S) * rate)
        last = now
        taken.append(held >= 1)
        held -= taken[-1]
    return taken


@given(
    gaps=st.lists(st.integers(0, 3 * S), max_size=60),
    rate=st.sampled_from([1, 2, 5, 10, 100]),
    burst=st.integers(1, 7),
)
def test_one_number_does_what_a_refilled_bucket_does(
    gaps: list[int], rate: int, burst: int
) -> None:
    now, full_at, moments, taken = S, 0, [], []
    for gap in gaps:
        now += gap
        full_at, wait = take(full_at, now, Allowance(rate, burst))
        moments.append(now)
        taken.append(not wait)
    assert taken == plainly(moments, rate, burst)


@given(full_at=st.integers(0, 10 * S), now=st.integers(0, 10 * S), burst=st.integers(1, 5))
def test_who_waits_as_long_as_was_said_is_let_in_and_no_sooner(
    full_at: int, now: int, burst: int
) -> None:
    allowance = Allowance(2.0, burst)
    after, wait = take(full_at, now, allowance)
    if wait:
        assert take(after, now + wait, allowance)[1] == 0
        assert take(after, now + wait - 1, allowance)[1] == 1


def test_a_clock_that_began_anew_locks_nobody_out() -> None:
    assert take(10**18, 5 * S, Allowance(1.0, 3))[1] == 0


def test_buckets_are_told_apart_and_the_fullest_makes_room(tmp_path: Path) -> None:
    now = [S]
    buckets = Buckets(tmp_path / "buckets", sets=1, clock=lambda: now[0])
    allowance = Allowance(0.001, 1)
    names = [f"key {i}" for i in range(WAYS + 1)]
    for name in names[:WAYS]:
        assert buckets.take(name, allowance) == 0
        now[0] += 1
    assert all(buckets.take(name, allowance) for name in names[:WAYS])
    assert buckets.take(names[WAYS], allowance) == 0
    assert all(buckets.take(name, allowance) for name in names[1:])
    assert buckets.take(names[0], allowance) == 0  # forgotten, so full
    assert buckets.take("unlimited", Allowance()) == 0
    buckets.close()


def ask(path: Path, seconds: float, told: "multiprocessing.Queue[int]") -> None:
    buckets, end, taken = Buckets(path), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        taken += buckets.take("one key", Allowance(2_000.0, 100)) == 0
    told.put(taken)


def test_two_processes_share_one_bucket(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[int] = context.Queue()
    workers = [
        context.Process(target=ask, args=(tmp_path / "buckets", 0.3, told)) for _ in range(2)
    ]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    taken = [told.get(timeout=60) for _ in workers]
    elapsed = time.monotonic() - began
    for worker in workers:
        worker.join()
    # Never more than a bucket and what refilled it meanwhile, however the two were scheduled.
    assert 100 <= sum(taken) <= 100 + 2_000 * elapsed + 1


def test_sets_are_a_power_of_two(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Buckets(tmp_path / "buckets", sets=3)
