"""`heirloom serve` as one process: its admin door, its signals, and what its end writes."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.apps.conftest import LAPTOP
from tests.paths.workers import SERVE, Market, made

from heirloom.adapters import slate_records


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return made(tmp_path_factory.mktemp("market"))


def test_it_follows_what_is_published_and_ends_with_all_written(market: Market) -> None:
    market.serve(workers=1)
    assert market.process is not None
    assert httpx.get(market.address + "/metrics", timeout=60).status_code == 404
    assert "heirloom_log_offset 240.0" in httpx.get(market.admin + "/metrics", timeout=60).text
    assert httpx.get(market.admin + "/", timeout=60).status_code == 404
    market.process.send_signal(signal.SIGHUP)  # and goes on
    market.publish(market.minus)
    market.until(lambda: market.ask(user="anna", k=3)["bundle"] == market.minus)
    last = market.ask(user="berta", k=3)["slate_id"]
    assert market.end() == 0
    records = slate_records.read(market.folder / "slates")
    assert last in {record.slate_id for record in records}, "SIGTERM loses no record"


def test_workers_have_a_writer_of_their_own(market: Market, tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-c", SERVE, "serve", "--workers", "2", "--reader", "--system",
         str(LAPTOP), "--folder", str(market.folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "leave --reader" in refused.stderr
