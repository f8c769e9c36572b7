"""Live: an edit of a listing whose slot is another's changes nothing of the other's."""

import numpy as np
import pytest

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.vocabulary import Vocabulary
from heirloom.encoders.hashed import Hashed
from heirloom.features.library import marketplace_view
from heirloom.pipelines.ingest import Ingest
from heirloom.pipelines.live import Live
from heirloom.retrieval.content import ContentIndex
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

T = 1_735_689_600_000
DAY = 86_400_000


def event(kind: Kind, listing: str, t: int, title: str | None = None) -> Event:
    data = None
    if title is not None:
        data = Listing(listing_id=listing, seller="s", title=title)
    return Event(event_id=f"{kind}-{listing}-{t}", kind=kind, t=t, listing=listing, data=data)


@pytest.fixture
def live() -> Live:
    catalogue = Catalogue(Vocabulary(), retire_after_ms=DAY)
    return Live(catalogue=catalogue, view=marketplace_view(), content=ContentIndex(Hashed(8)))


def test_an_edit_after_the_slot_was_given_up(live: Live) -> None:
    ingest = Ingest(
        log=MemoryLog(),
        anteroom=MemoryAnteroom(),
        catalogue=live.catalogue,
        currency="EUR",
        rates={},
        apply=live.fold,
    )
    past = [
        event(Kind.LISTED, "old", T, "red silk dress"),
        event(Kind.SOLD, "old", T + 1),
        event(Kind.LISTED, "new", T + 3 * DAY, "blue wool coat"),
    ]
    ingest.ingest(past, now_ms=None, source="test")
    assert live.catalogue.slot_of("old") == -1
    assert live.catalogue.slot_of("new") == 0
    before = live.content.vectors.copy()
    late = event(Kind.EDITED, "old", T + 4 * DAY, "green linen shirt")
    assert ingest.ingest([late], now_ms=None, source="test").taken == 1
    np.testing.assert_array_equal(live.content.vectors, before)
