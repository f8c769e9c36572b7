"""Traces of real processes: what a worker hands to the writer is one trace of both."""

from pathlib import Path

import httpx
import pytest
from tests.apps.conftest import LAPTOP
from tests.collector import collecting
from tests.paths.workers import made

pytestmark = pytest.mark.engine("otel")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_write_is_one_trace_of_worker_and_writer(tmp_path: Path) -> None:
    market = made(tmp_path / "market")
    with collecting() as collector:
        settings = tmp_path / "traced.toml"
        part = f'[telemetry]\ntraces = "{collector.url}"\nshare = 1.0\n'
        settings.write_text(f"{LAPTOP.read_text()}\n{part}")
        market.serve(system=settings)
        sale = [{"kind": "sold", "event_id": "x", "listing": "s1"}]
        for flag in ("01", "00"):
            answer = httpx.post(
                f"{market.address}/v1/events", json=sale, timeout=60,
                headers={"traceparent": f"00-{TRACE}-{SPAN}-{flag}"},
            )  # fmt: skip
            assert answer.status_code == 200
            assert ("traceresponse" in answer.headers) == (flag == "01")
        assert market.ask(user="anna", k=5)["listings"]
        assert market.end() == 0  # what is finished is sent before a process ends
    assert not collector.wrong
    by_name = {span.attributes["heirloom.process"]: span for span in collector.spans
               if span.trace == TRACE}  # fmt: skip
    assert len(by_name) == 2
    (worker,) = by_name.keys() - {"writer"}
    assert by_name[worker].parent == SPAN
    assert by_name["writer"].parent == by_name[worker].span
    assert answer.headers["x-request-id"]
    slates = [span for span in collector.spans if span.name == "POST /v1/recommend"]
    assert len(slates) == 1
    assert slates[0].attributes["heirloom.bundle"] == market.plus
    assert {span.trace for span in collector.spans} == {TRACE, slates[0].trace}
