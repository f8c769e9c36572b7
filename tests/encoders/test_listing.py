from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import BundleError
from heirloom.core.listing import Listing
from heirloom.encoders.listing import About, ListingEncoder
from heirloom.encoders.tokens import (
    MOST_TOKENS,
    PARTS,
    PriceRanks,
    bucket,
    text_tokens,
    tokens_of,
    written,
)
from heirloom.encoders.training.graph import listing_graph
from heirloom.encoders.training.listing import ListingTower
from heirloom.retrieval.content import ContentIndex

BUCKETS = 512


def listing(**fields: object) -> Listing:
    return msgspec.convert(
        {"listing_id": "x", "seller": "s", "title": "Silk dress", **fields}, Listing, strict=False
    )


DRESS = listing(
    brand="Alba", category="women/dresses", colour="red", size="m", condition="good",
    material="silk", price_minor=5_000, photos=3, hashtags=("boho", "silk"),
    description="Worn once to a wedding",
)  # fmt: skip
BARE = listing(title="", seller="")
STOCK = [
    DRESS,
    listing(),
    BARE,
    listing(title="ชุดผ้าไหมสีแดง", price_minor=10**15),
    listing(brand="Cos"),
]
PRICES = PriceRanks({"": tuple(range(1_000, 10_000, 1_000))})


def fitted(stock: list[Listing]) -> ListingTower:
    """A tower in which every weight matters."""
    torch.manual_seed(0)
    tower = ListingTower(tokens_of(stock, BUCKETS, PRICES), BUCKETS, 16)
    for weights in tower.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return tower.eval()


@pytest.fixture(scope="module")
def tower() -> ListingTower:
    return fitted(STOCK)


@pytest.fixture(scope="module")
def encoder(tower: ListingTower) -> ListingEncoder:
    return ListingEncoder(
        listing_graph(tower), About(dim=16, buckets=BUCKETS, deciles=PRICES.deciles)
    )


def test_served_is_trained(tower: ListingTower, encoder: ListingEncoder) -> None:
    with torch.no_grad():
        wanted = tower(torch.arange(1, len(STOCK) + 1)).numpy()
    np.testing.assert_allclose(encoder.listings(STOCK), wanted, atol=1e-5)


def test_batch_is_one_by_one(encoder: ListingEncoder) -> None:
    whole = encoder.listings(STOCK)
    for i, one in enumerate(STOCK):
        np.testing.assert_allclose(encoder.listings([one])[0], whole[i], atol=1e-6)


def test_a_query_is_a_listing_with_a_title_alone(
    encoder: ListingEncoder, tower: ListingTower
) -> None:
    part = fitted([msgspec.structs.replace(BARE, title="red silk")])
    with torch.no_grad():
        wanted = part(torch.tensor([1]))[0].numpy()
    np.testing.assert_allclose(encoder.text("red silk"), wanted, atol=1e-5)
    assert not encoder.text(" ?! ").any()


def test_in_training_parts_are_dropped_and_in_serving_not(tower: ListingTower) -> None:
    row = torch.ones(200, dtype=torch.int64)
    with torch.no_grad():
        assert torch.allclose(tower(row), tower(row[:1]).expand(200, -1), atol=1e-6)
        made = tower.train()(row)
    tower.eval()
    assert len(torch.unique(made, dim=0)) > 100


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""},
        {"title": "", "seller": ""},
        {"hashtags": tuple(f"tag{i}" for i in range(10_000))},
        {"title": "a\x00b", "brand": "\x00"},
        {"title": "กระเป๋าหนังแท้มือสอง " * 40},
        {"title": "\ud800 torn", "brand": "\udfff"},
        {"title": "x" * 1_000_000, "description": "y " * 1_000_000},
        {"price_minor": 10**30},
        {"price_minor": -5, "photos": -1},
        {"category": "/" * 5_000},
    ],
)
def test_bad_writing_gets_a_fair_vector(fields: dict[str, object], encoder: ListingEncoder) -> None:
    odd = Listing(**{"listing_id": "x", "seller": "s", "title": "Silk dress", **fields})  # type: ignore[arg-type]
    vector = encoder.listings([odd])[0]
    assert np.isfinite(vector).all()
    assert abs(np.linalg.norm(vector) - 1) < 1e-5


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -float("inf")])
def test_a_price_that_is_no_number_is_an_unknown_one(price: float, encoder: ListingEncoder) -> None:
    odd = msgspec.structs.replace(DRESS, price_minor=price)
    unknown = msgspec.structs.replace(DRESS, price_minor=0)
    np.testing.assert_array_equal(encoder.listings([odd]), encoder.listings([unknown]))


@given(title=st.text(max_size=300), brand=st.text(max_size=40), price=st.integers(-(2**60), 2**60))
def test_any_listing_is_tokens_within_bounds(title: str, brand: str, price: int) -> None:
    tokens = tokens_of([listing(title=title, brand=brand, price_minor=price)], BUCKETS, PRICES)
    assert tokens.starts[1] == len(tokens.buckets) == len(tokens.parts) <= MOST_TOKENS
    assert ((tokens.buckets >= 0) & (tokens.buckets < BUCKETS)).all()
    assert np.isfinite(tokens.numbers).all()
    assert (np.abs(tokens.numbers) < 5).all()


def test_no_id_is_written() -> None:
    one, other = (listing(listing_id=name, brand="Cos") for name in ("a", "b"))
    assert written(one) == written(other)
    assert not any("listing" in token for _, token in written(one))


def test_stuffed_tags_leave_the_other_parts_alone() -> None:
    stuffed = msgspec.structs.replace(
        DRESS, hashtags=tuple(f"brand{i}" for i in range(100)), description="Chanel " * 500
    )

    def of(one: Listing, part: str) -> list[str]:
        return [token for which, token in written(one) if PARTS[which] == part]

    for part in ("title", "brand", "category", "material", "seller"):
        assert of(stuffed, part) == of(DRESS, part)
        assert of(DRESS, part)
    assert len(of(stuffed, "tags")) <= 16
    assert len(of(stuffed, "description")) <= 32


def test_a_token_has_the_same_bucket_everywhere() -> None:
    """blake2b of the token, the first eight bytes, little-endian: models rest on it."""
    assert bucket("w:dress", 1 << 15) == 26806
    assert text_tokens("dress", 1 << 15)[0] == 26806


def test_price_ranks_fall_back_to_the_parent() -> None:
    cheap = [listing(category="kids/toys", price_minor=p) for p in range(100, 200)]
    dear = [listing(category="women/bags/clutch", price_minor=p) for p in range(10_000, 10_010)]
    ranks = PriceRanks.learned(cheap + dear)
    assert "women/bags" not in ranks.deciles
    assert ranks.of("kids/toys/dolls", 150) == pytest.approx(0.55)
    assert ranks.of("women/bags/clutch", 10_005) == 0.95
    assert PriceRanks.learned([]).of("a", 5) == 0.5 or PriceRanks({}).of("a", 5) == 0.5


def test_saved_is_loaded(encoder: ListingEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    again = ListingEncoder.load(tmp_path)
    assert again.model_id == encoder.model_id
    np.testing.assert_array_equal(again.listings(STOCK), encoder.listings(STOCK))
    about = tmp_path / "listing.json"
    about.write_text(about.read_text().replace('"title"', '"name"'))
    with pytest.raises(BundleError, match="Train again"):
        ListingEncoder.load(tmp_path)


def test_the_content_index_takes_it_in_place_of_hashed(encoder: ListingEncoder) -> None:
    content = ContentIndex(encoder)
    assert content.model_id == encoder.model_id
    assert content.text("silk").shape == (16,)
