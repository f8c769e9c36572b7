"""kill -9 of the writer, at random moments and before each statement that writes a snapshot.

Clients send clicks in batches and send a batch again until it is acknowledged, its events under the
same ids; others read. Afterwards the log, and the counts of features as a start restores them, are
compared with what was acknowledged, and what was served meanwhile with a replay of the log.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks import faults_market as fm
from benchmarks.faults_cut import code
from benchmarks.faults_load import Answer, Load, bodies_of
from benchmarks.faults_market import Market, copied, market, toml, until
from benchmarks.record import Row
from heirloom.adapters.snapshots import KEPT
from heirloom.apps.build import System
from heirloom.apps.parity import check
from heirloom.apps.parts import open_log
from heirloom.apps.settings import load
from heirloom.core.event import Kind
from heirloom.core.query import Query
from heirloom.pipelines.live import Live

READY_S = 10.0
WRITER = "writer"
COUNTED = "listing_clicked_7d"
_BATCH = 12
_CLICKED_ON = 200
_SNAPSHOT_EVERY = 300
_READS = 5.0
"""A second."""
_REPLAYED = 2_000
"""Slates at most."""


@dataclass(frozen=True, slots=True)
class Survived:
    """What was found after the writer was killed.

    Attributes:
        ready_s: of each kill at a random moment, until it was ready again.
        cuts: the statements that it was killed before.
        cut_ready_s: of each of them, until it took events again.
        acknowledged: events.
        retried: requests that were sent again, since no answer 200 came.
        lost: events acknowledged and not in the log, and clicks missing in the counts.
        double: events that stand twice in the log, and clicks counted that nobody sent.
        reads, unread: pages asked for meanwhile, and those of them not answered 200.
        replayed: slates served meanwhile that were compared with a replay of the log.
        differ: values of features among them that it did not give.
    """

    ready_s: tuple[float, ...]
    cuts: tuple[str, ...]
    cut_ready_s: tuple[float, ...]
    acknowledged: int
    retried: int
    lost: int
    double: int
    reads: int
    unread: int
    replayed: int
    differ: int


@dataclass
class Ledger:
    """What senders sent and what of it was acknowledged."""

    acknowledged: list[str] = field(default_factory=list)
    clicks: Counter[str] = field(default_factory=Counter)
    retried: int = 0


class Senders:
    """Clients that send clicks until they are told to end; each batch until it is acknowledged."""

    def __init__(self, to: Market, listings: Sequence[str], people: int, clients: int = 2) -> None:
        self.ledger = Ledger()
        self._to, self._listings, self._people = to, listings, people
        self._over, self._write = threading.Event(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Wait until something more is acknowledged."""
        before = len(self.ledger.acknowledged)
        until(lambda: len(self.ledger.acknowledged) > before)

    def _send(self, client: int) -> None:
        rng, number = random.Random(client), 0
        while not self._over.is_set():
            batch = [
                {
                    "kind": "click",
                    "event_id": f"kill.{client}.{number}.{each}",
                    "user": f"u{rng.randrange(self._people):06d}",
                    "listing": rng.choice(self._listings),
                    "slate": "x",
                    "surface": "home",
                }
                for each in range(1 + rng.randrange(_BATCH))
            ]
            number += 1
            self._until_acknowledged(batch)
            time.sleep(0.005)

    def _until_acknowledged(self, batch: Sequence[dict[str, str]]) -> None:
        """Also after the end: what was sent is to be known for taken or not."""
        while True:
            status, told = self._to.post("/v1/events", batch)
            if status == 200 and told["taken"] + told["duplicate"] == len(batch):
                break
            with self._write:
                self.ledger.retried += 1
            time.sleep(0.05)
        with self._write:
            self.ledger.acknowledged += [event["event_id"] for event in batch]
            self.ledger.clicks.update(event["listing"] for event in batch)


@dataclass(frozen=True, slots=True)
class Hurt:
    """A market under load whose writer is killed: who sends to it, and what readers were told."""

    to: Market
    senders: Senders
    reads: list[Answer]


