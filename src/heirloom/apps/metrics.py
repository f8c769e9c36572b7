"""What the HTTP door counts, for Prometheus. One registry per application, one port per worker."""

import os
import threading
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from heirloom.apps.intake import Intake
from heirloom.apps.shop import Report, Shop
from heirloom.core.slate import Degraded, Slate
from heirloom.pipelines.breaker import STATES, Breaker
from heirloom.pipelines.ladder import RUNGS, rung_of

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one application."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "heirloom_requests",
            "HTTP requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "heirloom_request_seconds",
            "Time from a request's first byte to its response's last.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._events = Counter(
            "heirloom_events",
            "Events by what became of them, counted where they are written.",
            ("outcome",),
            registry=self._registry,
        )
        self._slates = Counter(
            "heirloom_slates", "Slates made, by surface.", ("surface",), registry=self._registry
        )
        self._degraded = Counter(
            "heirloom_degraded",
            "Steps that answered with less than was asked of them, by cause.",
            ("step", "cause"),
            registry=self._registry,
        )
        self._rungs = Counter(
            "heirloom_rung",
            "Slates by the lowest rung of the ladder that had to answer.",
            ("rung",),
            registry=self._registry,
        )
        for rung in RUNGS:
            self._rungs.labels(rung)
        self._shed = Counter(
            "heirloom_shed",
            "Requests told to come again: the line was full, or slower than they can wait.",
            ("reason",),
            registry=self._registry,
        )
        self._breakers = Gauge(
            "heirloom_breaker_state",
            "Of a step of a request: 0 closed, 1 half-open, 2 open.",
            ("step", "part"),
            registry=self._registry,
        )
        self._waiting = Gauge(
            "heirloom_waiting", "Requests that wait for their turn.", registry=self._registry
        )
        self._leaks = Counter(
            "heirloom_sold_leak",
            "Listings shown that were sold, reserved or removed before the request began.",
            registry=self._registry,
        )
        self._stages = Histogram(
            "heirloom_stage_seconds",
            "Time of each stage of a request for a slate.",
            ("stage",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._told: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}
        self._made: dict[tuple[str, str], tuple[Counter, Counter]] = {}
        self._by_stage: dict[str, Histogram] = {}
        self._refusals = Counter(
            "heirloom_refused",
            "Requests that were not let in, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._events_waiting = Gauge(
            "heirloom_events_waiting",
            "Events that wait to be written, or are being written.",
            registry=self._registry,
        )
        self._impressions_lost = Counter(
            "heirloom_impressions_lost",
            "Pages whose impression this server was to write and could not.",
            registry=self._registry,
        )
        self._records_lost = Counter(
            "heirloom_slate_records_lost",
            "Slate records that were to be written and were not.",
            registry=self._registry,
        )
        self._lost_before = 0
        self._telling = threading.Lock()
        self._listings = Gauge(
            "heirloom_live_listings", "Listings on sale.", registry=self._registry
        )
        self._offset = Gauge(
            "heirloom_log_offset", "Log entries folded into the state.", registry=self._registry
        )
        self._folded = Counter(
            "heirloom_log_folded",
            "Log entries that this process folded, whoever wrote them.",
            registry=self._registry,
        )
        self._folded_to = shop.live.n
        self._acknowledged = Gauge(
            "heirloom_log_acknowledged",
            "Log entries acknowledged, by whatever process.",
            registry=self._registry,
        )
        self._newest = Gauge(
            "heirloom_newest_event_timestamp_seconds",
            "When the newest event folded came in; 0 for none.",
            registry=self._registry,
        )
        self._snapshot = Gauge(
            "heirloom_snapshot_offset",
            "Log entries that the latest snapshot covers.",
            registry=self._registry,
        )
        self._snapshot_time = Gauge(
            "heirloom_snapshot_timestamp_seconds",
            "When the latest snapshot was written; 0 for none.",
            registry=self._registry,
        )
        self._serving = Gauge(
            "heirloom_serving_info",
            "What this process is and answers with; always 1.",
            ("pid", "policy", "bundle", "index"),
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def _stage(self, stage: str) -> Histogram:
        """The histogram of a stage, of which there are few: to ask by label takes longer."""
        if stage not in self._by_stage:
            self._by_stage[stage] = self._stages.labels(stage)
        return self._by_stage[stage]

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        told = self._told.get((route, str(status)))
        if told is None:
            told = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._told[route, str(status)] = told
        told[0].inc()
        told[1].observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was not let in."""
        self._refusals.labels(reason).inc()

    def ingested(self, report: Report) -> None:
        """Events were written here."""
        for outcome in ("taken", "duplicate", "held", "quarantined"):
            self._events.labels(outcome).inc(getattr(report, outcome))

    def lost(self, count: int) -> None:
        """Events that a read was to leave behind could not be written."""
        self._events.labels("lost").inc(count)

    def slate(self, surface: str, slate: Slate) -> None:
        """A slate was made."""
        rung = rung_of(slate.degraded)
        made = self._made.get((surface, rung))
        if made is None:
            made = self._made[surface, rung] = (
                self._slates.labels(surface),
                self._rungs.labels(rung),
            )
        made[0].inc()
        made[1].inc()
        self.degraded(slate.degraded)
        for stage, micros in slate.timings_us.items():
            self._stage(stage).observe(micros / 1e6)

    def degraded(self, steps: Sequence[Degraded]) -> None:
        """Steps were left out."""
        for each in steps:
            self._degraded.labels(each.step, each.cause or "said").inc()

    def shed(self, reason: str) -> None:
        """A request was told to come again."""
        self._shed.labels(reason).inc()

    def standing(self, waiting: int, breakers: Mapping[tuple[str, str], Breaker]) -> None:
        """How many wait, and the breakers of the steps as they stand."""
        self._waiting.set(waiting)
        for (step, part), breaker in list(breakers.items()):
            self._breakers.labels(step, part).set(STATES.index(breaker.state))

    def leaked(self, count: int) -> None:
        """A page was compared with what was announced before it was begun."""
        self._leaks.inc(count)

    def watch(self, intake: Intake) -> None:
        """Show from now on how many events wait there."""
        self._events_waiting.set_function(lambda: intake.waiting[0])

    def impression_lost(self) -> None:
        """A page's impression could not be written."""
        self._impressions_lost.inc()

    def exposition(self) -> bytes:
        """All of it, in Prometheus's text format."""
        with self._telling:
            lost = self._shop.records_lost()
            self._records_lost.inc(lost - self._lost_before)
            self._lost_before = lost
            self._listings.set(int(self._shop.live.catalogue.live.sum()))
            self._freshness()
            return generate_latest(self._registry)

    def _freshness(self) -> None:
        fresh = self._shop.freshness()
        self._offset.set(fresh.n)
        self._folded.inc(max(fresh.n - self._folded_to, 0))
        self._folded_to = fresh.n
        self._acknowledged.set(fresh.acknowledged)
        self._newest.set(fresh.newest_ms / 1e3)
        self._snapshot.set(fresh.snapshot_n)
        self._snapshot_time.set(fresh.snapshot_ms / 1e3)
        self._serving.clear()
        self._serving.labels(str(os.getpid()), fresh.policy, fresh.bundle, fresh.index).set(1)
