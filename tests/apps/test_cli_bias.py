"""`heirloom examination`: over a simulated log, as a table and for a machine."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from heirloom.apps.build import System
from heirloom.apps.cli import app
from heirloom.apps.settings import load
from heirloom.core.errors import NotFoundError
from heirloom.simulator import Popular, Size, World
from heirloom.simulator.queries import QueryColumns
from heirloom.simulator.truth import power_law

from .conftest import LAPTOP

DAY_MS = 86_400_000
SIZE = Size(listings=250, people=120, days=1, sessions_per_day=6.0, k=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the log of a small world in which what stands low is hardly looked at."""
    folder = tmp_path_factory.mktemp("bias")
    system = System(load(LAPTOP, folder=folder), answering=False)
    midnight = system.now_ms() // DAY_MS * DAY_MS  # the hour of the day moves how many come
    world = World(SIZE, 0, start_ms=midnight - 30 * DAY_MS, examined=power_law(1.5))
    system.ingest_history(world.opening(), source="simulator")
    popular, rng = Popular(world), np.random.default_rng(0)

    def shuffled(queries: QueryColumns) -> NDArray[np.int32]:
        return rng.permuted(popular(queries), axis=1)

    while world.day < 1:
        system.ingest_history(world.step(shuffled).events(), source="simulator")
    system.close()
    return folder


def run(folder: Path, *arguments: str) -> str:
    where = ["--system", str(LAPTOP), "--folder", str(folder)]
    result = CliRunner().invoke(app, ["examination", *arguments, *where], env={"COLUMNS": "200"})
    if isinstance(result.exception, NotFoundError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_for_a_machine(folder: Path) -> None:
    told = json.loads(run(folder, "--least-clicks", "8", "--depth", "4", "--json"))
    home = next(each for each in told if each["surface"] == "home")
    assert [each["surface"] for each in told] == ["home", "search", "similar"]
    assert home["reason"] == ""
    assert home["chance"][0] == 1.0
    assert home["chance"][3] < 0.6
    assert len(home["error"]) == 4
    assert home["impressions"] > home["clicks"] > home["compared"] * 0.1


def test_as_a_table(folder: Path) -> None:
    page = run(folder, "--least-clicks", "8", "--depth", "4")
    assert "home, 1 column(s): " in page
    assert "1.000 ± 0.000" in page
    few = run(folder, "--least-clicks", "1000000")
    assert "clicks on listings shown at several places; wanted 1000000" in few.replace("\n", " ")


def test_no_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no log"):
        run(tmp_path / "none")
