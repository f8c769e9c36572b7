import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import InputError, ShapeError
from heirloom.encoders.history import GAPS, Histories, gap_buckets
from heirloom.encoders.training.windows import Windows, batches, cut


def histories_of(lengths: list[int]) -> Histories:
    return Histories.of_items(
        [np.arange(n, dtype=np.int64) + 100 * i + 1 for i, n in enumerate(lengths)]
    )


def pairs_of(windows: Windows, rows: int, reverse: float, seed: int = 0) -> list[tuple[int, int]]:
    """(event read, item foretold) of all batches."""
    found = []
    for batch in batches(windows, rows, np.random.default_rng(seed), reverse=reverse):
        read, after = batch.events.items.numpy(), batch.targets.numpy()
        there = after > 0
        np.testing.assert_array_equal(read > 0, there)
        assert (windows.histories.items[batch.foretold.numpy()[there]] == after[there]).all()
        found += list(zip(read[there].tolist(), after[there].tolist(), strict=True))
    return found


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda n: max(n) > 1),
    events=st.integers(1, 9),
    rows=st.integers(1, 5),
)
def test_every_event_but_the_first_is_foretold_once(
    lengths: list[int], events: int, rows: int
) -> None:
    windows = cut(histories_of(lengths), events)
    assert ((windows.ends - windows.begins) <= events + 1).all()
    wanted = [(100 * i + j, 100 * i + j + 1) for i, n in enumerate(lengths) for j in range(1, n)]
    assert sorted(pairs_of(windows, rows, 0.0)) == wanted
    backwards = sorted((b, a) for a, b in wanted)
    assert sorted(pairs_of(windows, rows, 1.0)) == backwards


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=8).filter(lambda n: max(n) > 1),
    events=st.integers(1, 9),
    reverse=st.sampled_from([0.0, 1.0]),
)
def test_from_nothing_every_event_is_foretold(
    lengths: list[int], events: int, reverse: float
) -> None:
    histories = histories_of(lengths)
    windows = cut(histories, events, least=1)
    found = np.zeros(len(histories.items), np.int64)
    rng = np.random.default_rng(0)
    for batch in batches(windows, 3, rng, reverse=reverse, from_nothing=True):
        assert batch.targets.shape[1] == batch.events.items.shape[1] + 1
        read = batch.events.items
        assert (batch.targets[:, :-1] * (read > 0)).equal(read)
        there = batch.foretold >= 0
        assert (batch.targets > 0).equal(there)
        places = batch.foretold[there].numpy()
        np.testing.assert_array_equal(histories.items[places], batch.targets[there])
        np.add.at(found, places, 1)
    # One more for each further window of a person: its first event was the last of another.
    assert (found >= 1).all()
    assert found.sum() == len(histories.items) + len(windows) - sum(n > 0 for n in lengths)


def test_the_order_of_batches_is_the_seeds() -> None:
    windows = cut(histories_of([5, 9, 3, 12]), 4)
    assert pairs_of(windows, 2, 0.5, seed=1) == pairs_of(windows, 2, 0.5, seed=1)
    assert pairs_of(windows, 2, 0.5, seed=1) != pairs_of(windows, 2, 0.5, seed=2)


def test_nobody_with_two_events_is_refused() -> None:
    with pytest.raises(InputError, match="2 people came, none with two events"):
        cut(histories_of([1, 1]), 5)


@pytest.mark.parametrize(
    ("starts", "items", "why"),
    [
        ([0, 2], [1], "run from 0"),
        ([0, 2, 1], [1], "backwards"),
        ([1, 1], [1], "run from 0"),
        ([0, 1], [0], "kept for padding"),
    ],
)
def test_histories_that_do_not_fit_are_refused(
    starts: list[int], items: list[int], why: str
) -> None:
    codes = np.zeros(len(items), np.int8)
    with pytest.raises(ShapeError, match=why):
        Histories(
            np.array(starts), np.array(items), codes, codes, np.zeros(len(items), np.int64)
        )  # fmt: skip


@given(st.lists(st.integers(0, 2**45), max_size=20))
def test_gaps_are_buckets_whatever_the_order_of_times(times: list[int]) -> None:
    buckets = gap_buckets(np.array(times, np.int64))
    assert len(buckets) == len(times)
    assert ((buckets >= 0) & (buckets < GAPS)).all()
    assert not buckets[:1].any()
    assert (buckets[1:] > 0).all()
