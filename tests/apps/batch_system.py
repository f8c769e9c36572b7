"""A small system on disk: people with histories, and a bundle of a linear ranker."""

import tempfile
from pathlib import Path

import msgspec
import numpy as np

from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.settings import Settings, load
from heirloom.core.bundle import DataWindow
from heirloom.core.event import Event
from heirloom.core.query import Query
from heirloom.ranking.linear import WEIGHTS_FILE, Linear

from .conftest import LAPTOP, START_MS, listings

PEOPLE = tuple(f"u{i:02d}" for i in range(12))


def settings_in(folder: Path) -> Settings:
    """The laptop's, with the light ranker."""
    chosen = load(LAPTOP, folder=folder)
    policy = chosen.policy.model_copy(update={"ranker": "linear"})
    return chosen.model_copy(update={"policy": policy})


def system_in(folder: Path) -> System:
    """A system in a folder, at a clock that stands still."""
    return System(settings_in(folder), clock=lambda: START_MS)


def history() -> list[Event]:
    """Listings, and what twelve people did with them."""
    listed = [
        Event(
            event_id=f"listed {one.listing_id}",
            kind="listed",
            t=START_MS - 86_400_000,
            listing=one.listing_id,
            data=one,
        )
        for one in listings()
    ]
    done = [
        Event(
            event_id=f"{user} {step}",
            kind=("click", "save", "click")[step % 3],
            t=START_MS - 3_600_000 + 60_000 * step,
            user=user,
            listing=f"l{(7 * i + 5 * step) % 60:02d}",
            surface="home",
        )
        for i, user in enumerate(PEOPLE)
        for step in range(i % 5 + 1)
    ]
    return [*listed, *done]


def publish_linear(system: System, seed: int) -> str:
    """Publish a bundle of a linear ranker with drawn weights; gives its id."""
    columns = system.live.view.columns
    drawn = np.random.default_rng(seed).normal(size=len(columns)).tolist()
    weights = {
        "columns": columns,
        "logged": [False] * len(columns),
        "centre": [0.0] * len(columns),
        "scale": [1.0] * len(columns),
        "weight": drawn,
        "weight_if_missing": [0.1] * len(columns),
    }
    folder = system.folder / "bundles"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as draft:
        (Path(draft) / WEIGHTS_FILE).write_bytes(msgspec.json.encode(weights))
        ranker = Linear.load(Path(draft))
        request = system.live.request(Query(t=START_MS))
        bundle = bundles.write(
            Path(draft) / "bundle",
            ranker,
            name="first",
            kind="linear",
            data_window=DataWindow(from_offset=0, to_offset=1, from_t=0, to_t=1),
            metrics={"ndcg@10": 0.5},
            slices={},
            negatives="shown",
            seed=seed,
            code_version="0",
            golden=system.live.look_up(request, np.arange(5, dtype=np.int32)),
        )
        (Path(draft) / "bundle").rename(folder / bundle.bundle_id)
    system.publish(bundle.bundle_id)
    return bundle.bundle_id
