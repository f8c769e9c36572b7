"""A tiny marketplace whose encoders learn from its own log: bundle, restart, parity, newcomers."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.parity import check
from heirloom.apps.progress import Silent
from heirloom.apps.settings import IndexPart, Settings, load
from heirloom.core.errors import BundleError, ConfigError
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.log import Entry
from heirloom.core.query import Query
from heirloom.encoders.hashed import Hashed
from heirloom.pipelines.live import Live, fold_content
from heirloom.retrieval.content import ContentIndex

from .conftest import LAPTOP, Marketplace


def settings(folder: Path, **encoders: object) -> Settings:
    chosen = load(LAPTOP, folder=folder)
    quotas = {
        surface: {**quota, "personal": 100} for surface, quota in chosen.policy.quotas.items()
    }
    return chosen.model_copy(
        update={
            "policy": chosen.policy.model_copy(update={"quotas": quotas}),
            "encoders": chosen.encoders.model_copy(update={"kind": "trained", **encoders}),
        }
    )


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marketplace]:
    """Served by hashed vectors first, then by those learned from the log."""
    folder = tmp_path_factory.mktemp("learned")
    system = System(settings(folder, epochs=2))
    world = simulate_into(system, "tiny", 0, None, Silent())
    system.recommend(Query(t=system.now_ms(), user=someone(system), k=8))
    system.train()
    yield Marketplace(system, world)
    system.close()


def someone(system: System) -> str:
    return system.people_examples(1)[0][0]


def test_the_bundle_holds_its_encoders(learned: Marketplace) -> None:
    system = learned.system
    folder = system.folder / "bundles" / system.policy.bundle
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["encoders"] == system.encoders.model_id
    assert system.live.content.model_id == system.encoders.listings.model_id
    assert system.live.content.model_id.startswith("listing-")
    assert bundles.encoders_of(folder).model_id == system.encoders.model_id
    assert manifest["data_window"]["from_t"] > 0


def test_vectors_after_the_change_are_those_of_a_replay(learned: Marketplace) -> None:
    system = learned.system
    replayed = system.empty_live(retrievers=False)
    replayed.replay(system.log.read())
    content = system.live.content
    np.testing.assert_array_equal(content.vectors, replayed.content.vectors)
    np.testing.assert_array_equal(content.codes, replayed.content.codes)
    np.testing.assert_array_equal(content.offers.live, replayed.content.offers.live)


def test_people_are_known_by_what_they_did_and_newcomers_by_what_they_state(
    learned: Marketplace,
) -> None:
    live: Live = learned.system.live
    t = learned.system.now_ms()
    known = live.request(Query(t=t, user=someone(learned.system)))
    assert known.person_vectors.shape == (1, 64)
    nobody = live.request(Query(t=t, user="nobody"))
    stated = {"department": "women", "brands": [live.catalogue.listing(0).brand]}
    newcomer = live.request(Query(t=t, user="nobody", attributes=stated))
    assert not len(nobody.person_vectors)
    assert newcomer.person_vectors.shape == (1, 64)
    asked = live.request(Query(t=t, user="nobody", surface="search", text="black coat"))
    assert len(asked.person_vectors) == 1
    assert not np.allclose(asked.person_vectors, newcomer.person_vectors)
    slots = np.flatnonzero(live.catalogue.live)[:50].astype(np.int32)
    batch = live.look_up(newcomer, slots)
    match = batch.values[:, [c.endswith(".person_match") for c in batch.columns]]
    wanted = live.content.vectors[slots] @ newcomer.person_vectors[0]
    np.testing.assert_allclose(match[:, 0], wanted, atol=0.02)


def test_the_nearest_to_a_person_are_proposed(learned: Marketplace) -> None:
    system = learned.system
    slate = system.recommend(Query(t=system.now_ms(), user=someone(system), k=24))
    assert not slate.degraded
    assert any("personal" in shown.sources for shown in slate.shown)
    request = system.live.request(Query(t=system.now_ms(), user=someone(system)))
    allowed = system.live.catalogue.live
    found = system.live.retrievers["personal"].retrieve(request, allowed, 10)
    scores = system.live.content.vectors @ request.person_vectors[0]
    scores[~allowed[: len(scores)]] = -2
    assert set(found.slots.tolist()) == set(np.argsort(-scores)[:10].tolist())


def test_a_new_listing_stands_where_it_belongs_at_once(learned: Marketplace) -> None:
    system = learned.system
    live = system.live.catalogue
    old = live.listing(int(np.flatnonzero(live.live)[5]))
    twin = Listing(
        listing_id="twin", seller="somebody", title=old.title, category=old.category,
        brand=old.brand, size=old.size, colour=old.colour, condition=old.condition,
        material=old.material, description=old.description, hashtags=old.hashtags,
        price_minor=old.price_minor, photos=old.photos,
    )  # fmt: skip
    event = Event(event_id="list-twin", kind="listed", t=system.now_ms(), listing="twin", data=twin)
    assert system.ingest([event]).taken == 1
    query = Query(t=system.now_ms(), surface="similar", anchor=old.listing_id)
    found = system.live.retrievers["similar"].retrieve(
        system.live.request(query), system.live.catalogue.live, 10
    )
    assert system.live.catalogue.slot_of("twin") in found.slots.tolist()


def test_it_answers_alike_after_a_restart_and_parity_holds(
    learned: Marketplace, tmp_path: Path
) -> None:
    system = learned.system
    query = Query(t=system.now_ms(), user=someone(system), k=12)
    before = system.recommend(query)
    system.records.close()
    found = check(system.settings)
    assert found.holds, found.summary()
    assert found.slates >= 3  # of hashed vectors, before the training, and of those learned
    copied = tmp_path / "copied"
    shutil.copytree(system.folder, copied)
    again = System(settings(copied, epochs=2))
    try:
        assert again.encoders.model_id == system.encoders.model_id
        assert [s.listing for s in again.recommend(query).shown] == [
            s.listing for s in before.shown
        ]
    finally:
        again.close()


def test_without_the_bundle_that_served_a_slate_parity_cannot_tell(
    learned: Marketplace, tmp_path: Path
) -> None:
    system = learned.system
    slate = system.recommend(Query(t=system.now_ms(), user=someone(system), k=5))
    assert slate.bundle
    system.records.close()
    before = check(system.settings)
    copied = tmp_path / "copied"
    shutil.copytree(system.folder, copied)
    shutil.rmtree(copied / "bundles" / slate.bundle)
    found = check(settings(copied))
    assert found.holds
    assert found.slates >= 1  # those of hashed vectors
    assert found.slates + sum(found.untold.values()) == before.slates
    assert slate.bundle in next(iter(found.untold))


def test_a_bundle_with_a_strange_graph_is_refused(learned: Marketplace, tmp_path: Path) -> None:
    system = learned.system
    folder = tmp_path / system.policy.bundle
    shutil.copytree(system.folder / "bundles" / system.policy.bundle, folder)
    (folder / "encoders" / "person.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"person\.onnx was changed or damaged"):
        bundles.encoders_of(folder)


def test_while_the_stock_is_encoded_anew_requests_and_events_go_on(
    learned: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(learned.system.folder, copied)
    system = System(settings(copied), answering=False)  # hashed, as before any training
    answered: list[int] = []

    def meanwhile() -> None:
        slate = system.recommend(Query(t=system.now_ms(), k=3))
        late = Listing(listing_id="late", seller="s", title="Late silk dress")
        event = Event(event_id="late", kind="listed", t=system.now_ms(), listing="late", data=late)
        answered.extend((len(slate.shown), system.ingest([event]).taken))

    def slowly(content: ContentIndex, entries: Iterable[Entry]) -> None:
        fold_content(content, entries)
        if not answered:
            other = threading.Thread(target=meanwhile, daemon=True)
            other.start()
            other.join(timeout=60)

    monkeypatch.setattr("heirloom.apps.build.fold_content", slowly)
    try:
        system.publish(learned.system.policy.bundle)
        assert answered == [3, 1]
        assert system.live.content.model_id == learned.system.encoders.listings.model_id
        slot = system.live.catalogue.slot_of("late")
        wanted = system.encoders.listings.listings([system.live.catalogue.listing(slot)])[0]
        np.testing.assert_array_equal(system.live.content.vectors[slot], wanted)
    finally:
        system.close()


@pytest.mark.engine("postgres")
def test_each_encoder_has_a_table_of_its_own_in_a_server(
    learned: Marketplace,
    tmp_path: Path,
    postgres_url: str,
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(learned.system.folder, copied)
    (copied / "current.txt").unlink()  # hashed, as before any training
    chosen = settings(copied).model_copy(
        update={"index": IndexPart(kind="pgvector", dsn=postgres_url)}
    )
    system = System(chosen)
    try:
        hashed = served_by(system)
        assert not same_neighbours(system, learned.system)
        system.publish(learned.system.policy.bundle)
        assert same_neighbours(system, learned.system)  # also while its table is being filled
        trained = served_by(system)
        assert same_neighbours(system, learned.system)
        assert trained != hashed
    finally:
        system.close()
    again = System(chosen)
    try:
        assert again.index is not None
        assert (again.index.trouble, again.index.written) == ("", 0)  # it stands where it stood
        assert same_neighbours(again, learned.system)
    finally:
        again.close()


def served_by(system: System) -> str:
    """The model whose vectors the server holds, once it holds them."""
    assert system.index is not None
    while system.index.trouble:
        time.sleep(0.02)
    return system.index.model_id


def same_neighbours(system: System, other: System) -> bool:
    found = []
    for each in (system, other):
        content, live = each.live.content, each.live.catalogue.live
        nearest = [content.nearest(content.vectors[slot], k=20) for slot in range(0, 200, 40)]
        assert all(live[answer.slots].all() for answer in nearest)
        found.append([answer.slots.tolist() for answer in nearest])
    return bool(found[0] == found[1])


def test_training_encoders_without_torch_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "heirloom.pipelines.train_encoders", raising=False)
    monkeypatch.delattr("heirloom.pipelines.train_encoders", raising=False)
    system = System(settings(tmp_path))
    try:
        with pytest.raises(ConfigError, match=r"install heirloom\[train\], or set kind"):
            system.train()
    finally:
        system.close()


def test_a_system_without_a_bundle_is_hashed(tmp_path: Path) -> None:
    system = System(settings(tmp_path))
    try:
        assert system.live.content.model_id == Hashed().model_id
        assert system.live.person_encoder is None
    finally:
        system.close()
