"""Live: what happens now, in all processes of a system, from the numbers that `/metrics` tells."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.apps.console.history import (
    FIELDS,
    GAUGES,
    OUTCOMES,
    STATUSES,
    STEP_S,
    SURFACES,
    TIMED,
    Counted,
    row_of,
)
from heirloom.apps.console.numbers import Numbers, quantile
from heirloom.apps.console.page import Page
from heirloom.apps.console.processes import Processes
from heirloom.apps.metrics import SECONDS
from heirloom.apps.workers.board import Told
from heirloom.pipelines.breaker import STATES
from heirloom.pipelines.ladder import RUNGS

NOW_S, MINUTE_S = 10, 60
_WAITING, _BEHIND = GAUGES.index("waiting"), GAUGES.index("behind")


class Flow(msgspec.Struct, frozen=True):
    """Something that is counted: how much of it a second over ten seconds, and since the start."""

    name: str
    per_s: float
    total: float


class Latency(msgspec.Struct, frozen=True):
    """Times over the last minute, ms; None where there was nothing to time."""

    name: str
    count: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Share(msgspec.Struct, frozen=True):
    """A rung of the ladder: its share of the last minute's slates, and of all."""

    name: str
    last_minute: float
    slates: float


class Counts(msgspec.Struct, frozen=True):
    """A reason, and how often since the start."""

    name: str
    total: float


class LeftOut(msgspec.Struct, frozen=True):
    """A step that was left out, why, and how often since the start."""

    step: str
    cause: str
    total: float


class BreakerOut(msgspec.Struct, frozen=True):
    """A breaker that is not closed."""

    process: str
    step: str
    part: str
    state: str


class ProcessOut(msgspec.Struct, frozen=True):
    """One process. Ages are s; None where it does not say."""

    name: str
    state: str
    answers: bool
    pid: int
    restarts: int
    for_s: float
    resident_bytes: float | None
    cpu_s: float | None
    offset: int
    behind: int
    newest_event_s: float | None
    bundle: str
    index: str
    refused: bool
    waiting: int
    events_waiting: int


class Lost(msgspec.Struct, frozen=True):
    """What was to be written and was not, since the start."""

    events: float
    impressions: float
    slate_records: float


class Snapshot(msgspec.Struct, frozen=True):
    """The latest snapshot; None where there is none."""

    offset: int | None
    age_s: float | None


class Past(msgspec.Struct, frozen=True):
    """The last five minutes, one number for each two seconds, oldest first."""

    requests_per_s: list[float | None]
    slates_per_s: list[float | None]
    events_per_s: list[float | None]
    p95_ms: list[float | None]
    full: list[float | None]
    behind: list[float | None]
    """Of the processes that were asked meanwhile."""
    waiting: list[float | None]


class LiveOut(msgspec.Struct, frozen=True):
    """What `/console/live.json` answers, and the page shows."""

    at_ms: int
    requests_per_s: float
    listings: int
    surfaces: list[Flow]
    statuses: list[Flow]
    events: list[Flow]
    latency: list[Latency]
    rungs: list[Share]
    left_out: list[LeftOut]
    breakers: list[BreakerOut]
    shed: list[Counts]
    sold_leak: float
    lost: Lost
    offset: int
    snapshot: Snapshot
    processes: list[ProcessOut]
    past: Past


async def look(processes: Processes) -> LiveOut:
    """All of it, as of now."""
    texts = await processes.texts()
    now = time.time()
    told = {name: Numbers(text or "") for name, text in texts.items()}
    rows = [
        _process(one, told[one.name], texts[one.name] is not None, now) for one in processes.told()
    ]
    totals, past = _totals(told, processes), _Past(processes, now)
    return LiveOut(
        at_ms=round(now * 1_000),
        requests_per_s=float(past.rates.statuses.sum()),
        listings=int(max(each.total("heirloom_live_listings") for each in told.values())),
        surfaces=_flows(SURFACES, past.rates.surfaces, totals.surfaces),
        statuses=_flows(STATUSES, past.rates.statuses, totals.statuses),
        events=_flows(OUTCOMES, past.rates.outcomes, totals.outcomes),
        latency=[_latency(name, past.minute.times[i]) for i, name in enumerate(TIMED)],
        rungs=_shares(past.minute.rungs, totals.rungs),
        left_out=_left_out(told.values()),
        breakers=_breakers(told),
        shed=_shed(told.values()),
        sold_leak=sum(each.total("heirloom_sold_leak_total") for each in told.values()),
        lost=Lost(
            float(totals.outcomes[OUTCOMES.index("lost")]),
            sum(each.total("heirloom_impressions_lost_total") for each in told.values()),
            sum(each.total("heirloom_slate_records_lost_total") for each in told.values()),
        ),
        offset=max((row.offset + row.behind for row in rows), default=0),
        snapshot=_snapshot(told.values(), now),
        processes=rows,
        past=past.told(),
    )


def _share_of(processes: Processes, at: int) -> NDArray[np.float64]:
    """[counts] 1 for what is taken of a process, 0 for what another counts too.

    What the writer is asked comes by way of a worker, which counts the request.
    """
    taken = np.ones(FIELDS - len(GAUGES))
    parts = Counted(taken)
    if processes.writer == at:
        parts.statuses[:] = 0.0
        parts.times[:] = 0.0
    return taken


def _totals(told: Mapping[str, Numbers], processes: Processes) -> Counted:
    """Since each process was started."""
    names = processes.history.names
    rows = [
        row_of(told[name])[len(GAUGES) :] * _share_of(processes, at)
        for at, name in enumerate(names)
    ]
    return Counted(np.sum(rows, axis=0))


