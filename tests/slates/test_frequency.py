from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.event import ENGAGEMENT_KINDS, KIND_CODE, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.slates.frequency import Frequency

events = st.lists(
    st.tuples(
        st.sampled_from([*[Kind.IMPRESSION] * 4, Kind.CLICK, Kind.LISTED, Kind.HIDE, Kind.OFFER]),
        st.integers(0, 3),
        st.lists(st.integers(-1, 6), min_size=1, max_size=5, unique=True),
    ),
    max_size=60,
)  # fmt: skip


def facts(*told: tuple[Kind, int, list[int]], t: int = 0) -> Facts:
    """Events of (kind, person, slots)."""
    rows = np.zeros(len(told), EVENT_ROW)
    rows["seq"], rows["t"] = np.arange(len(told)), t
    rows["kind"] = [KIND_CODE[kind] for kind, _, _ in told]
    rows["person"] = [person for _, person, _ in told]
    named = [slots[:1] if kind is not Kind.IMPRESSION else slots for kind, _, slots in told]
    listings = np.zeros(sum(map(len, named)), LISTING_ROW)
    listings["slot"] = [slot for slots in named for slot in slots]
    listings["position"] = -1
    starts = np.cumsum([0, *map(len, named)]).astype(np.int64)
    return Facts(rows, listings, starts)


def counted(told: list[tuple[Kind, int, list[int]]]) -> dict[tuple[int, int], int]:
    """A dictionary's counts, by person and slot."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for kind, person, slots in told:
        for slot in slots if kind is Kind.IMPRESSION else slots[:1]:
            if kind is Kind.LISTED:
                counts = defaultdict(int, {k: n for k, n in counts.items() if k[1] != slot})
            elif kind is Kind.IMPRESSION:
                counts[person, slot] += 1
            elif kind in ENGAGEMENT_KINDS:
                counts[person, slot] = 0
    return counts


@settings(deadline=None)  # the first example compiles
@given(events, st.integers(0, 60))
def test_with_room_it_is_a_dictionary_however_the_log_is_cut(told: list, cut: int) -> None:
    frequency, slots = Frequency(pairs=1 << 12), np.arange(-1, 9, dtype=np.int32)
    for part in (told[:cut], told[cut:]):
        frequency.apply(facts(*part))
    naive = counted(told)
    for person in range(4):
        wanted = [naive[person, slot] if person and slot >= 0 else 0 for slot in slots.tolist()]
        assert frequency.shown(person, slots).tolist() == wanted


@settings(deadline=None)  # the first example compiles
@given(events)
def test_without_room_it_forgets_and_never_counts_too_high(told: list) -> None:
    frequency, slots = Frequency(pairs=8), np.arange(7, dtype=np.int32)
    frequency.apply(facts(*told))
    naive = counted(told)
    for person in range(1, 4):
        shown = frequency.shown(person, slots)
        assert all(shown[slot] <= naive[person, slot] for slot in range(7))


@settings(deadline=None)  # the first example compiles
@given(st.integers(9, 40))
def test_memory_does_not_grow_and_the_latest_are_remembered(people: int) -> None:
    frequency = Frequency(pairs=8)
    frequency.apply(facts((Kind.LISTED, 0, [0])))
    before = frequency.nbytes
    for person in range(1, people):
        frequency.apply(facts((Kind.IMPRESSION, person, [0])))
    assert frequency.nbytes == before
    last = [int(frequency.shown(p, np.zeros(1, np.int32))[0]) for p in range(1, people)]
    assert last == [0] * (people - 9) + [1] * 8


def test_a_listing_in_a_reused_slot_begins_anew() -> None:
    frequency = Frequency(pairs=8)
    frequency.apply(facts((Kind.LISTED, 0, [3]), (Kind.IMPRESSION, 1, [3])))
    assert frequency.shown(1, np.array([3], np.int32)).tolist() == [1]
    frequency.apply(facts((Kind.LISTED, 0, [3])))
    assert frequency.shown(1, np.array([3], np.int32)).tolist() == [0]
    frequency.apply(facts((Kind.IMPRESSION, 1, [3])))
    assert frequency.shown(1, np.array([3], np.int32)).tolist() == [1]


@pytest.mark.parametrize("pairs", [0, 4, 1000])
def test_pairs_are_a_power_of_two(pairs: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Frequency(pairs)
