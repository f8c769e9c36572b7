"""The short form of `python -m benchmarks.faults_fuzz`: some hundreds of cases of two servers."""

from pathlib import Path

import pytest
from benchmarks.faults_fuzz import Found, fuzz


def check(found: Found, cases: int) -> None:
    assert not found.wrong
    assert sum(found.cases.values()) == cases
    assert found.answers[200] > 0
    assert found.acknowledged


def test_hostile_requests_are_answered_and_leave_the_log_unharmed(tmp_path: Path) -> None:
    check(fuzz(400, 0, folder=tmp_path, servers=("one", "container"), schema=False), 400)


@pytest.mark.engine("schemathesis")
def test_requests_made_from_our_own_description_are_answered(tmp_path: Path) -> None:
    check(fuzz(200, 1, folder=tmp_path, servers=("one",)), 200)
