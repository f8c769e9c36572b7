"""SIGTERM keeps what was folded, so that the next start goes on from there."""

from pathlib import Path

import pytest
from tests.apps.conftest import LAPTOP
from tests.paths.workers import Market, made, stock

from heirloom.apps.build import System
from heirloom.apps.settings import load

EVERY = 1_000


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return made(tmp_path / "market")


@pytest.fixture
def system_file(tmp_path: Path) -> Path:
    path = tmp_path / "system.toml"
    text = LAPTOP.read_text()
    assert "snapshot_every" not in text
    path.write_text(text.replace("[system]\n", f"[system]\nsnapshot_every = {EVERY}\n", 1))
    return path


def clicks(first: int, count: int) -> list[dict[str, str]]:
    return [
        {"event_id": f"c{i}", "kind": "click", "user": "anna", "listing": f"s{i % 240}"}
        for i in range(first, first + count)
    ]


def kept_at(market: Market) -> list[int]:
    """Offsets that each of the states is kept at."""
    snapshots = market.folder / "snapshots"
    return sorted(int(path.name) for path in snapshots.glob("*/[0-9]*"))


def begins_at(market: Market) -> int:
    """From which offset a start reads the log."""
    system = System(load(LAPTOP, folder=market.folder), answering=False)
    system.close()
    return system.began_at


@pytest.mark.parametrize("count", [1, 2])
def test_a_planned_stop_keeps_what_much_came(market: Market, system_file: Path, count: int) -> None:
    n = len(stock())
    market.serve(workers=count, system=system_file)
    assert market.end() == 0
    assert kept_at(market) == [n] * 3, "all of it came since the last, which there was none"
    market.serve(workers=count, system=system_file)
    market.take(*clicks(0, EVERY // 10 - 1))
    assert market.end() == 0
    assert kept_at(market) == [n] * 3, "to fold so few again takes no time"
    market.serve(workers=count, system=system_file)
    market.take(*clicks(1_000, 1))
    assert market.end() == 0
    whole = n + EVERY // 10
    assert kept_at(market) == [n] * 3 + [whole] * 3
    assert begins_at(market) == whole
