import numpy as np

from heirloom.core.slate import Candidates, FeatureBatch
from heirloom.slates.reasons import reasons
from heirloom.testing.retrieval import HOUR_MS, World

NAMES = ("recent", "popular", "taste", "search", "followed", "saved_search", "similar")
COLUMNS = ("v@1.size_gap", "v@1.person_brand_share_4w", "v@1.price_to_kind_12w")


def words(world: World, source: str, values: tuple[float, float, float], text: str = "") -> tuple:
    bits = np.array([1 << NAMES.index(source)], np.uint32)
    chosen = Candidates(np.array([0], np.int32), np.zeros(1, np.float32), bits, NAMES)
    batch = FeatureBatch(np.array([values], np.float32), COLUMNS, n=0)
    return reasons(world.request(text=text), chosen, batch, world.catalogue)[0]


def test_each_reason_rests_on_its_source_or_value() -> None:
    world, nothing = World(listings=1, people=0), (np.nan, np.nan, np.nan)
    assert words(world, "search", nothing, " red silk ") == ("matches «red silk»",)
    assert words(world, "popular", nothing) == ("popular in dresses",)
    assert words(world, "taste", nothing) == ("close to what you looked at lately",)
    assert words(world, "saved_search", nothing) == ("new in a search you saved",)
    assert words(world, "followed", nothing) == ("from a seller you follow or bought from",)
    assert words(world, "similar", nothing) == ("similar to this one",)
    assert words(world, "recent", nothing) == ("new today",)
    world.t += 30 * 24 * HOUR_MS
    assert words(world, "recent", nothing) == ()
    assert words(world, "recent", (0.5, 0.1, 0.0)) == ("in your size",)
    assert words(world, "recent", (1.0, 0.5, 0.0)) == ("Alba, a brand you like",)
    assert words(world, "recent", (2.0, 0.0, float(np.log(0.5)))) == (
        "priced below others like it",
    )


def test_there_are_at_most_three() -> None:
    found = words(World(listings=1, people=0), "taste", (0.0, 1.0, -2.0))
    assert found[0] == "close to what you looked at lately"
    assert len(found) == 3
