from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from heirloom.core.errors import BundleError, ConfigError, ShapeError
from heirloom.core.listing import Listing
from heirloom.encoders.listing import About, ListingEncoder
from heirloom.encoders.modalities import Dense, Read, dense, told
from heirloom.encoders.pair import GOLDEN_FILE, Encoders
from heirloom.encoders.question import asked_text, wished
from heirloom.encoders.tokens import PriceRanks, tokens_of
from heirloom.encoders.training.graph import listing_graph
from heirloom.encoders.training.listing import ListingTower

BUCKETS = 256
PRICES = PriceRanks({})
BARE = Listing(listing_id="bare", seller="", title="")
STOCK = [
    Listing(listing_id="a", seller="s", title="Silk dress", brand="Alba", price_minor=5_000),
    Listing(listing_id="b", seller="s", title="Boots"),
    BARE,
]


class Given:
    """Vectors that stand in a table by listing id, and by query where it reads text."""

    def __init__(
        self,
        name: str,
        dim: int,
        vectors: Mapping[str, Sequence[float]],
        *,
        model_id: str = "given-1",
        queries: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.name, self.dim, self.model_id = name, dim, model_id
        self._vectors, self.queries = vectors, queries

    def listings(self, listings: Sequence[Listing]) -> tuple[np.ndarray, np.ndarray]:
        known = np.array([one.listing_id in self._vectors for one in listings], np.bool_)
        rows = [self._vectors.get(one.listing_id, [np.nan] * self.dim) for one in listings]
        return np.array(rows, np.float32).reshape(len(listings), -1), known

    def text(self, text: str) -> np.ndarray | None:
        if self.queries is None:
            return None
        return np.array(self.queries[text], np.float32)


PHOTO = Given("photo", 3, {"a": [1, 0, 0], "bare": [0, 0.6, 0.8]})
TEXT = Given("text", 2, {"a": [0, 1], "b": [1, 0]}, queries={"red silk": [0.6, 0.8]})
BOTH = (PHOTO, TEXT)


def fitted(stock: Sequence[Listing], modalities: Sequence[Given] = BOTH) -> ListingTower:
    """A tower in which every weight matters; the same weights whatever the stock."""
    torch.manual_seed(0)
    tower = ListingTower(
        tokens_of(stock, BUCKETS, PRICES), BUCKETS, 16, drop=0.4,
        dense=[dense(one, stock) for one in modalities],
    )  # fmt: skip
    for weights in tower.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return tower.eval()


def about(modalities: Sequence[Given] = BOTH) -> About:
    return About(dim=16, buckets=BUCKETS, deciles=PRICES.deciles, modalities=told(modalities))


def made(tower: ListingTower) -> np.ndarray:
    with torch.no_grad():
        return tower(torch.arange(1, tower.rows)).numpy()


@pytest.fixture(scope="module")
def encoder() -> ListingEncoder:
    return ListingEncoder(listing_graph(fitted(STOCK)), about(), BOTH)


def test_served_is_trained(encoder: ListingEncoder) -> None:
    np.testing.assert_allclose(encoder.listings(STOCK), made(fitted(STOCK)), atol=1e-5)
    for i, one in enumerate(STOCK):
        np.testing.assert_allclose(
            encoder.listings([one])[0], encoder.listings(STOCK)[i], atol=1e-6
        )


def test_where_there_is_no_vector_the_projection_does_not_matter() -> None:
    before = made(fitted(STOCK))
    tower = fitted(STOCK)
    with torch.no_grad():
        tower.projections[0].mul_(-3)  # the photo's, which b has not
    moved = np.abs(made(tower) - before).max(axis=1) > 1e-3
    assert moved.tolist() == [True, False, True]


def test_a_modality_is_dropped_as_a_whole() -> None:
    """Of a listing of which nothing but the photo is known, `drop` of the time nothing is."""
    tower = fitted([BARE]).train()
    tower.numbers.weight.data.zero_()
    with torch.no_grad():
        drawn = tower(torch.ones(1_000, dtype=torch.int64)).numpy()
    kinds, counts = np.unique(drawn.round(4), axis=0, return_counts=True)
    assert len(kinds) == 2
    nothing = made(fitted([msgspec.structs.replace(BARE, listing_id="unknown")]))[0]
    share = {tuple(np.abs(kind - nothing) < 1e-3): n for kind, n in zip(kinds, counts, strict=True)}
    assert 320 < share[(True,) * 16] < 480


def test_a_query_is_read_by_the_models_that_read_text(encoder: ListingEncoder) -> None:
    title = msgspec.structs.replace(BARE, listing_id="q", title="red silk")
    wanted = fitted([title], [PHOTO, Given("text", 2, {"q": [0.6, 0.8]})])
    np.testing.assert_allclose(encoder.text("red silk"), made(wanted)[0], atol=1e-5)
    assert not encoder.text("?!").any()


class Shop(Given):
    """Knows the listings of its shop, and fails at any other."""

    def listings(self, listings: Sequence[Listing]) -> tuple[np.ndarray, np.ndarray]:
        if strange := {one.listing_id for one in listings} - {one.listing_id for one in STOCK}:
            raise KeyError(strange)
        return super().listings(listings)


SHOP_PHOTO = Shop("photo", 3, {"a": [1, 0, 0], "bare": [0, 0.6, 0.8]})


def test_what_is_asked_has_no_photo_and_is_read_as_a_query(encoder: ListingEncoder) -> None:
    both = (SHOP_PHOTO, TEXT)
    asked = [asked_text("red silk"), *wished({"brands": ["alba"], "sizes": ["38"]})]
    photos, texts = (dense(one, [*asked, STOCK[0]]).vectors for one in both)
    np.testing.assert_array_equal(photos, np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0]]))
    np.testing.assert_allclose(texts, [[0.6, 0.8], [0, 0], [0, 1]])
    served = ListingEncoder(listing_graph(fitted(STOCK)), about(), both)
    np.testing.assert_allclose(served.listings(asked)[0], encoder.text("red silk"), atol=1e-6)
    np.testing.assert_allclose(served.listings(asked), made(fitted(asked, both)), atol=1e-5)


