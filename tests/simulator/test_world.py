"""The drive: determinism, time order, availability, conservation."""

import msgspec
import numpy as np
import pytest

from heirloom.core.catalogue import Catalogue
from heirloom.core.errors import InputError, ShapeError
from heirloom.core.event import Event, Kind, problem
from heirloom.core.query import Query
from heirloom.core.vocabulary import Vocabulary
from heirloom.simulator import Mixed, Popular, Random, Recent, Size, World, by_query
from heirloom.simulator.queries import QueryColumns
from heirloom.simulator.truth import examination, power_law

TINY = Size(listings=400, people=150, days=1, sessions_per_day=3.0, tick_ms=60 * 60_000, k=12)
NOW = 1_800_000_000_000


def run(seed: int, ticks: int = 18) -> tuple[World, list[Event]]:
    world = World(TINY, seed)
    events = world.opening()
    policy = Mixed(world)
    for _ in range(ticks):
        events += world.step(policy).events()
    return world, events


@pytest.fixture(scope="module")
def log() -> tuple[World, list[Event]]:
    return run(5)


def test_a_seed_gives_the_same_bytes_and_another_seed_others(
    log: tuple[World, list[Event]],
) -> None:
    first = msgspec.msgpack.encode(log[1])
    assert msgspec.msgpack.encode(run(5)[1]) == first
    assert msgspec.msgpack.encode(run(6)[1]) != first


def test_events_are_valid_in_time_order_and_have_their_own_ids(
    log: tuple[World, list[Event]],
) -> None:
    events = log[1]
    assert [why for event in events if (why := problem(event, NOW))] == []
    assert len({event.event_id for event in events}) == len(events)
    times = [event.t for event in events]
    assert times == sorted(times)
    kinds = {event.kind for event in events}
    assert kinds >= {"listed", "prefer", "search", "impression", "click", "save", "sold"}


def test_a_sold_listing_is_never_shown_or_sold_again(log: tuple[World, list[Event]]) -> None:
    gone: set[str] = set()
    bought: set[str] = set()
    for event in log[1]:
        assert not gone.intersection(event.listings)
        if event.kind == Kind.PURCHASE:
            assert event.listing not in bought | gone
            bought.add(str(event.listing))
        if event.kind in (Kind.SOLD, Kind.REMOVED):
            assert event.listing not in gone
            gone.add(str(event.listing))
    assert bought
    assert bought <= gone


def test_a_catalogue_takes_every_stock_event_and_agrees_with_the_world(
    log: tuple[World, list[Event]],
) -> None:
    world, events = log
    catalogue = Catalogue(Vocabulary())
    for event in events:
        if event.listing is None or event.kind not in (
            "listed",
            "sold",
            "removed",
            "price_changed",
        ):
            continue
        assert catalogue.refusal(event) is None
        known = catalogue.slot_of(event.listing)
        slot = catalogue.allocate(event.listing, event.t) if known < 0 else known
        catalogue.apply(event, slot)
    stock = world.stock
    for number in range(len(stock)):
        slot = catalogue.slot_of(stock.listing_id(number))
        assert catalogue.live[slot] == stock.live[number]
        assert catalogue.column("price_minor")[slot] == stock.column("price_minor")[number]


def test_an_action_follows_its_impression_and_names_its_place(
    log: tuple[World, list[Event]],
) -> None:
    slates: dict[str, Event] = {}
    clicked: set[tuple[str, str]] = set()
    for event in log[1]:
        if event.kind == Kind.IMPRESSION:
            slates[str(event.slate)] = event
        elif event.slate is not None:
            slate = slates[event.slate]
            assert event.position is not None
            assert slate.listings[event.position] == event.listing
            assert (slate.user, slate.session, slate.surface) == (
                event.user, event.session, event.surface)  # fmt: skip
            if event.kind == Kind.CLICK:
                clicked.add((event.slate, str(event.listing)))
            else:
                assert (event.slate, event.listing) in clicked


def test_bots_click_more_and_nothing_in_the_events_says_who_they_are() -> None:
    world = World(TINY, 7)
    bot = np.zeros(TINY.people, np.bool_)
    bot[:20] = True
    world.people.taste.bot[:] = bot
    clicks, shown = np.zeros(2), np.zeros(2)
    for _ in range(8):
        for part in world.step(Random(world)).rounds:
            who = bot[part.queries.asks.person].astype(int)
            shown += np.bincount(who, (part.slates >= 0).sum(axis=1), 2)
            click = part.actions.action == 0
            clicks += np.bincount(who[part.actions.row[click]], minlength=2)
    assert clicks[1] / shown[1] > 2 * clicks[0] / shown[0]
    assert "bot" not in {name for event in world.step(Random(world)).events()
                         for name in event.attributes}  # fmt: skip


