"""Who says that it is ready has compiled, or read from the cache, what its first requests run."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.paths import workers
from tests.paths.workers import Market, made, stock

from heirloom.adapters import slate_records

TOLD = """
import sys
from numba.core.dispatcher import Dispatcher
given = Dispatcher.compile
def compile(self, signature):
    print("kernel", self.__module__, self.__name__, file=sys.stderr, flush=True)
    return given(self, signature)
Dispatcher.compile = compile
"""
"""Says whenever a kernel meets arrays of a kind for the first time, in the cache or not."""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return made(tmp_path_factory.mktemp("market"))


def asked(market: Market) -> None:
    """What is asked first of all, of each surface, before and after something was done."""
    now = time.time_ns() // 1_000_000
    for who in ({"user": "anna"}, {"session": "s1"}, {"attributes": {"clothing_size": "M"}}):
        page = market.ask(**who, k=12)
        assert len(page["listings"]) == 12
        market.ask(next=page["next"])
        market.ask(**who, explain=True)
        market.ask(**who, surface="similar", anchor="s7")
        market.ask(**who, text="dress", facets=["brand", "price"], filters={"price_max_minor": 9})
        done: dict[str, Any] = {"t": now, **({} if "attributes" in who else who)}
        events = [
            {"kind": "click", "listing": "s3", "slate": page["slate_id"], "position": 1},
            {"kind": "impression", "listings": ["s3", "s4"], "surface": "home"},
            {"kind": "save", "listing": "s4"},
            {"kind": "search", "text": "dress"},
            {"kind": "follow", "seller": "seller9"},
            {"kind": "purchase", "listing": "s5"},
        ]
        if len(done) > 1:
            market.take(*({**done, **event} for event in events))
    for path in ("/", "/search?q=dress", "/item/s7", "/you"):
        assert httpx.get(market.address + path, timeout=60).status_code == 200


def test_nothing_of_it_is_kept(market: Market, tmp_path: Path) -> None:
    log = tmp_path / "log"
    market.serve(workers=1, log=log)
    assert market.details()["n"] == len(stock())
    counted = httpx.get(market.admin + "/metrics", timeout=60).text
    assert market.end() == 0
    assert "heirloom_slates_total{" not in counted
    assert 'heirloom_rung_total{rung="full"} 0.0' in counted
    assert not log.read_text()
    assert not list(slate_records.read(market.folder / "slates"))


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_requests_compile_nothing(
    market: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int
) -> None:
    monkeypatch.setattr(workers, "SERVE", TOLD + workers.SERVE)
    log = tmp_path / "log"
    market.serve(workers=count, log=log)
    try:
        ready = log.read_text().count("kernel heirloom")
        assert ready > 20
        asked(market)
        market.take({"kind": "sold", "listing": f"s{20 + count}", "t": time.time_ns() // 1_000_000})
        market.ask(user="anna")
        late = log.read_text().split("kernel heirloom")[ready + 1 :]
    finally:
        assert market.end() == 0
    assert not late
