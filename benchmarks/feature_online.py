"""The online path in process: a lookup, the live fold, and what state costs in memory."""

import json
import statistics
import subprocess
import time
from collections import defaultdict, deque
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.feature_data import DAY_MS, START_MS, Market, clicks, log
from benchmarks.feature_join import FEAST
from benchmarks.record import Row
from heirloom.core.event import KIND_CODE
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.query import Query, Request
from heirloom.features.algebra import Counter
from heirloom.features.library import marketplace_view
from heirloom.features.people import People
from heirloom.features.state import FeatureState
from heirloom.features.view import FeatureView

WINDOWS = {"1h": 3_600_000, "24h": DAY_MS, "7d": 7 * DAY_MS}
BATCH = 1_000
MARKET = Market(events=1_000_000, listings=100_000, people=20_000)


def asked_by(person: int, t: int) -> Request:
    """A request for the home feed."""
    nothing = np.zeros(0, np.int32)
    return Request(
        query=Query(t=t), person=person, surface=1, declared=np.zeros(MAX_DECLARED, np.int32),
        anchor=-1, recent=nothing, recent_kinds=nothing.astype(np.int8),
        recent_t=nothing.astype(np.int64), text_vector=np.zeros(0, np.float32),
    )  # fmt: skip


def online_rows(candidates: int = 500, reads: int = 2_000) -> list[Row]:
    """The rows of part `online`: one person and 500 listings, another person each time."""
    view = marketplace_view()
    state = view.state()
    for part in log(MARKET, seed=1):
        state.apply(part)
    rng = np.random.default_rng(2)
    cpu, wall = [], []
    for _ in range(reads):
        person = int(rng.integers(1, MARKET.people + 1))
        slots = rng.choice(MARKET.listings, candidates, replace=False).astype(np.int32)
        t = START_MS + MARKET.days * DAY_MS + int(rng.integers(0, DAY_MS // 24))
        start, start_cpu = time.perf_counter(), time.process_time()
        state.lookup(asked_by(person, t), slots)
        cpu.append((time.process_time() - start_cpu) * 1_000)
        wall.append((time.perf_counter() - start) * 1_000)
    low, high = np.percentile(cpu, [5, 95]).tolist()
    ms = statistics.median(cpu)
    what = (
        f"1 person + {candidates} listings x {len(view.columns)} columns after "
        f"{MARKET.events:,} events, median of {reads:,}"
    )
    return [
        Row(
            id="features.online_cpu_ms", value=round(ms, 3), unit="ms", better="lower", target=1,
            interval=(round(low, 3), round(high, 3)),
            note=f"CPU time; {what}, 5th to 95th percentile; wall {statistics.median(wall):.3f} ms",
        ),
        _against_feast(statistics.median(wall), what),
    ]  # fmt: skip


def _against_feast(ms: float, what: str) -> Row:
    name, target = "features.online_vs_feast", 100
    if not FEAST.exists():
        return Row(id=name, value=None, unit="x", better="higher", target=target,
                   note=f"no Feast here: make feast; ours {ms:.3f} ms, {what}")  # fmt: skip
    folder = record.ROOT / "var" / "bench-features" / "online"
    theirs = feast(folder)
    p50 = theirs["60"]["p50_ms"]
    return Row(
        id=name, value=round(p50 / ms, 1), unit="x", better="higher", target=target,
        peer=str(theirs["peer"]), peer_value=round(p50, 2),
        note=f"wall time; ours {ms:.3f} ms for {what}; Feast + Redis, 60 features of 500 listings "
        f"and 10 of the person; with 20 features {theirs['20']['p50_ms']:.1f} ms",
    )  # fmt: skip


def feast(folder: Path) -> dict[str, dict[str, float]]:
    """What `benchmarks/feast/online.py` says, in its own environment."""
    script = record.ROOT / "benchmarks" / "feast" / "online.py"
    command = [str(FEAST), str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def _counted(events: int, keys: int) -> tuple[FeatureView, Facts]:
    """Two counters over three windows, and a log of listed things in order."""
    data = clicks(events, keys, seed=3)
    rows = np.zeros(keys + events, EVENT_ROW)
    rows["seq"] = np.arange(len(rows))
    rows["t"] = np.concatenate([np.full(keys, START_MS), data.t])
    rows["kind"] = np.concatenate([np.zeros(keys, np.int8), data.kind])
    listings = np.zeros(len(rows), LISTING_ROW)
    listings["slot"] = np.concatenate([np.arange(keys), data.listing - 1])
    view = FeatureView(
        "two",
        tuple(
            Counter(kind, ("listing",), (kind,), tuple(WINDOWS)) for kind in ("impression", "click")
        ),
    )
    return view, Facts(rows, listings, np.arange(len(rows) + 1))


def _fold(state: FeatureState, facts: Facts) -> float:
    """Events a second of CPU, in batches of 1,000."""
    parts = [facts[i : i + BATCH] for i in range(0, len(facts), BATCH)]
    start = time.process_time()
    for part in parts:
        state.apply(part)
    return len(facts) / (time.process_time() - start)


def _deques(facts: Facts) -> float:
    """The same as exact sliding windows in Python: a deque for each key, window and counter."""
    rings: dict[tuple[int, int], tuple[deque[int], ...]] = defaultdict(
        lambda: tuple(deque() for _ in WINDOWS)
    )
    lengths = tuple(WINDOWS.values())
    t, kind = facts.events["t"].tolist(), facts.events["kind"].tolist()
    slot = facts.listings["slot"].tolist()
    start = time.process_time()
    for now, what, key in zip(t, kind, slot, strict=True):
        for ring, length in zip(rings[key, what], lengths, strict=True):
            ring.append(now)
            while ring[0] < now - length:
                ring.popleft()
    return len(facts) / (time.process_time() - start)


def fold_rows(events: int = 2_000_000, keys: int = 100_000, runs: int = 7) -> list[Row]:
    """The rows of part `fold`."""
    view, facts = _counted(events, keys)
    listed, rest = facts[:keys], facts[keys:]
    ours, theirs = [], []
    for _ in range(runs):
        state = view.state()
        state.apply(listed)
        ours.append(_fold(state, rest))
        theirs.append(_deques(rest))
    library = [_library_fold() for _ in range(3)]
    what = f"{events:,} events, {keys:,} listings, 3 windows x 2 counters, batches of {BATCH:,}"
    speed, peer = statistics.median(ours), statistics.median(theirs)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return [
        Row(
            id="features.fold_events_per_s", value=round(speed), unit="events/s", better="higher",
            target=2_000_000, interval=(round(min(ours)), round(max(ours))),
            note=f"CPU time, median and range of {runs}; {what}",
        ),
        Row(
            id="features.fold_vs_deques", value=round(statistics.median(ratios), 1), unit="x",
            better="higher", target=16, peer="dict of deques, exact sliding windows",
            peer_value=round(peer), interval=(round(min(ratios), 1), round(max(ratios), 1)),
            note=f"CPU time, {runs} runs in turn, events/s; {what}",
        ),
        Row(
            id="features.fold_library_events_per_s", value=round(statistics.median(library)),
            unit="events/s", better="higher", target=150_000,
            interval=(round(min(library)), round(max(library))),
            note=f"CPU time, median and range of 3; the whole marketplace view, {MARKET}, the "
            f"second half of the log in batches of {BATCH:,}",
        ),
    ]  # fmt: skip


def _library_fold() -> float:
    state, speeds = marketplace_view().state(), []
    for place, part in enumerate(log(MARKET, seed=1)):
        if place < 2:
            state.apply(part)
        else:
            speeds.append(_fold(state, part))
    return statistics.harmonic_mean(speeds)


def memory_rows(listings: int = 200_000, people: int = 100_000) -> list[Row]:
    """The rows of part `memory`: all that is allocated by what was active in a day.

    Listings: each with 13 events by nobody known. People: each with 50 events, most of them
    impressions, or with 50 actions, over a few listings that they come back to, or scattered over
    all; the listings' own is taken off.
    """
    view = marketplace_view()
    million, gib = 1_000_000, 1 << 30
    base = _active(view, listings, 0, 0, _BROWSING)
    rows = [
        Row(
            id="features.gib_per_million_listings", value=round(base / listings * million / gib, 3),
            unit="GiB", better="lower", target=1.2,
            note=f"{listings:,} listings with 13 events each in a day, allocated bytes",
        )
    ]  # fmt: skip
    for name, tastes, chances, what, target in (
        ("", 12, _BROWSING, "50 events each in a day, 41 of them impressions", 1.5),
        ("_scattered", listings, _BROWSING, "50 events each in a day, 41 impressions", None),
        ("_50_actions", 12, _ACTING, "50 actions each in a day, all remembered", 1.5),
    ):
        bytes_of = _active(view, listings, people, tastes, chances) - base
        rows.append(
            Row(
                id=f"features.gib_per_million_people{name}",
                value=round(bytes_of / people * million / gib, 3), unit="GiB", better="lower",
                target=target,
                note=f"{people:,} people, {what}, each over {tastes:,} listings; all bytes "
                "allocated by FeatureState and People for them and their pairs",
            )
        )  # fmt: skip
    return rows


_BROWSING, _ACTING = (0.82, 0.15, 0.03), (0.0, 0.83, 0.17)
"""Chances of an impression, a click, a save."""


def _active(
    view: FeatureView,
    listings: int,
    people: int,
    tastes: int,
    chances: tuple[float, float, float],
) -> int:
    """Bytes of state after every listing had its events, and every person 50 of `tastes` ones."""
    market = Market(events=listings, listings=listings, people=1)
    state, known = view.state(), People()
    listed = list(log(market, seed=1))
    for part in listed:
        state.apply(part)
        known.apply(part)
    stock = np.concatenate([part.listings for part in listed])
    kinds = [KIND_CODE[k] for k in ("impression", "click", "save")]
    rng = np.random.default_rng(4)
    day = START_MS + 31 * DAY_MS
    done = 0
    for total, person_of in ((13 * listings, 0), (50 * people, 1)):
        for first in range(0, total, 250_000):
            n = min(250_000, total - first)
            place = np.arange(first, first + n)
            events = np.zeros(n, EVENT_ROW)
            events["seq"] = listings + done + place
            events["t"] = day + place * DAY_MS // max(total, 1)
            events["kind"] = rng.choice(kinds, n, p=chances if person_of else _BROWSING)
            events["person"] = person_of * (1 + place % max(people, 1))
            own = events["person"].astype(np.int64) * 7_919 + rng.integers(0, max(tastes, 1), n)
            named = stock[(own if person_of else place) % listings]
            part = Facts(events, named, np.arange(n + 1))
            state.apply(part)
            known.apply(part)
        done += total
    return state.nbytes + known.nbytes
