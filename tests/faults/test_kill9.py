"""kill -9 of the writer, in small; and that the count of what was lost or doubled can fail."""

from pathlib import Path

import pytest
from benchmarks import faults_kill9
from benchmarks.faults_kill9 import Ledger, settled
from benchmarks.faults_market import LAPTOP, copied

from heirloom.apps.build import System
from heirloom.apps.settings import load
from heirloom.core.event import Event


def test_a_writer_that_is_killed_loses_and_doubles_nothing(stock: Path) -> None:
    found = faults_kill9.survived(stock, 2, prefix="os.rename snapshots/parts@")
    assert len(found.ready_s) == 2
    whole, old = found.cuts[:2]
    assert whole.endswith("/.writing-N"), "before a new snapshot is in its place"
    assert old.endswith("/N"), "before an old one is taken away"
    assert found.acknowledged > 20
    assert (found.lost, found.double) == (0, 0)
    assert found.reads > 0
    assert found.unread == 0
    assert found.replayed > 0
    assert found.differ == 0


@pytest.fixture
def clicked(stock: Path) -> tuple[int, int, int]:
    """What is found where one click is lost, and another counted twice under another id."""
    with copied(stock) as folder:
        before = faults_kill9.live_of(folder)
        lost, twice, once = faults_kill9.listings_of(folder)[:3]
        system = System(load(LAPTOP, folder=folder))
        clicks = [
            Event(event_id=f"c{number}", kind="click", t=system.now_ms(), user="u000001",
                  listing=listing, slate="x", surface="home")
            for number, listing in enumerate((twice, twice, once))
        ]  # fmt: skip
        system.ingest(clicks, source="test")
        system.close()
        ledger = Ledger()
        ledger.acknowledged += ["c0", "c2", "gone"]
        ledger.clicks.update([twice, once, lost])
        return settled(folder, before, ledger)


def test_what_is_lost_or_doubled_is_found(clicked: tuple[int, int, int]) -> None:
    # "gone" is missing in the log and in the counts; c1 is a click that nobody sent.
    assert clicked == (2, 1, 0)


def test_a_supervisor_waits_so_little_that_any_killed_writer_is_back_in_time() -> None:
    from heirloom.apps.workers.supervisor import Patience

    assert Patience().before(1_000) < faults_kill9.READY_S / 2
