"""Examination from a log: layouts, what was in view, what waits, and what a log cannot tell."""

from collections.abc import Sequence

import numpy as np
import pytest

from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import InputError
from heirloom.core.event import SURFACE_CODE, Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.vocabulary import Vocabulary
from heirloom.pipelines.examination import (
    COLUMNS,
    IN_VIEW,
    Found,
    Layout,
    corrected,
    examination_of_log,
)
from heirloom.pipelines.ingest import Ingest
from heirloom.ranking.propensity import debiased
from heirloom.testing.memory import MemoryAnteroom, MemoryLog
from heirloom.testing.ranking import examples

T = 1_735_689_600_000
HOUR = 3_600_000
CURVE = np.array([1.0, 0.8, 0.5, 0.3])
STOCK = 12


def log_of(events: Sequence[Event]) -> MemoryLog:
    """A log of some listings, and of these events, in the order of their times."""
    log = MemoryLog()
    ingest = Ingest(
        log=log, anteroom=MemoryAnteroom(), catalogue=Catalogue(Vocabulary()), currency="EUR",
        rates={}, declared=(), apply=lambda *_: None,
    )  # fmt: skip
    listed = [
        Event(
            event_id=f"l{i}", kind=Kind.LISTED, t=T - HOUR, listing=f"x{i}",
            data=Listing(listing_id=f"x{i}", seller="s", title="Coat"),
        )
        for i in range(STOCK)
    ]  # fmt: skip
    ingest.ingest([*listed, *events], now_ms=T + 1_000 * HOUR, source="test")
    return log


def visits(
    people: int, seed: int, *, again: int = 4, columns: int | None = None, in_view: int = 4
) -> list[Event]:
    """Pages of four, each person's listings at other places each time, by worth and by chance."""
    rng = np.random.default_rng(seed)
    worth = rng.beta(1, 2, (people, STOCK))
    events: list[Event] = []
    for person in range(people):
        mine = rng.choice(STOCK, 4, replace=False)
        for visit in range(again):
            order = mine[np.argsort(-worth[person, mine] - rng.normal(0, 0.4, 4))]
            slate, t = f"z{seed}.{person}.{visit}", T + person * 60_000 + visit * 1_000
            stated = {} if columns is None else {COLUMNS: columns}
            events.append(
                Event(
                    event_id=f"i{slate}", kind=Kind.IMPRESSION, t=t, user=f"u{person}",
                    surface="home", slate=slate, listings=tuple(f"x{i}" for i in order),
                    attributes=stated if in_view == 4 else {**stated, IN_VIEW: in_view},
                )
            )  # fmt: skip
            looked = (rng.random(4) < CURVE) & (np.arange(4) < in_view)
            clicked = np.flatnonzero(looked & (rng.random(4) < worth[person, order]))
            events += [
                Event(
                    event_id=f"c{slate}.{place}", kind=Kind.CLICK, t=t + 1, user=f"u{person}",
                    listing=f"x{order[place]}", slate=slate, surface="home",
                )
                for place in clicked.tolist()
            ]  # fmt: skip
    return events


def late(hours: int) -> Event:
    """Something that happens so much later that all before it is mature."""
    return Event(event_id="late", kind=Kind.SEARCH, t=T + hours * HOUR, user="u0", text="coat")


@pytest.fixture(scope="module")
def found() -> dict[Layout, Found]:
    events = visits(1_200, 0) + visits(300, 1, columns=2, in_view=3)
    return examination_of_log(log_of([*events, late(100)]), depth=10, within_ms=24 * HOUR)


def test_the_curve_comes_out_of_the_log(found: dict[Layout, Found]) -> None:
    home = found[Layout("home", 1)]
    assert home.examination is not None
    assert home.reason == ""
    assert np.abs(home.examination.chance / CURVE - 1).max() < 0.15
    assert (home.depth, home.impressions) == (4, 1_200 * 4 * 4)
    assert home.compared > 200
    assert 1_200 < home.clicks < home.impressions


def test_grids_are_apart_and_what_was_not_in_view_is_no_impression(
    found: dict[Layout, Found],
) -> None:
    grid = found[Layout("home", 2)]
    assert list(found) == [Layout("home", 1), Layout("home", 2)]
    assert (grid.depth, grid.impressions) == (3, 300 * 4 * 3)
    assert grid.examination is not None
    assert grid.examination.columns == 2


def test_young_impressions_wait() -> None:
    events = visits(30, 0)
    log = log_of([*events, late(2)])
    every = examination_of_log(log, least_clicks=1.0)[Layout("home", 1)]
    assert every.impressions == 30 * 4 * 4
    half = examination_of_log(log, maturity_ms=2 * HOUR - 15 * 60_000, least_clicks=1.0)
    assert half[Layout("home", 1)].impressions == 16 * 4 * 4 - 3 * 4


def test_a_log_that_cannot_tell_says_why() -> None:
    few = examination_of_log(log_of([*visits(5, 0), late(9)]))[Layout("home", 1)]
    assert few.examination is None
    assert "clicks on listings shown at several places; wanted 200" in few.reason
    once = examination_of_log(log_of([*visits(50, 0, again=1), late(9)]), least_clicks=0.0)
    assert "no clicks tie place 1" in once[Layout("home", 1)].reason
    top = examination_of_log(log_of([*visits(9, 0, in_view=1), late(9)]))[Layout("home", 1)]
    assert (top.depth, top.reason) == (1, "one place is ever in view")
    assert examination_of_log(log_of([])) == {}
    with pytest.raises(InputError, match="depth is 1"):
        examination_of_log(log_of([]), depth=1)


def test_another_day_is_another_question() -> None:
    log = log_of([*visits(40, 0, again=2), late(9)])
    same = examination_of_log(log)[Layout("home", 1)]
    apart = examination_of_log(log, within_ms=1_000)[Layout("home", 1)]
    assert same.compared > 0
    assert apart.compared == 0
    assert same.clicks == apart.clicks


def test_surfaces_are_corrected_by_their_own_and_others_stay(found: dict[Layout, Found]) -> None:
    shown = examples(0, groups=40)
    surfaces = np.where(np.arange(len(shown.gains)) < 160, SURFACE_CODE["home"], 3).astype(np.int8)
    weighed, told = corrected(shown, surfaces, found)
    home = found[Layout("home", 1)].examination
    assert home is not None
    whole = debiased(shown, home)[0].gains
    assert list(told) == ["home"]
    np.testing.assert_array_equal(weighed.gains[160:], shown.gains[160:])
    np.testing.assert_array_equal(weighed.positions[160:], shown.positions[160:])
    assert (weighed.positions[:160] == 0).all()
    gained = np.flatnonzero(shown.gains[:160] > 0)
    ratio = weighed.gains[gained] / whole[gained]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    np.testing.assert_allclose((weighed.gains[gained] / shown.gains[gained]).mean(), 1.0, rtol=1e-5)
    nothing, told = corrected(shown, surfaces, {})
    np.testing.assert_array_equal(nothing.gains, shown.gains)
    assert told == {}
