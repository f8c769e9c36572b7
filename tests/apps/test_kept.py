"""A start encodes what was listed since the vectors were kept, and answers as if it had all."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.apps.build import System
from heirloom.apps.settings import load
from heirloom.core.event import Event, Kind, Surface
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.pair import Encoders

from .conftest import LAPTOP, START_MS, Clock, listings


def opened(folder: Path) -> System:
    return System(load(LAPTOP, folder=folder), clock=Clock())


def listed(some: Sequence[Listing]) -> list[Event]:
    return [
        Event(event_id=each.listing_id, kind=Kind.LISTED, t=START_MS, listing=each.listing_id,
              data=each)
        for each in some
    ]  # fmt: skip


def sold(listing_id: str) -> Event:
    return Event(event_id=f"sold {listing_id}", kind=Kind.SOLD, t=START_MS, listing=listing_id)


def near(system: System, anchor: str) -> list[str]:
    query = Query(surface=Surface.SIMILAR.value, t=START_MS, anchor=anchor, k=40)
    return [shown.listing for shown in system.recommend(query).shown]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many listings each call of the encoder was given."""
    counts: list[int] = []
    encode = Hashed.listings

    def counting(self: Hashed, some: Sequence[Listing]) -> NDArray[np.float32]:
        counts.append(len(some))
        return encode(self, some)

    monkeypatch.setattr(Hashed, "listings", counting)
    return counts


def test_a_start_encodes_what_came_since(
    tmp_path: Path, encoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    stock = listings()
    system = opened(tmp_path)
    system.ingest(listed(stock[:50]))
    assert system.snapshot() == 50
    system.ingest([*listed(stock[50:]), sold("l03")])
    anchors = ("l00", "l03", "l55")
    served = [near(system, anchor) for anchor in anchors]
    assert "l03" not in {each for slate in served for each in slate}
    system.close()
    assert sum(encoded) == len(stock)

    encoded.clear()
    again = opened(tmp_path)
    assert sum(encoded) == len(stock) - 50
    assert [near(again, anchor) for anchor in anchors] == served
    assert again.live.content.vectors.tobytes() == system.live.content.vectors.tobytes()
    again.close()
    assert not caplog.records

    (kept,) = (tmp_path / "snapshots").glob("content@*/*/content.vectors.npy")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    encoded.clear()
    with caplog.at_level(logging.WARNING):
        damaged = opened(tmp_path)
    assert "'content.vectors' is not what was written" in caplog.text
    assert sum(encoded) == len(stock)
    assert [near(damaged, anchor) for anchor in anchors] == served
    damaged.close()


def test_vectors_of_another_model_are_not_taken(
    tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = listings()
    system = opened(tmp_path)
    system.ingest(listed(stock))
    system.snapshot()
    system.close()
    encoded.clear()
    renamed = Hashed()
    other = renamed.model_id = f"{renamed.model_id}, another"
    monkeypatch.setattr("heirloom.apps.encoding.HASHED", Encoders(renamed))
    again = opened(tmp_path)
    assert again.live.content.model_id == again.live.content.index.model_id == other
    assert sum(encoded) == len(stock)
    again.snapshot()
    again.close()
    assert len(list((tmp_path / "snapshots").glob("content@*"))) == 2  # both are kept
