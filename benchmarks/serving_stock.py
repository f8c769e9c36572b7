"""A marketplace of any size to serve: people with histories, a trained bundle, and live listings.

People and what they did are one simulated world, the same at every size, from which the bundle is
trained. The other listings are the opening stock of more worlds, each of its own seed, under ids of
their own; they go through ingestion as everything does. What was built is kept.
"""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec

from benchmarks import record
from heirloom.apps.build import System
from heirloom.apps.parts import open_log
from heirloom.apps.settings import Settings, load
from heirloom.core.event import Event
from heirloom.simulator import Mixed, Size, World

TOML = Path(__file__).with_suffix("").with_name("serving.toml")
KEPT = record.ROOT / "var" / "bench-serving"
PEOPLE = Size(listings=4_000, people=2_000, days=4, sessions_per_day=0.5)
SEED = 0
DAY_MS = 86_400_000
_WORLD = 50_000
"""Listings of one further world."""
_BATCH = 5_000


def settings_of(folder: Path) -> Settings:
    """Those of serving.toml, in a folder."""
    return load(TOML, folder=folder)


def trained() -> Path:
    """The folder of the simulated world with its bundle; built where it is missing."""
    return _built("trained", _train)


def stocked(listings: int) -> Path:
    """The folder of a system in which at least so many listings are live; built if missing."""
    base = trained()

    def fill(folder: Path) -> None:
        shutil.copytree(base, folder, dirs_exist_ok=True)
        system = System(settings_of(folder), answering=False)
        try:
            begin = int(system.live.catalogue.column("listed_at").min())
            missing = listings - int(system.live.catalogue.live.sum())
            for batch in _batches(further(missing, begin)):
                system.ingest_history(batch, source="simulator")
            system.snapshot()
        finally:
            system.close()

    return _built(f"stock-{listings}", fill)


def people_of(folder: Path) -> list[str]:
    """Users that a folder's log knows."""
    log = open_log(folder, read_only=True)
    try:
        texts = log.vocabulary().texts("person")
    finally:
        log.close()
    return [text for text in texts if text and not text.startswith("session:")]


def further(listings: int, start_ms: int) -> Iterator[Event]:
    """So many `listed` events of worlds of other seeds, ids of listings and sellers their own."""
    for seed in count(SEED + 1):
        if listings <= 0:
            return
        size = Size(listings=min(listings, _WORLD), people=10, days=1, sessions_per_day=0.1)
        for event in World(size, seed, start_ms=start_ms).opening():
            if event.data is None:
                continue
            own = f"w{seed}."
            data = msgspec.structs.replace(
                event.data,
                listing_id=own + event.data.listing_id,
                seller=own + event.data.seller,
            )
            yield msgspec.structs.replace(
                event, event_id=own + event.event_id, listing=data.listing_id, data=data
            )
            listings -= 1


def _train(folder: Path) -> None:
    system = System(settings_of(folder))
    try:
        start = system.now_ms() - round((PEOPLE.days + 0.1) * DAY_MS)
        world = World(PEOPLE, SEED, start_ms=start)
        system.ingest_history(world.opening(), source="simulator")
        logging = Mixed(world)
        while world.day < PEOPLE.days:
            system.ingest_history(world.step(logging).events(), source="simulator")
        system.train()
    finally:
        system.close()


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """A folder under KEPT, made whole or not at all."""
    folder = KEPT / name
    if not folder.exists():
        draft = folder.with_name(f".{name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        build(draft)
        draft.rename(folder)
    return folder


def _batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
