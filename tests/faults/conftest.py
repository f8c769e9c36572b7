"""A small marketplace with three bundles, built once."""

from pathlib import Path

import pytest
from benchmarks import faults_market


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults_market.built(tmp_path_factory.mktemp("faults") / "stock", 400)
