"""Numbers read from metrics, and their history over five minutes."""

import os
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from heirloom.apps.console.history import (
    FIELDS,
    GAUGES,
    SLOTS,
    STATUSES,
    STEP_S,
    Counted,
    History,
    row_of,
)
from heirloom.apps.console.live import _Past
from heirloom.apps.console.numbers import Numbers, quantile

NOW = 1_750_000_000.0
COUNTS = FIELDS - len(GAUGES)


@given(st.dictionaries(st.text(max_size=6), st.integers(0, 9), max_size=5))
def test_numbers_are_those_of_prometheus_own_parser(counts: dict[str, int]) -> None:
    registry = CollectorRegistry()
    counter = Counter("x", "Words with \\ and \n.", ("a", "b"), registry=registry)
    for label, count in counts.items():
        counter.labels(label, "fixed").inc(count)
    text = generate_latest(registry).decode()
    wanted = {
        sample.labels["a"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "x_total"
    }
    assert Numbers(text).by("x_total", "a") == wanted


@given(
    st.lists(st.floats(0.0, 4.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99, 1.0])
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: list[float], q: float) -> None:
    bounds = (0.5, 1.0, 2.0)
    registry = CollectorRegistry()
    histogram = Histogram("t", "T.", buckets=bounds, registry=registry)
    for time in times:
        histogram.observe(time)
    counts = Numbers(generate_latest(registry).decode()).buckets("t", bounds, lambda _: True)
    assert counts.sum() == len(times)
    true = sorted(times)[max(int(np.ceil(q * len(times))) - 1, 0)]
    found = quantile(counts, bounds, q)
    assert found is not None
    at = int(np.searchsorted(bounds, true))
    assert (0.0, *bounds)[min(at, 2)] <= found <= (*bounds, 2.0)[at]


def row(counted: float, *, started: float = NOW - 9_999, **gauges: float) -> Any:
    made = np.full(FIELDS, counted)
    made[: len(GAUGES)] = [{"started": started, **gauges}.get(name, 0.0) for name in GAUGES]
    return made


def test_what_was_counted_is_told_in_the_two_seconds_it_was_written_in() -> None:
    history = History(("a", "b"))
    for step, counted in enumerate((100.0, 103.0, 103.0, 110.0)):
        history.put(1, NOW + step * STEP_S, row(counted))
    _, grown = history.grown(1, NOW + 3 * STEP_S)
    assert grown[-4:, 0].tolist() == [0.0, 3.0, 0.0, 7.0]  # it was at 100 before anyone looked
    assert grown[:-4].sum() == 0
    assert history.grown(0, NOW)[1].sum() == 0


def test_a_process_that_was_started_anew_began_at_nothing() -> None:
    history = History(("a",))
    history.put(0, NOW, row(50.0))
    history.put(0, NOW + STEP_S, row(4.0, started=NOW + 1))
    history.put(0, NOW + 2 * STEP_S, row(5.0, started=NOW + 1))
    assert history.grown(0, NOW + 2 * STEP_S)[1][-3:, 0].tolist() == [0.0, 4.0, 1.0]


def test_a_process_that_stood_still_tells_it_all_when_it_goes_on() -> None:
    history = History(("a",))
    history.put(0, NOW, row(1.0))
    history.put(0, NOW + 10 * STEP_S, row(9.0))
    gauges, grown = history.grown(0, NOW + 10 * STEP_S)
    assert grown[:, 0].sum() == grown[-1, 0] == 8.0
    assert np.isnan(gauges[-10:-1]).all()


def test_what_is_older_than_five_minutes_is_nowhere() -> None:
    history = History(("a",))
    history.put(0, NOW, row(7.0))
    oldest, *later = history.rows(0, NOW + (SLOTS - 1) * STEP_S)
    assert oldest.tolist() == row(7.0).tolist()
    assert np.isnan(later).all()
    assert np.isnan(history.rows(0, NOW + SLOTS * STEP_S)).all()


def test_what_another_process_wrote_is_there_when_it_is_dead() -> None:
    history = History(("a", "b"))
    pid = os.fork()
    if pid == 0:
        history.put(1, NOW, row(3.0, waiting=2.0))
        os._exit(0)
    os.waitpid(pid, 0)
    assert history.rows(1, NOW)[-1].tolist() == row(3.0, waiting=2.0).tolist()


def test_a_row_names_each_count_once() -> None:
    text = (
        'heirloom_requests_total{route="/v1/search",status="200"} 5\n'
        'heirloom_requests_total{route="/console/live",status="200"} 90\n'
        'heirloom_requests_total{route="/v1/events",status="503"} 2\n'
        'heirloom_slates_total{surface="search"} 4\n'
        'heirloom_rung_total{rung="popular"} 1\nheirloom_rung_total{rung="full"} 3\n'
        'heirloom_events_total{outcome="quarantined"} 6\n'
        'heirloom_stage_seconds_bucket{le="0.001",stage="score"} 1\n'
        'heirloom_stage_seconds_bucket{le="0.0025",stage="score"} 4\n'
        'heirloom_stage_seconds_bucket{le="+Inf",stage="score"} 4\n'
        "heirloom_log_offset 7\nheirloom_log_acknowledged 9\nheirloom_waiting 1\n"
    )
    made = row_of(Numbers(text))
    assert dict(zip(GAUGES, made, strict=False)) == {
        "started": 0, "waiting": 1, "events waiting": 0, "behind": 2,
    }  # fmt: skip
    counted = Counted(made[len(GAUGES) :])
    assert counted.statuses.tolist() == [5, 0, 0, 0, 2, 0]
    assert counted.surfaces.tolist() == [0, 0, 4]
    assert (counted.rungs[0], counted.rungs[8], counted.rungs.sum()) == (3, 1, 4)
    assert counted.outcomes.tolist() == [0, 0, 0, 6, 0]
    assert counted.times.shape[0] * counted.times.shape[1] + 24 == COUNTS


def test_who_is_not_asked_is_not_behind() -> None:
    """Each of two processes is ten entries behind; one of them answers."""

    class Two:
        history, here, writer = History(("idle", "asked")), 0, None

    for step in range(3):
        Two.history.put(0, NOW + step * STEP_S, row(5.0, behind=10.0))
        Two.history.put(1, NOW + step * STEP_S, row(5.0 + step, behind=10.0 + step))
    past = _Past(Two(), NOW + 3 * STEP_S).told()  # type: ignore[arg-type]
    assert past.behind[-3:] == [0.0, 11.0, 12.0]
    assert past.requests_per_s[-1] == len(STATUSES) / STEP_S
    assert past.requests_per_s[0] is None
