"""Pages while listings come and are sold, in small."""

from pathlib import Path

from benchmarks import faults_soak


def test_nothing_that_was_sold_is_shown_and_everything_is_answered(stock: Path) -> None:
    found = faults_soak.soaked(stock, 4.0, rate=15.0, rounds_per_s=4.0)
    assert found.asked > 20
    assert found.sold > 5
    assert found.listed > 5
    assert (found.unanswered, found.shown_sold, found.leaks) == (0, 0, 0)
    assert found.rss > 0
    assert 0 < found.files[0] <= found.files[1]
