"""Hours in small: pages at a steady rate while listings come, change and are sold.

What grows that should not: resident memory and open files of all processes. What must never be: a
listing on a page that was asked for after its sale had been acknowledged.
"""

import os
import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from benchmarks import faults_market as fm
from benchmarks.faults_load import Answer, Load, bodies_of
from benchmarks.faults_market import Market, copied, market, toml
from benchmarks.record import Row
from benchmarks.serving_process import family
from heirloom.apps.parts import open_log
from heirloom.core.event import Event, Kind

RATE = 100.0
GROWTH = 0.05
_WARM = 0.2
"""Share of the time before memory is compared; so much at its end is what it is compared with."""
_SAMPLES = 120
_EACH = 2
"""Listings that come, and that are sold, in each round of churn."""
_CLICKS = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of all the server's processes: MiB resident, MiB in proportion, open files."""

    rss: float
    pss: float
    files: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was found.

    Attributes:
        asked, unanswered: requests; of those, without a page.
        rate: a second, as they were sent.
        listed, sold: listings that came and went.
        shown_sold: listings shown by a page that was asked for after their sale was acknowledged.
        leaks: of those, counted by the server itself.
        growth: of resident memory, the last fifth of the time over the second one, less 1.
        growth_pss: the same of proportional memory, in which shared pages count once.
        files: least and most that were open after the first fifth.
        rss: MiB, of the last fifth.
    """

    asked: int
    unanswered: int
    rate: float
    listed: int
    sold: int
    shown_sold: int
    leaks: float
    growth: float
    growth_pss: float
    files: tuple[int, int]
    rss: float


class Churn:
    """Rounds of events, some a second: listings come, are clicked on, and are sold.

    Attributes:
        sold: when the sale of a listing was acknowledged, s of the monotonic clock.
        listed: how many came.
    """

    def __init__(self, to: Market, listed: Sequence[Event], *, rounds_per_s: float) -> None:
        self.sold: dict[str, float] = {}
        self.listed = 0
        self._to, self._rest = to, 1 / rounds_per_s
        self._like = [event for event in listed if event.data is not None]
        self._on_sale = [event.listing for event in self._like if event.listing]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def show(self, listings: Sequence[str]) -> None:
        """These were shown: the next sales are among them, where leaks would be seen."""
        self._on_sale += listings[:2]

    def _run(self) -> None:
        rng, number = random.Random(0), 0
        while not self._over.wait(self._rest):
            number += 1
            new = [self._new(rng, f"soak.{number}.{each}") for each in range(_EACH)]
            gone = self._to_sell(rng)
            clicks = [
                {"kind": "click", "event_id": f"click.{number}.{each}", "slate": "x",
                 "user": f"u{rng.randrange(100):06d}", "listing": rng.choice(self._like).listing,
                 "surface": "home"}
                for each in range(_CLICKS)
            ]  # fmt: skip
            sales = [
                {"kind": "sold", "event_id": f"sold.{listing}", "listing": listing}
                for listing in gone
            ]
            status, _ = self._to.post("/v1/events", [*new, *clicks, *sales])
            if status == 200:
                at = time.monotonic()
                self.sold.update(dict.fromkeys(gone, at))
                self.listed += len(new)
                self._on_sale += [event["listing"] for event in new]

    def _new(self, rng: random.Random, listing: str) -> dict[str, Any]:
        data = rng.choice(self._like).data
        made = msgspec.structs.replace(data, listing_id=listing, listed_at=0)  # type: ignore[type-var]
        return {
            "kind": "listed", "event_id": f"listed.{listing}", "listing": listing,
            "data": msgspec.to_builtins(made),
        }  # fmt: skip

    def _to_sell(self, rng: random.Random) -> list[str]:
        chosen: set[str] = set()
        while len(chosen) < _EACH and self._on_sale:
            listing = self._on_sale.pop(rng.randrange(max(len(self._on_sale) - 50, 0),
                                                      len(self._on_sale)))  # fmt: skip
            if listing not in self.sold:
                chosen.add(listing)
        return sorted(chosen)


def soaked(stock: Path, seconds: float, *, rate: float = RATE, rounds_per_s: float = 0.5) -> Soaked:
    """Pages and churn for so long."""
    with copied(stock) as folder:
        with open_log(folder, read_only=True) as log:
            listed = [entry.event for entry in log.read() if entry.event.kind == Kind.LISTED]
        system = toml(folder, snapshot_every=5_000)
        people = fm.about(folder).people
        with (
            market(folder, system, workers=2) as to,
            Churn(to, listed, rounds_per_s=rounds_per_s) as churn,
        ):
            count = _Count(churn)
            load = Load([to.port], bodies_of(people), rate=rate, tell=count.tell)
            samples, began = [], time.monotonic()
            with load:
                for number in range(_SAMPLES):
                    time.sleep(max(began + (number + 1) * seconds / _SAMPLES - time.monotonic(), 0))
                    samples.append(_sample(to.served.pid))
            spent = time.monotonic() - began
            leaks = to.counted("heirloom_sold_leak_total")
    part = round(_WARM * _SAMPLES)
    second, last = samples[part : 2 * part], samples[-part:]
    return Soaked(
        asked=count.asked,
        unanswered=count.unanswered,
        rate=count.asked / spent,
        listed=churn.listed,
        sold=len(churn.sold),
        shown_sold=count.shown_sold,
        leaks=leaks,
        growth=_median(last, "rss") / _median(second, "rss") - 1,
        growth_pss=_median(last, "pss") / _median(second, "pss") - 1,
        files=(
            min(sample.files for sample in samples[part:]),
            max(sample.files for sample in samples[part:]),
        ),
        rss=_median(last, "rss"),
    )


class _Count:
    """What answers say, as they come: half an hour of them is not kept."""

    def __init__(self, churn: Churn) -> None:
        self.asked = self.unanswered = self.shown_sold = 0
        self._churn = churn

    def tell(self, answer: Answer) -> None:
        """In the load's thread."""
        self.asked += 1
        if answer.page is None:
            self.unanswered += 1
            return
        shown = [card.listing_id for card in answer.page.listings]
        sold = self._churn.sold
        self.shown_sold += sum(sold.get(one, answer.sent) < answer.sent for one in shown)
        self._churn.show(shown)