class _Past:
    """The last five minutes of all processes.

    Attributes:
        rates: a second, over the last ten seconds.
        minute: what was counted in the last minute.
    """

    def __init__(self, processes: Processes, now_s: float) -> None:
        grown, gauges = [], []
        for at in range(len(processes.history.names)):
            mine, counts = processes.history.grown(at, now_s)
            gauges.append(mine)
            grown.append(counts * _share_of(processes, at))
        # The row of these two seconds is not written yet, or not by all.
        self._counts = np.nan_to_num(np.sum(grown, axis=0))[:-1]
        self._gauges = np.array(gauges)[:, :-1]
        asked = Counted(np.array(grown)[:, :-1]).statuses.sum(-1) > 0
        # Who is not asked folds nothing: that it is behind is no news.
        self._gauges[:, :, _BEHIND] *= asked
        self.rates = Counted(self._counts[-NOW_S // STEP_S :].sum(0) / NOW_S)
        self.minute = Counted(self._counts[-MINUTE_S // STEP_S :].sum(0))

    def told(self) -> Past:
        """As lines are drawn of it."""
        counted = Counted(self._counts)
        slates = counted.rungs.sum(-1)
        return Past(
            requests_per_s=self._rate(counted.statuses.sum(-1)),
            slates_per_s=self._rate(slates),
            events_per_s=self._rate(counted.outcomes[:, :-1].sum(-1)),
            p95_ms=[_ms(quantile(each, SECONDS, 0.95)) for each in counted.times[:, 0]],
            full=[
                float(full / of) if of else None
                for full, of in zip(counted.rungs[:, 0], slates, strict=True)
            ],
            behind=self._most(_BEHIND),
            waiting=self._most(_WAITING),
        )

    def _rate(self, counts: NDArray[np.float64]) -> list[float | None]:
        """A second; None where no process said anything."""
        known: NDArray[np.bool_] = np.any(~np.isnan(self._gauges[:, :, 0]), axis=0)
        return [
            round(count / STEP_S, 2) if is_known else None
            for count, is_known in zip(counts.tolist(), known.tolist(), strict=True)
        ]

    def _most(self, gauge: int) -> list[float | None]:
        said = self._gauges[:, :, gauge].T
        return [
            None if np.isnan(values).all() else float(np.nan_to_num(values).max())
            for values in said
        ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)


def _flows(
    names: Sequence[str], per_s: NDArray[np.float64], totals: NDArray[np.float64]
) -> list[Flow]:
    return [
        Flow(name, round(float(rate), 2), float(total))
        for name, rate, total in zip(names, per_s, totals, strict=True)
    ]


def _latency(name: str, counts: NDArray[np.float64]) -> Latency:
    p50, p95, p99 = (_ms(quantile(counts, SECONDS, q)) for q in (0.5, 0.95, 0.99))
    return Latency(name, float(counts.sum()), p50, p95, p99)


def _shares(minute: NDArray[np.float64], totals: NDArray[np.float64]) -> list[Share]:
    """The full rung, and those that answered once."""
    of = max(float(minute.sum()), 1.0)
    return [
        Share(name, float(now) / of, float(total))
        for name, now, total in zip(RUNGS, minute, totals, strict=True)
        if total or name == RUNGS[0]
    ]


def _left_out(told: Iterable[Numbers]) -> list[LeftOut]:
    counts = Counter[tuple[str, str]]()
    for each in told:
        for labels, value in each.samples("heirloom_degraded_total"):
            counts[labels["step"], labels["cause"]] += int(value)
    return [LeftOut(*which, total) for which, total in counts.most_common()]


def _breakers(told: Mapping[str, Numbers]) -> list[BreakerOut]:
    return [
        BreakerOut(name, labels["step"], labels["part"], STATES[int(value)])
        for name, each in told.items()
        for labels, value in each.samples("heirloom_breaker_state")
        if value
    ]


def _shed(told: Iterable[Numbers]) -> list[Counts]:
    counts = Counter[str]()
    for each in told:
        for reason, value in each.by("heirloom_shed_total", "reason").items():
            counts[reason] += int(value)
    return [Counts(reason, total) for reason, total in counts.most_common()]


def _snapshot(told: Iterable[Numbers], now_s: float) -> Snapshot:
    ages = [(each.total("heirloom_snapshot_timestamp_seconds"),
             each.total("heirloom_snapshot_offset")) for each in told]  # fmt: skip
    written, offset = max(ages, default=(0.0, 0.0))
    return Snapshot(int(offset), now_s - written) if written else Snapshot(None, None)


def _process(one: Told, told: Numbers, answers: bool, now_s: float) -> ProcessOut:
    (serving, _), *_ = [*told.samples("heirloom_serving_info"), ({}, 1.0)]
    offset = int(told.total("heirloom_log_offset")) or one.n
    behind = int(told.total("heirloom_log_acknowledged")) - offset
    newest = told.total("heirloom_newest_event_timestamp_seconds")
    return ProcessOut(
        name=one.name,
        state=one.state if answers or one.state != "ready" else "does not answer",
        answers=answers,
        pid=one.pid,
        restarts=max(one.starts - 1, 0),
        for_s=max(now_s - one.since_ms / 1e3, 0.0),
        resident_bytes=told.total("process_resident_memory_bytes") or None,
        cpu_s=told.total("process_cpu_seconds_total") or None,
        offset=offset,
        behind=max(behind, 0) if answers else 0,
        newest_event_s=max(now_s - newest, 0.0) if newest else None,
        bundle=serving.get("bundle", one.bundle),
        index=serving.get("index", ""),
        refused=one.refused,
        waiting=int(told.total("heirloom_waiting")),
        events_waiting=int(told.total("heirloom_events_waiting")),
    )


LIVE = Page("/console/live", "Live", "live.html", look)
