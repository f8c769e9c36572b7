"""What people were shown lately, beside one walk over the log."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.pipelines.shown import Shown
from heirloom.testing.features import random_log

OPENING = [
    KIND_CODE[kind] for kind in (Kind.CLICK, Kind.SAVE, Kind.MESSAGE, Kind.OFFER, Kind.PURCHASE)
]
Place = tuple[int, int, int, bool]


def naive(log: Facts) -> tuple[dict[int, list[list[list[int]]]], Counter[tuple[int, int, bool]]]:
    """By person their slates, the latest first, of [slot, t, position, opened]; and the tries."""
    slates: dict[int, list[list[list[int]]]] = defaultdict(list)
    tries: Counter[tuple[int, int, bool]] = Counter()
    surfaces: dict[int, int] = {}
    for e, event in enumerate(log.events):
        rows, person = log.listings[log.starts[e] : log.starts[e + 1]], int(event["person"])
        if not person:
            continue
        if event["kind"] == KIND_CODE[Kind.IMPRESSION]:
            slate = [
                [
                    int(r["slot"]),
                    int(event["t"]),
                    int(r["position"]) if r["position"] >= 0 else i,
                    0,
                ]
                for i, r in enumerate(rows)
                if r["slot"] >= 0
            ]
            if slate:
                slates[person].insert(0, slate)
                surfaces[id(slate)] = int(event["surface"])
            tries.update((int(event["surface"]), place[2], False) for place in slate)
        elif event["kind"] in OPENING and len(rows):
            for slate in slates[person][:32]:
                found = [place for place in slate if place[0] == rows[0]["slot"]]
                if found:
                    if not found[0][3]:
                        found[0][3] = 1
                        tries[surfaces[id(slate)], found[0][2], True] += 1
                    break
    return slates, tries


@given(seed=st.integers(0, 1_000), cut=st.integers(0, 300), places=st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_what_is_remembered_is_what_one_walk_finds(seed: int, cut: int, places: int) -> None:
    log = random_log(seed, 300)
    shown, (slates, tries) = Shown(), naive(log)
    shown.apply(log[:cut])
    shown.apply(log[cut:])
    for person in range(4):
        seen = shown.of(person, places)
        wanted = [place for slate in slates.get(person, []) for place in slate][:places]
        assert [
            [int(slot), int(t), int(opened)]
            for slot, t, opened in zip(seen.slot, seen.t, seen.opened, strict=True)
        ] == [[slot, t, opened] for slot, t, _, opened in wanted]
        numbered = [i for i, slate in enumerate(slates.get(person, [])) for _ in slate][:places]
        _, first = np.unique(seen.slate, return_inverse=True)
        assert [max(numbered, default=0) - i for i in numbered] == first.tolist()
    surface, position = 2, 1
    n, opened = tries[surface, position, False], tries[surface, position, True]
    assert shown._tries[surface, position].tolist() == [n, opened]


@given(seed=st.integers(0, 1_000), kept=st.integers(1, 40), step=st.integers(1, 50))
@settings(deadline=None, max_examples=40)
def test_a_small_memory_keeps_the_latest_however_the_log_is_cut(
    seed: int, kept: int, step: int
) -> None:
    log = random_log(seed, 200)
    whole, parts, large = Shown(kept), Shown(kept), Shown()
    whole.apply(log)
    large.apply(log)
    for first in range(0, 200, step):
        parts.apply(log[first : first + step])
    for person in range(4):
        seen = whole.of(person, 99)
        assert all(
            np.array_equal(a, b) for a, b in zip(seen[:4], parts.of(person, 99)[:4], strict=True)
        )
        assert len(seen.slot) <= kept
        beginning = large.of(person, 99).slot[: len(seen.slot)]
        assert seen.slot.tolist() == beginning.tolist()


def test_the_offset_of_a_place_is_the_logit_of_how_often_it_is_opened() -> None:
    log = random_log(3, 1_000)
    shown, (slates, tries) = Shown(), naive(log)
    shown.apply(log)
    seen = shown.of(1, 40)
    places = [place for slate in slates[1] for place in slate][:40]
    surfaces = shown._slates["surface"][seen.slate].tolist()
    assert any(
        tries[surface, place[2], True] for surface, place in zip(surfaces, places, strict=True)
    )
    for offset, surface, (_, _, position, _) in zip(seen.offset, surfaces, places, strict=True):
        n, opened = tries[surface, position, False], tries[surface, position, True]
        assert offset == pytest.approx(np.log((opened + 1) / (n - opened + 20)))


def test_nobody_and_newcomers_were_shown_nothing() -> None:
    shown = Shown()
    assert len(shown.of(0, 10).slot) == 0
    shown.apply(random_log(1, 50))
    assert len(shown.of(0, 10).slot) == 0
    assert len(shown.of(99, 10).slot) == 0


def test_a_memory_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="kept=0 places; wanted at least 1"):
        Shown(0)
