"""Traces: who decides, what a span says, and that it says nothing of a person."""

import sys
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector import Collector, collecting

from heirloom.apps import tracing
from heirloom.apps.settings import Settings
from heirloom.apps.tracing import TelemetryPart, Trace, Tracer, check, is_sampled_by
from heirloom.core.errors import ConfigError

from .conftest import Door

pytestmark = pytest.mark.engine("otel")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = (f"00-{TRACE}-{SPAN}-{flag}" for flag in ("01", "00"))
Opened = Callable[..., Door]
HEX = st.text("0123456789abcdefg", min_size=0, max_size=33)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector
    assert not collector.wrong


@pytest.fixture
def traced(open_door: Opened, collector: Collector) -> Iterator[Callable[..., Door]]:
    """Opens doors whose traces go to the collector."""
    doors: list[Door] = []

    def opened(**part: Any) -> Door:
        doors.append(open_door(telemetry=TelemetryPart(traces=collector.url, **part)))
        return doors[-1]

    yield opened
    for door in doors:
        door.app.state.tracer.close()


def spans(door: Door, collector: Collector) -> list[Any]:
    assert door.app.state.tracer._provider.force_flush()
    return collector.spans


@given(
    st.one_of(
        st.just(SAMPLED),
        st.tuples(HEX, HEX, HEX, HEX).map("-".join),
        st.tuples(st.sampled_from(["00", "01", "ff", "0"]), st.just(TRACE), st.just(SPAN),
                  st.sampled_from(["00", "01", "03", "02", "1", "01-more", "ff"])).map("-".join),
        st.sampled_from([f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"]),
    )
)  # fmt: skip
def test_a_callers_decision_is_read_as_the_librarys_own_reader_reads_it(header: str) -> None:
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    theirs = TraceContextTextMapPropagator().extract({"traceparent": header})
    context = get_current_span(theirs).get_span_context()
    wanted = context.trace_flags.sampled if context.is_valid else None
    assert is_sampled_by(header.encode()) == wanted


def test_a_span_says_what_was_done_for_a_request(
    traced: Callable[..., Door], collector: Collector
) -> None:
    door = traced(share=0.0)
    answer = door.client.post(
        "/v1/recommend", json={"user": "anna secret", "k": 5},
        headers={"traceparent": SAMPLED, "tracestate": "them=1"},
    )  # fmt: skip
    (span,) = spans(door, collector)
    assert (span.trace, span.parent, span.state) == (TRACE, SPAN, "them=1")
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{span.span}-01"
    assert span.name == "POST /v1/recommend"
    assert (span.kind, span.failed) == (2, False)  # SERVER
    told, slate = span.attributes, answer.json()
    assert told["heirloom.request_id"] == answer.headers["x-request-id"]
    assert (told["http.route"], told["http.response.status_code"]) == ("/v1/recommend", 200)
    assert told["heirloom.slate_id"] == slate["slate_id"]
    assert (told["heirloom.rung"], told["heirloom.n"]) == (slate["rung"], slate["n"])
    stages = [told[f"heirloom.stage.{name}_us"]
              for name in ("retrieve", "features", "score", "compose", "reasons")]  # fmt: skip
    assert 0 < sum(stages) <= span.micros
    assert span.of["service.name"] == "heirloom"
    assert "anna" not in str(collector.spans)


def test_what_fails_is_told_as_failed(
    traced: Callable[..., Door], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = traced(share=1.0)
    monkeypatch.setattr(door.system, "ready", lambda: 1 / 0)
    assert door.client.get("/readyz").status_code == 500
    monkeypatch.setattr(door.system, "recommend", lambda *_, **__: 1 / 0)
    assert door.client.post("/v1/recommend", json={}).json()["rung"] in ("popular", "empty")
    failed, fallen = spans(door, collector)
    assert (failed.failed, failed.attributes["http.response.status_code"]) == (True, 500)
    assert (fallen.failed, fallen.attributes["heirloom.instead"]) == (False, "failed")


@pytest.mark.parametrize(
    ("part", "sent", "traces"),
    [
        ({"share": 1.0}, {}, True),
        ({"share": 0.0}, {}, False),
        ({"share": 1.0}, {"traceparent": NOT_SAMPLED}, False),
        ({"share": 0.0}, {"traceparent": SAMPLED}, True),
        ({"share": 0.0, "parents": False}, {"traceparent": SAMPLED}, False),
        ({"share": 1.0, "parents": False}, {"traceparent": NOT_SAMPLED}, True),
        ({"share": 0.0}, {"traceparent": "00-nonsense-01"}, False),
    ],
)
def test_who_decides(
    traced: Callable[..., Door], collector: Collector, monkeypatch: pytest.MonkeyPatch,
    part: dict[str, Any], sent: dict[str, str], traces: bool,
) -> None:  # fmt: skip
    door = traced(**part)
    if not traces:  # nothing is made for a request that is not sampled
        monkeypatch.setattr(door.app.state.tracer, "_trace", lambda _: 1 / 0)
    answer = door.client.get("/healthz", headers=sent)
    assert answer.status_code == 200
    assert ("traceresponse" in answer.headers) == traces
    assert len(spans(door, collector)) == traces


def test_the_share_is_drawn_for_each_request(collector: Collector) -> None:
    drawn = iter([0.0, 0.09, 0.1, 0.5, 0.999])
    part = TelemetryPart(traces=collector.url, share=0.1)
    tracer = Tracer(part, draw=lambda: next(drawn))
    made = [tracer.begin({"headers": []}) for _ in range(5)]
    assert [isinstance(each, Trace) for each in made] == [True, True, False, False, False]
    behind = Tracer(TelemetryPart(traces=collector.url, share=1.0), roots=False)
    assert behind.begin({"headers": []}) is None
    tracer.close()
    behind.close()


def test_a_collector_that_does_not_answer_holds_up_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "CLOSING_S", 0.01)
    tracer, answers = Tracer(TelemetryPart(traces="http://127.0.0.1:9/v1/traces")), Event()
    monkeypatch.setattr(tracer._provider, "shutdown", answers.wait)
    tracer.close()
    answers.set()


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    check(TelemetryPart())
    with pytest.raises(ConfigError, match=r"pip install 'heirloom\[otel\]'"):
        Tracer(TelemetryPart(traces="http://127.0.0.1:4318/v1/traces"))


def test_where_traces_go_is_an_address() -> None:
    with pytest.raises(ValueError, match="wanted http://HOST:4318"):
        TelemetryPart(traces="127.0.0.1:4317")
    assert Settings.model_fields["telemetry"].default == TelemetryPart()
