"""What is popular by compiled loops is what the formulas give column by column."""

import numpy as np
import pytest

from heirloom.core.event import Kind
from heirloom.retrieval.popular import Popular
from heirloom.retrieval.rate import DAY_MS
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
        everything = rate.of_level("all", 1, t, 0.0)[0]
        above = rate.of_level("category", int(category.max()) + 1, t, everything)
        of_group = rate.of_rows("group", group, t, above[category[group]])
        days = (1 - rate.counts.read(("since", "slot"), slots, t)) * rate._life_days
        product *= rate._shrunk(rate.counts.read(("engaged", "slot"), slots, t), days, of_group)
    product **= 1 / len(half_lives)
    assert popular._rate(slots, t).tobytes() == product.tobytes()
    by_category, by_size = popular._lifts(request)
    assert len(set(by_category.tolist())) > 1, "the person has no taste, and nothing is shown"
    shelf = popular._shelf
    product *= by_category[shelf.column("category")[slots]] * by_size[shelf.column("size")[slots]]
    found = popular.retrieve(request, world.catalogue.live, 40)
    order = np.argsort(-product, kind="stable")[:40]
    assert found.slots.tolist() == slots[order].tolist()
    assert found.scores.tobytes() == np.log(product[order]).astype(np.float32).tobytes()
