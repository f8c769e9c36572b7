"""A new listing, from the hand of its seller to a search that finds it, in a whole system."""

import shutil
import time
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.record import Row
from heirloom.apps.build import System
from heirloom.apps.demo import SYSTEM
from heirloom.apps.settings import load
from heirloom.core.event import Event, Kind
from heirloom.simulator.world import Size, World

WORK = record.ROOT / "var" / "bench-retrieval" / "served"
LIVE, NEW = 113_000, 4_000
"""Among the new ones falls log offset 114,688, at which the index is trained anew."""


def stocked(folder: Path, listings: int, seed: int = 1) -> tuple[System, list[Event]]:
    """A system over an empty folder, and `listed` events of the simulator for it."""
    shutil.rmtree(folder, ignore_errors=True)
    world = World(Size(listings=listings, people=10, days=1, sessions_per_day=0.1), seed)
    events = [event for event in world.opening() if event.kind == Kind.LISTED]
    return System(load(SYSTEM, folder=folder)), events


def new_listing_rows(live: int = LIVE, new: int = NEW) -> list[Row]:
    """The rows of part `new_listing`: one event at a time by System.ingest, then a search."""
    system, events = stocked(WORK, live + new)
    start = time.process_time()
    system.ingest_history(events[:live], source="benchmark")
    loaded = time.process_time() - start
    content, handed, acknowledged, cpu, missed = system.live.content, [], [], [], 0
    for event in events[live:]:
        sent, sent_cpu = time.perf_counter(), time.process_time()
        report = system.ingest([event])
        taken = time.perf_counter()
        slot = system.live.catalogue.slot_of(event.listing or "")
        found = content.nearest(content.vectors[slot], k=10)
        done = time.perf_counter()
        cpu.append(time.process_time() - sent_cpu)
        missed += report.taken != 1 or slot not in found.slots
        handed.append(done - sent)
        acknowledged.append(done - taken)
    lists = content.index.codebook.lists
    system.close()
    shutil.rmtree(WORK)
    if missed:
        raise RuntimeError(f"{missed} of {new} new listings were not found by their own vector")
    p50, p99, worst = (float(np.quantile(handed, q)) for q in (0.5, 0.99, 1))
    return [
        Row(id="retrieval.new_listing_p99_s", value=round(p99, 4), unit="s", better="lower",
            target=1,
            note=f"wall time from handing the event to System.ingest (durable write, encoding by "
            f"{content.model_id}, index) to found among ten by its own vector; {new:,} one by one "
            f"onto {live:,} live in {lists} lists; p50 {p50 * 1e3:.2f} ms, slowest {worst:.2f} s "
            f"(the index trained anew), CPU p50 {np.median(cpu) * 1e3:.2f} ms; from the "
            f"acknowledgement on p99 {np.quantile(acknowledged, 0.99) * 1e3:.2f} ms; the stock "
            f"before loaded at {live / loaded:,.0f} listings a second of CPU"),
    ]  # fmt: skip
