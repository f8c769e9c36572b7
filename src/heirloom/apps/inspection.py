"""What lies near a listing and what each retriever gives a person, from a system's folder.

It folds the log anew and reads only, so it may stand beside a running server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.apps.parts import empty_live, open_log
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.core.errors import InputError, NotFoundError
from heirloom.core.event import Surface
from heirloom.core.log import EventLog
from heirloom.core.query import Query
from heirloom.pipelines.candidates import sources
from heirloom.pipelines.live import Live
from heirloom.retrieval.fusion import fuse
from heirloom.retrieval.top import best


@dataclass(frozen=True, slots=True)
class Card:
    """A listing in short. `status` is live, reserved, sold or removed."""

    listing: str
    title: str
    brand: str
    category: str
    price_minor: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A listing near another. `cosine` of their vectors, -1 … 1."""

    card: Card
    cosine: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What lies near `of`, nearest first, by the vectors of `model_id` at log offset `n`."""

    of: Card
    model_id: str
    n: int
    nearest: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listing that some retriever gave.

    Attributes:
        ranks: its rank in each source that gave it, from 1.
        place: after fusion, from 1.
        score: of the fusion.
        kept: whether it is among the first `pool`, which are ranked.
    """

    card: Card
    ranks: dict[str, int]
    place: int
    score: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What the retrievers of a surface gave at log offset `n`, in the order of the fusion.

    Attributes:
        gave: for each source, how many it gave of how many it was asked for.
    """

    person: str
    surface: str
    n: int
    pool: int
    gave: dict[str, tuple[int, int]]
    candidates: tuple[Candidate, ...]


def neighbours(
    settings: Settings,
    listing: str,
    k: int = 10,
    *,
    live_only: bool = False,
    registry: Registry | None = None,
) -> Neighbours:
    """The k listings nearest to one by their vectors, each compared.

    Args:
        settings: of the system whose log is folded.
        listing: id; it may be sold, as long as its slot is no other's.
        k: how many.
        live_only: only those that may be shown; else what was sold lately is there too.
        registry: what the settings' names stand for.

    Raises:
        NotFoundError: there is no log, or the listing is unknown or gone long since.
    """
    registry = registry or Registry.installed()
    with folded(settings, registry, retrievers=False) as (live, _):
        slot = slot_of(live, listing, "neighbours: listing")
        vectors = live.content.vectors
        cosines = vectors @ vectors[slot]
        shown: NDArray[np.bool_] = np.asarray(vectors.any(axis=1))
        if live_only:
            shown &= live.catalogue.live[: len(vectors)]
        shown[slot] = False
        # The index holds what is on offer alone; what was sold lately still has its vector.
        near = best(np.where(shown, cosines, -np.inf), min(k, int(shown.sum())))
        pairs = zip(near.tolist(), cosines[near].tolist(), strict=True)
        return Neighbours(
            of=card(live, slot),
            model_id=live.content.model_id,
            n=live.n,
            nearest=tuple(Neighbour(card(live, at), cosine) for at, cosine in pairs),
        )


def retrieved(settings: Settings, query: Query, *, registry: Registry | None = None) -> Retrieved:
    """What each retriever of the query's surface gives, and what fusion makes of it.

    Raises:
        InputError: surface `similar` without an anchor, or another with one.
        NotFoundError: there is no log, or the person or the anchor is unknown.
    """
    if (query.surface == Surface.SIMILAR) != (query.anchor is not None):
        raise InputError(
            f"retrieve: surface {query.surface!r} came with anchor {query.anchor!r}; give "
            "--surface similar and --anchor LISTING together, or neither"
        )
    registry = registry or Registry.installed()
    surface = Surface(query.surface)
    quotas, pool = settings.policy.quotas[surface], settings.policy.pool
    pool = settings.policy.pools.get(surface, pool)
    with folded(settings, registry) as (live, _):
        request = live.request(query)
        if query.user is not None and not request.person:
            raise NotFoundError(
                f"retrieve: person {query.user!r} has done nothing up to offset {live.n}; check "
                "the name, or leave --person out for a newcomer"
            )
        if query.anchor is not None:
            slot_of(live, query.anchor, "retrieve: anchor")
        found = sources(request, quotas, live, least=pool)
        fused = fuse(found, sum(map(len, found)))
        ranks = {
            each.names[0]: {slot: rank for rank, slot in enumerate(each.slots.tolist(), 1)}
            for each in found
        }
        pairs = zip(fused.slots.tolist(), fused.scores.tolist(), strict=True)
        return Retrieved(
            person=query.user or "",
            surface=query.surface,
            n=live.n,
            pool=pool,
            gave={name: (len(ranks[name]), quota) for name, quota in quotas.items()},
            candidates=tuple(
                Candidate(
                    card=card(live, slot),
                    ranks={name: of[slot] for name, of in ranks.items() if slot in of},
                    place=place,
                    score=score,
                    kept=place <= pool,
                )
                for place, (slot, score) in enumerate(pairs, 1)
            ),
        )


@contextmanager
def folded(
    settings: Settings, registry: Registry, *, retrievers: bool = True
) -> Iterator[tuple[Live, EventLog]]:
    """The state folded from the whole log, and the log; read only.

    Raises:
        NotFoundError: there is no log.
        StoreError: it is damaged.
    """
    with open_log(settings.system.folder, read_only=True) as log:
        live = empty_live(settings, registry, log, retrievers=retrievers)
        live.replay(log.read())
        live.vocabulary.know_all()
        yield live, log


def slot_of(live: Live, listing: str, where: str) -> int:
    """The slot of a listing.

    Raises:
        NotFoundError: that says whether it never was, or is gone.
    """
    slot = live.catalogue.slot_of(listing)
    if slot < 0:
        gone = live.catalogue.knows(listing)
        fate = "ended long ago, and its vector with it" if gone else "is not known"
        raise NotFoundError(
            f"{where} {listing!r} {fate} at offset {live.n} of {live.catalogue.live.sum():,} live "
            "listings; check the id, or the system with --system and --folder"
        )
    return slot


def card(live: Live, slot: int) -> Card:
    """The listing in a slot, in short."""
    listing = live.catalogue.listing(slot)
    return Card(
        listing=listing.listing_id,
        title=listing.title,
        brand=listing.brand,
        category=listing.category,
        price_minor=listing.price_minor,
        currency=listing.currency,
        status=live.catalogue.status(slot).name.lower(),
    )
