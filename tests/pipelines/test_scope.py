"""Scope and the index: filter, mask and catalogue say the same, however the log was cut."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import heirloom.pipelines.live as live_module
from heirloom.core.event import Event, Kind, Surface
from heirloom.core.listing import Listing
from heirloom.core.query import Filters, Query
from heirloom.encoders.hashed import Hashed
from heirloom.pipelines.live import Live
from heirloom.pipelines.policy import Policy
from heirloom.pipelines.scope import Scope, coded
from heirloom.pipelines.serve import recommend
from heirloom.retrieval.content import ContentIndex
from heirloom.retrieval.offers import Offers, country_code
from heirloom.retrieval.vectors.where import Where

from .shop import BRANDS, KINDS, QUOTAS, SIZES, START_MS, Shop, empty_live

CODES = ("category", "brand", "size", "colour", "condition", "seller")
COUNTRIES = ("FI", "SE", "Åland Islands", "")


class Market(Shop):
    """Listings with a country, and reservations that end."""

    def listing(self, listing_id: str) -> Listing:
        made = super().listing(listing_id)
        at = self.now - int(self.rng.integers(0, 9)) if self.rng.random() < 0.5 else 0
        return msgspec.structs.replace(made, country=self.pick(COUNTRIES), listed_at=at)

    def made(self, event_id: str, t: int) -> Event:
        if self.listed and self.rng.random() < 0.08:
            kind, listing = self.pick((Kind.RESERVED, Kind.RELEASED)), self.pick(self.listed)
            return Event(event_id=event_id, kind=kind, t=t, listing=listing)
        return super().made(event_id, t)

    def filters(self) -> Filters:
        """Any of the fields, now and then of values that nobody has."""
        rng = self.rng

        def some(options: Sequence[str]) -> tuple[str, ...]:
            return tuple(str(one) for one in rng.choice([*options, "nobody has this"], 2))

        asks = rng.random(8) < 0.2
        return Filters(
            category=str(self.pick((*KINDS, "women", "nowhere"))) if asks[0] else "",
            brands=some(BRANDS) if asks[1] else (),
            sizes=some(SIZES) if asks[2] else (),
            colours=some(("red", "black", "")) if asks[3] else (),
            conditions=some(("good", "new")) if asks[4] else (),
            countries=some(COUNTRIES) if asks[5] else (),
            sellers=some([f"seller{i}" for i in range(5)]) if asks[6] else (),
            price_min_minor=int(rng.integers(0, 50)) * 100 if asks[7] else None,
            price_max_minor=int(rng.integers(30, 90)) * 100 if rng.random() < 0.2 else None,
            listed_since=int(rng.integers(START_MS, self.now)) if rng.random() < 0.2 else None,
        )


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market(seed=5, pace=3)
    market.run(60)
    return market


def test_offers_are_what_the_catalogue_says(market: Market) -> None:
    catalogue, offers = market.live.catalogue, market.live.content.offers
    np.testing.assert_array_equal(offers.live, catalogue.live)
    assert 0 < offers.live.sum() < len(offers.live)
    known = np.flatnonzero(catalogue.column("generation"))
    for name in (*CODES, "price_minor", "listed_at"):
        np.testing.assert_array_equal(
            offers.column(name)[known], catalogue.column(name)[known], name
        )
    texts = catalogue.vocabulary.texts("country")
    codes = [country_code(texts[code]) for code in catalogue.column("country")[known]]
    assert offers.column("country")[known].tolist() == codes
    assert len(set(codes)) == len(COUNTRIES)


def test_a_filter_finds_what_its_mask_allows(market: Market) -> None:
    live, k = market.live, len(market.live.catalogue) + 10
    vector = live.content.text("red boho coats")
    sizes = set()
    for _ in range(150):
        user = f"user{market.rng.integers(12)}"
        if market.rng.random() < 0.3:
            user = f"seller{market.rng.integers(5)}"  # sellers are not shown their own
        shown = tuple(str(one) for one in market.rng.choice(market.listed, 5))
        query = Query(t=market.now, user=user, filters=market.filters(), exclude=shown)
        scope = Scope(live.request(query), live)
        found = live.content.nearest(vector, scope.where, k, without=scope.without)
        assert found.exact
        assert sorted(found.slots.tolist()) == np.flatnonzero(scope.mask).tolist()
        sizes.add(len(found.slots))
        by_mask = live.content.nearest(vector, Where(allowed=scope.mask), 7)
        by_filter = live.content.nearest(vector, scope.where, 7, without=scope.without)
        np.testing.assert_array_equal(by_filter.slots, by_mask.slots)
        np.testing.assert_array_equal(by_filter.scores, by_mask.scores)
    assert len(sizes) > 20
    assert 0 in sizes


def test_a_value_never_seen_passes_nothing(market: Market) -> None:
    assert coded(Filters(brands=("no such brand",)), market.live) == {"brand": []}


@pytest.fixture
def often() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(live_module, "REFIT_EVERY", 128)
    yield
    patch.undo()


@pytest.mark.usefixtures("often")
def test_the_index_follows_from_the_log_however_it_was_cut() -> None:
    """Trained, re-packed, and trained again: vectors, columns and codebook are the same bytes."""
    market = Market(seed=8)
    market.run(40)
    entries = list(market.log.read())
    folded = []
    for cut in (1, 37, len(entries)):
        live = _with_content(market, Hashed(16))
        trained = []
        for start in range(0, len(entries), cut):
            live.replay(entries[start : start + cut])
            if not trained or trained[-1] is not live.content.index:
                trained.append(live.content.index)
        if cut == 1:
            assert len(trained) > 2, "the index is to be trained twice at least"
        folded.append(live)
    first, *others = folded
    size = len(first.catalogue)
    slots = np.arange(size, dtype=np.int32)
    for live in folded:
        content = live.content
        assert len(content.index) == live.catalogue.live.sum()
        shown = np.where(live.catalogue.live[:, None], content.vectors, 0)
        np.testing.assert_array_equal(content.index.vectors(slots), shown)
    for other in others:
        ours, theirs = first.content, other.content
        for name, array in ours.index.codebook.arrays().items():
            assert array.tobytes() == theirs.index.codebook.arrays()[name].tobytes(), name
        assert ours.vectors.tobytes() == theirs.vectors.tobytes()
        _same_columns(ours.offers, theirs.offers)
        for text in ("red boho dress", "retro"):
            found = [live.content.nearest(live.content.text(text), k=30) for live in (first, other)]
            np.testing.assert_array_equal(found[0].slots, found[1].slots)


@pytest.mark.usefixtures("often")
def test_restored_content_is_that_of_a_whole_fold() -> None:
    """Kept at any offset, and folded on in parts: the same in every byte, and nothing twice."""
    market = Market(seed=9)
    market.run(40)
    entries = list(market.log.read())
    whole = _with_content(market, Hashed(16))
    kept = {}
    for entry in entries:
        whole.replay([entry])
        if whole.n % 97 == 0 or whole.n == 256:
            kept[whole.n] = {name: a.copy() for name, a in whole.content.arrays().items()}
    levels = {arrays["index.codebook.levels"].tobytes() for arrays in kept.values()}
    assert len(levels) > 1  # trained between
    slots = np.arange(len(whole.catalogue), dtype=np.int32)
    for n, arrays in kept.items():
        encoder = Counted(16)
        live = _with_content(market, encoder)
        live.content.restore(arrays)
        live.go_on({"content": n})
        for start in range(0, len(entries), 60):
            live.replay(entries[start : start + 60])
        told = [e.seq for e in entries if e.event.kind in (Kind.LISTED, Kind.EDITED)]
        assert encoder.count <= sum(seq >= n for seq in told)
        ours, twin = live.content, whole.content
        assert ours.vectors.tobytes() == twin.vectors.tobytes()
        assert ours.index.codebook.levels.tobytes() == twin.index.codebook.levels.tobytes()
        found = [each.index.vectors(slots).tobytes() for each in (ours, twin)]
        assert found[0] == found[1]
        assert len(ours.index) == len(twin.index)


class Counted(Hashed):
    """Counts what it encodes."""

    count = 0

    def listings(self, listings: Sequence[Listing]) -> NDArray[np.float32]:
        self.count += len(listings)
        return super().listings(listings)


def _with_content(market: Market, encoder: Hashed) -> Live:
    live = empty_live(market.log)
    live.content = ContentIndex(encoder, trained_from=60)
    return live


def _same_columns(ours: Offers, theirs: Offers) -> None:
    assert ours.listed == theirs.listed
    for name in (*CODES, "country", "price_minor", "listed_at"):
        assert ours.column(name).tobytes() == theirs.column(name).tobytes(), name


def test_out_of_time_the_slate_says_who_was_not_asked(market: Market) -> None:
    policy = Policy(name="test", quotas=QUOTAS)
    query = Query(t=market.now, user="user1", k=5)
    hurried = recommend(query, policy, market.live, out_of_time=lambda: True)
    assert len(hurried.shown) == 5
    reasons = [step.reason for step in hurried.degraded if step.step == "retrieve"]
    assert reasons == ["out of time: taste gave what was found so far"]
    assert {source for shown in hurried.shown for source in shown.sources} == {"recent"}
    unhurried = recommend(query, policy, market.live, out_of_time=lambda: False)
    assert unhurried.slots.tolist() == recommend(query, policy, market.live).slots.tolist()
    assert not [step for step in unhurried.degraded if step.step == "retrieve"]


def test_more_than_there_are_and_nothing_at_all(market: Market) -> None:
    policy = Policy(name="test", quotas={Surface.SIMILAR: {"similar": 10_000}}, pool=10_000,
                    seller_cap=10_000)  # fmt: skip
    anchor = next(
        market.live.catalogue.listing(int(slot)).listing_id
        for slot in np.flatnonzero(market.live.catalogue.live)
    )
    query = Query(surface=Surface.SIMILAR.value, t=market.now, anchor=anchor, k=10_000)
    everything = recommend(query, policy, market.live)
    assert len(everything.shown) == market.live.catalogue.live.sum() - 1
    none = Query(surface=Surface.SIMILAR.value, t=market.now, anchor=anchor, k=0)
    assert recommend(none, policy, market.live).shown == ()


def test_what_passes_is_what_the_mask_says(market: Market) -> None:
    slots = np.arange(len(market.live.catalogue))
    kept = 0
    for person in range(60):
        query = Query(t=market.now, user=f"user{person % 12}", filters=market.filters())
        request = market.live.request(query)
        masked = Scope(request, market.live).mask
        kept += int(masked.sum())
        assert Scope(request, market.live).passes(slots).tolist() == masked.tolist()
        narrowed = Scope(request, market.live)
        narrowed.narrow(masked & (slots % 2 == 0))
        assert narrowed.passes(slots).tolist() == narrowed.mask.tolist()
    assert 0 < kept < 60 * len(slots)
