"""The law of a Retriever: allowed listings only, none twice, and the same however it was fed.

    class TestMyRetriever(RetrieverLaws):
        def make(self) -> Retriever:
            return MyRetriever()

The world is a checkerboard: two kinds of people and two kinds of listings (brand, category,
colour, words), and each kind of person goes for one kind of listing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.core.catalogue import Catalogue
from heirloom.core.event import KIND_CODE, SURFACE_CODE, Event, Kind, Surface
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, MAX_DECLARED, Facts
from heirloom.core.kept import is_kept
from heirloom.core.listing import Listing
from heirloom.core.query import Query, Request
from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.retriever import Retriever, is_sifting

T0 = 1_700_000_000_000
HOUR_MS = 3_600_000
KINDS_OF_LISTING = (
    ("Alba", "women/dresses", "red", "S"),
    ("Boreas", "men/shoes", "black", "43"),
)
TITLES = ("Red silk dress", "Black leather boots")
DIM = 64


class World:
    """A small log as arrays: `events` in order, each with the listing that it opens, if any."""

    def __init__(self, listings: int = 40, people: int = 10, seed: int = 0) -> None:
        self.vocabulary = Vocabulary()
        self.catalogue = Catalogue(self.vocabulary)
        self._rows: list[tuple[NDArray[np.void], NDArray[np.void]]] = []
        self._opened: list[tuple[int, Listing] | None] = []
        self.t = T0
        rng = np.random.default_rng(seed)
        for i in range(listings):
            self.list(f"listing-{i}", i % 2, seller=f"seller-{i % 6}")
        for step in range(people * 12):
            person = step % people
            same = [slot for slot in range(listings) if slot % 2 == person % 2]
            self.act(Kind.CLICK if step % 3 else Kind.SAVE, person, int(rng.choice(same)))

    def list(self, listing_id: str, kind: int, *, seller: str = "seller-0") -> int:
        """A new listing of a kind (0 or 1); gives its slot."""
        self.t += HOUR_MS
        brand, category, colour, size = KINDS_OF_LISTING[kind]
        listing = Listing(
            listing_id=listing_id,
            seller=seller,
            title=f"{TITLES[kind]} {listing_id}",
            price_minor=4_000 + 100 * len(self._rows),
            brand=brand,
            category=category,
            colour=colour,
            size=size,
        )
        slot = self.catalogue.allocate(listing_id, self.t)
        event = Event(
            event_id=f"e{len(self._rows)}", kind=Kind.LISTED, t=self.t, listing=listing_id,
            data=listing,
        )  # fmt: skip
        self.catalogue.apply(event, slot)
        self._append(Kind.LISTED, 0, slot, opened=(slot, listing))
        return slot

    def act(self, kind: Kind, person: int, slot: int = -1, *, seller: str = "") -> None:
        """Somebody does something to the listing in a slot, or to a seller."""
        self.t += HOUR_MS // 10
        code = self.vocabulary.code("person", f"person-{person}")
        self._append(kind, code, slot, seller=self.vocabulary.code("seller", seller))

    def end(self, slot: int) -> None:
        """The listing in a slot is sold."""
        self.t += 1
        listing_id = self.catalogue.listing(slot).listing_id
        event = Event(event_id="end", kind=Kind.SOLD, t=self.t, listing=listing_id)
        self.catalogue.apply(event, slot)
        self._append(Kind.SOLD, 0, slot)

    def _append(
        self,
        kind: Kind,
        person: int,
        slot: int,
        *,
        seller: int = 0,
        opened: tuple[int, Listing] | None = None,
    ) -> None:
        event = np.zeros(1, EVENT_ROW)
        event["seq"], event["t"], event["kind"] = len(self._rows), self.t, KIND_CODE[kind]
        event["person"], event["seller"] = person, seller
        # The first declared attribute is what kind of person it is.
        event["declared"][0, 0] = 1 + (person + 1) % 2 if person else 0
        slots = np.array([slot] if slot >= 0 else [], np.int32)
        self._rows.append((event, self.catalogue.rows(slots)))
        self._opened.append(opened)

    def parts(self, cuts: Sequence[int] = ()) -> Iterator[tuple[Facts, dict[int, Listing]]]:
        """The log in consecutive parts, with the listings each part opens."""
        edges = [0, *sorted(cuts), len(self._rows)]
        for start, stop in pairwise(edges):
            rows = self._rows[start:stop]
            starts = np.zeros(len(rows) + 1, np.int64)
            starts[1:] = np.cumsum([len(listings) for _, listings in rows])
            facts = Facts(
                np.concatenate([np.zeros(0, EVENT_ROW), *(event for event, _ in rows)]),
                np.concatenate([np.zeros(0, LISTING_ROW), *(listings for _, listings in rows)]),
                starts,
            )
            yield facts, dict(pair for pair in self._opened[start:stop] if pair is not None)

    def request(self, person: int | None = None, **query: object) -> Request:
        """A request of a person by number; None for a newcomer."""
        name = "" if person is None else f"person-{person}"
        code = self.vocabulary.find("person", name)
        recent = [
            (int(listings["slot"][0]), int(event["kind"][0]), int(event["t"][0]))
            for event, listings in reversed(self._rows)
            if code and event["person"][0] == code and len(listings)
        ][:50]
        asked = Query(t=self.t, user=name or None, **query)  # type: ignore[arg-type]
        return Request(
            query=asked,
            person=code,
            surface=SURFACE_CODE[asked.surface],
            declared=np.zeros(MAX_DECLARED, np.int32),
            anchor=self.catalogue.slot_of(asked.anchor) if asked.anchor else -1,
            recent=np.array([slot for slot, _, _ in recent], np.int32),
            recent_kinds=np.array([kind for _, kind, _ in recent], np.int8),
            recent_t=np.array([t for _, _, t in recent], np.int64),
            text_vector=np.zeros(DIM, np.float32),
        )


@cache
def checkerboard() -> World:
    """The world of the laws; they only read it."""
    return World()


def requests(world: World) -> list[Request]:
    """One of each surface, of people known and unknown."""
    found = [world.request(), world.request(0), world.request(1)]
    found.append(world.request(0, surface=Surface.SIMILAR.value, anchor="listing-1"))
    found.append(world.request(1, surface=Surface.SEARCH.value, text="red dres"))
    return [*found, replace(found[0], declared=np.array([1] + [0] * 7, np.int32))]


class RetrieverLaws:
    """Inherit, name `make`, and let pytest collect it."""

    def make(self) -> Retriever:
        """A retriever that has folded nothing."""
        raise NotImplementedError

    def fed(self, world: World, cuts: Sequence[int] = ()) -> Retriever:
        """A retriever that folded a world in parts."""
        retriever = self.make()
        for facts, listings in world.parts(cuts):
            retriever.apply(facts, listings)
        return retriever

    @pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
    @pytest.mark.parametrize("k", [0, 1, 7, 1_000])
    def test_candidates_are_allowed_distinct_and_few(self, share: float, k: int) -> None:
        world = checkerboard()
        retriever = self.fed(world)
        allowed = np.random.default_rng(1).random(len(world.catalogue)) < share
        for request in requests(world):
            found = retriever.retrieve(request, allowed, k)
            assert len(found) <= k
            assert len(set(found.slots.tolist())) == len(found)
            assert allowed[found.slots].all()
            assert (np.diff(found.scores) <= 0).all()
            assert np.isfinite(found.scores).all()
            assert found.names == (retriever.name,)
            assert found.slots.dtype == np.int32
            assert found.scores.dtype == np.float32

    @pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
    @pytest.mark.parametrize("k", [0, 7, 1_000])
    def test_sifting_a_small_stock_finds_what_a_mask_finds(self, share: float, k: int) -> None:
        world = checkerboard()
        retriever = self.fed(world)
        if not is_sifting(retriever):
            return  # it takes a mask
        allowed = np.random.default_rng(2).random(len(world.catalogue)) < share
        for request in requests(world):
            expected = self.fed(world).retrieve(request, allowed, k)
            found = retriever.sift(request, lambda slots: allowed[slots], k)
            assert found.slots.tobytes() == expected.slots.tobytes()
            assert found.scores.tobytes() == expected.scores.tobytes()

    def test_the_cuts_of_the_log_do_not_matter(self) -> None:
        world = checkerboard()
        size = sum(len(facts) for facts, _ in world.parts())
        whole = self.fed(world)
        parts = self.fed(world, cuts=(1, 2, 39, 41, 60, 60))
        single = self.fed(world, cuts=range(1, size))
        allowed = np.ones(len(world.catalogue), np.bool_)
        for request in requests(world):
            expected = whole.retrieve(request, allowed, 20)
            for other in (parts, single):
                found = other.retrieve(request, allowed, 20)
                np.testing.assert_array_equal(found.slots, expected.slots)
                np.testing.assert_array_equal(found.scores, expected.scores)

    @pytest.mark.parametrize("cut", [0, 39, 100, 160])
    def test_what_was_kept_goes_on_as_it_was(self, cut: int) -> None:
        """What cannot be kept (`core.kept`) is folded from the log's beginning at each start."""
        world = checkerboard()
        whole, first, again = self.make(), self.make(), self.make()
        giver: object = first
        taker: object = again
        if not is_kept(giver) or not is_kept(taker):
            return
        before, after = world.parts([cut])
        for retriever in (whole, first):
            retriever.apply(*before)
        taker.restore({name: array.copy() for name, array in giver.arrays().items()})
        for retriever in (whole, again):
            retriever.apply(*after)
        allowed = np.ones(len(world.catalogue), np.bool_)
        for request in requests(world):
            expected = whole.retrieve(request, allowed, 20)
            found = again.retrieve(request, allowed, 20)
            assert found.slots.tobytes() == expected.slots.tobytes()
            assert found.scores.tobytes() == expected.scores.tobytes()

    def test_a_request_changes_nothing(self) -> None:
        world = checkerboard()
        retriever = self.fed(world)
        allowed = np.ones(len(world.catalogue), np.bool_)
        first = [retriever.retrieve(r, allowed, 20).slots.tolist() for r in requests(world)]
        again = [retriever.retrieve(r, allowed, 20).slots.tolist() for r in requests(world)]
        assert first == again

    def test_a_mask_longer_than_what_was_folded_is_served(self) -> None:
        world = checkerboard()
        retriever = self.fed(world)
        size = len(world.catalogue)
        for request in requests(world):
            found = retriever.retrieve(request, np.ones(size + 500, np.bool_), 20)
            assert (found.slots < size).all()

    def test_an_empty_log_gives_nothing(self) -> None:
        world = checkerboard()
        for request in requests(world):
            unknown = replace(
                request,
                anchor=-1,
                recent=np.zeros(0, np.int32),
                recent_kinds=np.zeros(0, np.int8),
                recent_t=np.zeros(0, np.int64),
            )
            assert not len(self.make().retrieve(unknown, np.ones(10, np.bool_), 5))
