"""What is popular by compiled loops is what the formulas give column by column."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import EVENT_ROW, LISTING_ROW, Facts
from heirloom.core.query import Request
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.rate import DAY_MS, Rate
from heirloom.retrieval.top import at_rows, fitted
from heirloom.testing.retrieval import World


@pytest.fixture(scope="module")
def world() -> World:
    world = World(listings=300, people=12)
    rng = np.random.default_rng(0)
    for slot in rng.integers(0, 300, 120).tolist():
        world.act(Kind.SAVE, 1 + slot % 3, slot)
    for slot in range(0, 300, 11):
        world.end(slot)
    return world


def of_rows(rate: Rate, level: str, rows: NDArray[Any], t: int, above: Any) -> NDArray[np.float64]:
    number = at_rows(rate._on_offer[level], rows)
    days = (number - rate.counts.read(("moved", level), rows, t)) * rate._life_days
    return shrunk(rate, rate.counts.read(("engaged", level), rows, t), days, above)


def shrunk(rate: Rate, engaged: Any, days: Any, above: Any) -> NDArray[np.float64]:
    prior = rate.prior_days
    rate_of: NDArray[np.float64] = (engaged + prior * above) / (np.maximum(days, 0) + prior)
    return np.maximum(rate_of, 1e-9)


def lifts(popular: Popular, request: Request) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As Popular says, column by column."""
    t, (categories, sizes) = request.query.t, popular._codes
    acted = request.recent[popular._worth[request.recent_kinds] > 0]
    age = t - request.recent_t[popular._worth[request.recent_kinds] > 0]
    weights = np.exp2(-age / (30 * DAY_MS))
    department = fitted(popular._department, categories)[:categories]
    category, size = (popular._shelf.column(name)[acted] for name in ("category", "size"))

    def usual(name: str, codes: int) -> NDArray[np.float64]:
        counts = popular._context.read(name, np.arange(codes), t) + 1.0
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares

    def lift(own: Any, of_all: Any, above: Any) -> NDArray[np.float64]:
        prior = popular.prior_events
        lift: NDArray[np.float64] = (own + prior * of_all * above) / (own.sum() + prior) / of_all
        return lift

    of_departments = np.bincount(department, usual("category", categories))
    own = np.bincount(department[category], weights, minlength=len(of_departments))
    above = lift(own, of_departments, 1.0)[department]
    own = np.bincount(category, weights, minlength=categories)
    by_category = lift(own, usual("category", categories), above)
    own = np.bincount(size, weights * (size > 0), minlength=sizes)
    by_size = lift(own, usual("size", sizes), 1.0)
    by_size[0] = 1.0
    return by_category, by_size


@pytest.mark.parametrize("half_lives", [(7 * DAY_MS,), (DAY_MS, 30 * DAY_MS)])
def test_scores_are_the_logs_of_rates_times_lifts(
    world: World, half_lives: tuple[int, ...]
) -> None:
    popular = Popular(half_lives_ms=half_lives)
    for facts, listings in world.parts(range(0, 400, 37)):
        popular.apply(facts, listings)
    request = world.request(1)
    t, slots = request.query.t, np.flatnonzero(world.catalogue.live)
    product = np.ones(len(slots))
    group = popular._group[slots]
    category = popular._pairs[:, 1]
    for rate in popular._rates:
        everything = of_rows(rate, "all", np.arange(1), t, 0.0)[0]
        above = of_rows(rate, "category", np.arange(int(category.max()) + 1), t, everything)
        of_group = of_rows(rate, "group", group, t, above[category[group]])
        days = (1 - rate.counts.read(("since", "slot"), slots, t)) * rate._life_days
        product *= shrunk(rate, rate.counts.read(("engaged", "slot"), slots, t), days, of_group)
    product **= 1 / len(half_lives)
    assert popular._rate(slots, t, lambda _, column: column).tobytes() == product.tobytes()
    by_category, by_size = popular._lifts(request)
    for one, other in zip((by_category, by_size), lifts(popular, request), strict=True):
        assert one.tobytes() == other.tobytes()
    assert len(set(by_category.tolist())) > 1, "the person has no taste, and nothing is shown"
    shelf = popular._shelf
    product *= by_category[shelf.column("category")[slots]] * by_size[shelf.column("size")[slots]]
    found = popular.retrieve(request, world.catalogue.live, 40)
    order = np.argsort(-product, kind="stable")[:40]
    assert found.slots.tolist() == slots[order].tolist()
    assert found.scores.tobytes() == np.log(product[order]).astype(np.float32).tobytes()


def facts_of(kind: Kind, t: int, seq: int, **row: int) -> Facts:
    events, listings = np.zeros(1, EVENT_ROW), np.zeros(1, LISTING_ROW)
    events["kind"], events["t"], events["seq"] = KIND_CODE[kind], t, seq
    for name, code in row.items():
        listings[name] = code
    return Facts(events, listings, np.array([0, 1], np.int64))


def test_an_edited_listing_is_counted_among_its_new_like() -> None:
    popular, t = Popular(), 1_700_000_000_000
    steps = (
        (facts_of(Kind.LISTED, t, 0, slot=0, brand=1, category=1), [1]),
        (facts_of(Kind.EDITED, t + 1, 1, slot=0, brand=2, category=3), [0, 1]),
        (facts_of(Kind.REMOVED, t + 2, 2, slot=0, brand=2, category=3), [0, 0]),
        (facts_of(Kind.EDITED, t + 3, 3, slot=0, brand=1, category=1), [0, 0]),  # gone is gone
    )
    for facts, on_offer in steps:
        popular.apply(facts, {})
        counts = popular._rates[0]._on_offer["group"]
        assert counts[: len(on_offer)].tolist() == on_offer
    assert popular._pairs.tolist() == [[1, 1], [2, 3]]
