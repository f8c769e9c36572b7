from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import InputError
from heirloom.core.event import ENGAGEMENT_KINDS, KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.features.people import People
from heirloom.testing.features import random_log

KINDS = list(KIND_CODE)


class NaivePeople:
    """The twin: the answers by one walk over the log."""

    def __init__(self, log: Facts, k: int) -> None:
        self.k = k
        self.opening: dict[int, int] = {}
        self.actions = defaultdict(list)
        self.hidden, self.saved = defaultdict(dict), defaultdict(dict)
        self.blocked, self.followed = defaultdict(set), defaultdict(set)
        for i, event in enumerate(log.events):
            person, kind = int(event["person"]), KINDS[event["kind"]]
            for row in log.listings[log.starts[i] : log.starts[i + 1]]:
                self._mention(int(row["slot"]), kind, person, event)
            if person and event["seller"]:
                seller = int(event["seller"])
                if kind == "block":
                    self.blocked[person].add(seller)
                if kind == "follow":
                    self.followed[person].add(seller)
                if kind == "unfollow":
                    self.followed[person].discard(seller)

    def _mention(self, slot, kind, person, event):
        if slot < 0:
            return
        if kind == "listed":
            self.opening[slot] = int(event["seq"])
        number = self.opening.get(slot)
        if person and kind in ENGAGEMENT_KINDS:
            self.actions[person].append((slot, number, int(event["kind"]), int(event["t"])))
        if person and kind == "hide":
            self.hidden[person][slot] = number
        if person and kind in ("save", "unsave"):
            self.saved[person].pop(slot, None)
            if kind == "save":
                self.saved[person][slot] = number

    def still(self, slots):
        return [slot for slot, number in slots.items() if self.opening.get(slot) == number]

    def answers(self, person):
        recent = [
            (slot, kind, t)
            for slot, number, kind, t in self.actions[person][-self.k :][::-1]
            if self.opening.get(slot) == number
        ]
        sets = (set(self.still(self.hidden[person])), self.blocked[person], self.followed[person])
        return (recent, self.still(self.saved[person]), *sets)


def answers(people: People, person: int):
    recent = list(zip(*(column.tolist() for column in people.recent(person)), strict=True))
    sets = (people.hidden(person), people.blocked(person), people.followed(person))
    return (recent, people.saved(person).tolist(), *sets)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 150), max_size=8),
    k=st.sampled_from([1, 3, 50]),
)
def test_any_cuts_give_what_one_walk_over_the_log_gives(seed: int, cuts: list[int], k: int):
    log = random_log(seed, 150)
    sellers = np.isin(log.events["kind"], [KIND_CODE[k] for k in ("follow", "unfollow", "block")])
    log.events["seller"][sellers] = 1 + np.arange(sellers.sum()) % 3
    live, whole, naive = People(k), People(k), NaivePeople(log, k)
    whole.apply(log)
    edges = [0, *sorted(cuts), len(log)]
    for start, stop in pairwise(edges):
        live.apply(log[start:stop])
        live = People.restored(live.n, live.arrays())  # as after a restart
    assert live.n == len(log)
    for name, array in whole.arrays().items():
        assert np.array_equal(live.arrays()[name], array), name
    for person in (1, 2):
        assert answers(live, person) == naive.answers(person)


def test_nobody_and_strangers_have_done_nothing():
    people = People()
    people.apply(random_log(0, 100))
    for person in (0, 3, 10**6):
        assert answers(people, person) == ([], [], set(), set(), set())


def test_the_newest_comes_first_and_a_reused_slot_is_forgotten():
    events, listings = np.zeros(5, EVENT_ROW), np.zeros(5, LISTING_ROW)
    events["seq"], events["person"], events["t"] = np.arange(5), 1, 1_000 + np.arange(5)
    events["kind"] = [KIND_CODE[k] for k in ("listed", "listed", "click", "save", "listed")]
    listings["slot"] = [0, 1, 0, 1, 0]
    log = Facts(events, listings, np.arange(6, dtype=np.int64))
    people = People()
    people.apply(log[:4])
    assert people.recent(1)[0].tolist() == [1, 0]
    assert people.recent(1)[2].tolist() == [1_003, 1_002]
    people.apply(log[4:])
    assert people.recent(1)[0].tolist() == [1]
    assert people.saved(1).tolist() == [1]


def test_memory_grows_with_what_a_person_did():
    def bytes_of(actions: int) -> float:
        people, events = People(), np.zeros(1_000 * actions, EVENT_ROW)
        events["seq"], events["kind"] = np.arange(len(events)), KIND_CODE["click"]
        events["person"] = 1 + np.arange(len(events)) % 1_000
        listings = np.zeros(len(events), LISTING_ROW)
        people.apply(Facts(events, listings, np.arange(len(events) + 1, dtype=np.int64)))
        return people.nbytes / 1_000

    assert bytes_of(1) < 200
    assert 50 * 14 < bytes_of(50) < 1_000
    assert bytes_of(60) == bytes_of(50)


def test_what_is_taken_back_leaves_no_memory_behind():
    people, events = People(), np.zeros(4_000, EVENT_ROW)
    events["seq"], events["person"], events["seller"] = np.arange(4_000), 1, 7
    events["kind"][::2], events["kind"][1::2] = KIND_CODE["follow"], KIND_CODE["unfollow"]
    log = Facts(events, np.zeros(0, LISTING_ROW), np.zeros(4_001, np.int64))
    people.apply(log)
    assert people.followed(1) == set()
    assert len(people.arrays()["choices"]) == 2


def test_arrays_of_no_people_are_refused():
    people = People()
    people.apply(random_log(0, 200))
    arrays = people.arrays()
    with pytest.raises(InputError, match="'rows' is nothing"):
        People.restored(200, {name: arrays[name] for name in arrays if name != "rows"})
    with pytest.raises(InputError, match="not of one state"):
        People.restored(200, arrays | {"choices": arrays["choices"][:-1]})
    far = arrays["rows"].copy()
    far[0, -1] = 1_000
    with pytest.raises(InputError, match="not of one state"):
        People.restored(200, arrays | {"rows": far})


def test_wrong_use_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        People(0)
    people, log = People(), random_log(0, 20)
    people.apply(log)
    with pytest.raises(InputError, match="came again"):
        people.apply(log[19:])
    people, log.events["t"][7] = People(), 1 << 43
    with pytest.raises(InputError, match="correct the log"):
        people.apply(log)
    assert people.n == 0