def _sample(pid: int) -> Sample:
    rss = pss = 0.0
    files = 0
    for each in family(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            opened = len(os.listdir(f"/proc/{each}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # one that wrote a snapshot, and has ended since it was listed
        kb = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        rss, pss = rss + kb["Rss"] / 1024, pss + kb["Pss"] / 1024
        files += opened
    return Sample(rss, pss, files)


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


def rows(listings: int = 5_000, seconds: float = 1_800.0, rate: float = RATE) -> list[Row]:
    """Half an hour."""
    found = soaked(fm.stocked(listings), seconds, rate=rate)
    said = (
        f"{seconds / 60:.0f} minutes, {found.asked:,} pages at {found.rate:.0f} a second, "
        f"{found.listed:,} listings came and {found.sold:,} were sold among other events; a "
        f"writer and two workers, {listings:,} listings at first"
    )
    low, high = found.files
    return [
        Row(id="faults.soak_rss_growth", value=round(found.growth, 4), unit="share",
            better="lower", target=GROWTH,
            note=f"resident memory of all processes, median of the last fifth of the time over "
            f"that of the second; {found.rss:.0f} MiB at the end; in proportional memory "
            f"{found.growth_pss:.4f}, where pages that workers no longer share count anew; {said}"),
        Row(id="faults.soak_files", value=high - low, unit="files", better="lower",
            target=max(8, round(0.05 * low)),
            note=f"most that were open less least, after the first fifth: {low} to {high}; a "
            "connection to the writer for each request under way, files of records and snapshots"),
        Row(id="faults.soak_sold_shown", value=found.shown_sold + int(found.leaks),
            unit="listings", better="equal", target=0,
            note=f"on pages asked for after the sale was acknowledged, {found.leaks:.0f} counted "
            f"by the server itself; {found.sold:,} sales, most of them of listings just shown"),
        Row(id="faults.soak_unanswered", value=found.unanswered, unit="pages", better="equal",
            target=0, note=f"of {found.asked:,}, not answered 200"),
    ]  # fmt: skip
