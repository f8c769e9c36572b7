"""A retriever that learns, in a whole system: trained, in the bundle, there after a restart."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.registry import Registry
from heirloom.apps.settings import load
from heirloom.core.catalogue import DAY_MS
from heirloom.core.errors import BundleError, ConfigError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.core.slate import Slate
from heirloom.pipelines.candidates import retrieve
from heirloom.retrieval.towers.fit import Recipe
from heirloom.retrieval.towers.retriever import ByTakers

RENTAL = Path(__file__).parents[2] / "systems" / "rental.toml"
BEGIN = 20_000 * DAY_MS
OCCASIONS = ("wedding", "work")
GARMENTS, DAYS, A_DAY = 24, 30, 20
SMALL = Recipe(members=1, hidden=8, dim=4, epochs=6, learning_rate=1e-2)
REGISTRY = replace(
    Registry.installed(),
    retrievers={**Registry.installed().retrievers, "takers": lambda _: ByTakers(recipe=SMALL)},
)


def past() -> Iterator[Event]:
    """Each garment is rented for one occasion alone; even ones for weddings."""
    rng = np.random.default_rng(0)
    for i in range(GARMENTS):
        listing = Listing(
            listing_id=f"g{i}", seller="shop", title="dress", category="dress", currency="USD"
        )
        yield Event(
            event_id=f"listed-{i}", kind=Kind.LISTED, t=BEGIN, listing=f"g{i}", data=listing
        )
    for i in range(DAYS * A_DAY):
        garment = int(rng.integers(GARMENTS))
        yield Event(
            event_id=f"rented-{i}", kind=Kind.PURCHASE, t=BEGIN + (1 + i // A_DAY) * DAY_MS,
            user=f"p{i}", listing=f"g{garment}",
            attributes={"occasion": OCCASIONS[garment % 2]},
        )  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A rental shop with a published bundle; tests may publish others."""
    system = opened(tmp_path_factory.mktemp("rental"))
    report = system.ingest_history(past(), source="test")
    assert report.taken == GARMENTS + DAYS * A_DAY, report
    assert "takers" not in sources(asked(system))  # nothing learned yet
    system.train()
    yield system
    system.close()


def opened(folder: Path) -> System:
    return System(load(RENTAL, folder=folder), registry=REGISTRY)


def asked(system: System, occasion: str = "wedding") -> Slate:
    t = BEGIN + (DAYS + 2) * DAY_MS
    return system.recommend(Query(t=t, k=8, attributes={"occasion": occasion}))


def sources(slate: Slate) -> set[str]:
    return {source for shown in slate.shown for source in shown.sources}


def by_takers(system: System, occasion: str) -> list[int]:
    """Slots in the order of that retriever alone."""
    request = system.live.request(
        Query(t=BEGIN + (DAYS + 2) * DAY_MS, attributes={"occasion": occasion})
    )
    retriever = system.live.retrievers["takers"]
    return retriever.retrieve(request, system.live.catalogue.live, GARMENTS // 2).slots.tolist()


def test_what_it_learned_answers_beside_the_others(shop: System) -> None:
    assert sources(asked(shop)) == {"popular", "takers"}
    for parity, occasion in enumerate(OCCASIONS):
        assert {slot % 2 for slot in by_takers(shop, occasion)} == {parity}


def test_by_a_small_weight_popular_orders_nothing(shop: System) -> None:
    assert shop.policy.fusion["popular"] < 1e-3
    t = BEGIN + (DAYS + 2) * DAY_MS
    request = shop.live.request(Query(t=t, attributes={"occasion": "work"}))
    found = retrieve(request, shop.policy, shop.live)
    assert len(found) == GARMENTS
    assert found.slots[: GARMENTS // 2].tolist() == by_takers(shop, "work")
    even = retrieve(request, replace(shop.policy, fusion={}), shop.live)
    assert even.slots.tolist() != found.slots.tolist()


def test_a_weight_for_a_retriever_that_no_surface_names_is_refused(shop: System) -> None:
    with pytest.raises(ConfigError, match="no surface names 'nobody'; known: popular, takers"):
        replace(shop.policy, fusion={"nobody": 1.0}).check(shop.live)


def test_a_restart_gives_the_same_slate(shop: System, tmp_path: Path) -> None:
    before = asked(shop)
    again = opened(Path(copytree(shop.folder, tmp_path / "copy")))
    try:
        assert [each.listing for each in asked(again).shown] == [
            each.listing for each in before.shown
        ]
        assert by_takers(again, "work") == by_takers(shop, "work")
    finally:
        again.close()


def test_a_bundle_without_what_it_learned_answers_without(shop: System) -> None:
    folder = shop.folder / "bundles"
    current = (shop.folder / "current.txt").read_text().strip()
    whole = bundles.load(folder / current, shop.registry.rankers)
    bare = bundles.write(
        folder / "bare", whole.ranker, name="rental", kind=whole.manifest.kind,
        data_window=whole.manifest.data_window, metrics={}, slices={}, negatives="", seed=0,
        code_version="test", golden=asked(shop).features,
    )  # fmt: skip
    (folder / "bare").rename(folder / bare.bundle_id)
    shop.publish(bare.bundle_id)
    assert sources(asked(shop)) == {"popular"}
    shop.publish(current)
    assert sources(asked(shop)) == {"popular", "takers"}


def test_an_array_that_was_changed_is_refused(shop: System, tmp_path: Path) -> None:
    current = shop.folder / "bundles" / (shop.folder / "current.txt").read_text().strip()
    copy = Path(copytree(current, tmp_path / "bundle"))
    assert bundles.retrievers_of(copy)["takers"].keys() >= {"values", "0.lift"}
    changed = copy / "retrievers" / "takers" / "0.lift.npy"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BundleError, match="changed or damaged"):
        bundles.retrievers_of(copy)
