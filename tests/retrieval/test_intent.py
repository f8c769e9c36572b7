"""What a query asks for, and how sure that is, by a few listings."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.core.listing import Listing
from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.intent import Intent, intent_of, likely, meant
from heirloom.retrieval.lexicon import FIELDS, Lexicon
from heirloom.retrieval.words import Words, weighted_words

STOCK = [
    *({"title": "dress", "brand": "Zara", "category": "women/dresses"},) * 6,
    *({"title": "vintage coat", "brand": "Cos", "category": "women/coats"},) * 8,
    *({"title": "bag", "brand": "Vintage", "category": "women/bags", "colour": "red"},) * 2,
    *({"title": "jumper", "brand": "Zora", "category": "women/knitwear", "hashtags": ("#zara",)},)
    * 3,
]


class Shelf:
    """Listings by slot as an intent is read from them."""

    def __init__(self, stock: Sequence[Mapping[str, object]] = STOCK) -> None:
        self.vocabulary, self.words = Vocabulary(), Words()
        codes: dict[str, list[int]] = {field: [] for field in FIELDS}
        for slot, fields in enumerate(stock):
            listing = Listing(listing_id=str(slot), seller="s", **fields)  # type: ignore[arg-type]
            self.words.put(slot, weighted_words(listing))
            for field in FIELDS:
                codes[field].append(self.vocabulary.code(field, getattr(listing, field)))
        self.columns: dict[str, NDArray[np.int32]] = {
            field: np.array(column, np.int32) for field, column in codes.items()
        }
        self.lexicon = Lexicon(self.vocabulary, self.words.alive)

    def intent(self, text: str) -> Intent:
        return intent_of(text, self.lexicon, self.words, self.columns)

    def meant(self, text: str) -> dict[str, float]:
        """Shares by category."""
        texts = ("", *self.vocabulary.texts("category")[1:])
        department = np.unique([text.split("/")[0] for text in texts], return_inverse=True)[1]
        columns = self.columns["category"]
        found = meant(text, self.lexicon, self.words, columns, department.astype(np.int32))
        return {texts[code]: float(share) for code, share in zip(*found, strict=True)}


SHOP = [
    *({"title": "ankle boot", "category": "women/shoes/ankle-boots"},) * 3,
    *({"title": "boot", "category": "women/shoes/boots"},) * 9,
    *({"title": "boot", "category": "men/shoes/boots"},) * 4,
    *({"title": "jumper", "brand": "Maison Martin", "category": "women/clothing/knitwear"},) * 5,
    *({"title": "jumper", "category": "men/clothing/knitwear"},) * 3,
    *({"title": f"shirt {i}", "category": f"women/clothing/kind-{i}"} for i in range(12)),
    *({"title": "cotton shirt", "category": "men/clothing/shirts"},) * 6,
    {"title": "jumper", "category": "men/accessories"},
]


@pytest.fixture(scope="module")
def shop() -> Shelf:
    return Shelf(SHOP)


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


def test_a_name_is_exact_where_most_that_have_it_are_of_it(shelf: Shelf) -> None:
    intent = shelf.intent("Red ZARA dresses under 30")
    said = [(each.field, each.words, each.confidence, each.exact) for each in intent.asked]
    assert said == [
        ("brand", ("zara",), 1.0, True),  # a hashtag makes no Zara of a Zora
        ("category", ("dress",), 1.0, True),
        ("colour", ("red",), 1.0, True),
    ]
    assert (intent.rest, intent.price) == ((), (None, 3_000))


def test_a_common_word_is_likely_alone(shelf: Shelf) -> None:
    (asked,) = shelf.intent("vintage").asked
    assert (asked.field, asked.confidence, asked.exact) == ("brand", 0.2, False)


def test_a_slip_is_as_sure_as_no_other_word_is_as_near(shelf: Shelf) -> None:
    asked = shelf.intent("zarra").of("brand")
    assert asked is not None
    assert (asked.words, asked.exact, asked.confidence) == (("zara",), True, 1.0)
    between = shelf.intent("zxra").of("brand")
    assert between is not None
    assert between.confidence == pytest.approx(10 / 14)  # nine have «zara», three «zora»; add one


def test_two_of_a_field_are_either(shelf: Shelf) -> None:
    asked = shelf.intent("zara cos").of("brand")
    assert asked is not None
    assert asked.codes.tolist() == sorted(
        shelf.vocabulary.code("brand", name) for name in ("Zara", "Cos")
    )


@pytest.mark.parametrize("text", ["", "qwertz", "!!!", "   ", "under 10"])
def test_what_names_nothing_asks_for_nothing(shelf: Shelf, text: str) -> None:
    intent = shelf.intent(text)
    assert intent.asked == ()
    assert intent.of("brand") is None


def test_a_word_means_the_category_of_what_has_it(shelf: Shelf) -> None:
    matched = shelf.words.match("jumper", len(STOCK))
    shares = likely(matched, shelf.columns["category"])
    knitwear = shelf.vocabulary.code("category", "women/knitwear")
    assert shares[knitwear] == shares.sum() == 1
    assert likely(np.zeros(3), np.array([1, 2, 2], np.int32)).tolist() == [0, 0, 0]


def test_listings_tell_what_is_meant_within_each_department(shop: Shelf) -> None:
    boots = {"women/shoes/ankle-boots": 0.25, "women/shoes/boots": 0.75, "men/shoes/boots": 1.0}
    assert shop.meant("boots") == pytest.approx(boots)
    assert shop.meant("ankle boots") == {"women/shoes/ankle-boots": 1.0}
    # No category is called so.
    assert shop.meant("jumper") == pytest.approx(
        {"women/clothing/knitwear": 1.0, "men/clothing/knitwear": 0.75, "men/accessories": 0.25}
    )


def test_what_is_many_things_means_none_of_them_much(shop: Shelf) -> None:
    assert shop.meant("shirt") == {"men/clothing/shirts": 1.0}


def test_a_brand_tells_no_category_and_a_key_is_read_as_its_text(shop: Shelf) -> None:
    jumper = shop.meant("jumper")
    for text in ("jumper maison martin", "martin jumper maison", "Maison Martin jumper"):
        assert shop.meant(text) == jumper
    assert shop.meant("maison martin") == {}


@pytest.mark.parametrize("text", ["", "qwertz", "under 10", "qwertz qwertz"])
def test_what_no_listing_has_means_nothing(shop: Shelf, text: str) -> None:
    assert shop.meant(text) == {}
