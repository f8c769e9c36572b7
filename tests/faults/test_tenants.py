"""The short form of `python -m benchmarks.faults_tenants`: the credentials of one of the two."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.engine("jwt")


def test_no_route_answers_to_anothers_credentials(tmp_path: Path) -> None:
    from benchmarks.faults_tenants import matrix

    holes = matrix(tmp_path, both_ways=False)
    assert not holes.found
    assert holes.asked > 2_000
