"""What the HTTP door counts, for Prometheus. One registry per application, one port per worker."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from heirloom.apps.shop import Report, Shop
from heirloom.core.slate import Slate

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
            "Events by what became of them.",
            ("outcome",),
            registry=self._registry,
        )
        self._slates = Counter(
            "heirloom_slates", "Slates made, by surface.", ("surface",), registry=self._registry
        )
        self._degraded = Counter(
            "heirloom_degraded",
            "Steps that answered with less than was asked of them.",
            ("step",),
            registry=self._registry,
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
        self._refusals = Counter(
            "heirloom_refused",
            "Requests that were not let in, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._listings = Gauge(
            "heirloom_live_listings", "Listings on sale.", registry=self._registry
        )
        self._offset = Gauge(
            "heirloom_log_offset", "Log entries folded into the state.", registry=self._registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was not let in."""
        self._refusals.labels(reason).inc()

    def ingested(self, report: Report) -> None:
        """Events came in."""
        for outcome in ("taken", "duplicate", "held", "quarantined"):
            self._events.labels(outcome).inc(getattr(report, outcome))

    def lost(self, count: int) -> None:
        """Events that a read was to leave behind could not be written."""
        self._events.labels("lost").inc(count)

    def slate(self, surface: str, slate: Slate) -> None:
        """A slate was made."""
        self._slates.labels(surface).inc()
        for degraded in slate.degraded:
            self._degraded.labels(degraded.step).inc()
        for stage, micros in slate.timings_us.items():
            self._stages.labels(stage).observe(micros / 1e6)

    def leaked(self, count: int) -> None:
        """A page was compared with what was announced before it was begun."""
        self._leaks.inc(count)

    def exposition(self) -> bytes:
        """All of it, in Prometheus's text format."""
        self._listings.set(int(self._shop.live.catalogue.live.sum()))
        self._offset.set(self._shop.live.n)
        return generate_latest(self._registry)