def survived(stock: Path, kills: int, *, prefix: str = "", seed: int = 0) -> Survived:
    """Kill the writer at random moments, then before each statement that writes a snapshot.

    Args:
        stock: a folder as `faults_market.built` makes it.
        kills: at random moments; one of five comes while the writer starts.
        prefix: of the statements, as in `faults_cut`; "": all.
        seed: of the moments.
    """
    rng, ready, cut_ready = random.Random(seed), list[float](), list[float]()
    with copied(stock) as folder:
        before, told = live_of(folder), folder / "cuts.txt"
        with _hurt(folder, code(told, prefix)) as hurt:
            for _ in range(kills):
                hurt.senders.goes_on()
                time.sleep(rng.uniform(0.0, 1.0))
                ready.append(_kill(hurt.to, rng))
            hurt.senders.goes_on()
            told.touch()  # from now on statements are cut
            cuts = 0
            while (now := _cut_again(folder, told, cuts)) > cuts:
                cuts, began = now, time.monotonic()
                cut_ready.append(_went_on(hurt.senders.ledger, told, cuts) - began)
        ledger = hurt.senders.ledger
        lost, double, unlike = settled(folder, before, ledger)
        parity = check(load(fm.LAPTOP, folder=folder), limit=_REPLAYED)
        differ = sum(one.mismatched + one.missing + one.extra for one in parity.features.values())
        return Survived(
            ready_s=tuple(ready),
            cuts=_lines(told),
            cut_ready_s=tuple(cut_ready),
            acknowledged=len(ledger.acknowledged),
            retried=ledger.retried,
            lost=lost,
            double=double,
            reads=len(hurt.reads),
            unread=sum(answer.status != 200 for answer in hurt.reads),
            replayed=parity.slates,
            differ=differ + sum(parity.broken.values()) + unlike,
        )


def _cut_again(folder: Path, told: Path, cuts: int) -> int:
    """How many statements were cut at once it is more, or once snapshots were written without."""
    seen: dict[str, set[str]] = {}

    def over() -> bool:
        for path in folder.glob("*/*/" + "[0-9]" * 20):
            seen.setdefault(path.parent.name, set()).add(path.name)
        # One more than are kept, so that old ones were removed too.
        return bool(seen) and all(len(offsets) > KEPT + 1 for offsets in seen.values())

    until(lambda: len(_lines(told)) > cuts or over())
    return len(_lines(told))


def _went_on(ledger: Ledger, told: Path, cuts: int) -> float:
    """When something was acknowledged again, or the next life was cut before its answer left."""
    before = len(ledger.acknowledged)
    return until(lambda: len(ledger.acknowledged) > before or len(_lines(told)) > cuts)


@contextmanager
def _hurt(folder: Path, run: str) -> Iterator[Hurt]:
    """The market of a folder under load: a snapshot often, a writer and two workers."""
    system = toml(folder, snapshot_every=_SNAPSHOT_EVERY)
    people, listings = fm.about(folder).people, listings_of(folder)
    answers: list[Answer] = []
    with market(folder, system, code=run, workers=2) as to:
        load = Load([to.port], bodies_of(people), rate=_READS, connections=4, tell=answers.append)
        with load, Senders(to, listings, people) as senders:
            yield Hurt(to, senders, answers)


def listings_of(folder: Path) -> list[str]:
    """Those that are clicked on."""
    with open_log(folder, read_only=True) as log:
        listed = (entry.event for entry in log.read() if entry.event.kind == Kind.LISTED)
        return [event.listing for event in islice(listed, _CLICKED_ON) if event.listing]


def _pid(to: Market) -> int:
    """Of the writer; 0 where nobody tells."""
    writer = to.processes().get(WRITER)
    return writer.pid if writer else 0


def _kill(to: Market, rng: random.Random) -> float:
    """Kill the writer, in one of five cases once more while it starts; s until it is ready."""
    gone, again = 0, rng.random() < 0.2
    for pause in (0.0, rng.uniform(0.0, 0.3))[: 1 + again]:
        until(lambda: _pid(to) not in (0, gone))  # noqa: B023
        time.sleep(pause)
        gone = _pid(to)
        fm.kill(gone)
        began = time.monotonic()
    return until(lambda: _ready(to, gone)) - began


