"""A shop in memory with random traffic: late, duplicate, tied, skewed, restarted, slots reused."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
import numpy as np
import torch

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import Event, Kind, Surface
from heirloom.core.listing import Listing
from heirloom.core.log import EventLog
from heirloom.core.query import Query
from heirloom.core.slate import SlateRecord
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.person import About, PersonEncoder
from heirloom.encoders.training.graph import person_graph
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.features.library import marketplace_view
from heirloom.features.view import FeatureView
from heirloom.pipelines.ingest import Ingest
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.recovery import Snapshot, begun
from heirloom.pipelines.serve import recommend, record
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.neighbours import Similar, Taste
from heirloom.retrieval.recent import Recent
from heirloom.retrieval.retriever import Retriever
from heirloom.retrieval.search import Search
from heirloom.slates.exposure import Exposure
from heirloom.slates.frequency import Frequency
from heirloom.slates.rules import Shares
from heirloom.testing.memory import MemoryAnteroom, MemoryLog

START_MS = 1_735_689_600_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DECLARED = ("department", "clothing_size")
BRANDS = ("Arket", "Prada", "Cos", "Toast", "Gucci", "Miu Miu", "Red Valentino", "Ganni")
SIZES = ("xs", "s", "m", "l", "xl", "38", "40")
KINDS = ("women/dresses/midi", "women/coats", "men/shoes/boots", "men/coats", "kids/toys")
WORDS = ("boho", "festival", "fringed", "flowy", "office", "tailored", "formal", "gym", "track",
         "red", "retro", "archive")  # fmt: skip
ASKED = ("red coats", "boho dress", "retro Prada")
ACTS = (Kind.CLICK, Kind.CLICK, Kind.SAVE, Kind.UNSAVE, Kind.OFFER, Kind.PURCHASE, Kind.HIDE)
STOCK = (Kind.SOLD, Kind.SOLD, Kind.REMOVED, Kind.PRICE_CHANGED, Kind.EDITED, Kind.RESERVED)
QUOTAS = {
    Surface.HOME: {"recent": 30, "taste": 30},
    Surface.SIMILAR: {"similar": 20, "recent": 20},
    Surface.SEARCH: {"search": 30},
}


def empty_live(
    log: EventLog, view: FeatureView | None = None, shares: Shares | None = None
) -> Live:
    """A state that has folded nothing yet, over the codes of a log; it counts what is shown."""
    return Live(
        catalogue=Catalogue(log.vocabulary().rewound(), retire_after_ms=2 * DAY_MS),
        view=view or marketplace_view(),
        content=ContentIndex(Hashed(16)),
        person_encoder=person_encoder(),
        declared=DECLARED,
        exposure=Exposure(shares) if shares else None,
        frequency=Frequency(1 << 12) if shares else None,
    )


def few_retrievers(live: Live) -> dict[str, Retriever]:
    """Those of QUOTAS."""
    content = live.content
    return {
        "recent": Recent(),
        "taste": Taste(content),
        "similar": Similar(content),
        "search": Search(content),
    }


@cache
def person_encoder() -> PersonEncoder:
    """Of no training: it stands for any that reads what was done, stated and asked."""
    torch.manual_seed(0)
    model = PersonModel(Shape(dim=16, heads=2, unit=True, questions=True))
    about = About(dim=16, vectors=1, events=50, listings=Hashed(16).model_id, questions=True)
    return PersonEncoder(person_graph(model.eval()), about)


class Shop:
    """Ingests and answers as a System does, over a log in memory."""

    def __init__(
        self,
        seed: int,
        pace: int = 1,
        shares: Shares | None = None,
        retrievers: Callable[[Live], Mapping[str, Retriever]] | None = None,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.pace = pace  # how fast time passes
        self.shares = shares
        self.retrievers = retrievers or few_retrievers
        self.log = MemoryLog()
        self.anteroom = MemoryAnteroom()
        self.now = START_MS
        self.sent: list[Event] = []
        self.listed: list[str] = []
        self.served: list[SlateRecord] = []
        self.refused: list[str] = []
        self.restart()

    def empty(self) -> Live:
        """A state of its own that has folded nothing yet."""
        live = empty_live(self.log, shares=self.shares)
        live.add(self.retrievers(live))
        return live

    def restart(self, latest: Callable[[str], Iterable[Snapshot]] = lambda _: ()) -> None:
        """Forget all and fold the log again, from snapshots on where some are given, by name."""
        self.live = begun(self.empty, self.log, latest, self.refused.append)
        self.live.replay(self.log.read(self.live.n))
        self.live.vocabulary.know_all()
        self._ingest = Ingest(
            log=self.log,
            anteroom=self.anteroom,
            catalogue=self.live.catalogue,
            currency="EUR",
            rates={},
            declared=DECLARED,
            apply=self.live.fold,
        )

    def ingest(self, *events: Event) -> None:
        self._ingest.ingest(events, now_ms=self.now, source="test")

    def ask(self, query: Query) -> SlateRecord:
        policy = Policy(name="test", quotas=QUOTAS, seller_cap=50)
        served = record(recommend(query, policy, self.live), query)
        self.served.append(served)
        return served

    def run(self, steps: int) -> "Shop":
        """Random traffic: parts of a log of any size, requests and restarts between."""
        for _ in range(steps):
            self.now += self.pace * int(self.rng.choice([0, 1, 60_000, HOUR_MS, 9 * HOUR_MS]))
            count = int(self.rng.choice([1, 2, 5, 20, 60]))
            self.ingest(*(self.event() for _ in range(count)))
            for _ in range(int(self.rng.integers(0, 4))):
                self.ask(self.query())
            if self.rng.random() < 0.15:
                self.restart()
        return self

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def known(self, options: tuple[str, ...]) -> str:
        """One of the options, the later ones only as time goes on."""
        share = 0.3 + 0.7 * min(1.0, (self.now - START_MS) / (6 * DAY_MS))
        return str(self.pick(options[: max(1, round(share * len(options)))]))

    def event(self) -> Event:
        if self.sent and self.rng.random() < 0.1:
            return self.pick(self.sent)  # a duplicate, or one that was refused or held
        t = self.now
        if self.rng.random() < 0.25:
            t -= int(self.rng.integers(0, 3 * DAY_MS))
        elif self.rng.random() < 0.1:
            t += int(self.rng.integers(0, 2 * HOUR_MS))
        made = self.made(f"e{len(self.sent)}", t)
        self.sent.append(made)
        return made

    def made(self, event_id: str, t: int) -> Event:
        draw = self.rng.random()
        if draw < 0.3 or not self.listed:
            listing = f"l{len(self.listed)}"
            self.listed.append(listing)
            data = self.listing(listing)
            return Event(event_id=event_id, kind=Kind.LISTED, t=t, listing=listing, data=data)
        listing = self.pick(self.listed) if self.rng.random() < 0.97 else "not-yet-listed"
        if draw < 0.45:
            kind = self.pick(STOCK)
            data = self.listing(listing) if kind is Kind.EDITED else None
            price = int(self.rng.integers(1, 90)) * 100 if kind is Kind.PRICE_CHANGED else None
            return Event(
                event_id=event_id, kind=kind, t=t, listing=listing, data=data, price_minor=price
            )
        who = self.who()
        attributes = self.attributes() if self.rng.random() < 0.2 else {}
        if draw < 0.6:
            shown = tuple({self.pick(self.listed) for _ in range(4)})
            return Event(
                event_id=event_id, kind=Kind.IMPRESSION, t=t, listings=shown,
                slate=f"s-{event_id}", surface="search", text=self.pick(ASKED), **who,
            ) if self.rng.random() < 0.5 else Event(
                event_id=event_id, kind=Kind.IMPRESSION, t=t, listings=shown,
                slate=f"s-{event_id}", surface="home", **who,
            )  # fmt: skip
        if draw < 0.65:
            # A brand or a size may be stated before any listing has it.
            stated = {"brands": [self.pick(BRANDS)], "sizes": [self.pick(SIZES)]}
            return Event(event_id=event_id, kind=Kind.PREFER, t=t, attributes=stated, **who)
        if draw < 0.7:
            kind, seller = self.pick((Kind.FOLLOW, Kind.BLOCK)), f"seller{self.rng.integers(6)}"
            return Event(event_id=event_id, kind=kind, t=t, seller=seller, **who)
        if draw < 0.75:
            text = f"{self.pick(WORDS)} {self.pick(WORDS)}"
            return Event(event_id=event_id, kind=Kind.SEARCH, t=t, text=text, **who)
        return Event(
            event_id=event_id, kind=self.pick(ACTS), t=t, listing=listing, attributes=attributes,
            text=self.pick((*ASKED, None, None)), **who,
        )  # fmt: skip

    def listing(self, listing_id: str) -> Listing:
        title = " ".join(self.rng.choice(WORDS, 4, replace=False))
        return Listing(
            listing_id=listing_id,
            seller=f"seller{self.rng.integers(5)}",
            title=title,
            brand=self.known(BRANDS),
            size=self.known(SIZES),
            category=self.known(KINDS),
            colour=str(self.pick(("red", "black", ""))),
            condition=str(self.pick(("good", "new"))),
            price_minor=int(self.rng.integers(0, 90)) * 100,
            photos=int(self.rng.integers(0, 5)),
        )

    def who(self) -> dict[str, Any]:
        draw = self.rng.random()
        if draw < 0.7:
            return {"user": self.known(tuple(f"user{i}" for i in range(12)))}
        return {"session": f"visit{self.rng.integers(6)}"}

    def attributes(self) -> dict[str, Any]:
        return {"department": str(self.pick(("women", "men"))), "clothing_size": self.pick(SIZES)}

    def query(self) -> Query:
        surface = self.pick(tuple(Surface))
        who = self.pick((self.who(), self.who(), {"user": f"user{self.rng.integers(14)}"}, {}))
        text = ""
        if surface is Surface.SEARCH:
            asked = (WORDS, BRANDS, SIZES, ("coats", "dress", "shoes"))
            new = " ".join(self.pick(words) for words in asked)
            text = self.pick((*ASKED, new))
        return Query(
            surface=surface,
            # Clocks step back now and then.
            t=self.now + int(self.rng.integers(-2 * HOUR_MS, 2 * HOUR_MS)),
            text=text,
            anchor=self.pick(self.listed) if surface is Surface.SIMILAR and self.listed else None,
            attributes=self.attributes() if self.rng.random() < 0.4 else {},
            k=int(self.rng.choice([3, 60])),
            **who,
        )


class Tampered:
    """A log of which one entry reads otherwise."""

    def __init__(self, log: MemoryLog, seq: int, kind_code: int) -> None:
        self._log, self._seq, self._kind = log, seq, kind_code

    def read(self, from_offset: int = 0, to_offset: int | None = None) -> Iterator[Any]:
        for entry in self._log.read(from_offset, to_offset):
            if entry.seq != self._seq:
                yield entry
                continue
            row = bytearray(entry.event_row)
            row[16] = self._kind  # core.facts.EVENT_ROW: seq, t, kind
            yield msgspec.structs.replace(entry, event_row=bytes(row))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._log, name)
        return method
