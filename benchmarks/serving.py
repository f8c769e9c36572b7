"""The serving rows, part by part, written as one result.

    python -m benchmarks.serving [--part NAME] [--largest 1000000]

The whole path over real HTTP on loopback: 1,000 candidates retrieved, 500 ranked on 88 features by
the best bundle, a slate of 50 with reasons (serving.toml). CPU is of all the server's processes,
the load's is not counted; requests come from many different people, a tenth of them newcomers. A
part that was measured at this very commit is not measured again. Stocks are built once, under var/.
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import record, serving_batch, serving_events, serving_load, serving_stock
from benchmarks.parts import measured
from benchmarks.record import Row
from benchmarks.serving_process import Served, free_port, ours, running

SIZES = (10_000, 100_000, 1_000_000)
SHOWN = 50
REPEATS = 3
ROUNDS = 5
SECONDS = 8
CONNECTIONS = 4


def bodies_of(folder: Path, *, explain: bool = False, count: int = 2_000) -> list[str]:
    """Requests for the home feed, of people of the log drawn with replacement."""
    people = serving_stock.people_of(folder)
    rng = random.Random(0)
    asked = []
    for number in range(count):
        new = rng.random() < 0.1
        who = {"session": f"new-{number}"} if new else {"user": rng.choice(people)}
        asked.append(json.dumps({"surface": "home", "k": SHOWN, **who, "explain": explain}))
    return asked


def said(folder: Path) -> str:
    """What a row rests on."""
    return f"simulator's listings, {folder.name.removeprefix('stock-')} live; k = {SHOWN}"


def cpu_ms(served: Served, bodies: Sequence[str]) -> list[float]:
    """CPU a request under load, of each of REPEATS runs."""
    serving_load.closed(served, bodies, connections=CONNECTIONS, seconds=3)  # warm
    return [
        serving_load.closed(served, bodies, connections=CONNECTIONS, seconds=SECONDS).cpu_ms
        for _ in range(REPEATS)
    ]


def size_rows(listings: int) -> list[Row]:
    """What one process costs at a size; ids end in the size."""
    folder, port = serving_stock.stocked(listings), free_port()
    bodies, slow = bodies_of(folder), bodies_of(folder, explain=True, count=100)
    with running(ours(folder, port), port):
        pass  # kernels are compiled and files are read once
    with running(ours(folder, port), port) as served:
        found = cpu_ms(served, bodies)
        alone, _ = serving_load.one_by_one(served, bodies[:400])
        explained, _ = serving_load.one_by_one(served, slow)
        memory = served.rss_gib()
        leaked, shown = serving_load.leaks_under_churn(served, bodies, 100)
    of = f"{listings // 1_000}k"
    note = f"one process, wrk with {CONNECTIONS} connections; {said(folder)}"

    def row(
        name: str,
        value: float,
        unit: str,
        note: str,
        interval: tuple[float, float] | None = None,
    ) -> Row:
        return Row(
            id=f"serving.{name}_{of}", value=round(value, 3), unit=unit, better="lower",
            note=note, interval=interval,
        )  # fmt: skip

    return [
        row("cpu_ms", statistics.median(found), "ms CPU a request", note,
            interval=(min(found), max(found))),
        row("cpu_p99_ms", float(np.percentile(alone, 99)), "ms CPU",
            f"asked one by one, 400 requests; median {statistics.median(alone):.2f}"),
        row("explain_ms", statistics.median(explained), "ms CPU",
            "explain=true, one by one, 100 requests"),
        row("ready_s", served.ready_s, "s", f"second start; CPU {served.ready_cpu_s:.1f} s"),
        row("rss_gib", memory, "GiB", "after the load"),
        row("sold_leaks", leaked, "listings",
            f"100 sales over HTTP, each of a listing just shown; {shown:,} listings shown"),
    ]  # fmt: skip


def load_rows(listings: int) -> list[Row]:
    """Throughput of two workers beside wrk on two cores, and latency at 60 % of it, by turns.

    A shared machine's speed changes within a minute, so each latency is at 60 % of what was
    answered just before.
    """
    folder, port = serving_stock.stocked(listings), free_port()
    bodies = bodies_of(folder)
    with running(ours(folder, port, *workers(2)), port):
        pass  # kernels are compiled and files are read once
    with running(ours(folder, port, *workers(2)), port) as served:
        serving_load.closed(served, bodies, connections=8, seconds=3)
        rps, waits = [], []
        for _ in range(ROUNDS):
            rps.append(serving_load.closed(served, bodies, connections=8, seconds=SECONDS).rps)
            waits.append(serving_load.at_rate(served, bodies, rate=0.6 * rps[-1], seconds=SECONDS))
        alone, _ = serving_load.one_by_one(served, bodies[:400])
    p99 = [float(np.percentile(each, 99)) for each in waits]
    note = f"median and range of {ROUNDS} rounds; {said(folder)}"
    return [
        Row(id="serving.rps_2core", value=round(statistics.median(rps), 1), unit="requests/s",
            better="higher", target=300, interval=(min(rps), max(rps)),
            note=f"two workers, wrk beside them on the same cores; {note}"),
        Row(id="serving.p99_ms_60pct", value=round(statistics.median(p99), 1), unit="ms",
            better="lower", target=40, interval=(min(p99), max(p99)),
            note=f"wall, Poisson arrivals at 60 % of what was answered just before, "
            f"{sum(map(len, waits)):,} requests, median "
            f"{statistics.median(map(statistics.median, waits)):.1f}; CPU p99 "
            f"{np.percentile(alone, 99):.1f} ms asked one by one; {note}"),
    ]  # fmt: skip


def workers(count: int) -> list[str]:
    """How `heirloom serve` is told to answer by several processes, if it can."""
    from typer.main import get_command

    from heirloom.apps.cli import app

    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {option for each in command.params for option in each.opts}
    return ["--workers", str(count)] if "--workers" in known else []


def naive_rows(listings: int) -> list[Row]:
    """The stock stack and ours, by turns, on the same people, listings and work."""
    from benchmarks import naive_world

    folder = serving_stock.stocked(listings)
    world = naive_world.written(folder)
    bodies, port, other = bodies_of(folder), free_port(), free_port()
    with (
        running(ours(folder, port), port) as served,
        running(naive_world.command(world, other), other, "/healthz") as naive,
    ):
        mine: list[float] = []
        theirs: list[float] = []
        for each in (served, naive):
            serving_load.closed(each, bodies, connections=CONNECTIONS, seconds=3)
        for _ in range(REPEATS):
            for each, found in ((served, mine), (naive, theirs)):
                load = serving_load.closed(each, bodies, connections=CONNECTIONS, seconds=SECONDS)
                found.append(load.cpu_ms)
    ratios = [other / own for own, other in zip(mine, theirs, strict=True)]
    return [
        Row(id="serving.vs_naive", value=round(statistics.median(ratios), 2), unit="times",
            better="higher", target=6, peer=naive_world.PEER,
            peer_value=round(statistics.median(theirs), 2), interval=(min(ratios), max(ratios)),
            note=f"ms CPU a request of it over ours ({statistics.median(mine):.2f}), by turns in "
            f"one run; {said(folder)}"),
    ]  # fmt: skip


def parts(largest: int) -> dict[str, Callable[[], list[Row]]]:
    """What there is to measure, by name."""
    sizes = {f"size_{size}": lambda size=size: size_rows(size) for size in SIZES if size <= largest}
    return {
        **sizes,
        "load": lambda: load_rows(largest),
        "naive": lambda: naive_rows(min(largest, 100_000)),
        "batch": lambda: serving_batch.rows(largest),
        "events": serving_events.rows,
    }


def compiled(found: dict[str, list[Row]], largest: int) -> list[Row]:
    """The rows of the table, from those of the sizes."""
    by_id = {row.id: row for rows in found.values() for row in rows}
    top = f"{largest // 1_000}k"
    named = {
        "cpu_ms": ("lower", 6), "explain_ms": ("lower", 30), "ready_s": ("lower", 5),
        "sold_leaks": ("equal", 0),
    }  # fmt: skip
    rows = []
    for name, (better, target) in named.items():
        if row := by_id.get(f"serving.{name}_{top}"):
            fields = {"id": f"serving.{name}", "better": better, "target": target}
            rows.append(msgspec.structs.replace(row, **fields))
    least = by_id.get(f"serving.cpu_ms_{SIZES[0] // 1_000}k")
    most = by_id.get(f"serving.cpu_ms_{top}")
    if least and most and least.value and most.value:
        rows.append(
            Row(id="serving.growth_10k_to_1m", value=round(most.value / least.value, 2),
                unit="times", better="lower", target=1.6,
                note=f"CPU a request at {top} listings over that at {SIZES[0]:,}")
        )  # fmt: skip
    return [*rows, *by_id.values()]


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--part", choices=sorted(parts(SIZES[-1])), help="this one, and stop")
    options.add_argument("--largest", type=int, choices=SIZES, default=SIZES[-1])
    options.add_argument("--also", nargs="+", default=[], metavar="COMMIT")
    chosen = options.parse_args()
    everything = parts(chosen.largest)
    if chosen.part:
        for row in measured("serving", chosen.part, everything[chosen.part], chosen.also):
            print(row.id, row.value, row.note)
        return
    found = {
        name: measured("serving", name, measure, chosen.also)
        for name, measure in everything.items()
    }
    record.write("serving", compiled(found, chosen.largest), command="make bench-serving")


if __name__ == "__main__":
    main()