def _ready(to: Market, gone: int) -> bool:
    """Whether another writer than that is ready."""
    writer = to.processes().get(WRITER)
    return writer is not None and writer.state == "ready" and writer.pid != gone


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()


def live_of(folder: Path) -> Live:
    """A folder's state, as a start has it; it is closed again."""
    system = System(load(fm.LAPTOP, folder=folder))
    system.close()
    return system.live


def _clicks(live: Live, listings: Sequence[str], t: int) -> NDArray[np.int64]:
    """[listings] int64, how often each was clicked on within 7 days, as features have it."""
    batch = live.look_up(live.request(Query(t=t)), live.catalogue.slots_of(list(listings)))
    (column,) = [at for at, name in enumerate(batch.columns) if name.endswith(f".{COUNTED}")]
    return np.nan_to_num(batch.values[:, column]).astype(np.int64)


def settled(folder: Path, before: Live, ledger: Ledger) -> tuple[int, int, int]:
    """What was acknowledged, against the log and the counts that a start of the folder has.

    Args:
        folder: of a system that is not running.
        before: its state before anything of the ledger was sent.
        ledger: what was acknowledged.

    Returns:
        Lost: events not in the log, clicks not in the counts. Double: events that stand twice, and
        clicks too many. Unlike: arrays of features that a fold of the whole log gives otherwise.
    """
    with open_log(folder, read_only=True) as log:
        kept = Counter(entry.event.event_id for entry in log.read())
        folded = before.view.state()
        folded.apply(log.facts())
    restored = live_of(folder)
    listings, t = listings_of(folder), time.time_ns() // 1_000_000
    counted = _clicks(restored, listings, t) - _clicks(before, listings, t)
    off = counted - np.array([ledger.clicks[listing] for listing in listings])
    lost = sum(1 for one in ledger.acknowledged if not kept[one]) - int(off[off < 0].sum())
    double = sum(count - 1 for count in kept.values()) + int(off[off > 0].sum())
    return lost, double, _unlike(folded.arrays(), restored.features.arrays())


def _unlike(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> int:
    """How many arrays are not the same bytes."""
    names = one.keys() | other.keys()
    return sum(
        name not in one or name not in other or one[name].tobytes() != other[name].tobytes()
        for name in names
    )


def rows(listings: int = 5_000, kills: int = 100) -> list[Row]:
    """Both kinds of moments."""
    found = survived(fm.stocked(listings), kills)
    said = (
        f"{kills} kill -9 of the writer at random moments, a fifth of them while it started, and "
        f"{len(found.cuts)} before each statement that writes a snapshot; two workers, "
        f"{listings:,} listings; {found.acknowledged:,} events acknowledged, {found.retried:,} "
        "requests sent again"
    )
    ready = np.array(found.ready_s)
    low, high = round(float(ready.min()), 2), round(float(ready.max()), 2)
    return [
        Row(id="faults.lost_events", value=found.lost, unit="events", better="equal", target=0,
            note=f"in the log, and in the clicks that features count; {said}"),
        Row(id="faults.double_events", value=found.double, unit="events", better="equal",
            target=0, note="the same"),
        Row(id="faults.ready_s", value=high, unit="s", better="lower", target=READY_S,
            interval=(low, high),
            note=f"from kill to ready, the longest of {kills}, p50 {np.median(ready):.2f}; before "
            f"statements, to the next event taken, {max(found.cut_ready_s, default=0.0):.2f}; the "
            "supervisor waits 0.1 s, and twice as long after each death in a row, at most 4 s"),
        Row(id="faults.unread_pages", value=found.unread, unit="pages", better="equal", target=0,
            note=f"of {found.reads:,} asked for meanwhile, not answered 200"),
        Row(id="faults.unlike_replay", value=found.differ, unit="values", better="equal",
            target=0,
            note=f"served meanwhile and not what a replay of the log gives, of "
            f"{found.replayed:,} slates; and arrays of the features' state that a start restores "
            "and a fold of the whole log does not give"),
    ]  # fmt: skip
