import numpy as np
import pytest

from heirloom.features.algebra import (
    Counter,
    Decay,
    Distinct,
    First,
    Last,
    LastK,
    SinceLast,
    Sum,
    Where,
)
from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView
from heirloom.features.windows import WINDOWS, Window
from heirloom.testing.features import (
    HOUR_MS,
    FeatureViewLaws,
    NaiveState,
    random_log,
    random_request,
    same_bytes,
)


class TestMarketplaceView(FeatureViewLaws):
    view = marketplace_view()


CLICKS = Counter("clicks", ("person", "brand"), ("click", "save"), ("24h", "7d"))
BEST = Where(surfaces=("search", "home"), positions=(0, 2))


class TestAllWords(FeatureViewLaws):
    """Every word that the library's views do without, and keys of three parts."""

    view = FeatureView(
        "all_words",
        (
            Counter("asked", ("query", "listing"), ("impression", "click"), ("7d", "30d")),
            Counter("kind", ("brand", "size", "category"), ("impression",), ("1h", "4w", "ever")),
            Counter("best", ("listing",), ("impression", "click"), ("24h",), where=BEST),
            Counter("any", ("listing",), ("impression", "click"), ("24h",)),
            Counter("here", ("category", "surface"), ("impression",), ("365d",)),
            Sum("spent", ("person",), ("purchase", "click"), ("24h", "90d")),
            Sum("shown", ("seller",), ("impression",), ("7d",), where=BEST),
            Decay("loyal", CLICKS, ("24h", "7d"), 36 * HOUR_MS),
            SinceLast("since", ("person", "seller"), ("click",), within="7d"),
            Last("last_brand", ("person",), ("click", "save"), "brand", within="30d"),
            Last("last_query", ("person",), ("search", "impression"), "query"),
            First("first_surface", ("listing",), ("impression",), "surface"),
            LastK("of_brand", ("person",), ("click", "save", "impression"), "brand", 5),
            LastK("of_size", ("person",), ("click", "impression"), "declared.3", 2, within="7d"),
            Distinct("brands", ("person",), ("click", "impression"), "brand", ("1h", "7d"), 2),
            Distinct("askers", ("listing",), ("impression",), "query", ("30d",)),
        ),
    )


class TestRentalView(FeatureViewLaws):
    view = rental_view(["occasion", "size"], kinds=("purchase", "click", "save", "impression"))


def differing_columns(view: FeatureView, seed: int) -> set[str]:
    """Columns in which the kernel and the naive twin disagree."""
    log = random_log(seed, 400, span_ms=8 * 24 * HOUR_MS)
    fast, naive = view.state(), NaiveState(view)
    fast.apply(log)
    naive.apply(log)
    slots = np.arange(5, dtype=np.int32)
    request = random_request(seed, int(log.events["t"].max()))
    values, expected = fast.lookup(request, slots).values, naive.lookup(request, slots, {})
    return {
        column.partition(".")[2]
        for j, column in enumerate(view.columns)
        if not same_bytes(values[:, j], expected[:, j])
    }


def test_a_hop_off_by_one_is_seen_by_the_law(monkeypatch: pytest.MonkeyPatch):
    assert not set().union(*(differing_columns(marketplace_view(), seed) for seed in range(5)))
    day = WINDOWS["24h"]
    with monkeypatch.context() as patch:
        patch.setitem(WINDOWS, "24h", Window(day.length_ms - 1, day.hop_ms))
        off_by_one_ms = marketplace_view()
        patch.setitem(WINDOWS, "24h", Window(day.length_ms - day.hop_ms, day.hop_ms))
        off_by_one_hop = marketplace_view()
    assert off_by_one_ms.version != off_by_one_hop.version != marketplace_view().version
    seen = set().union(*(differing_columns(off_by_one_hop, seed) for seed in range(5)))
    assert "person_acted_24h" in seen
    assert not [column for column in seen if not column.endswith("24h")]


def test_a_flipped_event_is_seen_by_the_law():
    view = marketplace_view()
    log = random_log(1, 300)
    slots = np.arange(5, dtype=np.int32)
    request = random_request(3, int(log.events["t"].max()))
    served, replayed = view.state(), view.state()
    served.apply(log)
    events = log.events.copy()
    last_click = np.flatnonzero(events["kind"] == 8)[-1]
    events["kind"][last_click] = 7
    replayed.apply(type(log)(events, log.listings, log.starts))
    assert not same_bytes(
        served.lookup(request, slots).values, replayed.lookup(request, slots).values
    )
