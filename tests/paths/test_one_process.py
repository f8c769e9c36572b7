"""`heirloom serve` as one process: its admin door, its signals, and what its end writes."""

import signal

import httpx
import pytest
from tests.paths.workers import WORKERS, Market, made

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


def test_readers_are_workers_too_beside_a_writer_that_runs(market: Market) -> None:
    """They answer what the writer has acknowledged, and take nothing."""
    market.serve(workers=1)
    readers = Market(market.folder, market.plus, market.minus)
    readers.serve(workers=2, more=("--reader",))
    told = {name for name in readers.details() if name.startswith("process.")}
    assert told == {"process.worker-1", "process.worker-2"}
    shown = [each["listing_id"] for each in readers.ask(user="dora", k=3)["listings"]]
    market.take({"kind": "sold", "listing": shown[0]}, {"kind": "sold", "listing": shown[1]})
    for worker in WORKERS:
        with readers.only(worker):
            page = readers.ask(user="dora", k=20)
        assert not set(shown[:2]) & {each["listing_id"] for each in page["listings"]}
    page = readers.ask(user="dora", k=5)
    seen = {each["listing_id"] for each in page["listings"]}
    for worker in WORKERS:
        with readers.only(worker):
            later = readers.ask(next=page["next"], k=5)["listings"]
        assert not seen & {each["listing_id"] for each in later}
    refused = readers.post("/v1/events", [{"kind": "save", "listing": shown[2], "user": "dora"}])
    assert refused.status_code == 422
    assert "send them to its writer" in refused.text
    readers.kill("worker-1")
    assert "heirloom_process_up" in httpx.get(readers.admin + "/metrics", timeout=60).text
    assert readers.end() == 0
    assert market.ask(user="dora", k=3)["listings"], "the writer goes on"
    assert market.end() == 0
