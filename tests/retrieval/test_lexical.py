"""The embedded lexical index under the laws, and the pure parts."""

import pytest

from heirloom.core.errors import ConfigError
from heirloom.core.listing import Listing
from heirloom.retrieval.lexical import (
    FEW,
    MAX_PARTS,
    SCALE,
    LexicalIndex,
    Part,
    Synonyms,
    fields_of,
    parts_of,
)
from heirloom.retrieval.word_index import WordIndex
from heirloom.testing.lexical import LexicalIndexLaws


class TestWordIndex(LexicalIndexLaws):
    counts_edits = False

    def make(self, synonyms: Synonyms) -> LexicalIndex:
        return WordIndex(synonyms)


def parts(text: str, *, having: int = 10, brands: int = 0) -> tuple[Part, ...]:
    return parts_of(
        text, Synonyms(), listings=100, having=lambda _: having, brands=lambda _: brands
    )


def test_shares_are_idf_and_sum_to_one() -> None:
    found = parts_of(
        "rare common ",
        Synonyms(),
        listings=1_000,
        having=lambda word: 5 if word == "rare" else 900,
        brands=lambda _: 0,
    )
    assert [round(part.share, 3) for part in found] == [0.98, 0.02]
    assert sum(part.share for part in found) == pytest.approx(1)


def test_points_are_whole_multiples_of_the_scale_and_never_none() -> None:
    for part in parts("red prada dress of silk in the colour of a rose"):
        for alternative in part.alternatives:
            for field in alternative.fields:
                scaled = alternative.points(part.share, field) * SCALE
                assert scaled == int(scaled) >= 1


def test_a_word_said_twice_is_one_part_and_a_novel_has_an_end() -> None:
    assert len(parts("red red RED dress ")) == 2
    assert len(parts(" ".join(f"w{i}" for i in range(200)))) == MAX_PARTS


def test_only_a_rare_word_is_taken_for_a_slip() -> None:
    def forgiven(text: str, having: int) -> list[int]:
        return [a.edits for a in parts(text, having=having)[0].alternatives]

    assert forgiven("coat ", FEW) == [0]
    assert forgiven("coat ", FEW - 1) == [0, 1]
    assert forgiven("cashmere ", 0) == [0, 1, 2]
    assert forgiven("cat ", 0) == [0]
    assert forgiven("20250101 ", 0) == [0]


def test_a_brand_is_not_looked_for_where_brands_are_stuffed() -> None:
    (part,) = parts("prada ", brands=1)
    assert part.alternatives[0].fields == ("brand", "title", "category", "attributes")


def test_the_best_field_holds_a_word() -> None:
    found = fields_of(
        Listing(
            listing_id="1",
            seller="s",
            title="Women's Prada coat",
            brand="Prada",
            size="M",
            hashtags=("#coat", "#archive"),
            description="a coat",
        )
    )
    assert found == {
        "brand": ["prada"],
        "title": ["women", "coat"],
        "attributes": ["m"],
        "hashtags": ["archive"],
        "description": ["a"],
    }


def test_a_synonym_without_words_is_refused_with_all_others() -> None:
    with pytest.raises(ConfigError, match=r"'!' has 0 words") as refused:
        Synonyms(both=[["!", "coat"]], one_way={"a b c d e": ["hat"]})
    assert "'a b c d e' has 5 words; wanted 1 … 4" in str(refused.value)
