"""A worker and the writer that hang: real processes, stopped (SIGSTOP), which nobody lets go on."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.apps.conftest import LAPTOP
from tests.paths.workers import WORKERS, Market, made

SILENT_S = 5.0


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    place = tmp_path_factory.mktemp("hung")
    market = made(place / "market")
    system = place / "system.toml"
    system.write_text(LAPTOP.read_text().replace("[http]", f"[http]\nsilent_s = {SILENT_S}"))
    market.serve(system=system, log=place / "said")
    yield market
    assert market.end() == 0
    assert "Traceback" not in (place / "said").read_text()


def hung(market: Market) -> dict[str, float]:
    text = httpx.get(market.admin + "/metrics", timeout=60).text
    found = re.findall(r'(?m)^heirloom_process_hung_total{process="([^"]+)"} (\S+)$', text)
    return {name: float(count) for name, count in found}


def test_who_hangs_is_ended_and_another_is_ready_in_its_place(market: Market) -> None:
    one, other = WORKERS
    market.take({"kind": "hide", "event_id": "before", "user": "anna", "listing": "s1"})
    assert hung(market).keys() == {"writer", *WORKERS}
    before = {name: market.told(name) for name in ("writer", one)}
    for _, pid, _ in before.values():
        os.kill(pid, signal.SIGSTOP)
    with httpx.Client(base_url=market.address, timeout=60) as shop:
        asked = shop.post("/v1/recommend", json={"user": "anna", "k": 3})
    assert asked.status_code == 200, "the other worker answers meanwhile"
    market.until(
        lambda: all(market.told(name)[::2] == ("ready", before[name][2] + 1) for name in before)
    )
    for name, (_, pid, _) in before.items():
        assert market.pid(name) != pid
        assert not Path(f"/proc/{pid}").exists()
        assert hung(market)[name] == 1.0
        assert ", hung 1 x, " in market.details()[f"process.{name}"]
    market.take({"kind": "hide", "event_id": "after", "user": "anna", "listing": "s2"})
    for worker in (one, other):
        with market.only(worker):
            shown = {card["listing_id"] for card in market.ask(user="anna", k=200)["listings"]}
            assert not shown & {"s1", "s2"}, worker
