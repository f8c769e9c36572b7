"""Training's own arithmetic: labels, and which slates are used."""

import numpy as np
import pytest

from heirloom.core.event import KIND_CODE, SURFACE_CODE, Kind, slate_hash
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.pipelines.labels import label
from heirloom.pipelines.train import Recipe, slates_to_use

T = 1_735_689_600_000
HOUR = 3_600_000


def facts(*rows: tuple[Kind, str | None, int, int]) -> Facts:
    """Events of (kind, slate, slot, hours after T)."""
    events, listings = np.zeros(len(rows), EVENT_ROW), np.zeros(len(rows), LISTING_ROW)
    for i, (kind, slate, slot, hours) in enumerate(rows):
        events[i]["seq"], events[i]["t"] = i, T + hours * HOUR
        events[i]["kind"], events[i]["surface"] = KIND_CODE[kind], SURFACE_CODE["home"]
        events[i]["slate"] = slate_hash(slate)
        listings[i]["slot"] = slot
    return Facts(events, listings, np.arange(len(rows) + 1, dtype=np.int64))


GAINS = {Kind.CLICK: 1.0, Kind.SAVE: 2.0, Kind.PURCHASE: 10.0}


def test_what_was_done_on_a_slate_adds_up_and_counts_once() -> None:
    log = facts(
        (Kind.CLICK, "a", 7, 0),
        (Kind.CLICK, "a", 7, 0),
        (Kind.PURCHASE, "a", 7, 1),
        (Kind.SAVE, "a", 8, 0),
        (Kind.CLICK, "b", 7, 0),
        (Kind.HIDE, "b", 9, 0),
        (Kind.CLICK, None, 7, 0),
    )
    a, b = slate_hash("a"), slate_hash("b")
    assert label(log, GAINS) == {(a, 7): 1 + 10, (a, 8): 2, (b, 7): 1}


def test_young_slates_wait_for_their_labels() -> None:
    log = facts(
        (Kind.IMPRESSION, "old", 1, 0),
        (Kind.IMPRESSION, "young", 1, 9),
        (Kind.IMPRESSION, "idle", 1, 0),
        (Kind.CLICK, "old", 1, 0),
        (Kind.CLICK, "young", 1, 9),
        (Kind.CLICK, "unknown", 1, 10),
    )
    recipe = Recipe(gains=GAINS, maturity_ms=2 * HOUR)
    assert slates_to_use(log, label(log, GAINS), recipe) == {slate_hash("old")}


def test_the_draw_of_slates_is_the_same_in_any_order() -> None:
    names = [f"s{i}" for i in range(50)]
    rows = [(Kind.IMPRESSION, name, 1, 0) for name in names]
    rows += [(Kind.CLICK, name, 1, 0) for name in names]
    rows += [(Kind.CLICK, "end", 1, 5)]
    recipe = Recipe(gains=GAINS, maturity_ms=HOUR, max_slates=10)
    forward, backward = facts(*rows), facts(*reversed(rows))
    drawn = slates_to_use(forward, label(forward, GAINS), recipe)
    assert len(drawn) == 10
    assert drawn == slates_to_use(backward, label(backward, GAINS), recipe)


@pytest.mark.parametrize("kinds", [{"glance": 1.0}, {"click": -1.0}])
def test_gains_that_are_none_are_refused(kinds: dict[str, float]) -> None:
    from heirloom.core.errors import ConfigError

    with pytest.raises(ConfigError):
        label(facts((Kind.CLICK, "a", 1, 0)), kinds)
