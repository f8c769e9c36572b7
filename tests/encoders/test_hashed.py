import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.core.errors import ConfigError
from heirloom.core.listing import Listing
from heirloom.encoders.hashed import Hashed


def listing(**fields: object) -> Listing:
    return Listing(**{"listing_id": "x", "seller": "s", "title": "Silk dress", **fields})


DRESS = listing(brand="Alba", category="women/dresses", colour="red", price_minor=5_000)
SIMILAR = listing(
    title="Dress in silk, worn once", brand="Alba", category="women/dresses", colour="red",
    price_minor=5_500,
)  # fmt: skip
BOOTS = listing(
    title="Leather boots", brand="Boreas", category="men/shoes", colour="black", price_minor=20_000
)


def test_like_is_near_like() -> None:
    dress, similar, boots = Hashed().listings([DRESS, SIMILAR, BOOTS])
    assert dress @ similar > 0.7
    assert dress @ boots < 0.4


def test_a_query_is_near_the_listings_it_describes() -> None:
    encoder = Hashed(512)
    dress, boots = encoder.listings([DRESS, BOOTS])
    for text in ("red silk dresses", "alba", "red dres", "women's dress"):
        query = encoder.text(text)
        assert query @ dress > query @ boots + 0.1, text


def test_vectors_have_unit_length() -> None:
    vectors = Hashed().listings([DRESS, BOOTS, listing(title="")])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors.dtype == np.float32


def test_text_without_words_is_no_direction() -> None:
    assert not Hashed().text("  ?! ").any()


def test_a_vector_is_the_same_in_another_process() -> None:
    code = (
        "from heirloom.encoders.hashed import Hashed;"
        "print(Hashed(16, 3).text('Robe été').tobytes().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert runs == {Hashed(16, 3).text("Robe été").tobytes().hex()}


def test_a_listing_does_not_depend_on_its_neighbours_or_on_what_came_before() -> None:
    one, other = Hashed(), Hashed()
    other.listings([BOOTS])
    np.testing.assert_array_equal(one.listings([DRESS, BOOTS])[0], other.listings([DRESS])[0])


def test_the_cache_of_directions_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heirloom.encoders.hashed._CACHED", 4)
    encoder = Hashed()
    first = encoder.listings([DRESS])
    for word in range(50):
        encoder.text(f"word{word}")
        assert len(encoder._rows) <= 4 + 1
    np.testing.assert_array_equal(encoder.listings([DRESS]), first)


def test_stuffed_brands_move_a_listing_little() -> None:
    stuffing = "Chanel Dior Prada Gucci Hermes Celine Fendi"
    encoder = Hashed()
    plain, stuffed = encoder.listings(
        [DRESS, listing(**{**_fields(DRESS), "description": stuffing, "hashtags": ("chanel",)})]
    )
    assert plain @ stuffed > 0.95
    honest = encoder.listings([listing(brand="Chanel", title="Silk dress")])[0]
    assert encoder.text("chanel") @ honest > 2 * abs(encoder.text("chanel") @ stuffed)


def test_near_prices_are_nearer() -> None:
    base, near, far = Hashed().listings(
        [listing(**{**_fields(DRESS), "price_minor": price}) for price in (5_000, 5_200, 80_000)]
    )
    assert base @ near > base @ far


def test_seeds_are_spaces_of_their_own() -> None:
    assert Hashed(seed=1).model_id != Hashed(seed=2).model_id
    assert abs(Hashed(seed=1).text("silk") @ Hashed(seed=2).text("silk")) < 0.6


@pytest.mark.parametrize("dim", [0, 7, 520])
def test_an_impossible_dimension_is_refused(dim: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        Hashed(dim)


@given(title=st.text(max_size=50), brand=st.text(max_size=10), price=st.integers(0, 2**50))
def test_any_listing_gets_a_vector(title: str, brand: str, price: int) -> None:
    vector = Hashed(16).listings([listing(title=title, brand=brand, price_minor=price)])[0]
    assert np.isfinite(vector).all()
    assert abs(np.linalg.norm(vector) - 1) < 1e-5


def _fields(of: Listing) -> dict[str, object]:
    return {name: getattr(of, name) for name in of.__struct_fields__}
