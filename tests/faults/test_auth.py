"""The short form of `python -m benchmarks.faults_auth`: two workers, not one process as well."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.engine("jwt")


def test_no_route_opens_to_wrong_credentials(tmp_path: Path) -> None:
    from benchmarks.faults_auth import auth

    holes = auth(tmp_path, servers=("container", "workers"))
    assert not holes.found
    assert holes.asked > 2_000
