"""Twice as many requests as can be answered: what is answered, and how the others are sent away.

The server is held to one core and the load to the others, so that asking more takes nothing from
answering. Capacity is what connections get that ask as soon as they were answered.
"""

import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import faults_market as fm
from benchmarks.faults_load import Answer, Load, bodies_of
from benchmarks.faults_market import Market, copied, market, on_cores, toml
from benchmarks.record import Row

DEADLINE_MS, MARGIN_MS = 300, 50
GOODPUT, AWAY_MS, NORMAL_S = 0.9, 50.0, 10.0
TIMES = 2.0
ROUNDS = 3
_CLOSED = 4
"""Connections that are never idle: enough for one process to be so neither."""
_AFTER = 0.5
"""Of capacity: what is asked when the overload is over."""
_AFTER_S = 15.0


@dataclass(frozen=True, slots=True)
class Overloaded:
    """What became of the requests.

    Attributes:
        peak: full pages in time, a second, at capacity.
        asked: a second, in the overload.
        shares: of the full pages in time, a second, of capacity measured just before, by round.
        statuses: of the overload's answers.
        rungs: of its pages.
        away_ms: p50, p99 and most of 503s, from when the request left.
        unnamed: 503s that do not say when to come again.
        normal_s: from the last request of the overload until all got full pages in time.
        late_ms: p99 of how late requests left that were due; a load that cannot keep up says so.
    """

    peak: float
    asked: float
    shares: tuple[float, ...]
    statuses: Counter[int]
    rungs: Counter[str]
    away_ms: tuple[float, float, float]
    unnamed: int
    normal_s: float
    late_ms: float


def overloaded(
    stock: Path, seconds: float, *, times: float = TIMES, deadline_ms: int = DEADLINE_MS
) -> Overloaded:
    """So many times what a server can answer, for so long."""
    cores = sorted(os.sched_getaffinity(0))
    with copied(stock) as folder, ExitStack() as stack:
        bodies = bodies_of(fm.about(folder).people)
        system = toml(folder, serving=f"deadline_ms = {deadline_ms}")
        with on_cores(cores[:1]):
            to = stack.enter_context(market(folder, system))
        with on_cores(cores[1:]):
            return _measured(to, bodies, seconds, times, deadline_ms)


def _measured(
    to: Market, bodies: Sequence[str], seconds: float, times: float, deadline_ms: int
) -> Overloaded:
    """Capacity and overload in turn, and what is answered afterwards."""

    def asked(rate: float | None, connections: int, lasts_s: float) -> list[Answer]:
        wait_ms = deadline_ms - MARGIN_MS
        with Load([to.port], bodies, rate=rate, connections=connections, wait_ms=wait_ms) as load:
            time.sleep(lasts_s)
        return load.answers

    asked(None, _CLOSED, min(seconds / ROUNDS, 3.0))  # warm
    peaks, shares, flood, rates = list[float](), list[float](), list[Answer](), list[float]()
    for _ in range(ROUNDS):  # in turn: on a machine that others use too, capacity comes and goes
        peaks.append(_goodput(asked(None, _CLOSED, seconds / ROUNDS), deadline_ms))
        over = asked(times * peaks[-1], 256, seconds / ROUNDS)
        shares.append(_goodput(over, deadline_ms) / peaks[-1])
        rates.append(len(over) / (max(one.due for one in over) - over[0].due))
        flood += over
    peak = statistics.median(peaks)
    after = asked(_AFTER * peak, 64, min(_AFTER_S, seconds))
    end = max(one.due for one in flood)
    bad = max([end, *(one.due for one in after if not _is_good(one, deadline_ms))])
    away = [1e3 * (one.ended - one.sent) for one in flood if one.status == 503] or [0.0]
    return Overloaded(
        peak=peak,
        asked=statistics.median(rates),
        shares=tuple(shares),
        statuses=Counter(one.status for one in flood),
        rungs=Counter(one.rung for one in flood if one.status == 200),
        away_ms=(statistics.median(away), float(np.percentile(away, 99)), max(away)),
        unnamed=sum(one.status == 503 and not one.retry_after for one in flood),
        normal_s=min([one.ended for one in after if one.due > bad], default=math.inf) - end,
        late_ms=1e3 * float(np.percentile([one.sent - one.due for one in flood], 99)),
    )


def _is_good(one: Answer, deadline_ms: int) -> bool:
    """A full page, while somebody waited for it."""
    return one.rung == "full" and 1e3 * (one.ended - one.sent) <= deadline_ms


def _goodput(answers: Sequence[Answer], deadline_ms: int) -> float:
    """Good answers a second, from the first that left to the last that came."""
    span = max(one.ended for one in answers) - min(one.sent for one in answers)
    return sum(_is_good(one, deadline_ms) for one in answers) / span


def rows(listings: int = 5_000, seconds: float = 90.0) -> list[Row]:
    """At twice the capacity of one core."""
    found = overloaded(fm.stocked(listings), seconds)
    said = (
        f"one process on one core, the load on another; {found.asked:.0f} requests a second, "
        f"Poisson, {TIMES:g} times the {found.peak:.0f} that {_CLOSED} connections get which are "
        f"never idle; {ROUNDS} rounds of both, each {seconds / ROUNDS:.0f} s; {listings:,} "
        f"listings; deadline {DEADLINE_MS} ms, of which the header names {DEADLINE_MS - MARGIN_MS}"
    )
    statuses = ", ".join(f"{count:,} x {status}" for status, count in found.statuses.most_common())
    rungs = ", ".join(f"{count:,} {rung}" for rung, count in found.rungs.most_common())
    return [
        Row(id="faults.overload_goodput", value=round(statistics.median(found.shares), 3),
            unit="share of peak", better="higher", target=GOODPUT,
            interval=(round(min(found.shares), 3), round(max(found.shares), 3)),
            note=f"full pages within the deadline a second over those at capacity, median and "
            f"range of the rounds; {said}; {statuses}; rungs {rungs}; the load's own delay p99 "
            f"{found.late_ms:.1f} ms"),
        Row(id="faults.overload_503_ms", value=round(found.away_ms[1], 1), unit="ms",
            better="lower", target=AWAY_MS,
            note=f"p99 of 503s, by clock, seen by the client; p50 {found.away_ms[0]:.1f}, most "
            f"{found.away_ms[2]:.1f}; {found.unnamed} of them without Retry-After"),
        Row(id="faults.overload_normal_s",
            value=round(found.normal_s, 2) if math.isfinite(found.normal_s) else None, unit="s",
            better="lower", target=NORMAL_S,
            note=f"from its last request to the first full page in time after which, at {_AFTER:g} "
            "of capacity, there were no others; null: it did not come about"),
    ]  # fmt: skip