GOLDEN_TEXT = Given(
    "text", 2, {},
    queries={"Midi dress in silk": [0.6, 0.8], "Boots": [1, 0], "Ryggsäck": [0, 1]},
)  # fmt: skip


def test_encoders_with_modalities_are_kept_and_loaded(
    encoder: ListingEncoder, tmp_path: Path
) -> None:
    both = (SHOP_PHOTO, GOLDEN_TEXT)
    encoders = Encoders(ListingEncoder(listing_graph(fitted(STOCK)), about(), both))
    encoders.save(tmp_path)
    again = Encoders.load(tmp_path, both)
    assert again.model_id == encoders.model_id
    np.testing.assert_array_equal(again.listings.listings(STOCK), encoders.listings.listings(STOCK))
    with pytest.raises(BundleError, match="'photo' is missing; wanted given-1, dim 3; 'text' is"):
        Encoders.load(tmp_path)
    moved = Given("text", 2, {}, queries={**GOLDEN_TEXT.queries, "Boots": [0, 1]})
    with pytest.raises(BundleError, match="golden vectors"):
        Encoders.load(tmp_path, (SHOP_PHOTO, moved))
    assert len(np.load(tmp_path / GOLDEN_FILE)) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "'photo' is missing; wanted given-1, dim 3"),
        ((PHOTO,), "'text' is missing"),
        ((*BOTH, Given("sound", 2, {})), "'sound' is given, and the tower was not trained with it"),
        ((PHOTO, PHOTO, TEXT), "given twice"),
        ((PHOTO, Given("text", 2, {}, model_id="given-2")), "'text' is of given-2"),
        ((PHOTO, Given("text", 5, {})), "dim 5; the tower was trained with given-1, dim 2"),
    ],
)
def test_other_models_are_refused(
    given: tuple[Given, ...], says: str, encoder: ListingEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path)
    with pytest.raises(BundleError, match=says):
        ListingEncoder.load(tmp_path, given)


def test_saved_is_loaded_and_order_does_not_matter(encoder: ListingEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    again = ListingEncoder.load(tmp_path, (TEXT, PHOTO))
    assert again.model_id == encoder.model_id
    np.testing.assert_array_equal(again.listings(STOCK), encoder.listings(STOCK))


def test_another_model_beneath_is_another_model() -> None:
    graph = listing_graph(fitted(STOCK))
    other = (PHOTO, Given("text", 2, {}, model_id="given-2"))
    ids = {ListingEncoder(graph, about(read), read).model_id for read in (BOTH, other)}
    assert len(ids) == 2


def test_without_modalities_nothing_is_written_of_them(tmp_path: Path) -> None:
    """Bundles of before are read, and have the ids that they had."""
    plain = About(dim=16, buckets=BUCKETS, deciles={})
    ListingEncoder(listing_graph(fitted(STOCK, ())), plain).save(tmp_path)
    assert "modalities" not in (tmp_path / "listing.json").read_text()
    assert ListingEncoder.load(tmp_path).about == plain


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ({"a": [0, 1, 2]}, r"text \(given-1\): \(1, 3\) came; wanted \(1, 2\)"),
        ({"a": [0, np.nan]}, "what is no number"),
        ({"a": [0, np.inf]}, "what is no number"),
    ],
)
def test_vectors_that_are_none_are_refused(vectors: dict, says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        dense(Given("text", 2, vectors), STOCK[:1])


def test_vectors_of_other_listings_are_refused() -> None:
    tokens = tokens_of(STOCK, BUCKETS, PRICES)
    short = Dense(Read(name="photo", dim=2, model_id="m"), np.zeros((2, 2), np.float32))
    with pytest.raises(ShapeError, match="photo has vectors of 2 listings; wanted 3"):
        ListingTower(tokens, BUCKETS, dense=[short])


def test_names_and_sizes_are_checked_together() -> None:
    with pytest.raises(ConfigError) as wrong:
        told([Given("a b", 2, {}), Given("x", 0, {}), Given("x", 1, {})])
    assert len(wrong.value.problems) == 3
