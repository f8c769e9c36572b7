"""Vectors that are none, filters that mean nothing, and no time: through the door of a system."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.apps import build
from heirloom.apps.build import System
from heirloom.apps.http import application
from heirloom.apps.settings import load
from heirloom.core.errors import ShapeError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.pair import Encoders

from .conftest import LAPTOP, START_MS, Client, Clock, Door, listings


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder gives NaN for dresses, and infinity for the word `odd`."""
    encode, text = Hashed.listings, Hashed.text

    def listing_vectors(self: Hashed, some: Sequence[Listing]) -> NDArray[np.float32]:
        vectors = encode(self, some).copy()
        vectors[["dress" in each.title for each in some], 3] = np.nan
        return vectors

    def text_vector(self: Hashed, words: str) -> NDArray[np.float32]:
        return text(self, words) + np.float32(np.inf if words == "odd" else 0)

    monkeypatch.setattr(Hashed, "listings", listing_vectors)
    monkeypatch.setattr(Hashed, "text", text_vector)


def stocked(folder: Path) -> System:
    system = System(load(LAPTOP, folder=folder), clock=Clock())
    if not system.live.n:
        system.ingest(
            Event(event_id=each.listing_id, kind=Kind.LISTED, t=START_MS,
                  listing=each.listing_id, data=each)
            for each in listings()
        )  # fmt: skip
    return system


def asked(system: System, path: str, body: dict[str, Any]) -> dict[str, Any]:
    client = Client(application(system))
    try:
        response = client.post(f"/v1/{path}", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer
    finally:
        client.close()


@pytest.mark.usefixtures("broken")
def test_vectors_of_nan_stop_neither_a_system_nor_its_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        system = stocked(tmp_path)
    assert "gave NaN or infinity for 30 listings, 'l01' first" in caplog.text
    for _ in range(2):
        dresses = asked(system, "search", {"text": "silk dress", "k": 200})
        assert len(dresses["listings"]) >= 30
        beside = asked(system, "recommend", {"surface": "similar", "anchor": "l00", "k": 200})
        assert len(beside["listings"]) == len(listings()) - 1
        odd = asked(system, "search", {"text": "odd", "k": 5})
        assert len(odd["listings"]) == 5
        system.snapshot()
        system.close()
        system = stocked(tmp_path)
    system.close()


def test_a_filter_on_what_there_is_not_is_refused_and_harms_nothing(door: Door) -> None:
    before = door.post("/v1/recommend", {"k": 200})
    refused = door.client.post("/v1/recommend", json={"filters": {"colur": ["red"]}})
    assert refused.status_code == 422
    assert "colur" in refused.text
    nothing = door.post("/v1/recommend", {"filters": {"brands": ["no such brand"]}})
    assert nothing["listings"] == []
    assert len(before["listings"]) == len(door.post("/v1/recommend", {"k": 200})["listings"])


def test_an_encoder_that_no_index_can_hold_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heirloom.apps.encoding.HASHED", Encoders(Hashed(264)))
    with pytest.raises(ShapeError, match=r"dim=264; wanted an even number from 2 to 256"):
        System(load(LAPTOP, folder=tmp_path), clock=Clock())


def test_out_of_time_an_answer_comes_and_says_so(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = {"user": "anna", "k": 10}
    door.post("/v1/events", [{"kind": "save", "listing": "l03", "user": "anna"}])
    assert not [d for d in door.post("/v1/recommend", anna)["degraded"] if "retrieve" in str(d)]
    monkeypatch.setattr(build, "within", lambda _: lambda: True)
    hurried = door.post("/v1/recommend", anna)
    assert len(hurried["listings"]) == 10
    assert [d for d in hurried["degraded"] if "out of time: " in str(d)]
