"""Lexicon: what a query names, in a vocabulary of a few words."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heirloom.core.vocabulary import Vocabulary
from heirloom.retrieval.lexical import ONE_EDIT_FROM, TWO_EDITS_FROM, Synonyms
from heirloom.retrieval.lexicon import FIELDS, Lexicon
from heirloom.retrieval.spelling import Spelling, edits


@pytest.fixture
def vocabulary() -> Vocabulary:
    vocabulary = Vocabulary()
    for field, texts in {
        "brand": ["Saint Laurent", "Yves Saint Laurent", "Gucci"],
        "category": ["women/bags/totes", "women/bags/clutches", "women/shoes/boots"],
        "colour": ["red"],
        "size": ["38"],
    }.items():
        for text in texts:
            vocabulary.code(field, text)
    return vocabulary


def meant(lexicon: Lexicon, text: str) -> dict[str, list[int]]:
    reading = lexicon.read(text)
    return {field: found for field in FIELDS if (found := reading.codes(field).tolist())}


def test_each_field_by_its_words(vocabulary: Vocabulary) -> None:
    found = meant(Lexicon(vocabulary), "Red GUCCI totes 38")
    assert found == {"brand": [3], "category": [1], "colour": [1], "size": [1]}


def test_a_step_of_the_path_means_all_below_it(vocabulary: Vocabulary) -> None:
    assert meant(Lexicon(vocabulary), "bag") == {"category": [1, 2]}


def test_steps_named_together_narrow_each_other(vocabulary: Vocabulary) -> None:
    vocabulary.code("category", "men/shoes/boots")
    lexicon = Lexicon(vocabulary)
    assert meant(lexicon, "boots")["category"] == [3, 4]
    assert meant(lexicon, "women's boots")["category"] == [3]
    assert meant(lexicon, "boots men") == {"category": [4]}
    # Nothing is a tote and a boot: either is meant.
    assert meant(lexicon, "totes boots")["category"] == [1, 3, 4]


def test_the_longer_phrase_is_meant(vocabulary: Vocabulary) -> None:
    assert meant(Lexicon(vocabulary), "yves saint laurent")["brand"] == [2]
    assert meant(Lexicon(vocabulary), "saint laurent")["brand"] == [1]


def test_the_longer_phrase_is_meant_whatever_the_field(vocabulary: Vocabulary) -> None:
    vocabulary.code("brand", "Red Valentino")
    assert meant(Lexicon(vocabulary), "red valentino totes") == {"brand": [4], "category": [1]}
    assert meant(Lexicon(vocabulary), "red gucci") == {"brand": [3], "colour": [1]}


def test_an_owners_s_is_no_size(vocabulary: Vocabulary) -> None:
    vocabulary.code("size", "s")
    vocabulary.code("brand", "Levi's")
    lexicon = Lexicon(vocabulary)
    assert "size" not in meant(lexicon, "women's boots")
    assert meant(lexicon, "levis") == meant(lexicon, "Levi’s") == {"brand": [4]}
    assert meant(lexicon, "boots s")["size"] == [2]


def test_a_name_may_be_written_as_one_word(vocabulary: Vocabulary) -> None:
    assert meant(Lexicon(vocabulary), "saintlaurent") == {"brand": [1]}


@pytest.mark.parametrize(
    "typed", ["guci", "guccci", "gucxi", "gcuci", "Guccu", "yves saint larent", "yvessaintlaurnet"]
)
def test_slips_are_forgiven(vocabulary: Vocabulary, typed: str) -> None:
    assert meant(Lexicon(vocabulary), typed) == {"brand": [3 if typed[0] in "gG" else 2]}


@pytest.mark.parametrize("typed", ["guc", "gcc", "gxcxi", "3834", "boxxer"])
def test_what_is_too_short_too_far_or_a_number_is_no_slip(
    vocabulary: Vocabulary, typed: str
) -> None:
    lexicon = Lexicon(vocabulary)
    assert meant(lexicon, typed) == {}
    assert lexicon.read(typed).rest == (typed,)


def test_a_word_that_many_listings_have_is_no_slip(vocabulary: Vocabulary) -> None:
    vocabulary.code("brand", "Lacey")
    having = {"lace": 40, "lacey": 90}
    lexicon = Lexicon(vocabulary, lambda word: having.get(word, 0))
    assert meant(lexicon, "lace") == {}
    having["lacey"] = 4_000  # so many that forty sellers slipped
    assert meant(lexicon, "lace") == {"brand": [4]}


def test_of_two_words_as_near_the_commoner_is_meant_and_less_sure(vocabulary: Vocabulary) -> None:
    for brand in ("Zara", "Zora"):
        vocabulary.code("brand", brand)
    having = {"zara": 89, "zora": 9}
    (named,) = Lexicon(vocabulary, lambda word: having.get(word, 0)).read("zxra").named
    assert (named.phrase, named.sure) == (("zara",), 0.9)


def test_synonyms_name_what_they_stand_for(vocabulary: Vocabulary) -> None:
    synonyms = Synonyms([["wellingtons", "boots"]], {"bag": ["red"]})
    lexicon = Lexicon(vocabulary, synonyms=synonyms)
    assert meant(lexicon, "wellingtons") == {"category": [3]}
    assert meant(lexicon, "bag") == {"category": [1, 2], "colour": [1]}
    assert meant(lexicon, "red") == {"colour": [1]}


@pytest.mark.parametrize(
    ("text", "price", "rest"),
    [
        ("gucci under 50", (None, 50), {"brand": [3]}),
        ("gucci < 38€ red", (None, 38), {"brand": [3], "colour": [1]}),
        ("boots over 20 up to 38", (20, 38), {"category": [3]}),
        ("boots 38", (None, None), {"category": [3], "size": [1]}),
        ("air max 90", (None, None), {}),
        ("under 5.50 gucci", (None, None), {"brand": [3]}),
        ("under 50% gucci", (None, None), {"brand": [3]}),
    ],
)
def test_prices_are_no_sizes(
    vocabulary: Vocabulary, text: str, price: tuple[int | None, int | None], rest: dict[str, object]
) -> None:
    lexicon = Lexicon(vocabulary)
    assert (lexicon.read(text).price, meant(lexicon, text)) == (price, rest)


def test_nothing_named(vocabulary: Vocabulary) -> None:
    lexicon = Lexicon(vocabulary)
    assert meant(lexicon, "something for a wedding") == meant(lexicon, "") == {}
    assert lexicon.read("for a wedding").rest == ("for", "a", "wedding")


def test_it_grows_with_the_vocabulary(vocabulary: Vocabulary) -> None:
    lexicon = Lexicon(vocabulary)
    assert meant(lexicon, "ganni") == {}
    vocabulary.code("brand", "Ganni")
    assert meant(lexicon, "ganni") == meant(lexicon, "gani") == {"brand": [4]}


@settings(deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.integers(0, 3))
def test_edits_are_the_fewest_of_the_definition(a: str, b: str, most: int) -> None:
    @cache
    def fewest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        ways = [
            fewest(i - 1, j) + 1,
            fewest(i, j - 1) + 1,
            fewest(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        ]
        if i > 1 and j > 1 and a[i - 2 : i] == b[j - 2 : j][::-1]:
            ways.append(fewest(i - 2, j - 2) + 1)
        return min(ways)

    assert edits(a, b, most) == min(fewest(len(a), len(b)), most + 1)


words_of = st.lists(st.text("abcdé", min_size=1, max_size=10), max_size=12)


@settings(deadline=None)
@given(words_of, st.text("abcdé", min_size=1, max_size=11))
def test_near_is_a_plain_search_through_all_words(known: list[str], word: str) -> None:
    spelling = Spelling()
    for each in known:
        spelling.add([each])
    slips = {each: edits(word, each, 2) for each in known if each != word}
    forgiven = 0 if len(word) < ONE_EDIT_FROM else 1 if len(word) < TWO_EDITS_FROM else 2
    best = min((n for n in slips.values() if n <= forgiven), default=0)
    assert spelling.near(word) == tuple(sorted(each for each in slips if slips[each] == best))
