"""Intake: events of many requests at once, in one durable write and one fold.

A write to the disk takes milliseconds whatever is in it, and a fold a fixed part of a millisecond
besides what each event costs. So requests that come while one group is on its way to the disk wait
and share the next. Each is answered when its own events are durable and folded, with its own
report. What waits is bounded; beyond, a request is refused at once and told when to come again.
docs/adr/0027-events-in-groups.md says why.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from heirloom.apps.shop import Report
from heirloom.core.errors import HeirloomError
from heirloom.core.event import Event
from heirloom.pipelines.ingest import Arrivals

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """How much may wait, and how much shares one write.

    Attributes:
        events: events that wait or are being written; a request alone is let in whatever its size.
        bytes: the same of request bodies.
        group: so many events share one write; a request is never divided.
    """

    events: int = 20_000
    bytes: int = 32 << 20
    group: int = 1_024


class FullError(HeirloomError):
    """More events wait than may; `retry_after` says in how many seconds there is room again."""

    def __init__(self, waiting: int, size: int, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(
            f"{waiting:,} events ({size:,} bytes) wait to be written; nothing of this request was "
            f"kept: send it again in {retry_after} s"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    arrivals: Arrivals
    size: int
    report: Future[Report] = field(default_factory=Future)


class Intake:
    """The queue of events before the one writer.

    Args:
        take: writes a group and folds it: a report for each of its senders, in order.
        submit: runs a step on the writer's thread, one after the other.
        room: for what waits.
    """

    def __init__(
        self,
        take: Callable[[Sequence[Arrivals]], Sequence[Report]],
        submit: Callable[[Callable[[], None]], object],
        room: Room = Room(),
    ) -> None:
        self._take, self._submit, self._room = take, submit, room
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._events = self._bytes = 0
        self._draining = self._closing = False
        self._seconds_per_event = 0.0

    @property
    def waiting(self) -> tuple[int, int]:
        """(events, bytes) that wait or are being written."""
        return self._events, self._bytes

    def offer(self, events: Sequence[Event], *, size: int, source: str) -> Future[Report]:
        """What will become of events; done when they are durable and folded.

        A request that is given up while it waits, by `cancel`, is not taken.

        Args:
            events: of one request, in order.
            size: bytes that they came in.
            source: where they come from.

        Raises:
            FullError: nothing was kept.
        """
        room, mine = self._room, _Waiting(Arrivals(events, source), size)
        with self._lock:
            if self._queue or self._draining:
                over_events = self._events + len(events) > room.events
                if over_events or self._bytes + size > room.bytes:
                    ahead = math.ceil(self._events * self._seconds_per_event)
                    raise FullError(self._events, self._bytes, max(ahead, 1))
            self._queue.append(mine)
            self._events += len(events)
            self._bytes += size
            begins, self._draining = not self._draining, True
        if begins:
            self._submit(self._drain)
        return mine.report

    def close(self) -> None:
        """Write what waits without letting anything in between; called before the thread ends."""
        with self._lock:
            self._closing = True

    def _drain(self) -> None:
        """One group; the next is another step, so that pages are answered in between."""
        while True:
            group = self._next()
            if group:
                self._write([each for each in group if each.report.set_running_or_notify_cancel()])
            with self._lock:
                for each in group:
                    self._events -= len(each.arrivals.events)
                    self._bytes -= each.size
                self._draining = bool(self._queue)
                if self._draining and self._closing:
                    continue
                if self._draining:
                    self._submit(self._drain)
                return

    def _next(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        events = 0
        with self._lock:
            while self._queue:
                events += len(self._queue[0].arrivals.events)
                if group and events > self._room.group:
                    break
                group.append(self._queue.popleft())
        return group

    def _write(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        began = time.perf_counter()
        try:
            reports = self._take([each.arrivals for each in group])
        except Exception as error:  # noqa: BLE001 - whatever it was, somebody waits for an answer
            self._failed(group, error)
            return
        events = max(sum(len(each.arrivals.events) for each in group), 1)
        self._seconds_per_event = (time.perf_counter() - began) / events
        for each, report in zip(group, reports, strict=True):
            each.report.set_result(report)

    def _failed(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Nobody suffers for what another sent: each is tried alone.

        Ingestion refuses all that comes after a write that failed half-way, so that nothing is
        counted twice by it.
        """
        if len(group) == 1:
            group[0].report.set_exception(error)
            return
        log.warning("%d requests with events are taken one by one: %s", len(group), error)
        for each in group:
            self._write([each])
