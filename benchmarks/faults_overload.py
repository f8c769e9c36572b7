"""Twice as many requests as can be answered: what is answered, and how the others are sent away.

The server is held to one core and the load to the others, so that asking more takes nothing from
answering. Capacity is what connections get that ask as soon as they were answered.
"""

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
_AFTER = 0.5
"""Of capacity: what is asked when the overload is over."""
_AFTER_S = 15.0


@dataclass(frozen=True, slots=True)
class Overloaded:
    """What became of the requests.

    Attributes:
        peak: full pages in time, a second, at capacity.
        asked: a second, in the overload.
        good: full pages in time, a second, in the overload.
        statuses: of the overload's answers.
        rungs: of its pages.
        away_ms: p50, p99 and most of 503s, from when the request left.
        unnamed: 503s that do not say when to come again.
        normal_s: from the end of the overload until all requests got full pages in time.
        late_ms: p99 of how late requests left that were due; a load that cannot keep up says so.
    """

    peak: float
    asked: float
    good: float
    statuses: Counter[int]
    rungs: Counter[str]
    away_ms: tuple[float, float, float]
    unnamed: int
    normal_s: float
    late_ms: float


def overloaded(stock: Path, seconds: float, *, times: float = TIMES) -> Overloaded:
    """So many times what a server can answer, for so long."""
    cores = sorted(os.sched_getaffinity(0))
    with copied(stock) as folder, ExitStack() as stack:
        bodies = bodies_of(fm.about(folder).people)
        system = toml(folder, serving=f"deadline_ms = {DEADLINE_MS}")
        with on_cores(cores[:1]):
            to = stack.enter_context(market(folder, system))
        with on_cores(cores[1:]):
            return _measured(to, bodies, seconds, times)


def _measured(to: Market, bodies: Sequence[str], seconds: float, times: float) -> Overloaded:
    def load(rate: float | None, connections: int) -> Load:
        return Load(
            [to.port], bodies, rate=rate, connections=connections, wait_ms=DEADLINE_MS - MARGIN_MS
        )

    with load(None, 4):
        time.sleep(min(seconds, 3.0))
    with load(None, 4) as closed:
        time.sleep(seconds)
    peak = _good(closed.answers) / _span(closed.answers)
    with load(times * peak, 256) as flood:
        time.sleep(seconds)
    over = time.monotonic()
    with load(_AFTER * peak, 64) as after:
        time.sleep(min(_AFTER_S, seconds))
    away = [1e3 * (one.ended - one.sent) for one in flood.answers if one.status == 503]
    bad = [one.ended for one in after.answers if not _is_good(one)]
    late = [1e3 * (one.sent - one.due) for one in flood.answers]
    return Overloaded(
        peak=peak,
        asked=len(flood.answers) / _span(flood.answers),
        good=_good(flood.answers) / _span(flood.answers),
        statuses=Counter(one.status for one in flood.answers),
        rungs=Counter(one.rung for one in flood.answers if one.status == 200),
        away_ms=(
            statistics.median(away or [0.0]),
            float(np.percentile(away or [0.0], 99)),
            max(away, default=0.0),
        ),
        unnamed=sum(one.status == 503 and not one.retry_after for one in flood.answers),
        normal_s=max([0.0, *(at - over for at in bad)]),
        late_ms=float(np.percentile(late, 99)),
    )


def _is_good(one: Answer) -> bool:
    """A full page, while somebody waited for it."""
    return one.rung == "full" and 1e3 * (one.ended - one.sent) <= DEADLINE_MS


def _good(answers: Sequence[Answer]) -> int:
    return sum(map(_is_good, answers))


def _span(answers: Sequence[Answer]) -> float:
    """S from the first that left to the last."""
    return max(one.sent for one in answers) - min(one.sent for one in answers)


def rows(listings: int = 5_000, seconds: float = 60.0) -> list[Row]:
    """At twice the capacity of one core."""
    found = overloaded(fm.stocked(listings), seconds)
    said = (
        f"one process on one core, the load on another; {found.asked:.0f} requests a second, "
        f"Poisson, for {seconds:.0f} s, {TIMES:g} times the {found.peak:.0f} that 4 connections "
        f"get; {listings:,} listings; deadline {DEADLINE_MS} ms, of which the header names "
        f"{DEADLINE_MS - MARGIN_MS}"
    )
    statuses = ", ".join(f"{count:,} x {status}" for status, count in found.statuses.most_common())
    rungs = ", ".join(f"{count:,} {rung}" for rung, count in found.rungs.most_common())
    return [
        Row(id="faults.overload_goodput", value=round(found.good / found.peak, 3),
            unit="share of peak", better="higher", target=GOODPUT,
            note=f"full pages within the deadline a second over those at capacity; {said}; "
            f"{statuses}; rungs {rungs}; the load's own delay p99 {found.late_ms:.1f} ms"),
        Row(id="faults.overload_503_ms", value=round(found.away_ms[1], 1), unit="ms",
            better="lower", target=AWAY_MS,
            note=f"p99 of 503s, by clock, seen by the client; p50 {found.away_ms[0]:.1f}, most "
            f"{found.away_ms[2]:.1f}; {found.unnamed} of them without Retry-After"),
        Row(id="faults.overload_normal_s", value=round(found.normal_s, 2), unit="s",
            better="lower", target=NORMAL_S,
            note=f"from its end to the last answer at {_AFTER:g} of capacity that was no full "
            "page in time; 0: there was none"),
    ]  # fmt: skip
