import numpy as np
import pytest

from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView
from heirloom.features.windows import WINDOWS, Window
from heirloom.testing.features import (
    HOUR_MS,
    FeatureViewLaws,
    NaiveState,
    all_words_view,
    random_log,
    random_request,
    same_bytes,
)


class TestMarketplaceView(FeatureViewLaws):
    view = marketplace_view()


class TestAllWords(FeatureViewLaws):
    view = all_words_view()


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
