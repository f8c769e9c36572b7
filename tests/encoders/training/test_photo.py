"""The network learns to see what the simulator draws."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.listing import Listing
from heirloom.encoders.photo import PhotoEncoder, shrunk
from heirloom.encoders.training.graph import photo_graph
from heirloom.encoders.training.photo import PhotoEpoch, PhotoNet, PhotoRecipe, fit_photos
from heirloom.simulator import draw

CATEGORIES = ("women/clothing/dresses", "women/bags/handbags", "men/shoes/trainers", "men/hats")
COLOURS = ("red", "blue", "black", "yellow")
RECIPE = PhotoRecipe(dim=16, rows=64, epochs=6)


def stock(number: int, seed: int) -> list[Listing]:
    rng = np.random.default_rng(seed)
    return [
        Listing(
            listing_id=f"{seed}-{i}", seller="s", title="",
            category=CATEGORIES[rng.integers(4)], colour=COLOURS[rng.integers(4)],
        )
        for i in range(number)
    ]  # fmt: skip


def drawn(listings: Sequence[Listing]) -> np.ndarray:
    return np.stack([shrunk(Image.fromarray(draw(one, 48, 64))) for one in listings])


@pytest.fixture(scope="module")
def learned() -> tuple[PhotoNet, list[PhotoEpoch]]:
    torch.set_num_threads(1)
    told: list[PhotoEpoch] = []
    listings = stock(320, 0)
    return fit_photos(drawn(listings), listings, RECIPE, told.append), told


def test_photos_of_like_things_are_near(learned: tuple[PhotoNet, list[PhotoEpoch]]) -> None:
    """Of photos never seen, the nearest other ones show the same; by chance a quarter would."""
    net, told = learned
    listings = stock(200, 1)
    encoder = PhotoEncoder(photo_graph(net))
    vectors = encoder.photos([Image.fromarray(one) for one in drawn(listings)])
    cosines = vectors @ vectors.T - 2 * np.eye(len(vectors))
    nearest = np.argsort(-cosines, axis=1)[:, :5]
    for name in ("category", "colour"):
        values = np.array([getattr(one, name) for one in listings])
        same = float((values[nearest] == values[:, None]).mean())
        assert same > 0.7, name
    assert told[-1].loss < told[0].loss
    assert [one.photos for one in told] == [320] * RECIPE.epochs


def test_served_is_trained(learned: tuple[PhotoNet, list[PhotoEpoch]]) -> None:
    net, _ = learned
    seen = drawn(stock(9, 2))
    with torch.no_grad():
        wanted = net(torch.from_numpy(seen)).numpy()
    served = PhotoEncoder(photo_graph(net)).photos([Image.fromarray(one) for one in seen])
    np.testing.assert_allclose(served, wanted, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes() -> None:
    listings = stock(40, 3)
    seen = drawn(listings)
    short = replace(RECIPE, epochs=1)
    first, again = (photo_graph(fit_photos(seen, listings, short)) for _ in range(2))
    assert first == again
    assert photo_graph(fit_photos(seen, listings, replace(short, seed=1))) != first


def test_listings_of_which_nothing_is_written_teach_nothing() -> None:
    """They are left out; the network is that of the others alone."""
    listings = stock(40, 3)
    bare = [
        msgspec.structs.replace(one, category="", colour="", listing_id=f"bare{i}")
        for i, one in enumerate(listings[:5])
    ]
    short = replace(RECIPE, epochs=1)
    alone = photo_graph(fit_photos(drawn(listings), listings, short))
    both = listings + bare
    assert photo_graph(fit_photos(drawn(both), both, short)) == alone
    with pytest.raises(InputError, match="0 of 5 listings have a category"):
        fit_photos(drawn(bare), bare, short)


def test_photos_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"wanted \(2, 64, 48, 3\)"):
        fit_photos(np.zeros((2, 48, 64, 3), np.uint8), stock(2, 0), RECIPE)


def test_an_impossible_recipe_is_refused_with_all_its_reasons() -> None:
    with pytest.raises(ConfigError) as wrong:
        PhotoRecipe(dim=0, rows=0, epochs=0, learning_rate=2.0, drop=1.0)
    assert len(wrong.value.problems) == 5
