"""A start encodes what was listed since the vectors were kept, and answers as if it had all."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.paths.workers import bundle_of

from heirloom.apps.build import System
from heirloom.apps.kept import ended
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


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> Encoders:
    """Of bundles, the second to be asked for has other encoders than the first."""
    renamed = Hashed()
    renamed.model_id = f"{renamed.model_id}, another"
    other, of, by_bundle = Encoders(renamed), System._encoders_in, dict[str, Encoders]()

    def encoders_in(self: System, bundle: Path | None) -> Encoders:
        if bundle is None:
            return of(self, bundle)
        return by_bundle.setdefault(bundle.name, other if by_bundle else of(self, bundle))

    monkeypatch.setattr(System, "_encoders_in", encoders_in)
    return other


def test_a_way_back_to_other_encoders_encodes_what_came_since(
    tmp_path: Path, encoded: list[int], two_models: Encoders
) -> None:
    stock = listings()
    system = opened(tmp_path)
    bundles = bundle_of(system, 1.0), bundle_of(system, -1.0)
    system.ingest(listed(stock[:50]))
    system.publish(bundles[0])
    encoded.clear()
    system.publish(bundles[1])
    assert system.live.content.model_id == two_models.model_id
    assert sum(encoded) == 50, "these vectors were never made before"
    assert ended(system._writing, 60)
    system.ingest([*listed(stock[50:55]), sold("l03")])  # and the other model's are kept
    assert ended(system._writing, 60)
    for bundle, since in ((bundles[0], 5), (bundles[1], 0), (bundles[0], 0)):
        encoded.clear()
        system.publish(bundle)
        assert sum(encoded) == since
        assert ended(system._writing, 60)
    system.ingest(listed(stock[55:]))
    encoded.clear()
    anew = System(load(LAPTOP, folder=tmp_path, name="anew"), clock=Clock(), reader=True)
    assert anew.live.content.model_id == system.live.content.model_id
    assert anew.live.content.vectors.tobytes() == system.live.content.vectors.tobytes()
    for anchor in ("l00", "l03", "l55"):
        assert near(anew, anchor) == near(system, anchor)
    assert "l03" not in near(system, "l00")
    anew.close()
    system.close()


def test_a_way_back_without_what_was_kept_encodes_all(
    tmp_path: Path, encoded: list[int], two_models: Encoders, caplog: pytest.LogCaptureFixture
) -> None:
    stock = listings()
    system = opened(tmp_path)
    bundles = bundle_of(system, 1.0), bundle_of(system, -1.0)
    system.ingest(listed(stock[:50]))
    for bundle in bundles:
        system.publish(bundle)
        ended(system._writing, 60)
    own = f"content@*-{hashlib.blake2b(Hashed().model_id.encode(), digest_size=8).hexdigest()}-*"
    for kept in (tmp_path / "snapshots").glob(f"{own}/*/content.codes.npy"):
        kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    encoded.clear()
    with caplog.at_level(logging.WARNING):
        system.publish(bundles[0])
    assert sum(encoded) == 50
    assert "'content.codes' is not what was written" in caplog.text
    system.close()