@pytest.mark.parametrize("make", [Random, Recent, Popular, Mixed])
def test_builtin_policies_show_live_allowed_listings_once(make: type) -> None:
    world = World(TINY, 3)
    policy = make(world)
    checked = 0

    def watched(queries: QueryColumns) -> np.ndarray:
        nonlocal checked
        slates = policy(queries)
        for row, slate in enumerate(slates):
            shown = slate[slate >= 0]
            assert world.stock.live[shown].all()
            assert len(set(shown.tolist())) == len(shown)
            assert not set(shown.tolist()) & set(queries.exclude[row].tolist())
            for number in shown:
                filters, sub = queries.filters(row), world.stock.column("sub")[number]
                assert world.stock.subs.texts[sub].startswith(filters.category)
                size = world.stock.sizes.texts[world.stock.column("size")[number]]
                assert not filters.sizes or size in filters.sizes
            checked += len(shown)
        return slates

    for _ in range(6):
        assert world.step(watched).sold_shown == 0
    assert checked > 1000


def test_by_query_is_the_same_drive_as_arrays() -> None:
    arrays, single = World(TINY, 9), World(TINY, 9)
    seen: list[Query] = []
    columns: list[QueryColumns] = []
    inner = Recent(single)

    def answer(query: Query) -> list[str]:
        seen.append(query)
        row = len(seen) - 1 - sum(len(c) for c in columns[:-1])
        slate = inner(columns[-1])[row]
        return [single.stock.listing_id(n) for n in slate[slate >= 0].tolist()]

    product = by_query(answer)

    def remembered(queries: QueryColumns) -> np.ndarray:
        columns.append(queries)
        return product(queries)

    for _ in range(4):
        left = arrays.step(Recent(arrays)).events()
        right = single.step(remembered).events()
        assert msgspec.json.encode(left) == msgspec.json.encode(right)
    assert {query.surface for query in seen} == {"home", "similar", "search"}
    assert all(query.text for query in seen if query.surface == "search")
    assert all(query.anchor for query in seen if query.surface == "similar")


def test_a_listener_hears_of_a_sale_before_the_next_query() -> None:
    world = World(TINY, 5)
    sold: set[str] = set()
    late = 0

    def listen(events: list[Event]) -> None:
        sold.update(str(e.listing) for e in events if e.kind in ("sold", "removed"))

    policy = Random(world)

    def watched(queries: QueryColumns) -> np.ndarray:
        nonlocal late
        ended = np.flatnonzero(~world.stock.live)
        late += len({world.stock.listing_id(int(n)) for n in ended} - sold)
        return policy(queries)

    for _ in range(8):
        world.step(watched, listen)
    assert sold
    assert late == 0


def test_sold_listings_that_a_policy_shows_are_counted_and_get_no_click() -> None:
    world = World(TINY, 5)
    world.stock.end(np.arange(50), 2, np.zeros(50, np.int64))

    def stale(queries: QueryColumns) -> np.ndarray:
        return np.tile(np.arange(queries.k, dtype=np.int32), (len(queries), 1))

    batch = world.step(stale)
    while not batch.queries:
        batch = world.step(stale)
    assert batch.sold_shown == batch.queries * TINY.k
    assert all(len(part.actions.row) == 0 for part in batch.rounds)


def test_people_alone_are_simulated_over_given_listings(log: tuple[World, list[Event]]) -> None:
    given = [event.data for event in log[1] if event.kind == "listed" and event.data][:200]
    world = World(TINY, 1, listings=given)
    assert [event.data for event in world.opening() if event.kind == "listed"] == sorted(
        given, key=lambda listing: listing.listed_at
    )
    kinds: set[str] = set()
    for _ in range(10):
        kinds |= {event.kind for event in world.step(Popular(world)).events()}
    assert "click" in kinds
    assert not kinds & {"listed", "removed", "price_changed"}


def test_wrong_answers_are_refused_in_words() -> None:
    world = World(TINY, 1)
    world.people.sessions_per_day[:] = 1e6  # everybody comes now

    with pytest.raises(ShapeError, match=r"wanted int32 \[queries="):
        world.step(lambda q: np.zeros((len(q), 3), np.int32))
    with pytest.raises(InputError, match="never had"):
        world.step(by_query(lambda _: ["l9999999"]))


def test_examination_can_be_replaced_and_is_then_what_acts_and_values() -> None:
    tiny = Size(listings=400, people=300, days=1, sessions_per_day=4.0)
    clicks = []
    for examined in (power_law(2.0), examination):
        world = World(tiny, 3, examined=examined)
        policy = Popular(world)
        actions = [part.actions for _ in range(30) for part in world.step(policy).rounds]
        at = np.concatenate([each.position[each.action == 0] for each in actions])
        clicks.append((at < 2).mean())
    assert clicks[0] > 0.6 > 0.3 > clicks[1]


def test_the_default_examination_is_the_frozen_one() -> None:
    tiny = Size(listings=200, people=60, days=1, sessions_per_day=4.0)
    one, other = World(tiny, 3), World(tiny, 3, examined=examination)
    for _ in range(6):
        assert one.step(Popular(one)).events() == other.step(Popular(other)).events()
