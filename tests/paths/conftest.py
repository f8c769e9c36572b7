"""One tiny marketplace, simulated, ingested and trained once for all path tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.simulator.world import World

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"


@dataclass(frozen=True)
class Marketplace:
    """A system after its simulated past, and the world that goes on."""

    system: System
    world: World


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marketplace]:
    """A tiny marketplace with a published bundle. Tests may add events, never undo any."""
    folder = tmp_path_factory.mktemp("marketplace")
    system = System(load(LAPTOP, folder=folder))
    world = simulate_into(system, "tiny", 0, None, Silent())
    system.train()
    yield Marketplace(system, world)
    system.close()
