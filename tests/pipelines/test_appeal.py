"""Appeal as the log tells it: however it is cut, and as one walk over it counts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.pipelines.appeal import Appeal
from heirloom.pipelines.prices import PriceLevels
from heirloom.pipelines.shown import Shown
from heirloom.testing.features import random_log

SLOTS = np.arange(6, dtype=np.int32)


def folded(log: Facts, cuts: list[int]) -> tuple[Appeal, Shown, PriceLevels]:
    appeal, shown, prices = Appeal(), Shown(), PriceLevels()
    for first, last in zip([0, *cuts], [*cuts, len(log)], strict=True):
        part = log[first:last]
        prices.apply(part)
        shown.apply(part)
        appeal.apply(part, {})
    return appeal, shown, prices


def naive_tally(log: Facts) -> tuple[dict[int, float], Counter[int]]:
    """Openings expected and come, by slot; what is listed anew begins at nothing."""
    tries: Counter[tuple[int, int, bool]] = Counter()
    expected: dict[int, float] = {}
    opened: Counter[int] = Counter()
    slates: list[tuple[int, int, list[list[int]]]] = []
    for e, event in enumerate(log.events):
        rows = log.listings[log.starts[e] : log.starts[e + 1]]
        kind, person, surface = int(event["kind"]), int(event["person"]), int(event["surface"])
        if kind == KIND_CODE[Kind.LISTED]:
            for row in rows:
                expected[int(row["slot"])], opened[int(row["slot"])] = 0.0, 0
        elif person and kind == KIND_CODE[Kind.IMPRESSION]:
            slate = []
            for i, row in enumerate(rows):
                slot, place = int(row["slot"]), int(row["position"])
                place = i if place < 0 else place
                if slot < 0:
                    continue
                chance = (tries[surface, place, True] + 1) / (tries[surface, place, False] + 21)
                expected[slot] = expected.get(slot, 0.0) + chance
                tries[surface, place, False] += 1
                slate.append([slot, place, 0])
            if slate:
                slates.insert(0, (person, surface, slate))
        elif person and kind in OPENING and len(rows):
            mine = [each for each in slates if each[0] == person][:32]
            for _, where, slate in mine:
                found = [place for place in slate if place[0] == rows[0]["slot"]]
                if found:
                    if not found[0][2]:
                        found[0][2] = 1
                        tries[where, found[0][1], True] += 1
                        opened[found[0][0]] += 1
                    break
    return expected, opened


OPENING = [
    KIND_CODE[kind] for kind in (Kind.CLICK, Kind.SAVE, Kind.MESSAGE, Kind.OFFER, Kind.PURCHASE)
]


@given(seed=st.integers(0, 500))
def test_a_listing_is_as_its_last_mention_says(seed: int) -> None:
    log = random_log(seed, 300)
    arrays = folded(log, [])[0].arrays()
    last = {int(row["slot"]): row for row in log.listings if row["slot"] >= 0}
    assert len(last) < len(log.listings)
    for slot, row in last.items():
        fields = ("category", "brand", "condition", "seller")
        assert [arrays["row"][slot][name] for name in fields] == [row[name] for name in fields]
        assert arrays["price"][slot] == row["price_minor"]
    for slot in set(range(len(arrays["row"]))) - last.keys():
        assert not arrays["price"][slot]
        assert not any(arrays["row"][slot])


@given(seed=st.integers(0, 500))
def test_openings_expected_and_come_are_those_one_walk_counts(seed: int) -> None:
    log = random_log(seed, 300)
    _, shown, _ = folded(log, [])
    (expected, opened), (hoped, came) = shown.tally, naive_tally(log)
    for slot in range(len(expected)):
        assert expected[slot] == pytest.approx(hoped.get(slot, 0.0), abs=1e-12)
        assert opened[slot] == came[slot]


@given(seed=st.integers(0, 500), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_however_the_log_is_cut_the_appeal_is_the_same_to_the_bit(
    seed: int, cuts: list[int]
) -> None:
    log = random_log(seed, 300)
    found = []
    for where in ([], sorted(cuts)):
        appeal, shown, prices = folded(log, where)
        appeal.refit(shown, prices)
        found.append(appeal.of(SLOTS, prices))
    assert found[0].tobytes() == found[1].tobytes()


def test_nothing_is_said_before_it_is_fitted_nor_of_what_nobody_knows() -> None:
    log = random_log(1, 200)
    appeal, shown, prices = folded(log, [])
    assert not appeal.of(SLOTS, prices).any()
    appeal.refit(shown, prices)
    assert appeal.of(SLOTS, prices)[:5].any()
    assert appeal.of(np.array([10_000], np.int32), prices).tolist() == [0.0]
    empty = Appeal()
    empty.refit(Shown(), PriceLevels())
    assert not empty.of(SLOTS, PriceLevels()).any()


def test_photos_and_a_good_price_draw() -> None:
    """Two alike but for photos and price; the one with more of them, cheaper, is opened more."""
    log = random_log(2, 50)
    events, listings = log.events[:1].copy(), log.listings[:1].copy()
    many, rows = 400, []
    for i in range(many):
        row = listings.copy()
        row["slot"], row["price_minor"] = i, (1_000, 4_000)[i % 2]
        row["brand"] = row["category"] = row["condition"] = 1
        row["seller"] = 2 + i % 7
        rows.append(row)
    listed = np.repeat(events, many)
    listed["kind"], listed["person"] = KIND_CODE[Kind.LISTED], 0
    facts = Facts(listed, np.concatenate(rows), np.arange(many + 1))
    appeal, prices = Appeal(), PriceLevels()
    prices.apply(facts)
    stock = {
        i: Listing(listing_id=f"l{i}", seller="s", title="t", photos=(9, 1)[i // 2 % 2])
        for i in range(many)
    }
    appeal.apply(facts, stock)

    class Counted(Shown):
        tally = property(  # type: ignore[assignment]
            lambda _: (
                np.full(many, 5.0),
                np.array([(12, 6, 4, 2)[i % 4] for i in range(many)], np.int32),
            )
        )

    appeal.refit(Counted(), prices)
    cheap_photos, dear_photos, cheap, dear = appeal.of(np.arange(4), prices)
    assert cheap_photos > dear_photos > cheap > dear
    assert cheap_photos - cheap == pytest.approx(np.log(3), abs=0.05)
    assert cheap - dear == pytest.approx(np.log(2), abs=0.05)


@given(seed=st.integers(0, 200))
def test_many_at_once_are_field_by_field(seed: int) -> None:
    appeal, shown, prices = folded(random_log(seed, 300), [])
    appeal.refit(shown, prices)
    total = np.zeros(len(SLOTS))
    known = np.less(SLOTS, len(appeal._row))
    fields = zip(appeal._logs, appeal._codes(SLOTS[known], prices), strict=True)
    for log, codes in fields:
        there = codes < len(log)
        total[np.flatnonzero(known)[there]] += log[codes[there]]
    wanted = np.rint(total * 4096) / 4096
    assert (appeal.of(SLOTS, prices) + 0.0).tobytes() == (wanted + 0.0).tobytes()
