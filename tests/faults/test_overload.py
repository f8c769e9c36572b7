"""Twice as many requests as can be answered, in small."""

from pathlib import Path

from benchmarks import faults_overload


def test_every_answer_is_a_page_or_a_503_that_says_when_to_come_again(stock: Path) -> None:
    found = faults_overload.overloaded(stock, 3.0, times=4.0, deadline_ms=2_000)
    assert set(found.statuses) == {200, 503}
    assert found.unnamed == 0
    assert min(found.shares) > 0
